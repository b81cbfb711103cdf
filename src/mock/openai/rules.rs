//! What OpenAI refuses, beyond what its schema says.

use std::fmt::Display;

use serde_json::Value;

use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{Departure, Problem, brackets, kind_of};

/// OpenAI's rules, in the order of its checks.
pub const RULES: &[Rule] = &[
    rule("legacy_limit", legacy_limit).code("unsupported_parameter"),
    rule("two_limits", two_limits).code("invalid_parameter_combination"),
    rule("fixed_sampling", fixed_sampling).code("unsupported_value"),
    rule("no_stop", no_stop).code("unsupported_parameter"),
    rule("role_of_model", role_of_model).code("unsupported_value"),
    rule("top_logprobs", top_logprobs),
    rule("web_search", web_search),
    rule("audio_of_model", audio_of_model).code("invalid_value"),
    rule("parameters", parameters).code("invalid_function_parameters"),
    rule("strict_tool", strict_tool).code("invalid_function_parameters"),
    rule("strict_format", strict_format),
    rule("long_call_id", long_call_id).code("string_above_max_length"),
];

/// OpenAI's words for a body that departs from the schema.
pub fn refuse(departure: &Departure) -> Rejection {
    let path = brackets(&departure.path);
    let (code, message) = match &departure.problem {
        Problem::Unknown => ("unknown_parameter", format!("Unknown parameter: '{path}'.")),
        Problem::Missing => ("missing_required_parameter", format!("Missing required parameter: '{path}'.")),
        Problem::NotOneOf { known, given } => {
            let known: Vec<_> = known.iter().map(quoted).collect();
            let message =
                format!("Invalid value: {}. Supported values are: {}.", quoted(given), known.join(", "));
            ("invalid_value", message)
        }
        Problem::Type { expected, given } => {
            let words: Vec<_> = expected.split('|').filter(|name| *name != "null").map(words).collect();
            let expected = match &words[..] {
                [one] => (*one).to_owned(),
                several => format!("one of {}", several.join(" or ")),
            };
            let given = kind_of(given);
            let message = format!("Invalid type for '{path}': expected {expected}, but got {given} instead.");
            ("invalid_type", message)
        }
        Problem::Below { least, given } => {
            let (kind, code) = number(given, "integer_below_min_value", "decimal_below_min_value");
            let text = format!(
                "Invalid '{path}': {kind} below minimum value. Expected a value >= {least}, but got {given} instead."
            );
            (code, text)
        }
        Problem::Above { most, given } => {
            let (kind, code) = number(given, "integer_above_max_value", "decimal_above_max_value");
            let text = format!(
                "Invalid '{path}': {kind} above maximum value. Expected a value <= {most}, but got {given} instead."
            );
            (code, text)
        }
        Problem::TooShort { least, given } => too_short(&path, least, given),
        Problem::TooLong { most, given } => too_long(&path, most, given),
        Problem::Pattern { pattern, .. } => {
            let text = format!(
                "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '{pattern}'."
            );
            ("invalid_value", text)
        }
        Problem::NotBase64 => ("invalid_value", format!("Invalid '{path}': expected base64-encoded data.")),
        Problem::Both(first, second) => {
            ("invalid_value", format!("Invalid '{path}': '{first}' and '{second}' are mutually exclusive."))
        }
        Problem::NoneOf(keys) => {
            ("missing_required_parameter", format!("Invalid '{path}': expected one of {}.", keys.join(", ")))
        }
    };
    Rejection::param(path, message).with_code(code)
}

fn too_short(path: &str, least: impl Display, given: &Value) -> (&'static str, String) {
    let (kind, code) = if given.is_string() {
        ("empty string. Expected a string", "empty_string")
    } else {
        ("empty array. Expected an array", "empty_array")
    };
    let text =
        format!("Invalid '{path}': {kind} with minimum length {least}, but got a shorter one instead.");
    (code, text)
}

fn too_long(path: &str, most: impl Display, given: &Value) -> (&'static str, String) {
    let (kind, length, code) = match given {
        Value::Array(values) => ("array", values.len(), "array_above_max_length"),
        other => ("string", other.as_str().map_or(0, |text| text.chars().count()), "string_above_max_length"),
    };
    let text = format!(
        "Invalid '{path}': {kind} too long. Expected {kind} with maximum length {most}, but got {kind} with length \
         {length} instead."
    );
    (code, text)
}

fn quoted(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| format!("'{text}'"))
}

fn words(kind: &str) -> &str {
    match kind {
        "string" => "a string",
        "array" => "an array",
        "object" | "struct" => "an object",
        "integer" => "an integer",
        "number" => "a decimal",
        "boolean" => "a boolean",
        other => other,
    }
}

fn number(given: &Value, integer: &'static str, decimal: &'static str) -> (&'static str, &'static str) {
    if given.is_f64() { ("decimal", decimal) } else { ("integer", integer) }
}

/// Models that think before they answer, and whose sampling is fixed.
fn thinks(incoming: &Incoming<'_>) -> bool {
    let model = incoming.model.rsplit('/').next().unwrap_or_default();
    let family =
        ["o1", "o3", "o4"].iter().any(|name| model == *name || model.starts_with(&format!("{name}-")));
    family || (model.starts_with("gpt-5") && !model.contains("-chat"))
}

fn legacy_limit(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("max_tokens").filter(|_| thinks(incoming))?;
    let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                   'max_completion_tokens' instead.";
    Some(Wrong::at("max_tokens", message))
}

fn two_limits(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("max_tokens").and(incoming.get("max_completion_tokens"))?;
    Some(Wrong::new("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."))
}

fn fixed_sampling(incoming: &Incoming<'_>) -> Option<Wrong> {
    // Later models sample freely while their thinking is off.
    if !thinks(incoming) || incoming.get("reasoning_effort").is_some_and(|effort| effort == "none") {
        return None;
    }
    let fixed = [("temperature", 1.0), ("top_p", 1.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0)];
    let (name, default, given) = fixed.into_iter().find_map(|(name, default)| {
        let given = incoming.get(name)?.as_f64()?;
        ((given - default).abs() > f64::EPSILON).then_some((name, default, given))
    })?;
    let message = format!(
        "Unsupported value: '{name}' does not support {given} with this model. Only the default ({default}) value is \
         supported."
    );
    Some(Wrong::at(name, message))
}

/// The first reasoning models still took them.
fn no_stop(incoming: &Incoming<'_>) -> Option<Wrong> {
    let first = incoming.model.starts_with("o1") || incoming.model.starts_with("o3-mini");
    incoming.get("stop").filter(|_| thinks(incoming) && !first)?;
    Some(Wrong::at("stop", "Unsupported parameter: 'stop' is not supported with this model."))
}

/// The first small reasoning model took instructions in no role.
fn role_of_model(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !incoming.model.starts_with("o1-mini") {
        return None;
    }
    let role = |message: &Value| message["role"].as_str().map(str::to_owned);
    let (index, role) = incoming
        .list("messages")
        .iter()
        .enumerate()
        .filter_map(|(index, message)| Some((index, role(message)?)))
        .find(|(_, role)| role == "system" || role == "developer")?;
    let path = format!("messages[{index}].role");
    let message = format!("Unsupported value: '{path}' does not support '{role}' with this model.");
    Some(Wrong::at(path, message))
}

fn top_logprobs(incoming: &Incoming<'_>) -> Option<Wrong> {
    let asked = incoming.get("logprobs") == Some(&Value::Bool(true));
    incoming.get("top_logprobs").filter(|_| !asked)?;
    let message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.";
    Some(Wrong::at("top_logprobs", message))
}

fn web_search(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("web_search_options").filter(|_| !incoming.model.contains("search"))?;
    Some(Wrong::at("web_search_options", "Web search options not supported with this model."))
}

fn audio_of_model(incoming: &Incoming<'_>) -> Option<Wrong> {
    let index = incoming.list("messages").iter().position(|message| {
        let mut parts = message["content"].as_array().into_iter().flatten();
        parts.any(|part| part["type"] == "input_audio")
    });
    // A name that is none of OpenAI's own may stand for any model.
    let deaf = ["gpt-", "o1", "o3", "o4"].iter().any(|name| incoming.model.starts_with(name));
    let index = index
        .filter(|_| deaf && !incoming.model.contains("audio") && !incoming.model.contains("realtime"))?;
    let path = format!("messages[{index}]");
    let message =
        format!("Invalid '{path}'. Content blocks are expected to be either text or image_url type.");
    Some(Wrong::at(path, message))
}

/// The functions, each with its place.
fn functions<'r>(incoming: &'r Incoming<'_>) -> impl Iterator<Item = (usize, &'r Value)> {
    incoming.list("tools").iter().enumerate().map(|(index, tool)| (index, &tool["function"]))
}

fn parameters(incoming: &Incoming<'_>) -> Option<Wrong> {
    functions(incoming).find_map(|(index, function)| {
        let schema = function["parameters"].as_object().filter(|schema| !schema.is_empty())?;
        let kind = schema.get("type");
        let problem = match kind {
            Some(kind) if kind == "object" => missing_items(&function["parameters"])?.to_owned(),
            None if schema.contains_key("anyOf") || schema.contains_key("$ref") => return None,
            _ => {
                let given = kind.map_or_else(|| "\"None\"".to_owned(), Value::to_string);
                format!("schema must be a JSON Schema of 'type: \"object\"', got 'type: {given}'.")
            }
        };
        let name = function["name"].as_str().unwrap_or_default();
        let message = format!("Invalid schema for function '{name}': {problem}");
        Some(Wrong::at(format!("tools[{index}].function.parameters"), message))
    })
}

/// An array must say what it holds.
fn missing_items(schema: &Value) -> Option<&'static str> {
    let object = schema.as_object()?;
    let has = |key| object.contains_key(key);
    if schema["type"] == "array" && !has("items") && !has("prefixItems") {
        return Some("array schema missing items.");
    }
    let properties = schema["properties"].as_object().into_iter().flat_map(|all| all.values());
    properties.chain(object.get("items")).find_map(missing_items)
}

fn strict_tool(incoming: &Incoming<'_>) -> Option<Wrong> {
    functions(incoming).filter(|(_, function)| function["strict"] == true).find_map(|(index, function)| {
        let problem = strict(&function["parameters"], &mut Vec::new())?;
        let name = function["name"].as_str().unwrap_or_default();
        let message = format!("Invalid schema for function '{name}': {problem}");
        Some(Wrong::at(format!("tools[{index}].function.parameters"), message))
    })
}

fn strict_format(incoming: &Incoming<'_>) -> Option<Wrong> {
    let format = &incoming.get("response_format")?["json_schema"];
    let problem = strict(&format["schema"], &mut Vec::new()).filter(|_| format["strict"] == true)?;
    let name = format["name"].as_str().unwrap_or_default();
    Some(Wrong::at("response_format", format!("Invalid schema for response_format '{name}': {problem}")))
}

/// What strict mode does not take in this schema.
fn strict(schema: &Value, place: &mut Vec<String>) -> Option<String> {
    let object = schema.as_object()?;
    let told = |place: &[String], words: &str| {
        let place: Vec<_> = place.iter().map(|step| format!("'{step}'")).collect();
        format!("In context=({}), {words}", place.join(", "))
    };
    let properties = object.get("properties").and_then(Value::as_object);
    if schema["type"] == "object" || properties.is_some() {
        if object.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some(told(place, "'additionalProperties' is required to be supplied and to be false."));
        }
        let required = object.get("required").and_then(Value::as_array);
        let listed = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
        if let Some(missing) = properties.and_then(|all| all.keys().find(|name| !listed(name))) {
            let words = format!(
                "'required' is required to be supplied and to be an array including every key in properties. Missing \
                 '{missing}'."
            );
            return Some(told(place, &words));
        }
    }
    if let Some(keyword) =
        ["oneOf", "allOf", "not", "patternProperties"].iter().find(|key| object.contains_key(**key))
    {
        return Some(told(place, &format!("'{keyword}' is not permitted.")));
    }
    let maps = ["properties", "$defs", "definitions"].into_iter();
    let nested = maps.filter_map(|key| Some((key, object.get(key)?.as_object()?)));
    let named = nested.flat_map(|(key, map)| map.iter().map(move |(name, schema)| (vec![key, name], schema)));
    let options = object.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let rest = object.get("items").into_iter().map(|schema| (vec!["items"], schema));
    let rest = rest.chain(options.map(|schema| (vec!["anyOf"], schema)));
    for (steps, schema) in named.chain(rest) {
        place.extend(steps.iter().map(|step| (*step).to_owned()));
        if let Some(problem) = strict(schema, place) {
            return Some(problem);
        }
        place.truncate(place.len() - steps.len());
    }
    None
}

fn long_call_id(incoming: &Incoming<'_>) -> Option<Wrong> {
    const LONGEST: usize = 40;
    incoming.list("messages").iter().enumerate().find_map(|(index, message)| {
        let calls = message["tool_calls"].as_array()?.iter().enumerate();
        let (call, length) = calls
            .filter_map(|(call, value)| Some((call, value["id"].as_str()?.len())))
            .find(|(_, length)| *length > LONGEST)?;
        let path = format!("messages[{index}].tool_calls[{call}].id");
        let message = format!(
            "Invalid '{path}': string too long. Expected a string with maximum length {LONGEST}, but got a string with \
             length {length} instead."
        );
        Some(Wrong::at(path, message))
    })
}
