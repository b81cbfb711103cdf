//! What a chain would do with a request now, found out without a call.

use tokio::time::Instant;

use super::attempt::Trail;
use super::plan::Plan;
use super::run::least_bad;
use super::step::{Learned, Step};
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
}

/// One place of the plan.
#[derive(Debug)]
pub struct Place<'p> {
    /// Its target, or each of its equal deployments.
    pub deployments: Vec<Judged<'p>>,
    /// Whether the walk comes that far: without fallbacks it ends early.
    pub is_reached: bool,
}

/// A target or deployment, and whether it may be asked now.
#[derive(Debug)]
pub struct Judged<'p> {
    pub step: Step<'p>,
    pub skip: Option<Skip>,
}

/// What would be asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    /// The place in the plan.
    pub place: usize,
    /// Its circuit is open, but nothing else is left.
    pub last_resort: bool,
}

impl Plan {
    /// What would happen if the request came now and had to be answered by `deadline`.
    pub fn explain(&self, deadline: Instant, now: Instant) -> Explanation<'_> {
        let learned = Learned::default();
        let mut places = Vec::with_capacity(self.len());
        let (mut first, mut is_reached) = (None, true);
        for at in 0..self.len() {
            let deployments = self
                .steps_at(at)
                .map(|step| Judged { skip: step.reason_to_skip(&learned, deadline, now), step });
            let place = Place { deployments: deployments.collect(), is_reached };
            let skip = place.skip();
            if is_reached && skip.is_none() && first.is_none() {
                first = Some(First { place: at, last_resort: false });
            }
            // As the walk does it.
            if self.wishes.no_fallback && skip.as_ref().is_none_or(Skip::is_health) {
                is_reached = false;
            }
            places.push(place);
        }
        if first.is_none() && !self.last_is_open(&learned, deadline, now) {
            first = self.last_resort(&places, now);
        }
        Explanation { plan: self, at: now, places, first }
    }

    fn last_resort(&self, places: &[Place<'_>], now: Instant) -> Option<First> {
        let reached = places.iter().filter(|place| place.is_reached).flat_map(|place| &place.deployments);
        let shut_out: Vec<_> = reached
            .filter(|judged| judged.skip == Some(Skip::CircuitOpen))
            .map(|judged| judged.step.target.clone())
            .collect();
        let index = least_bad(self, &shut_out, now)?.target.index;
        let place = (0..self.len()).find(|at| self.target(*at).index == index)?;
        Some(First { place, last_resort: true })
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
                Some(skip) => trail.skip(judged.step.skipped(skip.clone())),
                None => {}
            }
        }
    }
}

impl Place<'_> {
    /// Why it would be passed over; of several deployments one may do.
    pub fn skip(&self) -> Option<Skip> {
        let skips: Option<Vec<&Skip>> = self.deployments.iter().map(|judged| judged.skip.as_ref()).collect();
        let skips = skips?;
        // One that should have served says more than one that was never meant to.
        skips.iter().find(|skip| skip.is_health()).or(skips.first()).map(|skip| Skip::clone(skip))
    }
}
