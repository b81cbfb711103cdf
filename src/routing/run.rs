//! The fallback loop: asks one target after the other until one answers or the chain must stop.

use std::sync::Arc;

use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::attempt::{Call, NotServed, Origin, Place, Trail};
use super::breaker::Standing;
use super::budget::{Exceeded, OnExceeded};
use super::chain::{Policy, Target};
use super::describe::{Undescribed, Words};
use super::group::Stead;
use super::plan::{Plan, Wishes};
use super::progress::Progress;
use super::room::Later;
use super::step::{Learned, Step};
use crate::chat::{ChatStream, Request};
use crate::reason::{Action, Failure, Fallback, Skip};

/// What one request brings to the run of its chain.
#[derive(Debug, Clone)]
pub struct Errand {
    pub origin: Arc<Origin>,
    pub trail: Trail,
    /// When the walk begins.
    pub began: Instant,
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
#[derive(Debug, Default)]
pub struct Exhausted {
    /// A failure after which the chain must not go on, and whose it was.
    pub stopped_by: Option<(Arc<Target>, Failure)>,
    /// Each failed target's last failure, in order.
    pub failures: Vec<(Arc<Target>, Failure)>,
    /// How many of them were at the chain's own targets: the others were at those of its last chain.
    pub own: usize,
    /// Piton had no memory left to hold an answer.
    pub busy: bool,
    pub learned: Learned,
    /// A budget refused the whole request.
    pub over_budget: Option<Exceeded>,
    /// Why images were not described for targets that cannot see.
    pub undescribed: Option<Arc<Undescribed>>,
}

/// What a target that did not answer means for those still to come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// It was never meant to serve this request.
    PassOver,
    /// It should have served.
    FallBack,
    /// It is too dear for a budget: the cheapest of the others may not be.
    Downshift,
    Stop,
    /// No target would fare better: Piton itself is short of memory.
    Busy,
    /// A budget refuses the request, whichever target were asked.
    OverBudget,
}

/// State of one walk down the chain.
pub(super) struct Walk<'a> {
    pub plan: &'a Arc<Plan>,
    pub policy: &'a Policy,
    pub errand: &'a Errand,
    /// Upstream calls that were made before it began.
    pub before: u32,
    pub failures: Vec<(Arc<Target>, Failure)>,
    pub learned: Learned,
    /// Those that were passed over for their circuits.
    shut_out: Vec<Arc<Target>>,
    /// The budget that refuses the request.
    pub over_budget: Option<Exceeded>,
}

impl Plan {
    /// Walks the targets in order, and where none of them serves, those of the chain that stands in for this one.
    pub async fn run(self: &Arc<Self>, errand: &Errand) -> Result<Won, Exhausted> {
        match Walk::new(self, errand, Learned::default()).run().await {
            // Boxed, so that chains without a last one need not have room for it.
            Err(exhausted) if self.chain.last.is_some() => Box::pin(self.run_last(errand, exhausted)).await,
            done => done,
        }
    }
}

impl<'a> Walk<'a> {
    /// A walk that is yet to begin.
    pub fn new(plan: &'a Arc<Plan>, errand: &'a Errand, learned: Learned) -> Self {
        Walk {
            plan,
            policy: &plan.chain.policy,
            errand,
            before: errand.trail.attempts(),
            failures: Vec::new(),
            learned,
            shut_out: Vec::new(),
            over_budget: None,
        }
    }

    pub async fn run(self) -> Result<Won, Exhausted> {
        // Read anew only after a call: all else takes no time.
        let began = self.errand.began;
        self.run_from(0, began).await
    }

    /// Walks the targets from this place on.
    async fn run_from(mut self, from: usize, mut now: Instant) -> Result<Won, Exhausted> {
        let (plan, errand) = (self.plan, self.errand);
        for at in from..plan.len() {
            if errand.trail.attempts() - self.before >= self.policy.max_attempts {
                break;
            }
            if plan.words.is_some() && self.wants_words(at, now) {
                // As with a retry: this target and those behind it must have their time.
                let room = self.later(at).room(now);
                plan.have_words(errand, errand.deadline.checked_sub(room.later_time).unwrap_or(now)).await;
                now = Instant::now();
            }
            let step = plan.step(at);
            let later = if errand.wishes.no_fallback { plan.len() } else { at + 1 };
            let asked = if let Some(group) = &step.target.group {
                // Boxed, so that chains without groups need not have room for it.
                Box::pin(self.spread(at, group, later, now)).await
            } else {
                if let Some(skip) = self.reason_to_skip(at, &step, errand.deadline, now) {
                    let ends = skip.is_health() && errand.wishes.no_fallback;
                    self.pass_over(&step, skip, now);
                    if ends {
                        break;
                    }
                    continue;
                }
                let call = self.call(&step, later, now, false);
                self.ask(&step, call).await
            };
            match asked {
                Ok(won) => return Ok(won),
                Err(Next::Stop) => return Err(self.stopped()),
                Err(Next::Busy) => return Err(self.busy()),
                Err(Next::OverBudget) => return Err(self.exhausted(None)),
                Err(Next::Downshift) => {
                    let cheapest = plan.cheapest_first(at + 1);
                    let walk = Walk { plan: &cheapest, ..self };
                    return Box::pin(walk.run_from(at + 1, Instant::now())).await;
                }
                Err(Next::FallBack) if errand.wishes.no_fallback => break,
                Err(Next::FallBack | Next::PassOver) => now = Instant::now(),
            }
        }
        self.last_resort().await
    }
}

impl Exhausted {
    /// The failures, each with the place of its target.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Failure)> {
        self.failures.iter().enumerate().map(|(nth, (target, failure))| {
            (Place { in_last: nth >= self.own, index: target.index }, failure)
        })
    }
}

impl Plan {
    /// Has the request's images described, where that was not done yet, in the time until `deadline`.
    async fn have_words(&self, errand: &Errand, deadline: Instant) {
        if let (Some(words), Request::Chat(request)) = (&self.words, &self.request) {
            words.have(request, Errand { deadline, ..errand.clone() }).await;
        }
    }
}

impl Walk<'_> {
    /// Whether the target at this place would be asked now, if only somebody described the images for it.
    fn wants_words(&self, at: usize, now: Instant) -> bool {
        let is_open = |step: &Step<'_>| self.reason_to_skip(at, step, self.errand.deadline, now).is_none();
        self.plan.steps_at(at).any(|step| step.awaits_words && is_open(&step))
    }

    /// Writes down why a target is not asked.
    pub fn pass_over(&mut self, step: &Step<'_>, skip: Skip, now: Instant) {
        let record = if skip == Skip::CircuitOpen {
            self.shut_out.push(Arc::clone(step.target));
            step.shut_out(now)
        } else {
            step.skipped(skip)
        };
        self.errand.trail.skip(record);
    }

    /// A call to the target of `step`, where those from the place `later` on are still to come.
    pub fn call(&self, step: &Step<'_>, later: usize, now: Instant, last_resort: bool) -> Call {
        let ceilings = [step.target.limits.max_cost, self.errand.wishes.max_cost];
        Call {
            request: step.request.clone(),
            in_words: step.in_words,
            origin: Arc::clone(&self.errand.origin),
            trail: self.errand.trail.clone(),
            began: now,
            deadline: self.errand.deadline,
            later: self.later(later),
            stead: Stead::default(),
            estimate: step.estimate,
            max_cost: ceilings.into_iter().flatten().min(),
            reserved: None,
            last_resort,
            progress: Progress::default(),
        }
    }

    /// The targets from this place on.
    pub fn later(&self, from: usize) -> Later {
        let (plan, learned) = (Arc::clone(self.plan), self.learned.clone());
        Later { plan, from, before: self.before, learned, deadline: self.errand.deadline }
    }

    pub async fn ask(&mut self, step: &Step<'_>, call: Call) -> Result<Won, Next> {
        let target = step.target;
        let last_resort = call.last_resort;
        let mut service = target.service.clone();
        let asked = match service.ready().await {
            Ok(ready) => ready.call(call).await,
            Err(unready) => Err(unready),
        };
        match asked {
            Ok(stream) => Ok(Won { target: Arc::clone(target), stream }),
            // Another request was quicker to try it; that its circuit is open stands in the trail already.
            Err(NotServed::Skipped(Skip::CircuitOpen)) if last_resort => Err(Next::FallBack),
            Err(NotServed::Skipped(skip)) => {
                let next = if skip.is_health() { Next::FallBack } else { Next::PassOver };
                self.pass_over(step, skip, Instant::now());
                Err(next)
            }
            Err(NotServed::OverBudget(exceeded)) => Err(self.not_within(step, exceeded)),
            Err(NotServed::Busy) => Err(Next::Busy),
            Err(NotServed::Failed(failure)) => {
                let next = self.after(target, &failure);
                self.learned.of_network(target, failure.class);
                self.failures.push((Arc::clone(target), failure));
                Err(next)
            }
        }
    }

    /// A budget does not hold what the call may take.
    fn not_within(&mut self, step: &Step<'_>, exceeded: Exceeded) -> Next {
        self.errand.trail.skip(step.over_budget(&exceeded, Instant::now()));
        match exceeded.then {
            OnExceeded::Skip => Next::PassOver,
            OnExceeded::Downshift => Next::Downshift,
            OnExceeded::Reject => {
                self.over_budget = Some(exceeded);
                Next::OverBudget
            }
        }
    }

    fn after(&mut self, target: &Target, failure: &Failure) -> Next {
        if failure.credential {
            self.learned.bad_credentials.extend(target.credential.identity);
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
                let too_small = &mut self.learned.too_small;
                *too_small = (*too_small).max(target.model.context);
                Next::FallBack
            }
            // The upstream itself refused the client's own bytes: so would every other.
            Fallback::FromTranslated if target.is_pass_through && failure.status.is_some() => Next::Stop,
            Fallback::FromTranslated => Next::FallBack,
        }
    }

    /// Where no call was made because circuits are open: the one that is to close soonest, of those that waiting
    /// may mend, is asked all the same, by one request at a time.
    async fn last_resort(mut self) -> Result<Won, Exhausted> {
        if self.errand.trail.attempts() > self.before {
            return Err(self.exhausted(None));
        }
        let plan = self.plan;
        let now = Instant::now();
        if plan.last_is_open(&self.learned, self.errand.deadline, now) {
            return Err(self.exhausted(None));
        }
        let shut_out = std::mem::take(&mut self.shut_out);
        let mut least = least_bad(plan, &shut_out, now);
        if least.as_ref().is_some_and(|step| step.awaits_words) {
            plan.have_words(self.errand, self.errand.deadline).await;
            least = least_bad(plan, &shut_out, Instant::now()).filter(|step| step.skip.is_none());
        }
        let Some(step) = least else { return Err(self.exhausted(None)) };
        let call = self.call(&step, plan.len(), Instant::now(), true);
        match self.ask(&step, call).await {
            Ok(won) => Ok(won),
            Err(Next::Stop) => Err(self.stopped()),
            Err(Next::Busy) => Err(self.busy()),
            Err(Next::FallBack | Next::PassOver | Next::Downshift | Next::OverBudget) => {
                Err(self.exhausted(None))
            }
        }
    }

    fn stopped(self) -> Exhausted {
        let last = self.failures.last().cloned();
        self.exhausted(last)
    }

    fn busy(self) -> Exhausted {
        Exhausted { busy: true, ..self.exhausted(None) }
    }

    fn exhausted(self, stopped_by: Option<(Arc<Target>, Failure)>) -> Exhausted {
        let (own, learned) = (self.failures.len(), self.learned);
        let (failures, over_budget) = (self.failures, self.over_budget);
        let undescribed = self.plan.words.as_deref().and_then(Words::undescribed).cloned();
        Exhausted { stopped_by, failures, own, busy: false, over_budget, learned, undescribed }
    }
}

/// Of the targets that are shut out by circuits which waiting may mend, the one whose circuit is to close soonest;
/// none while another request is trying one already.
pub(super) fn least_bad<'p>(plan: &'p Plan, shut_out: &[Arc<Target>], now: Instant) -> Option<Step<'p>> {
    let is_shut_out = |step: &Step<'_>| shut_out.iter().any(|target| Arc::ptr_eq(target, step.target));
    let mut least_bad: Option<(Instant, Step<'p>)> = None;
    for step in (0..plan.len()).flat_map(|at| plan.steps_at(at)).filter(is_shut_out) {
        match step.target.health.breaker.standing(now) {
            Standing::Open { until, cause } if cause.is_transient() => {
                if least_bad.as_ref().is_none_or(|(soonest, _)| until < *soonest) {
                    least_bad = Some((until, step));
                }
            }
            Standing::Probing { cause } if cause.is_transient() => return None,
            Standing::Open { .. } | Standing::Probing { .. } | Standing::Ready => {}
        }
    }
    least_bad.map(|(_, step)| step)
}
