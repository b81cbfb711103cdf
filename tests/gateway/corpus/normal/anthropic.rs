//! The Messages API.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::inverse::anthropic::level;
use super::{Ids, reduced, sniffed};

/// Members that say the same as their absence, or that are not the request's own.
const IGNORED: [&str; 5] = ["model", "stream", "anthropic_version", "anthropic_beta", "thinking"];

/// Piton's placeholder before a history that the assistant opens.
const OPENING: &str = "(start of conversation)";

/// The normal form of a request.
pub fn meaning(body: &Value) -> Value {
    let mut meaning: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    meaning.retain(|name, value| !IGNORED.contains(&name.as_str()) && !value.is_null());
    let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or(0);
    let room = body["max_tokens"].as_u64().unwrap_or(0).saturating_sub(budget);
    meaning.remove("max_tokens");
    meaning.insert("room for the answer".to_owned(), room.into());
    meaning.insert("effort".to_owned(), effort(body).into());
    let format = [&body["output_config"]["format"], &body["output_format"]]
        .into_iter()
        .find(|format| format.is_object());
    meaning.shift_remove("output_config");
    meaning.shift_remove("output_format");
    meaning.extend(format.map(|format| ("format".to_owned(), reduced(&format["schema"]))));
    for default in ["temperature", "top_p"] {
        if meaning.get(default).and_then(Value::as_f64) == Some(1.0) {
            meaning.shift_remove(default);
        }
    }
    let choice = choice(&body["tool_choice"]);
    meaning.insert("tool_choice".to_owned(), choice);
    let tools: Vec<Value> = body["tools"].as_array().into_iter().flatten().map(tool).collect();
    meaning.insert("tools".to_owned(), tools.into());
    meaning.insert("system".to_owned(), run(&blocks(&body["system"])));
    meaning.insert("messages".to_owned(), turns(&body["messages"]).into());
    meaning.into()
}

/// Off, the API's default, or a level: budgets and efforts of one size mean the same.
fn effort(body: &Value) -> &str {
    let level = match body["thinking"]["type"].as_str() {
        Some("enabled") => level(body["thinking"]["budget_tokens"].as_u64().unwrap_or(0)),
        Some("adaptive") => body["output_config"]["effort"].as_str().unwrap_or("high"),
        Some("disabled") => return "off",
        _ => body["output_config"]["effort"].as_str().unwrap_or("off"),
    };
    // The API has no word below low.
    if level == "minimal" { "low" } else { level }
}

fn choice(choice: &Value) -> Value {
    let mut choice = choice.clone();
    if let Some(members) = choice.as_object_mut() {
        members.retain(|_, value| *value != false);
    }
    if choice.is_null() { json!({ "type": "auto" }) } else { choice }
}

fn tool(tool: &Value) -> Value {
    let mut tool = tool.clone();
    let members = tool.as_object_mut().expect("a tool");
    members.retain(|name, value| {
        let says_nothing = value.is_null() || *value == false || *value == "";
        !(says_nothing || (name == "type" && *value == "custom"))
    });
    tool
}

fn blocks(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        Value::Array(blocks) => blocks.clone(),
        _ => Vec::new(),
    }
}

/// Texts put together up to each cache mark: how text is cut into blocks means nothing to the model.
fn run(blocks: &[Value]) -> Value {
    let mut runs: Vec<Value> = Vec::new();
    for block in blocks.iter().filter(|block| !string(&block["text"]).is_empty()) {
        match runs.last_mut().filter(|last| last["cache_control"].is_null()) {
            Some(last) => {
                last["text"] = (string(&last["text"]) + &string(&block["text"])).into();
                last["cache_control"] = block["cache_control"].clone();
            }
            None => runs.push(json!({ "text": block["text"], "cache_control": block["cache_control"] })),
        }
    }
    runs.into()
}

/// Turns of one role in a row are one turn to the API.
fn turns(messages: &Value) -> Vec<Value> {
    let mut ids = Ids::default();
    let mut turns: Vec<(Value, Vec<Value>)> = Vec::new();
    for message in messages.as_array().into_iter().flatten() {
        for block in blocks(&message["content"]) {
            let (role, block) = in_turn(&message["role"], block, &mut ids);
            if block["type"] == "text" && string(&block["text"]).trim().is_empty() {
                continue;
            }
            match turns.last_mut() {
                Some((last, blocks)) if *last == role => blocks.push(block),
                _ => turns.push((role, vec![block])),
            }
        }
    }
    // The API takes no history that the assistant opens: a placeholder may stand before it.
    if turns.first().is_some_and(|(_, blocks)| blocks.len() == 1 && blocks[0]["text"] == OPENING) {
        turns.remove(0);
    }
    turns.into_iter().map(|(role, blocks)| json!({ "role": role, "content": blocks })).collect()
}

/// A block and the role that it speaks in: instructions that come late may stand in a user's turn between marks.
fn in_turn(role: &Value, mut block: Value, ids: &mut Ids) -> (Value, Value) {
    for id in ["id", "tool_use_id"] {
        if !block[id].is_null() {
            block[id] = ids.of(&block[id]);
        }
    }
    let members = block.as_object_mut().expect("a block");
    members.retain(|name, value| !(value.is_null() || (name == "is_error" && *value == false)));
    if block["type"] == "tool_result" {
        let mut inner = blocks(&block["content"]);
        inner.retain(|block| block["type"] != "text" || !string(&block["text"]).trim().is_empty());
        // A mark on the last part of a result ends the same prefix as one on the result.
        let mark = inner.last_mut().and_then(|last| last.as_object_mut()?.remove("cache_control"));
        if let Some(mark) = mark {
            block["cache_control"] = mark;
        }
        block["content"] = inner.into();
    }
    if let Some(kind) = sniffed(&block["source"]["data"]) {
        block["source"]["media_type"] = kind.into();
    }
    let text = string(&block["text"]);
    let marked =
        text.strip_prefix("<system_message>\n").and_then(|text| text.strip_suffix("\n</system_message>"));
    match marked {
        Some(instructions) => {
            block["text"] = instructions.into();
            ("system".into(), block)
        }
        None => (role.clone(), block),
    }
}
