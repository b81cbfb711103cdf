//! Budgets: what may be spent in a time. Before a call the most that it may take is reserved in every budget that
//! applies to it, all or nothing; after it the truth is counted and the rest given back. So no budget is ever overdrawn,
//! however many calls run at once.
//!
//! A [`Budget`] is a [`Rule`] of the configuration and its [`Book`], which a reload keeps. A book has one bucket for each
//! value that the rule tells apart (each user, each key ...). A [`Claim`] is what one attempt wants of one budget.

mod book;
mod bucket;
mod claim;
mod need;
mod purse;
mod queue;
mod scope;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

pub use book::{Book, Books};
pub use claim::{Claim, Decision, Reservation, Taken, reserve};
pub use need::{Bounds, Need};
pub use purse::{Prospect, Purse, Share, Wants, claims};
pub use scope::{Pattern, Scope};
pub use window::{Unit, Window};

use crate::reason::Measure;
use crate::routing::Origin;
use crate::units::{Cost, Tokens};

/// A budget as the owner wrote it.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    pub limits: Limits,
    pub window: Window,
    /// One bucket per value of this; `None`: one for all.
    pub each: Option<Each>,
    pub scope: Scope,
    pub counts: Counts,
    /// The share of a limit at which the owner is warned.
    pub warn_at: f64,
    pub on_exceeded: OnExceeded,
}

/// How much of what; at least one is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub cost: Option<Cost>,
    pub tokens: Option<Tokens>,
    pub requests: Option<u64>,
}

/// What buckets are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    User,
    Session,
    Key,
    Chain,
    Target,
    Task,
    Tier,
}

/// Which calls count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    All,
    /// Calls of targets other than the request's first eligible one: with what they cost above it.
    Fallbacks,
}

/// What happens to a call that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExceeded {
    /// The target is passed over.
    Skip,
    /// The target is passed over, and the others are asked cheapest first.
    Downshift,
    /// It waits while only running calls stand in its way; else the whole request is refused.
    Reject,
}

/// A rule and what was spent under it.
#[derive(Debug)]
pub struct Budget {
    pub rule: Rule,
    book: Arc<Book>,
}

/// An amount of everything that budgets bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cost: Cost,
    pub tokens: Tokens,
    pub requests: u64,
}

/// What one attempt took from one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub budget: Arc<str>,
    /// The value that the bucket stands for; empty where there is none.
    pub bucket: Arc<str>,
    /// When it was counted, since the Unix epoch.
    pub at: Duration,
    pub amounts: Amounts,
}

/// A budget does not hold what a call may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Exceeded {
    pub budget: Arc<str>,
    pub measure: Measure,
    pub then: OnExceeded,
    /// How long until it would fit, if nobody else draws; `None`: it never does. Where only running calls stand in the
    /// way, how long until it is worth trying again.
    pub resets_in: Option<Duration>,
    /// What the owner is told of it: the first time in its period.
    pub alert: Option<Alert>,
}

/// News of a bucket for its owner: each once in a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub budget: Arc<str>,
    pub bucket: Arc<str>,
    pub news: News,
    /// What is used of the limit that is closest.
    pub used_ratio: f64,
}

/// What happened to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// It has reached `warn_at`.
    NearlyUsedUp,
    /// A call did not fit.
    Exceeded,
}

/// What of a budget is used now.
#[derive(Debug)]
pub struct Standing {
    /// Of the bucket that is used up most: 1 is all.
    pub used_ratio: f64,
    pub live_buckets: usize,
    /// More buckets were wanted than are kept: the surplus shares one.
    pub has_surplus: bool,
    /// When the period ends, since the Unix epoch; `None` where time rolls.
    pub resets_at: Option<Duration>,
    /// The buckets that are used up most, most first.
    pub buckets: Vec<BucketStanding>,
}

/// What of a bucket is used now.
#[derive(Debug)]
pub struct BucketStanding {
    pub name: Arc<str>,
    pub spent: Amounts,
    pub reserved: Amounts,
    pub used_ratio: f64,
}

/// What one request finds of a budget.
#[derive(Debug)]
pub struct Left {
    pub bucket: Arc<str>,
    /// Of each limit, running calls left aside.
    pub left: Limits,
    /// What of it running calls have set aside.
    pub reserved: Amounts,
}

/// The bucket of requests that do not say what buckets are told apart by, and the only one where nothing is.
const SHARED: &str = "";
/// The bucket of those for whom no bucket was left. No label begins with a space.
const SURPLUS: &str = " surplus";

impl Budget {
    /// A rule with its book, which it shares with the rule's earlier and later versions.
    pub fn new(rule: Rule, books: &Books) -> Self {
        let book = books.open(&rule);
        Self { rule, book }
    }

    /// Whether this is its name.
    pub fn is_named(&self, name: &str) -> bool {
        *self.rule.name == *name
    }

    /// What is used of it now, with at most so many buckets.
    pub fn standing(&self, most: usize) -> Standing {
        self.book.standing(&self.rule, most)
    }

    /// Since when what was drawn counts now, and in which grain: from then on [`Budget::refill`] wants to know it.
    pub fn counts_since(&self) -> (Duration, Duration) {
        let frame = self.rule.window.frame(book::now());
        (Duration::from_millis(frame.since), Duration::from_millis(frame.until.saturating_sub(frame.slot)))
    }

    /// Whether both count in the same book.
    pub fn shares_book(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.book, &other.book)
    }

    /// Forgets what was spent, before [`Budget::refill`] tells all of it.
    pub fn clear(&self) {
        self.book.clear(&self.rule);
    }

    /// Takes up what was drawn earlier, as far as it counts now.
    pub fn refill(&self, drawn: &Drawn) {
        self.book.refill(&self.rule, drawn);
    }

    /// What a request of this origin finds at a target.
    pub fn left(&self, origin: &Origin, target: &Arc<str>) -> Left {
        let bucket = self.rule.bucket(origin, target);
        let mut pages = self.book.pages(&self.rule);
        let (spent, reserved) =
            pages.seen(&bucket).map(|known| (known.spent(), known.reserved())).unwrap_or_default();
        Left { bucket, left: self.rule.limits.minus(spent), reserved }
    }

    /// In the order in which books are locked.
    pub fn sort(budgets: &mut [Arc<Self>]) {
        budgets.sort_by_key(|budget| budget.book.number());
    }
}

impl Rule {
    /// The bucket of a request of this origin at a target.
    fn bucket(&self, origin: &Origin, target: &Arc<str>) -> Arc<str> {
        let bucket = match self.each {
            None => None,
            Some(Each::User) => origin.user.as_deref().map(Arc::from),
            Some(Each::Session) => origin.session.as_deref().map(Arc::from),
            Some(Each::Key) => origin.key.clone(),
            Some(Each::Chain) => Some(Arc::clone(&origin.chain)),
            Some(Each::Target) => Some(Arc::clone(target)),
            Some(Each::Task) => origin.task.as_deref().map(Arc::from),
            Some(Each::Tier) => origin.tier.as_deref().map(Arc::from),
        };
        bucket.unwrap_or_else(|| SHARED.into())
    }
}

impl Each {
    /// Its name in the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Session => "session",
            Self::Key => "key",
            Self::Chain => "chain",
            Self::Target => "target",
            Self::Task => "task",
            Self::Tier => "tier",
        }
    }
}

impl Counts {
    /// Its name in the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Fallbacks => "fallbacks",
        }
    }
}

impl OnExceeded {
    /// How much it leaves of a request: the higher, the less.
    pub const fn severity(self) -> u8 {
        match self {
            Self::Skip => 0,
            Self::Downshift => 1,
            Self::Reject => 2,
        }
    }

    /// Its name in the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Skip => "skip",
            Self::Downshift => "downshift",
        }
    }
}

impl News {
    /// Its name in metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NearlyUsedUp => "nearly_used_up",
            Self::Exceeded => "exceeded",
        }
    }
}

impl Amounts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cost: self.cost + other.cost,
            tokens: self.tokens + other.tokens,
            requests: self.requests.saturating_add(other.requests),
        }
    }

    /// What is left without `other`, never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_sub(other.cost),
            tokens: self.tokens.saturating_sub(other.tokens),
            requests: self.requests.saturating_sub(other.requests),
        }
    }

    /// Whether there is nothing of anything.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl Limits {
    /// What is left of them.
    fn minus(self, spent: Amounts) -> Self {
        Self {
            cost: self.cost.map(|limit| limit.saturating_sub(spent.cost)),
            tokens: self.tokens.map(|limit| limit.saturating_sub(spent.tokens)),
            requests: self.requests.map(|limit| limit.saturating_sub(spent.requests)),
        }
    }

    /// The first limit that `amounts` are above.
    pub fn exceeded_by(&self, amounts: Amounts) -> Option<Measure> {
        if self.cost.is_some_and(|limit| amounts.cost > limit) {
            return Some(Measure::Usd);
        }
        if self.tokens.is_some_and(|limit| amounts.tokens > limit) {
            return Some(Measure::Tokens);
        }
        self.requests.is_some_and(|limit| amounts.requests > limit).then_some(Measure::Requests)
    }

    /// The limit that is named where any could be.
    pub fn first(&self) -> Measure {
        match self {
            Self { cost: Some(_), .. } => Measure::Usd,
            Self { tokens: Some(_), .. } => Measure::Tokens,
            Self { .. } => Measure::Requests,
        }
    }

    /// The share of the limit that `amounts` come closest to.
    #[expect(clippy::cast_precision_loss, reason = "a share, for people to read")]
    pub fn used_ratio(&self, amounts: Amounts) -> f64 {
        let share = |used: f64, limit: f64| if limit > 0.0 { used / limit } else { 1.0 };
        let cost = self.cost.map(|limit| share(amounts.cost.usd(), limit.usd()));
        let tokens = self.tokens.map(|limit| share(amounts.tokens.get() as f64, limit.get() as f64));
        let requests = self.requests.map(|limit| share(amounts.requests as f64, limit as f64));
        [cost, tokens, requests].into_iter().flatten().fold(0.0, f64::max)
    }
}
