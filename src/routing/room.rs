//! What retries at one target must leave for the targets still to come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::Plan;
use super::step::{Learned, Step};

/// No attempt is counted on to be over sooner.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(20);

/// Calls and time that are not a retry's to take.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Upstream calls that the whole request may make.
    pub max_attempts: u32,
    /// Targets still to come.
    pub later_targets: u32,
    /// The time that one attempt at each of them is likely to take.
    pub later_time: Duration,
}

/// The targets behind the one that is asked. What they need is counted when a retry is considered, since hardly any
/// request comes to that.
#[derive(Debug, Clone)]
pub struct Later {
    pub plan: Arc<Plan>,
    /// The place of the first of them.
    pub from: usize,
    /// Upstream calls that were made before this chain was walked.
    pub before: u32,
    pub learned: Learned,
    /// The whole request's: a call to one of several equal deployments may have to end sooner.
    pub deadline: Instant,
}

impl Later {
    /// What they need. `since`: when the target before them was first asked; the time left was shared out then.
    pub fn room(&self, since: Instant) -> Room {
        let Self { plan, from, before, learned, deadline } = self;
        let is_open = |step: &Step<'_>| step.reason_to_skip(learned, *deadline, since).is_none();
        let usual = |plan: &Plan, from: usize| -> Vec<Option<Duration>> {
            let open = (from..plan.len()).filter_map(|at| plan.steps_at(at).find(is_open));
            open.map(|step| step.times().median(since)).collect()
        };
        let mut usual_times = usual(plan, *from);
        let later_targets = u32::try_from(usual_times.len()).unwrap_or(u32::MAX);
        // The chain that stands in for this one has calls of its own, but no time of its own.
        usual_times.extend(plan.last().iter().flat_map(|last| usual(last, 0)));
        let sharers = u32::try_from(usual_times.len()).unwrap_or(u32::MAX).saturating_add(1);
        let share = deadline.saturating_duration_since(since) / sharers;
        let unknown = share.min(Duration::from_secs(1));
        let times = usual_times.into_iter().map(|usual| usual.map_or(unknown, with_margin));
        let max_attempts = plan.chain.policy.max_attempts.saturating_add(*before);
        Room { max_attempts, later_targets, later_time: times.sum() }
    }
}

/// What must be left for a target that usually takes this long. Half of its answers take longer, and a timer never
/// fires early: with no more than the usual time left, the target would be passed over.
fn with_margin(usual: Duration) -> Duration {
    let usual = usual.max(SHORTEST_ATTEMPT);
    usual + usual / 2
}
