//! From `generateContent` to chat completions.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::super::dialect::NotApplicable;
use super::super::normal::gemini::{camel, level, tidy};

/// The request in OpenAI's format. `said` are the assistant's messages that [`turns`] asked for, as the client got them.
pub fn ask(body: &Value, said: &[Value]) -> Result<Value, NotApplicable> {
    let body = tidy(body);
    let known = ["contents", "generationConfig", "tools", "toolConfig", "systemInstruction"];
    if let Some(name) = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .find(|name| !known.contains(&name.as_str()))
    {
        return NotApplicable::because(format!("gemini: {name}"));
    }
    let mut asked = Map::new();
    let mut messages = Vec::new();
    if let Some(parts) = body["systemInstruction"]["parts"].as_array() {
        let parts: Vec<Value> =
            parts.iter().map(|part| json!({ "type": "text", "text": part["text"] })).collect();
        messages.push(json!({ "role": "system", "content": parts }));
    }
    let mut history = History { messages, said: said.iter(), open: Vec::new(), made: 0 };
    for turn in body["contents"].as_array().into_iter().flatten() {
        if turn["role"] == "model" { history.model(turn)? } else { history.user(turn)? }
    }
    asked.insert("messages".to_owned(), history.messages.into());
    tools(&body, &mut asked)?;
    generation(&body["generationConfig"], &mut asked)?;
    Ok(asked.into())
}

/// The model's turns that hold something opaque, each as the answer that it once was.
pub fn turns(body: &Value) -> Vec<Value> {
    let body = tidy(body);
    let turns = body["contents"].as_array().into_iter().flatten();
    turns
        .filter(|turn| turn["role"] == "model" && is_opaque(turn))
        .map(|turn| {
            let candidate = json!({ "content": turn, "finishReason": "STOP", "index": 0 });
            json!({ "candidates": [candidate], "responseId": "said", "modelVersion": "said" })
        })
        .collect()
}

fn is_opaque(turn: &Value) -> bool {
    turn["parts"].as_array().into_iter().flatten().any(|part| {
        let plain = part["text"].is_string() || part["functionCall"].is_object();
        !plain || part["thoughtSignature"].is_string() || part["thought"] == true
    })
}

/// The history as far as it is written.
struct History<'a> {
    messages: Vec<Value>,
    said: std::slice::Iter<'a, Value>,
    /// Calls that wait for their results: Gemini's id, the name, and the id in OpenAI's format.
    open: Vec<(Value, Value, Value)>,
    made: usize,
}

impl History<'_> {
    fn model(&mut self, turn: &Value) -> Result<(), NotApplicable> {
        let parts = turn["parts"].as_array().cloned().unwrap_or_default();
        let message =
            if is_opaque(turn) { self.said.next().cloned().unwrap_or_default() } else { self.plain(&parts) };
        let calls =
            parts.iter().filter(|part| part["functionCall"].is_object()).map(|part| &part["functionCall"]);
        let ours = message["tool_calls"].as_array().into_iter().flatten();
        for (theirs, ours) in calls.zip(ours) {
            self.open.push((theirs["id"].clone(), theirs["name"].clone(), ours["id"].clone()));
        }
        if parts.iter().any(|part| part["inlineData"].is_object() || part["fileData"].is_object()) {
            return NotApplicable::because("gemini: media in the model's turn");
        }
        self.messages.push(message);
        Ok(())
    }

    fn plain(&mut self, parts: &[Value]) -> Value {
        let text: String = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        let mut calls = Vec::new();
        for call in parts.iter().map(|part| &part["functionCall"]).filter(|call| call.is_object()) {
            self.made += 1;
            let id = call["id"].as_str().map_or_else(|| format!("call_{}", self.made), str::to_owned);
            let arguments = if call["args"].is_null() { "{}".to_owned() } else { call["args"].to_string() };
            let function = json!({ "name": call["name"], "arguments": arguments });
            calls.push(json!({ "id": id, "type": "function", "function": function }));
        }
        let mut message = json!({ "role": "assistant", "content": text });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        message
    }

    fn user(&mut self, turn: &Value) -> Result<(), NotApplicable> {
        let mut rest = Vec::new();
        for part in turn["parts"].as_array().into_iter().flatten() {
            if part["functionResponse"].is_object() {
                self.result(&part["functionResponse"])?;
            } else {
                rest.push(self::part(part)?);
            }
        }
        if !rest.is_empty() {
            self.messages.push(json!({ "role": "user", "content": rest }));
        }
        Ok(())
    }

    /// By its id, else the first call of its name that has no result yet.
    fn result(&mut self, response: &Value) -> Result<(), NotApplicable> {
        let by_id = |(id, _, _): &(Value, Value, Value)| !id.is_null() && *id == response["id"];
        let by_name = |(_, name, _): &(Value, Value, Value)| *name == response["name"];
        let place = self.open.iter().position(by_id).or_else(|| self.open.iter().position(by_name));
        let Some(place) = place else {
            return NotApplicable::because("gemini: a result without its call");
        };
        let (_, _, id) = self.open.remove(place);
        let mut content = json!(response["response"].to_string());
        if let Some(parts) = response["parts"].as_array() {
            let mut list = vec![json!({ "type": "text", "text": content })];
            for part in parts {
                list.push(self::part(part)?);
            }
            content = list.into();
        }
        self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": content }));
        Ok(())
    }
}

fn part(part: &Value) -> Result<Value, NotApplicable> {
    if !part["videoMetadata"].is_null() {
        return NotApplicable::because("gemini: video");
    }
    if part["text"].is_string() {
        return Ok(json!({ "type": "text", "text": part["text"] }));
    }
    let (inline, file) = (&part["inlineData"], &part["fileData"]);
    if inline.is_object() {
        let kind = string(&inline["mimeType"]);
        let uri = format!("data:{kind};base64,{}", string(&inline["data"]));
        return match kind.split('/').next().unwrap_or_default() {
            "image" => Ok(json!({ "type": "image_url", "image_url": { "url": uri } })),
            "audio" => {
                let format = if kind.contains("wav") { "wav" } else { "mp3" };
                Ok(
                    json!({ "type": "input_audio", "input_audio": { "data": inline["data"], "format": format } }),
                )
            }
            "video" => NotApplicable::because("gemini: video"),
            _ => Ok(json!({ "type": "file", "file": { "file_data": uri } })),
        };
    }
    if file.is_object() {
        let (kind, uri) = (string(&file["mimeType"]), string(&file["fileUri"]));
        let is_image = kind.starts_with("image/") && uri.starts_with("http");
        if is_image && !uri.contains("generativelanguage") {
            return Ok(json!({ "type": "image_url", "image_url": { "url": uri } }));
        }
        return NotApplicable::because("gemini: a file by its address");
    }
    let kinds = part.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    NotApplicable::because(format!("gemini: part {}", kinds.join(" and ")))
}

fn tools(body: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    let mut tools = Vec::new();
    for entry in body["tools"].as_array().into_iter().flatten() {
        if let Some((name, _)) =
            entry.as_object().into_iter().flatten().find(|(name, _)| *name != "functionDeclarations")
        {
            return NotApplicable::because(format!("gemini: server tool {name}"));
        }
        for declared in entry["functionDeclarations"].as_array().into_iter().flatten() {
            let mut function = json!({ "name": declared["name"] });
            if !declared["description"].is_null() {
                function["description"] = declared["description"].clone();
            }
            let schema = [&declared["parametersJsonSchema"], &declared["parameters"]];
            if let Some(schema) = schema.into_iter().find(|schema| schema.is_object()) {
                function["parameters"] = json_schema(schema);
            }
            tools.push(json!({ "type": "function", "function": function }));
        }
    }
    let config = &body["toolConfig"];
    if config["includeServerSideToolInvocations"] == true {
        return NotApplicable::because("gemini: server-side tool invocations");
    }
    let calling = &config["functionCallingConfig"];
    let names = calling["allowedFunctionNames"].as_array().cloned().unwrap_or_default();
    let named = |name: &Value| json!({ "type": "function", "function": { "name": name } });
    let allowed = |mode: &str| {
        let tools: Vec<Value> = names.iter().map(named).collect();
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": tools } })
    };
    let choice = match (calling["mode"].as_str().unwrap_or("AUTO"), names.as_slice()) {
        ("NONE", _) => Some(json!("none")),
        ("ANY", []) => Some(json!("required")),
        ("ANY", [name]) => Some(named(name)),
        ("ANY", _) => Some(allowed("required")),
        (_, []) => None,
        _ => Some(allowed("auto")),
    };
    if !tools.is_empty() {
        asked.insert("tools".to_owned(), tools.into());
        asked.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
    }
    Ok(())
}

/// Google's OpenAPI schema as JSON Schema: types in lower case, `nullable` as a type.
fn json_schema(schema: &Value) -> Value {
    match schema {
        Value::Array(list) => list.iter().map(json_schema).collect(),
        Value::Object(members) => {
            let mut members: Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), json_schema(value))).collect();
            if let Some(kind) = members.get("type").and_then(Value::as_str).map(str::to_lowercase) {
                members.insert("type".to_owned(), kind.into());
            }
            if members.get("nullable") == Some(&json!(true))
                && members.get("type").is_some_and(Value::is_string)
            {
                members.shift_remove("nullable");
                let kind = members["type"].clone();
                members.insert("type".to_owned(), json!([kind, "null"]));
            }
            members.into()
        }
        other => other.clone(),
    }
}

fn generation(config: &Value, asked: &mut Map<String, Value>) -> Result<(), NotApplicable> {
    for (name, value) in config.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let ours = match name.as_str() {
            "maxOutputTokens" => "max_completion_tokens",
            "temperature" => "temperature",
            "topP" => "top_p",
            "topK" => "top_k",
            "candidateCount" => "n",
            "seed" => "seed",
            "stopSequences" => "stop",
            "frequencyPenalty" => "frequency_penalty",
            "presencePenalty" => "presence_penalty",
            "responseLogprobs" => "logprobs",
            "logprobs" => "top_logprobs",
            "responseMimeType" | "responseSchema" | "responseJsonSchema" | "thinkingConfig" => continue,
            "responseModalities" if *value == json!(["TEXT"]) => continue,
            other => return NotApplicable::because(format!("gemini: {other}")),
        };
        asked.insert(ours.to_owned(), value.clone());
    }
    let schema = [&config["responseJsonSchema"], &config["responseSchema"]]
        .into_iter()
        .find(|schema| schema.is_object());
    if let Some(schema) = schema {
        let named = json!({ "name": "answer", "schema": json_schema(schema) });
        asked.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": named }));
    } else if config["responseMimeType"] == "application/json" {
        asked.insert("response_format".to_owned(), json!({ "type": "json_object" }));
    }
    let thinking = camel(&config["thinkingConfig"]);
    match level(&thinking) {
        Some("off") => asked.insert("reasoning_effort".to_owned(), "none".into()),
        Some(level) => asked.insert("reasoning_effort".to_owned(), level.into()),
        None => None,
    };
    Ok(())
}
