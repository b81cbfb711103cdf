//! The fallback loop: asks one target after the other until one answers or the chain must stop.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::ServiceExt;

use super::attempt::{Call, Entry, NotServed, Origin, Room, SkipRecord, Trail};
use super::breaker::Standing;
use super::chain::{Chain, Policy, Target};
use super::plan::{Step, Wishes};
use super::progress::Progress;
use crate::chat::ChatStream;
use crate::reason::{Action, Failure, Fallback, Skip};
use crate::units::Tokens;

/// No attempt is counted on to be over sooner.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(20);
/// When it is worth asking again while a probe is out: it will soon tell.
const PROBE: Duration = Duration::from_secs(1);

/// What one request brings to the run of its chain.
#[derive(Debug, Clone)]
pub struct Errand {
    pub origin: Arc<Origin>,
    pub trail: Trail,
    pub deadline: Instant,
    pub wishes: Wishes,
}

/// A target answers.
#[derive(Debug)]
pub struct Won {
    pub target: Arc<Target>,
    pub stream: ChatStream,
}

/// No target answers.
#[derive(Debug)]
pub struct Exhausted {
    /// A failure after which the chain must not go on, and whose it was.
    pub stopped_by: Option<(Arc<Target>, Failure)>,
    /// Each failed target's last failure, in order.
    pub failures: Vec<(Arc<Target>, Failure)>,
    /// Piton had no memory left to hold an answer.
    pub busy: bool,
}

/// What a target that did not answer means for those still to come.
enum Next {
    /// It was never meant to serve this request.
    PassOver,
    /// It should have served.
    FallBack,
    Stop,
    /// No target would fare better: Piton itself is short of memory.
    Busy,
}

/// State of one walk down the chain.
struct Walk<'a> {
    policy: &'a Policy,
    errand: &'a Errand,
    failures: Vec<(Arc<Target>, Failure)>,
    /// Credentials that turned out bad or without money.
    bad_credentials: HashSet<u64>,
    /// The largest window that was too small.
    too_small: Option<Tokens>,
}

impl Chain {
    /// Walks the planned targets in order.
    pub async fn run(&self, steps: &[Step], errand: &Errand) -> Result<Won, Exhausted> {
        let mut walk = Walk {
            policy: &self.policy,
            errand,
            failures: Vec::new(),
            bad_credentials: HashSet::new(),
            too_small: None,
        };
        for (at, step) in steps.iter().enumerate() {
            if errand.trail.attempts() >= self.policy.max_attempts {
                break;
            }
            if let Some(record) = walk.reason_to_skip(step) {
                let is_health = record.skip.is_health();
                errand.trail.skip(record);
                if is_health && errand.wishes.no_fallback {
                    break;
                }
                continue;
            }
            let call = walk.call(step, walk.room(&steps[at + 1..]), false);
            match walk.ask(step, call).await {
                Ok(won) => return Ok(won),
                Err(Next::Stop) => return Err(walk.stopped()),
                Err(Next::Busy) => return Err(walk.busy()),
                Err(Next::FallBack) if errand.wishes.no_fallback => break,
                Err(Next::FallBack | Next::PassOver) => {}
            }
        }
        walk.last_resort(steps).await
    }
}

impl Walk<'_> {
    /// What the plan could not know, or what changed since.
    fn reason_to_skip(&self, step: &Step) -> Option<SkipRecord> {
        let target = &step.target;
        if let Some(skip) = step.skip {
            return Some(step.skipped(skip));
        }
        if target.credential.identity.is_some_and(|identity| self.bad_credentials.contains(&identity)) {
            return Some(step.skipped(Skip::SameCredential));
        }
        let window = target.model.context;
        if let (Some(too_small), Some(window)) = (self.too_small, window)
            && window <= too_small
        {
            return Some(step.skipped(Skip::ContextWindow));
        }
        if target.has_breaker && target.health.breaker.standing(Instant::now()) != Standing::Ready {
            return Some(shut_out(step));
        }
        let left = self.time_left();
        let usual = usual_time(target, step.request.stream()).unwrap_or(Duration::ZERO);
        (left.is_zero() || left < usual).then(|| step.skipped(Skip::Deadline))
    }

    fn time_left(&self) -> Duration {
        self.errand.deadline.saturating_duration_since(Instant::now())
    }

    /// What a retry must leave for the steps behind this one.
    fn room(&self, later: &[Step]) -> Room {
        let open = |step: &&Step| self.reason_to_skip(step).is_none();
        let later: Vec<&Step> =
            if self.errand.wishes.no_fallback { Vec::new() } else { later.iter().filter(open).collect() };
        let share = self.time_left() / u32::try_from(later.len() + 1).unwrap_or(u32::MAX);
        let unknown = share.min(Duration::from_secs(1));
        let times = later
            .iter()
            .map(|step| usual_time(&step.target, step.request.stream()).map_or(unknown, with_margin));
        Room {
            max_attempts: self.policy.max_attempts,
            later_targets: u32::try_from(later.len()).unwrap_or(u32::MAX),
            later_time: times.sum(),
        }
    }

    fn call(&self, step: &Step, room: Room, last_resort: bool) -> Call {
        let ceilings = [step.target.limits.max_cost, self.errand.wishes.max_cost];
        Call {
            request: step.request.clone(),
            origin: Arc::clone(&self.errand.origin),
            trail: self.errand.trail.clone(),
            deadline: self.errand.deadline,
            room,
            estimate: step.estimate,
            max_cost: ceilings.into_iter().flatten().min(),
            last_resort,
            progress: Progress::default(),
        }
    }

    async fn ask(&mut self, step: &Step, call: Call) -> Result<Won, Next> {
        let target = &step.target;
        let last_resort = call.last_resort;
        match target.service.clone().oneshot(call).await {
            Ok(stream) => Ok(Won { target: Arc::clone(target), stream }),
            // Another request was quicker to try it; that its circuit is open stands in the trail already.
            Err(NotServed::Skipped(Skip::CircuitOpen)) if last_resort => Err(Next::FallBack),
            Err(NotServed::Skipped(skip)) => {
                let record = if skip == Skip::CircuitOpen { shut_out(step) } else { step.skipped(skip) };
                self.errand.trail.skip(record);
                Err(if skip.is_health() { Next::FallBack } else { Next::PassOver })
            }
            Err(NotServed::Busy) => Err(Next::Busy),
            Err(NotServed::Failed(failure)) => {
                let next = self.after(target, &failure);
                self.failures.push((Arc::clone(target), failure));
                Err(next)
            }
        }
    }

    fn after(&mut self, target: &Target, failure: &Failure) -> Next {
        if failure.credential {
            self.bad_credentials.extend(target.credential.identity);
        }
        match self.policy.on.get(&failure.class) {
            Some(Action::Stop | Action::Retry) => return Next::Stop,
            Some(Action::Fallback | Action::RetryThenFallback) => return Next::FallBack,
            Some(Action::Accept) | None => {}
        }
        match failure.class.consequences().fallback {
            Fallback::Yes => Next::FallBack,
            Fallback::No => Next::Stop,
            Fallback::LargerWindow => {
                self.too_small = self.too_small.max(target.model.context);
                Next::FallBack
            }
            // The upstream itself refused the client's own bytes: so would every other.
            Fallback::FromTranslated if target.is_pass_through && failure.status.is_some() => Next::Stop,
            Fallback::FromTranslated => Next::FallBack,
        }
    }

    /// Where no call was made because circuits are open: the one that is to close soonest, of those that waiting
    /// may mend, is asked all the same, by one request at a time.
    async fn last_resort(mut self, steps: &[Step]) -> Result<Won, Exhausted> {
        if self.errand.trail.attempts() > 0 {
            return Err(self.exhausted(None));
        }
        let now = Instant::now();
        let mut least_bad: Option<(Instant, &Step)> = None;
        for step in steps.iter().filter(|step| self.is_shut_out(step)) {
            match step.target.health.breaker.standing(now) {
                Standing::Open { until, cause } if cause.is_transient() => {
                    if least_bad.is_none_or(|(soonest, _)| until < soonest) {
                        least_bad = Some((until, step));
                    }
                }
                // Another request is trying already.
                Standing::Probing { cause } if cause.is_transient() => return Err(self.exhausted(None)),
                Standing::Open { .. } | Standing::Probing { .. } | Standing::Ready => {}
            }
        }
        let Some((_, step)) = least_bad else { return Err(self.exhausted(None)) };
        let call = self.call(step, self.room(&[]), true);
        match self.ask(step, call).await {
            Ok(won) => Ok(won),
            Err(Next::Stop) => Err(self.stopped()),
            Err(Next::Busy) => Err(self.busy()),
            Err(Next::FallBack | Next::PassOver) => Err(self.exhausted(None)),
        }
    }

    /// Whether the trail says that this step was passed over for its circuit.
    fn is_shut_out(&self, step: &Step) -> bool {
        let says_so = |entry: &Entry| match entry {
            Entry::Skip(record) => record.index == step.target.index && record.skip == Skip::CircuitOpen,
            Entry::Attempt(_) => false,
        };
        self.errand.trail.read(|entries| entries.iter().any(says_so))
    }

    fn stopped(self) -> Exhausted {
        let last = self.failures.last().cloned();
        self.exhausted(last)
    }

    fn busy(self) -> Exhausted {
        Exhausted { busy: true, ..self.exhausted(None) }
    }

    fn exhausted(self, stopped_by: Option<(Arc<Target>, Failure)>) -> Exhausted {
        Exhausted { stopped_by, failures: self.failures, busy: false }
    }
}

/// What must be left for a target that usually takes this long. Half of its answers take longer, and a timer never
/// fires early: with no more than the usual time left, the target would be passed over.
fn with_margin(usual: Duration) -> Duration {
    let usual = usual.max(SHORTEST_ATTEMPT);
    usual + usual / 2
}

/// The trail's line for a target whose circuit is open, with the time at which that ends.
fn shut_out(step: &Step) -> SkipRecord {
    let now = Instant::now();
    let (ready_at, cause) = match step.target.health.breaker.standing(now) {
        Standing::Open { until, cause } => (until, Some(cause)),
        Standing::Probing { cause } => (now + PROBE, Some(cause)),
        // It was open a moment ago.
        Standing::Ready => (now, None),
    };
    SkipRecord { ready_at: Some(ready_at), cause, ..step.skipped(Skip::CircuitOpen) }
}

/// How long the target usually takes to the first content (a stream) or the whole answer (a JSON call).
fn usual_time(target: &Target, stream: bool) -> Option<Duration> {
    if stream { target.health.first_content.median() } else { target.health.whole_answer.median() }
}
