//! Cohere's Chat API.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::inverse::cohere::document;
use super::Ids;

/// The normal form of a request; `recorded` says how exactly the amount of thinking was meant.
pub fn meaning(body: &Value, recorded: &Value) -> Value {
    let mut meaning: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
    meaning.retain(|name, value| {
        let says_nothing = value.is_null() || *value == false || *value == json!([]);
        !says_nothing && !["model", "stream", "messages"].contains(&name.as_str())
    });
    if let Some(thinking) = meaning.get_mut("thinking").and_then(Value::as_object_mut)
        && recorded["thinking"]["token_budget"].is_null()
    {
        thinking.shift_remove("token_budget");
    }
    if let Some(format) = meaning.get_mut("response_format").and_then(Value::as_object_mut)
        && let Some(schema) = format.shift_remove("schema")
    {
        format.insert("json_schema".to_owned(), schema);
    }
    let mut ids = Ids::default();
    let messages = body["messages"].as_array().into_iter().flatten().map(|turn| message(turn, &mut ids));
    meaning.insert("messages".to_owned(), messages.collect());
    meaning.into()
}

fn message(turn: &Value, ids: &mut Ids) -> Value {
    let mut message = json!({ "role": turn["role"], "parts": parts(turn) });
    if let Some(calls) = turn["tool_calls"].as_array().filter(|calls| !calls.is_empty()) {
        let call = |call: &Value| {
            let arguments = string(&call["function"]["arguments"]);
            let arguments = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
            json!({ "id": ids.of(&call["id"]), "name": call["function"]["name"], "arguments": arguments })
        };
        message["calls"] = calls.iter().map(call).collect();
    }
    if !turn["tool_call_id"].is_null() {
        message["result of"] = ids.of(&turn["tool_call_id"]);
    }
    message
}

/// Plan, text and documents as texts that flow together, and what is no text.
fn parts(turn: &Value) -> Vec<Value> {
    let mut given = vec![json!({ "type": "text", "text": string(&turn["tool_plan"]) })];
    match &turn["content"] {
        Value::String(text) => given.push(json!({ "type": "text", "text": text })),
        Value::Array(parts) => given.extend(parts.iter().cloned()),
        _ => {}
    }
    let mut parts: Vec<Value> = Vec::new();
    for part in given {
        let text = match part["type"].as_str() {
            Some("text") => string(&part["text"]),
            Some("document") => document(&part),
            _ => {
                parts.push(part);
                continue;
            }
        };
        match parts.last_mut().filter(|last| last.is_string()) {
            Some(last) => *last = (string(last) + &text).into(),
            None if text.is_empty() => {}
            None => parts.push(text.into()),
        }
    }
    parts
}
