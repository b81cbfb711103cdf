//! Why the API did not answer: `{"id", "message"}`, sometimes with an `error_type`.

use std::time::SystemTime;

use http::response::Parts;
use serde_json::Value;

use crate::providers::error::{self, ErrorWords};
use crate::reason::{Class, Failure};

/// The failure that an error answer means.
pub fn classify(head: &Parts, body: &[u8], now: SystemTime) -> Failure {
    let mut failure = error::classify(head, body, now);
    let words = ErrorWords { message: failure.message.clone(), ..ErrorWords::default() };
    let (class, credential) = match head.status.as_u16() {
        400 | 403 | 422 | 498 if is_blocked(&words) => (Class::ContentFilter, false),
        // The API's own "invalid token".
        498 => (Class::AuthFailed, true),
        // Its own "client closed request".
        499 => (Class::ServerError, false),
        // A trial key's month is not over soon.
        429 if words.mention(&["/ month", "per month", "calls / month"]) => (Class::QuotaExhausted, true),
        _ => (failure.class, failure.credential),
    };
    failure.class = class;
    failure.credential = credential;
    if let Ok(body) = serde_json::from_slice(body) {
        amend(&mut failure, &body);
    }
    failure
}

/// The failure of an answer of status 200 that reports an error: at its end, or in an answer's place.
pub fn in_answer(told: &Value) -> Failure {
    let text = |name: &str| told.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let reason = text("finish_reason").unwrap_or("an error");
    let message = text("error").or_else(|| text("message"));
    let message =
        message.map_or_else(|| format!("The upstream ended its answer with {reason}."), str::to_owned);
    let words = ErrorWords { message, code: text("error_type").map(str::to_owned), ..ErrorWords::default() };
    let class = if is_blocked(&words) { Class::ContentFilter } else { error::class_of_words(&words) };
    let mut failure = words.failure(class);
    failure.credential = class == Class::QuotaExhausted;
    amend(&mut failure, told);
    failure
}

fn amend(failure: &mut Failure, body: &Value) {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    failure.code = text("error_type").or(failure.code.take());
    failure.upstream_request_id = text("id");
}

fn is_blocked(words: &ErrorWords) -> bool {
    words.mention(&["blocked input", "blocked output", "has been blocked"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ending_in_error_says_what_the_upstream_said() {
        let told = json!({"finish_reason": "ERROR", "error": "invalid tool generation", "error_type": "INVALID_TOOL_GENERATION"});
        let failure = in_answer(&told);
        assert_eq!(
            (failure.class, failure.message.as_str()),
            (Class::ServerError, "invalid tool generation")
        );
        assert_eq!(failure.code.as_deref(), Some("INVALID_TOOL_GENERATION"));
        assert!(in_answer(&json!({"finish_reason": "TIMEOUT"})).message.contains("TIMEOUT"));
        let blocked = in_answer(&json!({"finish_reason": "ERROR", "error": "blocked output: see our terms"}));
        assert_eq!(blocked.class, Class::ContentFilter);
        let long = in_answer(&json!({"id": "r1", "error": "x", "error_type": "TOO_MANY_TOKENS"}));
        assert_eq!((long.class, long.upstream_request_id.as_deref()), (Class::ContextLength, Some("r1")));
    }
}
