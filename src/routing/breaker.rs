//! The circuit breaker of one target: it stops asking a target that does not answer, and finds out by single
//! probes when it answers again.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
const PARK_MAX: Duration = Duration::from_mins(1);
/// The first and the longest opening after a failure that a person has to mend.
const LONG: Duration = Duration::from_mins(1);
const LONG_MAX: Duration = Duration::from_mins(10);
/// Into how many parts the window is divided; the oldest part leaves as a whole.
const PARTS: u32 = 10;

/// The state of one target's circuit, shared by every chain that uses the target.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
    /// Whether the state's phase is another than closed. Nearly all requests need to know no more than that it is not.
    is_broken: AtomicBool,
}

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
    Open(Opening),
    /// One probe is out; this is what it may end.
    HalfOpen(Opening),
}

#[derive(Debug, Clone, Copy)]
struct Opening {
    until: Instant,
    cause: Class,
    /// No probe is needed: the upstream itself said when.
    closes_by_itself: bool,
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
pub struct Permit<'a> {
    breaker: &'a Breaker,
    /// The opening that this permit probes, until its outcome is known.
    probe: Option<Opening>,
}

impl Breaker {
    /// How the circuit stands, changing nothing.
    pub fn standing(&self, now: Instant) -> Standing {
        if self.is_closed() {
            return Standing::Ready;
        }
        match self.lock().phase {
            Phase::Open(opening) if now < opening.until => opening.standing(),
            Phase::HalfOpen(opening) => Standing::Probing { cause: opening.cause },
            Phase::Closed | Phase::Open(_) => Standing::Ready,
        }
    }

    /// Asks for leave. After the opening's time the first to ask becomes the probe.
    pub fn admit(&self, now: Instant) -> Result<Permit<'_>, Standing> {
        if self.is_closed() {
            return Ok(Permit { breaker: self, probe: None });
        }
        let mut state = self.lock();
        let probe = match state.phase {
            Phase::Closed => None,
            Phase::Open(opening) if now < opening.until => return Err(opening.standing()),
            Phase::Open(Opening { closes_by_itself: true, .. }) => {
                state.phase = Phase::Closed;
                None
            }
            Phase::Open(opening) => {
                state.phase = Phase::HalfOpen(opening);
                Some(opening)
            }
            Phase::HalfOpen(opening) => return Err(Standing::Probing { cause: opening.cause }),
        };
        Ok(Permit { breaker: self, probe })
    }

    /// Asks for leave although the circuit is open, because nothing else is left: one request at a time.
    pub fn admit_last_resort(&self, now: Instant) -> Result<Permit<'_>, Standing> {
        let mut state = self.lock();
        if let Phase::Open(opening) = state.phase
            && now < opening.until
        {
            state.phase = Phase::HalfOpen(opening);
            return Ok(Permit { breaker: self, probe: Some(opening) });
        }
        drop(state);
        self.admit(now)
    }

    /// An attempt that had been let through ended well.
    pub fn succeeded(&self, rule: &BreakerRule, now: Instant) {
        let mut state = self.lock();
        state.in_a_row = 0;
        state.window.part = rule.window / PARTS;
        state.window.count(now, false);
    }

    /// An attempt that had been let through failed. While a probe is out, that alone tells how the target is now.
    pub fn failed(&self, rule: &BreakerRule, class: Class, retry_after: Option<Duration>, now: Instant) {
        let mut state = self.lock();
        match (class.consequences().trip, retry_after) {
            (Trip::Nothing, _) => {}
            (Trip::Long, _) => state.fail_for_long(class, now),
            (Trip::RetryAfter, Some(wait)) => state.park(Opening::parked(class, wait, now)),
            (Trip::RetryAfter, None) | (Trip::Count, _) => state.count_failure(rule, class, now),
        }
    }

    fn is_closed(&self) -> bool {
        !self.is_broken.load(Ordering::Acquire)
    }

    fn lock(&self) -> Changing<'_> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Changing { state, is_broken: &self.is_broken }
    }
}

/// The locked state; when it is let go, `is_broken` says what it has become.
struct Changing<'a> {
    state: MutexGuard<'a, State>,
    is_broken: &'a AtomicBool,
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.is_broken.store(!matches!(self.state.phase, Phase::Closed), Ordering::Release);
    }
}

impl Permit<'_> {
    /// The target answered: a probe closes the circuit. How the answer ends is counted by
    /// [`Breaker::succeeded`] and [`Breaker::failed`].
    pub fn answered(mut self) {
        if self.probe.take().is_some() {
            self.breaker.lock().close();
        }
    }

    /// The attempt failed before any content.
    pub fn failed(mut self, rule: &BreakerRule, class: Class, retry_after: Option<Duration>, now: Instant) {
        if self.probe.is_none() {
            return self.breaker.failed(rule, class, retry_after, now);
        }
        // The caller's time ran out: that says nothing of the target, so the probe is given back.
        if class == Class::DeadlineExceeded {
            return;
        }
        let Some(probed) = self.probe.take() else { return };
        let mut state = self.breaker.lock();
        let again = match (class.consequences().trip, retry_after) {
            // It refused this request, but it is there.
            (Trip::Nothing, _) => return state.close(),
            // It was tried before its time, and nothing has changed.
            _ if probed.is_long() && now < probed.until => probed,
            (Trip::Long, _) => return state.open_for_long(class, now),
            // Whether what a person has to mend was mended is as unknown as before.
            (Trip::Count | Trip::RetryAfter, _) if probed.is_long() => {
                return state.open_for_long(probed.cause, now);
            }
            (Trip::RetryAfter, Some(wait)) => Opening::parked(class, wait, now),
            (Trip::Count | Trip::RetryAfter, _) => {
                Opening { until: now + rule.cool_down, cause: class, closes_by_itself: false }
            }
        };
        // A last resort may have come before the time that the opening was to last.
        state.phase = Phase::Open(Opening { until: again.until.max(probed.until), ..again });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(opening) = self.probe.take() {
            self.breaker.lock().phase = Phase::Open(opening);
        }
    }
}

impl Opening {
    fn parked(cause: Class, wait: Duration, now: Instant) -> Self {
        Self { until: now + wait.min(PARK_MAX), cause, closes_by_itself: true }
    }

    fn is_long(self) -> bool {
        self.cause.consequences().trip == Trip::Long
    }

    fn standing(self) -> Standing {
        Standing::Open { until: self.until, cause: self.cause }
    }
}

impl State {
    fn close(&mut self) {
        *self = Self::default();
    }

    /// Opens it until the upstream's own time, unless it is open for longer already.
    fn park(&mut self, parked: Opening) {
        match self.phase {
            Phase::Closed => self.phase = Phase::Open(parked),
            Phase::Open(opening) if !opening.is_long() && opening.until < parked.until => {
                self.phase = Phase::Open(parked);
            }
            Phase::Open(_) | Phase::HalfOpen(_) => {}
        }
    }

    /// Many requests that were under way together fail together: only the first of them lengthens the opening.
    fn fail_for_long(&mut self, cause: Class, now: Instant) {
        match self.phase {
            Phase::Open(opening) if opening.is_long() && now < opening.until => {}
            Phase::HalfOpen(_) => {}
            Phase::Closed | Phase::Open(_) => self.open_for_long(cause, now),
        }
    }

    fn open_for_long(&mut self, cause: Class, now: Instant) {
        let doubled = LONG * 2_u32.saturating_pow(self.long_openings.min(8));
        self.long_openings += 1;
        self.phase =
            Phase::Open(Opening { until: now + doubled.min(LONG_MAX), cause, closes_by_itself: false });
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
            self.phase =
                Phase::Open(Opening { until: now + rule.cool_down, cause: class, closes_by_itself: false });
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

    fn breaker() -> (Breaker, BreakerRule) {
        (Breaker::default(), BreakerRule::default())
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
            breaker.succeeded(&rule, Instant::now());
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

    #[tokio::test(start_paused = true)]
    async fn what_fails_together_opens_once_and_a_trial_before_its_time_lengthens_nothing() {
        let (breaker, rule) = breaker();
        let now = Instant::now();
        let permits: Vec<Permit<'_>> = (0..50).map(|_| breaker.admit(now).unwrap()).collect();
        permits.into_iter().for_each(|permit| permit.failed(&rule, Class::AuthFailed, None, now));
        let minute = Standing::Open { until: now + LONG, cause: Class::AuthFailed };
        assert_eq!(breaker.standing(now), minute);
        for class in [Class::AuthFailed, Class::ServerError] {
            breaker.admit_last_resort(now).unwrap().failed(&rule, class, None, now);
            assert_eq!(breaker.standing(now), minute);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn late_failures_leave_a_probe_and_a_longer_opening_alone() {
        let (breaker, rule) = breaker();
        let now = Instant::now();
        let late = |class, seconds| {
            breaker.failed(&rule, class, Some(Duration::from_secs(seconds)), now);
            breaker.standing(now)
        };
        let long = late(Class::ModelNotFound, 0);
        assert_eq!(late(Class::RateLimited, 1), long);
        assert_eq!(
            late(Class::RateLimited, 90),
            long,
            "a rate limit closes by itself, a missing model does not"
        );
        let probe = breaker.admit_last_resort(now).unwrap();
        for class in [Class::RateLimited, Class::AuthFailed, Class::ServerError] {
            assert_eq!(late(class, 5), Standing::Probing { cause: Class::ModelNotFound });
        }
        probe.answered();
        assert_eq!(breaker.standing(now), Standing::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_opening_stays_long_when_its_probe_meets_another_failure() {
        let (breaker, rule) = breaker();
        breaker.failed(&rule, Class::AuthFailed, None, Instant::now());
        tokio::time::advance(LONG).await;
        breaker.admit(Instant::now()).unwrap().failed(&rule, Class::ConnectFailed, None, Instant::now());
        let expected = Standing::Open { until: Instant::now() + 2 * LONG, cause: Class::AuthFailed };
        assert_eq!(breaker.standing(Instant::now()), expected);
    }
}
