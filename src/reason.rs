//! The one vocabulary of failure: why an attempt failed ([`Class`]), why a target was not tried ([`Skip`]),
//! and what follows from a class ([`Consequences`]). Logs, metrics, headers, the configuration and the README
//! all use the names given by [`Class::code`] and [`Skip::code`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    RateLimited,
    QuotaExhausted,
    Overloaded,
    ServerError,
    ConnectFailed,
    ConnectionLost,
    FirstTokenTimeout,
    IdleTimeout,
    StreamTimeout,
    AnswerTimeout,
    DeadlineExceeded,
    Truncated,
    Malformed,
    Empty,
    AuthFailed,
    ModelNotFound,
    ContextLength,
    TooLarge,
    ContentFilter,
    InvalidRequest,
}

/// Whether the same target is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The answer would be the same, or was already paid for.
    Never,
    /// After a backoff with full jitter.
    Backoff,
    /// After the upstream's `Retry-After` if it is short enough, else never; a backoff where it gave none.
    AsAsked,
    /// Only where nothing can have been served twice (a stale pooled connection), or nothing else is left.
    WhenSafeOrLast,
}

/// Whether the chain goes on to its next target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Yes,
    No,
    /// Only to targets whose context window is larger, or unknown.
    LargerWindow,
    /// Only from a target whose request Piton translated: the fault may be ours.
    FromTranslated,
}

/// What cures a failure among equals: the same model, deployed several times or called with several keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Another key, at the same place or elsewhere: the place is well.
    OtherKey,
    /// Another place only.
    OtherPlace,
    /// No equal would fare better.
    None,
}

/// What a failure does to the target's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// The target is healthy; the request was the problem.
    Nothing,
    /// One failure towards the thresholds.
    Count,
    /// Open until the upstream's `Retry-After`, 60 s at most.
    RetryAfter,
    /// Open at once, for long, and only a probe closes it.
    Long,
}

/// What follows from a class where the configuration says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequences {
    pub retry: Retry,
    pub fallback: Fallback,
    pub trip: Trip,
    /// A person has to mend this: a warning in the log and a metric.
    pub alarm: bool,
}

impl Class {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 20] = [
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::Overloaded,
        Self::ServerError,
        Self::ConnectFailed,
        Self::ConnectionLost,
        Self::FirstTokenTimeout,
        Self::IdleTimeout,
        Self::StreamTimeout,
        Self::AnswerTimeout,
        Self::DeadlineExceeded,
        Self::Truncated,
        Self::Malformed,
        Self::Empty,
        Self::AuthFailed,
        Self::ModelNotFound,
        Self::ContextLength,
        Self::TooLarge,
        Self::ContentFilter,
        Self::InvalidRequest,
    ];

    /// The stable name, everywhere.
    pub const fn code(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectionLost => "connection_lost",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::StreamTimeout => "stream_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::AuthFailed => "auth_failed",
            Self::ModelNotFound => "model_not_found",
            Self::ContextLength => "context_length",
            Self::TooLarge => "too_large",
            Self::ContentFilter => "content_filter",
            Self::InvalidRequest => "invalid_request",
        }
    }

    /// The class of this name.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }

    /// What follows by default. Adding a class means deciding this here.
    pub const fn consequences(self) -> Consequences {
        use Fallback::{FromTranslated, LargerWindow, No, Yes};
        use Retry::{AsAsked, Backoff, Never, WhenSafeOrLast};
        let (retry, fallback, trip, alarm) = match self {
            Self::RateLimited => (AsAsked, Yes, Trip::RetryAfter, false),
            Self::QuotaExhausted => (Never, Yes, Trip::Long, false),
            Self::Overloaded | Self::ServerError | Self::ConnectFailed => (Backoff, Yes, Trip::Count, false),
            Self::ConnectionLost | Self::Truncated => (WhenSafeOrLast, Yes, Trip::Count, false),
            Self::FirstTokenTimeout | Self::IdleTimeout | Self::StreamTimeout | Self::AnswerTimeout => {
                (Never, Yes, Trip::Count, false)
            }
            Self::DeadlineExceeded => (Never, No, Trip::Nothing, false),
            Self::Malformed => (Never, Yes, Trip::Count, false),
            Self::Empty => (Never, Yes, Trip::Nothing, false),
            Self::AuthFailed | Self::ModelNotFound => (Never, Yes, Trip::Long, true),
            Self::ContextLength => (Never, LargerWindow, Trip::Nothing, false),
            Self::TooLarge => (Never, Yes, Trip::Nothing, false),
            Self::ContentFilter => (Never, No, Trip::Nothing, false),
            Self::InvalidRequest => (Never, FromTranslated, Trip::Nothing, false),
        };
        Consequences { retry, fallback, trip, alarm }
    }

    /// What of several equal deployments or keys may mend it, at once and without a wait.
    pub const fn cure(self) -> Cure {
        match self {
            Self::RateLimited | Self::QuotaExhausted | Self::AuthFailed => Cure::OtherKey,
            Self::Overloaded
            | Self::ServerError
            | Self::ConnectFailed
            | Self::ConnectionLost
            | Self::FirstTokenTimeout
            | Self::IdleTimeout
            | Self::StreamTimeout
            | Self::AnswerTimeout
            | Self::Truncated
            | Self::Malformed
            | Self::ModelNotFound => Cure::OtherPlace,
            Self::DeadlineExceeded
            | Self::Empty
            | Self::ContextLength
            | Self::TooLarge
            | Self::ContentFilter
            | Self::InvalidRequest => Cure::None,
        }
    }

    /// Whether waiting alone may mend it: a circuit opened by such a class may be tried as a last resort.
    pub const fn is_transient(self) -> bool {
        matches!(self.consequences().trip, Trip::Count | Trip::RetryAfter)
    }

    /// Whether the client's own request is at fault, so that its own error tells the client most.
    pub const fn is_the_requests_fault(self) -> bool {
        match self {
            Self::ContextLength | Self::TooLarge | Self::ContentFilter | Self::InvalidRequest => true,
            Self::RateLimited
            | Self::QuotaExhausted
            | Self::Overloaded
            | Self::ServerError
            | Self::ConnectFailed
            | Self::ConnectionLost
            | Self::FirstTokenTimeout
            | Self::IdleTimeout
            | Self::StreamTimeout
            | Self::AnswerTimeout
            | Self::DeadlineExceeded
            | Self::Truncated
            | Self::Malformed
            | Self::Empty
            | Self::AuthFailed
            | Self::ModelNotFound => false,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a chain's `on = { class = "..." }` may order instead of the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Take the answer as it is (only where there is one: `empty`).
    Accept,
    /// Neither retry nor fall back.
    Stop,
    /// Fall back without a retry.
    Fallback,
    /// Retry, but never fall back.
    Retry,
    /// Retry, then fall back.
    RetryThenFallback,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] =
        [Self::Accept, Self::Stop, Self::Fallback, Self::Retry, Self::RetryThenFallback];

    /// The name in the configuration file.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Stop => "stop",
            Self::Fallback => "fallback",
            Self::Retry => "retry",
            Self::RetryThenFallback => "retry+fallback",
        }
    }
}

/// What a budget bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    Usd,
    Tokens,
    Requests,
}

/// Why a target was not tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Skip {
    CircuitOpen,
    /// The target lacks what the request needs; the field says what, e.g. `vision`.
    Capability(&'static str),
    ContextWindow,
    /// Over `max_price_ratio` or `max_price`.
    PriceRatio,
    MaxCost,
    NoPrice,
    /// The budget of this name does not hold what the call may take.
    Budget {
        name: Arc<str>,
        measure: Measure,
    },
    /// Less time is left than the target usually takes to its first content.
    Deadline,
    /// An earlier target with the same credential showed that the credential itself is bad or out of money.
    SameCredential,
    NoCredential,
    /// The caller's key does not reach this target.
    KeyScope,
    /// The chain requires a tag that the target lacks: it is never called.
    Tag(Word),
    /// The target is for other tasks.
    Task,
    /// The target is for other tiers.
    Tier,
    /// It is not the target's time.
    Schedule,
    /// The network seems to be down, and a target that needs none is still to come.
    Network,
    /// The target cannot see, and nobody could put the request's images into words for it.
    Undescribed,
}

/// A short word of the owner's, held in place: a reason stays a plain value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word {
    length: u8,
    bytes: [u8; Self::LONGEST],
}

impl Word {
    /// Bytes.
    pub const LONGEST: usize = 31;

    /// `None` if it is too long.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { length: u8::try_from(text.len()).ok()?, bytes })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Skip {
    /// The stable name without its detail: a metric label.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::Capability(_) => "capability",
            Self::ContextWindow => "context_window",
            Self::PriceRatio => "price_ratio",
            Self::MaxCost => "max_cost",
            Self::NoPrice => "no_price",
            Self::Budget { .. } => "budget",
            Self::Deadline => "deadline",
            Self::SameCredential => "same_credential",
            Self::NoCredential => "no_credential",
            Self::KeyScope => "key_scope",
            Self::Tag(_) => "capability",
            Self::Task | Self::Tier => "task",
            Self::Schedule => "schedule",
            Self::Network => "network",
            Self::Undescribed => "undescribed",
        }
    }

    /// Whether the target's health is the reason: it would have served, had it been well. The opposite is a
    /// skip by design, which is no fallback.
    pub const fn is_health(&self) -> bool {
        match self {
            Self::CircuitOpen
            | Self::Deadline
            | Self::SameCredential
            | Self::NoCredential
            | Self::Network
            | Self::Undescribed => true,
            Self::Capability(_)
            | Self::ContextWindow
            | Self::PriceRatio
            | Self::MaxCost
            | Self::NoPrice
            | Self::Budget { .. }
            | Self::KeyScope
            | Self::Tag(_)
            | Self::Task
            | Self::Tier
            | Self::Schedule => false,
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(what) => write!(f, "capability:{what}"),
            Self::Tag(tag) => write!(f, "capability:{tag}"),
            Self::Tier => f.write_str("task:tier"),
            Self::Budget { name, .. } => write!(f, "budget:{name}"),
            other => f.write_str(other.code()),
        }
    }
}

/// One failed attempt: its class and what is known beside it.
#[derive(Debug, Clone)]
pub struct Failure {
    pub class: Class,
    /// The upstream's HTTP status, where one arrived.
    pub status: Option<u16>,
    /// How long the upstream asks to wait.
    pub retry_after: Option<Duration>,
    /// What the upstream (or the transport) said. It may quote the request: it goes to the client, redacted,
    /// and never to a log.
    pub message: String,
    /// The upstream's own machine-readable `code`.
    pub code: Option<String>,
    /// The request field that the upstream complained about.
    pub param: Option<String>,
    /// The upstream's own error `type`.
    pub kind: Option<String>,
    /// With [`Class::AuthFailed`] and [`Class::QuotaExhausted`]: the credential itself is at fault, so every
    /// target that uses it would fail.
    pub credential: bool,
    /// The request went out on a pooled connection that the upstream had already closed: it was not served.
    pub stale_connection: bool,
    /// The upstream's request id, if a head arrived.
    pub upstream_request_id: Option<String>,
}

impl Failure {
    /// A failure of this class with nothing else known.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            retry_after: None,
            message: message.into(),
            code: None,
            param: None,
            kind: None,
            credential: false,
            stale_connection: false,
            upstream_request_id: None,
        }
    }

    /// The same with the upstream's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_a_row_for_every_class_and_for_nothing_else() {
        let readme = include_str!("../README.md");
        let table = readme.split("| class |").nth(1).unwrap().split("\n\n").next().unwrap();
        let told: Vec<&str> =
            table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(told, Class::ALL.map(Class::code));
    }

    #[test]
    fn a_word_has_room_for_what_is_short() {
        let longest = "x".repeat(Word::LONGEST);
        for text in ["", "eu", "zdr-30", "é", &longest] {
            assert_eq!(Word::new(text).unwrap().as_str(), text);
        }
        assert_eq!(Word::new(&format!("{longest}x")), None);
        assert_eq!(Skip::Tag(Word::new("eu").unwrap()).to_string(), "capability:eu");
    }

    #[test]
    fn codes_are_unique_and_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::from_code(class.code()), Some(class));
        }
    }
}
