//! What a request says to Piton itself, in headers or in its metadata.

use std::time::Duration;

use axum::http::HeaderMap;

use super::error::ApiError;
use crate::chat::request::OwnFields;
use crate::config::FromText;
use crate::config::value::Timeout;
use crate::units::Cost;

/// The `x-piton-` settings of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    pub task: Option<String>,
    pub tier: Option<String>,
    pub user: Option<String>,
    pub session: Option<String>,
    /// Lowers the chain's deadline.
    pub deadline: Option<Duration>,
    /// Lowers what a request may cost.
    pub max_cost: Option<Cost>,
    pub no_fallback: bool,
    pub wants_receipt: bool,
    /// The plan, not the answer.
    pub wants_plan: bool,
}

/// The longest label that a client may set, in bytes.
const LABEL: usize = 256;

impl Settings {
    /// Reads them; a header wins over the metadata.
    pub fn read(headers: &HeaderMap, own: &OwnFields) -> Result<Self, ApiError> {
        if headers.contains_key("idempotency-key") {
            return Err(ApiError::not_supported("The header `Idempotency-Key`"));
        }
        let mut settings = Self::default();
        for (name, value) in &own.settings {
            settings.set(name, value, &format!("metadata.piton_{name}"))?;
        }
        for (header, value) in headers {
            let Some(name) = header.as_str().strip_prefix("x-piton-") else { continue };
            let place = format!("The header `{header}`");
            let value = value
                .to_str()
                .map_err(|_| ApiError::bad_request(None, format!("{place} is not plain text.")))?;
            settings.set(&name.replace('-', "_"), value, &place)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str, place: &str) -> Result<(), ApiError> {
        let value = value.trim();
        let fault = |expected: &str| ApiError::bad_request(None, format!("{place} must be {expected}."));
        // An empty one is none.
        let label = || {
            let fits = value.len() <= LABEL;
            let label = (!value.is_empty()).then(|| value.to_owned());
            fits.then_some(label).ok_or_else(|| fault("at most 256 bytes"))
        };
        match name {
            "task" => self.task = label()?,
            "tier" => self.tier = label()?,
            "user" => self.user = label()?,
            "session" => self.session = label()?,
            "deadline" => {
                let deadline = Timeout::from_text(value).map_err(|_| fault("a duration such as \"5s\""))?;
                self.deadline = Some(deadline.0);
            }
            "max_cost" => {
                let cost = value.parse().ok().and_then(Cost::from_usd);
                self.max_cost = Some(cost.ok_or_else(|| fault("an amount in USD such as 0.01"))?);
            }
            "fallback" => {
                self.no_fallback = match value {
                    "off" => true,
                    "on" => false,
                    _ => return Err(fault("\"off\" or \"on\"")),
                };
            }
            "receipt" => self.wants_receipt = truth(value).ok_or_else(|| fault("true or false"))?,
            "explain" => self.wants_plan = truth(value).ok_or_else(|| fault("true or false"))?,
            _ => return Err(ApiError::bad_request(None, format!("{place} is not known here."))),
        }
        Ok(())
    }
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)], metadata: &[(&str, &str)]) -> Result<Settings, ApiError> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let settings = metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Settings::read(&headers, &OwnFields { settings, ..OwnFields::default() })
    }

    #[test]
    fn a_header_wins_over_metadata() {
        let settings =
            read(&[("x-piton-deadline", "2s"), ("x-piton-fallback", "off")], &[("deadline", "9s")]).unwrap();
        assert_eq!(settings.deadline, Some(Duration::from_secs(2)));
        assert!(settings.no_fallback);
    }

    #[test]
    fn an_empty_label_is_none() {
        let said =
            [("x-piton-task", ""), ("x-piton-tier", "gold"), ("x-piton-user", " "), ("x-piton-session", "")];
        let settings = read(&said, &[("task", "code"), ("user", "ann")]).unwrap();
        assert_eq!((settings.task, settings.tier.as_deref()), (None, Some("gold")));
        assert_eq!((settings.user, settings.session), (None, None));
    }

    #[test]
    fn no_label_begins_or_ends_with_a_space() {
        let settings = read(&[], &[("task", " surplus\u{a0}"), ("session", "\t\n")]).unwrap();
        assert_eq!((settings.task.as_deref(), settings.session), (Some("surplus"), None));
    }

    #[test]
    fn nothing_is_accepted_in_silence() {
        for (name, value) in [
            ("x-piton-deadline", "5"),
            ("x-piton-max-cost", "-1"),
            ("x-piton-fallback", "maybe"),
            ("x-piton-explain", "yes"),
            ("x-piton-nonsense", "1"),
            ("idempotency-key", "k"),
        ] {
            assert!(read(&[(name, value)], &[]).is_err(), "{name}");
        }
    }
}
