//! The members of a request that no field of ours reads: those of other dialects, and those that nobody knows. What
//! a translation does not carry over is told to the client.

use super::conversation::Conversation;
use super::request::ChatRequest;

/// The members that are for Piton, or that [`Needs`](super::request::Needs) tells of.
const READ_HERE: &[&str] = &[
    "model",
    "models",
    "fallbacks",
    "task_type",
    "stream",
    "stream_options",
    "logprobs",
    "functions",
    "function_call",
];

impl Conversation {
    /// The request's members that are read here, and so are a dialect's to carry over or to list as dropped.
    pub const FIELDS: &[&str] = &[
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "top_logprobs",
        "reasoning_effort",
        "user",
        "service_tier",
        "logit_bias",
        "prediction",
        "store",
        "modalities",
        "web_search_options",
        "verbosity",
        "prompt_cache_key",
        "safety_identifier",
    ];
}

impl ChatRequest {
    /// The members, present and not null, that stand beside what [`Conversation`] reads: those of other
    /// dialects, and those that nobody knows.
    pub fn foreign_members(&self) -> impl Iterator<Item = &str> {
        let given = self.members.iter().filter(|member| self.body[member.value.clone()] != *b"null");
        given.map(|member| member.name(&self.body)).filter(|name| {
            let is_known = Conversation::FIELDS.contains(name) || READ_HERE.contains(name);
            let is_own = *name == "metadata" && self.own.is_whole_metadata;
            !is_known && !is_own
        })
    }
}
