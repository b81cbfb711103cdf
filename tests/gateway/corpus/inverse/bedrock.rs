//! From Converse to chat completions.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::dialect::NotApplicable;
use super::super::normal::bedrock::{Thinking, thinking};

/// The request in OpenAI's format.
pub fn ask(body: &Value, said: &[Value]) -> Result<Value, NotApplicable> {
    let known = [
        "messages",
        "system",
        "toolConfig",
        "inferenceConfig",
        "outputConfig",
        "additionalModelRequestFields",
    ];
    if let Some((name, _)) =
        body.as_object().into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str()))
    {
        return NotApplicable::because(format!("bedrock: {name}"));
    }
    let mut asked = Map::new();
    let mut messages = Vec::new();
    if !body["system"].is_null() {
        messages.push(json!({ "role": "system", "content": parts(&body["system"])? }));
    }
    let mut said = said.iter();
    for turn in body["messages"].as_array().into_iter().flatten() {
        match turn["role"].as_str() {
            Some("assistant") if is_opaque(turn) => messages.push(said.next().cloned().unwrap_or_default()),
            Some("assistant") => messages.push(assistant(turn)?),
            _ => user(turn, &mut messages)?,
        }
    }
    asked.insert("messages".to_owned(), messages.into());
    tools(&body["toolConfig"], &mut asked)?;
    sampling(body, &mut asked)?;
    let format = &body["outputConfig"]["textFormat"];
    if format.is_object() {
        let given = &format["structure"]["jsonSchema"];
        let schema: Value = serde_json::from_str(&string(&given["schema"])).unwrap_or_default();
        let name = given["name"].as_str().unwrap_or("answer");
        let mut named = json!({ "name": name, "schema": schema });
        if !given["description"].is_null() {
            named["description"] = given["description"].clone();
        }
        asked.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": named }));
    }
    Ok(asked.into())
}

/// The assistant's turns with reasoning, each as the answer that it once was.
pub fn turns(body: &Value) -> Vec<Value> {
    let turns = body["messages"].as_array().into_iter().flatten().filter(|turn| is_opaque(turn));
    turns
        .map(|turn| {
            let usage = json!({ "inputTokens": 1, "outputTokens": 1, "totalTokens": 2 });
            json!({ "output": { "message": turn }, "stopReason": "end_turn", "usage": usage, "metrics": { "latencyMs": 1 } })
        })
        .collect()
}

fn is_opaque(turn: &Value) -> bool {
    let mut blocks = turn["content"].as_array().into_iter().flatten();
    turn["role"] == "assistant" && blocks.any(|block| block["reasoningContent"].is_object())
}

fn sampling(body: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    let config = &body["inferenceConfig"];
    for (theirs, ours) in [("temperature", "temperature"), ("topP", "top_p"), ("stopSequences", "stop")] {
        if !config[theirs].is_null() {
            asked.insert(ours.to_owned(), config[theirs].clone());
        }
    }
    let fields = &body["additionalModelRequestFields"];
    let known =
        ["thinking", "reasoning_config", "reasoningConfig", "reasoning_effort", "inferenceConfig", "top_k"];
    if let Some((name, _)) =
        fields.as_object().into_iter().flatten().find(|(name, _)| !known.contains(&name.as_str()))
    {
        return NotApplicable::because(format!("bedrock: {name}"));
    }
    let Thinking { level, budget } = thinking(fields);
    if let Some(level) = level {
        asked.insert("reasoning_effort".to_owned(), level.into());
    }
    if let Some(most) = config["maxTokens"].as_u64() {
        asked.insert("max_completion_tokens".to_owned(), most.saturating_sub(budget).into());
    }
    for top_k in
        [&fields["inferenceConfig"]["topK"], &fields["top_k"]].into_iter().filter(|top_k| !top_k.is_null())
    {
        asked.insert("top_k".to_owned(), top_k.clone());
    }
    Ok(())
}

fn tools(config: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    let mut tools: Vec<Value> = Vec::new();
    for entry in config["tools"].as_array().into_iter().flatten() {
        let given = &entry["toolSpec"];
        if entry["cachePoint"].is_object() {
            tools.last_mut().into_iter().for_each(mark);
        } else if given.is_object() {
            let mut function = json!({ "name": given["name"], "parameters": given["inputSchema"]["json"] });
            for name in ["description", "strict"] {
                if !given[name].is_null() {
                    function[name] = given[name].clone();
                }
            }
            tools.push(json!({ "type": "function", "function": function }));
        } else {
            return NotApplicable::because("bedrock: server tools");
        }
    }
    let choice = &config["toolChoice"];
    if choice["any"].is_object() {
        asked.insert("tool_choice".to_owned(), "required".into());
    } else if choice["tool"].is_object() {
        let named = json!({ "type": "function", "function": { "name": choice["tool"]["name"] } });
        asked.insert("tool_choice".to_owned(), named);
    }
    if !tools.is_empty() {
        asked.insert("tools".to_owned(), tools.into());
    }
    Ok(())
}

fn user(turn: &Value, messages: &mut Vec<Value>) -> Result<(), NotApplicable> {
    let mut rest = Vec::new();
    let mut last_is_result = false;
    for block in turn["content"].as_array().into_iter().flatten() {
        let result = &block["toolResult"];
        if result.is_object() {
            if result["status"] == "error" {
                return NotApplicable::because("bedrock: a tool's result marked as an error");
            }
            let content = parts(&result["content"])?;
            messages.push(json!({ "role": "tool", "tool_call_id": result["toolUseId"], "content": content }));
        } else if block["cachePoint"].is_object() && last_is_result {
            let parts = messages
                .last_mut()
                .and_then(|message| message.get_mut("content")?.as_array_mut()?.last_mut());
            parts.into_iter().for_each(mark);
        } else {
            rest.push(block.clone());
        }
        last_is_result = result.is_object();
    }
    if !rest.is_empty() {
        messages.push(json!({ "role": "user", "content": parts(&rest.into())? }));
    }
    Ok(())
}

fn assistant(turn: &Value) -> Result<Value, NotApplicable> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in turn["content"].as_array().into_iter().flatten() {
        let call = &block["toolUse"];
        if call["type"] == "server_tool_use" {
            return NotApplicable::because("bedrock: server tools");
        }
        if call.is_object() {
            let function = json!({ "name": call["name"], "arguments": call["input"].to_string() });
            calls.push(json!({ "id": call["toolUseId"], "type": "function", "function": function }));
        } else {
            texts.push(block.clone());
        }
    }
    let content = if texts.is_empty() { Value::Null } else { parts(&texts.into())? };
    let mut message = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

/// Blocks as OpenAI's parts; a cache point marks what stands before it.
fn parts(blocks: &Value) -> Result<Value, NotApplicable> {
    let mut parts: Vec<Value> = Vec::new();
    for block in blocks.as_array().into_iter().flatten() {
        if block["cachePoint"].is_object() {
            parts.last_mut().into_iter().for_each(mark);
        } else {
            parts.push(part(block)?);
        }
    }
    Ok(parts.into())
}

fn mark(part: &mut Value) {
    part["cache_control"] = json!({ "type": "ephemeral" });
}

fn part(block: &Value) -> Result<Value, NotApplicable> {
    let kind = block.as_object().and_then(|block| block.keys().next()).map_or("", String::as_str);
    let given = &block[kind];
    if !given["source"]["s3Location"].is_null() {
        return NotApplicable::because("bedrock: media in S3");
    }
    let (format, data) = (string(&given["format"]), string(&given["source"]["bytes"]));
    Ok(match kind {
        "text" => json!({ "type": "text", "text": given }),
        "json" => json!({ "type": "text", "text": given.to_string() }),
        "image" => {
            let url = format!("data:image/{format};base64,{data}");
            json!({ "type": "image_url", "image_url": { "url": url } })
        }
        "document" if given["citations"]["enabled"] == true => {
            return NotApplicable::because("bedrock: citations of a document");
        }
        "document" => {
            let kind = match format.as_str() {
                "pdf" => "application/pdf",
                "txt" => "text/plain",
                "md" => "text/markdown",
                "csv" => "text/csv",
                "html" => "text/html",
                other => return NotApplicable::because(format!("bedrock: a {other} document")),
            };
            let file =
                json!({ "file_data": format!("data:{kind};base64,{data}"), "filename": given["name"] });
            json!({ "type": "file", "file": file })
        }
        other => return NotApplicable::because(format!("bedrock: block {other}")),
    })
}
