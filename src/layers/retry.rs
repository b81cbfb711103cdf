//! Asks the same target again where its failure allows that, and never at a later target's expense.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::ServiceExt;

use super::TargetService;
use crate::chat::ChatStream;
use crate::reason::{Action, Class, Failure, Retry};
use crate::routing::backoff::full_jitter;
use crate::routing::{Call, NotServed, Progress};

/// When the same target is asked again.
#[derive(Debug, Clone)]
pub struct RetryRule {
    /// Attempts after the first.
    pub retries: u32,
    /// The longest `Retry-After` that is waited out.
    pub retry_after_max: Duration,
    /// What the chain's owner wants instead of the default.
    pub on: BTreeMap<Class, Action>,
}

/// Repeats the inner service under `rule`.
pub async fn retry<S: TargetService>(
    inner: S,
    call: Call,
    rule: Arc<RetryRule>,
) -> Result<ChatStream, NotServed> {
    let mut retries = 0;
    let mut last: Option<Failure> = None;
    loop {
        let begun = Instant::now();
        let attempt = Call { progress: Progress::default(), ..call.clone() };
        let failure = match inner.clone().oneshot(attempt).await {
            Err(NotServed::Failed(failure)) => failure,
            // The circuit opened meanwhile, or the money is gone: the failure says more.
            Err(NotServed::Skipped(skip)) => {
                return Err(last.map_or(NotServed::Skipped(skip), NotServed::Failed));
            }
            other => return other,
        };
        let draw = fastrand::f64();
        let Some(wait) = rule.wait(&failure, retries, &call, draw) else {
            return Err(NotServed::Failed(failure));
        };
        if !fits(&call, wait + begun.elapsed()) {
            return Err(NotServed::Failed(failure));
        }
        tokio::time::sleep(wait).await;
        call.trail.add_wait(wait);
        retries += 1;
        last = Some(failure);
    }
}

impl RetryRule {
    /// How long to wait before the next try; `None` if there shall be none.
    fn wait(&self, failure: &Failure, retries: u32, call: &Call, draw: f64) -> Option<Duration> {
        if retries >= self.retries {
            return None;
        }
        let backoff = || Some(full_jitter(retries, draw));
        let asked = || match failure.retry_after {
            Some(wait) => (wait <= self.retry_after_max && retries == 0).then_some(wait),
            None => backoff(),
        };
        let default = failure.class.consequences().retry;
        match self.on.get(&failure.class) {
            Some(Action::Accept | Action::Stop | Action::Fallback) => None,
            Some(Action::Retry | Action::RetryThenFallback) => asked(),
            None => match default {
                Retry::Never => None,
                Retry::Backoff | Retry::RetryAfter => asked(),
                Retry::WhenSafeOrLast if failure.stale_connection => Some(Duration::ZERO),
                Retry::WhenSafeOrLast if call.room.later_targets == 0 => backoff(),
                Retry::WhenSafeOrLast => None,
            },
        }
    }
}

/// Whether a retry that takes `time` leaves every later target its attempt, in number and in time.
fn fits(call: &Call, time: Duration) -> bool {
    let room = &call.room;
    let calls = call.trail.attempts().saturating_add(1).saturating_add(room.later_targets);
    calls <= room.max_attempts && Instant::now() + time + room.later_time <= call.deadline
}
