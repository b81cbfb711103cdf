//! Token counts in OpenAI's accounting, whatever the provider's own.

use serde_json::{Value, json};

use crate::units::{Cost, Tokens};

/// What one answer used. Cached tokens and cache writes are part of `prompt`, reasoning part of `completion`;
/// the total is the sum of those two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: Tokens,
    pub completion: Tokens,
    /// Part of `prompt` that was read from a cache.
    pub cached: Tokens,
    /// Part of `prompt` that was written to a cache for the shorter time (Anthropic: 5 minutes).
    pub cache_write: Tokens,
    /// Part of `prompt` that was written to a cache for an hour.
    pub cache_write_1h: Tokens,
    /// Part of `completion` that the caller does not see as text.
    pub reasoning: Tokens,
    /// Part of `prompt` that is audio.
    pub audio_input: Tokens,
    /// Part of `completion` that is audio.
    pub audio_output: Tokens,
    /// The web searches that the provider made, and bills, for this answer.
    pub web_searches: u64,
    /// The provider's own price of this answer, where it states one.
    pub cost: Option<Cost>,
}

impl Usage {
    /// Prompt and completion together.
    pub fn total(&self) -> Tokens {
        self.prompt + self.completion
    }

    /// OpenAI's `usage` object.
    pub fn to_json(self) -> Value {
        let mut prompt_details = json!({ "cached_tokens": self.cached, "audio_tokens": self.audio_input });
        let written = self.cache_write + self.cache_write_1h;
        if written > Tokens::ZERO {
            prompt_details["cache_write_tokens"] = json!(written);
        }
        let mut usage = json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.total(),
            "prompt_tokens_details": prompt_details,
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": self.audio_output,
            },
        });
        if self.web_searches > 0 {
            usage["server_tool_use"] = json!({ "web_search_requests": self.web_searches });
        }
        usage
    }
}
