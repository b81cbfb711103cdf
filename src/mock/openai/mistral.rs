//! What Mistral refuses: a schema without room for unknown keys, a strict order, ids of nine characters.

use serde_json::{Value, json};

use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{Departure, Problem, Step};

const ORDER: &str = "invalid_request_message_order";
const CALL: &str = "invalid_function_call";

/// Mistral's rules.
pub const RULES: &[Rule] = &[
    rule("order", order).kind(ORDER).code("3230"),
    rule("last_role", last_role).kind(ORDER).code("3230"),
    rule("empty_assistant", empty_assistant).kind("invalid_request_assistant_message").code("3240"),
    rule("call_id", call_id).kind(CALL).code("3280"),
    rule("result_count", result_count).kind(ORDER).code("3230"),
    rule("function_name", function_name).kind("invalid_request_invalid_args").code("3051"),
];

/// Mistral's validation error: a list of places, with status 422.
pub fn refuse(departure: &Departure) -> Rejection {
    let place = departure.path.iter().map(|step| match step {
        Step::Key(key) => json!(key),
        Step::Index(index) => json!(index),
    });
    let place: Vec<_> = [json!("body")].into_iter().chain(place).collect();
    let (kind, message) = match &departure.problem {
        Problem::Unknown => ("extra_forbidden", "Extra inputs are not permitted".to_owned()),
        Problem::Missing => ("missing", "Field required".to_owned()),
        Problem::Type { expected, .. } => {
            let expected = expected.split('|').next().unwrap_or_default();
            let (kind, words) = match expected {
                "string" => ("string_type", "a valid string"),
                "integer" => ("int_type", "a valid integer"),
                "number" => ("float_type", "a valid number"),
                "boolean" => ("bool_type", "a valid boolean"),
                "array" => ("list_type", "a valid list"),
                _ => ("dict_type", "a valid dictionary"),
            };
            (kind, format!("Input should be {words}"))
        }
        Problem::NotOneOf { known, .. } => {
            let known: Vec<_> = known.iter().map(|value| value.to_string().replace('"', "'")).collect();
            ("enum", format!("Input should be {}", known.join(" or ")))
        }
        Problem::Below { least, .. } => {
            ("greater_than_equal", format!("Input should be greater than or equal to {least}"))
        }
        Problem::Above { most, .. } => {
            ("less_than_equal", format!("Input should be less than or equal to {most}"))
        }
        Problem::TooShort { least, .. } => ("too_short", format!("Input should have at least {least} items")),
        Problem::TooLong { most, .. } => ("too_long", format!("Input should have at most {most} items")),
        Problem::Pattern { pattern, .. } => {
            ("string_pattern_mismatch", format!("String should match pattern '{pattern}'"))
        }
        Problem::NotBase64 => ("value_error", "Input should be base64".to_owned()),
        Problem::Both(first, second) => ("value_error", format!("{first} and {second} exclude each other")),
        Problem::NoneOf(keys) => ("value_error", format!("one of {} is required", keys.join(", "))),
    };
    Rejection::invalid(message.clone()).with_status(422).edit(|invalid| {
        invalid.kind = Some("invalid_request_error");
        invalid.detail = Some(json!({ "detail": [{ "type": kind, "loc": place, "msg": message }] }));
    })
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

/// Models that take a user's turn after a tool's.
const LENIENT: [&str; 1] = ["mistral-small-latest"];

/// After a tool only an assistant or another tool may speak; a tool only after a call.
fn order(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages");
    messages.windows(2).find_map(|pair| {
        let (before, after) = (role(&pair[0]), role(&pair[1]));
        let wrong = match (before, after) {
            ("tool", "user" | "system") => !LENIENT.contains(&incoming.model.as_str()),
            ("system" | "user", "tool") => true,
            ("assistant", "tool") => pair[0]["tool_calls"].as_array().is_none_or(Vec::is_empty),
            ("assistant", "assistant") => true,
            _ => false,
        };
        wrong.then(|| Wrong::new(format!("Unexpected role '{after}' after role '{before}'")))
    })
}

fn last_role(incoming: &Incoming<'_>) -> Option<Wrong> {
    let last = incoming.list("messages").last()?;
    let fits = match role(last) {
        "user" | "tool" => true,
        "assistant" => last["prefix"] == true,
        _ => false,
    };
    let message = format!(
        "Expected last role User or Tool (or Assistant with prefix True) for serving but got {}",
        role(last)
    );
    (!fits).then(|| Wrong::new(message))
}

fn empty_assistant(incoming: &Incoming<'_>) -> Option<Wrong> {
    let empty = |message: &Value| {
        let silent = match &message["content"] {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(parts) => parts.is_empty(),
            _ => false,
        };
        role(message) == "assistant" && silent && message["tool_calls"].as_array().is_none_or(Vec::is_empty)
    };
    let messages = incoming.list("messages");
    messages
        .iter()
        .any(empty)
        .then(|| Wrong::new("Assistant message must have either content or tool_calls, but not none."))
}

fn call_id(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages").iter();
    let ids = messages.flat_map(|message| {
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        calls.filter_map(|call| call["id"].as_str()).chain(message["tool_call_id"].as_str())
    });
    let fits = |id: &str| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric());
    let wrong = ids.into_iter().find(|id| !fits(id))?;
    Some(Wrong::new(format!("Tool call id was {wrong} but must be a-z, A-Z, 0-9, with a length of 9.")))
}

/// Every call has its result, and every result its call.
fn result_count(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages");
    messages.iter().enumerate().find_map(|(index, message)| {
        let calls = message["tool_calls"].as_array().filter(|calls| !calls.is_empty())?;
        let results = messages[index + 1..].iter().take_while(|message| role(message) == "tool").count();
        let unanswered = results != calls.len() && index + 1 < messages.len();
        (unanswered || (results == 0 && index + 1 == messages.len()))
            .then(|| Wrong::new("Not the same number of function calls and responses"))
    })
}

fn function_name(incoming: &Incoming<'_>) -> Option<Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut names = incoming.list("tools").iter().filter_map(|tool| tool["function"]["name"].as_str());
    let wrong = names.find(|name| name.is_empty() || name.len() > 64 || !name.chars().all(fits))?;
    Some(Wrong::new(format!(
        "Function name was {wrong} but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length \
         of 64."
    )))
}
