//! From Cohere's Chat API to chat completions.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::dialect::NotApplicable;

/// Members and what they are called in OpenAI's format.
const NAMES: [(&str, &str); 10] = [
    ("max_tokens", "max_completion_tokens"),
    ("temperature", "temperature"),
    ("p", "top_p"),
    ("k", "top_k"),
    ("seed", "seed"),
    ("stop_sequences", "stop"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("logprobs", "logprobs"),
    ("tools", "tools"),
];

/// The request in OpenAI's format.
pub fn ask(body: &Value, said: &[Value]) -> Result<Value, NotApplicable> {
    let mut asked = Map::new();
    for (name, value) in body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let ours = NAMES.iter().find(|(theirs, _)| theirs == name).map(|(_, ours)| *ours);
        match (name.as_str(), ours) {
            (_, Some(ours)) => asked.insert(ours.to_owned(), value.clone()),
            ("model" | "stream" | "messages", _) => None,
            ("tool_choice", _) => asked.insert(name.clone(), string(value).to_lowercase().into()),
            ("thinking", _) => asked.insert("reasoning_effort".to_owned(), effort(value).into()),
            ("response_format", _) => {
                let schema =
                    [&value["json_schema"], &value["schema"]].into_iter().find(|schema| schema.is_object());
                let format = match schema {
                    Some(schema) => {
                        json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } })
                    }
                    None => json!({ "type": value["type"] }),
                };
                asked.insert(name.clone(), format)
            }
            _ => return NotApplicable::because(format!("cohere: {name}")),
        };
    }
    let mut said = said.iter();
    let messages: Result<Vec<Value>, NotApplicable> =
        body["messages"].as_array().into_iter().flatten().map(|turn| message(turn, &mut said)).collect();
    asked.insert("messages".to_owned(), messages?.into());
    Ok(asked.into())
}

/// The assistant's turns with thoughts, each as the answer that it once was.
pub fn turns(body: &Value) -> Vec<Value> {
    let turns = body["messages"].as_array().into_iter().flatten().filter(|turn| is_opaque(turn));
    turns.map(|turn| json!({ "id": "said", "finish_reason": "COMPLETE", "message": turn })).collect()
}

fn is_opaque(turn: &Value) -> bool {
    turn["content"].as_array().into_iter().flatten().any(|block| block["type"] == "thinking")
}

fn effort(thinking: &Value) -> &'static str {
    match (thinking["type"].as_str(), thinking["token_budget"].as_u64()) {
        (Some("disabled"), _) => "none",
        (_, Some(0..=2047)) => "minimal",
        (_, Some(2048..=6143)) => "low",
        (_, Some(6144..=12_288)) => "medium",
        _ => "high",
    }
}

fn message(turn: &Value, said: &mut std::slice::Iter<'_, Value>) -> Result<Value, NotApplicable> {
    if is_opaque(turn) {
        return Ok(said.next().cloned().unwrap_or_default());
    }
    let mut message = turn.clone();
    let members = message.as_object_mut().expect("a message");
    // The plan is the text beside the calls.
    if let Some(plan) = members.remove("tool_plan") {
        members.entry("content").or_insert(plan);
    }
    if let Some(parts) = members.get_mut("content").and_then(Value::as_array_mut) {
        for part in parts {
            if part["type"] == "document" {
                *part = json!({ "type": "text", "text": document(part) });
            } else if part["type"] != "text" && part["type"] != "image_url" {
                return NotApplicable::because(format!("cohere: block {}", string(&part["type"])));
            }
        }
    }
    Ok(message)
}

/// What a document of a tool's result says.
pub fn document(part: &Value) -> String {
    let data = &part["document"]["data"];
    data.as_str().map_or_else(|| data.to_string(), str::to_owned)
}
