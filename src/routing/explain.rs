//! What a chain would do with a request now, found out without a call.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Trail;
use super::budget::{Exceeded, OnExceeded, Prospect, Purse};
use super::chain::Target;
use super::describe::Outlook;
use super::plan::Plan;
use super::run::least_bad;
use super::step::{Learned, Step};
use crate::chat::Request;
use crate::reason::Skip;

/// A plan looked through from its first target to its last.
#[derive(Debug)]
pub struct Explanation<'p> {
    pub plan: &'p Plan,
    /// When it was looked at.
    pub at: Instant,
    /// In the order in which they would be tried.
    pub places: Vec<Place<'p>>,
    /// What would be asked first.
    pub first: Option<First>,
    /// The budget that would refuse the request, were the targets before it to fail.
    pub refused: Option<Exceeded>,
    /// The request's first eligible target, which others stand in for.
    pub first_eligible: Option<Arc<Target>>,
    /// What describing the images for targets that cannot see would come to, where one of them may be asked.
    pub described: Option<Outlook>,
}

/// One place of the plan.
#[derive(Debug)]
pub struct Place<'p> {
    /// Its number in the plan.
    pub at: usize,
    /// Its target, or each of its equal deployments.
    pub deployments: Vec<Judged<'p>>,
    /// Whether the walk comes that far: without fallbacks it ends early, and where a budget refuses the request.
    pub is_reached: bool,
}

/// A target or deployment, and whether it may be asked now.
#[derive(Debug)]
pub struct Judged<'p> {
    pub step: Step<'p>,
    pub skip: Option<Skip>,
    /// What the budgets would say, where nothing else rules it out.
    pub prospect: Prospect,
}

/// What would be asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// The place in the plan.
    pub place: usize,
    /// Its circuit is open, but nothing else is left.
    pub last_resort: bool,
}

/// With what eyes a plan is looked through.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub now: Instant,
    /// By when it must be answered.
    pub deadline: Instant,
    pub purse: Purse<'a>,
    /// Found before, in the chain that this one stands in for.
    pub first_eligible: Option<&'a Arc<Target>>,
}

impl Plan {
    /// What would happen if the request came now.
    pub fn explain(&self, view: View<'_>) -> Explanation<'_> {
        let mut told = Explanation {
            plan: self,
            at: view.now,
            places: Vec::with_capacity(self.len()),
            first: None,
            refused: None,
            first_eligible: view.first_eligible.cloned(),
            described: None,
        };
        let mut order: Vec<usize> = (0..self.len()).collect();
        let mut is_reached = true;
        for nth in 0..order.len() {
            let at = order[nth];
            if told.described.is_none() && self.wants_words(at, &view) {
                told.described = self.outlook(&view);
            }
            let place = Place { at, deployments: self.judged(at, &told, &view), is_reached };
            let skip = place.skip();
            if is_reached {
                if skip.is_none() && told.first.is_none() {
                    told.first = Some(First { place: at, last_resort: false });
                }
                // As the walk does it.
                if skip.as_ref().is_none_or(Skip::is_health) {
                    told.first_eligible.get_or_insert_with(|| Arc::clone(self.target(at)));
                    is_reached = !self.wishes.no_fallback;
                }
                match place.exceeded() {
                    Some(exceeded) if exceeded.then == OnExceeded::Reject => {
                        told.refused = Some(exceeded.clone());
                        is_reached = false;
                    }
                    Some(exceeded) if exceeded.then == OnExceeded::Downshift => {
                        self.sort_by_cost(&mut order[nth + 1..]);
                    }
                    Some(_) | None => {}
                }
            }
            told.places.push(place);
        }
        let is_over = told.first.is_some() || told.refused.is_some();
        if !is_over && !self.last_is_open(&Learned::default(), view.deadline, view.now) {
            told.first = self.last_resort(&told.places, view.now);
        }
        told
    }

    fn judged(&self, at: usize, told: &Explanation<'_>, view: &View<'_>) -> Vec<Judged<'_>> {
        let first = told.first_eligible.as_deref();
        let judged = self.steps_at(at).map(|step| {
            let mut skip = step.reason_to_skip(&Learned::default(), view.deadline, view.now);
            let outlook = told.described.as_ref().filter(|_| step.awaits_words && skip.is_none());
            if outlook.is_some_and(|outlook| outlook.undescribed.is_some()) {
                skip = Some(Skip::Undescribed);
            }
            let mut prospect = Prospect::default();
            if skip.as_ref().is_none_or(Skip::is_health) {
                prospect = view.purse.prospect(&self.chain.name, &step, first);
                skip = skip.or_else(|| prospect.skip.clone());
            }
            Judged { step, skip, prospect }
        });
        judged.collect()
    }

    /// Whether the target at this place would be asked, if only somebody described the images for it.
    fn wants_words(&self, at: usize, view: &View<'_>) -> bool {
        let is_open =
            |step: &Step<'_>| step.reason_to_skip(&Learned::default(), view.deadline, view.now).is_none();
        self.words.is_some() && self.steps_at(at).any(|step| step.awaits_words && is_open(&step))
    }

    /// What describing the images would come to.
    fn outlook(&self, view: &View<'_>) -> Option<Outlook> {
        match (&self.words, &self.request) {
            (Some(words), Request::Chat(request)) => Some(words.outlook(request, &self.wishes, view)),
            (Some(_) | None, _) => None,
        }
    }

    fn last_resort(&self, places: &[Place<'_>], now: Instant) -> Option<First> {
        let reached = places.iter().filter(|place| place.is_reached);
        let shut_out =
            reached.flat_map(|place| place.deployments.iter().map(move |judged| (place.at, judged)));
        let shut_out: Vec<_> =
            shut_out.filter(|(_, judged)| judged.skip == Some(Skip::CircuitOpen)).collect();
        let targets: Vec<_> = shut_out.iter().map(|(_, judged)| judged.step.target.clone()).collect();
        let least_bad = least_bad(self, &targets, now)?;
        let (place, judged) =
            shut_out.iter().find(|(_, judged)| Arc::ptr_eq(judged.step.target, least_bad.target))?;
        judged.prospect.skip.is_none().then_some(First { place: *place, last_resort: true })
    }
}

impl Explanation<'_> {
    /// Writes down why the targets would be passed over, as the walk does it.
    pub fn pass_over(&self, trail: &Trail) {
        if self.plan.asking.is_some() {
            trail.enter_last_chain(&self.plan.chain.name);
        }
        let reached = self.places.iter().filter(|place| place.is_reached);
        let judged = reached.flat_map(|place| &place.deployments);
        for judged in judged {
            match &judged.skip {
                Some(Skip::CircuitOpen) => trail.skip(judged.step.shut_out(self.at)),
                Some(Skip::Budget { .. }) if let Some(exceeded) = &judged.prospect.exceeded => {
                    trail.skip(judged.step.over_budget(exceeded, self.at));
                }
                Some(skip) => trail.skip(judged.step.skipped(skip.clone())),
                None => {}
            }
        }
    }
}

impl Place<'_> {
    /// The budget for which it would be passed over, or the request refused; what refuses goes before.
    fn exceeded(&self) -> Option<&Exceeded> {
        self.skip()?;
        let by_budget = |judged: &&Judged<'_>| matches!(judged.skip, Some(Skip::Budget { .. }));
        let exceeded =
            self.deployments.iter().filter(by_budget).filter_map(|judged| judged.prospect.exceeded.as_ref());
        exceeded.max_by_key(|exceeded| exceeded.then.severity())
    }

    /// Why it would be passed over; of several deployments one may do.
    pub fn skip(&self) -> Option<Skip> {
        let skips: Option<Vec<&Skip>> = self.deployments.iter().map(|judged| judged.skip.as_ref()).collect();
        let skips = skips?;
        // One that should have served says more than one that was never meant to.
        skips.iter().find(|skip| skip.is_health()).or(skips.first()).map(|skip| Skip::clone(skip))
    }
}
