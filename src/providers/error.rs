//! What the error answers of all providers share: a status, a few words in one of several envelopes, and hints
//! when to come again. A dialect adds what is its own.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::response::Parts;
use serde_json::Value;

use crate::reason::{Class, Failure};

/// The words of an upstream's error, from whichever envelope they came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorWords {
    pub message: String,
    /// OpenAI's `type`, Google's `status`.
    pub kind: Option<String>,
    pub code: Option<String>,
    pub param: Option<String>,
}

/// How much of a body that is not JSON is quoted.
const QUOTE: usize = 300;

impl ErrorWords {
    /// Reads any provider's error body. A body that is no known envelope is quoted, shortened.
    pub fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::of(&value),
            Err(_) => Self { message: quote(body), ..Self::default() },
        }
    }

    /// Reads the words of a parsed error body.
    pub fn of(value: &Value) -> Self {
        // Google's streams without `alt=sse` wrap the object in an array.
        let value = value.get(0).unwrap_or(value);
        let error = value.get("error").unwrap_or(value);
        if let Some(message) = error.as_str() {
            return Self { message: message.into(), code: word(value, "code"), ..Self::default() };
        }
        let message = [error.get("message"), error.get("Message"), value.get("message"), value.get("detail")]
            .into_iter()
            .flatten()
            .find(|text| !text.is_null());
        let fault = message.and_then(validation_fault);
        let message = match (&fault, message) {
            (Some((_, text)), _) => text.clone(),
            (None, Some(Value::String(text))) => text.clone(),
            (None, other) => other.unwrap_or(value).to_string(),
        };
        let cause = cause_behind_gateway(error).filter(|cause| !message.contains(cause.as_str()));
        Self {
            message: cause.map_or_else(|| message.clone(), |cause| format!("{message}: {cause}")),
            kind: word(error, "type").or_else(|| word(error, "status")),
            code: word(error, "code"),
            param: word(error, "param").or(fault.map(|(place, _)| place)),
        }
    }

    /// Whether the message, the code or the type holds one of these, in any case.
    pub fn mention(&self, needles: &[&str]) -> bool {
        let hay = [Some(&self.message), self.code.as_ref(), self.kind.as_ref()];
        let hay = hay.into_iter().flatten().map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>();
        needles.iter().any(|needle| hay.iter().any(|text| text.contains(needle)))
    }

    /// The failure of this class that carries these words.
    pub fn failure(self, class: Class) -> Failure {
        Failure { kind: self.kind, code: self.code, param: self.param, ..Failure::new(class, self.message) }
    }
}

/// The class of an error answer as most providers mean it, with status, words and waiting time filled in. A
/// dialect calls this and corrects what its own provider means otherwise.
pub fn classify(head: &Parts, body: &[u8], now: SystemTime) -> Failure {
    let words = ErrorWords::read(body);
    let status = head.status.as_u16();
    let class = class_of(status, &words);
    let mut failure = words.failure(class).with_status(status);
    failure.retry_after = retry_after(&head.headers, now);
    failure.credential = match class {
        Class::AuthFailed => status == 401 || blames_key(&failure.message),
        Class::QuotaExhausted => true,
        _ => false,
    };
    if failure.message.is_empty() {
        failure.message = format!("The upstream answered {status} with an empty body.");
    }
    failure
}

/// The class of a status with these words.
pub fn class_of(status: u16, words: &ErrorWords) -> Class {
    let fault_of_request = matches!(status, 400 | 413 | 422 | 429);
    if fault_of_request && is_context_length(words) {
        return Class::ContextLength;
    }
    match status {
        403 if is_content_filter(words) || words.mention(&["flagged", "moderation"]) => Class::ContentFilter,
        401 | 403 => Class::AuthFailed,
        402 => Class::QuotaExhausted,
        404 => Class::ModelNotFound,
        413 => Class::TooLarge,
        429 if is_quota(words) => Class::QuotaExhausted,
        429 => Class::RateLimited,
        503 | 529 => Class::Overloaded,
        408 | 409 | 424 | 425 => Class::ServerError,
        500..=599 => Class::ServerError,
        400 | 422 if is_content_filter(words) => Class::ContentFilter,
        400 if blames_key(&words.message) || words.mention(&["invalid_api_key", "api_key_invalid"]) => {
            Class::AuthFailed
        }
        400 if is_unknown_model(words) => Class::ModelNotFound,
        400 if is_quota(words) => Class::QuotaExhausted,
        400..=499 if words.mention(&["capacity_exceeded"]) => Class::Overloaded,
        400..=499 => Class::InvalidRequest,
        // A redirect is not followed (it would take the key along), and nothing else is an answer.
        _ => Class::Malformed,
    }
}

/// The class of an error that arrives inside a stream, or inside a 200, where only words tell.
pub fn class_of_words(words: &ErrorWords) -> Class {
    if let Some(status) = words.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| *code >= 400)
    {
        return class_of(status, words);
    }
    if is_context_length(words) {
        return Class::ContextLength;
    }
    if is_quota(words) {
        return Class::QuotaExhausted;
    }
    if is_content_filter(words) {
        return Class::ContentFilter;
    }
    let classes: [(&[&str], Class); 6] = [
        (
            &["rate_limit", "rate limit", "resource_exhausted", "throttl", "too many requests"],
            Class::RateLimited,
        ),
        (&["overloaded", "unavailable", "at capacity"], Class::Overloaded),
        (
            &["authentication_error", "permission_error", "invalid_api_key", "unauthenticated"],
            Class::AuthFailed,
        ),
        (&["not_found_error", "model_not_found"], Class::ModelNotFound),
        (&["request_too_large"], Class::TooLarge),
        (&["invalid_request", "invalid_argument", "bad_request", "tool_use_failed"], Class::InvalidRequest),
    ];
    let known = classes.into_iter().find(|(needles, _)| words.mention(needles));
    known.map_or(Class::ServerError, |(_, class)| class)
}

fn is_context_length(words: &ErrorWords) -> bool {
    words.mention(&[
        "context_length_exceeded",
        "maximum context length",
        "context length exceeded",
        "context window",
        "prompt is too long",
        "prompt too long",
        "exceed context limit",
        "input is too long",
        "input tokens exceeded",
        "exceeds the maximum number of tokens",
        "exceeds maximum length",
        "too_many_tokens",
        "too_many_prompt_tokens",
        "too many tokens: size limit",
        "reduce the length",
        "exceeds the available context size",
        "tokens + `max_new_tokens` must be",
    ])
}

fn is_quota(words: &ErrorWords) -> bool {
    words.mention(&[
        "insufficient_quota",
        "exceeded your current quota, please check your plan",
        "exceeded_current_quota",
        "arrearage",
        "billing_error",
        "billing_hard_limit",
        "billing_not_active",
        "credit balance is too low",
        "insufficient balance",
        "insufficient credits",
        "out of credits",
        "payment required",
    ])
}

fn is_content_filter(words: &ErrorWords) -> bool {
    words.mention(&[
        "content_filter",
        "content_policy_violation",
        "responsibleaipolicyviolation",
        "content management policy",
        "data_inspection_failed",
        "potentially unsafe or sensitive content",
    ])
}

fn is_unknown_model(words: &ErrorWords) -> bool {
    words.mention(&[
        "model_not_found",
        "is not a valid model id",
        "invalid model",
        "unknown model",
        "unknown_model",
        "model_not_supported",
        "model not exist",
        "model identifier is invalid",
    ])
}

fn blames_key(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "api key not valid",
        "incorrect api key",
        "invalid api key",
        "invalid x-api-key",
        "api key expired",
        "invalid authentication",
    ]
    .iter()
    .any(|needle| message.contains(needle))
}

/// How long the upstream asks to wait, from its headers: `retry-after-ms`, `Retry-After` (seconds or a date), or
/// the reset time of a rate limit of which nothing remains.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let milliseconds =
        text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()).filter(|ms| *ms > 0.0);
    if let Some(wait) = milliseconds.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok()) {
        return Some(wait);
    }
    if let Some(text) = text("retry-after") {
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        if let Ok(date) = httpdate::parse_http_date(text) {
            return Some(date.duration_since(now).unwrap_or_default());
        }
    }
    let exhausted = ["requests", "tokens"].into_iter().filter(|what| {
        text(&format!("x-ratelimit-remaining-{what}")).is_some_and(|remaining| remaining == "0")
    });
    exhausted.filter_map(|what| text(&format!("x-ratelimit-reset-{what}")).and_then(spoken_duration)).max()
}

/// Durations as rate-limit headers spell them: `6m0s`, `88ms`, `1.5s`, or plain seconds.
pub fn spoken_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ms" => number / 1000.0,
            "s" => number,
            "m" => number * 60.0,
            "h" => number * 3600.0,
            "d" => number * 86_400.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(seconds).ok()?;
        rest = &rest[unit..];
    }
    Some(total)
}

/// What a validator of the request's fields found first, and where: FastAPI's list.
fn validation_fault(detail: &Value) -> Option<(String, String)> {
    let fault = detail.get(0)?;
    let text = fault.get("msg")?.as_str()?;
    let place = fault.get("loc").and_then(Value::as_array).into_iter().flatten();
    let place = place
        .filter(|part| *part != "body")
        .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
    let place = place.collect::<Vec<_>>().join(".");
    Some((place.clone(), if place.is_empty() { text.to_owned() } else { format!("{place}: {text}") }))
}

/// What the provider behind OpenRouter said, which its own message does not tell.
fn cause_behind_gateway(error: &Value) -> Option<String> {
    let raw = error.get("metadata")?.get("raw")?.as_str()?;
    let inner = serde_json::from_str::<Value>(raw).ok().filter(Value::is_object);
    Some(inner.map_or_else(|| quote(raw.as_bytes()), |inner| ErrorWords::of(&inner).message))
}

/// A member as text, be it a string or a number.
fn word(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTE)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> Class {
        class_of(status, &ErrorWords::read(body.as_bytes()))
    }

    #[test]
    fn statuses_and_words_make_the_class() {
        let cases = [
            (429, r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#, Class::RateLimited),
            (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, Class::QuotaExhausted),
            (402, "", Class::QuotaExhausted),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, Class::ContextLength),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 tokens > 1 maximum"}}"#,
                Class::ContextLength,
            ),
            (
                400,
                r#"{"error":{"message":"API key not valid. Please pass a valid API key."}}"#,
                Class::AuthFailed,
            ),
            (400, r#"{"error":{"message":"bad","code":"content_filter"}}"#, Class::ContentFilter),
            (422, r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, Class::InvalidRequest),
            (404, "<html>", Class::ModelNotFound),
            (529, "{}", Class::Overloaded),
            (500, "[]", Class::ServerError),
            (301, "", Class::Malformed),
        ];
        for (status, body, expected) in cases {
            assert_eq!(class(status, body), expected, "{status} {body}");
        }
    }

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn waiting_times_are_read_in_every_spelling() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases: [(Headers, Option<u64>); 7] = [
            (&[("retry-after", "2")], Some(2000)),
            (&[("retry-after-ms", "150"), ("retry-after", "1")], Some(150)),
            (&[("retry-after-ms", "0"), ("retry-after", "1")], Some(1000)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")], Some(10_000)),
            (&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0.5s")], Some(360_500)),
            (&[("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "6m0s")], None),
            (&[("retry-after", "soon")], None),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_millis), "{pairs:?}");
        }
    }
}
