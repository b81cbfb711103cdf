//! What one call wants of the budgets that apply to it, and whether it would get that: the same for a call that is made
//! and for one that is only planned.

use std::sync::Arc;

use smallvec::SmallVec;

use super::bucket::Bucket;
use super::claim::{Tally, Verdict};
use super::{Amounts, Bounds, Budget, Claim, Counts, Decision, Exceeded, Need};
use crate::catalog::Prices;
use crate::reason::Skip;
use crate::routing::step::Step;
use crate::routing::{Origin, Target};

/// A call that wants to be made.
#[derive(Debug)]
pub struct Wants<'a> {
    pub origin: &'a Origin,
    pub target: &'a Arc<str>,
    /// Those that hold now.
    pub prices: Option<&'a Prices>,
    /// The most that it may take.
    pub need: Need,
    /// The request's first eligible target, where this one stands in for it.
    pub first: Option<&'a Target>,
}

/// The budgets that a planned request finds.
#[derive(Debug, Clone, Copy)]
pub struct Purse<'a> {
    /// All that there are.
    pub budgets: &'a [Arc<Budget>],
    pub origin: &'a Origin,
}

/// What the budgets would say to a call.
#[derive(Debug, Default)]
pub struct Prospect {
    pub shares: Vec<Share>,
    /// Why the target would not be asked.
    pub skip: Option<Skip>,
    /// The budget that does not hold it.
    pub exceeded: Option<Exceeded>,
}

/// What one of them would say.
#[derive(Debug)]
pub struct Share {
    pub budget: Arc<str>,
    pub bucket: Arc<str>,
    /// What would be set aside.
    pub amounts: Amounts,
    pub decision: Decision,
}

/// What a call wants of each of these budgets that applies to it; or why it cannot be known.
pub fn claims<'a>(
    budgets: impl Iterator<Item = &'a Arc<Budget>>,
    wants: &Wants<'_>,
) -> Result<SmallVec<[Claim<'a>; 2]>, Skip> {
    let mut claims = SmallVec::new();
    for budget in budgets {
        let rule = &budget.rule;
        if !rule.scope.admits(wants.origin) {
            continue;
        }
        let cost = match (rule.counts, wants.first) {
            (Counts::All, _) => wants.prices.map(|prices| wants.need.cost(prices)),
            (Counts::Fallbacks, Some(first)) => {
                let both = wants.prices.zip(first.model.prices_now());
                both.map(|(prices, of_first)| wants.need.cost_above(prices, of_first))
            }
            (Counts::Fallbacks, None) => continue,
        };
        if cost.is_none() && rule.limits.cost.is_some() {
            return Err(Skip::NoPrice);
        }
        let amounts = Amounts { cost: cost.unwrap_or_default(), tokens: wants.need.tokens(), requests: 1 };
        claims.push(Claim::new(budget, wants.origin, wants.target, amounts));
    }
    Ok(claims)
}

impl Purse<'_> {
    /// What they would say to a call of this step, which stands in for `first`. Nothing is set aside for it.
    pub fn prospect(&self, chain: &str, step: &Step<'_>, first: Option<&Target>) -> Prospect {
        let target = step.target;
        let concerns = |budget: &&Arc<Budget>| budget.rule.scope.covers(chain, &target.id, &target.provider);
        let wants = Wants {
            origin: self.origin,
            target: &target.id,
            prices: target.model.prices_now(),
            need: Need::of(
                step.request,
                &step.estimate,
                &*target.fitness,
                Bounds::of(&target.model, &target.limits),
            ),
            first,
        };
        let claims = match claims(self.budgets.iter().filter(concerns), &wants) {
            Ok(claims) => claims,
            Err(skip) => return Prospect { skip: Some(skip), ..Prospect::default() },
        };
        let mut tally = Tally::default();
        let shares = claims.iter().enumerate().map(|(at, claim)| {
            let decision = claim.glance(|bucket, _| claim.decide(bucket, None));
            tally.add(at, decision);
            let (budget, bucket) = (Arc::clone(&claim.budget.rule.name), Arc::clone(&claim.bucket));
            Share { budget, bucket, amounts: claim.amounts, decision }
        });
        let shares = shares.collect();
        let exceeded = match tally.verdict() {
            Verdict::Fits | Verdict::Busy { .. } => None,
            Verdict::Exceeded { at, measure } => {
                let claim = &claims[at];
                Some(claim.glance(|bucket, frame| claim.refusal(bucket, frame, measure)))
            }
        };
        let skip = exceeded.as_ref().map(|exceeded: &Exceeded| Skip::Budget {
            name: Arc::clone(&exceeded.budget),
            measure: exceeded.measure,
        });
        Prospect { shares, skip, exceeded }
    }
}

impl Claim<'_> {
    /// Looks at its bucket, and leaves everything as it is.
    fn glance<T>(&self, look: impl FnOnce(&Bucket, &super::window::Frame) -> T) -> T {
        let mut pages = self.pages();
        let frame = pages.frame;
        match pages.seen(&self.bucket) {
            Some(bucket) => look(bucket, &frame),
            None => look(&Bucket::default(), &frame),
        }
    }
}
