//! A caller's limits over HTTP: the headers that say how they stand, and the answer to who has to wait.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::error::ApiError;
use crate::routing::quota::{Kind, Quota, Refused, Standing};

/// Limit, remainder, and the time until all of it is there again.
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Says how the limits stand, as OpenAI says it.
pub fn tell(quota: &Quota, headers: &mut HeaderMap) {
    let now = Instant::now();
    for (names, standing) in [(REQUESTS, quota.requests(now)), (TOKENS, quota.tokens(now))] {
        let Some(Standing { limit, remaining, reset }) = standing else { continue };
        let [of_limit, of_remaining, of_reset] = names;
        headers.insert(of_limit, HeaderValue::from(limit));
        headers.insert(of_remaining, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::try_from(lasting(reset)) {
            headers.insert(of_reset, reset);
        }
    }
}

/// 429 for a caller that has to wait, or asks for more than it may have at all.
pub fn refusal(key: &str, refused: Refused) -> ApiError {
    let Refused { of, limit, taken, asked, wait } = refused;
    let (kind, what) = match of {
        Kind::Requests => ("requests", "requests per minute"),
        Kind::Tokens => ("tokens", "tokens per minute"),
        Kind::Concurrency => ("requests", "requests at the same time"),
    };
    let advice = match wait {
        Some(wait) => format!("Please try again in {}.", lasting(wait)),
        None => "The request is too large for this limit: make it shorter, or set a smaller max_tokens."
            .to_owned(),
    };
    let message = format!(
        "Rate limit reached for the key `{key}` on {what}: limit {limit}, used {taken}, requested {asked}. {advice}"
    );
    ApiError {
        kind: kind.into(),
        retry_after: wait,
        outcome: "key_limit",
        ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, Some("rate_limit_exceeded"), message)
    }
}

/// A duration in OpenAI's form: `17ms`, `1s`, `8.64s`, `6m0s`, `1h0m0s`.
fn lasting(time: Duration) -> String {
    let milliseconds = time.as_millis();
    if (1..1000).contains(&milliseconds) {
        return format!("{milliseconds}ms");
    }
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    // Writing to a String cannot fail.
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if rest > 0 {
        let fraction = format!("{rest:03}");
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_openais_form() {
        let told = |milliseconds| lasting(Duration::from_millis(milliseconds));
        let cases =
            [(0, "0s"), (17, "17ms"), (1000, "1s"), (8640, "8.64s"), (59_999, "59.999s"), (60_000, "1m0s")];
        let more = [(360_000, "6m0s"), (86_400, "1m26.4s"), (3_600_000, "1h0m0s"), (3_661_001, "1h1m1.001s")];
        for (milliseconds, text) in cases.into_iter().chain(more) {
            assert_eq!(told(milliseconds), text);
        }
    }

    #[test]
    fn who_asks_for_too_much_is_not_told_to_try_again() {
        let refused = Refused { of: Kind::Tokens, limit: 100, taken: 0, asked: 200, wait: None };
        let error = refusal("app", refused);
        assert_eq!((error.status.as_u16(), error.kind.as_ref(), error.retry_after), (429, "tokens", None));
        assert!(
            error.message.contains("limit 100, used 0, requested 200. The request is too large"),
            "{}",
            error.message
        );
    }
}
