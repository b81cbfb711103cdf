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

/// When it is worth asking again while a probe is out: it will soon tell.
const PROBE: Duration = Duration::from_secs(1);

/// What a failure means for the targets still to come.
enum Next {
    GoOn,
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
                    return Err(walk.exhausted(None));
                }
                continue;
            }
            let call = walk.call(step, walk.room(&steps[at + 1..]), false);
            match walk.ask(step, call).await {
                Ok(won) => return Ok(won),
                Err(Next::Stop) => return Err(walk.stopped()),
                Err(Next::Busy) => return Err(walk.busy()),
                Err(Next::GoOn) if errand.wishes.no_fallback && errand.trail.attempts() > 0 => break,
                Err(Next::GoOn) => {}
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
        let now = Instant::now();
        let standing = if target.has_breaker { target.health.breaker.standing(now) } else { Standing::Ready };
        match standing {
            Standing::Ready => {}
            Standing::Open { until, cause } => {
                let skipped = step.skipped(Skip::CircuitOpen);
                return Some(SkipRecord { ready_at: Some(until), cause: Some(cause), ..skipped });
            }
            Standing::Probing { cause } => {
                let skipped = step.skipped(Skip::CircuitOpen);
                return Some(SkipRecord { ready_at: Some(now + PROBE), cause: Some(cause), ..skipped });
            }
        }
        let left = self.errand.deadline.saturating_duration_since(now);
        if usual_time(target, step.request.stream).is_some_and(|usual| left < usual) {
            return Some(step.skipped(Skip::Deadline));
        }
        None
    }

    /// What a retry must leave for the steps behind this one.
    fn room(&self, later: &[Step]) -> Room {
        let open = |step: &&Step| self.reason_to_skip(step).is_none();
        let later: Vec<&Step> =
            if self.errand.wishes.no_fallback { Vec::new() } else { later.iter().filter(open).collect() };
        let share = self.policy.deadline / u32::try_from(later.len() + 1).unwrap_or(u32::MAX);
        let unknown = share.min(Duration::from_secs(1));
        let times = later.iter().map(|step| usual_time(&step.target, step.request.stream).unwrap_or(unknown));
        Room {
            max_attempts: self.policy.max_attempts,
            later_targets: u32::try_from(later.len()).unwrap_or(u32::MAX),
            later_time: times.sum(),
        }
    }

    fn call(&self, step: &Step, room: Room, last_resort: bool) -> Call {
        let ceilings = [step.target.limits.max_cost, self.errand.wishes.max_cost];
        Call {
            request: Arc::clone(&step.request),
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
        match target.service.clone().oneshot(call).await {
            Ok(stream) => Ok(Won { target: Arc::clone(target), stream }),
            Err(NotServed::Skipped(skip)) => {
                self.errand.trail.skip(step.skipped(skip));
                Err(Next::GoOn)
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
            Some(Action::Fallback | Action::RetryThenFallback) => return Next::GoOn,
            Some(Action::Accept) | None => {}
        }
        match failure.class.consequences().fallback {
            Fallback::Yes => Next::GoOn,
            Fallback::No => Next::Stop,
            Fallback::LargerWindow => {
                self.too_small = self.too_small.max(target.model.context);
                Next::GoOn
            }
            Fallback::FromTranslated if target.is_pass_through => Next::Stop,
            Fallback::FromTranslated => Next::GoOn,
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
            Err(Next::GoOn) => Err(self.exhausted(None)),
        }
    }

    /// Whether the trail says that this step was passed over for its circuit.
    fn is_shut_out(&self, step: &Step) -> bool {
        self.errand.trail.entries().iter().any(|entry| match entry {
            Entry::Skip(record) => record.index == step.target.index && record.skip == Skip::CircuitOpen,
            Entry::Attempt(_) => false,
        })
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

/// How long the target usually takes to the first content (a stream) or the whole answer (a JSON call).
fn usual_time(target: &Target, stream: bool) -> Option<Duration> {
    if stream { target.health.first_content.median() } else { target.health.whole_answer.median() }
}
