//! How much the model thinks, in the words of its maker. An effort is a hint: where it cannot be heeded it is
//! dropped, visibly, and the request goes on.

use serde_json::{Map, Value, json};

use super::family::Family;
use crate::chat::TargetFacts;
use crate::chat::conversation::Effort;
use crate::chat::target::Thinking;
use crate::providers::anthropic::thinking::{self, Wish};

/// What is sent, but for the fields themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The cap on the answer, thinking included.
    pub max_tokens: Option<u64>,
    /// Claude thinks by request: it takes less of other fields then.
    pub claude_thinks: bool,
    /// The fields of the sampling and the cap are refused.
    pub takes_no_limits: bool,
    /// The effort could not be heeded.
    pub dropped: bool,
}

impl Plan {
    /// The cap that is sent.
    pub fn cap(&self) -> Option<u64> {
        self.max_tokens.filter(|_| !self.takes_no_limits)
    }
}

/// Decides on thinking; what is to be sent of it goes into `additional`.
pub fn plan(wish: &Wish, facts: &TargetFacts, family: Family, additional: &mut Map<String, Value>) -> Plan {
    let limit = facts.max_output.map_or(u64::MAX, |tokens| tokens.get().max(1));
    let max_tokens = wish.cap.map(|cap| cap.min(limit));
    let none = Plan { max_tokens, claude_thinks: false, takes_no_limits: false, dropped: false };
    if family == Family::Claude {
        return claude(wish, facts, none, additional);
    }
    let Some(effort) = wish.effort else { return none };
    let can_think = facts.able.reasoning && facts.thinking != Thinking::Never;
    let mut set = |name: &str, value: Value| {
        additional.insert(name.to_owned(), value);
    };
    match family {
        _ if effort == Effort::None && family != Family::GptOss => none,
        Family::Nova2 if can_think => {
            let level = graded(effort);
            set("reasoningConfig", json!({ "type": "enabled", "maxReasoningEffort": level }));
            Plan { takes_no_limits: level == "high", ..none }
        }
        Family::GptOss if can_think => {
            set("reasoning_effort", graded(effort).into());
            Plan { dropped: effort == Effort::None, ..none }
        }
        Family::Qwen if can_think => {
            let level = if effort <= Effort::Low { "low" } else { "high" };
            set("reasoning_config", level.into());
            none
        }
        Family::Claude
        | Family::Nova
        | Family::Nova2
        | Family::GptOss
        | Family::Qwen
        | Family::Mistral
        | Family::Cohere
        | Family::Opaque
        | Family::Other => Plan { dropped: true, ..none },
    }
}

/// As on the Messages API, but that the cap may stay unsaid: then it is all that the model can answer.
fn claude(wish: &Wish, facts: &TargetFacts, none: Plan, additional: &mut Map<String, Value>) -> Plan {
    let plan = thinking::plan(wish, facts);
    if let Some(thinking) = &plan.thinking {
        additional.insert("thinking".to_owned(), json!(thinking));
    }
    if let Some(effort) = plan.effort {
        additional.insert("output_config".to_owned(), json!({ "effort": effort.code() }));
    }
    let max_tokens = none.max_tokens.map(|_| plan.max_tokens);
    Plan { max_tokens, claude_thinks: plan.is_on(), dropped: plan.dropped.is_some(), ..none }
}

/// The three grades that most makers know.
const fn graded(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Xhigh | Effort::Max => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::conformance::facts;

    fn planned(model: &str, effort: Effort) -> (Value, Plan) {
        let facts = facts(model);
        let wish = Wish { effort: Some(effort), cap: Some(500), ..Wish::default() };
        let mut additional = Map::new();
        let plan = plan(&wish, &facts, Family::of(&facts), &mut additional);
        (additional.into(), plan)
    }

    #[test]
    fn each_maker_is_asked_in_its_own_words() {
        let config =
            |level: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}});
        let cases = [
            ("amazon.nova-2-lite-v1:0", Effort::Minimal, config("low"), false),
            ("amazon.nova-2-lite-v1:0", Effort::Max, config("high"), false),
            ("amazon.nova-2-lite-v1:0", Effort::None, json!({}), false),
            ("amazon.nova-pro-v1:0", Effort::Low, json!({}), true),
            ("openai.gpt-oss-20b-1:0", Effort::Medium, json!({"reasoning_effort": "medium"}), false),
            ("openai.gpt-oss-20b-1:0", Effort::None, json!({"reasoning_effort": "low"}), true),
            ("qwen.qwen3-32b-v1:0", Effort::Medium, json!({"reasoning_config": "high"}), false),
            ("qwen.qwen3-32b-v1:0", Effort::Low, json!({"reasoning_config": "low"}), false),
            ("qwen.qwen3-32b-v1:0", Effort::None, json!({}), false),
            ("meta.llama3-1-8b-instruct-v1:0", Effort::High, json!({}), true),
        ];
        for (model, effort, expected, dropped) in cases {
            let (fields, plan) = planned(model, effort);
            assert_eq!(
                (fields, plan.dropped, plan.max_tokens),
                (expected, dropped, Some(500)),
                "{model} {effort:?}"
            );
            assert_eq!(plan.takes_no_limits, model.contains("nova-2") && effort == Effort::Max);
        }
        let (fields, plan) = planned("anthropic.claude-sonnet-4-v1:0", Effort::Minimal);
        assert_eq!(fields, json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}));
        assert_eq!((plan.max_tokens, plan.claude_thinks), (Some(1524), true));
    }
}
