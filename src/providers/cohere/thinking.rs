//! How much the model thinks: from an effort to a budget.

use super::wire::Thinking;
use crate::chat::TargetFacts;
use crate::chat::conversation::Effort;
use crate::chat::target;

/// What is left to the answer of a cap that thoughts count towards as well.
const ROOM: u64 = 1000;

/// What a request says about thinking.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub thinking: Option<Thinking>,
    /// The effort could not be heeded.
    pub is_dropped: bool,
}

/// Decides on it. `cap` bounds thoughts and answer together.
pub fn plan(effort: Option<Effort>, cap: Option<u64>, facts: &TargetFacts) -> Plan {
    let none = Plan { thinking: None, is_dropped: false };
    let Some(effort) = effort else { return none };
    let (bounds, can_be_off) = match &facts.thinking {
        target::Thinking::Controlled(controls) if facts.able.reasoning => {
            (controls.budget.unwrap_or((1, None)), controls.can_be_off)
        }
        target::Thinking::Unknown if facts.able.reasoning => ((1, None), true),
        target::Thinking::Never | target::Thinking::Unknown | target::Thinking::Controlled(_) => {
            return Plan { is_dropped: effort != Effort::None, ..none };
        }
    };
    match effort {
        Effort::None if can_be_off => Plan { thinking: Some(Thinking::Disabled), ..none },
        Effort::None => Plan { is_dropped: true, ..none },
        _ => {
            let token_budget = budget(effort, cap, bounds);
            Plan { thinking: Some(Thinking::Enabled { token_budget }), ..none }
        }
    }
}

/// The highest efforts have no bound but the cap's.
fn budget(effort: Effort, cap: Option<u64>, (least, most): (u64, Option<u64>)) -> Option<u64> {
    let wanted = match effort {
        Effort::Xhigh | Effort::Max => None,
        Effort::None | Effort::Minimal | Effort::Low | Effort::Medium | Effort::High => Some(effort.budget()),
    };
    let room = cap.map(|cap| cap - (cap / 2).min(ROOM));
    let budget = [wanted, room, most].into_iter().flatten().min()?;
    Some(budget.max(least).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::target::ThinkingControls;
    use crate::providers::conformance::facts;

    fn model(thinking: target::Thinking) -> TargetFacts {
        TargetFacts { thinking, ..facts("m") }
    }

    fn controlled(budget: Option<(u64, Option<u64>)>, can_be_off: bool) -> TargetFacts {
        let controls = ThinkingControls { efforts: Vec::new(), budget, can_be_off };
        model(target::Thinking::Controlled(controls))
    }

    #[test]
    fn an_effort_is_a_budget_that_leaves_room_for_the_answer() {
        let known = controlled(Some((1, Some(30_000))), true);
        let cases = [
            (Effort::Minimal, None, Some(1024)),
            (Effort::Medium, None, Some(10_240)),
            (Effort::Medium, Some(4000), Some(3000)),
            (Effort::Medium, Some(100), Some(50)),
            (Effort::Medium, Some(1), Some(1)),
            (Effort::Max, None, Some(30_000)),
            (Effort::Max, Some(8000), Some(7000)),
        ];
        for (effort, cap, token_budget) in cases {
            let thinking = Some(Thinking::Enabled { token_budget });
            assert_eq!(plan(Some(effort), cap, &known).thinking, thinking, "{effort:?} {cap:?}");
        }
        let unknown = model(target::Thinking::Unknown);
        let unbounded = Some(Thinking::Enabled { token_budget: None });
        assert_eq!(plan(Some(Effort::Xhigh), None, &unknown).thinking, unbounded);
    }

    #[test]
    fn what_cannot_be_heeded_is_dropped() {
        let planned = |effort, facts: &TargetFacts| {
            let plan = plan(Some(effort), None, facts);
            (plan.thinking, plan.is_dropped)
        };
        let never = model(target::Thinking::Never);
        assert_eq!(planned(Effort::High, &never), (None, true));
        assert_eq!(planned(Effort::None, &never), (None, false));
        assert_eq!(planned(Effort::None, &controlled(None, true)), (Some(Thinking::Disabled), false));
        assert_eq!(planned(Effort::None, &controlled(None, false)), (None, true));
        assert_eq!(plan(None, None, &never), Plan { thinking: None, is_dropped: false });
    }
}
