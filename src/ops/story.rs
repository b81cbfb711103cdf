//! What a receipt tells, in plain words and numbers, wherever it comes from: a request that is still in memory, or the
//! rows of the ledger. Both are printed here, and the ledger writes nothing but what stands here.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::milliseconds;
use crate::chat::Usage;
use crate::routing::ceiling::Estimate;
use crate::routing::chain::provider_of;
use crate::routing::{AttemptRecord, Outcome};
use crate::units::Cost;

/// Text that is borrowed from a request, or was read from the ledger.
pub type Text<'a> = Cow<'a, str>;

/// A request that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story<'a> {
    pub id: Text<'a>,
    pub operation: Text<'a>,
    /// Milliseconds since the Unix epoch at its beginning.
    pub began_ms: u64,
    pub chain: Text<'a>,
    pub config: Text<'a>,
    pub outcome: Text<'a>,
    pub status: u16,
    pub streamed: bool,
    /// The place of the target that served.
    pub served: Option<usize>,
    pub fallback_reason: Option<Text<'a>>,
    pub latency: Duration,
    pub overhead: Option<Duration>,
    /// Of all attempts; `None` if the price of one is not known.
    pub cost: Option<Cost>,
    /// What the served tokens would have cost at the chain's first target, where another one stood in for it.
    pub cost_at_first: Option<Cost>,
    pub labels: Labels<'a>,
    /// Members that few receipts have, as they are told. The ledger keeps them as they are.
    pub more: Map<String, Value>,
    pub trail: Vec<Line<'a>>,
}

/// Who asked, and what for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    pub key: Option<Text<'a>>,
    pub user: Option<Text<'a>>,
    pub session: Option<Text<'a>>,
    pub task: Option<Text<'a>>,
    pub tier: Option<Text<'a>>,
}

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is an attempt")]
pub enum Line<'a> {
    /// As it is told.
    Skip(Value),
    Attempt(Attempt<'a>),
}

/// One upstream call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt<'a> {
    pub target: Text<'a>,
    pub index: usize,
    /// 1 for the request's first.
    pub number: u32,
    pub outcome: Text<'a>,
    pub status: Option<u16>,
    pub current_model: Option<Text<'a>>,
    pub upstream_request_id: Option<Text<'a>>,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    pub usage: Usage,
    pub usage_is_estimate: bool,
    pub cost: Option<Cost>,
    pub dropped: Cow<'a, [Cow<'static, str>]>,
    pub unreadable_events: u32,
    pub estimate: Estimate,
    /// Members that few attempts have, as they are told.
    pub more: Map<String, Value>,
}

/// Marks the attempts that put an image into words for another target.
pub const DESCRIBES: &str = "describes";
/// What an attempt that is not over is called.
const RUNNING: &str = "running";

impl<'a> Story<'a> {
    /// All upstream calls, in their order.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt<'a>> {
        self.trail.iter().filter_map(|line| match line {
            Line::Attempt(attempt) => Some(attempt),
            Line::Skip(_) => None,
        })
    }

    /// Those that were made to answer the request itself.
    fn own_attempts(&self) -> impl Iterator<Item = &Attempt<'a>> {
        self.attempts().filter(|attempt| !attempt.more.contains_key(DESCRIBES))
    }

    /// The upstream call that served.
    pub fn serving(&self) -> Option<&Attempt<'a>> {
        let served = self.served?;
        self.own_attempts().filter(|attempt| attempt.index == served).last()
    }

    /// The upstream call that tells most: the one that served, else the last.
    pub fn telling(&self) -> Option<&Attempt<'a>> {
        self.serving().or_else(|| self.attempts().last())
    }

    /// As callers read it.
    pub fn to_json(&self) -> Value {
        let serving = self.serving();
        let target = serving.map(|serving| &*serving.target);
        let mut receipt = json!({
            "id": self.id,
            "operation": self.operation,
            "began_ms": self.began_ms,
            "chain": self.chain,
            "config": self.config,
            "outcome": self.outcome,
            "status": self.status,
            "streamed": self.streamed,
            "target": target,
            "target_index": self.served,
            "provider": target.and_then(provider_of),
            "current_model": serving.and_then(|serving| serving.current_model.as_deref()),
            "attempts": self.own_attempts().count(),
            "fallback_reason": self.fallback_reason,
            "latency_ms": milliseconds(self.latency),
            "overhead_us": self.overhead.map(microseconds),
            "first_token_ms": serving.and_then(|serving| serving.first_token).map(milliseconds),
            "usage": serving.map(|serving| serving.usage).unwrap_or_default().to_json(),
            "cost_usd": self.cost,
            "dropped": serving.map(|serving| &*serving.dropped).unwrap_or_default(),
            "trail": self.trail.iter().map(Line::to_json).collect::<Vec<_>>(),
        });
        if let Some(cost) = self.cost_at_first {
            receipt["first_target_cost_usd"] = json!(cost);
        }
        add(&mut receipt, &self.more);
        let Labels { key, user, session, task, tier } = &self.labels;
        for (name, value) in
            [("key", key), ("user", user), ("session", session), ("task", task), ("tier", tier)]
        {
            if let Some(value) = value {
                receipt[name] = json!(value);
            }
        }
        receipt
    }
}

impl<'a> Attempt<'a> {
    /// What was written down of it.
    pub fn of(record: &'a AttemptRecord, more: Map<String, Value>) -> Self {
        Self {
            target: Cow::Borrowed(&record.target),
            index: record.index,
            number: record.number,
            outcome: Cow::Borrowed(record.outcome.map_or(RUNNING, Outcome::code)),
            status: record.status,
            current_model: record.served_model.as_deref().map(Cow::Borrowed),
            upstream_request_id: record.upstream_request_id.as_deref().map(Cow::Borrowed),
            latency: record.latency,
            first_token: record.first_content,
            usage: record.usage,
            usage_is_estimate: record.usage_is_estimate,
            cost: record.cost,
            dropped: Cow::Borrowed(&record.dropped),
            unreadable_events: record.unreadable_events,
            estimate: record.estimate,
            more,
        }
    }
}

impl Line<'_> {
    fn to_json(&self) -> Value {
        let attempt = match self {
            Self::Skip(told) => return told.clone(),
            Self::Attempt(attempt) => attempt,
        };
        let mut line = json!({
            "target": attempt.target,
            "index": attempt.index,
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "status": attempt.status,
            "current_model": attempt.current_model,
            "upstream_request_id": attempt.upstream_request_id,
            "latency_ms": milliseconds(attempt.latency),
            "first_token_ms": attempt.first_token.map(milliseconds),
            "usage": attempt.usage.to_json(),
            "usage_is_estimate": attempt.usage_is_estimate,
            "cost_usd": attempt.cost,
            "dropped": attempt.dropped,
            "unreadable_events": attempt.unreadable_events,
            "estimate": estimate(&attempt.estimate),
        });
        add(&mut line, &attempt.more);
        line
    }
}

/// An estimate as receipts tell it.
pub fn estimate(estimate: &Estimate) -> Value {
    json!({
        "input_tokens_low": estimate.input_low,
        "input_tokens": estimate.input_high,
        "output_tokens": estimate.output,
        "cost_usd": estimate.cost,
    })
}

/// Adds members to what is told.
pub fn add(told: &mut Value, more: &Map<String, Value>) {
    for (name, value) in more {
        told[name] = value.clone();
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
