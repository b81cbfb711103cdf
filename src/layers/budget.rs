//! Budgets, right before the call: the most that it may take is set aside in each that applies, or it is not made.

use std::sync::Arc;

use tokio::time::Instant;

use super::record::Subject;
use crate::catalog::Prices;
use crate::chat::ChatStream;
use crate::routing::budget::{self, Bounds, Budget, Need, Wants};
use crate::routing::chain::Fitness;
use crate::routing::{Call, Entry, NotServed, Place, Serve, Target};

/// Which budgets there are for a target.
pub struct BudgetRule {
    /// Those that can concern it, in the order of [`Budget::sort`].
    pub budgets: Arc<[Arc<Budget>]>,
    /// Knows what is added to the request's cap.
    pub fitness: Arc<dyn Fitness>,
    /// What the target may take at most.
    pub bounds: Bounds,
}

/// Makes the calls that fit.
pub struct Budgeted<S> {
    pub inner: S,
    pub rule: BudgetRule,
    pub subject: Arc<Subject>,
}

/// The prices of a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PricesNow<'a> {
    here: Option<&'a Prices>,
    /// Those of the target that this one stands in for.
    of_first: Option<&'a Prices>,
}

impl<S: Serve> Serve for Budgeted<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        if self.rule.budgets.is_empty() {
            return self.inner.serve(call).await;
        }
        // In a box: most calls have no budget, and this is large.
        Box::pin(self.within_budgets(call)).await
    }
}

impl<S: Serve> Budgeted<S> {
    async fn within_budgets(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let stands_in_for = first_eligible(call, self.subject.index);
        let asked = Instant::now();
        let reserved = loop {
            let prices = self.prices_now(stands_in_for);
            let wants = Wants {
                origin: &call.origin,
                target: &self.subject.target,
                prices: prices.here,
                need: Need::of(&call.request, &call.estimate, &*self.rule.fitness, self.rule.bounds),
                first: stands_in_for,
            };
            let claims = budget::claims(self.rule.budgets.iter(), &wants).map_err(NotServed::Skipped)?;
            if claims.is_empty() {
                return self.inner.serve(call).await;
            }
            let reserved = budget::reserve(&claims, prices.of_first.cloned(), call.deadline).await;
            // By the end of a long wait it may cost more than was set aside.
            if reserved.is_err() || prices == self.prices_now(stands_in_for) {
                break reserved;
            }
        };
        let began = Instant::now();
        // What is waited here is neither the gateway's own time nor the target's.
        call.trail.add_wait(began.duration_since(asked));
        let reserved = reserved.map_err(|exceeded| {
            exceeded.alert.iter().for_each(|alert| self.subject.telemetry.budget(alert));
            NotServed::OverBudget(exceeded)
        })?;
        let began = call.began + began.duration_since(asked);
        let call = Call { began, reserved: Some(Arc::new(reserved)), ..call.clone() };
        self.inner.serve(&call).await
    }

    fn prices_now<'a>(&'a self, first: Option<&'a Target>) -> PricesNow<'a> {
        PricesNow {
            here: self.subject.prices.as_ref().map(Prices::now),
            of_first: first.and_then(|first| first.model.prices_now()),
        }
    }
}

/// The request's first eligible target, if the one at this place stands in for it.
fn first_eligible(call: &Call, index: usize) -> Option<&Target> {
    let is_eligible = |entry: &&Entry| match entry {
        Entry::Skip(record) => record.skip.is_health(),
        Entry::Attempt(_) => true,
    };
    let first = call.trail.read(|entries| {
        let own = entries.iter().filter(|entry| call.trail.is_own(entry));
        own.filter(|entry| is_eligible(entry)).map(Entry::place).next()
    })?;
    let plan = &call.later.plan;
    let here = Place { in_last: plan.asking.is_some(), index };
    let chain = plan.asking.as_ref().filter(|_| !first.in_last).unwrap_or(&plan.chain);
    let target = chain.targets.iter().find(|target| target.index == first.index);
    target.filter(|_| first != here).map(|target| &**target)
}
