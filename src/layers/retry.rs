//! Asks the same target again where its failure allows that, and never at a later target's expense.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::ChatStream;
use crate::reason::{Action, Class, Failure, Retry, Trip};
use crate::routing::backoff::full_jitter;
use crate::routing::room::Room;
use crate::routing::{Call, NotServed, Progress, Serve};

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

/// Repeats the inner service under its rule.
pub struct Repeat<S> {
    pub inner: S,
    pub rule: RetryRule,
}

impl<S: Serve> Serve for Repeat<S> {
    async fn serve(&self, first: &Call) -> Result<ChatStream, NotServed> {
        let mut tries = Tries { first, retries: 0, has_waited: false, last: None, room: None };
        let mut call = Cow::Borrowed(first);
        loop {
            let failure = match self.inner.serve(&call).await {
                Err(NotServed::Failed(failure)) => failure,
                // The circuit opened meanwhile, or the money is gone: the failure says more.
                Err(NotServed::Skipped(skip)) => {
                    return Err(tries.last.map_or(NotServed::Skipped(skip), NotServed::Failed));
                }
                Err(NotServed::OverBudget(exceeded)) => {
                    return Err(tries.last.map_or(NotServed::OverBudget(exceeded), NotServed::Failed));
                }
                other => return other,
            };
            // Not the request's time is over, but what of it a retry may take: the failure before says more.
            if let Some(last) = tries.last.take_if(|_| is_cut(&failure, first)) {
                return Err(NotServed::Failed(last));
            }
            let Some(wait) = self.rule.wait(&failure, &mut tries, call.began) else {
                return Err(NotServed::Failed(failure));
            };
            tokio::time::sleep(wait).await;
            first.trail.add_wait(wait);
            tries.count(failure);
            call = Cow::Owned(tries.next());
        }
    }
}

/// What was tried at this target.
#[derive(Debug)]
struct Tries<'a> {
    first: &'a Call,
    retries: u32,
    /// A `Retry-After` was waited out: once is enough.
    has_waited: bool,
    last: Option<Failure>,
    /// Counted when it is first needed.
    room: Option<Room>,
}

impl Tries<'_> {
    /// The next attempt's call. It must end while there is time for the targets still to come.
    fn next(&self) -> Call {
        let mut call = Call { began: Instant::now(), progress: Progress::default(), ..self.first.clone() };
        if let (Some(last), Some(room)) = (&self.last, &self.room) {
            let end = self.first.later.deadline.checked_sub(room.later_time);
            call.deadline = end.map_or(call.began, |end| end.min(self.first.deadline));
            // Such a failure opens the circuit at once; a retry of it was ordered by the owner.
            call.last_resort |= last.class.consequences().trip == Trip::Long;
        }
        call
    }

    /// What must be left for the targets still to come.
    fn room(&mut self) -> &Room {
        let Call { later, began, .. } = self.first;
        self.room.get_or_insert_with(|| later.room(*began))
    }

    fn count(&mut self, failure: Failure) {
        self.retries += 1;
        self.has_waited |= failure.retry_after.is_some();
        self.last = Some(failure);
    }
}

impl RetryRule {
    /// How long to wait before the next try after the one that began then; `None` if there shall be none.
    fn wait(&self, failure: &Failure, tries: &mut Tries<'_>, began: Instant) -> Option<Duration> {
        if tries.retries >= self.retries {
            return None;
        }
        // The next try goes there, and at once.
        if tries.first.stead.cures(failure.class) {
            return None;
        }
        let wait = self.backoff(failure, tries, fastrand::f64())?;
        fits(tries, began, wait).then_some(wait)
    }

    fn backoff(&self, failure: &Failure, tries: &mut Tries<'_>, draw: f64) -> Option<Duration> {
        let backoff = full_jitter(tries.retries, draw);
        let asked = match failure.retry_after {
            Some(wait) => (wait <= self.retry_after_max && !tries.has_waited).then_some(wait),
            None => Some(backoff),
        };
        match self.on.get(&failure.class) {
            Some(Action::Stop | Action::Fallback) => None,
            Some(Action::Retry | Action::RetryThenFallback) => asked,
            Some(Action::Accept) | None => match failure.class.consequences().retry {
                Retry::Never => None,
                Retry::Backoff | Retry::AsAsked => asked,
                Retry::WhenSafeOrLast if failure.stale_connection => Some(Duration::ZERO),
                Retry::WhenSafeOrLast => (tries.room().later_targets == 0).then_some(backoff),
            },
        }
    }
}

/// Whether an attempt was ended for the sake of later targets.
fn is_cut(failure: &Failure, call: &Call) -> bool {
    failure.class == Class::DeadlineExceeded && Instant::now() < call.deadline
}

/// Whether a retry after `wait`, which may take as long as the attempt that `began` then, leaves every later target its
/// attempt, in number and in time.
fn fits(tries: &mut Tries<'_>, began: Instant, wait: Duration) -> bool {
    let now = Instant::now();
    let time = wait + now.duration_since(began);
    let first = tries.first;
    let room = tries.room();
    let calls = first.trail.attempts().saturating_add(1).saturating_add(room.later_targets);
    calls <= room.max_attempts && now + time + room.later_time <= first.later.deadline
}
