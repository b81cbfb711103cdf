//! What one attempt wants of the budgets that apply to it, and what it leaves them with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use super::book::{Pages, now};
use super::bucket::{Bucket, Fit};
use super::queue::Turn;
use super::window::Frame;
use super::{Alert, Amounts, Budget, Counts, Drawn, Exceeded, Limits, News, OnExceeded};
use crate::catalog::{Prices, UsageTokens};
use crate::chat::Usage;
use crate::clock;
use crate::reason::Measure;
use crate::routing::Origin;
use crate::units::Cost;

/// What is wanted of one bucket.
#[derive(Debug)]
pub struct Claim<'a> {
    pub budget: &'a Arc<Budget>,
    pub bucket: Arc<str>,
    pub amounts: Amounts,
}

/// What is set aside for one attempt. Dropped before it is settled, it is all given back.
#[derive(Debug)]
pub struct Reservation {
    holds: Mutex<SmallVec<[Hold; 2]>>,
    /// The prices of the request's first eligible target, where this one stands in for it.
    first: Option<Prices>,
}

/// What an attempt took in the end.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub usage: Usage,
    /// `None` where no price is known.
    pub cost: Option<Cost>,
    /// The client got an answer of it, be it in part.
    pub has_served: bool,
}

/// What follows from that.
#[derive(Debug, Default)]
pub struct Settled {
    pub drawn: Vec<Drawn>,
    pub alerts: Vec<Alert>,
}

/// What is set aside in one bucket.
#[derive(Debug)]
struct Hold {
    budget: Arc<Budget>,
    bucket: Arc<str>,
    reserved: Amounts,
    is_settled: bool,
}

/// Why nothing was reserved.
enum Blocked {
    Exceeded(Exceeded),
    /// Only running calls stand in the way, in the bucket of this claim, or others who wait there before it.
    Busy {
        at: usize,
        measure: Measure,
        is_first: bool,
    },
}

/// A request at the counter: it waits in one queue at most.
struct Waiting<'c, 'b> {
    claims: &'c [Claim<'b>],
    turn: Option<Turn>,
    /// The claim and the bucket in whose queue it stands.
    place: Option<(usize, Arc<str>)>,
}

/// What becomes of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Fits,
    /// Only running calls stand in the way, or others who wait before it.
    Waits(Measure),
    Exceeded(OnExceeded, Measure),
}

/// The decisions on all claims of one call, taken together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    busy: Option<(usize, Measure)>,
    exceeded: Option<(OnExceeded, usize, Measure)>,
}

/// What became of a look at all buckets.
pub(super) enum Verdict {
    Fits,
    /// Only running calls stand in the way, in the bucket of this claim.
    Busy {
        at: usize,
        measure: Measure,
    },
    Exceeded {
        at: usize,
        measure: Measure,
    },
}

type Locked<'a> = SmallVec<[MutexGuard<'a, Pages>; 4]>;

/// Reserves all of `claims` or nothing. While only running calls stand in the way it waits for its turn, until the
/// deadline. The claims must be in the order of [`Budget::sort`].
pub async fn reserve(
    claims: &[Claim<'_>],
    first: Option<Prices>,
    deadline: Instant,
) -> Result<Reservation, Exceeded> {
    let mut waiting = Waiting { claims, turn: None, place: None };
    loop {
        let (at, measure, is_first) = match waiting.try_now() {
            Ok(holds) => return Ok(Reservation { holds: Mutex::new(holds), first }),
            Err(Blocked::Exceeded(exceeded)) => return Err(exceeded),
            Err(Blocked::Busy { at, measure, is_first }) => (at, measure, is_first),
        };
        let now = Instant::now();
        if now >= deadline {
            return Err(claims[at].give_up(measure));
        }
        // With time there is room, though nobody gives anything back. Whoever is first notices, and calls the next.
        let until = if is_first { deadline.min(now + claims[at].until_the_next_frame()) } else { deadline };
        if let Some(turn) = &waiting.turn {
            // Called or not: what matters is whether it fits now.
            let _ = timeout_at(until, turn.called()).await;
        }
    }
}

impl<'a> Claim<'a> {
    /// What a call to `target` wants of `budget`.
    pub fn new(budget: &'a Arc<Budget>, origin: &Origin, target: &Arc<str>, amounts: Amounts) -> Self {
        Self { budget, bucket: budget.rule.bucket(origin, target), amounts }
    }

    fn limits(&self) -> &Limits {
        &self.budget.rule.limits
    }

    pub(super) fn pages(&self) -> MutexGuard<'a, Pages> {
        self.budget.book.pages(&self.budget.rule)
    }

    fn until_the_next_frame(&self) -> Duration {
        let until = self.pages().frame.until;
        Duration::from_millis(until.saturating_sub(now()).max(1))
    }

    /// The time to wait is over.
    fn give_up(&self, measure: Measure) -> Exceeded {
        self.exceeded(&mut self.pages(), measure)
    }

    fn exceeded(&self, pages: &mut Pages, measure: Measure) -> Exceeded {
        let frame = pages.frame;
        let rule = &self.budget.rule;
        let (name, bucket) = pages.bucket(&self.bucket);
        // That running calls hold all that is left is nothing the owner must know.
        let is_used_up = matches!(bucket.fit(self.limits(), self.amounts), Fit::Never(_));
        let is_news = is_used_up && bucket.is_news(News::Exceeded, &frame);
        let alert = is_news.then(|| Alert {
            budget: Arc::clone(&rule.name),
            bucket: name,
            news: News::Exceeded,
            used_ratio: rule.limits.used_ratio(bucket.spent()),
        });
        Exceeded { alert, ..self.refusal(bucket, &frame, measure) }
    }

    /// That it does not fit, and until when, with no news for the owner.
    pub(super) fn refusal(&self, bucket: &Bucket, frame: &Frame, measure: Measure) -> Exceeded {
        let rule = &self.budget.rule;
        let now = now();
        let resets_in = bucket.fits_at(&rule.limits, self.amounts, frame, now);
        Exceeded {
            budget: Arc::clone(&rule.name),
            measure,
            then: rule.on_exceeded,
            resets_in: resets_in.map(|at| Duration::from_millis(at.saturating_sub(now))),
            alert: None,
        }
    }

    /// What becomes of it at its bucket, for someone with this turn in its queue.
    pub(super) fn decide(&self, bucket: &Bucket, turn: Option<&Turn>) -> Decision {
        let then = self.budget.rule.on_exceeded;
        match (bucket.fit(self.limits(), self.amounts), then) {
            (Fit::Fits, OnExceeded::Reject) if bucket.queue.is_ahead_of(self.limits(), turn) => {
                Decision::Waits(self.limits().first())
            }
            (Fit::Fits, _) => Decision::Fits,
            (Fit::Later(measure), OnExceeded::Reject) => Decision::Waits(measure),
            (Fit::Later(measure) | Fit::Never(measure), _) => Decision::Exceeded(then, measure),
        }
    }
}

impl Decision {
    /// Its name in plans.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Waits(_) => "waits",
            Self::Exceeded(then, _) => then.code(),
        }
    }
}

impl Tally {
    /// One more claim, by its number. What passes a target over goes before what refuses the whole request: at another
    /// target it may not come to that.
    pub(super) fn add(&mut self, at: usize, decision: Decision) {
        match decision {
            Decision::Fits => {}
            Decision::Waits(measure) => self.busy = self.busy.or(Some((at, measure))),
            Decision::Exceeded(then, measure) => {
                if self.exceeded.is_none_or(|(known, ..)| then.severity() < known.severity()) {
                    self.exceeded = Some((then, at, measure));
                }
            }
        }
    }

    pub(super) fn verdict(self) -> Verdict {
        match (self.exceeded, self.busy) {
            (Some((_, at, measure)), _) => Verdict::Exceeded { at, measure },
            (None, Some((at, measure))) => Verdict::Busy { at, measure },
            (None, None) => Verdict::Fits,
        }
    }
}

impl Waiting<'_, '_> {
    /// Reserves everything, if it fits now and nobody came before; else takes its place in the queue, or none.
    fn try_now(&mut self) -> Result<SmallVec<[Hold; 2]>, Blocked> {
        let claims = self.claims;
        let mut locked: Locked<'_> = claims.iter().map(Claim::pages).collect();
        match self.look(&mut locked) {
            Verdict::Fits => {
                self.leave(&mut locked);
                Ok(claims.iter().zip(&mut locked).map(|(claim, pages)| Hold::take(claim, pages)).collect())
            }
            Verdict::Busy { at, measure } => {
                let is_first = self.join(at, &mut locked);
                Err(Blocked::Busy { at, measure, is_first })
            }
            Verdict::Exceeded { at, measure } => {
                self.leave(&mut locked);
                Err(Blocked::Exceeded(claims[at].exceeded(&mut locked[at], measure)))
            }
        }
    }

    /// Whether all fit.
    fn look(&self, locked: &mut Locked<'_>) -> Verdict {
        let mut tally = Tally::default();
        for (at, (claim, pages)) in self.claims.iter().zip(locked).enumerate() {
            let (_, bucket) = pages.bucket(&claim.bucket);
            tally.add(at, claim.decide(bucket, self.turn.as_ref()));
        }
        tally.verdict()
    }

    /// Waits in the queue of this claim's bucket from now on, and in no other. Whether it is the first there.
    fn join(&mut self, at: usize, locked: &mut Locked<'_>) -> bool {
        let turn = self.turn.get_or_insert_with(Turn::last).clone();
        let (name, bucket) = locked[at].bucket(&self.claims[at].bucket);
        let limits = self.claims[at].limits();
        bucket.queue.join(limits, &turn);
        let is_first = !bucket.queue.is_ahead_of(limits, Some(&turn));
        if self.place.as_ref().is_none_or(|(known, place)| (*known, place) != (at, &name)) {
            self.leave(locked);
            self.place = Some((at, name));
        }
        is_first
    }

    fn leave(&mut self, locked: &mut Locked<'_>) {
        if let (Some((at, name)), Some(turn)) = (self.place.take(), &self.turn)
            && let Some(bucket) = locked[at].known(&name)
        {
            bucket.queue.leave(self.claims[at].limits(), turn);
        }
    }
}

/// Whoever no longer waits must not hold up the others.
impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        if let (Some((at, name)), Some(turn)) = (self.place.take(), &self.turn)
            && let Some(bucket) = self.claims[at].pages().known(&name)
        {
            bucket.queue.leave(self.claims[at].limits(), turn);
        }
    }
}

impl Reservation {
    /// Counts what the attempt took and gives the rest back. Only the first call counts.
    pub fn settle(&self, taken: &Taken) -> Settled {
        let holds = std::mem::take(&mut *self.holds.lock().unwrap_or_else(PoisonError::into_inner));
        let mut settled = Settled::default();
        for mut hold in holds {
            let amounts = self.counted(hold.budget.rule.counts, taken);
            settled.alerts.extend(hold.settle(amounts));
            if !amounts.is_zero() {
                settled.drawn.push(Drawn {
                    budget: Arc::clone(&hold.budget.rule.name),
                    bucket: Arc::clone(&hold.bucket),
                    at: clock::since_epoch(),
                    amounts,
                });
            }
        }
        settled
    }

    fn counted(&self, counts: Counts, taken: &Taken) -> Amounts {
        let cost = taken.cost.unwrap_or_default();
        let cost = match (counts, &self.first) {
            (Counts::All, _) | (Counts::Fallbacks, None) => cost,
            (Counts::Fallbacks, Some(first)) => {
                cost.saturating_sub(first.cost(&UsageTokens::from(taken.usage)))
            }
        };
        Amounts { cost, tokens: taken.usage.total(), requests: taken.has_served.into() }
    }
}

impl Hold {
    fn take(claim: &Claim<'_>, pages: &mut Pages) -> Self {
        let (bucket, found) = pages.bucket(&claim.bucket);
        found.reserve(claim.amounts);
        Self { budget: Arc::clone(claim.budget), bucket, reserved: claim.amounts, is_settled: false }
    }

    /// Ends it, and says what the owner should know.
    fn settle(&mut self, taken: Amounts) -> Option<Alert> {
        self.is_settled = true;
        let rule = &self.budget.rule;
        let mut pages = self.budget.book.pages(rule);
        let frame = pages.frame;
        let bucket = pages.known(&self.bucket)?;
        bucket.settle(self.reserved, taken, &frame);
        bucket.queue.call_first();
        let used_ratio = rule.limits.used_ratio(bucket.spent());
        let is_much = !taken.is_zero() && used_ratio >= rule.warn_at;
        let is_news = is_much && bucket.is_news(News::NearlyUsedUp, &frame);
        is_news.then(|| Alert {
            budget: Arc::clone(&rule.name),
            bucket: Arc::clone(&self.bucket),
            news: News::NearlyUsedUp,
            used_ratio,
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_settled {
            self.settle(Amounts::default());
        }
    }
}
