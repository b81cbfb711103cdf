//! The circuit breaker of one target: it stops asking a target that does not answer, and finds out by single
//! probes when it answers again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::reason::{Class, Trip};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerRule {
    /// Failures in a row, inside the window, that open it.
    pub failures: u32,
    /// The share of failed attempts inside the window that opens it, from 0 to 1.
    pub error_rate: f64,
    /// The share counts only from this many attempts on.
    pub min_requests: u32,
    /// How far back failures count.
    pub window: Duration,
    /// How long it stays open before a probe.
    pub cool_down: Duration,
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self {
            failures: 5,
            error_rate: 0.5,
            min_requests: 20,
            window: Duration::from_secs(30),
            cool_down: Duration::from_secs(10),
        }
    }
}

/// The longest that a `Retry-After` parks a target.
const PARK_MAX: Duration = Duration::from_secs(60);
/// The first and the longest opening after a failure that a person has to mend.
const LONG: Duration = Duration::from_secs(60);
const LONG_MAX: Duration = Duration::from_mins(10);
/// Into how many parts the window is divided; the oldest part leaves as a whole.
const PARTS: u32 = 10;

/// The state of one target's circuit, shared by every chain that uses the target.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Failures since the last success, and when the last one was.
    in_a_row: u32,
    last_failure: Option<Instant>,
    window: Window,
    /// How often in a row it was opened for long.
    long_openings: u32,
}

#[derive(Debug, Default, Clone, Copy)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Instant,
        cause: Class,
        closes_by_itself: bool,
    },
    /// One probe is out.
    HalfOpen {
        cause: Class,
    },
}

/// Whether a target may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// No: opened by this class, until then.
    Open { until: Instant, cause: Class },
    /// No: a probe is out that will tell.
    Probing { cause: Class },
}

/// Leave to ask the target once. What came of it must be reported; if it is dropped without a report, a probe is
/// taken as not made.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    /// The cause of the opening that this permit probes.
    probe: Option<Class>,
    settled: bool,
}

impl Breaker {
    /// How the circuit stands, changing nothing.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.lock().phase {
            Phase::Open { until, cause, .. } if now < until => Standing::Open { until, cause },
            Phase::HalfOpen { cause } => Standing::Probing { cause },
            Phase::Closed | Phase::Open { .. } => Standing::Ready,
        }
    }

    /// Asks for leave. After the opening's time the first to ask becomes the probe.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Permit, Standing> {
        let mut state = self.lock();
        let probe = match state.phase {
            Phase::Closed => None,
            Phase::Open { until, cause, .. } if now < until => return Err(Standing::Open { until, cause }),
            Phase::Open { closes_by_itself: true, .. } => {
                state.phase = Phase::Closed;
                None
            }
            Phase::Open { cause, .. } => {
                state.phase = Phase::HalfOpen { cause };
                Some(cause)
            }
            Phase::HalfOpen { cause } => return Err(Standing::Probing { cause }),
        };
        Ok(Permit { breaker: Arc::clone(self), probe, settled: false })
    }

    /// Asks for leave although the circuit is open, because nothing else is left: one request at a time.
    pub fn admit_last_resort(self: &Arc<Self>, now: Instant) -> Result<Permit, Standing> {
        let mut state = self.lock();
        if let Phase::Open { until, cause, .. } = state.phase
            && now < until
        {
            state.phase = Phase::HalfOpen { cause };
            return Ok(Permit { breaker: Arc::clone(self), probe: Some(cause), settled: false });
        }
        drop(state);
        self.admit(now)
    }

    /// An attempt that had been let through ended well.
    pub fn succeeded(&self, now: Instant) {
        let mut state = self.lock();
        state.in_a_row = 0;
        state.window.count(now, false);
    }

    /// An attempt that had been let through failed.
    pub fn failed(&self, rule: &BreakerRule, class: Class, retry_after: Option<Duration>, now: Instant) {
        let mut state = self.lock();
        let parked = retry_after.filter(|_| class.consequences().trip == Trip::RetryAfter);
        match (class.consequences().trip, parked) {
            (Trip::Nothing, _) => {}
            // Calls that were under way together fail together: that is one opening.
            (Trip::Long, _) if state.is_out_for_long() => {}
            (Trip::Long, _) => state.open_for_long(class, now),
            (Trip::RetryAfter | Trip::Count, Some(wait)) => state.park(class, now + wait.min(PARK_MAX)),
            (Trip::RetryAfter | Trip::Count, None) => state.count_failure(rule, class, now),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The target answered: a probe closes the circuit. How the answer ends is counted by
    /// [`Breaker::succeeded`] and [`Breaker::failed`].
    pub fn answered(mut self) {
        self.settled = true;
        if self.probe.is_some() {
            self.breaker.lock().close();
        }
    }

    /// The attempt failed before any content.
    pub fn failed(mut self, rule: &BreakerRule, class: Class, retry_after: Option<Duration>, now: Instant) {
        if let Some(cause) = self.probe {
            if class == Class::DeadlineExceeded {
                // The caller's time ran out: that says nothing of the target, so the next one probes.
                return;
            }
            self.settled = true;
            let mut state = self.breaker.lock();
            match class.consequences().trip {
                // It refused this request, but it is there.
                Trip::Nothing => state.close(),
                trip @ (Trip::Count | Trip::RetryAfter) if cause.consequences().trip != Trip::Long => {
                    let asked = retry_after.filter(|_| trip == Trip::RetryAfter);
                    let until = now + asked.map_or(rule.cool_down, |wait| wait.min(PARK_MAX));
                    state.phase = Phase::Open { until, cause: class, closes_by_itself: false };
                }
                Trip::Count | Trip::RetryAfter | Trip::Long => state.open_for_long(class, now),
            }
        } else {
            self.settled = true;
            self.breaker.failed(rule, class, retry_after, now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let (false, Some(cause)) = (self.settled, self.probe) {
            let until = Instant::now();
            self.breaker.lock().phase = Phase::Open { until, cause, closes_by_itself: false };
        }
    }
}

impl State {
    fn close(&mut self) {
        *self = Self::default();
    }

    /// Open, or probed, after a failure that a person has to mend.
    fn is_out_for_long(&self) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Open { cause, .. } | Phase::HalfOpen { cause } => cause.consequences().trip == Trip::Long,
        }
    }

    /// Open until then and no longer. A probe that is out decides for itself, and nothing is shortened.
    fn park(&mut self, cause: Class, until: Instant) {
        let is_longer = match self.phase {
            Phase::Closed => true,
            Phase::Open { until: already, .. } => already < until && !self.is_out_for_long(),
            Phase::HalfOpen { .. } => false,
        };
        if is_longer {
            self.phase = Phase::Open { until, cause, closes_by_itself: true };
        }
    }

    fn open_for_long(&mut self, cause: Class, now: Instant) {
        let doubled = LONG * 2_u32.saturating_pow(self.long_openings.min(8));
        self.long_openings += 1;
        self.phase = Phase::Open { until: now + doubled.min(LONG_MAX), cause, closes_by_itself: false };
    }

    fn count_failure(&mut self, rule: &BreakerRule, class: Class, now: Instant) {
        self.window.part = rule.window / PARTS;
        self.window.count(now, true);
        let lapsed = self.last_failure.is_none_or(|last| now.duration_since(last) > rule.window);
        self.in_a_row = if lapsed { 1 } else { self.in_a_row + 1 };
        self.last_failure = Some(now);
        let (all, failed) = self.window.sums(now);
        let by_rate = all >= rule.min_requests && f64::from(failed) >= rule.error_rate * f64::from(all);
        let is_closed = matches!(self.phase, Phase::Closed);
        if is_closed && (self.in_a_row >= rule.failures || by_rate) {
            self.phase = Phase::Open { until: now + rule.cool_down, cause: class, closes_by_itself: false };
        }
    }
}

/// Attempts and failures of the last while, in parts that leave one by one.
#[derive(Debug, Default)]
struct Window {
    part: Duration,
    parts: [Part; PARTS as usize],
}

#[derive(Debug, Default, Clone, Copy)]
struct Part {
    began: Option<Instant>,
    all: u32,
    failed: u32,
}

impl Window {
    fn count(&mut self, now: Instant, failed: bool) {
        if self.part.is_zero() {
            self.part = BreakerRule::default().window / PARTS;
        }
        let newest = self
            .parts
            .iter()
            .position(|part| part.began.is_some_and(|began| now.duration_since(began) < self.part));
        let at = newest.unwrap_or_else(|| {
            let oldest = (0..self.parts.len()).min_by_key(|at| self.parts[*at].began).unwrap_or(0);
            self.parts[oldest] = Part { began: Some(now), all: 0, failed: 0 };
            oldest
        });
        self.parts[at].all += 1;
        self.parts[at].failed += u32::from(failed);
    }

    fn sums(&self, now: Instant) -> (u32, u32) {
        let window = self.part * PARTS;
        let recent = self
            .parts
            .iter()
            .filter(|part| part.began.is_some_and(|began| now.duration_since(began) <= window));
        recent.fold((0, 0), |(all, failed), part| (all + part.all, failed + part.failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Arc<Breaker>, BreakerRule) {
        (Arc::new(Breaker::default()), BreakerRule::default())
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let (breaker, rule) = breaker();
        for _ in 0..5 {
            breaker.admit(Instant::now()).unwrap().failed(&rule, Class::ServerError, None, Instant::now());
        }
        assert!(matches!(
            breaker.admit(Instant::now()),
            Err(Standing::Open { cause: Class::ServerError, .. })
        ));
        tokio::time::advance(Duration::from_secs(10)).await;
        let probe = breaker.admit(Instant::now()).unwrap();
        assert!(matches!(breaker.admit(Instant::now()), Err(Standing::Probing { .. })));
        probe.answered();
        assert_eq!(breaker.standing(Instant::now()), Standing::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_between_failures_keeps_it_closed_below_the_rate() {
        let (breaker, rule) = breaker();
        for _ in 0..8 {
            breaker.failed(&rule, Class::Overloaded, None, Instant::now());
            breaker.succeeded(Instant::now());
        }
        assert_eq!(breaker.standing(Instant::now()), Standing::Ready);
        for _ in 0..4 {
            breaker.failed(&rule, Class::Overloaded, None, Instant::now());
        }
        assert!(matches!(breaker.standing(Instant::now()), Standing::Open { .. }), "12 of 20 is over half");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_it_again_and_a_lost_probe_is_made_anew() {
        let (breaker, rule) = breaker();
        for _ in 0..5 {
            breaker.failed(&rule, Class::ConnectFailed, None, Instant::now());
        }
        tokio::time::advance(rule.cool_down).await;
        breaker.admit(Instant::now()).unwrap().failed(&rule, Class::ConnectFailed, None, Instant::now());
        assert!(matches!(breaker.standing(Instant::now()), Standing::Open { .. }));
        tokio::time::advance(rule.cool_down).await;
        drop(breaker.admit(Instant::now()).unwrap());
        assert!(breaker.admit(Instant::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_after_parks_it_without_a_probe() {
        let (breaker, rule) = breaker();
        let wait = Some(Duration::from_secs(2));
        breaker.admit(Instant::now()).unwrap().failed(&rule, Class::RateLimited, wait, Instant::now());
        assert!(breaker.admit(Instant::now()).is_err());
        tokio::time::advance(Duration::from_secs(2)).await;
        let first = breaker.admit(Instant::now());
        let second = breaker.admit(Instant::now());
        assert!(first.is_ok() && second.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_key_opens_it_for_long_and_longer() {
        let (breaker, rule) = breaker();
        for expected in [60, 120, 240, 480, 600, 600] {
            breaker.admit(Instant::now()).unwrap().failed(&rule, Class::AuthFailed, None, Instant::now());
            let Standing::Open { until, .. } = breaker.standing(Instant::now()) else { panic!("open") };
            assert_eq!(until - Instant::now(), Duration::from_secs(expected));
            tokio::time::advance(Duration::from_secs(expected)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_resort_is_one_at_a_time() {
        let (breaker, rule) = breaker();
        for _ in 0..5 {
            breaker.failed(&rule, Class::Overloaded, None, Instant::now());
        }
        let permit = breaker.admit_last_resort(Instant::now()).unwrap();
        assert!(breaker.admit_last_resort(Instant::now()).is_err());
        permit.answered();
        assert_eq!(breaker.standing(Instant::now()), Standing::Ready);
    }
}
