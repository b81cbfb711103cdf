//! Asks the same target again where its failure allows that, and never at a later target's expense.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::ServiceExt;

use super::TargetService;
use crate::chat::ChatStream;
use crate::reason::{Action, Class, Failure, Retry, Trip};
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
    let mut tries = Tries::default();
    loop {
        let begun = Instant::now();
        let failure = match inner.clone().oneshot(tries.next(&call)).await {
            Err(NotServed::Failed(failure)) => failure,
            // The circuit opened meanwhile, or the money is gone: the failure says more.
            Err(NotServed::Skipped(skip)) => {
                return Err(tries.last.map_or(NotServed::Skipped(skip), NotServed::Failed));
            }
            other => return other,
        };
        // Not the request's time is over, but what of it a retry may take: the failure before says more.
        if let Some(last) = tries.last.take_if(|_| is_cut(&failure, &call)) {
            return Err(NotServed::Failed(last));
        }
        let draw = fastrand::f64();
        let Some(wait) = rule.wait(&failure, &tries, &call, draw) else {
            return Err(NotServed::Failed(failure));
        };
        if !fits(&call, wait + begun.elapsed()) {
            return Err(NotServed::Failed(failure));
        }
        tokio::time::sleep(wait).await;
        call.trail.add_wait(wait);
        tries.count(failure);
    }
}

/// What was tried at this target.
#[derive(Debug, Default)]
struct Tries {
    retries: u32,
    /// A `Retry-After` was waited out: once is enough.
    has_waited: bool,
    last: Option<Failure>,
}

impl Tries {
    /// The next attempt's call. A retry must end while there is time for the targets still to come.
    fn next(&self, call: &Call) -> Call {
        let mut call = Call { progress: Progress::default(), ..call.clone() };
        if let Some(last) = &self.last {
            let end = call.deadline.checked_sub(call.room.later_time);
            call.deadline = end.unwrap_or_else(Instant::now);
            // Such a failure opens the circuit at once; a retry of it was ordered by the owner.
            call.last_resort |= last.class.consequences().trip == Trip::Long;
        }
        call
    }

    fn count(&mut self, failure: Failure) {
        self.retries += 1;
        self.has_waited |= failure.retry_after.is_some();
        self.last = Some(failure);
    }
}

impl RetryRule {
    /// How long to wait before the next try; `None` if there shall be none.
    fn wait(&self, failure: &Failure, tries: &Tries, call: &Call, draw: f64) -> Option<Duration> {
        if tries.retries >= self.retries {
            return None;
        }
        let backoff = || Some(full_jitter(tries.retries, draw));
        let asked = || match failure.retry_after {
            Some(wait) => (wait <= self.retry_after_max && !tries.has_waited).then_some(wait),
            None => backoff(),
        };
        let default = failure.class.consequences().retry;
        match self.on.get(&failure.class) {
            Some(Action::Stop | Action::Fallback) => None,
            Some(Action::Retry | Action::RetryThenFallback) => asked(),
            Some(Action::Accept) | None => match default {
                Retry::Never => None,
                Retry::Backoff | Retry::AsAsked => asked(),
                Retry::WhenSafeOrLast if failure.stale_connection => Some(Duration::ZERO),
                Retry::WhenSafeOrLast if call.room.later_targets == 0 => backoff(),
                Retry::WhenSafeOrLast => None,
            },
        }
    }
}

/// Whether an attempt was ended for the sake of later targets.
fn is_cut(failure: &Failure, call: &Call) -> bool {
    failure.class == Class::DeadlineExceeded && Instant::now() < call.deadline
}

/// Whether a retry that takes `time` leaves every later target its attempt, in number and in time.
fn fits(call: &Call, time: Duration) -> bool {
    let room = &call.room;
    let calls = call.trail.attempts().saturating_add(1).saturating_add(room.later_targets);
    calls <= room.max_attempts && Instant::now() + time + room.later_time <= call.deadline
}
