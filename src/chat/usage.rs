//! Token counts in OpenAI's accounting, whatever the provider's own.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
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

const MOST_TOKENS: Tokens = Tokens::new(1_000_000_000);
const MOST_SEARCHES: u64 = 100_000;
const MOST_USD: f64 = 1e6;

impl Usage {
    /// Prompt and completion together.
    pub fn total(&self) -> Tokens {
        self.prompt + self.completion
    }

    /// Whether an answer can have used that: no model takes or writes so many tokens, and no answer costs so much. Sums
    /// of what budgets and bills are made of could not hold what some servers state in error.
    pub fn is_plausible(&self) -> bool {
        let is_cost = self.cost.is_none_or(|cost| cost.usd() <= MOST_USD);
        self.prompt.max(self.completion) <= MOST_TOKENS && self.web_searches <= MOST_SEARCHES && is_cost
    }

    /// OpenAI's `usage` object.
    pub fn to_json(self) -> Value {
        json!(self)
    }
}

/// As OpenAI's `usage` object.
impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = self.cache_write + self.cache_write_1h;
        let prompt_details = PromptDetails {
            cached_tokens: self.cached,
            audio_tokens: self.audio_input,
            cache_write_tokens: (written > Tokens::ZERO).then_some(written),
        };
        let completion_details =
            CompletionDetails { reasoning_tokens: self.reasoning, audio_tokens: self.audio_output };
        let mut usage = serializer.serialize_struct("Usage", 6)?;
        usage.serialize_field("prompt_tokens", &self.prompt)?;
        usage.serialize_field("completion_tokens", &self.completion)?;
        usage.serialize_field("total_tokens", &self.total())?;
        usage.serialize_field("prompt_tokens_details", &prompt_details)?;
        usage.serialize_field("completion_tokens_details", &completion_details)?;
        if self.web_searches > 0 {
            let searches = ServerToolUse { web_search_requests: self.web_searches };
            usage.serialize_field("server_tool_use", &searches)?;
        } else {
            usage.skip_field("server_tool_use")?;
        }
        usage.end()
    }
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: Tokens,
    audio_tokens: Tokens,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_tokens: Option<Tokens>,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: Tokens,
    audio_tokens: Tokens,
}

#[derive(Serialize)]
struct ServerToolUse {
    web_search_requests: u64,
}
