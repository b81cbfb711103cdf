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

#[cfg(any(test, fuzzing, feature = "bench-internals"))]
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

/// Where an OpenAI-compatible server departs from OpenAI's own API: what is written differently for it. How it
/// answers needs no data: an answer shows its own departures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// Request fields that it knows under another name: OpenAI's, its own.
    pub renames: &'static [(&'static str, &'static str)],
    /// Request fields that it answers with an error and that only hint at something: they are dropped.
    pub refuses: &'static [&'static str],
    /// Whether it takes `stream_options.include_usage`.
    pub stream_options: bool,
    /// Whether models that reason take `max_completion_tokens` only.
    pub new_cap_for_reasoning: bool,
    /// How it is told to think.
    pub effort: EffortForm,
    /// Its word for `tool_choice: "required"`.
    pub required: &'static str,
    /// Whether it takes a `tool_choice` that narrows the tools. Where it does not, it gets only those.
    pub allowed_tools: bool,
    /// What it asks of the messages.
    pub history: History,
    /// Whether it embeds lists of tokens as well as text.
    pub token_input: bool,
    /// Whether it knows no tools but functions in `tools`: neither custom ones nor the older `functions`.
    pub only_functions: bool,
    /// Whether it fetches images by their URL.
    pub fetches_images: bool,
    /// Models, by the start of their names, whose `completion_tokens` leaves out the reasoning tokens although
    /// its sums do not show it.
    pub reasoning_beside: &'static [&'static str],
}

/// How a vendor spells a thinking effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffortForm {
    /// `reasoning_effort`, as OpenAI does.
    Plain,
    /// `thinking: {type}`, and `reasoning_effort` of two levels, `high` and `max`.
    TwoLevels,
    /// `thinking: {type}`. Where it takes `reasoning_effort` as well, that only switches it off.
    Switch { and_effort: bool },
    /// `enable_thinking` and `thinking_budget`.
    Budget,
    /// `reasoning: {effort}`.
    Object,
    /// `reasoning_effort` of three levels, and `chat_template_kwargs` to switch it off: servers of open weights.
    Template,
}

/// What a vendor asks of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// What becomes of the reasoning of earlier turns.
    pub reasoning: ReasoningBack,
    /// The members that a message may have; empty: any.
    pub members: &'static [&'static str],
    /// Whether marks of what to cache (`cache_control`) are heeded, or at least ignored.
    pub cache_marks: bool,
    /// Whether it knows the role `developer`.
    pub developer: bool,
    /// Whether an earlier refusal has its own member. Where it has not, it is what the assistant said.
    pub refusal: bool,
    /// The member that marks words of the assistant that it shall continue.
    pub prefill: Option<&'static str>,
    /// Which message may follow which.
    pub order: Order,
    /// Whether ids of tool calls are nine letters and digits.
    pub short_ids: bool,
}

/// What a vendor takes back of the reasoning of earlier turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBack {
    /// Whatever the client sends.
    AsSent,
    /// Nothing: unknown members are an error.
    Refused,
    /// Its text (`reasoning`, `reasoning_content`), but nobody's opaque data.
    Text,
    /// Its text, which must stand in every turn that calls tools, be it empty.
    TextWithCalls,
    /// `reasoning_details` as they came, in whole entries.
    Details,
    /// Its own thoughts, in their place among the parts of `content`.
    Parts,
}

/// Which message may follow which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Free,
    /// After the result of a tool the assistant speaks.
    AssistantAfterTool,
    /// The same, and user and assistant take turns.
    Alternating,
}

impl Quirks {
    /// OpenAI's own behaviour.
    pub const OPENAI: Self = Self {
        renames: &[],
        refuses: &[],
        stream_options: true,
        new_cap_for_reasoning: true,
        effort: EffortForm::Plain,
        required: "required",
        allowed_tools: true,
        history: History {
            reasoning: ReasoningBack::Refused,
            members: &[],
            cache_marks: false,
            developer: true,
            refusal: true,
            prefill: None,
            order: Order::Free,
            short_ids: false,
        },
        token_input: true,
        only_functions: false,
        fetches_images: true,
        reasoning_beside: &[],
    };

    /// A server of which nothing is known but that it speaks OpenAI's format: it gets what the client sent.
    pub const COMPATIBLE: Self = Self {
        new_cap_for_reasoning: false,
        history: History { reasoning: ReasoningBack::AsSent, cache_marks: true, ..Self::OPENAI.history },
        ..Self::OPENAI
    };
}
