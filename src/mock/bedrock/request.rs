//! The reading of a Converse request that breaks no rule.

use serde_json::Value;

use crate::mock::prompt::{Format, Incoming, Prompt, Rejection, Tool, ToolChoice, count};

/// Reads the request.
pub fn read(incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
    let config = incoming.get("inferenceConfig").unwrap_or(&Value::Null);
    let mut prompt = Prompt {
        model: incoming.model.clone(),
        stream: incoming.stream == Some(true),
        choices: 1,
        parallel: true,
        max_tokens: count(&config["maxTokens"]),
        ..Prompt::default()
    };
    let stop = config["stopSequences"].as_array().into_iter().flatten();
    prompt.stop = stop.filter_map(Value::as_str).map(str::to_owned).collect();
    for block in incoming.list("system") {
        prompt.read(block["text"].as_str().unwrap_or_default());
        prompt.cached |= block.get("cachePoint").is_some();
    }
    conversation(&mut prompt, incoming.list("messages"));
    tools(&mut prompt, incoming.get("toolConfig").unwrap_or(&Value::Null));
    let fields = incoming.get("additionalModelRequestFields").unwrap_or(&Value::Null);
    let thinking = ["thinking", "reasoning_config"].iter().find_map(|key| fields.get(key));
    prompt.reasoning = thinking.is_some_and(|thinking| thinking["type"] != "disabled");
    format(&mut prompt, incoming)?;
    Ok(prompt)
}

fn conversation(prompt: &mut Prompt, messages: &[Value]) {
    for message in messages {
        prompt.turns += 1;
        let (mut text, mut results) = (String::new(), Vec::new());
        for block in message["content"].as_array().into_iter().flatten() {
            prompt.read(block["text"].as_str().unwrap_or_default());
            text.push_str(block["text"].as_str().unwrap_or_default());
            prompt.images += usize::from(block.get("image").is_some());
            prompt.cached |= block.get("cachePoint").is_some();
            if let Some(inner) = block["toolResult"]["content"].as_array() {
                let said: String = inner.iter().map(result_text).collect();
                prompt.read(&said);
                results.push(said);
                prompt.images += inner.iter().filter(|block| block.get("image").is_some()).count();
            }
            if let Some(call) = block.get("toolUse") {
                prompt.read(&call["input"].to_string());
            }
        }
        if message["role"] == "user" {
            if results.is_empty() {
                prompt.last_user = text;
            }
            prompt.tool_results = results;
        }
    }
}

fn result_text(block: &Value) -> String {
    match (block["text"].as_str(), block.get("json")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(json)) => json.to_string(),
        (None, None) => String::new(),
    }
}

fn tools(prompt: &mut Prompt, config: &Value) {
    for tool in config["tools"].as_array().into_iter().flatten() {
        let spec = &tool["toolSpec"];
        if let Some(name) = spec["name"].as_str() {
            prompt.read(&spec.to_string());
            prompt.tools.push(Tool { name: name.to_owned(), schema: spec["inputSchema"]["json"].clone() });
        }
    }
    let choice = &config["toolChoice"];
    if choice.get("any").is_some() {
        prompt.tool_choice = ToolChoice::Required;
    } else if let Some(name) = choice["tool"]["name"].as_str() {
        prompt.tool_choice = ToolChoice::Named(name.to_owned());
    }
}

/// The schema of a structured answer is text here.
fn format(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let schema =
        incoming.get("outputConfig").map(|config| &config["textFormat"]["structure"]["jsonSchema"]["schema"]);
    if let Some(schema) = schema.and_then(Value::as_str) {
        let schema = serde_json::from_str(schema)
            .map_err(|error| Rejection::invalid(format!("The schema of outputConfig is no JSON: {error}")))?;
        prompt.format = Format::Schema(schema);
    }
    Ok(())
}
