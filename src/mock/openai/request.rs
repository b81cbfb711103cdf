//! The reading of a request in OpenAI's dialect, with the checks that all who speak it make. Unknown keys pass here;
//! what a vendor knows of its own keys is in its schema.

use serde_json::Value;

use crate::mock::prompt::{Format, Incoming, Prompt, Rejection, Tool, ToolChoice, count};

const ROLES: [&str; 6] = ["system", "assistant", "user", "function", "tool", "developer"];

/// Checks and reads a request.
pub fn read(incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
    let Some(messages) = incoming.get("messages") else {
        let message = "Missing required parameter: 'messages'.";
        return Err(Rejection::param("messages", message).with_code("missing_required_parameter"));
    };
    let Some(messages) = messages.as_array() else {
        return Err(wrong_type("messages", "an array of objects", messages));
    };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
        return Err(Rejection::param("messages", message).with_code("empty_array"));
    }
    let mut prompt = Prompt {
        model: incoming.model.clone(),
        choices: number(incoming, "n")?.unwrap_or(1).clamp(1, 128),
        parallel: incoming.get("parallel_tool_calls") != Some(&Value::Bool(false)),
        cached: incoming.get("prompt_cache_key").is_some(),
        reasoning: thinks(incoming),
        max_tokens: number(incoming, "max_completion_tokens")?.or(number(incoming, "max_tokens")?),
        ..Prompt::default()
    };
    conversation(&mut prompt, messages)?;
    stream(&mut prompt, incoming)?;
    sampling(&mut prompt, incoming)?;
    tools(&mut prompt, incoming)?;
    format(&mut prompt, incoming, messages)?;
    Ok(prompt)
}

/// Whether reasoning is asked for, in the words of any of them.
fn thinks(incoming: &Incoming<'_>) -> bool {
    let effort = |effort: &Value| !effort.is_null() && effort != "none";
    let template = incoming.get("chat_template_kwargs").unwrap_or(&Value::Null);
    let switch = &incoming.get("thinking").unwrap_or(&Value::Null)["type"];
    let object = incoming.get("reasoning").unwrap_or(&Value::Null);
    incoming.get("reasoning_effort").is_some_and(effort)
        || effort(&object["effort"])
        || object["enabled"] == true
        || object["max_tokens"].is_u64()
        || matches!(switch.as_str(), Some("enabled" | "adaptive"))
        || incoming.get("enable_thinking") == Some(&Value::Bool(true))
        || template["enable_thinking"] == true
}

fn conversation(prompt: &mut Prompt, messages: &[Value]) -> Result<(), Rejection> {
    // The calls of the latest assistant message that no tool message has answered yet.
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let role = message["role"].as_str().unwrap_or_default();
        if !ROLES.contains(&role) {
            let message = format!("Invalid value: '{role}'. Supported values are: {}.", quoted(&ROLES));
            return Err(Rejection::param(format!("{path}.role"), message).with_code("invalid_value"));
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let Some(at) = open.iter().position(|call| *call == id) else {
                let message = "Invalid parameter: messages with role 'tool' must be a response to a preceding message \
                               with 'tool_calls'.";
                return Err(Rejection::param(format!("{path}.role"), message));
            };
            open.remove(at);
            let result = content(prompt, message, &path)?;
            prompt.tool_results.push(result);
            continue;
        }
        unanswered(&open, &path)?;
        prompt.tool_results.clear();
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        open = calls.iter().filter_map(|call| call["id"].as_str()).collect();
        for call in calls {
            prompt.read(call["function"]["arguments"].as_str().unwrap_or_default());
        }
        let empty = message.get("content").is_none_or(Value::is_null);
        if empty && !(role == "assistant" && (!calls.is_empty() || message["refusal"].is_string())) {
            let message = "Invalid value for 'content': expected a string, got null.";
            return Err(Rejection::param(format!("{path}.content"), message));
        }
        let text = content(prompt, message, &path)?;
        if role == "user" {
            prompt.last_user = text;
        }
        prompt.turns += usize::from(!matches!(role, "system" | "developer"));
    }
    unanswered(&open, "messages")
}

fn unanswered(open: &[&str], path: &str) -> Result<(), Rejection> {
    if open.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
         'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    Err(Rejection::param(format!("{path}.role"), message))
}

/// The text of a message; what else is in it is counted.
fn content(prompt: &mut Prompt, message: &Value, path: &str) -> Result<String, Rejection> {
    let parts = match &message["content"] {
        Value::String(text) => {
            prompt.read(text);
            return Ok(text.clone());
        }
        Value::Array(parts) => parts.as_slice(),
        Value::Null => &[],
        other => return Err(wrong_type(&format!("{path}.content"), "a string or an array", other)),
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let path = format!("{path}.content[{index}]");
        match part["type"].as_str() {
            Some("text" | "refusal") => {
                let Some(piece) = part["text"].as_str().or_else(|| part["refusal"].as_str()) else {
                    return Err(wrong_type(&format!("{path}.text"), "a string", &part["text"]));
                };
                prompt.read(piece);
                text.push_str(piece);
            }
            // Some take the address alone.
            Some("image_url") if part["image_url"]["url"].is_string() || part["image_url"].is_string() => {
                prompt.images += 1;
            }
            Some("image_url") => {
                return Err(wrong_type(&format!("{path}.image_url"), "an object", &part["image_url"]));
            }
            Some(_) => {}
            None => {
                let path = format!("{path}.type");
                let message = format!("Missing required parameter: '{path}'.");
                return Err(Rejection::param(path, message).with_code("missing_required_parameter"));
            }
        }
    }
    Ok(text)
}

fn stream(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    prompt.stream = match incoming.get("stream") {
        None => false,
        Some(Value::Bool(stream)) => *stream,
        Some(other) => return Err(wrong_type("stream", "a boolean", other)),
    };
    if let Some(options) = incoming.get("stream_options") {
        if !prompt.stream {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            return Err(Rejection::param("stream_options", message));
        }
        prompt.include_usage = options["include_usage"] == true;
    }
    Ok(())
}

fn sampling(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    for (name, least, most) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        let Some(value) = incoming.get(name) else { continue };
        let Some(given) = value.as_f64() else { return Err(wrong_type(name, "a decimal", value)) };
        if !(least..=most).contains(&given) {
            let message =
                format!("Invalid '{name}': expected a value between {least} and {most}, but got {given}.");
            return Err(Rejection::param(name, message).with_code("decimal_out_of_range"));
        }
    }
    prompt.stop = match incoming.get("stop") {
        None => Vec::new(),
        Some(Value::String(stop)) => vec![stop.clone()],
        Some(Value::Array(stop)) if stop.len() <= 4 && stop.iter().all(Value::is_string) => {
            stop.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(other) => return Err(wrong_type("stop", "a string or an array of at most 4 strings", other)),
    };
    Ok(())
}

fn tools(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let tools = incoming.get("tools").and_then(Value::as_array);
    if tools.is_none_or(Vec::is_empty) {
        for name in ["tool_choice", "parallel_tool_calls"] {
            if incoming.get(name).is_some_and(|value| value != "none" && value != "auto") {
                let message = format!(
                    "Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."
                );
                return Err(Rejection::param(name, message));
            }
        }
    }
    for (index, tool) in tools.into_iter().flatten().enumerate() {
        if tool.get("type").is_some_and(|kind| kind != "function") {
            continue;
        }
        let function = &tool["function"];
        let path = format!("tools[{index}].function.name");
        let Some(name) = function["name"].as_str() else {
            let message = format!("Missing required parameter: '{path}'.");
            return Err(Rejection::param(path, message).with_code("missing_required_parameter"));
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            let message = format!(
                "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern \
                 '^[a-zA-Z0-9_-]+$', at most 64 characters long."
            );
            return Err(Rejection::param(path, message).with_code("invalid_value"));
        }
        prompt.read(&function.to_string());
        prompt.tools.push(Tool { name: name.to_owned(), schema: function["parameters"].clone() });
    }
    choose(prompt, incoming.get("tool_choice"))
}

fn choose(prompt: &mut Prompt, choice: Option<&Value>) -> Result<(), Rejection> {
    let Some(choice) = choice else { return Ok(()) };
    // Some leave the type out.
    let kind = choice["type"].as_str().or(choice.get("function").map(|_| "function"));
    let mode = match kind {
        Some("function") => {
            let name = choice["function"]["name"].as_str().unwrap_or_default();
            if !prompt.tools.iter().any(|tool| tool.name == name) {
                let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
                return Err(Rejection::param("tool_choice", message));
            }
            prompt.tool_choice = ToolChoice::Named(name.to_owned());
            return Ok(());
        }
        Some("allowed_tools") => {
            let allowed = &choice["allowed_tools"]["tools"];
            let names: Vec<_> = allowed
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|tool| tool["function"]["name"].as_str())
                .collect();
            prompt.tools.retain(|tool| names.contains(&tool.name.as_str()));
            choice["allowed_tools"]["mode"].as_str()
        }
        _ => choice.as_str(),
    };
    prompt.tool_choice = match mode {
        Some("auto") => ToolChoice::Auto,
        Some("none") => ToolChoice::None,
        Some("required" | "any") => ToolChoice::Required,
        _ => {
            let message =
                format!("Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.");
            return Err(Rejection::param("tool_choice", message).with_code("invalid_value"));
        }
    };
    Ok(())
}

fn format(prompt: &mut Prompt, incoming: &Incoming<'_>, messages: &[Value]) -> Result<(), Rejection> {
    let Some(format) = incoming.get("response_format") else { return Ok(()) };
    prompt.format = match format["type"].as_str() {
        Some("text") => Format::Text,
        Some("json_object") => {
            let said =
                messages.iter().any(|message| message["content"].to_string().to_lowercase().contains("json"));
            if !said {
                let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                               'json_object'.";
                return Err(Rejection::param("messages", message));
            }
            Format::JsonObject
        }
        Some("json_schema") => Format::Schema(format["json_schema"]["schema"].clone()),
        other => {
            let known = quoted(&["json_object", "json_schema", "text"]);
            let message =
                format!("Invalid value: '{}'. Supported values are: {known}.", other.unwrap_or_default());
            return Err(Rejection::param("response_format.type", message).with_code("invalid_value"));
        }
    };
    Ok(())
}

fn number(incoming: &Incoming<'_>, name: &str) -> Result<Option<usize>, Rejection> {
    let Some(value) = incoming.get(name) else { return Ok(None) };
    match count(value) {
        Some(count) if count > 0 => Ok(Some(count)),
        Some(_) => {
            let message = format!("Invalid '{name}': integer below minimum value. Expected a value >= 1.");
            Err(Rejection::param(name, message).with_code("integer_below_min_value"))
        }
        None => Err(wrong_type(name, "an integer", value)),
    }
}

fn wrong_type(path: &str, expected: &str, given: &Value) -> Rejection {
    let kind = match given {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let message = format!("Invalid type for '{path}': expected {expected}, but got {kind} instead.");
    Rejection::param(path, message).with_code("invalid_type")
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
