//! Why Gemini refused: Google's status words and error details, where they say more than the HTTP status.

use std::time::{Duration, SystemTime};

use http::response::Parts;
use serde_json::Value;

use crate::providers::error::{self, ErrorWords, class_of_words, spoken_duration};
use crate::reason::{Class, Failure};

/// Reads an error answer.
pub fn classify(head: &Parts, body: &[u8], now: SystemTime) -> Failure {
    let failure = error::classify(head, body, now);
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => refine(failure, &value),
        Err(_) => failure,
    }
}

/// Reads an error that came with status 200, alone or in a stream.
pub fn of_value(value: &Value) -> Failure {
    let words = ErrorWords::of(value);
    let class = class_of_words(&words);
    refine(words.failure(class), value)
}

/// What the safety system refused.
pub fn blocked(what: &str, reason: &str, words: Option<&str>) -> Failure {
    let words = words.map_or_else(String::new, |words| format!(" {words}"));
    let message = format!("The provider's safety system blocked the {what}: {reason}.{words}");
    Failure { code: Some("content_filter".into()), ..Failure::new(Class::ContentFilter, message) }
}

fn refine(mut failure: Failure, body: &Value) -> Failure {
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error").unwrap_or(body);
    let status = error.get("status").and_then(Value::as_str).unwrap_or_default();
    let details = Details::of(error);
    let (class, credential) = class(&failure, status, details.reason);
    failure.class = class;
    failure.credential = credential;
    // `code` is the HTTP status once more; the words tell a program more.
    failure.code = details.reason.map(str::to_owned).or_else(|| (!status.is_empty()).then(|| status.into()));
    if may_pass(class) {
        let told = details.retry_delay.or_else(|| retry_in(&failure.message));
        failure.retry_after = told.or(failure.retry_after);
    }
    failure
}

/// The class, and whether the credential itself is at fault.
fn class(failure: &Failure, status: &str, reason: Option<&str>) -> (Class, bool) {
    let message = failure.message.to_ascii_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|needle| message.contains(needle));
    match reason {
        Some("BILLING_DISABLED") => return (Class::QuotaExhausted, true),
        Some(reason) if reason.starts_with("API_KEY_") || CREDENTIAL_REASONS.contains(&reason) => {
            return (Class::AuthFailed, true);
        }
        Some(_) | None => {}
    }
    match status {
        _ if failure.class == Class::ContextLength => (Class::ContextLength, false),
        "RESOURCE_EXHAUSTED" if says(BILLING) => (Class::QuotaExhausted, true),
        // The plan has none of this model, ever; other models on the same key are not touched.
        "RESOURCE_EXHAUSTED" if has_no_quota(&message) => (Class::QuotaExhausted, false),
        // "You exceeded your current quota" is what every limit says here, the one per minute too.
        "RESOURCE_EXHAUSTED" => (Class::RateLimited, false),
        "UNAVAILABLE" => (Class::Overloaded, false),
        "INTERNAL" | "UNKNOWN" | "DEADLINE_EXCEEDED" | "CANCELLED" | "ABORTED" | "DATA_LOSS" => {
            (Class::ServerError, false)
        }
        "UNAUTHENTICATED" => (Class::AuthFailed, true),
        "PERMISSION_DENIED" => (Class::AuthFailed, says(&["api key", "api_key", "suspended"])),
        "NOT_FOUND" => (Class::ModelNotFound, false),
        "FAILED_PRECONDITION" if says(&["billing"]) => (Class::QuotaExhausted, true),
        // The place that Piton runs in, which no request can mend and a person must.
        "FAILED_PRECONDITION" if says(&["location", "country", "region"]) => (Class::AuthFailed, true),
        "UNIMPLEMENTED" => (Class::InvalidRequest, false),
        "INVALID_ARGUMENT" if says(&["payload size exceeds"]) => (Class::TooLarge, false),
        _ => (failure.class, failure.credential),
    }
}

/// Reasons of `google.rpc.ErrorInfo` that blame the key or its project.
const CREDENTIAL_REASONS: [&str; 5] = [
    "ACCESS_TOKEN_EXPIRED",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    "CONSUMER_INVALID",
    "CONSUMER_SUSPENDED",
    "SERVICE_DISABLED",
];

/// What tells money from a rate.
const BILLING: &[&str] = &[
    "credits are depleted",
    "spending cap",
    "spend cap",
    "billing account",
    "billing is disabled",
    "dunning",
];

/// Whether a limit of nothing is what was exceeded.
fn has_no_quota(message: &str) -> bool {
    message.match_indices("limit: 0").any(|(at, found)| {
        let next = message[at + found.len()..].chars().next();
        next.is_none_or(|next| !next.is_ascii_digit() && next != '.')
    })
}

/// Whether waiting may help, so that a delay is worth reading.
fn may_pass(class: Class) -> bool {
    matches!(class, Class::RateLimited | Class::Overloaded | Class::ServerError)
}

/// What the typed details of an error say.
#[derive(Default)]
struct Details<'a> {
    reason: Option<&'a str>,
    retry_delay: Option<Duration>,
}

impl<'a> Details<'a> {
    fn of(error: &'a Value) -> Self {
        let details = error.get("details").and_then(Value::as_array);
        let mut read = Self::default();
        for detail in details.into_iter().flatten() {
            let text = |name: &str| detail.get(name).and_then(Value::as_str);
            let kind = text("@type").unwrap_or_default();
            if kind.ends_with("google.rpc.ErrorInfo") {
                read.reason = read.reason.or(text("reason"));
            } else if kind.ends_with("google.rpc.RetryInfo") {
                read.retry_delay = read.retry_delay.or(text("retryDelay").and_then(spoken_duration));
            }
        }
        read
    }
}

/// "Please retry in 48.9s."
fn retry_in(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("retry in ")?;
    spoken_duration(rest.split_whitespace().next()?.trim_end_matches(['.', ',']))
}

#[cfg(test)]
mod tests {
    use http::Response;
    use serde_json::json;

    use super::*;

    fn failure(status: u16, body: &Value) -> Failure {
        let (head, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
        classify(&head, body.to_string().as_bytes(), SystemTime::UNIX_EPOCH)
    }

    fn error(code: u16, status: &str, message: &str, details: &Value) -> Value {
        json!({"error": {"code": code, "message": message, "status": status, "details": details}})
    }

    fn info(reason: &str) -> Value {
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}])
    }

    #[test]
    fn status_words_and_reasons_make_the_class() {
        let none = json!([]);
        let cases = [
            (400, "INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID"), Class::AuthFailed, true),
            (403, "PERMISSION_DENIED", "Blocked.", info("API_KEY_SERVICE_BLOCKED"), Class::AuthFailed, true),
            (403, "PERMISSION_DENIED", "Not used before.", info("SERVICE_DISABLED"), Class::AuthFailed, true),
            (
                403,
                "PERMISSION_DENIED",
                "Your API key was reported as leaked.",
                none.clone(),
                Class::AuthFailed,
                true,
            ),
            (403, "PERMISSION_DENIED", "No access to this model.", none.clone(), Class::AuthFailed, false),
            (401, "UNAUTHENTICATED", "x", none.clone(), Class::AuthFailed, true),
            (
                404,
                "NOT_FOUND",
                "models/x is not found for API version v1beta",
                none.clone(),
                Class::ModelNotFound,
                false,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
                none.clone(),
                Class::ContextLength,
                false,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "Request payload size exceeds the limit: 20971520 bytes.",
                none.clone(),
                Class::TooLarge,
                false,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "Please use a valid role: user, model.",
                none.clone(),
                Class::InvalidRequest,
                false,
            ),
            (
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
                none.clone(),
                Class::AuthFailed,
                true,
            ),
            (
                400,
                "FAILED_PRECONDITION",
                "Please enable billing on your project.",
                none.clone(),
                Class::QuotaExhausted,
                true,
            ),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "Your prepayment credits are depleted.",
                none.clone(),
                Class::QuotaExhausted,
                true,
            ),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded for metric: m, limit: 0, model: x",
                none.clone(),
                Class::QuotaExhausted,
                false,
            ),
            (
                429,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded for metric: m, limit: 0.5, model: x",
                none.clone(),
                Class::RateLimited,
                false,
            ),
            (499, "CANCELLED", "x", none.clone(), Class::ServerError, false),
            (500, "INTERNAL", "x", none.clone(), Class::ServerError, false),
            (501, "UNIMPLEMENTED", "x", none.clone(), Class::InvalidRequest, false),
            (503, "UNAVAILABLE", "The model is overloaded.", none.clone(), Class::Overloaded, false),
            (504, "DEADLINE_EXCEEDED", "x", none.clone(), Class::ServerError, false),
        ];
        for (code, status, message, details, class, credential) in cases {
            let body = error(code, status, message, &details);
            for read in [failure(code, &body), of_value(&body), of_value(&json!([body]))] {
                assert_eq!((read.class, read.credential), (class, credential), "{code} {message}");
                assert_eq!(read.message, message);
                assert_eq!(read.kind.as_deref(), Some(status));
            }
        }
    }

    #[test]
    fn a_daily_limit_is_a_rate_limit_that_says_when_to_come_again() {
        let message = "You exceeded your current quota, please check your plan and billing details. \
                       * Quota exceeded for metric: generate_content_free_tier_requests, limit: 50\n\
                       Please retry in 25.5s.";
        let violations = json!([{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]);
        let details =
            json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}]);
        let read = failure(429, &error(429, "RESOURCE_EXHAUSTED", message, &details));
        assert_eq!(read.class, Class::RateLimited);
        assert_eq!(read.retry_after, Some(Duration::from_millis(25_500)));
        assert_eq!(read.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert_eq!(read.status, Some(429));
    }

    #[test]
    fn any_body_has_a_class() {
        for body in
            [json!(null), json!("x"), json!([]), json!({"error": "x"}), json!({"error": {"details": [1]}})]
        {
            assert_eq!(failure(503, &body).class, Class::Overloaded, "{body}");
            assert_eq!(of_value(&body).class, Class::ServerError, "{body}");
        }
        let (head, ()) = Response::builder().status(502).body(()).unwrap().into_parts();
        assert_eq!(classify(&head, b"<html>", SystemTime::UNIX_EPOCH).class, Class::ServerError);
    }
}
