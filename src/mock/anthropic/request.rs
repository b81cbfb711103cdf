//! Anthropic's reading of a request: strict about keys and types.

use serde_json::Value;

use super::{Host, conversation};
use crate::mock::prompt::{Format, Incoming, Prompt, Rejection, Tool, ToolChoice, count};

/// Reads a request that fits the schema.
pub fn read(incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
    if incoming.model.is_empty() {
        return Err(Rejection::param("model", "Field required"));
    }
    let max_tokens = incoming.get("max_tokens").and_then(count).unwrap_or_default();
    let mut prompt = Prompt {
        model: incoming.model.clone(),
        max_tokens: Some(max_tokens),
        parallel: true,
        choices: 1,
        cached: mentions_cache_control(incoming),
        ..Prompt::default()
    };
    prompt.stream = incoming.stream.unwrap_or_else(|| incoming.get("stream") == Some(&Value::Bool(true)));
    system(&mut prompt, incoming)?;
    sampling(&mut prompt, incoming)?;
    tools(&mut prompt, incoming)?;
    conversation::read(&mut prompt, incoming)?;
    choose(&mut prompt, incoming)?;
    thinking(&mut prompt, incoming, max_tokens)?;
    format(&mut prompt, incoming)?;
    Ok(prompt)
}

/// Each door has its own credential; the direct one also demands a version.
pub fn authorize(host: Host, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    if host != Host::Direct {
        let message = "Request is missing required authentication credential.".to_owned();
        return incoming.header("authorization").map(drop).ok_or(Rejection::Auth { message });
    }
    let bearer = incoming.header("authorization").is_some_and(|value| value.starts_with("Bearer "));
    if incoming.header("x-api-key").is_none_or(str::is_empty) && !bearer {
        return Err(Rejection::Auth { message: "x-api-key header is required".to_owned() });
    }
    match incoming.header("anthropic-version") {
        None => Err(Rejection::param("anthropic-version", "header is required")),
        Some("2023-06-01" | "2023-01-01") => Ok(()),
        Some(other) => {
            Err(Rejection::param("anthropic-version", format!("\"{other}\" is not a valid version")))
        }
    }
}

/// Whether any block of the prompt is marked for the cache.
fn mentions_cache_control(incoming: &Incoming<'_>) -> bool {
    fn marked(value: &Value) -> bool {
        match value {
            Value::Object(object) => {
                object.get("cache_control").is_some_and(Value::is_object) || object.values().any(marked)
            }
            Value::Array(values) => values.iter().any(marked),
            _ => false,
        }
    }
    let parts = ["system", "tools", "messages"];
    incoming.get("cache_control").is_some() || parts.iter().filter_map(|key| incoming.get(key)).any(marked)
}

fn system(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    match incoming.get("system") {
        None => {}
        Some(Value::String(text)) => prompt.read(text),
        Some(Value::Array(blocks)) => {
            for (index, block) in blocks.iter().enumerate() {
                let Some(text) = block["text"].as_str().filter(|_| block["type"] == "text") else {
                    return Err(Rejection::param(format!("system.{index}.type"), "Input should be 'text'"));
                };
                if text.is_empty() {
                    return Err(Rejection::param("system", "text content blocks must be non-empty"));
                }
                prompt.read(text);
            }
        }
        Some(_) => return Err(Rejection::param("system", "Input should be a valid string or list")),
    }
    Ok(())
}

fn sampling(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let stop = incoming.list("stop_sequences");
    prompt.stop = stop.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if prompt.stop.iter().any(|stop| stop.trim().is_empty()) {
        return Err(Rejection::param("stop_sequences", "each stop sequence must contain non-whitespace"));
    }
    Ok(())
}

fn tools(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    for (index, tool) in incoming.get("tools").and_then(Value::as_array).into_iter().flatten().enumerate() {
        prompt.read(&tool.to_string());
        // The provider's own tools have a dated type and no schema.
        if tool.get("type").is_some_and(|kind| kind != "custom") {
            continue;
        }
        let path = format!("tools.{index}.custom");
        let Some(name) = tool["name"].as_str() else {
            return Err(Rejection::param(format!("{path}.name"), "Field required"));
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            let message = "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'";
            return Err(Rejection::param(format!("{path}.name"), message));
        }
        if prompt.tools.iter().any(|tool| tool.name == name) {
            return Err(Rejection::param("tools", "Tool names must be unique."));
        }
        let schema = &tool["input_schema"];
        if schema["type"] != "object" {
            let message =
                if schema["type"].is_null() { "Field required" } else { "Input should be 'object'" };
            return Err(Rejection::param(format!("{path}.input_schema.type"), message));
        }
        prompt.tools.push(Tool { name: name.to_owned(), schema: schema.clone() });
    }
    Ok(())
}

fn choose(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let Some(choice) = incoming.get("tool_choice") else { return Ok(()) };
    if incoming.get("tools").is_none() {
        return Err(Rejection::param("tool_choice", "may only be specified while providing tools"));
    }
    prompt.tool_choice = match choice["type"].as_str() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => {
            let name = choice["name"].as_str().unwrap_or_default();
            if !prompt.tools.iter().any(|tool| tool.name == name) {
                let message = format!("Tool '{name}' not found in provided tools");
                return Err(Rejection::param("tool_choice", message));
            }
            ToolChoice::Named(name.to_owned())
        }
        _ => {
            let message = "Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'";
            return Err(Rejection::param("tool_choice", message));
        }
    };
    if let Some(disable) = choice.get("disable_parallel_tool_use") {
        if prompt.tool_choice == ToolChoice::None {
            let path = "tool_choice.none.disable_parallel_tool_use";
            return Err(Rejection::param(path, "Extra inputs are not permitted"));
        }
        prompt.parallel = disable != &Value::Bool(true);
    }
    Ok(())
}

fn thinking(prompt: &mut Prompt, incoming: &Incoming<'_>, max_tokens: usize) -> Result<(), Rejection> {
    let Some(thinking) = incoming.get("thinking") else { return Ok(()) };
    prompt.reasoning = match thinking["type"].as_str() {
        Some("enabled") => true,
        Some("adaptive") => thinking["display"] != "omitted",
        Some("disabled") => return Ok(()),
        _ => {
            let message =
                "Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'";
            return Err(Rejection::param("thinking", message));
        }
    };
    if thinking["type"] == "enabled" {
        let path = "thinking.enabled.budget_tokens";
        match count(&thinking["budget_tokens"]) {
            None => return Err(Rejection::param(path, "Field required")),
            Some(..1024) => {
                return Err(Rejection::param(path, "Input should be greater than or equal to 1024"));
            }
            Some(budget) if budget >= max_tokens => {
                return Err(Rejection::invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`.",
                ));
            }
            Some(_) => {}
        }
        if incoming.get("temperature").and_then(Value::as_f64).is_some_and(|value| (value - 1.0).abs() > 1e-9)
        {
            return Err(Rejection::invalid("`temperature` may only be set to 1 when thinking is enabled."));
        }
    }
    if matches!(prompt.tool_choice, ToolChoice::Required | ToolChoice::Named(_)) {
        return Err(Rejection::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(())
}

fn format(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let config = incoming.get("output_config").map(|config| ("output_config.format", &config["format"]));
    let Some((path, format)) =
        config.or(incoming.get("output_format").map(|format| ("output_format", format)))
    else {
        return Ok(());
    };
    if format.is_null() {
        return Ok(());
    }
    if format["type"] != "json_schema" {
        return Err(Rejection::param(format!("{path}.type"), "Input should be 'json_schema'"));
    }
    if let Some(message) = unsupported(&format["schema"]) {
        return Err(Rejection::param(format!("{path}.schema"), message));
    }
    prompt.format = Format::Schema(format["schema"].clone());
    Ok(())
}

/// What structured output does not support in this schema.
fn unsupported(schema: &Value) -> Option<String> {
    let object = schema.as_object()?;
    if object.get("type").is_some_and(|kind| kind == "object")
        && object.get("additionalProperties") != Some(&Value::Bool(false))
    {
        return Some("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    for key in
        ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"]
    {
        if object.contains_key(key) {
            return Some(format!("property '{key}' is not supported"));
        }
    }
    let maps =
        ["properties", "$defs", "definitions"].into_iter().filter_map(|key| object.get(key)?.as_object());
    let lists = ["anyOf", "allOf"].into_iter().filter_map(|key| object.get(key)?.as_array());
    let mut nested = maps.flat_map(|map| map.values()).chain(lists.flatten()).chain(object.get("items"));
    nested.find_map(unsupported)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_checked_to_their_depth() {
        let closed = |properties: Value| json!({ "type": "object", "properties": properties, "additionalProperties": false });
        assert_eq!(unsupported(&closed(json!({ "a": closed(json!({})) }))), None);
        let open = closed(json!({ "a": { "anyOf": [{ "type": "array", "items": { "type": "object" } }] } }));
        assert!(unsupported(&open).unwrap().contains("additionalProperties"));
        assert!(unsupported(&closed(json!({ "a": { "type": "string", "maxLength": 3 } }))).is_some());
    }
}
