//! The reading of a Cohere request that breaks no rule.

use serde_json::Value;

use crate::mock::prompt::{Format, Incoming, Prompt, Tool, ToolChoice, count};

/// Reads the request.
pub fn read(incoming: &Incoming<'_>) -> Prompt {
    let mut prompt = Prompt {
        model: incoming.model.clone(),
        stream: incoming.get("stream") == Some(&Value::Bool(true)),
        choices: 1,
        parallel: true,
        max_tokens: incoming.get("max_tokens").and_then(count),
        // Its reasoning models think unless told not to.
        reasoning: match incoming.get("thinking") {
            Some(thinking) => thinking["type"] == "enabled",
            None => incoming.model.contains("reasoning"),
        },
        ..Prompt::default()
    };
    let stop = incoming.list("stop_sequences").iter();
    prompt.stop = stop.filter_map(Value::as_str).map(str::to_owned).collect();
    for message in incoming.list("messages") {
        let said = text(&message["content"]);
        prompt.read(&said);
        let parts = message["content"].as_array().into_iter().flatten();
        prompt.images += parts.filter(|part| part["type"] == "image_url").count();
        match message["role"].as_str() {
            Some("tool") => prompt.tool_results.push(said),
            Some("system" | "developer") => {}
            role => {
                prompt.turns += 1;
                prompt.tool_results.clear();
                if role == Some("user") {
                    prompt.last_user = said;
                }
            }
        }
    }
    for tool in incoming.list("tools") {
        let function = &tool["function"];
        prompt.read(&function.to_string());
        let name = function["name"].as_str().unwrap_or_default().to_owned();
        prompt.tools.push(Tool { name, schema: function["parameters"].clone() });
    }
    prompt.tool_choice = match incoming.get("tool_choice").and_then(Value::as_str) {
        Some("REQUIRED") => ToolChoice::Required,
        Some("NONE") => ToolChoice::None,
        _ => ToolChoice::Auto,
    };
    let format = incoming.get("response_format").filter(|format| format["type"] == "json_object");
    if let Some(format) = format {
        let schema = format.get("json_schema").or(format.get("schema"));
        prompt.format = schema.map_or(Format::JsonObject, |schema| Format::Schema(schema.clone()));
    }
    prompt
}

/// A content's text; of a document its data.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part["text"].as_str() {
                Some(text) => text.to_owned(),
                None if part.get("document").is_some() => part["document"]["data"].to_string(),
                None => String::new(),
            })
            .collect(),
        _ => String::new(),
    }
}
