//! `reasoning_effort` as Gemini takes it: a level for the newer models, a budget of tokens for 2.5.

use super::extension::Extension;
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

/// The budgets that every 2.5 Flash takes, Lite too, and those of a 2.5 Pro, which always thinks.
const BUDGETS_2_5_FLASH: (u64, Option<u64>) = (512, Some(24_576));
const BUDGETS_2_5_PRO: (u64, Option<u64>) = (128, Some(32_768));
/// The levels that every Flash from 3 on knows, and those that every Pro knows.
const LEVELS_FLASH: [Effort; 4] = [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High];
const LEVELS_PRO: [Effort; 2] = [Effort::Low, Effort::High];
const EFFORTS: [Effort; 7] =
    [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh, Effort::Max];

/// How this target is told to think. Without an effort it is told nothing and does as it is used to. An effort
/// that the model does not have becomes the next higher one, or the highest.
///
/// What the client says in Google's own words goes as it is, and an effort beside it is dropped: both at once are refused.
pub fn plan(
    effort: Option<Effort>,
    extension: &Extension,
    facts: &TargetFacts,
    generation: Generation,
) -> Plan {
    if let Some(thinking) = &extension.thinking_config {
        return Plan {
            config: Some(thinking.config()),
            allowance: thinking.allowance(),
            is_dropped: effort.is_some(),
        };
    }
    let Some(effort) = effort else { return Plan::default() };
    let is_pro = facts.model.contains("-pro");
    match (&facts.thinking, generation) {
        (Thinking::Never, _) | (Thinking::Unknown, Generation::Early | Generation::Unknown) => drop(effort),
        (Thinking::Unknown, Generation::TwoFive) if is_pro => budget(effort, BUDGETS_2_5_PRO, false),
        (Thinking::Unknown, Generation::TwoFive) => budget(effort, BUDGETS_2_5_FLASH, true),
        (Thinking::Unknown, Generation::Three) if is_pro => level(effort, &LEVELS_PRO),
        (Thinking::Unknown, Generation::Three) => level(effort, &LEVELS_FLASH),
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
        thinking_level: Some(level.code().into()),
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
        thinking_budget: Some(i64::try_from(tokens).unwrap_or(i64::MAX)),
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

    fn told(model: &str, thinking: Thinking, effort: Effort) -> (Option<i64>, Option<String>, Plan) {
        let facts = TargetFacts { thinking, ..facts(model) };
        let plan = plan(Some(effort), &Extension::default(), &facts, Generation::of(model));
        let config = plan.config.as_ref();
        (
            config.and_then(|config| config.thinking_budget),
            config.and_then(|config| config.thinking_level.as_deref().map(str::to_owned)),
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
            assert_eq!(i64::try_from(plan.allowance).unwrap(), expected);
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
            (Thinking::Unknown, Effort::None, "low"),
            (Thinking::Unknown, Effort::Medium, "high"),
            // Both at once is refused by the API.
            (controlled(&["low"], Some((0, None)), true), Effort::High, "low"),
        ];
        for (thinking, effort, expected) in cases {
            let (budget, level, _) = told("gemini-3-pro-preview", thinking, effort);
            assert_eq!((budget, level.as_deref()), (None, Some(expected)), "{effort:?}");
        }
    }

    #[test]
    fn a_model_that_the_catalog_does_not_know_is_known_by_its_name() {
        let cases = [
            ("gemini-2.5-pro-preview-06-05", Effort::None, (Some(128), None)),
            ("gemini-2.5-pro-preview-06-05", Effort::Max, (Some(32_768), None)),
            ("gemini-2.5-flash-lite-preview", Effort::None, (Some(0), None)),
            ("gemini-2.5-flash-lite-preview", Effort::Max, (Some(24_576), None)),
            ("gemini-3.9-flash", Effort::None, (None, Some("minimal"))),
            ("gemini-3.9-flash", Effort::Medium, (None, Some("medium"))),
        ];
        for (model, effort, expected) in cases {
            let (budget, level, _) = told(model, Thinking::Unknown, effort);
            assert_eq!((budget, level.as_deref()), expected, "{model} {effort:?}");
        }
    }

    #[test]
    fn googles_own_words_win() {
        let extension: Extension =
            serde_json::from_str(r#"{"thinking_config":{"thinking_budget":-1}}"#).unwrap();
        let found = plan(Some(Effort::High), &extension, &facts("gemini-2.5-flash"), Generation::TwoFive);
        assert_eq!((found.config.unwrap().thinking_budget, found.allowance), (Some(-1), 0));
        assert!(found.is_dropped);
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
