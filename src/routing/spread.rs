//! A group's part of the walk: its deployments are asked until one answers or no other can help. That is no fallback,
//! only another try at an equal, so the chain's later targets keep their attempts and their time.

use tokio::time::Instant;

use super::attempt::Call;
use super::group::{Group, Load, Member};
use super::run::{Next, Walk, Won};
use crate::reason::{Action, Class, Cure};

/// A group that is being asked.
struct Round<'g> {
    /// Its place in the plan.
    at: usize,
    /// The place of the next target of the plan.
    later: usize,
    group: &'g Group,
    /// The places of the deployments that were neither asked nor passed over.
    left: Vec<usize>,
    /// When the next attempt must be over.
    deadline: Instant,
    /// What the deployments so far mean for the walk.
    so_far: Next,
    /// One of them was asked, and failed.
    has_failed: bool,
}

/// What follows on a deployment that did not answer.
enum After {
    AskAnother,
    Leave(Next),
}

impl Walk<'_> {
    /// Asks the group at the place `at`; the targets from the place `later` on are still to come.
    pub(super) async fn spread(
        &mut self,
        at: usize,
        group: &Group,
        later: usize,
        mut now: Instant,
    ) -> Result<Won, Next> {
        let left = (0..group.members().len()).collect();
        let mut round = Round {
            at,
            later,
            group,
            left,
            deadline: self.errand.deadline,
            so_far: Next::PassOver,
            has_failed: false,
        };
        loop {
            self.pass_over_shut(&mut round, now);
            let Some(drawn) = group.draw(&round.left) else { return Err(round.so_far) };
            round.left.retain(|left| *left != drawn);
            match self.ask_member(&mut round, &group.members()[drawn], now).await {
                Ok(won) => return Ok(won),
                Err(After::Leave(next)) => return Err(next),
                Err(After::AskAnother) => now = Instant::now(),
            }
        }
    }

    /// Takes the deployments out that may not be asked now.
    fn pass_over_shut(&mut self, round: &mut Round<'_>, now: Instant) {
        let plan = self.plan;
        let mut left = std::mem::take(&mut round.left);
        left.retain(|at| {
            let step = plan.step_of(round.at, &round.group.members()[*at].target);
            let Some(skip) = self.reason_to_skip(round.at, &step, round.deadline, now) else { return true };
            round.note(if skip.is_health() { Next::FallBack } else { Next::PassOver });
            self.pass_over(&step, skip, now);
            false
        });
        round.left = left;
    }

    async fn ask_member(
        &mut self,
        round: &mut Round<'_>,
        member: &Member,
        now: Instant,
    ) -> Result<Won, After> {
        let step = self.plan.step_of(round.at, &member.target);
        let stead = member.stead(round.left.iter().map(|left| &round.group.members()[*left]));
        let call = self.call(&step, round.later, now, false);
        let call = Call { stead, deadline: round.deadline, ..call };
        let (load, failures) = (Load::on(&member.target), self.failures.len());
        let next = match self.ask(&step, call).await {
            Ok(Won { target, stream }) => return Ok(Won { target, stream: load.during(stream) }),
            // Another try that is refused ends the tries here; why there had to be one says more than the refusal.
            Err(Next::OverBudget) if round.has_failed => {
                self.over_budget = None;
                return Err(After::Leave(round.so_far));
            }
            Err(next @ (Next::Busy | Next::OverBudget)) => return Err(After::Leave(next)),
            Err(next) => next,
        };
        match self.failures.get(failures).map(|(_, failure)| failure.class) {
            None => {
                // What its owner's rules say of it holds whatever key it is called with.
                if let Next::PassOver | Next::Downshift = next {
                    round.left.retain(|left| round.group.members()[*left].is_elsewhere(member));
                }
                round.note(next);
                Err(After::AskAnother)
            }
            // Not the request's time is over, but what of it another try may take: the failure before says more.
            Some(Class::DeadlineExceeded) if Instant::now() < self.errand.deadline => {
                self.failures.pop();
                Err(After::Leave(round.so_far))
            }
            Some(class) => {
                (round.so_far, round.has_failed) = (next, true);
                let may = stead.cures(class) && self.may_ask_another(class) && self.leave_room(round);
                if class.cure() == Cure::OtherPlace {
                    round.left.retain(|left| round.group.members()[*left].is_elsewhere(member));
                }
                Err(if may { After::AskAnother } else { After::Leave(next) })
            }
        }
    }

    /// Whether the owner lets such a failure be followed by another try at this target.
    fn may_ask_another(&self, class: Class) -> bool {
        match self.policy.on.get(&class) {
            Some(Action::Stop | Action::Fallback) => false,
            Some(Action::Accept | Action::Retry | Action::RetryThenFallback) | None => true,
        }
    }

    /// Holds the next try to what the later targets leave of the request's calls and time; whether that is anything.
    fn leave_room(&self, round: &mut Round<'_>) -> bool {
        let now = Instant::now();
        let room = self.later(round.later).room(now);
        let calls = self.errand.trail.attempts().saturating_add(1).saturating_add(room.later_targets);
        let end = self.errand.deadline.checked_sub(room.later_time).filter(|end| now < *end);
        round.deadline = end.unwrap_or(now);
        end.is_some() && calls <= room.max_attempts
    }
}

impl Round<'_> {
    /// A deployment was not asked: a failure before it says more.
    fn note(&mut self, next: Next) {
        if let Next::PassOver = self.so_far {
            self.so_far = next;
        }
    }
}
