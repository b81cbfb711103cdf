//! What Cohere refuses, beyond what its schema says.

use serde_json::Value;

use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{self, COHERE, Departure, Problem, dots};

/// Cohere's rules, in the order of its checks.
pub const RULES: &[Rule] = &[
    rule("no_messages", no_messages),
    rule("tool_before_call", tool_before_call),
    rule("unanswered", unanswered),
    rule("empty_message", empty_message),
    rule("tool_name", tool_name),
    rule("tool_choice", tool_choice),
    rule("json_with_tools", json_with_tools),
    rule("json_with_documents", json_with_documents),
    rule("temperature", temperature),
];

/// Holds a body of this kind against the schema.
pub fn schema(kind: &str, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    shape::check(&COHERE, kind, incoming.body)
        .map_err(|departure| refuse(&departure).edit(|invalid| invalid.rule = "schema"))
}

fn refuse(departure: &Departure) -> Rejection {
    let path = dots(&departure.path);
    let message = match &departure.problem {
        Problem::Unknown => {
            let message = format!("unknown field: parameter '{path}' is not a valid field");
            return Rejection::invalid(message).with_status(422);
        }
        Problem::Missing => format!("invalid request: {path} is required"),
        Problem::Type { expected, .. } => {
            let message = format!("invalid type: parameter {path} must be of type {expected}");
            return Rejection::invalid(message).with_status(422);
        }
        Problem::NotOneOf { known, given } => {
            let known: Vec<_> = known.iter().map(Value::to_string).collect();
            format!("invalid request: {path} must be one of {}, but is {given}", known.join(", "))
        }
        Problem::Below { least, .. } => format!("invalid request: {path} must be at least {least}"),
        Problem::Above { most, .. } => format!("invalid request: {path} must be at most {most}"),
        Problem::TooShort { least, .. } => {
            format!("invalid request: {path} must have at least {least} elements")
        }
        Problem::TooLong { most, .. } => format!("invalid request: {path} must have at most {most} elements"),
        Problem::Pattern { pattern, .. } => format!("invalid request: {path} must match {pattern}"),
        Problem::NotBase64 => format!("invalid request: {path} must be base64"),
        Problem::Both(first, second) => format!("invalid request: {first} and {second} cannot both be set"),
        Problem::NoneOf(keys) => format!("invalid request: one of {} is required", keys.join(", ")),
    };
    Rejection::invalid(message)
}

fn calls(message: &Value) -> &[Value] {
    message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn no_messages(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming
        .list("messages")
        .is_empty()
        .then(|| Wrong::new("invalid request: messages must contain at least one message."))
}

/// A result answers a call that was made before.
fn tool_before_call(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut made: Vec<&str> = Vec::new();
    incoming.list("messages").iter().find_map(|message| {
        made.extend(calls(message).iter().filter_map(|call| call["id"].as_str()));
        let id = message["tool_call_id"].as_str()?;
        (!made.contains(&id)).then(|| {
            Wrong::new(format!(
                "invalid request: tool_call_id '{id}' does not match any tool call in the preceding messages"
            ))
        })
    })
}

fn unanswered(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages");
    messages.iter().enumerate().find_map(|(index, message)| {
        let results = messages[index + 1..].iter().take_while(|message| message["role"] == "tool");
        let answered: Vec<_> = results.filter_map(|message| message["tool_call_id"].as_str()).collect();
        let open =
            calls(message).iter().filter_map(|call| call["id"].as_str()).find(|id| !answered.contains(id))?;
        Some(Wrong::new(format!("invalid request: missing tool result for tool call '{open}'")))
    })
}

fn empty_message(incoming: &Incoming<'_>) -> Option<Wrong> {
    let index = incoming.list("messages").iter().position(|message| {
        let silent = match &message["content"] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(parts) => parts.is_empty(),
            _ => false,
        };
        silent && calls(message).is_empty() && message["role"] != "tool"
    })?;
    Some(Wrong::new(format!(
        "invalid request: message at index {index} must have non-empty content or tool calls"
    )))
}

fn tool_name(incoming: &Incoming<'_>) -> Option<Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut names = incoming.list("tools").iter().filter_map(|tool| tool["function"]["name"].as_str());
    let wrong = names.find(|name| {
        name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(fits)
    })?;
    Some(Wrong::new(format!(
        "invalid tool name: '{wrong}' can only contain characters a-z, A-Z, 0-9, _ and - and cannot start with a digit"
    )))
}

fn tool_choice(incoming: &Incoming<'_>) -> Option<Wrong> {
    let choice = incoming.get("tool_choice").filter(|choice| **choice == "REQUIRED")?;
    incoming.list("tools").is_empty().then(|| {
        Wrong::new(format!("invalid request: tool_choice {choice} is only allowed when tools are specified"))
    })
}

fn is_json(incoming: &Incoming<'_>) -> bool {
    incoming.get("response_format").is_some_and(|format| format["type"] == "json_object")
}

/// Only the newer models do both.
fn json_with_tools(incoming: &Incoming<'_>) -> Option<Wrong> {
    let newer = incoming.model.contains("command-a");
    (is_json(incoming) && !newer && !incoming.list("tools").is_empty())
        .then(|| Wrong::new("invalid request: response_format is not supported with tools"))
}

fn json_with_documents(incoming: &Incoming<'_>) -> Option<Wrong> {
    (is_json(incoming) && !incoming.list("documents").is_empty())
        .then(|| Wrong::new("invalid request: response_format is not supported with RAG"))
}

fn temperature(incoming: &Incoming<'_>) -> Option<Wrong> {
    let given = incoming.get("temperature")?.as_f64()?;
    (given > 1.0).then(|| Wrong::new("invalid request: temperature must be between 0 and 1.0 inclusive."))
}
