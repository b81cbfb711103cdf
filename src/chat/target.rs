//! What a dialect must know of the model that it writes for. Data, never a look-up.

use std::sync::Arc;

use crate::units::Tokens;

/// The facts of one target.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// The model's name at the provider.
    pub model: Arc<str>,
    /// The most that the model can answer, if known.
    pub max_output: Option<Tokens>,
    /// What the model can do.
    pub able: Able,
    /// How the model is told to think.
    pub thinking: Thinking,
    /// Whether it takes `temperature` and its like at other than the default.
    pub sampling: bool,
    /// How this provider's OpenAI dialect departs from OpenAI's own.
    pub quirks: Quirks,
}

/// What a model can do. What nobody knows is assumed possible: the upstream decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Able {
    pub tools: bool,
    pub parallel_tools: bool,
    pub vision: bool,
    pub audio: bool,
    pub documents: bool,
    pub json_mode: bool,
    pub json_schema: bool,
    pub reasoning: bool,
    pub logprobs: bool,
    pub n: bool,
    pub streaming: bool,
    pub prefill: bool,
}

#[cfg(test)]
impl Able {
    /// Everything.
    pub const ALL: Self = Self {
        tools: true,
        parallel_tools: true,
        vision: true,
        audio: true,
        documents: true,
        json_mode: true,
        json_schema: true,
        reasoning: true,
        logprobs: true,
        n: true,
        streaming: true,
        prefill: true,
    };
}

/// How a model is told how much to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thinking {
    /// It does not think.
    Never,
    /// Nobody knows; an effort is passed on in the dialect's usual way.
    Unknown,
    /// By what the catalog says.
    Controlled(ThinkingControls),
}

/// The controls that a thinking model has. Several may be set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThinkingControls {
    /// The effort words that it takes; empty: none.
    pub efforts: Vec<String>,
    /// The least and the most tokens of a thinking budget, if it takes one.
    pub budget: Option<(u64, Option<u64>)>,
    /// Whether thinking can be switched off.
    pub can_be_off: bool,
}

/// Where an OpenAI-compatible server departs from OpenAI's own API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Request fields that it knows under another name: OpenAI's, its own.
    pub renames: &'static [(&'static str, &'static str)],
    /// Request fields that it answers with an error and that only hint at something: they are dropped.
    pub refuses: &'static [&'static str],
    /// Whether it takes `stream_options.include_usage`.
    pub stream_options: bool,
    /// Whether its `completion_tokens` leaves out the reasoning tokens.
    pub reasoning_beside_completion: bool,
    /// Whether it fetches images by their URL.
    pub fetches_images: bool,
}

impl Quirks {
    /// OpenAI's own behaviour.
    pub const OPENAI: Self = Self {
        renames: &[],
        refuses: &[],
        stream_options: true,
        reasoning_beside_completion: false,
        fetches_images: true,
    };
}
