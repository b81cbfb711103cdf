//! Converse.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::inverse::anthropic;
use super::{Ids, reduced};

/// What a request says about thinking, in whichever of the models' own words.
#[derive(Default)]
pub struct Thinking {
    pub level: Option<String>,
    /// The part of the output that is for thinking.
    pub budget: u64,
}

/// Reads it from the model's own fields.
pub fn thinking(fields: &Value) -> Thinking {
    let plain =
        [&fields["reasoning_effort"], &fields["reasoning_config"]].into_iter().find_map(Value::as_str);
    if let Some(level) = plain {
        return Thinking { level: Some(level.to_owned()), budget: 0 };
    }
    let given = [&fields["thinking"], &fields["reasoning_config"], &fields["reasoningConfig"]];
    let Some(given) = given.into_iter().find(|given| given.is_object()) else { return Thinking::default() };
    if given["type"] == "disabled" {
        return Thinking { level: Some("none".to_owned()), budget: 0 };
    }
    let budget = given["budget_tokens"].as_u64().unwrap_or(0);
    let effort = [&given["maxReasoningEffort"], &fields["output_config"]["effort"]]
        .into_iter()
        .find_map(Value::as_str);
    let level = effort.map_or_else(|| anthropic::level(budget).to_owned(), str::to_owned);
    Thinking { level: Some(level), budget }
}

/// The normal form of a request.
pub fn meaning(body: &Value) -> Value {
    let mut meaning = Map::new();
    let fields = &body["additionalModelRequestFields"];
    let Thinking { level, budget } = thinking(fields);
    // Claude has no word below low.
    let level = level
        .filter(|level| level != "none")
        .map(|level| if level == "minimal" { "low".to_owned() } else { level });
    meaning.insert("effort".to_owned(), json!(level));
    let mut others = fields.as_object().cloned().unwrap_or_default();
    for read in ["thinking", "reasoning_config", "reasoningConfig", "reasoning_effort", "anthropic_beta"] {
        others.shift_remove(read);
    }
    meaning.insert("fields".to_owned(), others.into());
    let mut config = body["inferenceConfig"].as_object().cloned().unwrap_or_default();
    if let Some(most) = config.get("maxTokens").and_then(Value::as_u64) {
        config.insert("maxTokens".to_owned(), most.saturating_sub(budget).into());
    }
    config.retain(|_, value| !value.is_null() && *value != json!([]));
    meaning.insert("config".to_owned(), config.into());
    let format = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    let schema = format["schema"].as_str().and_then(|schema| serde_json::from_str::<Value>(schema).ok());
    meaning.insert("schema".to_owned(), json!(schema.as_ref().map(reduced)));
    let mut ids = Ids::default();
    meaning.insert("system".to_owned(), content(&body["system"], &mut ids).into());
    meaning.insert("messages".to_owned(), turns(&body["messages"], &mut ids).into());
    let tools = body["toolConfig"]["tools"].as_array().into_iter().flatten();
    meaning.insert("tools".to_owned(), tools.map(tool).collect());
    let choice = &body["toolConfig"]["toolChoice"];
    let choice = if choice["auto"].is_object() { &Value::Null } else { choice };
    meaning.insert("tool_choice".to_owned(), choice.clone());
    meaning.into()
}

fn tool(entry: &Value) -> Value {
    let mut entry = entry.clone();
    if let Some(given) = entry.get_mut("toolSpec").and_then(Value::as_object_mut) {
        given.retain(|_, value| !(value.is_null() || *value == false || *value == ""));
    }
    entry
}

/// Turns of one role in a row are one.
fn turns(messages: &Value, ids: &mut Ids) -> Vec<Value> {
    let mut turns: Vec<(Value, Vec<Value>)> = Vec::new();
    for turn in messages.as_array().into_iter().flatten() {
        let blocks = content(&turn["content"], ids);
        match turns.last_mut().filter(|(role, _)| *role == turn["role"]) {
            Some((_, before)) => before.extend(blocks),
            None => turns.push((turn["role"].clone(), blocks)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect()
}

/// Texts that flow together, results as texts, ids in their order.
fn content(blocks: &Value, ids: &mut Ids) -> Vec<Value> {
    let mut content: Vec<Value> = Vec::new();
    for block in blocks.as_array().into_iter().flatten() {
        let text = match (block["text"].as_str(), &block["json"]) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Value::Null) => None,
            (None, json) => Some(json.to_string()),
        };
        match (text, content.last_mut()) {
            (Some(text), _) if text.trim().is_empty() => {}
            (Some(text), Some(Value::String(last))) => last.push_str(&text),
            (Some(text), _) => content.push(text.into()),
            (None, _) => content.push(other(block, ids)),
        }
    }
    content
}

fn other(block: &Value, ids: &mut Ids) -> Value {
    let mut block = block.clone();
    for kind in ["toolUse", "toolResult"] {
        if let Some(members) = block.get_mut(kind).and_then(Value::as_object_mut) {
            let id = members.get("toolUseId").cloned().unwrap_or_default();
            members.insert("toolUseId".to_owned(), ids.of(&id));
            members.retain(|name, value| !(value.is_null() || (name == "status" && *value == "success")));
            if let Some(inner) = members.get("content").cloned() {
                members.insert("content".to_owned(), content(&inner, ids).into());
            }
        }
    }
    if let Some(name) = block.pointer_mut("/document/name") {
        // A file's name loses what Converse does not take in one.
        *name = string(name).replace(['.', '_'], " ").into();
    }
    block
}
