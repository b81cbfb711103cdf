//! The API's token counts, and the same in OpenAI's accounting.

use serde::Deserialize;
use serde_json::Value;

use crate::chat::Usage;
use crate::units::Tokens;
use crate::wire::openai::Number;

/// The counts as the API gives them, so far: a later count of a stream replaces an earlier one.
#[derive(Debug, Default)]
pub struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    thinking: Option<u64>,
    web_searches: Option<u64>,
}

impl Counts {
    /// Takes in a `usage` object.
    pub fn update(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let fields = [
            (&mut self.input, "/input_tokens"),
            (&mut self.output, "/output_tokens"),
            (&mut self.cache_read, "/cache_read_input_tokens"),
            (&mut self.cache_write, "/cache_creation_input_tokens"),
            (&mut self.cache_write_1h, "/cache_creation/ephemeral_1h_input_tokens"),
            (&mut self.thinking, "/output_tokens_details/thinking_tokens"),
            (&mut self.web_searches, "/server_tool_use/web_search_requests"),
        ];
        for (count, pointer) in fields {
            let told = usage.pointer(pointer).filter(|told| told.is_number() || told.is_string());
            *count = told.and_then(|told| Number::deserialize(told).ok()).map(|told| told.count).or(*count);
        }
    }

    /// The same as OpenAI counts, if anything was counted.
    pub fn usage(&self) -> Option<Usage> {
        self.input.or(self.output)?;
        let tokens = |count: Option<u64>| Tokens::new(count.unwrap_or_default());
        let (output, read, written) =
            (tokens(self.output), tokens(self.cache_read), tokens(self.cache_write));
        let for_an_hour = tokens(self.cache_write_1h).min(written);
        Some(Usage {
            prompt: tokens(self.input) + read + written,
            completion: output,
            cached: read,
            cache_write: written.saturating_sub(for_an_hour),
            cache_write_1h: for_an_hour,
            reasoning: tokens(self.thinking).min(output),
            web_searches: self.web_searches.unwrap_or_default(),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cached_tokens_are_part_of_the_prompt_and_later_counts_win() {
        let mut counts = Counts::default();
        assert_eq!(counts.usage(), None);
        counts.update(Some(&json!({
            "input_tokens": 10.0, "output_tokens": 1, "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2},
        })));
        counts.update(Some(&json!({
            "input_tokens": null, "output_tokens": "50", "output_tokens_details": {"thinking_tokens": 30},
            "server_tool_use": {"web_search_requests": 2},
        })));
        let expected = Usage {
            prompt: Tokens::new(117),
            completion: Tokens::new(50),
            cached: Tokens::new(100),
            cache_write: Tokens::new(5),
            cache_write_1h: Tokens::new(2),
            reasoning: Tokens::new(30),
            web_searches: 2,
            ..Usage::default()
        };
        assert_eq!(counts.usage(), Some(expected));
    }
}
