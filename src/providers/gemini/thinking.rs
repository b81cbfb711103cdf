//! `reasoning_effort` as Gemini takes it: a level for the newer models, a budget of tokens for 2.5.

use super::generation::Generation;
use super::wire::ThinkingConfig;
use crate::chat::TargetFacts;
use crate::chat::conversation::Effort;
use crate::chat::target::Thinking;

/// What becomes of an effort.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub config: Option<ThinkingConfig>,
    /// The tokens that thinking may take.
    pub allowance: u64,
    /// The model takes no effort at all.
    pub is_dropped: bool,
}

/// The largest budget that every 2.5 model takes.
const BUDGET_2_5: u64 = 24_576;
/// The levels that a model of unknown controls is taken to know.
const LEVELS: [Effort; 4] = [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High];
const EFFORTS: [Effort; 7] =
    [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max];

/// How this target is told to think. Without an effort it is told nothing and does as it is used to. An effort
/// that the model does not have becomes the next higher one, or the highest.
pub fn plan(effort: Option<Effort>, facts: &TargetFacts, generation: Generation) -> Plan {
    let Some(effort) = effort else { return Plan::default() };
    match (&facts.thinking, generation) {
        (Thinking::Never, _) | (Thinking::Unknown, Generation::Early | Generation::Unknown) => drop(effort),
        (Thinking::Unknown, Generation::TwoFive) => budget(effort, (0, Some(BUDGET_2_5)), true),
        (Thinking::Unknown, Generation::Three) => level(effort, &LEVELS),
        (Thinking::Controlled(controls), _) => {
            let levels: Vec<Effort> = controls.efforts.iter().filter_map(|word| read(word)).collect();
            match controls.budget {
                _ if !levels.is_empty() => level(effort, &levels),
                Some(range) => budget(effort, range, controls.can_be_off),
                None => drop(effort),
            }
        }
    }
}

fn level(effort: Effort, levels: &[Effort]) -> Plan {
    let higher = levels.iter().copied().filter(|level| *level >= effort).min();
    let Some(level) = higher.or_else(|| levels.iter().copied().max()) else { return drop(effort) };
    let config = ThinkingConfig {
        include_thoughts: (effort != Effort::None).then_some(true),
        thinking_level: Some(level.code()),
        thinking_budget: None,
    };
    let allowance = if effort == Effort::None { 0 } else { level.budget() };
    Plan { config: Some(config), allowance, is_dropped: false }
}

fn budget(effort: Effort, (least, most): (u64, Option<u64>), can_be_off: bool) -> Plan {
    let tokens = match effort {
        Effort::None if can_be_off => 0,
        Effort::None => least,
        Effort::Minimal | Effort::Low | Effort::Medium | Effort::High | Effort::Xhigh | Effort::Max => {
            effort.budget().max(least).min(most.unwrap_or(u64::MAX))
        }
    };
    let config = ThinkingConfig {
        include_thoughts: (effort != Effort::None).then_some(true),
        thinking_level: None,
        thinking_budget: Some(tokens),
    };
    Plan { config: Some(config), allowance: tokens, is_dropped: false }
}

/// A model that does not think takes no effort, which is what `none` asks for.
fn drop(effort: Effort) -> Plan {
    Plan { is_dropped: effort != Effort::None, ..Plan::default() }
}

fn read(word: &str) -> Option<Effort> {
    EFFORTS.into_iter().find(|effort| effort.code() == word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::facts;
    use super::*;
    use crate::chat::target::ThinkingControls;

    fn told(model: &str, thinking: Thinking, effort: Effort) -> (Option<u64>, Option<&'static str>, Plan) {
        let facts = TargetFacts { thinking, ..facts(model) };
        let plan = plan(Some(effort), &facts, Generation::of(model));
        let config = plan.config.as_ref();
        (
            config.and_then(|config| config.thinking_budget),
            config.and_then(|config| config.thinking_level),
            plan,
        )
    }

    fn controlled(efforts: &[&str], budget: Option<(u64, Option<u64>)>, can_be_off: bool) -> Thinking {
        let efforts = efforts.iter().map(|word| (*word).to_owned()).collect();
        Thinking::Controlled(ThinkingControls { efforts, budget, can_be_off })
    }

    #[test]
    fn a_counting_model_gets_a_budget_inside_its_range() {
        let flash = || controlled(&[], Some((0, Some(24_576))), true);
        let pro = || controlled(&[], Some((128, Some(32_768))), false);
        let cases = [
            (flash(), Effort::None, 0),
            (flash(), Effort::Low, 4_096),
            (flash(), Effort::Max, 24_576),
            (pro(), Effort::None, 128),
            (pro(), Effort::Max, 32_768),
            (Thinking::Unknown, Effort::Xhigh, 24_576),
        ];
        for (thinking, effort, expected) in cases {
            let (budget, level, plan) = told("gemini-2.5-flash", thinking, effort);
            assert_eq!((budget, level), (Some(expected), None), "{effort:?}");
            assert_eq!(plan.allowance, expected);
            let thoughts = plan.config.unwrap().include_thoughts;
            assert_eq!(thoughts, (effort != Effort::None).then_some(true), "{effort:?}");
        }
    }

    #[test]
    fn a_grading_model_gets_its_next_higher_level() {
        let pro = || controlled(&["low", "high"], None, false);
        let cases = [
            (pro(), Effort::None, "low"),
            (pro(), Effort::Medium, "high"),
            (pro(), Effort::Max, "high"),
            (Thinking::Unknown, Effort::None, "minimal"),
            (Thinking::Unknown, Effort::Medium, "medium"),
            // Both at once is refused by the API.
            (controlled(&["low"], Some((0, None)), true), Effort::High, "low"),
        ];
        for (thinking, effort, expected) in cases {
            let (budget, level, _) = told("gemini-3-pro-preview", thinking, effort);
            assert_eq!((budget, level), (None, Some(expected)), "{effort:?}");
        }
    }

    #[test]
    fn a_model_that_does_not_think_shows_what_it_drops() {
        let (_, _, plan) = told("gemini-2.0-flash", Thinking::Never, Effort::High);
        assert_eq!(plan, Plan { is_dropped: true, ..Plan::default() });
        let (_, _, plan) = told("gemini-2.0-flash", Thinking::Unknown, Effort::None);
        assert_eq!(plan, Plan::default());
        let (_, _, plan) = told("gemma-4-31b-it", controlled(&[], None, true), Effort::Low);
        assert!(plan.is_dropped);
    }
}
