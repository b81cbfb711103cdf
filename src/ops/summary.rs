//! One request from its end: everything that headers, log, metrics and receipt say of it.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::chat::Usage;
use crate::reason::Class;
use crate::routing::chain::Target;
use crate::routing::{AttemptRecord, Chain, Entry, Origin, Outcome};
use crate::units::Cost;

/// The longest value of `x-piton-trail`.
const TRAIL_MAX: usize = 1024;
/// Stands for what did not fit.
const CUT: &str = ", ...";

/// A request that is over, or about to be answered.
#[derive(Debug)]
pub struct Finished<'a> {
    pub origin: Arc<Origin>,
    /// The configuration that decided: its short hash.
    pub config: &'a str,
    pub chain: Option<&'a Chain>,
    pub entries: Vec<Entry>,
    /// The place of the target that served.
    pub served: Option<usize>,
    /// The client's own cost ceiling.
    pub max_cost: Option<Cost>,
    pub outcome: &'static str,
    /// The HTTP status that the client got, or would have got.
    pub status: u16,
    pub latency: Duration,
    /// From the whole request in hand to the first byte ready, without upstream time and waits.
    pub overhead: Option<Duration>,
    /// Milliseconds since the Unix epoch at its beginning.
    pub began_ms: u64,
}

/// The same, computed.
#[derive(Debug)]
pub struct Summary {
    pub origin: Arc<Origin>,
    pub outcome: &'static str,
    pub status: u16,
    pub latency: Duration,
    pub overhead: Option<Duration>,
    pub target: Option<Arc<str>>,
    pub target_index: Option<usize>,
    pub provider: Option<Arc<str>>,
    pub served_model: Option<String>,
    pub upstream_request_id: Option<String>,
    pub first_content: Option<Duration>,
    pub attempts: u32,
    pub dropped: Vec<Cow<'static, str>>,
    /// Of the attempt that served.
    pub usage: Usage,
    /// Of all attempts; `None` if the price of one is not known.
    pub cost: Option<Cost>,
    /// Of the attempt that served.
    pub served_cost: Cost,
    /// What the serving attempt's tokens would have cost at the chain's first target, where another one had to
    /// stand in.
    pub cost_at_first: Option<Cost>,
    /// The first eligible target, where it did not serve, and why.
    pub fallback_from: Option<Arc<str>>,
    pub fallback_reason: Option<&'static str>,
}

impl Summary {
    /// Computes it.
    pub fn of(finished: &Finished<'_>) -> Self {
        let entries = &finished.entries;
        let served = finished.served.and_then(|index| last_attempt(entries, index));
        let target = served.map(|attempt| Arc::clone(&attempt.target));
        let (fallback_from, fallback_reason) = fallback(entries, finished.served).unzip();
        let attempts = entries.iter().filter_map(attempt);
        let served_cost = served.and_then(|attempt| attempt.cost).unwrap_or_default();
        Self {
            origin: Arc::clone(&finished.origin),
            outcome: finished.outcome,
            status: finished.status,
            latency: finished.latency,
            overhead: finished.overhead,
            provider: target.as_deref().and_then(|target| Some(target.split_once('/')?.0.into())),
            target,
            target_index: finished.served,
            served_model: served.and_then(|attempt| attempt.served_model.clone()),
            upstream_request_id: served.and_then(|attempt| attempt.upstream_request_id.clone()),
            first_content: served.and_then(|attempt| attempt.first_content),
            attempts: u32::try_from(attempts.count()).unwrap_or(u32::MAX),
            dropped: served.map(|attempt| attempt.dropped.clone()).unwrap_or_default(),
            usage: served.map(|attempt| attempt.usage).unwrap_or_default(),
            cost: total_cost(entries),
            served_cost,
            cost_at_first: fallback_from.as_ref().and_then(|_| cost_at_first(finished, served)),
            fallback_from,
            fallback_reason,
        }
    }

    /// The receipt.
    pub fn receipt(&self, finished: &Finished<'_>) -> Value {
        let origin = &self.origin;
        let mut receipt = json!({
            "id": origin.request_id,
            "operation": origin.operation.name(),
            "began_ms": finished.began_ms,
            "chain": &*origin.chain,
            "config": finished.config,
            "outcome": self.outcome,
            "status": self.status,
            "streamed": origin.streamed,
            "target": self.target,
            "target_index": self.target_index,
            "provider": self.provider,
            "current_model": self.served_model,
            "attempts": self.attempts,
            "fallback_reason": self.fallback_reason,
            "latency_ms": milliseconds(self.latency),
            "overhead_us": self.overhead.map(|overhead| u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)),
            "first_token_ms": self.first_content.map(milliseconds),
            "usage": self.usage.to_json(),
            "cost_usd": self.cost,
            "dropped": self.dropped,
            "trail": finished.entries.iter().map(|entry| line(entry, finished.chain)).collect::<Vec<_>>(),
        });
        if let Some(ceiling) = finished.max_cost {
            receipt["max_cost_usd"] = json!(ceiling);
        }
        let labels = [
            ("key", origin.key.as_deref()),
            ("user", origin.user.as_deref()),
            ("session", origin.session.as_deref()),
            ("task", origin.task.as_deref()),
            ("tier", origin.tier.as_deref()),
        ];
        for (name, value) in labels {
            if let Some(value) = value {
                receipt[name] = json!(value);
            }
        }
        receipt
    }
}

/// `x-piton-trail`: every line so far, cut at its limit.
pub fn trail_header(entries: &[Entry]) -> String {
    let mut text = String::new();
    // The last place at which there was still room to say that something was cut.
    let mut cut = 0;
    for entry in entries {
        if text.len() + CUT.len() <= TRAIL_MAX {
            cut = text.len();
        }
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = match entry {
            Entry::Skip(record) => write!(text, "{comma}{}=skip:{}", record.target, record.skip),
            Entry::Attempt(record) => {
                let outcome = record.outcome.map_or("ok", Outcome::code);
                write!(text, "{comma}{}={outcome};{}ms", record.target, record.latency.as_millis())
            }
        };
        if text.len() > TRAIL_MAX {
            text.truncate(cut);
            text.push_str(if cut == 0 { "..." } else { CUT });
            break;
        }
    }
    text
}

/// The first target that was not skipped by design, where another one served: its name, and why it did not.
pub fn fallback(entries: &[Entry], served: Option<usize>) -> Option<(Arc<str>, &'static str)> {
    let eligible = entries.iter().find(|entry| match entry {
        Entry::Skip(record) => record.skip.is_health(),
        Entry::Attempt(_) => true,
    })?;
    let index = eligible.index();
    if served == Some(index) {
        return None;
    }
    let failures = entries.iter().rev().filter_map(attempt).filter(|attempt| attempt.index == index);
    let classes = failures.filter_map(|attempt| match attempt.outcome {
        Some(Outcome::Failed(class)) => Some(class),
        Some(Outcome::Ok | Outcome::Busy | Outcome::ClientCancelled) | None => None,
    });
    // A retry that was ended for the sake of later targets says less than the failure before it.
    let mut classes = classes.collect::<Vec<_>>().into_iter();
    let last = classes.next();
    let told = last.filter(|class| *class != Class::DeadlineExceeded).or_else(|| classes.next()).or(last);
    if let Some(class) = told {
        return Some((Arc::clone(eligible.target()), class.code()));
    }
    match eligible {
        Entry::Skip(record) => Some((Arc::clone(&record.target), record.skip.code())),
        Entry::Attempt(_) => None,
    }
}

/// What all attempts cost together; `None` if the price of one that used tokens is not known.
pub fn total_cost(entries: &[Entry]) -> Option<Cost> {
    let ended = entries.iter().filter_map(attempt).filter(|attempt| attempt.outcome.is_some());
    ended.map(|attempt| attempt.cost).sum()
}

fn attempt(entry: &Entry) -> Option<&AttemptRecord> {
    match entry {
        Entry::Attempt(record) => Some(record),
        Entry::Skip(_) => None,
    }
}

fn last_attempt(entries: &[Entry], index: usize) -> Option<&AttemptRecord> {
    entries.iter().rev().filter_map(attempt).find(|record| record.index == index)
}

fn cost_at_first(finished: &Finished<'_>, served: Option<&AttemptRecord>) -> Option<Cost> {
    let first = finished.chain?.targets.first()?;
    let served = served.filter(|served| served.index != first.index && served.cost.is_some())?;
    Some(first.model.prices.as_ref()?.cost(&served.usage.into()))
}

/// One entry of the receipt's trail, with the target's bounds.
fn line(entry: &Entry, chain: Option<&Chain>) -> Value {
    let mut line = match entry {
        Entry::Skip(record) => json!({
            "target": record.target,
            "index": record.index,
            "skip": record.skip.to_string(),
            "estimate": estimate(&record.estimate),
        }),
        Entry::Attempt(record) => json!({
            "target": record.target,
            "index": record.index,
            "attempt": record.number,
            "outcome": record.outcome.map_or("running", Outcome::code),
            "status": record.status,
            "current_model": record.served_model,
            "upstream_request_id": record.upstream_request_id,
            "latency_ms": milliseconds(record.latency),
            "first_token_ms": record.first_content.map(milliseconds),
            "usage": record.usage.to_json(),
            "usage_is_estimate": record.usage_is_estimate,
            "cost_usd": record.cost,
            "dropped": record.dropped,
            "unreadable_events": record.unreadable_events,
            "estimate": estimate(&record.estimate),
        }),
    };
    let target = chain.and_then(|chain| chain.targets.iter().find(|target| target.index == entry.index()));
    if let Some(bounds) = target.map(|target| bounds(target)).filter(|bounds| !bounds.is_empty()) {
        line["bounds"] = Value::Object(bounds);
    }
    line
}

fn estimate(estimate: &crate::routing::ceiling::Estimate) -> Value {
    json!({
        "input_tokens_low": estimate.input_low,
        "input_tokens": estimate.input_high,
        "output_tokens": estimate.output,
        "cost_usd": estimate.cost,
    })
}

/// The ceilings that the owner wrote for this target.
fn bounds(target: &Target) -> Map<String, Value> {
    let limits = &target.limits;
    let mut bounds = Map::new();
    if let Some(ratio) = limits.max_price_ratio {
        bounds.insert("max_price_ratio".into(), json!(ratio));
    }
    if let Some(cost) = limits.max_cost {
        bounds.insert("max_cost_usd".into(), json!(cost));
    }
    if let Some(price) = limits.max_price {
        let usd = |price: Option<crate::units::Price>| price.map(crate::units::Price::usd_per_million);
        bounds.insert("max_price".into(), json!({ "input": usd(price.input), "output": usd(price.output) }));
    }
    bounds
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::{Class, Skip};
    use crate::routing::ceiling::Estimate;
    use crate::routing::{SkipRecord, Trail};

    fn skip(target: &str) -> Entry {
        Entry::Skip(SkipRecord {
            index: 0,
            target: target.into(),
            skip: Skip::MaxCost,
            ready_at: None,
            cause: None,
            estimate: Estimate::default(),
        })
    }

    #[test]
    fn the_trail_has_a_line_for_each_attempt_and_skip() {
        let trail = Trail::default();
        let first = trail.begin(0, &"openai/gpt-4o".into(), Estimate::default());
        trail.update(first, |record| {
            record.outcome = Some(Outcome::Failed(Class::RateLimited));
            record.latency = Duration::from_millis(412);
        });
        let Entry::Skip(record) = skip("gemini/gemini-2.5-flash") else { return };
        trail.skip(record);
        let second = trail.begin(2, &"a/b".into(), Estimate::default());
        trail.update(second, |record| record.latency = Duration::from_micros(890_900));
        let expected =
            "openai/gpt-4o=rate_limited;412ms, gemini/gemini-2.5-flash=skip:max_cost, a/b=ok;890ms";
        assert_eq!(trail_header(&trail.entries()), expected);
    }

    #[test]
    fn the_trail_is_cut_only_where_it_must() {
        for length in 1..1100 {
            let first = "x".repeat(length);
            let header = trail_header(&[skip(&first), skip("y"), skip("z")]);
            let whole = format!("{first}=skip:max_cost, y=skip:max_cost, z=skip:max_cost");
            assert!(header.len() <= TRAIL_MAX, "{length}: {}", header.len());
            if whole.len() <= TRAIL_MAX {
                assert_eq!(header, whole);
            } else {
                assert!(header.ends_with("...") && !header.starts_with(','), "{header}");
            }
        }
    }
}
