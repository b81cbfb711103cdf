//! The receipt: the full story of one request. The facts are kept, and told only when somebody asks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::milliseconds;
use super::summary::Summary;
use crate::routing::ceiling::Estimate;
use crate::routing::chain::{Limits, provider_of};
use crate::routing::{Chain, Entry, Origin, Outcome, Trail};
use crate::units::{Cost, Price};

/// A request that is over. Many are kept for long: nothing here holds on to a body or to a configuration.
#[derive(Debug)]
pub struct Receipt {
    pub origin: Arc<Origin>,
    pub trail: Trail,
    /// The configuration that decided: its short hash.
    pub config: Arc<str>,
    /// The place of the target that served.
    pub served: Option<usize>,
    /// The client's own cost ceiling.
    pub max_cost: Option<Cost>,
    /// The ceilings of those targets that have any, by their places.
    pub bounds: Vec<(usize, Arc<Limits>)>,
    pub outcome: &'static str,
    /// The HTTP status that the client got, or would have got.
    pub status: u16,
    pub latency: Duration,
    /// From the whole request in hand to the first byte ready, without upstream time and waits.
    pub overhead: Option<Duration>,
    /// Milliseconds since the Unix epoch at its beginning.
    pub began_ms: u64,
}

/// The ceilings of the targets that the trail speaks of, for its receipt.
pub fn bounds(entries: &[Entry], chain: &Chain) -> Vec<(usize, Arc<Limits>)> {
    let target = |entry: &Entry| chain.targets.iter().find(|target| target.index == entry.index());
    let bounded = entries.iter().filter_map(target).filter(|target| target.limits.is_bounded());
    bounded.map(|target| (target.index, Arc::clone(&target.limits))).collect()
}

impl Receipt {
    /// As callers read it.
    pub fn to_json(&self) -> Value {
        self.trail.read(|entries| self.tell(entries))
    }

    fn tell(&self, entries: &[Entry]) -> Value {
        let origin = &self.origin;
        let summary = Summary::of(entries, self.served, None);
        let served = summary.served;
        let target = served.map(|served| &*served.target);
        let mut receipt = json!({
            "id": origin.request_id,
            "operation": origin.operation.name(),
            "began_ms": self.began_ms,
            "chain": &*origin.chain,
            "config": &*self.config,
            "outcome": self.outcome,
            "status": self.status,
            "streamed": origin.streamed,
            "target": target,
            "target_index": self.served,
            "provider": target.and_then(provider_of),
            "current_model": served.and_then(|served| served.served_model.as_deref()),
            "attempts": summary.attempts,
            "fallback_reason": summary.fallback.map(|(_, reason)| reason),
            "latency_ms": milliseconds(self.latency),
            "overhead_us": self.overhead.map(|overhead| u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX)),
            "first_token_ms": served.and_then(|served| served.first_content).map(milliseconds),
            "usage": summary.usage().to_json(),
            "cost_usd": summary.cost,
            "dropped": served.map(|served| &*served.dropped).unwrap_or_default(),
            "trail": entries.iter().map(|entry| self.line(entry)).collect::<Vec<_>>(),
        });
        if let Some(detour) = &origin.detour {
            let taken: Vec<String> = detour.taken.iter().map(ToString::to_string).collect();
            receipt["asked_chain"] = json!(&*detour.asked);
            receipt["branches"] = json!(taken);
        }
        if let Some(ceiling) = self.max_cost {
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

    /// One entry of the trail, with the target's bounds.
    fn line(&self, entry: &Entry) -> Value {
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
        let key_number = match entry {
            Entry::Skip(record) => record.key_number,
            Entry::Attempt(record) => record.key_number,
        };
        if let Some(number) = key_number {
            line["key_number"] = json!(number);
        }
        if let Some((_, limits)) = self.bounds.iter().find(|(index, _)| *index == entry.index()) {
            line["bounds"] = Value::Object(told(limits));
        }
        line
    }
}

fn estimate(estimate: &Estimate) -> Value {
    let mut told = json!({
        "input_tokens_low": estimate.input_low,
        "input_tokens": estimate.input_high,
        "output_tokens": estimate.output,
        "cost_usd": estimate.cost,
    });
    // Which price held, where that depends on the hour.
    if let Some((input, output)) = estimate.price {
        told["price_usd_per_million"] =
            json!({ "input": input.usd_per_million(), "output": output.usd_per_million() });
    }
    told
}

/// The ceilings that the owner wrote for a target.
fn told(limits: &Limits) -> Map<String, Value> {
    let mut bounds = Map::new();
    if let Some(ratio) = limits.max_price_ratio {
        bounds.insert("max_price_ratio".into(), json!(ratio));
    }
    if let Some(cost) = limits.max_cost {
        bounds.insert("max_cost_usd".into(), json!(cost));
    }
    if let Some(price) = limits.max_price {
        let usd = |price: Option<Price>| price.map(Price::usd_per_million);
        bounds.insert("max_price".into(), json!({ "input": usd(price.input), "output": usd(price.output) }));
    }
    bounds
}
