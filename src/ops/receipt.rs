//! The receipt: the full story of one request. The facts are kept, and told only when somebody asks.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::story::{self, Attempt, Labels, Line, Story};
use super::summary::Summary;
use crate::routing::attempt::Described;
use crate::routing::budget::Drawn;
use crate::routing::ceiling::Estimate;
use crate::routing::chain::Limits;
use crate::routing::{Chain, Entry, Origin, Place, Trail};
use crate::units::{Cost, Price};

/// A request that is over.
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
    /// What the served tokens would have cost at the chain's first target, where another one stood in for it.
    pub cost_at_first: Option<Cost>,
    /// The ceilings of those targets that have any, by their places.
    pub bounds: Vec<(Place, Arc<Limits>)>,
    /// What it took from budgets, attempt by attempt.
    pub drawn: Vec<Drawn>,
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
pub fn bounds(entries: &[Entry], chain: &Chain) -> Vec<(Place, Arc<Limits>)> {
    let own = entries.iter().filter(|entry| entry.is_own());
    let bounded = own.filter_map(|entry| {
        let place = entry.place();
        let chain = if place.in_last { chain.last.as_deref()? } else { chain };
        let target = chain.targets.iter().find(|target| target.index == place.index)?;
        target.limits.is_bounded().then(|| (place, Arc::clone(&target.limits)))
    });
    bounded.collect()
}

/// What all attempts took from budgets.
pub fn drawn(entries: &[Entry]) -> Vec<Drawn> {
    let attempts = entries.iter().filter_map(|entry| match entry {
        Entry::Attempt(record) => Some(&record.drawn),
        Entry::Skip(_) => None,
    });
    attempts.flatten().cloned().collect()
}

/// A request that went well, for those who try out what receipts go into.
#[cfg(any(test, feature = "bench-internals"))]
pub fn sample(origin: Origin, trail: Trail, began_ms: u64) -> Receipt {
    Receipt {
        origin: Arc::new(origin),
        served: trail.read(|entries| (!entries.is_empty()).then_some(0)),
        trail,
        config: "0123456789ab".into(),
        max_cost: None,
        cost_at_first: None,
        bounds: Vec::new(),
        drawn: Vec::new(),
        outcome: "ok",
        status: 200,
        latency: Duration::from_micros(901_234),
        overhead: Some(Duration::from_micros(60)),
        began_ms,
    }
}

impl Receipt {
    /// As callers read it.
    pub fn to_json(&self) -> Value {
        self.trail.read(|entries| self.story(entries).to_json())
    }

    /// Looks at all that there is to tell.
    pub fn read<T>(&self, look: impl FnOnce(&Story<'_>) -> T) -> T {
        self.trail.read(|entries| look(&self.story(entries)))
    }

    fn story<'a>(&'a self, entries: &'a [Entry]) -> Story<'a> {
        let origin = &self.origin;
        let summary = Summary::of(entries, self.served, None);
        let mut more = Map::new();
        if let Some(last) = self.trail.last_chain() {
            more.insert("chain".into(), json!(&**last));
            more.insert("asked_chain".into(), json!(&*origin.chain));
        }
        if let Some(detour) = &origin.detour {
            let taken: Vec<String> = detour.taken.iter().map(ToString::to_string).collect();
            more.insert("asked_chain".into(), json!(&*detour.asked));
            more.insert("branches".into(), json!(taken));
        }
        let described = self.trail.described();
        if !described.is_empty() {
            more.insert("described".into(), described.iter().map(|one| told(one, entries)).collect());
        }
        if let Some(ceiling) = self.max_cost {
            more.insert("max_cost_usd".into(), json!(ceiling));
        }
        if !self.drawn.is_empty() {
            more.insert("budgets".into(), self.drawn.iter().map(taken).collect());
        }
        Story {
            id: Cow::Borrowed(&origin.request_id),
            operation: Cow::Borrowed(origin.operation.name()),
            began_ms: self.began_ms,
            chain: Cow::Borrowed(&origin.chain),
            config: Cow::Borrowed(&self.config),
            outcome: Cow::Borrowed(self.outcome),
            status: self.status,
            streamed: origin.streamed,
            served: self.served,
            fallback_reason: summary.fallback.map(|(_, reason)| Cow::Borrowed(reason)),
            latency: self.latency,
            overhead: self.overhead,
            cost: summary.cost,
            cost_at_first: self.cost_at_first,
            labels: Labels {
                key: origin.key.as_deref().map(Cow::Borrowed),
                user: origin.user.as_deref().map(Cow::Borrowed),
                session: origin.session.as_deref().map(Cow::Borrowed),
                task: origin.task.as_deref().map(Cow::Borrowed),
                tier: origin.tier.as_deref().map(Cow::Borrowed),
            },
            more,
            trail: entries.iter().map(|entry| self.line(entry)).collect(),
        }
    }

    /// One entry of the trail, with the target's bounds.
    fn line<'a>(&self, entry: &'a Entry) -> Line<'a> {
        match entry {
            Entry::Skip(record) => {
                let mut line = json!({
                    "target": record.target,
                    "index": record.index,
                    "skip": record.skip.to_string(),
                    "estimate": story::estimate(&record.estimate),
                });
                story::add(&mut line, &self.seldom(entry, &record.estimate, record.key_number));
                Line::Skip(line)
            }
            Entry::Attempt(record) => {
                let mut more = self.seldom(entry, &record.estimate, record.key_number);
                if record.is_offline {
                    more.insert("offline".into(), json!(true));
                }
                Line::Attempt(Attempt::of(record, more))
            }
        }
    }

    /// What few lines of a trail have to tell.
    fn seldom(&self, entry: &Entry, estimate: &Estimate, key_number: Option<u32>) -> Map<String, Value> {
        let mut more = Map::new();
        // Which price held, where that depends on the hour.
        if let Some((input, output)) = estimate.price {
            let price = json!({ "input": input.usd_per_million(), "output": output.usd_per_million() });
            more.insert("price_usd_per_million".into(), price);
        }
        if let Some(number) = key_number {
            more.insert("key_number".into(), json!(number));
        }
        if let Some(aside) = entry.aside() {
            let what = json!({ "chain": &*aside.chain, "image": &*aside.image });
            more.insert(story::DESCRIBES.into(), what);
            return more;
        }
        if matches!(entry, Entry::Attempt(record) if record.in_words) {
            more.insert("images_described".into(), json!(true));
        }
        if let Some(last) = self.trail.last_chain().filter(|_| entry.place().in_last) {
            more.insert("chain".into(), json!(&**last));
        }
        if let Some((_, limits)) = self.bounds.iter().find(|(place, _)| *place == entry.place()) {
            more.insert("bounds".into(), Value::Object(ceilings(limits)));
        }
        more
    }
}

/// What came of putting images into words, and what that cost; no cost where a price is not known.
fn told(described: &Described, entries: &[Entry]) -> Value {
    let cost_of = |image: &Arc<str>| -> Option<Cost> {
        let made_for = entries.iter().filter_map(|entry| match entry {
            Entry::Attempt(record) => Some((record.aside.as_ref()?, record.cost)),
            Entry::Skip(_) => None,
        });
        let of_image = made_for.filter(|(aside, _)| aside.chain == described.chain && aside.image == *image);
        of_image.map(|(_, cost)| cost).sum()
    };
    let images = described.images.iter().map(
        |(image, sight)| json!({ "image": &**image, "outcome": sight.code(), "cost_usd": cost_of(image) }),
    );
    let cost: Option<Cost> = described.images.iter().map(|(image, _)| cost_of(image)).sum();
    json!({ "chain": &*described.chain, "images": images.collect::<Vec<_>>(), "cost_usd": cost })
}

/// What was taken from one bucket of a budget.
fn taken(drawn: &Drawn) -> Value {
    json!({
        "budget": drawn.budget,
        "bucket": drawn.bucket,
        "at_ms": u64::try_from(drawn.at.as_millis()).unwrap_or(u64::MAX),
        "requests": drawn.amounts.requests,
        "tokens": drawn.amounts.tokens,
        "cost_usd": drawn.amounts.cost,
    })
}

/// The ceilings that the owner wrote for a target.
pub fn ceilings(limits: &Limits) -> Map<String, Value> {
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
