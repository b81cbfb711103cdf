//! How a vendor is told how much to think. What the client says in the vendor's own words stands.

use serde_json::{Value, json};

use crate::chat::conversation::Effort;
use crate::chat::edit::BodyEdit;
use crate::chat::target::{EffortForm, Thinking};
use crate::chat::{ChatRequest, TargetFacts};

const FIELD: &str = "reasoning_effort";

/// Writes the client's effort as the vendor spells it.
pub fn write(request: &ChatRequest, facts: &TargetFacts, edit: &mut BodyEdit<'_>) {
    let form = facts.quirks.effort;
    let Some(effort) = request.needs.effort.filter(|_| facts.thinking != Thinking::Never) else {
        if form == EffortForm::Budget && !request.stream && must_be_told_not_to_think(&facts.model) {
            add(request, edit, "enable_thinking", &json!(false));
        }
        return;
    };
    let off = effort == Effort::None;
    let switch = json!({ "type": if off { "disabled" } else { "enabled" } });
    match form {
        EffortForm::Plain => nearest(effort, facts, edit),
        EffortForm::TwoLevels if off => {
            add(request, edit, "thinking", &switch);
            edit.remove(FIELD);
        }
        EffortForm::TwoLevels => {
            if matches!(facts.thinking, Thinking::Controlled(_)) {
                add(request, edit, "thinking", &switch);
            }
            // It takes the levels between as `high`.
            match effort {
                Effort::None | Effort::Minimal => set(edit, Effort::High),
                Effort::Low | Effort::Medium | Effort::High | Effort::Max => nearest(effort, facts, edit),
                Effort::Xhigh => set(edit, Effort::Max),
            }
        }
        EffortForm::Switch { and_effort } => {
            if off || !and_effort {
                add(request, edit, "thinking", &switch);
                edit.remove(FIELD);
            }
        }
        EffortForm::Budget => {
            edit.remove(FIELD);
            if add(request, edit, "enable_thinking", &json!(!off)) && !off {
                add(request, edit, "thinking_budget", &json!(budget(effort, facts)));
            }
        }
        EffortForm::Object => {
            edit.remove(FIELD);
            let word = if effort == Effort::Max { Effort::Xhigh } else { effort };
            add(request, edit, "reasoning", &json!({ "effort": word.code() }));
        }
        EffortForm::Template if off => {
            add(request, edit, "chat_template_kwargs", &json!({ "enable_thinking": false }));
            edit.remove(FIELD);
        }
        EffortForm::Template => match effort {
            Effort::None | Effort::Minimal => set(edit, Effort::Low),
            Effort::Low | Effort::Medium | Effort::High => {}
            Effort::Xhigh | Effort::Max => set(edit, Effort::High),
        },
    }
}

/// Adds a field unless the client sent it.
fn add(request: &ChatRequest, edit: &mut BodyEdit<'_>, name: &str, value: &Value) -> bool {
    let is_free = request.member(name).is_none_or(|json| json == "null");
    if is_free {
        edit.set(name, value.to_string());
    }
    is_free
}

fn set(edit: &mut BodyEdit<'_>, level: Effort) {
    edit.set(FIELD, json!(level.code()).to_string());
}

/// The model's own level that is nearest to the client's, where its levels are known.
fn nearest(effort: Effort, facts: &TargetFacts, edit: &mut BodyEdit<'_>) {
    let Thinking::Controlled(controls) = &facts.thinking else { return };
    if controls.efforts.iter().any(|level| level == effort.code()) {
        return;
    }
    let levels = controls.efforts.iter().map(String::as_str);
    let levels = levels.filter(|level| effort == Effort::None || *level != Effort::None.code());
    // Groq's word for models that think as much as they think.
    if levels.clone().any(|level| level == "default") {
        edit.set(FIELD, json!("default").to_string());
        return;
    }
    let known = levels
        .filter_map(|level| serde_json::from_value::<Effort>(json!(level)).ok().map(|known| (known, level)));
    let distance = |level: Effort| (level as i32 - effort as i32).abs();
    if let Some((_, level)) = known.min_by_key(|(known, _)| distance(*known)) {
        edit.set(FIELD, json!(level).to_string());
    }
}

/// The tokens of thinking that come on top of the client's cap: who takes a budget for it counts it apart.
pub fn beside_the_cap(request: &ChatRequest, facts: &TargetFacts) -> u64 {
    let is_apart = facts.quirks.effort == EffortForm::Budget && facts.thinking != Thinking::Never;
    if !is_apart {
        return 0;
    }
    // The vendor's own word for it goes before.
    let own = request.member("thinking_budget").and_then(|tokens| tokens.parse().ok());
    let effort = request.needs.effort.filter(|effort| *effort != Effort::None);
    own.or_else(|| effort.map(|effort| budget(effort, facts))).unwrap_or_default()
}

fn budget(effort: Effort, facts: &TargetFacts) -> u64 {
    let Thinking::Controlled(controls) = &facts.thinking else { return effort.budget() };
    let (least, most) = controls.budget.unwrap_or((0, None));
    effort.budget().max(least).min(most.unwrap_or(u64::MAX))
}

/// Qwen's open weights that can do both think by default, which Alibaba's API allows in streams only.
fn must_be_told_not_to_think(model: &str) -> bool {
    let Some(rest) = model.strip_prefix("qwen3-") else { return false };
    let is_sized = rest
        .split('-')
        .next()
        .is_some_and(|size| size.strip_suffix('b').is_some_and(|size| size.parse::<f64>().is_ok()));
    is_sized && !rest.contains("thinking") && !rest.contains("instruct")
}
