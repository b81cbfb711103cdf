//! Gemini's reading of a request: protobuf's JSON mapping, which takes both spellings of a name and no unknown
//! one.

use serde_json::{Map, Value};

use super::schema;
use crate::mock::prompt::{Format, Incoming, Prompt, Rejection, Tool, ToolChoice, count};
use crate::mock::shape;

/// Reads a request that fits the schema, and checks the order of its turns.
pub fn read(vertex: bool, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
    let streams = incoming.stream == Some(true);
    let sse = incoming.query.split('&').any(|pair| pair == "alt=sse");
    let mut prompt = Prompt {
        model: incoming.model.clone(),
        choices: 1,
        parallel: true,
        stream: streams && sse,
        as_array: streams && !sse,
        cached: get(incoming.body, "cachedContent").is_some(),
        ..Prompt::default()
    };
    if let Some(system) = get(incoming.body, "systemInstruction") {
        for part in system["parts"].as_array().into_iter().flatten() {
            prompt.read(part["text"].as_str().unwrap_or_default());
        }
    }
    contents(&mut prompt, get(incoming.body, "contents"))?;
    tools(&mut prompt, vertex, incoming)?;
    choose(&mut prompt, incoming)?;
    if let Some(config) = get(incoming.body, "generationConfig") {
        let Some(config) = config.as_object() else {
            return Err(Rejection::param("generation_config", "Invalid value at 'generation_config'"));
        };
        generation(&mut prompt, config)?;
    }
    Ok(prompt)
}

/// A key in a header or in the query, or a token.
pub fn authorize(incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let keyed = incoming.header("x-goog-api-key").is_some_and(|key| !key.is_empty())
        || incoming.header("authorization").is_some()
        || incoming.query.split('&').any(|pair| pair.strip_prefix("key=").is_some_and(|key| !key.is_empty()));
    if keyed {
        return Ok(());
    }
    Err(Rejection::Auth { message: "API key not valid. Please pass a valid API key.".to_owned() })
}

fn contents(prompt: &mut Prompt, contents: Option<&Value>) -> Result<(), Rejection> {
    let contents = contents.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if contents.is_empty() {
        let message = "* GenerateContentRequest.contents: contents is not specified\n";
        return Err(Rejection::invalid(message));
    }
    // Consecutive contents of one role are one turn.
    let mut turns: Vec<(&str, Turn)> = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        // Results may stand under a role of their own; the turn is the user's.
        let role = match content["role"].as_str().unwrap_or("user") {
            "user" | "function" => "user",
            "model" => "model",
            _ => return Err(Rejection::invalid("Please use a valid role: user, model.")),
        };
        let path = format!("contents[{index}]");
        let parts = content["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        if parts.is_empty() {
            let message =
                format!("* GenerateContentRequest.{path}.parts: contents.parts must not be empty.\n");
            return Err(Rejection::invalid(message));
        }
        if turns.last().is_none_or(|(before, _)| *before != role) {
            turns.push((role, Turn::default()));
        }
        for (at, part) in parts.iter().enumerate() {
            if let Some((_, turn)) = turns.last_mut() {
                turn.read(prompt, part, &format!("{path}.parts[{at}]"))?;
            }
        }
    }
    // How many calls the turn before made.
    let mut open = 0;
    for (_, turn) in &turns {
        if turn.results.len() != open {
            let message = "Please ensure that the number of function response parts is equal to the number of \
                           function call parts of the function call turn.";
            return Err(Rejection::invalid(message));
        }
        open = turn.calls;
    }
    if open > 0 {
        let message = "Please ensure that function call turn is followed by a function response turn.";
        return Err(Rejection::invalid(message));
    }
    prompt.turns = turns.len();
    if let Some((_, turn)) = turns.iter().rfind(|(role, turn)| *role == "user" && turn.results.is_empty()) {
        prompt.last_user.clone_from(&turn.text);
    }
    prompt.tool_results = turns.pop().map(|(_, turn)| turn.results).unwrap_or_default();
    Ok(())
}

/// What one turn holds.
#[derive(Default)]
struct Turn {
    text: String,
    calls: usize,
    results: Vec<String>,
}

impl Turn {
    fn read(&mut self, prompt: &mut Prompt, part: &Value, path: &str) -> Result<(), Rejection> {
        let Some(fields) = part.as_object() else {
            return Err(Rejection::param(path, format!("Invalid value at '{path}'")));
        };
        if let Some(text) = get(fields, "text").and_then(Value::as_str) {
            prompt.read(text);
            self.text.push_str(text);
        } else if let Some(media) = get(fields, "inlineData").or(get(fields, "fileData")) {
            let kind = media.as_object().and_then(|media| get(media, "mimeType")).and_then(Value::as_str);
            prompt.images += usize::from(kind.is_none_or(|kind| kind.starts_with("image/")));
        } else if let Some(call) = get(fields, "functionCall") {
            if !call["name"].is_string() {
                return Err(Rejection::invalid(format!("{path}.function_call.name: Name cannot be empty.")));
            }
            prompt.read(&call["args"].to_string());
            self.calls += 1;
        } else if let Some(result) = get(fields, "functionResponse") {
            if !result["name"].is_string() {
                return Err(Rejection::invalid(format!(
                    "{path}.function_response.name: Name cannot be empty."
                )));
            }
            if !result["response"].is_object() {
                let field = format!("{path}.function_response.response");
                let message =
                    format!("Invalid value at '{field}' (type.googleapis.com/google.protobuf.Struct)");
                return Err(Rejection::param(field, message));
            }
            let text = result_text(&result["response"]);
            prompt.read(&text);
            self.results.push(text);
        } else if fields.is_empty() {
            let message = format!(
                "* GenerateContentRequest.{path}.data: required oneof field 'data' must have one initialized field"
            );
            return Err(Rejection::invalid(message));
        }
        Ok(())
    }
}

/// A result's only string, or all of it as JSON.
fn result_text(response: &Value) -> String {
    let only =
        response.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.values().next());
    only.and_then(Value::as_str).map_or_else(|| response.to_string(), str::to_owned)
}

fn tools(prompt: &mut Prompt, vertex: bool, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let tools = get(incoming.body, "tools").and_then(Value::as_array);
    for (index, tool) in tools.into_iter().flatten().filter_map(Value::as_object).enumerate() {
        let declarations = get(tool, "functionDeclarations").and_then(Value::as_array);
        for (at, declaration) in declarations.into_iter().flatten().filter_map(Value::as_object).enumerate() {
            let path = format!("tools[{index}].function_declarations[{at}]");
            let name = get(declaration, "name").and_then(Value::as_str).unwrap_or_default();
            let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
            let fits = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
            if !name.starts_with(starts) || !name.chars().all(fits) || name.len() > 64 {
                let message = format!(
                    "* GenerateContentRequest.{path}.name: Invalid function name. Must start with a letter or an \
                     underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or \
                     dashes (-), with a maximum length of 64.\n"
                );
                return Err(Rejection::invalid(message));
            }
            let parameters = get(declaration, "parameters");
            let schema = get(declaration, "parametersJsonSchema");
            if parameters.is_some() && schema.is_some() {
                let message =
                    format!("{path}: parameters and parameters_json_schema are mutually exclusive.");
                return Err(Rejection::invalid(message));
            }
            if let Some(parameters) = parameters.filter(|_| !vertex) {
                schema::check(parameters, &format!("{path}.parameters"))?;
            }
            let schema = parameters.or(schema).cloned().unwrap_or_default();
            prompt.read(&Value::Object(declaration.clone()).to_string());
            prompt.tools.push(Tool { name: name.to_owned(), schema });
        }
    }
    Ok(())
}

fn choose(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let Some(config) = get(incoming.body, "toolConfig").and_then(Value::as_object) else { return Ok(()) };
    let Some(calling) = get(config, "functionCallingConfig").and_then(Value::as_object) else {
        return Ok(());
    };
    let path = "tool_config.function_calling_config";
    let names = get(calling, "allowedFunctionNames").and_then(Value::as_array);
    let names: Vec<_> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    let mode = get(calling, "mode").and_then(Value::as_str).unwrap_or("AUTO").to_uppercase();
    if !names.is_empty() {
        if !matches!(mode.as_str(), "ANY" | "VALIDATED") {
            let message = "Function calling config is set without function calling mode ANY: allowed_function_names \
                           cannot be set.";
            return Err(Rejection::invalid(message));
        }
        if let Some(unknown) = names.iter().find(|name| !prompt.tools.iter().any(|tool| tool.name == **name))
        {
            let message = format!("allowed_function_names contains `{unknown}`, which is not declared.");
            return Err(Rejection::invalid(message));
        }
        prompt.tools.retain(|tool| names.contains(&tool.name.as_str()));
    }
    prompt.tool_choice = match mode.as_str() {
        "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" => ToolChoice::Auto,
        "ANY" => ToolChoice::Required,
        "NONE" => ToolChoice::None,
        _ => {
            let field = format!("{path}.mode");
            return Err(Rejection::param(field.clone(), format!("Invalid value at '{field}', \"{mode}\"")));
        }
    };
    Ok(())
}

fn generation(prompt: &mut Prompt, config: &Map<String, Value>) -> Result<(), Rejection> {
    prompt.max_tokens = match get(config, "maxOutputTokens") {
        None => None,
        Some(value) => {
            let message = "max_output_tokens must be positive.";
            Some(count(value).filter(|count| *count > 0).ok_or_else(|| Rejection::invalid(message))?)
        }
    };
    if let Some(value) = get(config, "temperature").and_then(Value::as_f64)
        && !(0.0..=2.0).contains(&value)
    {
        let message =
            format!("* GenerateContentRequest.generation_config.temperature: {value} is out of range");
        return Err(Rejection::invalid(message));
    }
    let stop = get(config, "stopSequences").and_then(Value::as_array);
    prompt.stop = stop.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if prompt.stop.len() > 5 {
        return Err(Rejection::invalid("The number of stop sequences must be at most 5."));
    }
    if let Some(thinking) = get(config, "thinkingConfig").and_then(Value::as_object) {
        let budget = get(thinking, "thinkingBudget");
        if budget.is_some() && get(thinking, "thinkingLevel").is_some() {
            let message = "You can only set only one of thinking budget and thinking level.";
            return Err(Rejection::invalid(message));
        }
        prompt.reasoning = get(thinking, "includeThoughts") == Some(&Value::Bool(true))
            && budget.is_none_or(|budget| budget != 0);
    }
    format(prompt, config)
}

fn format(prompt: &mut Prompt, config: &Map<String, Value>) -> Result<(), Rejection> {
    let mime = get(config, "responseMimeType").and_then(Value::as_str);
    let (plain, json) = (get(config, "responseSchema"), get(config, "responseJsonSchema"));
    if let Some(schema) = plain {
        schema::check(schema, "generation_config.response_schema")?;
    }
    let Some(schema) = plain.or(json) else {
        if mime == Some("application/json") {
            prompt.format = Format::JsonObject;
        }
        return Ok(());
    };
    if mime != Some("application/json") {
        let message = "Response schema is only supported with response mime type 'application/json'.";
        return Err(Rejection::invalid(message));
    }
    prompt.format = Format::Schema(schema.clone());
    Ok(())
}

/// The value for a name, in either spelling; null counts as absent.
pub fn get<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let exact = fields.get(name);
    let value =
        exact.or_else(|| fields.iter().find(|(key, _)| shape::camel(key) == name).map(|(_, value)| value))?;
    Some(value).filter(|value| !value.is_null())
}
