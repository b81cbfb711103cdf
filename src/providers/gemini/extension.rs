//! What only Google has, in the places where users of Google's own OpenAI endpoint put it: `extra_body.google`, or `google`
//! where a client's library spreads its `extra_body` over the body. It wins over what OpenAI's fields say.

use serde::Deserialize;
use serde_json::Value;

use super::wire::ThinkingConfig;
use crate::chat::ChatRequest;
use crate::chat::request::Invalid;

/// Google's own fields.
#[derive(Debug, Default, Deserialize)]
pub struct Extension {
    #[serde(alias = "thinkingConfig")]
    pub thinking_config: Option<Thinking>,
    /// The name of a cached prefix.
    #[serde(alias = "cachedContent")]
    pub cached_content: Option<String>,
    /// As Gemini takes them.
    #[serde(alias = "safetySettings")]
    pub safety_settings: Option<Value>,
    /// Whatever else stands there.
    #[serde(flatten)]
    unknown: serde_json::Map<String, Value>,
}

#[derive(Debug, Deserialize)]
pub struct Thinking {
    #[serde(alias = "includeThoughts")]
    include_thoughts: Option<bool>,
    #[serde(alias = "thinkingBudget")]
    thinking_budget: Option<i64>,
    #[serde(alias = "thinkingLevel")]
    thinking_level: Option<String>,
}

#[derive(Deserialize)]
struct ExtraBody {
    google: Option<Extension>,
    /// What is meant for another provider.
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

impl Extension {
    /// Reads both places; what stands in `extra_body` comes first.
    pub fn of(request: &ChatRequest) -> Result<Self, Invalid> {
        let (nested, spread) = (request.member("extra_body"), request.member("google"));
        if nested.is_none() && spread.is_none() {
            return Ok(Self::default());
        }
        let unreadable = |param: &str, error: &serde_json::Error| {
            Invalid::at(param, format!("`{param}` cannot be read: {error}."))
        };
        let nested: Option<ExtraBody> = match nested {
            Some(json) => {
                serde_json::from_str(json).map_err(|error| unreadable("extra_body.google", &error))?
            }
            None => None,
        };
        let spread: Option<Self> = match spread {
            Some(json) => serde_json::from_str(json).map_err(|error| unreadable("google", &error))?,
            None => None,
        };
        let (first, others) = nested.map_or_else(Default::default, |body| (body.google, body.others));
        let first = first.unwrap_or_default();
        let second = spread.unwrap_or_default();
        Ok(Self {
            thinking_config: first.thinking_config.or(second.thinking_config),
            cached_content: first.cached_content.or(second.cached_content),
            safety_settings: first.safety_settings.or(second.safety_settings),
            unknown: first.unknown.into_iter().chain(second.unknown).chain(others).collect(),
        })
    }

    /// Whether something in it is not known here, and so not sent.
    pub fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }
}

impl Thinking {
    /// As it is sent.
    pub fn config(&self) -> ThinkingConfig {
        ThinkingConfig {
            include_thoughts: self.include_thoughts,
            thinking_level: self.thinking_level.as_ref().map(|level| level.to_ascii_lowercase().into()),
            thinking_budget: self.thinking_budget,
        }
    }

    /// The tokens that it lets thinking take, where it says so.
    pub fn allowance(&self) -> u64 {
        self.thinking_budget.and_then(|budget| u64::try_from(budget).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn read(more: &Value) -> Result<Extension, Invalid> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Extension::of(&ChatRequest::parse(Bytes::from(body.to_string())).unwrap())
    }

    #[test]
    fn both_places_and_both_spellings_are_read() {
        let google = json!({"thinking_config": {"thinking_budget": 800, "include_thoughts": true}, "cached_content": "c/1"});
        for place in [json!({"extra_body": {"google": google}}), json!({"google": google})] {
            let extension = read(&place).unwrap();
            let thinking = extension.thinking_config.as_ref().unwrap();
            assert_eq!(thinking.allowance(), 800);
            assert_eq!(
                serde_json::to_value(thinking.config()).unwrap(),
                json!({"includeThoughts": true, "thinkingBudget": 800})
            );
            assert_eq!(extension.cached_content.as_deref(), Some("c/1"));
            assert!(!extension.has_unknown());
        }
        let level = read(&json!({"google": {"thinkingConfig": {"thinkingLevel": "LOW"}, "new": 1}})).unwrap();
        assert!(level.has_unknown());
        let level = level.thinking_config.unwrap();
        assert_eq!(level.allowance(), 0);
        assert_eq!(serde_json::to_value(level.config()).unwrap(), json!({"thinkingLevel": "low"}));
    }

    #[test]
    fn nothing_is_nothing_and_nonsense_is_the_clients_fault() {
        for nothing in [json!({}), json!({"extra_body": null, "google": null}), json!({"extra_body": {}})] {
            let extension = read(&nothing).unwrap();
            assert!(extension.thinking_config.is_none() && !extension.has_unknown(), "{nothing}");
        }
        assert!(read(&json!({"extra_body": {"other": 1}})).unwrap().has_unknown());
        let fault = read(&json!({"extra_body": {"google": {"thinking_config": 7}}})).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("extra_body.google"));
    }
}
