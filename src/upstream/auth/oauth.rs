//! The answer of an OAuth token server.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::caller::unreadable;
use super::renewed::Fetched;
use crate::clock;
use crate::reason::Failure;

#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    /// Seconds; some servers write them as a string.
    expires_in: Option<Value>,
    /// Seconds since the Unix epoch, where that is what the server says.
    expires_on: Option<Value>,
}

/// Where the server does not say how long its token is good, it is asked again soon.
const UNTOLD: Duration = Duration::from_mins(5);

/// The token of an answer.
pub fn token(answer: &[u8], whose: &str) -> Result<Fetched<SecretString>, Failure> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| unreadable(whose))?;
    if answer.access_token.expose_secret().is_empty() {
        return Err(unreadable(whose));
    }
    let until = || {
        let end = seconds(answer.expires_on.as_ref())?;
        Some(end.saturating_sub(clock::since_epoch()))
    };
    let lifetime = seconds(answer.expires_in.as_ref()).or_else(until).unwrap_or(UNTOLD);
    Ok(Fetched { value: answer.access_token, lifetime: Some(lifetime) })
}

fn seconds(value: Option<&Value>) -> Option<Duration> {
    let value = value?;
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_nothing_is_none() {
        for answer in [r#"{"access_token":"","expires_in":3600}"#, r#"{"access_token":null}"#, "{}", "<html>"]
        {
            assert!(token(answer.as_bytes(), "x").is_err(), "{answer}");
        }
    }

    #[test]
    fn lives_are_told_in_several_ways() {
        let life = |json: &str| {
            let fetched = token(json.as_bytes(), "x").unwrap();
            assert_eq!(fetched.value.expose_secret(), "t");
            fetched.lifetime.unwrap().as_secs()
        };
        assert_eq!(life(r#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#), 3599);
        assert_eq!(life(r#"{"access_token":"t","expires_in":"3599","expires_on":"1"}"#), 3599);
        let soon = clock::unix_seconds() + 1000;
        assert!((990..=1000).contains(&life(&format!(r#"{{"access_token":"t","expires_on":"{soon}"}}"#))));
        assert_eq!(life(r#"{"access_token":"t","expires_on":1}"#), 0);
        assert_eq!(life(r#"{"access_token":"t","expires_in":-1}"#), 300);
        assert!(token(br#"{"token":"hunter2"}"#, "x").is_err());
    }
}
