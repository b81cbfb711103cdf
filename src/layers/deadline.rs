//! The clocks of one attempt. An answer counts as begun only with its first content; then idle and total limits
//! hold to its end.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::commit::size;
use crate::chat::stream::Events;
use crate::chat::{ChatStream, Event, FinishReason};
use crate::reason::{Class, Failure};
use crate::routing::chain::Clocks;
use crate::routing::{Call, NotServed, Progress, Serve};

/// The clocks of a target, and what else decides about its first content.
#[derive(Debug)]
pub struct ClockRule {
    pub clocks: Clocks,
    pub accept_empty: bool,
    pub always_reasons: bool,
    /// Whether the target streams at all: one that does not is waited for as for a JSON answer.
    pub streams: bool,
}

/// Where nothing is configured: the wait for the first token of an answer without thinking, its surcharge per
/// 10,000 input tokens, and the wait where the model thinks first.
const FIRST_TOKEN: Duration = Duration::from_secs(10);
const PER_TEN_THOUSAND: Duration = Duration::from_secs(1);
const FIRST_TOKEN_REASONING: Duration = Duration::from_mins(5);
/// How many bytes of roles, padding and other things that are no content are kept while the first content is awaited.
const BEFORE_CONTENT: usize = 16 << 20;

/// Answers when the first content is in hand, or fails by the clock that ran out first.
pub struct Deadline<S> {
    pub inner: S,
    pub rule: ClockRule,
}

impl<S: Serve> Serve for Deadline<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let rule = &self.rule;
        let streamed = call.request.stream() && rule.streams;
        let reasons = rule.reasons(call);
        let (limit, clock) = rule.until_content(call, streamed, reasons);
        let ends = Ends { of_attempt: call.began + limit, clock, of_chain: call.deadline };
        // One timer for the whole wait.
        let mut alarm = pin!(sleep_until(ends.soonest()));
        let asked = pin!(self.inner.serve(call));
        let Some(answered) = before(alarm.as_mut(), asked).await else {
            return Err(NotServed::Failed(ends.passed()));
        };
        let idle = (streamed && !reasons).then_some(rule.clocks.idle);
        let stream = first_content(answered?, &ends, alarm, idle, rule.accept_empty).await?;
        if !streamed {
            return Ok(stream);
        }
        let timer = Timer {
            idle: rule.clocks.idle,
            end: call.began + rule.clocks.stream,
            chain: ends.of_chain,
            progress: call.progress.clone(),
            since: None,
            alarm: None,
        };
        Ok(stream.map_events(|events| Timed { events, timer, over: false }.boxed()))
    }
}

impl ClockRule {
    /// Whether the model thinks before it answers this request.
    fn reasons(&self, call: &Call) -> bool {
        self.always_reasons || call.request.thinks()
    }

    /// The longest wait for the first content, and the class of an attempt that outlasts it.
    fn until_content(&self, call: &Call, streamed: bool, reasons: bool) -> (Duration, Class) {
        let Clocks { stream, answer, .. } = self.clocks;
        if !streamed {
            return (answer, Class::AnswerTimeout);
        }
        let first_token = self.first_token(call, reasons);
        // A stream that may not last longer than this as a whole is not waited for any longer either.
        if stream < first_token {
            (stream, Class::StreamTimeout)
        } else {
            (first_token, Class::FirstTokenTimeout)
        }
    }

    fn first_token(&self, call: &Call, reasons: bool) -> Duration {
        self.clocks.first_token.unwrap_or_else(|| {
            let tens = u32::try_from(call.estimate.input_high.get() / 10_000).unwrap_or(u32::MAX);
            if reasons { FIRST_TOKEN_REASONING } else { FIRST_TOKEN + PER_TEN_THOUSAND.saturating_mul(tens) }
        })
    }
}

/// When the wait for the first content is over.
struct Ends {
    of_attempt: Instant,
    /// The class of the attempt's own clock.
    clock: Class,
    of_chain: Instant,
}

impl Ends {
    fn soonest(&self) -> Instant {
        self.of_attempt.min(self.of_chain)
    }

    /// The failure of the clock that ran out.
    fn passed(&self) -> Failure {
        if self.of_chain <= self.of_attempt {
            Failure::new(Class::DeadlineExceeded, "The request's deadline passed.")
        } else if self.clock == Class::AnswerTimeout {
            Failure::new(self.clock, "The upstream did not finish its answer in time.")
        } else {
            Failure::new(self.clock, "The upstream sent no content in time.")
        }
    }
}

/// Reads up to the first content. Heads, pings and roles do not count; an answer that ends well without content
/// is empty, unless it was cut, filtered, or is a tool call.
async fn first_content(
    mut stream: ChatStream,
    ends: &Ends,
    mut alarm: Pin<&mut Sleep>,
    idle: Option<Duration>,
    accept_empty: bool,
) -> Result<ChatStream, NotServed> {
    // Most answers begin with their content.
    let mut held = VecDeque::with_capacity(1);
    let mut finish = None;
    let mut unreadable = false;
    let mut alive = false;
    let mut bytes = 0;
    loop {
        // Silence counts from the first sign of life on: until then the upstream may be queueing.
        let quiet = idle.filter(|_| alive).map(|idle| Instant::now() + idle);
        let quiet = quiet.filter(|quiet| *quiet < ends.soonest());
        let until = quiet.unwrap_or(ends.soonest());
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        let Some(next) = before(alarm.as_mut(), stream.next()).await else {
            return Err(NotServed::Failed(if quiet.is_some() { silence() } else { ends.passed() }));
        };
        match next {
            Some(Ok(event)) => {
                let is_content = event.is_content();
                unreadable |= matches!(event, Event::Unreadable);
                alive = true;
                for (_, reason) in event.finished() {
                    // One choice that had to end is enough for an answer.
                    finish = finish.filter(|known| *known != FinishReason::Stop).or(Some(reason));
                }
                bytes += size(&event);
                if !is_content && bytes > BEFORE_CONTENT {
                    let message = "The upstream sent too much that is no content.";
                    return Err(NotServed::Failed(Failure::new(Class::Malformed, message)));
                }
                // A sign of life is old news once it is handed on.
                if !matches!(event, Event::Alive | Event::SoFar(_)) {
                    held.push_back(event);
                }
                if is_content {
                    return Ok(stream.with_held(held));
                }
            }
            Some(Err(failure)) => return Err(NotServed::Failed(failure)),
            None => break,
        }
    }
    match why_nothing(finish, unreadable, accept_empty) {
        Some(failure) => Err(NotServed::Failed(failure)),
        None => Ok(stream.with_held(held)),
    }
}

/// What `work` gives, unless the alarm goes off before that.
async fn before<F: Future + Unpin>(mut alarm: Pin<&mut Sleep>, mut work: F) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.poll_unpin(cx) {
            return Poll::Ready(Some(done));
        }
        // Work that always has more to do uses up what a task may do at a time: not so that the alarm is never asked.
        unconstrained(alarm.as_mut()).poll_unpin(cx).map(|()| None)
    })
    .await
}

/// Why an answer that ended without content is none.
fn why_nothing(finish: Option<FinishReason>, unreadable: bool, accept_empty: bool) -> Option<Failure> {
    match finish {
        None if unreadable => {
            let message = "Nothing that the upstream sent could be read as an answer.";
            Some(Failure::new(Class::Malformed, message))
        }
        None => Some(Failure::new(Class::Truncated, "The upstream's answer ended before it began.")),
        Some(FinishReason::Stop) if !accept_empty => {
            Some(Failure::new(Class::Empty, "The upstream's answer has no content."))
        }
        Some(_) => None,
    }
}

fn silence() -> Failure {
    Failure::new(Class::IdleTimeout, "The upstream fell silent in the middle of its answer.")
}

/// A stream under its idle and total limits.
struct Timed {
    events: Events,
    timer: Timer,
    over: bool,
}

struct Timer {
    idle: Duration,
    /// The end of this attempt.
    end: Instant,
    /// The end of the chain's time, until the answer is committed.
    chain: Instant,
    progress: Progress,
    /// When the wait for the next event began. A client that reads slowly does not make the upstream silent.
    since: Option<Instant>,
    /// Goes off at the soonest when the first of the clocks runs out, and then is set anew for what is left: setting
    /// it for every event would take the runtime's lock on its timers every time.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stream for Timed {
    type Item = Result<Event, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let now = Instant::now();
        // Asked first: a stream that always has more would never let the time run out.
        if now >= self.timer.end {
            self.over = true;
            return Poll::Ready(Some(Err(self.timer.passed(now))));
        }
        if let Poll::Ready(next) = self.events.poll_next_unpin(cx) {
            self.timer.since = None;
            self.over = !matches!(next, Some(Ok(_)));
            return Poll::Ready(next);
        }
        match self.timer.poll_passed(now, cx) {
            Poll::Ready(failure) => {
                self.over = true;
                Poll::Ready(Some(Err(failure)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Timer {
    /// Ready when a clock has run out. `now` is when the upstream was last found to have nothing.
    fn poll_passed(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<Failure> {
        let since = *self.since.get_or_insert(now);
        let until = self.until(since);
        if until <= now {
            return Poll::Ready(self.passed(now));
        }
        // It is never set too late: with every event, and with the commit, the end of the wait only moves away.
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        while alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if until <= now {
                return Poll::Ready(self.passed(now));
            }
            alarm.as_mut().reset(until);
        }
        Poll::Pending
    }

    fn until(&self, since: Instant) -> Instant {
        let until = (since + self.idle).min(self.end);
        if self.progress.is_committed() { until } else { until.min(self.chain) }
    }

    fn passed(&self, now: Instant) -> Failure {
        if now >= self.end {
            Failure::new(Class::StreamTimeout, "The upstream's stream took longer than `stream_timeout`.")
        } else if !self.progress.is_committed() && now >= self.chain {
            Failure::new(Class::DeadlineExceeded, "The request's deadline passed.")
        } else {
            silence()
        }
    }
}
