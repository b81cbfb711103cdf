//! When a rate limit is over, as the API's headers tell it: the time at which it is full again, in RFC 3339.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::wire::timestamp::rfc3339;

/// The limits that the API counts.
const LIMITS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// How long to wait until all limits of which nothing remains are reset.
pub fn reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: String| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_spent = |limit: &&str| {
        text(format!("anthropic-ratelimit-{limit}-remaining")).is_some_and(|remaining| remaining == "0")
    };
    let resets = LIMITS.into_iter().filter(|limit| is_spent(limit)).filter_map(|limit| {
        let at = text(format!("anthropic-ratelimit-{limit}-reset")).and_then(rfc3339)?;
        Some((SystemTime::UNIX_EPOCH + at).duration_since(now).unwrap_or_default())
    });
    resets.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spent_limits_count() {
        let mut headers = HeaderMap::new();
        let fields = [
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T01:00:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:09Z"),
        ];
        for (name, value) in fields {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(reset(&headers, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(9)));
    }
}
