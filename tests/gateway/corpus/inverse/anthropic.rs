//! From the Messages API to chat completions.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::dialect::NotApplicable;

/// The format of `reasoning_details` in which this provider's reasoning travels.
const FORMAT: &str = "anthropic-claude-v1";

/// Members that chat completions have no word for.
const WITHOUT_FORM: [&str; 5] =
    ["container", "mcp_servers", "context_management", "cache_control", "anthropic_beta_features"];

/// The request in OpenAI's format.
pub fn ask(body: &Value) -> Result<Value, NotApplicable> {
    if let Some(name) = WITHOUT_FORM.iter().find(|name| !body[**name].is_null()) {
        return NotApplicable::because(format!("anthropic: {name}"));
    }
    if !body["messages"].is_array() {
        return NotApplicable::because("anthropic: the older Text Completions API");
    }
    let mut asked = Map::new();
    asked.insert("messages".to_owned(), messages(body)?.into());
    tools(body, &mut asked)?;
    reasoning(body, &mut asked)?;
    for (theirs, ours) in
        [("temperature", "temperature"), ("top_p", "top_p"), ("top_k", "top_k"), ("stop_sequences", "stop")]
    {
        if !body[theirs].is_null() {
            asked.insert(ours.to_owned(), body[theirs].clone());
        }
    }
    if let Some(user) = body["metadata"]["user_id"].as_str() {
        asked.insert("user".to_owned(), user.into());
    }
    match body["service_tier"].as_str() {
        Some("standard_only") => asked.insert("service_tier".to_owned(), "default".into()),
        Some(tier) => asked.insert("service_tier".to_owned(), tier.into()),
        None => None,
    };
    let format = [&body["output_config"]["format"], &body["output_format"]]
        .into_iter()
        .find(|format| format.is_object());
    if let Some(format) = format {
        let named = json!({ "name": "answer", "strict": true, "schema": format["schema"] });
        asked.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": named }));
    }
    Ok(asked.into())
}

/// How much to think, and the room that is left for the answer.
fn reasoning(body: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    if !body["output_config"]["task_budget"].is_null() {
        return NotApplicable::because("anthropic: task budget");
    }
    let budget = body["thinking"]["budget_tokens"].as_u64();
    let effort = match body["thinking"]["type"].as_str() {
        Some("enabled") => Some(level(budget.unwrap_or(0))),
        // The API's own default.
        Some("adaptive") => Some(body["output_config"]["effort"].as_str().unwrap_or("high")),
        Some("disabled") => Some("none"),
        _ => body["output_config"]["effort"].as_str(),
    };
    if let Some(effort) = effort {
        asked.insert("reasoning_effort".to_owned(), effort.into());
    }
    if let Some(most) = body["max_tokens"].as_u64() {
        asked.insert("max_completion_tokens".to_owned(), most.saturating_sub(budget.unwrap_or(0)).into());
    }
    Ok(())
}

/// The effort whose usual budget is nearest.
pub fn level(budget: u64) -> &'static str {
    match budget {
        0..=2047 => "minimal",
        2048..=6143 => "low",
        6144..=12_288 => "medium",
        12_289..=28_000 => "high",
        _ => "xhigh",
    }
}

fn tools(body: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    let mut tools = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        match tool["type"].as_str() {
            None | Some("custom") => {}
            Some(kind) => return NotApplicable::because(format!("anthropic: server tool {}", stem(kind))),
        }
        if tool["defer_loading"] == true {
            return NotApplicable::because("anthropic: deferred tools");
        }
        let mut function = json!({ "name": tool["name"], "parameters": tool["input_schema"] });
        for name in ["description", "strict"] {
            if !tool[name].is_null() {
                function[name] = tool[name].clone();
            }
        }
        let mut tool_of_ours = json!({ "type": "function", "function": function });
        if !tool["cache_control"].is_null() {
            tool_of_ours["cache_control"] = tool["cache_control"].clone();
        }
        tools.push(tool_of_ours);
    }
    if !tools.is_empty() {
        asked.insert("tools".to_owned(), tools.into());
    }
    let choice = &body["tool_choice"];
    let chosen = match choice["type"].as_str() {
        Some("auto") => Some(json!("auto")),
        Some("any") => Some(json!("required")),
        Some("none") => Some(json!("none")),
        Some("tool") => Some(json!({ "type": "function", "function": { "name": choice["name"] } })),
        _ => None,
    };
    if let Some(chosen) = chosen {
        asked.insert("tool_choice".to_owned(), chosen);
    }
    if choice["disable_parallel_tool_use"] == true {
        asked.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

/// A tool's name without the date of its version.
fn stem(kind: &str) -> &str {
    kind.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_')
}

fn messages(body: &Value) -> Result<Vec<Value>, NotApplicable> {
    let mut messages = Vec::new();
    if !body["system"].is_null() {
        messages.push(json!({ "role": "system", "content": content(&body["system"])? }));
    }
    for turn in body["messages"].as_array().into_iter().flatten() {
        match turn["role"].as_str() {
            Some("user") => user(turn, &mut messages)?,
            Some("assistant") => messages.push(assistant(turn)?),
            Some("system") => {
                messages.push(json!({ "role": "system", "content": content(&turn["content"])? }));
            }
            _ => messages.push(turn.clone()),
        }
    }
    Ok(messages)
}

/// Results become messages of their own, before what else the user says.
fn user(turn: &Value, messages: &mut Vec<Value>) -> Result<(), NotApplicable> {
    let mut rest = Vec::new();
    for block in turn["content"].as_array().into_iter().flatten() {
        if block["type"] != "tool_result" {
            rest.push(block.clone());
            continue;
        }
        if block["is_error"] == true {
            return NotApplicable::because("anthropic: a tool's result marked as an error");
        }
        let mut content = content(&block["content"])?;
        if !block["cache_control"].is_null() {
            if content.is_string() {
                content = json!([{ "type": "text", "text": content }]);
            }
            if let Some(last) = content.as_array_mut().and_then(|parts| parts.last_mut()) {
                last["cache_control"] = block["cache_control"].clone();
            }
        }
        messages.push(json!({ "role": "tool", "tool_call_id": block["tool_use_id"], "content": content }));
    }
    if turn["content"].is_string() {
        messages.push(json!({ "role": "user", "content": turn["content"] }));
    } else if !rest.is_empty() {
        messages.push(json!({ "role": "user", "content": content(&rest.into())? }));
    }
    Ok(())
}

fn assistant(turn: &Value) -> Result<Value, NotApplicable> {
    let (mut parts, mut calls, mut details, mut thoughts) =
        (Vec::new(), Vec::new(), Vec::new(), String::new());
    for block in turn["content"].as_array().into_iter().flatten() {
        match block["type"].as_str().unwrap_or_default() {
            "thinking" => {
                thoughts += block["thinking"].as_str().unwrap_or_default();
                details.push(json!({
                    "type": "reasoning.text", "text": block["thinking"], "signature": block["signature"],
                }));
            }
            "redacted_thinking" => {
                details.push(json!({ "type": "reasoning.encrypted", "data": block["data"] }));
            }
            "tool_use" if !block["cache_control"].is_null() => {
                return NotApplicable::because("anthropic: a cache mark on a tool call");
            }
            "tool_use" => calls.push(json!({
                "id": block["id"], "type": "function",
                "function": { "name": block["name"], "arguments": block["input"].to_string() },
            })),
            _ => parts.push(block.clone()),
        }
    }
    for (index, detail) in details.iter_mut().enumerate() {
        detail["format"] = FORMAT.into();
        detail["index"] = index.into();
    }
    let mut message = json!({ "role": "assistant", "content": null });
    if turn["content"].is_string() {
        message["content"] = turn["content"].clone();
    } else if !parts.is_empty() {
        message["content"] = content(&parts.into())?;
    }
    for (name, list) in [("tool_calls", calls), ("reasoning_details", details)] {
        if !list.is_empty() {
            message[name] = list.into();
        }
    }
    if !thoughts.is_empty() {
        message["reasoning_content"] = thoughts.into();
    }
    Ok(message)
}

/// Content in OpenAI's parts; a string stays one.
fn content(content: &Value) -> Result<Value, NotApplicable> {
    let Some(blocks) = content.as_array() else {
        return Ok(if content.is_null() { json!("") } else { content.clone() });
    };
    let parts: Result<Vec<Value>, NotApplicable> = blocks.iter().map(part).collect();
    let parts = parts?;
    Ok(if parts.is_empty() { json!("") } else { parts.into() })
}

fn part(block: &Value) -> Result<Value, NotApplicable> {
    let source = &block["source"];
    let data = |kind: &Value, data: &Value| format!("data:{};base64,{}", string(kind), string(data));
    let mut part = match (
        block["type"].as_str().unwrap_or_default(),
        source["type"].as_str().unwrap_or_default(),
    ) {
        ("text", _) => json!({ "type": "text", "text": block["text"] }),
        ("image", "base64") => {
            json!({ "type": "image_url", "image_url": { "url": data(&source["media_type"], &source["data"]) } })
        }
        ("image", "url") => json!({ "type": "image_url", "image_url": { "url": source["url"] } }),
        ("document", _) if block["citations"]["enabled"] == true => {
            return NotApplicable::because("anthropic: citations of a document");
        }
        ("document", "base64") => document(block, &data(&source["media_type"], &source["data"])),
        ("document", "text") => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(string(&source["data"]));
            document(block, &format!("data:text/plain;base64,{text}"))
        }
        (kind, "") => return NotApplicable::because(format!("anthropic: block {kind}")),
        (kind, of) => return NotApplicable::because(format!("anthropic: {kind} by {of}")),
    };
    if !block["cache_control"].is_null() {
        part["cache_control"] = block["cache_control"].clone();
    }
    Ok(part)
}

fn document(block: &Value, data: &str) -> Value {
    let mut file = json!({ "file_data": data });
    if block["title"].is_string() {
        file["filename"] = block["title"].clone();
    }
    json!({ "type": "file", "file": file })
}
