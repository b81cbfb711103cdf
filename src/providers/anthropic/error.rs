//! Why the API did not answer: its error types, and the words that tell more than these.

use std::time::SystemTime;

use http::response::Parts;
use serde_json::Value;

use super::rate_limit;
use crate::providers::error::{self, ErrorWords};
use crate::reason::{Class, Failure};

/// The failure that an error answer means.
pub fn classify(head: &Parts, body: &[u8], now: SystemTime) -> Failure {
    let mut failure = error::classify(head, body, now);
    let words = ErrorWords { message: failure.message.clone(), ..ErrorWords::read(body) };
    if failure.class == Class::InvalidRequest
        && let Some((class, credential)) = class_of_message(&words)
    {
        failure.class = class;
        failure.credential = credential;
    }
    failure.retry_after = failure.retry_after.or_else(|| rate_limit::reset(&head.headers, now));
    let id = head.headers.get("request-id").and_then(|id| id.to_str().ok());
    failure.upstream_request_id = id.map(str::to_owned).or_else(|| {
        let body: Value = serde_json::from_slice(body).ok()?;
        request_id(&body)
    });
    failure
}

/// The failure that an error object means where no status tells: in a stream, or in an answer of status 200.
pub fn failure(error: &Value) -> Failure {
    let words = ErrorWords::of(error);
    let (class, credential) = match words.kind.as_deref() {
        Some("authentication_error") => (Class::AuthFailed, true),
        Some("permission_error") => (Class::AuthFailed, false),
        Some("billing_error") => (Class::QuotaExhausted, true),
        Some("not_found_error") => (Class::ModelNotFound, false),
        Some("request_too_large") => (Class::TooLarge, false),
        Some("rate_limit_error") => (Class::RateLimited, false),
        Some("overloaded_error") => (Class::Overloaded, false),
        Some("api_error" | "timeout_error") => (Class::ServerError, false),
        _ => class_of_message(&words).unwrap_or_else(|| {
            let class = error::class_of_words(&words);
            (class, class == Class::QuotaExhausted)
        }),
    };
    let upstream_request_id = request_id(error);
    Failure { credential, upstream_request_id, ..words.failure(class) }
}

/// The failure that bytes mean which are known to report an error, be they JSON or not.
pub fn reported(body: &[u8]) -> Failure {
    serde_json::from_slice(body).map_or_else(
        |_| {
            let words = ErrorWords::read(body);
            let class = error::class_of_words(&words);
            words.failure(class)
        },
        |error| failure(&error),
    )
}

/// What a plain `invalid_request_error` really is, and whether the credential is at fault.
fn class_of_message(words: &ErrorWords) -> Option<(Class, bool)> {
    let classes: [(&[&str], Class, bool); 4] = [
        (&["content filtering policy"], Class::ContentFilter, false),
        (&["reached your specified api usage limits"], Class::QuotaExhausted, true),
        (&["organization has been disabled"], Class::AuthFailed, true),
        // Vertex AI: the model exists, but not there.
        (&["is not servable in region"], Class::ModelNotFound, false),
    ];
    let known = classes.into_iter().find(|(needles, ..)| words.mention(needles));
    known.map(|(_, class, credential)| (class, credential))
}

fn request_id(body: &Value) -> Option<String> {
    body.get("request_id")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_inside_an_answer_is_told_by_its_type_and_words() {
        let cases = [
            ("overloaded_error", "Overloaded", Class::Overloaded, false),
            ("rate_limit_error", "slow down", Class::RateLimited, false),
            ("api_error", "Internal server error", Class::ServerError, false),
            ("authentication_error", "invalid x-api-key", Class::AuthFailed, true),
            ("permission_error", "no access", Class::AuthFailed, false),
            ("billing_error", "pay", Class::QuotaExhausted, true),
            ("not_found_error", "model: x", Class::ModelNotFound, false),
            ("request_too_large", "too large", Class::TooLarge, false),
            (
                "invalid_request_error",
                "prompt is too long: 2 tokens > 1 maximum",
                Class::ContextLength,
                false,
            ),
            ("invalid_request_error", "Your credit balance is too low", Class::QuotaExhausted, true),
            (
                "invalid_request_error",
                "Output blocked by content filtering policy",
                Class::ContentFilter,
                false,
            ),
            ("invalid_request_error", "This organization has been disabled.", Class::AuthFailed, true),
            ("invalid_request_error", "messages.0: wrong", Class::InvalidRequest, false),
            ("novel_error", "?", Class::ServerError, false),
        ];
        for (kind, message, class, credential) in cases {
            let body =
                json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
            let failure = failure(&body);
            assert_eq!((failure.class, failure.credential), (class, credential), "{kind} {message}");
            assert_eq!(failure.message, message);
            assert_eq!(failure.upstream_request_id.as_deref(), Some("req_1"));
        }
    }
}
