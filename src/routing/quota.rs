//! What one caller may take: requests and tokens per minute, and how much at the same time.
//!
//! What was taken flows off evenly, a whole limit's worth in a minute: so a caller that was idle may take all of it at
//! once, and one that has taken all gets the next share as soon as there is room for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The limits of one caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u32>,
    /// At the same time.
    pub concurrency: Option<u32>,
}

/// One caller's limits, and what it has taken of them.
#[derive(Debug)]
pub struct Quota {
    pub limits: Limits,
    taken: Arc<Taken>,
}

/// What one caller has taken lately. It is kept when its limits change.
#[derive(Debug, Default)]
pub struct Taken(Mutex<Levels>);

#[derive(Debug, Default)]
struct Levels {
    requests: Level,
    tokens: Level,
    running: u32,
}

/// An amount that flows off with time.
#[derive(Debug, Default, Clone, Copy)]
struct Level {
    amount: f64,
    /// When it was that much.
    at: Option<Instant>,
}

/// Leave for one request. It takes its place until it is settled or dropped.
#[derive(Debug)]
pub struct Admitted {
    quota: Arc<Quota>,
    /// Tokens, by an estimate.
    reserved: u64,
    used: u64,
    at: Instant,
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub of: Kind,
    /// What is allowed, what was taken of it, and what the request would take.
    pub limit: u32,
    pub taken: u64,
    pub asked: u64,
    /// When there is room for it; `None`: it is more than the limit allows at all.
    pub wait: Option<Duration>,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Requests,
    Tokens,
    Concurrency,
}

/// How one rate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u32,
    pub remaining: u32,
    /// Until all of it is there again.
    pub reset: Duration,
}

const MINUTE: f64 = 60.0;
/// Until a request at the same time is likely to be over.
const SOON: Duration = Duration::from_secs(1);

impl Quota {
    /// These limits over what was taken so far.
    pub fn new(limits: Limits, taken: Arc<Taken>) -> Self {
        Self { limits, taken }
    }

    /// Takes one request of about so many tokens: of every limit, or of none.
    pub fn admit(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Admitted, Refused> {
        let Limits { requests_per_minute, tokens_per_minute, concurrency } = self.limits;
        let mut levels = self.taken.lock();
        if let Some(limit) = concurrency.filter(|limit| levels.running >= *limit) {
            let taken = levels.running.into();
            return Err(Refused { of: Kind::Concurrency, limit, taken, asked: 1, wait: Some(SOON) });
        }
        let requests = levels.requests.plus(Kind::Requests, requests_per_minute, 1, now)?;
        let tokens_then = levels.tokens.plus(Kind::Tokens, tokens_per_minute, tokens, now)?;
        levels.requests = requests;
        levels.tokens = tokens_then;
        levels.running = levels.running.saturating_add(1);
        Ok(Admitted { quota: Arc::clone(self), reserved: tokens, used: 0, at: now })
    }

    /// How the requests stand, if they are limited.
    pub fn requests(&self, now: Instant) -> Option<Standing> {
        let limit = self.limits.requests_per_minute?;
        Some(self.taken.lock().requests.standing(limit, now))
    }

    /// How the tokens stand, if they are limited.
    pub fn tokens(&self, now: Instant) -> Option<Standing> {
        let limit = self.limits.tokens_per_minute?;
        Some(self.taken.lock().tokens.standing(limit, now))
    }

    /// How many requests are under way.
    pub fn running(&self) -> u32 {
        self.taken.lock().running
    }
}

impl Admitted {
    /// The request is over, and has used so many tokens.
    pub fn settle(mut self, tokens: u64) {
        self.used = tokens;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut levels = self.quota.taken.lock();
        levels.running = levels.running.saturating_sub(1);
        if let Some(limit) = self.quota.limits.tokens_per_minute {
            levels.tokens = levels.tokens.settled(limit, (self.reserved, self.used), self.at, now);
        }
    }
}

impl Taken {
    fn lock(&self) -> MutexGuard<'_, Levels> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Level {
    fn now(self, limit: u32, now: Instant) -> f64 {
        let passed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (self.amount - passed.as_secs_f64() * per_second(limit)).max(0.0)
    }

    /// The level with so much more, if that is within the limit.
    fn plus(self, of: Kind, limit: Option<u32>, more: u64, now: Instant) -> Result<Self, Refused> {
        let Some(limit) = limit else { return Ok(self) };
        let amount = self.now(limit, now);
        let then = amount + float(more);
        let over = then - f64::from(limit);
        if over > 0.0 {
            let fits = more <= limit.into();
            // To the millisecond, and never too early.
            let wait = fits.then(|| Duration::from_millis(whole((over / per_second(limit) * 1000.0).ceil())));
            return Err(Refused { of, limit, taken: whole(amount.ceil()), asked: more, wait });
        }
        Ok(Self { amount: then, at: Some(now) })
    }

    /// The level after a request that had reserved more, or less, than it used. Of what it did not use it gets back no
    /// more than can still be there: the rest has flowed off, and others may have taken its room.
    fn settled(self, limit: u32, (reserved, used): (u64, u64), since: Instant, now: Instant) -> Self {
        let amount = self.now(limit, now);
        let flowed = now.saturating_duration_since(since).as_secs_f64() * per_second(limit);
        let left = (float(reserved) - flowed).max(0.0);
        let amount = if used > reserved {
            amount + float(used - reserved)
        } else {
            (amount - float(reserved - used).min(left)).max(0.0)
        };
        Self { amount, at: Some(now) }
    }

    fn standing(self, limit: u32, now: Instant) -> Standing {
        let amount = self.now(limit, now);
        let remaining = whole((f64::from(limit) - amount).max(0.0).floor());
        Standing {
            limit,
            remaining: u32::try_from(remaining).unwrap_or(limit),
            reset: Duration::from_millis(whole((amount / per_second(limit) * 1000.0).ceil())),
        }
    }
}

/// How fast a limit's worth flows off.
fn per_second(limit: u32) -> f64 {
    f64::from(limit) / MINUTE
}

#[expect(clippy::cast_precision_loss, reason = "token counts are far below 52 bits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded already, and not below zero"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(requests: Option<u32>, tokens: Option<u32>, concurrency: Option<u32>) -> Arc<Quota> {
        let limits = Limits { requests_per_minute: requests, tokens_per_minute: tokens, concurrency };
        Arc::new(Quota::new(limits, Arc::default()))
    }

    async fn pass(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_requests_may_come_at_once_and_then_one_by_one() {
        let quota = quota(Some(6), None, None);
        let admit = || quota.admit(1_000_000, Instant::now());
        (0..6).for_each(|_| drop(admit().unwrap()));
        let refused = admit().unwrap_err();
        assert_eq!(
            (refused.of, refused.taken, refused.wait),
            (Kind::Requests, 6, Some(Duration::from_secs(10)))
        );
        let standing = quota.requests(Instant::now()).unwrap();
        assert_eq!(standing, Standing { limit: 6, remaining: 0, reset: Duration::from_mins(1) });
        pass(9_999).await;
        assert_eq!(admit().unwrap_err().wait, Some(Duration::from_millis(1)));
        pass(1).await;
        admit().unwrap();
        assert!(admit().is_err());
        pass(60_000).await;
        let standing = quota.requests(Instant::now()).unwrap();
        assert_eq!((standing.remaining, standing.reset), (6, Duration::ZERO));
        assert_eq!(quota.tokens(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_takes_nothing_of_any_limit() {
        let quota = quota(Some(10), Some(100), Some(3));
        let held = quota.admit(90, Instant::now()).unwrap();
        for _ in 0..50 {
            assert_eq!(quota.admit(20, Instant::now()).unwrap_err().of, Kind::Tokens);
        }
        assert_eq!(quota.requests(Instant::now()).unwrap().remaining, 9);
        let more: Vec<_> = (0..2).map(|_| quota.admit(1, Instant::now()).unwrap()).collect();
        for _ in 0..50 {
            assert_eq!(quota.admit(1, Instant::now()).unwrap_err().of, Kind::Concurrency);
        }
        assert_eq!((quota.running(), quota.tokens(Instant::now()).unwrap().remaining), (3, 8));
        drop((held, more));
        assert_eq!((quota.running(), quota.tokens(Instant::now()).unwrap().remaining), (0, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_settled_to_what_was_used() {
        let quota = quota(None, Some(6000), None);
        let remaining = || quota.tokens(Instant::now()).unwrap().remaining;
        quota.admit(1500, Instant::now()).unwrap().settle(200);
        assert_eq!(remaining(), 5800);
        quota.admit(100, Instant::now()).unwrap().settle(5000);
        assert_eq!(remaining(), 800);
        quota.admit(100, Instant::now()).unwrap().settle(9000);
        assert_eq!(
            (remaining(), quota.admit(1, Instant::now()).unwrap_err().wait.unwrap().as_secs()),
            (0, 82)
        );
        let never = quota.admit(6001, Instant::now()).unwrap_err();
        assert_eq!((never.of, never.limit, never.wait), (Kind::Tokens, 6000, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_flowed_off_meanwhile_is_not_given_back_twice() {
        let quota = quota(None, Some(6000), None);
        let long = quota.admit(3000, Instant::now()).unwrap();
        pass(30_000).await;
        quota.admit(1000, Instant::now()).unwrap().settle(1000);
        // All that it had reserved has flowed off: the thousand is another's.
        long.settle(0);
        assert_eq!(quota.tokens(Instant::now()).unwrap().remaining, 5000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_stays_when_the_limits_change() {
        let taken = Arc::new(Taken::default());
        let with = |requests| {
            let limits = Limits { requests_per_minute: Some(requests), ..Limits::default() };
            Arc::new(Quota::new(limits, Arc::clone(&taken)))
        };
        let old = with(10);
        let running = old.admit(0, Instant::now()).unwrap();
        (0..4).for_each(|_| drop(old.admit(0, Instant::now()).unwrap()));
        assert_eq!(with(8).requests(Instant::now()).unwrap().remaining, 3);
        let less = with(4);
        assert_eq!((less.requests(Instant::now()).unwrap().remaining, less.running()), (0, 1));
        assert!(less.admit(0, Instant::now()).is_err());
        drop(running);
        assert_eq!(less.running(), 0);
    }
}
