//! Where vendors depart from OpenAI's API, by name, for the rows.

use crate::chat::target::{EffortForm, History, Order, Quirks, ReasoningBack};

/// The older name of the output cap, for servers that know only that.
pub const MAX_TOKENS: (&str, &str) = ("max_completion_tokens", "max_tokens");

/// Messages as most compatible servers take them.
const PLAIN: History = History {
    reasoning: ReasoningBack::Text,
    developer: false,
    refusal: false,
    ..Quirks::COMPATIBLE.history
};

/// What a message may have at vendors that refuse members which they do not know.
const STRICT_MEMBERS: &[&str] = &["role", "content", "tool_calls", "tool_call_id", "reasoning"];

/// A server that takes OpenAI's fields and ignores what it does not know.
pub const TOLERANT: Quirks = Quirks { history: PLAIN, allowed_tools: false, ..Quirks::COMPATIBLE };

/// The same, with the older name of the output cap.
pub const OLDER: Quirks = Quirks { renames: &[MAX_TOKENS], ..TOLERANT };

/// A gateway that takes what OpenAI takes and passes it on.
pub const GATEWAY: Quirks = Quirks::COMPATIBLE;

pub const DEEPSEEK: Quirks = Quirks {
    effort: EffortForm::TwoLevels,
    history: History { reasoning: ReasoningBack::TextWithCalls, prefill: Some("prefix"), ..PLAIN },
    ..OLDER
};

pub const QWEN: Quirks =
    Quirks { effort: EffortForm::Budget, history: History { prefill: Some("partial"), ..PLAIN }, ..OLDER };

/// It takes both names of the cap, and validates the members of messages.
pub const GROQ: Quirks = Quirks {
    refuses: &["logit_bias"],
    history: History { reasoning: ReasoningBack::Text, members: STRICT_MEMBERS, ..PLAIN },
    ..TOLERANT
};

pub const CEREBRAS: Quirks =
    Quirks { refuses: &["frequency_penalty", "presence_penalty", "logit_bias"], ..GROQ };

pub const MISTRAL: Quirks = Quirks {
    only_functions: true,
    renames: &[MAX_TOKENS, ("seed", "random_seed"), ("dimensions", "output_dimension")],
    // Fields of newer OpenAI APIs that it answers with 422.
    refuses: &[
        "user",
        "logit_bias",
        "store",
        "metadata",
        "service_tier",
        "safety_identifier",
        "verbosity",
        "web_search_options",
        "modalities",
        "prediction",
        "stream_options",
    ],
    stream_options: false,
    required: "any",
    allowed_tools: false,
    token_input: false,
    history: History {
        reasoning: ReasoningBack::Parts,
        members: &["role", "content", "tool_calls", "tool_call_id", "prefix"],
        cache_marks: false,
        developer: false,
        refusal: false,
        prefill: Some("prefix"),
        order: Order::AssistantAfterTool,
        short_ids: true,
    },
    ..Quirks::COMPATIBLE
};

/// It ignores fields that the model behind it does not know, and wants its opaque reasoning back.
pub const OPENROUTER: Quirks = Quirks {
    effort: EffortForm::Object,
    history: History { reasoning: ReasoningBack::Details, ..Quirks::COMPATIBLE.history },
    ..Quirks::COMPATIBLE
};

/// Google's thinking tokens stand beside `completion_tokens` and `total_tokens`.
pub const VERCEL: Quirks = Quirks { reasoning_beside: &["google/"], ..OPENROUTER };

pub const SNOWFLAKE: Quirks =
    Quirks { renames: &[("max_tokens", "max_completion_tokens")], stream_options: true, ..OPENROUTER };

pub const XAI: Quirks = Quirks { history: History { developer: true, ..PLAIN }, ..TOLERANT };

pub const MOONSHOT: Quirks = Quirks {
    effort: EffortForm::Switch { and_effort: false },
    history: History { reasoning: ReasoningBack::TextWithCalls, prefill: Some("partial"), ..PLAIN },
    ..OLDER
};

pub const ZAI: Quirks = Quirks {
    effort: EffortForm::Switch { and_effort: true },
    history: History { reasoning: ReasoningBack::TextWithCalls, ..PLAIN },
    ..OLDER
};

pub const PERPLEXITY: Quirks = Quirks {
    history: History {
        reasoning: ReasoningBack::Refused,
        members: STRICT_MEMBERS,
        order: Order::Alternating,
        ..PLAIN
    },
    ..OLDER
};

/// Open weights behind a chat template.
pub const TEMPLATE: Quirks = Quirks { effort: EffortForm::Template, ..TOLERANT };

/// The same, with the older name of the output cap.
pub const OLDER_TEMPLATE: Quirks = Quirks { effort: EffortForm::Template, ..OLDER };

/// Servers for one's own machine that see only what they are given.
pub const LOCAL: Quirks = Quirks { fetches_images: false, ..OLDER };

/// `enable_thinking`, as its Chinese sisters have it.
pub const SILICONFLOW: Quirks = Quirks { effort: EffortForm::Budget, ..OLDER };
