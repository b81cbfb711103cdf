//! Errors in OpenAI's shape. Which one a chain that did not serve comes to is [`verdict`](super::verdict)'s to say.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::chat::request::Invalid;
use crate::config::redact;

/// SDKs obey it: without it they would repeat what Piton has repeated already.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The longest wait after which a client's own retry makes sense.
const RETRY_SOON: Duration = Duration::from_secs(30);
/// How much of an upstream's words is passed on.
const WORDS: usize = 1024;

/// An error answer.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// OpenAI's `type`.
    pub kind: String,
    pub param: Option<String>,
    pub code: Option<String>,
    pub retry_after: Option<Duration>,
    /// What log and metrics call it.
    pub outcome: &'static str,
}

/// What log and metrics call a request whose client went before its answer was whole.
pub const CLIENT_CANCELLED: &str = "client_cancelled";
/// The status that they give it: nobody else sees it.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;
/// What the log calls a request that asked for its plan only.
pub const EXPLAINED: &str = "explained";

/// OpenAI's `type` of errors that are the client's.
pub const INVALID_REQUEST: &str = "invalid_request_error";
/// OpenAI's `type` of errors that are not.
pub const SERVER_ERROR: &str = "server_error";

impl ApiError {
    /// An error of the client's, with nothing else to say.
    pub fn new(status: StatusCode, code: Option<&str>, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() { SERVER_ERROR } else { INVALID_REQUEST };
        Self {
            status,
            message: message.into(),
            kind: kind.into(),
            param: None,
            code: code.map(str::to_owned),
            retry_after: None,
            outcome: "rejected",
        }
    }

    /// 400.
    pub fn bad_request(param: Option<&str>, message: impl Into<String>) -> Self {
        Self { param: param.map(str::to_owned), ..Self::new(StatusCode::BAD_REQUEST, None, message) }
    }

    /// 400 for a key or header that a later version will know.
    pub fn not_supported(what: &str) -> Self {
        let message = format!("{what} is not supported by this version.");
        Self::new(StatusCode::BAD_REQUEST, Some("not_supported"), message)
    }

    /// 401.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    /// 403.
    pub fn forbidden(code: &str, message: impl Into<String>) -> Self {
        Self { kind: "permission_error".into(), ..Self::new(StatusCode::FORBIDDEN, Some(code), message) }
    }

    /// 404 for a path.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Some("not_found"), message)
    }

    /// 405.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_allowed"), message)
    }

    /// 503 because Piton itself is at a limit; it passes soon.
    pub fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            outcome: "busy",
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("busy"), message)
        }
    }

    /// For nobody: the client went before its request was whole.
    pub fn client_gone() -> Self {
        let status = StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST);
        Self { outcome: CLIENT_CANCELLED, ..Self::new(status, None, "The client went away.") }
    }

    /// The error object.
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        } })
    }

    fn is_worth_a_retry(&self) -> bool {
        let passes = matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        passes && self.retry_after.is_some_and(|wait| wait <= RETRY_SOON)
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::bad_request(invalid.param.as_deref(), invalid.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        let should_retry = if self.is_worth_a_retry() { "true" } else { "false" };
        headers.insert(X_SHOULD_RETRY, HeaderValue::from_static(should_retry));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// An upstream's words as a client may read them: keys masked, not too long.
pub fn quotable(words: &str) -> String {
    let words = redact::text(words);
    if words.len() <= WORDS {
        return words;
    }
    let end = (0..=WORDS - 3).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &words[..end])
}

/// Rounded up: a client that comes a moment too early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdks_are_told_to_retry_only_what_passes_soon() {
        let busy = ApiError::busy("x");
        let later = ApiError { retry_after: Some(Duration::from_secs(31)), ..busy.clone() };
        let other = ApiError { status: StatusCode::BAD_GATEWAY, ..busy.clone() };
        let verdict = |error: ApiError| error.into_response().headers()[X_SHOULD_RETRY].clone();
        assert_eq!(verdict(busy), "true");
        assert_eq!(verdict(later), "false");
        assert_eq!(verdict(other), "false");
    }

    #[test]
    fn quoted_words_are_short_and_hold_no_keys() {
        let words =
            quotable(&format!("Incorrect API key provided: sk-abcdefghijklmnop {}", "é".repeat(2000)));
        assert!(!words.contains("abcdefghijklmnop") && words.len() <= WORDS && words.ends_with("..."));
    }
}
