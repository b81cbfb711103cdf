//! One target of a plan, judged: why it may not serve this request, as far as that is known before it is asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::SkipRecord;
use super::breaker::Standing;
use super::budget::Exceeded;
use super::ceiling::{self, Estimate};
use super::chain::{Chain, Target};
use super::health::Samples;
use super::plan::Wishes;
use crate::chat::Request;
use crate::reason::Skip;
use crate::units::Tokens;

/// When it is worth asking again while a probe is out: it will soon tell.
const PROBE: Duration = Duration::from_secs(1);

/// One target of a plan.
#[derive(Debug)]
pub struct Step<'a> {
    pub target: &'a Arc<Target>,
    /// The client's request, or with the parameters that it set for this target.
    pub request: &'a Request,
    pub estimate: Estimate,
    /// Why it will not be asked, whatever the other targets do.
    pub skip: Option<Skip>,
    /// The request has words where the client's has images.
    pub in_words: bool,
    /// They are yet to be had: until then it is judged by what they will be like, and must not be asked.
    pub awaits_words: bool,
}

/// What the targets that failed have taught of those still to come.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    /// Credentials that turned out bad or without money.
    pub bad_credentials: Vec<u64>,
    /// The largest window that was too small.
    pub too_small: Option<Tokens>,
    /// Those that no connection could be made to though they need the network.
    pub unreachable: Vec<Arc<Target>>,
}

impl<'a> Step<'a> {
    /// Judges what `target` would take for this request, and whether it may.
    pub fn judge(chain: &Chain, target: &'a Arc<Target>, request: &'a Request, wishes: &Wishes) -> Self {
        let estimate = Estimate::of(request, target);
        let skip = judge(chain, target, request, &estimate, wishes);
        Self { target, request, estimate, skip, in_words: false, awaits_words: false }
    }

    /// Whether the target is passed over for images that it cannot take.
    pub fn cannot_see(&self) -> bool {
        matches!(self.skip, Some(Skip::Capability("vision" | "image_url" | "image_format")))
    }

    /// The trail's line for passing this target over.
    pub fn skipped(&self, skip: Skip) -> SkipRecord {
        let terms = self.target.terms.as_ref().filter(|_| skip == Skip::Schedule);
        SkipRecord {
            aside: None,
            index: self.target.index,
            target: Arc::clone(&self.target.id),
            in_last: false,
            key_number: self.target.key_number,
            skip,
            ready_at: terms.and_then(|terms| terms.opens_at()),
            cause: None,
            estimate: self.estimate,
        }
    }

    /// The trail's line for a target that a budget does not hold, with the time at which it may.
    pub fn over_budget(&self, exceeded: &Exceeded, now: Instant) -> SkipRecord {
        let skip = Skip::Budget { name: Arc::clone(&exceeded.budget), measure: exceeded.measure };
        SkipRecord { ready_at: exceeded.resets_in.map(|time| now + time), ..self.skipped(skip) }
    }

    /// The trail's line for a target whose circuit is open, with the time at which that ends.
    pub fn shut_out(&self, now: Instant) -> SkipRecord {
        let (ready_at, cause) = match self.target.health.breaker.standing(now) {
            Standing::Open { until, cause } => (until, Some(cause)),
            Standing::Probing { cause } => (now + PROBE, Some(cause)),
            // It was open a moment ago.
            Standing::Ready => (now, None),
        };
        SkipRecord { ready_at: Some(ready_at), cause, ..self.skipped(Skip::CircuitOpen) }
    }

    /// Why not to ask this target now, with what was learned since.
    pub fn reason_to_skip(&self, learned: &Learned, deadline: Instant, now: Instant) -> Option<Skip> {
        if self.skip.is_some() {
            return self.skip.clone();
        }
        let target = self.target;
        if target.credential.identity.is_some_and(|identity| learned.bad_credentials.contains(&identity)) {
            return Some(Skip::SameCredential);
        }
        if let (Some(too_small), Some(window)) = (learned.too_small, target.model.context)
            && window <= too_small
        {
            return Some(Skip::ContextWindow);
        }
        if target.has_breaker && target.health.breaker.standing(now) != Standing::Ready {
            return Some(Skip::CircuitOpen);
        }
        let left = deadline.saturating_duration_since(now);
        (left.is_zero() || self.times().usually_exceed(left, now)).then_some(Skip::Deadline)
    }

    /// How long the target took lately: to the first content (a stream) or the whole answer (a JSON call).
    pub fn times(&self) -> &Samples {
        let health = &self.target.health;
        if self.request.stream() { &health.first_content } else { &health.whole_answer }
    }
}

/// The first reason, in the order in which an owner would want to hear them, not to ask this target.
fn judge(
    chain: &Chain,
    target: &Target,
    request: &Request,
    estimate: &Estimate,
    wishes: &Wishes,
) -> Option<Skip> {
    if wishes.out_of_scope {
        return Some(Skip::KeyScope);
    }
    if let Some(terms) = &target.terms {
        if let Some(skip) = terms.refuse(wishes.task.as_deref(), wishes.tier.as_deref()) {
            return Some(skip);
        }
        if terms.is_closed() {
            // That it serves later is said only of a target that could.
            let unfit = unfit(target, request, estimate);
            return Some(unfit.unwrap_or(Skip::Schedule));
        }
    }
    if target.credential.missing.is_some() {
        return Some(Skip::NoCredential);
    }
    if let Some(skip) = unfit(target, request, estimate) {
        return Some(skip);
    }
    let first = chain.targets.first()?;
    ceiling::money(target, estimate, first, wishes.max_cost)
}

/// What the request asks for that the target never has.
fn unfit(target: &Target, request: &Request, estimate: &Estimate) -> Option<Skip> {
    if let Some(what) = target.fitness.lacks(request) {
        return Some(Skip::Capability(what));
    }
    estimate.overflows(request, target).then_some(Skip::ContextWindow)
}
