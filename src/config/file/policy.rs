//! What `[defaults]`, chains and targets share: clocks, retries, ceilings, and the policy of a chain.

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::config::diagnostic::{Diagnostic, Located};
use crate::config::name::Tag;
use crate::config::reader::{FromText, FromToml, Named, Reader, Refusal, Value, not_supported};
use crate::config::section::{nearest, section};
use crate::config::value::{
    Count, Factor, Share, Timeout, Usd, UsdPerMillion, Wait, inline_schema, unknown_word, words,
};
use crate::reason::{Action, Class};

section! {
    /// What every chain and target inherits.
    #[derive(Default)]
    pub struct Defaults in "[defaults]" {
        optional {
            /// When a target is left alone for a while after failures. Also per provider.
            breaker: BreakerSetting,
        }
        shared {
            policy: ChainPolicy,
            limits: Limits,
        }
        later ["adapt", "budgets", "image_fallback"]
    }
}

section! {
    /// Keys of `[defaults]` and of a chain.
    #[derive(Default)]
    pub struct ChainPolicy in "a chain" {
        optional {
            /// Time to the first byte of the answer, retries and fallbacks included. Default: "10m".
            deadline: Timeout,
            /// Upstream calls per request. Default: the number of targets + 2, each deployment and key of a target
            /// counted.
            max_attempts: Count,
            /// How the targets are tried: "sequential", one after the other.
            mode: Mode,
            /// When the answer starts to go to the client, after which no fallback is possible. Default:
            /// "first_content".
            commit: Commit,
            /// What happens when a stream breaks after that: "error".
            on_break: OnBreak,
            /// What a class of failure leads to, where it differs from the default.
            on: On,
            /// Tags that a target must have to be called, such as "eu". A chain's add to those of `[defaults]`.
            require: Vec<Located<Tag>>,
        }
    }
}

section! {
    /// Keys of `[defaults]`, of a chain and of a target.
    #[derive(Default)]
    pub struct Limits in "a target" {
        optional {
            /// Time to establish a connection. Default: "3s".
            connect_timeout: Timeout,
            /// Streams only: time to the first content. Default: "10s", and 1s per 10,000 input tokens; "300s"
            /// if the request reasons.
            first_token_timeout: Timeout,
            /// Streams only: the longest silence. Default: "30s".
            idle_timeout: Timeout,
            /// Streams only: one attempt, whole. Default: "10m".
            stream_timeout: Timeout,
            /// JSON calls only: one attempt, to the whole answer. Default: "10m".
            answer_timeout: Timeout,
            /// Further tries of the same target, for the classes that allow it. Default: 1.
            retries: u32,
            /// Wait once for a `Retry-After` up to this long. Default: "3s".
            retry_after_max: Wait,
            /// Output tokens that cost ceilings assume where the request sets no cap. Default: 1000.
            expected_output: Count,
            /// USD that one request may cost at a target, by the estimate before the call. Default: no ceiling.
            max_cost: Usd,
            /// USD per million tokens that a target may ask. Default: no ceiling.
            max_price: PriceCeiling,
            /// How much dearer than the chain's first target a target may be, e.g. 1.5. Default: no ceiling.
            max_price_ratio: Factor,
        }
    }
}

section! {
    /// USD per million tokens that a target may ask.
    #[derive(Default)]
    pub struct PriceCeiling in "`max_price`" {
        optional {
            /// For input tokens.
            input: UsdPerMillion,
            /// For output tokens.
            output: UsdPerMillion,
        }
    }
}

section! {
    /// When a target is left alone for a while. Absent keys are inherited.
    #[derive(Default)]
    pub struct Breaker in "`breaker`" {
        optional {
            /// Failures in a row that open the circuit. Default: 5.
            failures: Count,
            /// Share of failures in the window that opens it, above 0 and up to 1. Default: 0.5.
            error_rate: Share,
            /// Requests in the window before the share counts. Default: 20.
            min_requests: Count,
            /// The window of the share. Default: "30s".
            window: Timeout,
            /// How long it stays open before one request is let through to try. Default: "10s".
            cool_down: Timeout,
        }
    }
}

/// `false`, or the thresholds.
#[derive(Debug, Clone)]
pub enum BreakerSetting {
    Off,
    On(Box<Breaker>),
}

/// When the first byte of the answer goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    FirstContent,
    Complete,
    /// After this many characters of content.
    Chars(Count),
    /// After this much time since the first content.
    Time(Timeout),
}

words! {
    /// How a chain's targets are tried.
    pub enum Mode, "\"sequential\"" {
        "sequential" => Sequential,
        later ["hedged", "race"]
    }
}

words! {
    /// What happens when a stream breaks after commit.
    pub enum OnBreak, "\"error\"" {
        "error" => Error,
        later ["continue"]
    }
}

/// What classes lead to, where it differs from the default.
#[derive(Debug, Clone, Default)]
pub struct On(pub IndexMap<Class, Located<Action>>);

/// A [`Class`], read from its code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClassName(pub Class);

/// An [`Action`], read from its name.
struct ActionName(Action);

section! {
    /// The table forms of `commit`: one of the two keys.
    #[derive(Default)]
    pub struct CommitAfter in "`commit`" {
        optional {
            /// Characters of content that are held back.
            chars: Count,
            /// Time after the first content for which the answer is held back.
            time: Timeout,
        }
    }
}

/// Classes of the documentation that this version does not produce.
const LATER_CLASSES: [&str; 3] = ["refusal", "schema_violation", "low_quality"];

const COMMIT: &str = "\"first_content\", \"complete\", { chars = 200 } or { time = \"800ms\" }";

impl FromToml for BreakerSetting {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(false) => Some(Self::Off),
            DeValue::Table(_) => Breaker::from_toml(value, reader).map(|breaker| Self::On(Box::new(breaker))),
            _ => reader.expected("false or a table such as { failures = 5 }", value),
        }
    }
}

impl FromToml for Commit {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => match text.as_ref() {
                "first_content" => Some(Self::FirstContent),
                "complete" => Some(Self::Complete),
                other => reader.refuse(value, unknown_word(other, &["first_content", "complete"], COMMIT)),
            },
            DeValue::Table(table) => {
                let after = CommitAfter::from_toml(value, reader)?;
                match (after.chars, after.time) {
                    (Some(chars), None) => Some(Self::Chars(chars.value)),
                    (None, Some(time)) => Some(Self::Time(time.value)),
                    // A key that is there was already reported.
                    (None, None) if !table.is_empty() => None,
                    _ => reader.refuse(value, Refusal::new("`commit` needs either `chars` or `time`")),
                }
            }
            _ => reader.expected(COMMIT, value),
        }
    }
}

impl FromToml for On {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let written = Named::<ClassName, ActionName>::from_toml(value, reader)?;
        let mut on = Self::default();
        for (ClassName(class), Located { value: ActionName(action), at }) in written.0 {
            match nonsense(class, action) {
                Some(why) => reader.report(Diagnostic::error(&at, why)),
                None => drop(on.0.insert(class, Located { value: action, at })),
            }
        }
        Some(on)
    }
}

impl FromText for ActionName {
    const EXPECTED: &'static str = "\"accept\", \"stop\", \"fallback\", \"retry\" or \"retry+fallback\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let action = Action::ALL.into_iter().find(|action| action.code() == text);
        action.map(Self).ok_or_else(|| unknown_word(text, &Action::ALL.map(Action::code), Self::EXPECTED))
    }
}

impl FromText for ClassName {
    const EXPECTED: &'static str = "a class of failure such as \"rate_limited\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if LATER_CLASSES.contains(&text) {
            return Err(not_supported(&format!("the class `{text}`")));
        }
        let refusal = || {
            let refusal = Refusal::new(format!("`{text}` is not a class of failure"));
            match nearest(text, Class::ALL.map(Class::code)) {
                Some(near) => refusal.help(format!("did you mean `{near}`?")),
                None => refusal.help(format!("the classes are {}", Class::ALL.map(Class::code).join(", "))),
            }
        };
        Class::from_code(text).map(Self).ok_or_else(refusal)
    }
}

/// Why this action can never be taken on this class, if so.
fn nonsense(class: Class, action: Action) -> Option<String> {
    match (class, action) {
        (Class::Empty, Action::Accept) | (Class::DeadlineExceeded, Action::Stop) => None,
        (_, Action::Accept) => {
            Some(format!("there is no answer to accept: {class} leaves none (only `empty` does)"))
        }
        (Class::DeadlineExceeded, _) => {
            Some("no time is left after `deadline_exceeded`: it always stops".to_owned())
        }
        _ => None,
    }
}

inline_schema!(ClassName, { "enum": Class::ALL.map(Class::code) });

impl JsonSchema for BreakerSetting {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BreakerSetting".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": false }, generator.subschema_for::<Breaker>()] })
    }
}

impl JsonSchema for Commit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Commit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["first_content", "complete"] },
            {
                "allOf": [generator.subschema_for::<CommitAfter>()],
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]})
    }
}

impl JsonSchema for On {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "On".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let allowed = |class: Class| {
            let actions = Action::ALL.into_iter().filter(|action| nonsense(class, *action).is_none());
            serde_json::json!({ "enum": actions.map(Action::code).collect::<Vec<_>>() })
        };
        let classes: serde_json::Map<_, _> =
            Class::ALL.into_iter().map(|class| (class.code().to_owned(), allowed(class))).collect();
        json_schema!({ "type": "object", "properties": classes, "additionalProperties": false })
    }
}
