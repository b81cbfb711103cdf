//! `[[budgets]]`: what may be spent in a time, and by whom.

use std::time::Duration;

use crate::config::name::{Glob, plain_name};
use crate::config::reader::{FromText, Refusal};
use crate::config::section::section;
use crate::config::time::ZoneName;
use crate::config::value::{Amount, Share, Timeout, Usd, inline_schema, words};

section! {
    /// What may be spent in a time: money, tokens, requests. Before a call the most that it may take is set aside.
    pub struct Budget in "[[budgets]]" {
        required {
            /// What errors, receipts and metrics call it.
            name: BudgetName,
            /// The time that it is for: an "hour", "day", "week" or "month" of the calendar, or any time of a length
            /// such as "24h".
            per: Per,
        }
        optional {
            /// USD. At least one of the three is needed.
            usd: Usd,
            /// Requests that were answered.
            requests: Amount,
            /// Tokens, input and output together.
            tokens: Amount,
            /// By whose clocks hours, days, weeks and months begin, e.g. "Europe/Berlin". Default: UTC.
            time_zone: ZoneName,
            /// One bucket for each user, session, key, chain, target, task or tier. Default: one for all.
            each: Each,
            /// What it is for. Default: everything.
            r#where: Where,
            /// "all" calls, or "fallbacks": only what those cost above the request's first target. Default: "all".
            counts: Counts,
            /// The share at which a warning is logged. Default: 0.8.
            warn_at: Share,
            /// What does not fit is refused ("reject"), passed over ("skip"), or sends the request to the cheapest
            /// targets first ("downshift"). Default: "reject".
            on_exceeded: OnExceeded,
        }
    }
}

section! {
    /// What a budget is for: all that is said must fit. Patterns, but for the user.
    #[derive(Default)]
    pub struct Where in "`where`" {
        optional {
            /// Chains.
            chain: Glob,
            /// Targets, "provider/model"; `*` matches `/` too.
            target: Glob,
            /// Providers.
            provider: Glob,
            /// Names of callers' keys.
            key: Glob,
            /// One user.
            user: String,
            /// Tasks.
            task: Glob,
            /// Tiers.
            tier: Glob,
        }
    }
}

/// The name of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BudgetName(pub String);

/// The time that a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    Hour,
    Day,
    Week,
    Month,
    /// The time of this length that ends now.
    Rolling(Duration),
}

words! {
    /// What buckets are told apart by.
    pub enum Each, "\"user\", \"session\", \"key\", \"chain\", \"target\", \"task\" or \"tier\"" {
        "user" => User,
        "session" => Session,
        "key" => Key,
        "chain" => Chain,
        "target" => Target,
        "task" => Task,
        "tier" => Tier,
    }
}

words! {
    /// Which calls count.
    pub enum Counts, "\"all\" or \"fallbacks\"" {
        "all" => All,
        "fallbacks" => Fallbacks,
    }
}

words! {
    /// What happens to a call that does not fit.
    pub enum OnExceeded, "\"reject\", \"skip\" or \"downshift\"" {
        "reject" => Reject,
        "skip" => Skip,
        "downshift" => Downshift,
    }
}

/// A shorter time would be over before the calls that it counts.
const SHORTEST: Duration = Duration::from_secs(1);

impl FromText for BudgetName {
    const EXPECTED: &'static str = "a budget's name such as \"daily\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        plain_name("a budget's name", text).map(Self)
    }
}

impl FromText for Per {
    const EXPECTED: &'static str = "\"hour\", \"day\", \"week\", \"month\" or a duration such as \"24h\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            _ if text.starts_with(|c: char| c.is_ascii_digit()) => match Timeout::from_text(text)?.0 {
                short if short < SHORTEST => Err(Refusal::new("a budget's time is a second or more")),
                long => Ok(Self::Rolling(long)),
            },
            _ => Err(Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED))),
        }
    }
}

inline_schema!(BudgetName, { "type": "string", "pattern": "^[A-Za-z0-9._-]+$" });
inline_schema!(Per, { "type": "string", "pattern": r"^(hour|day|week|month|[0-9]+(\.[0-9]+)?(ms|s|m|h))$" });
