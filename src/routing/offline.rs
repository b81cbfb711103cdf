//! Targets that need no network, and what that is good for: where the network seems to be down, the walk goes on to
//! them without trying everything that cannot be reached.

use std::sync::Arc;

use tokio::time::Instant;

use super::chain::Target;
use super::plan::Plan;
use super::run::Walk;
use super::step::{Learned, Step};
use crate::reason::{Class, Skip};

impl Learned {
    /// Remembers whom no connection could be made to.
    pub(super) fn of_network(&mut self, target: &Arc<Target>, class: Class) {
        if class == Class::ConnectFailed && !target.is_offline {
            self.unreachable.push(Arc::clone(target));
        }
    }

    /// Whether a connection to this target would hardly come about: none did to its host, or to two others.
    fn cuts_off(&self, target: &Target) -> bool {
        let Some(first) = self.unreachable.first().filter(|_| !target.is_offline) else { return false };
        let is_at = |origin: &str| self.unreachable.iter().any(|other| other.origin() == origin);
        is_at(target.origin()) || self.unreachable.iter().any(|other| other.origin() != first.origin())
    }
}

impl Walk<'_> {
    /// Why not to ask the target at this place of the plan now.
    pub(super) fn reason_to_skip(
        &self,
        at: usize,
        step: &Step<'_>,
        deadline: Instant,
        now: Instant,
    ) -> Option<Skip> {
        let reason = step.reason_to_skip(&self.learned, deadline, now);
        let is_cut_off = || self.learned.cuts_off(step.target) && self.has_offline_after(at, deadline, now);
        reason.or_else(|| is_cut_off().then_some(Skip::Network))
    }

    /// Whether a target that needs no network is still to come, and may be asked.
    fn has_offline_after(&self, at: usize, deadline: Instant, now: Instant) -> bool {
        let is_open = |plan: &Plan, from: usize| {
            let mut steps = (from..plan.len()).flat_map(|at| plan.steps_at(at));
            steps.any(|step| {
                step.target.is_offline && step.reason_to_skip(&self.learned, deadline, now).is_none()
            })
        };
        is_open(self.plan, at + 1) || self.plan.last().is_some_and(|last| is_open(&last, 0))
    }
}
