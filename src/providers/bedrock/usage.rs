//! The API's token counts in OpenAI's accounting: its input leaves out what the cache read or wrote.

use serde::Deserialize;

use crate::chat::Usage;
use crate::units::Tokens;
use crate::wire::openai::Number;

/// `TokenUsage`. The cache's counts come under two names, mostly both.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    input_tokens: Option<Number>,
    output_tokens: Option<Number>,
    cache_read_input_tokens: Option<Number>,
    cache_read_input_token_count: Option<Number>,
    cache_write_input_tokens: Option<Number>,
    cache_write_input_token_count: Option<Number>,
    cache_details: Option<Vec<Detail>>,
}

/// What was written to the cache for one time.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    ttl: Option<String>,
    input_tokens: Option<Number>,
}

impl Counts {
    /// The same as OpenAI counts, if anything was counted.
    pub fn usage(&self) -> Option<Usage> {
        self.input_tokens.or(self.output_tokens)?;
        let tokens = |count: Option<Number>| Tokens::new(count.unwrap_or_default().count);
        let read = tokens(self.cache_read_input_tokens.or(self.cache_read_input_token_count));
        let written = tokens(self.cache_write_input_tokens.or(self.cache_write_input_token_count));
        let details = self.cache_details.iter().flatten();
        let for_an_hour = details
            .filter(|detail| detail.ttl.as_deref() == Some("1h"))
            .fold(Tokens::ZERO, |sum, detail| sum + tokens(detail.input_tokens))
            .min(written);
        Some(Usage {
            prompt: tokens(self.input_tokens) + read + written,
            completion: tokens(self.output_tokens),
            cached: read,
            cache_write: written.saturating_sub(for_an_hour),
            cache_write_1h: for_an_hour,
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(counts: serde_json::Value) -> Option<Usage> {
        serde_json::from_value::<Counts>(counts).unwrap().usage()
    }

    #[test]
    fn the_cache_is_part_of_the_prompt_under_either_name() {
        let expected = Usage {
            prompt: Tokens::new(3 + 1712 + 236),
            completion: Tokens::new(121),
            cached: Tokens::new(1712),
            cache_write: Tokens::new(36),
            cache_write_1h: Tokens::new(200),
            ..Usage::default()
        };
        let details = json!([{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 36}, {}]);
        for (read, write) in [
            ("cacheReadInputTokens", "cacheWriteInputTokens"),
            ("cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
        ] {
            let counts = json!({"inputTokens": 3, "outputTokens": 121.0, read: 1712, write: 236, "cacheDetails": details});
            assert_eq!(usage(counts), Some(expected), "{read}");
        }
        assert_eq!(usage(json!({"totalTokens": 5, "cacheDetails": null})), None);
    }
}
