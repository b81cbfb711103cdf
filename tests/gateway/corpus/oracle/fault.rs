//! Errors: the class of the contract for a provider's status and words, and what the client of a single target is told
//! for it.

use serde_json::{Value, json};

use super::super::answer::{Expected, Fault};
use super::super::exchange::Exchange;

/// What a provider's error says, whatever its envelope.
#[derive(Debug, Default)]
pub struct Words {
    pub status: u16,
    /// The machine's words: type, code, status.
    pub kinds: Vec<String>,
    pub message: String,
    /// The `code` that may be passed on.
    pub code: Option<String>,
}

/// The words of an error body, in any of the envelopes that are documented.
pub fn words(status: u16, body: &Value) -> Words {
    let error = match body {
        Value::Array(entries) => entries.first().map_or(body, |entry| &entry["error"]),
        _ if body["error"].is_object() => &body["error"],
        _ => body,
    };
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let members = ["type", "code", "status", "error_type", "__type"];
    let mut kinds: Vec<String> = members.iter().filter_map(|name| text(&error[*name])).collect();
    let reasons =
        error["details"].as_array().into_iter().flatten().filter_map(|detail| text(&detail["reason"]));
    kinds.extend(reasons);
    kinds.extend(text(&error["innererror"]["code"]));
    let messages = [&error["message"], &error["Message"], &body["error"], &body["detail"], &body["message"]];
    let raw = text(&error["metadata"]["raw"]).unwrap_or_default();
    let message = messages.into_iter().find_map(|value| value.as_str()).unwrap_or_default();
    let code = error["code"].as_str().map(str::to_owned);
    Words { status, kinds, message: format!("{message} {raw}"), code }
}

/// The class of section 4 of the contract.
pub fn class(words: &Words) -> &'static str {
    let message = words.message.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| message.contains(part));
    let is = |any: &[&str]| words.kinds.iter().any(|kind| any.contains(&kind.as_str()));
    if is(&["insufficient_quota", "billing_error"]) || words.status == 402 {
        return "quota_exhausted";
    }
    if is(&["content_filter", "ResponsibleAIPolicyViolation"]) {
        return "content_filter";
    }
    if is(&["context_length_exceeded", "TOO_MANY_TOKENS"]) || (words.status < 500 && says(&TOO_LONG)) {
        return "context_length";
    }
    let names_a_bad_key = is(&["API_KEY_INVALID", "invalid_api_key", "authentication_error"]);
    match words.status {
        401 => "auth_failed",
        400 if names_a_bad_key || says(&["incorrect api key", "api key not valid"]) => "auth_failed",
        403 => "auth_failed",
        404 => "model_not_found",
        400 if is(&["model_not_found"]) || says(&NO_SUCH_MODEL) => "model_not_found",
        413 => "too_large",
        429 => "rate_limited",
        408 | 409 | 424 | 425 => "server_error",
        503 | 529 => "overloaded",
        500.. => "server_error",
        _ if is(&["overloaded_error"]) => "overloaded",
        _ if is(&["rate_limit_error", "rate_limit_exceeded"]) => "rate_limited",
        _ if is(&["api_error", "server_error", "internal_error"]) => "server_error",
        _ => "invalid_request",
    }
}

/// What the client is told when the only target failed with these words.
pub fn told(words: &Words) -> Expected {
    let class = class(words);
    let (status, code) = match class {
        "invalid_request" => {
            (if words.status == 422 { 422 } else { 400 }, words.code.clone().map(|code| json!(code)))
        }
        "context_length" => (400, Some(json!("context_length_exceeded"))),
        "content_filter" => (400, Some(json!("content_filter"))),
        "too_large" => (413, None),
        "rate_limited" => (429, Some(json!("rate_limit_exceeded"))),
        _ => match words.status {
            404 | 408 | 500..=599 => (words.status, Some(json!(class))),
            _ => (502, Some(json!(class))),
        },
    };
    Expected::Failure(Fault { class: Some(class.to_owned()), status: Some(status), code })
}

/// What is told of an answer whose status is none of success.
pub fn of_status(exchange: &Exchange) -> Option<Expected> {
    let status = exchange.response.status;
    if status < 300 {
        return None;
    }
    let mut words = words(status, &exchange.payloads().into_iter().next().unwrap_or_default());
    // Bedrock names the class in a header only.
    let kind = exchange.header("x-amzn-errortype").and_then(|kind| kind.split(':').next());
    words.kinds.extend(kind.map(str::to_owned));
    Some(told(&words))
}

/// A failure of this class, whatever else is said of it.
pub fn only(class: &str) -> Expected {
    Expected::Failure(Fault { class: Some(class.to_owned()), ..Fault::default() })
}

const TOO_LONG: [&str; 9] = [
    "maximum context length",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens",
    "exceeds maximum length",
    "too many tokens",
    "reduce the length",
];

const NO_SUCH_MODEL: [&str; 4] =
    ["model identifier is invalid", "is not a valid model id", "invalid model", "on-demand throughput isn"];
