//! How much the model thinks: from an effort, or from the API's own `thinking`, to a budget or an adaptive effort,
//! and the room that it takes.
//!
//! Either is a hint. Where the API cannot think (a forced tool, a text to be continued, a tool call whose
//! reasoning is lost) it is dropped, visibly, and the request goes on.

use std::borrow::Cow;

use super::generation::Generation;
use super::native::Asked;
use super::wire::Thinking;
use crate::chat::TargetFacts;
use crate::chat::conversation::Effort;
use crate::chat::target;

/// The room for an answer where neither the client nor the model's name says how long it may be.
const UNKNOWN_ANSWER: u64 = 4096;
/// The room for an answer that the client sets no cap on. Some models could answer four times as much, but what
/// runs on for so long has most often lost its way.
const ANSWER: u64 = 32_000;
/// The smallest budget that the API takes.
const LEAST_BUDGET: u64 = 1024;
/// The effort of a client that asks for thinking and does not say how much.
const USUAL: Effort = Effort::Medium;

const RISING: [Effort; 6] =
    [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max];

/// What a request says about thinking.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// OpenAI's `reasoning_effort`, or the API's own `output_config.effort`.
    pub effort: Option<Effort>,
    /// The API's own `thinking`: it goes before the effort.
    pub asked: Option<Asked>,
    /// The client's cap on the answer.
    pub cap: Option<u64>,
    /// A tool is forced, or the answer continues a text: then there is no thinking.
    pub rules_it_out: bool,
    /// See [`lost_its_reasoning`](super::messages::lost_its_reasoning).
    pub lost_its_reasoning: bool,
}

/// What is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub thinking: Option<Thinking>,
    pub effort: Option<Effort>,
    pub max_tokens: u64,
    /// What was asked could not be heeded: the request's member.
    pub dropped: Option<&'static str>,
}

impl Plan {
    /// Whether the request itself asks for thinking.
    pub fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Enabled { .. } | Thinking::Adaptive { .. }))
    }
}

impl Wish {
    /// How much is wanted, in whichever words; `None` where nothing is said.
    pub fn wanted(&self) -> Option<Effort> {
        match &self.asked {
            None => self.effort,
            Some(Asked::Disabled) => Some(Effort::None),
            Some(Asked::Adaptive { .. } | Asked::Enabled { budget_tokens: None, .. }) => {
                Some(self.effort.filter(|effort| *effort != Effort::None).unwrap_or(USUAL))
            }
            Some(Asked::Enabled { budget_tokens: Some(budget), .. }) => Some(effort_of(*budget)),
        }
    }

    fn names_budget(&self) -> bool {
        matches!(self.asked, Some(Asked::Enabled { budget_tokens: Some(_), .. }))
    }

    fn budget(&self, effort: Effort) -> u64 {
        match self.asked {
            Some(Asked::Enabled { budget_tokens: Some(budget), .. }) => budget,
            _ => effort.budget(),
        }
    }

    fn display(&self) -> Option<Cow<'static, str>> {
        match &self.asked {
            Some(Asked::Enabled { display, .. } | Asked::Adaptive { display }) => {
                display.clone().map(Cow::Owned)
            }
            Some(Asked::Disabled) | None => None,
        }
    }

    fn member(&self) -> &'static str {
        if self.asked.is_some() { "thinking" } else { "reasoning_effort" }
    }
}

/// How this model is told to think.
enum Control {
    /// Not at all; `can_think` anyway, perhaps.
    None {
        can_think: bool,
    },
    Budget {
        least: u64,
        most: u64,
    },
    Adaptive {
        efforts: Vec<Effort>,
        can_be_off: bool,
        /// It takes a budget as well, from a client that names one.
        takes_budget: bool,
    },
}

/// Whether the effort, if it is one, would make this model think.
pub fn would_think(effort: Option<Effort>, facts: &TargetFacts) -> bool {
    let wanted = effort.is_some_and(|effort| effort != Effort::None);
    wanted && !matches!(control(facts), Control::None { .. })
}

/// Decides on thinking and on `max_tokens`.
pub fn plan(wish: &Wish, facts: &TargetFacts) -> Plan {
    let limit = facts.max_output.map(|tokens| tokens.get().max(1));
    let known = limit.or_else(|| Generation::of(&facts.model).map(Generation::max_output));
    let room = known.map_or(UNKNOWN_ANSWER, |known| known.min(ANSWER));
    let answer = wish.cap.unwrap_or(room).min(limit.unwrap_or(u64::MAX));
    let none = Plan { thinking: None, effort: None, max_tokens: answer, dropped: None };
    let dropped = Some(wish.member());
    match (control(facts), wish.wanted()) {
        (Control::Adaptive { takes_budget: true, .. }, Some(effort)) if wish.names_budget() => {
            let is_possible = !wish.rules_it_out && !wish.lost_its_reasoning;
            let budget = wish.budget(effort).max(LEAST_BUDGET);
            let budgeted =
                is_possible.then(|| with_budget(wish, budget, LEAST_BUDGET, limit, answer)).flatten();
            budgeted.unwrap_or(Plan { dropped, ..none })
        }
        (Control::Adaptive { efforts, can_be_off, .. }, wanted) => {
            let plan = adaptive(wish, wanted, &efforts, can_be_off, none);
            match (wanted, wish.cap, known) {
                // Its thoughts count towards the answer.
                (Some(effort), None, Some(known)) if plan.is_on() => {
                    let max_tokens = plan.max_tokens.saturating_add(effort.budget()).min(known);
                    Plan { max_tokens, ..plan }
                }
                _ => plan,
            }
        }
        (_, None) | (Control::Budget { .. } | Control::None { can_think: false }, Some(Effort::None)) => none,
        (Control::None { .. }, Some(_)) => Plan { dropped, ..none },
        (Control::Budget { least, most }, Some(effort)) => {
            let budget = wish.budget(effort).clamp(least, most);
            let is_possible = !wish.rules_it_out && !wish.lost_its_reasoning;
            let budgeted = is_possible.then(|| with_budget(wish, budget, least, limit, answer)).flatten();
            budgeted.unwrap_or(Plan { dropped, ..none })
        }
    }
}

/// A newer model thinks as it sees fit, unless it is told not to.
fn adaptive(wish: &Wish, wanted: Option<Effort>, efforts: &[Effort], can_be_off: bool, none: Plan) -> Plan {
    let is_asked = wanted.is_some_and(|effort| effort != Effort::None);
    if wish.rules_it_out || wanted == Some(Effort::None) {
        let thinking = can_be_off.then_some(Thinking::Disabled);
        let is_dropped = is_asked || (wanted.is_some() && thinking.is_none());
        return Plan { thinking, dropped: is_dropped.then_some(wish.member()), ..none };
    }
    let Some(effort) = wanted else { return none };
    // It shows no summary of its thoughts unless asked. Who asks in the API's own words says so in them.
    let display = match wish.asked {
        Some(Asked::Adaptive { .. }) => wish.display(),
        _ => wish.display().or(Some(Cow::Borrowed("summarized"))),
    };
    // Where the client says nothing of an effort, the model's own usual one holds.
    let is_graded = wish.effort.is_some() || !matches!(wish.asked, Some(Asked::Adaptive { .. }));
    let effort = if is_graded { nearest(effort, efforts) } else { None };
    Plan { thinking: Some(Thinking::Adaptive { display }), effort, ..none }
}

/// Thinking with a budget, if there is room for it. It counts towards `max_tokens`, so a cap that was meant for
/// the answer rises by it, and the answer keeps what it may take alone, or half of all. A client that names the
/// budget itself means its cap as the API does.
fn with_budget(wish: &Wish, budget: u64, least: u64, limit: Option<u64>, answer: u64) -> Option<Plan> {
    let (max_tokens, budget_tokens) = if wish.names_budget() && wish.cap.is_some() && answer > budget {
        (answer, budget)
    } else {
        let max_tokens = answer.saturating_add(budget).min(limit.unwrap_or(u64::MAX));
        (max_tokens, budget.min(max_tokens - answer.min(max_tokens / 2)))
    };
    let thinking = Some(Thinking::Enabled { budget_tokens, display: wish.display() });
    let fits = budget_tokens >= least && budget_tokens < max_tokens;
    fits.then_some(Plan { thinking, effort: None, max_tokens, dropped: None })
}

fn control(facts: &TargetFacts) -> Control {
    let controls = match &facts.thinking {
        target::Thinking::Controlled(controls) if facts.able.reasoning => controls,
        target::Thinking::Unknown if facts.able.reasoning => return by_name(facts),
        target::Thinking::Never | target::Thinking::Unknown | target::Thinking::Controlled(_) => {
            return Control::None { can_think: false };
        }
    };
    // Opus 4.5 grades its effort but knows no adaptive thinking; all that came after it know the effort "max".
    let is_adaptive = !controls.efforts.is_empty()
        && (controls.budget.is_none() || controls.efforts.iter().any(|effort| effort == Effort::Max.code()));
    match controls.budget {
        _ if is_adaptive => {
            let is_known = |effort: &Effort| controls.efforts.iter().any(|known| known == effort.code());
            let efforts = RISING.into_iter().filter(is_known).collect();
            let takes_budget = controls.budget.is_some();
            Control::Adaptive { efforts, can_be_off: controls.can_be_off, takes_budget }
        }
        Some((least, most)) => {
            let least = least.max(LEAST_BUDGET);
            Control::Budget { least, most: most.unwrap_or(u64::MAX).max(least) }
        }
        None => Control::None { can_think: true },
    }
}

/// What a model's name tells where the catalog does not know it.
fn by_name(facts: &TargetFacts) -> Control {
    match Generation::of(&facts.model) {
        Some(generation) if generation.thinks_adaptively() => {
            let is_known = |effort: &Effort| match effort {
                Effort::None | Effort::Minimal => false,
                Effort::Xhigh => generation.takes_xhigh(),
                Effort::Low | Effort::Medium | Effort::High | Effort::Max => true,
            };
            let efforts = RISING.into_iter().filter(is_known).collect();
            Control::Adaptive { efforts, can_be_off: true, takes_budget: generation.takes_budgets() }
        }
        Some(generation) if !generation.thinks() => Control::None { can_think: false },
        Some(_) | None => Control::Budget { least: LEAST_BUDGET, most: u64::MAX },
    }
}

/// The most effort that the model knows and that is not above what was asked, else the least that it knows.
fn nearest(asked: Effort, known: &[Effort]) -> Option<Effort> {
    known.iter().rev().find(|effort| **effort <= asked).or_else(|| known.first()).copied()
}

/// The least effort whose budget is not below this one.
fn effort_of(budget: u64) -> Effort {
    RISING.into_iter().find(|effort| effort.budget() >= budget).unwrap_or(Effort::Max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::target::ThinkingControls;
    use crate::providers::conformance::facts;
    use crate::units::Tokens;

    fn model(efforts: &[&str], budget: Option<(u64, Option<u64>)>, can_be_off: bool) -> TargetFacts {
        let efforts = efforts.iter().map(ToString::to_string).collect();
        let controls = ThinkingControls { efforts, budget, can_be_off };
        let max_output = Some(Tokens::new(64_000));
        TargetFacts { thinking: target::Thinking::Controlled(controls), max_output, ..facts("m") }
    }

    fn wish(effort: Effort) -> Wish {
        Wish { effort: Some(effort), ..Wish::default() }
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        let budgeted = model(&[], Some((1024, None)), false);
        let small = TargetFacts { max_output: Some(Tokens::new(2000)), ..budgeted.clone() };
        let unknown =
            TargetFacts { max_output: None, thinking: target::Thinking::Unknown, ..budgeted.clone() };
        let cases = [
            (&budgeted, None, Effort::Medium, Some((10_240, 42_240))),
            (&budgeted, None, Effort::Max, Some((32_000, 64_000))),
            (&budgeted, Some(500), Effort::Medium, Some((10_240, 10_740))),
            (&budgeted, Some(60_000), Effort::High, Some((24_576, 64_000))),
            (&budgeted, Some(64_000), Effort::Max, Some((32_000, 64_000))),
            (&unknown, None, Effort::Low, Some((4096, 8192))),
            (&small, None, Effort::Minimal, None),
        ];
        for (facts, cap, effort, expected) in cases {
            let plan = plan(&Wish { cap, ..wish(effort) }, facts);
            let enabled =
                expected.map(|(budget_tokens, _)| Thinking::Enabled { budget_tokens, display: None });
            assert_eq!(plan.thinking, enabled, "{cap:?} {effort:?}");
            assert_eq!(plan.dropped.is_none(), expected.is_some());
            assert_eq!(plan.max_tokens, expected.map_or(2000, |(_, max_tokens)| max_tokens));
        }
    }

    #[test]
    fn newer_models_think_adaptively_with_the_nearest_effort() {
        let newest = model(&["low", "medium", "high", "xhigh", "max"], None, true);
        let opus_4_6 = model(&["low", "medium", "high", "max"], Some((1024, None)), false);
        let opus_4_5 = model(&["low", "medium", "high"], Some((1024, None)), false);
        let effort = |facts: &TargetFacts, effort| plan(&wish(effort), facts).effort.map(Effort::code);
        assert_eq!(effort(&newest, Effort::Xhigh), Some("xhigh"));
        assert_eq!(effort(&newest, Effort::Minimal), Some("low"));
        assert_eq!(effort(&opus_4_6, Effort::Xhigh), Some("high"));
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
            (plan.thinking, plan.dropped.is_some())
        };
        assert_eq!(planned(&forced, &newest), (Some(Thinking::Disabled), true));
        assert_eq!(planned(&forced, &budgeted), (None, true));
        assert_eq!(planned(&lost, &budgeted), (None, true));
        assert_eq!(plan(&lost, &newest).dropped, None);
        assert_eq!(planned(&wish(Effort::High), &never), (None, true));
        assert_eq!(planned(&wish(Effort::None), &never), (None, false));
        let silent = Wish { effort: None, ..forced };
        assert_eq!(planned(&silent, &newest), (Some(Thinking::Disabled), false));
        assert_eq!(planned(&silent, &budgeted), (None, false));
    }
    #[test]
    fn the_apis_own_thinking_is_fitted_to_the_model() {
        let newest = model(&["low", "medium", "high", "xhigh", "max"], None, true);
        let budgeted = model(&[], Some((1024, None)), false);
        let asked = |json: &str, cap| {
            let asked = Some(serde_json::from_str(json).unwrap());
            Wish { asked, cap, ..Wish::default() }
        };
        let enabled = |budget_tokens| Some(Thinking::Enabled { budget_tokens, display: None });
        let exact = asked(r#"{"type":"enabled","budget_tokens":4000}"#, Some(4096));
        let exact_plan = plan(&exact, &budgeted);
        assert_eq!((exact_plan.thinking, exact_plan.max_tokens), (enabled(4000), 4096));
        let adapted = plan(&exact, &newest);
        assert_eq!((adapted.is_on(), adapted.effort), (true, Some(Effort::Low)));
        let small = plan(&asked(r#"{"type":"enabled","budget_tokens":4000}"#, Some(100)), &budgeted);
        assert_eq!((small.thinking, small.max_tokens), (enabled(4000), 4100));
        let free = plan(&asked(r#"{"type":"adaptive","display":"omitted"}"#, None), &newest);
        assert_eq!(free.thinking, Some(Thinking::Adaptive { display: Some("omitted".into()) }));
        assert_eq!(free.effort, None);
        let older = plan(&asked(r#"{"type":"adaptive"}"#, None), &budgeted);
        assert_eq!(older.thinking, enabled(Effort::Medium.budget()));
        assert_eq!(plan(&asked(r#"{"type":"disabled"}"#, None), &newest).thinking, Some(Thinking::Disabled));
        let both = model(&["low", "medium", "high", "max"], Some((1024, None)), false);
        assert_eq!(plan(&exact, &both).thinking, enabled(4000));
        let own_words = plan(&asked(r#"{"type":"adaptive"}"#, Some(90)), &both);
        assert_eq!(
            (own_words.thinking, own_words.max_tokens),
            (Some(Thinking::Adaptive { display: None }), 90)
        );
        let forced = Wish { rules_it_out: true, ..exact };
        assert_eq!(plan(&forced, &budgeted).dropped, Some("thinking"));
    }

    #[test]
    fn models_that_the_catalog_does_not_know_are_told_by_their_names() {
        let unknown = |name: &str| TargetFacts { thinking: target::Thinking::Unknown, ..facts(name) };
        let planned = |name: &str| plan(&wish(Effort::High), &unknown(name));
        assert_eq!(planned("claude-opus-5").effort, Some(Effort::High));
        assert_eq!(planned("claude-opus-5").max_tokens, 32_000);
        assert!(matches!(planned("claude-sonnet-4-5").thinking, Some(Thinking::Enabled { .. })));
        assert_eq!(planned("claude-3-5-haiku-latest").dropped, Some("reasoning_effort"));
        assert_eq!(plan(&Wish::default(), &unknown("claude-3-opus-latest")).max_tokens, 4096);
    }
}
