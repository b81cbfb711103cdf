//! The chain that is walked when the one that was asked for is exhausted: with what is left of the request's time, and
//! otherwise by its own rules.

use std::sync::Arc;

use tokio::time::Instant;

use super::chain::Chain;
use super::describe::Words;
use super::plan::Plan;
use super::run::{Errand, Exhausted, Walk, Won};
use super::step::Learned;
use crate::chat::Request;

impl Plan {
    /// The plan for the last chain, where there is one for this request. A client that chose the targets itself, or
    /// wants no fallback, meant no others.
    pub fn last(&self) -> Option<Arc<Self>> {
        let chain = self.chain.last.as_ref()?;
        let unwanted = self.wishes.no_fallback || self.wishes.out_of_scope || self.is_clients_choice;
        if self.asking.is_some() || unwanted || !self.mixes_with(chain) {
            return None;
        }
        let words = Words::of(chain, &self.request);
        let (chain, request, wishes) = (Arc::clone(chain), self.request.clone(), self.wishes.clone());
        let asking = Some(Arc::clone(&self.chain));
        Some(Arc::new(Self { chain, request, wishes, chosen: None, is_clients_choice: false, asking, words }))
    }

    /// Whether the last chain has a target that may be asked now.
    pub(super) fn last_is_open(&self, learned: &Learned, deadline: Instant, now: Instant) -> bool {
        let Some(last) = self.last() else { return false };
        let mut steps = (0..last.len()).flat_map(|at| last.steps_at(at));
        steps.any(|step| step.reason_to_skip(learned, deadline, now).is_none())
    }

    /// Whether what the chain answers may stand beside what this one would: vectors of two models do not mix.
    fn mixes_with(&self, last: &Chain) -> bool {
        let model = self.chain.targets.first().map(|target| &target.model_name);
        match self.request {
            Request::Chat(_) => true,
            Request::Embeddings(_) => last.targets.iter().all(|target| Some(&target.model_name) == model),
        }
    }

    /// Walks the last chain after this one has been `exhausted`, if that can still help.
    pub(super) async fn run_last(&self, errand: &Errand, exhausted: Exhausted) -> Result<Won, Exhausted> {
        let now = Instant::now();
        // What a budget refuses is the request, not a target.
        let is_refused = exhausted.stopped_by.is_some() || exhausted.over_budget.is_some();
        if is_refused || exhausted.busy || errand.deadline <= now {
            return Err(exhausted);
        }
        let Some(plan) = self.last() else { return Err(exhausted) };
        errand.trail.enter_last_chain(&plan.chain.name);
        let deadline = errand.deadline.min(now + plan.chain.policy.deadline);
        let errand = Errand { began: now, deadline, ..errand.clone() };
        let walk = Walk::new(&plan, &errand, exhausted.learned);
        let (own, undescribed) = (exhausted.failures, exhausted.undescribed);
        walk.run().await.map_err(|last| Exhausted {
            own: own.len(),
            failures: own.into_iter().chain(last.failures).collect(),
            undescribed: last.undescribed.or(undescribed),
            ..last
        })
    }
}
