//! How much the model thinks: from an effort to a budget or an adaptive effort, and the room it takes.
//!
//! An effort is a hint. Where the API cannot think (a forced tool, a text to be continued, a tool call whose
//! reasoning is lost) the effort is dropped, visibly, and the request goes on.

use super::wire::Thinking;
use crate::chat::TargetFacts;
use crate::chat::conversation::Effort;
use crate::chat::target::{self, ThinkingControls};

/// The cap on an answer where neither the client nor the catalog knows one.
const DEFAULT_MAX_TOKENS: u64 = 4096;
/// The smallest budget that the API takes.
const LEAST_BUDGET: u64 = 1024;

/// What a request says about thinking.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub effort: Option<Effort>,
    /// The client's cap on the answer.
    pub cap: Option<u64>,
    /// A tool is forced, or the answer continues a text: then there is no thinking.
    pub rules_it_out: bool,
    /// See [`lost_its_reasoning`](super::messages::lost_its_reasoning).
    pub lost_its_reasoning: bool,
}

/// What is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    pub thinking: Option<Thinking>,
    pub effort: Option<&'a str>,
    pub max_tokens: u64,
    /// The effort could not be heeded.
    pub dropped: bool,
}

impl Plan<'_> {
    /// Whether the request itself asks for thinking.
    pub fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Enabled { .. } | Thinking::Adaptive { .. }))
    }
}

/// How this model is told to think.
enum Control<'a> {
    /// Not at all; `can_think` anyway, perhaps.
    None {
        can_think: bool,
    },
    Budget {
        least: u64,
        most: u64,
    },
    Adaptive(&'a ThinkingControls),
}

/// Whether the effort, if it is one, would make this model think.
pub fn would_think(effort: Option<Effort>, facts: &TargetFacts) -> bool {
    let wanted = effort.is_some_and(|effort| effort != Effort::None);
    wanted && !matches!(control(facts), Control::None { .. })
}

/// Decides on thinking and on `max_tokens`.
pub fn plan<'a>(wish: &Wish, facts: &'a TargetFacts) -> Plan<'a> {
    let limit = facts.max_output.map(|tokens| tokens.get().max(1));
    let max_tokens = wish.cap.or(limit).unwrap_or(DEFAULT_MAX_TOKENS).min(limit.unwrap_or(u64::MAX));
    let none = Plan { thinking: None, effort: None, max_tokens, dropped: false };
    match (control(facts), wish.effort) {
        (Control::Adaptive(controls), effort) => adaptive(wish, effort, controls, none),
        (_, None) | (Control::Budget { .. } | Control::None { can_think: false }, Some(Effort::None)) => none,
        (Control::None { .. }, Some(_)) => Plan { dropped: true, ..none },
        (Control::Budget { least, most }, Some(effort)) => {
            let budget = effort.budget().clamp(least, most);
            let is_possible = !wish.rules_it_out && !wish.lost_its_reasoning;
            let budgeted =
                is_possible.then(|| with_budget(budget, least, wish.cap, limit, max_tokens)).flatten();
            budgeted.unwrap_or(Plan { dropped: true, ..none })
        }
    }
}

/// A newer model thinks as it sees fit, unless it is told not to.
fn adaptive<'a>(
    wish: &Wish,
    effort: Option<Effort>,
    controls: &'a ThinkingControls,
    none: Plan<'a>,
) -> Plan<'a> {
    let is_asked = effort.is_some_and(|effort| effort != Effort::None);
    if wish.rules_it_out || effort == Some(Effort::None) {
        let thinking = controls.can_be_off.then_some(Thinking::Disabled);
        let dropped = is_asked || (effort.is_some() && thinking.is_none());
        return Plan { thinking, dropped, ..none };
    }
    let Some(effort) = effort else { return none };
    Plan {
        // It shows no summary of its thoughts unless asked.
        thinking: Some(Thinking::Adaptive { display: "summarized" }),
        effort: nearest(effort, &controls.efforts),
        ..none
    }
}

/// Thinking with a budget, if there is room for it. It counts towards `max_tokens`, so a cap that was meant for
/// the answer rises by it, and the answer keeps what it may take alone, or half of all.
fn with_budget(
    budget: u64,
    least: u64,
    cap: Option<u64>,
    limit: Option<u64>,
    answer: u64,
) -> Option<Plan<'static>> {
    let max_tokens = match (cap, limit) {
        (None, Some(limit)) => limit,
        (_, limit) => answer.saturating_add(budget).min(limit.unwrap_or(u64::MAX)),
    };
    let budget_tokens = budget.min(max_tokens - answer.min(max_tokens / 2));
    let thinking = Some(Thinking::Enabled { budget_tokens });
    let fits = budget_tokens >= least && budget_tokens < max_tokens;
    fits.then_some(Plan { thinking, effort: None, max_tokens, dropped: false })
}

fn control(facts: &TargetFacts) -> Control<'_> {
    let controls = match &facts.thinking {
        target::Thinking::Controlled(controls) if facts.able.reasoning => controls,
        target::Thinking::Unknown if facts.able.reasoning => {
            return Control::Budget { least: LEAST_BUDGET, most: u64::MAX };
        }
        target::Thinking::Never | target::Thinking::Unknown | target::Thinking::Controlled(_) => {
            return Control::None { can_think: false };
        }
    };
    // Opus 4.5 grades its effort but knows no adaptive thinking; all that came after it know the effort "max".
    let is_adaptive = !controls.efforts.is_empty()
        && (controls.budget.is_none() || controls.efforts.iter().any(|effort| effort == Effort::Max.code()));
    match controls.budget {
        _ if is_adaptive => Control::Adaptive(controls),
        Some((least, most)) => {
            let least = least.max(LEAST_BUDGET);
            Control::Budget { least, most: most.unwrap_or(u64::MAX).max(least) }
        }
        None => Control::None { can_think: true },
    }
}

/// The most effort that the model knows and that is not above what was asked, else the least that it knows.
fn nearest(asked: Effort, known: &[String]) -> Option<&str> {
    const RISING: [Effort; 6] =
        [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max];
    let known = |effort: &Effort| known.iter().map(String::as_str).find(|known| *known == effort.code());
    let below = RISING.iter().rev().filter(|effort| **effort <= asked).find_map(known);
    below.or_else(|| RISING.iter().find_map(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::conformance::facts;
    use crate::units::Tokens;

    fn model(efforts: &[&str], budget: Option<(u64, Option<u64>)>, can_be_off: bool) -> TargetFacts {
        let efforts = efforts.iter().map(ToString::to_string).collect();
        let controls = ThinkingControls { efforts, budget, can_be_off };
        let max_output = Some(Tokens::new(64_000));
        TargetFacts { thinking: target::Thinking::Controlled(controls), max_output, ..facts("m") }
    }

    fn wish(effort: Effort) -> Wish {
        Wish { effort: Some(effort), cap: None, rules_it_out: false, lost_its_reasoning: false }
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        let budgeted = model(&[], Some((1024, None)), false);
        let small = TargetFacts { max_output: Some(Tokens::new(2000)), ..budgeted.clone() };
        let unknown =
            TargetFacts { max_output: None, thinking: target::Thinking::Unknown, ..budgeted.clone() };
        let cases = [
            (&budgeted, None, Effort::Medium, Some((10_240, 64_000))),
            (&budgeted, Some(500), Effort::Medium, Some((10_240, 10_740))),
            (&budgeted, Some(60_000), Effort::High, Some((24_576, 64_000))),
            (&budgeted, Some(64_000), Effort::Max, Some((32_000, 64_000))),
            (&unknown, None, Effort::Low, Some((4096, 8192))),
            (&small, None, Effort::Minimal, None),
        ];
        for (facts, cap, effort, expected) in cases {
            let plan = plan(&Wish { cap, ..wish(effort) }, facts);
            let enabled = expected.map(|(budget_tokens, _)| Thinking::Enabled { budget_tokens });
            assert_eq!(plan.thinking, enabled, "{cap:?} {effort:?}");
            assert_eq!(plan.dropped, expected.is_none());
            assert_eq!(plan.max_tokens, expected.map_or(2000, |(_, max_tokens)| max_tokens));
        }
    }

    #[test]
    fn newer_models_think_adaptively_with_the_nearest_effort() {
        let newest = model(&["low", "medium", "high", "xhigh", "max"], None, true);
        let opus_4_6 = model(&["low", "medium", "high", "max"], Some((1024, None)), false);
        let opus_4_5 = model(&["low", "medium", "high"], Some((1024, None)), false);
        let effort = |facts: &TargetFacts, effort| plan(&wish(effort), facts).effort.map(str::to_owned);
        assert_eq!(effort(&newest, Effort::Xhigh).as_deref(), Some("xhigh"));
        assert_eq!(effort(&newest, Effort::Minimal).as_deref(), Some("low"));
        assert_eq!(effort(&opus_4_6, Effort::Xhigh).as_deref(), Some("high"));
        assert_eq!(effort(&opus_4_5, Effort::High), None);
        assert_eq!(plan(&wish(Effort::None), &newest).thinking, Some(Thinking::Disabled));
        assert_eq!(plan(&wish(Effort::None), &opus_4_5).thinking, None);
    }

    #[test]
    fn where_thinking_is_ruled_out_the_effort_is_dropped() {
        let newest = model(&["low", "max"], None, true);
        let budgeted = model(&[], Some((1024, None)), false);
        let never = TargetFacts { thinking: target::Thinking::Never, ..budgeted.clone() };
        let forced = Wish { rules_it_out: true, ..wish(Effort::High) };
        let lost = Wish { lost_its_reasoning: true, ..wish(Effort::High) };
        let planned = |wish: &Wish, facts: &TargetFacts| {
            let plan = plan(wish, facts);
            (plan.thinking, plan.dropped)
        };
        assert_eq!(planned(&forced, &newest), (Some(Thinking::Disabled), true));
        assert_eq!(planned(&forced, &budgeted), (None, true));
        assert_eq!(planned(&lost, &budgeted), (None, true));
        assert!(!plan(&lost, &newest).dropped);
        assert_eq!(planned(&wish(Effort::High), &never), (None, true));
        assert_eq!(planned(&wish(Effort::None), &never), (None, false));
        let silent = Wish { effort: None, ..forced };
        assert_eq!(planned(&silent, &newest), (Some(Thinking::Disabled), false));
        assert_eq!(planned(&silent, &budgeted), (None, false));
    }
}
