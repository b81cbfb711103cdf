//! What an answer is made of while it arrives.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::response::ChatResponse;
use super::usage::Usage;
use crate::wire::few::Few;

/// One step of an answer. A translated stream is `Start`, then `Delta`s, one `Finish` per choice, and `Usage` at
/// most once and last. A stream in OpenAI's own format is `Chunk`s. A JSON answer is one `Answer`.
#[derive(Debug, Clone)]
pub enum Event {
    /// The upstream's head of a stream: not content.
    Start(Start),
    /// A piece of one choice.
    Delta { choice: u32, delta: Delta },
    /// The end of one choice.
    Finish { choice: u32, reason: FinishReason },
    /// What is counted while the answer is still under way: it is paid for even if the answer never ends.
    SoFar(Usage),
    /// The final token counts.
    Usage(Usage),
    /// A chunk that an OpenAI-compatible upstream sent, byte for byte.
    Chunk(Chunk),
    /// A whole JSON answer.
    Answer(Answer),
    /// The upstream spoke, but said nothing: a ping, a comment. It only shows that the stream is alive.
    Alive,
    /// An event that could not be read was left out of an otherwise good stream.
    Unreadable,
}

/// The identity of an answer, as far as the upstream gives one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    pub id: Option<String>,
    pub model: Option<String>,
    /// Seconds since the Unix epoch.
    pub created: Option<u64>,
    /// OpenAI's `service_tier`: how the answer was billed.
    pub service_tier: Option<String>,
}

/// A piece of a choice.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Answer text.
    Text(String),
    /// Reasoning text (`reasoning_content`).
    Reasoning(String),
    /// One entry of `reasoning_details`: carries what must return to the provider unchanged, such as a signature.
    ReasoningDetail(Value),
    /// Refusal text.
    Refusal(String),
    /// A tool call begins; `index` rises from 0 within the choice.
    ToolCall {
        index: u32,
        id: String,
        name: String,
        /// The call's `extra_content`: opaque provider data that the client sends back with the call.
        extra: Option<Value>,
    },
    /// A piece of a tool call's arguments (JSON text).
    ToolArguments { index: u32, piece: String },
    /// One entry of `annotations`.
    Annotation(Value),
    /// The choice's `logprobs`, or those of one piece of it: they add up.
    Logprobs(Value),
}

impl Delta {
    /// Whether a person or a program would call this an answer: it ends the wait for the first token.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) => !text.is_empty(),
            Self::ToolCall { .. } | Self::ToolArguments { .. } => true,
            Self::ReasoningDetail(_) | Self::Annotation(_) | Self::Logprobs(_) => false,
        }
    }

    /// How many bytes of answer this is; estimates tokens where the provider counts none.
    pub fn content_bytes(&self) -> usize {
        self.content().len()
    }

    /// How many characters of answer this is.
    pub fn content_chars(&self) -> usize {
        self.content().chars().count()
    }

    fn content(&self) -> &str {
        match self {
            Self::Text(text) | Self::Reasoning(text) | Self::Refusal(text) => text,
            Self::ToolCall { name, .. } => name,
            Self::ToolArguments { piece, .. } => piece,
            Self::ReasoningDetail(_) | Self::Annotation(_) | Self::Logprobs(_) => "",
        }
    }
}

/// Why a choice ended, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl FinishReason {
    /// OpenAI's name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }

    /// Reads the reasons of OpenAI and its compatible servers; a word that nobody knows counts as a plain stop.
    pub fn from_openai(reason: &str) -> Self {
        match reason {
            "length" | "max_tokens" | "model_length" => Self::Length,
            "tool_calls" | "function_call" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            _ => Self::Stop,
        }
    }
}

/// A chunk in OpenAI's format as it was received, with what Piton must know of it.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The payload of the `data:` line.
    pub data: Bytes,
    pub facts: ChunkFacts,
}

/// What a peek into a chunk shows.
#[derive(Debug, Clone, Default)]
pub struct ChunkFacts {
    /// What it says of the answer as a whole; the chunks of a stream that say the same share it.
    pub start: Arc<Start>,
    /// The choices that it touches.
    pub choices: Few<Touched>,
    /// Whether a delta carries text, reasoning, a refusal or a tool call.
    pub has_content: bool,
    /// Whether a delta carries a role.
    pub has_role: bool,
    /// How many bytes of answer it carries.
    pub content_bytes: usize,
    /// How many characters of answer it carries.
    pub content_chars: usize,
    pub usage: Option<Box<Usage>>,
}

/// What a chunk does to a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    pub choice: u32,
    /// Why it ends, if it ends here.
    pub finish: Option<FinishReason>,
}

impl ChunkFacts {
    /// Choices that end here, with the reason.
    pub fn finished(&self) -> impl Iterator<Item = (u32, FinishReason)> {
        self.choices.iter().filter_map(|touched| Some((touched.choice, touched.finish?)))
    }
}

/// A whole JSON answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// In OpenAI's format as received.
    Verbatim { body: Bytes, facts: AnswerFacts },
    /// Built from another format.
    Composed(ChatResponse),
}

/// What a peek into a whole answer shows.
#[derive(Debug, Clone, Default)]
pub struct AnswerFacts {
    pub id: Option<String>,
    pub model: Option<String>,
    pub created: Option<u64>,
    /// Whether a choice carries text, reasoning, a refusal or a tool call.
    pub has_content: bool,
    /// How many bytes of answer it carries.
    pub content_bytes: usize,
    pub finished: Vec<(u32, FinishReason)>,
    pub usage: Option<Usage>,
}

impl Event {
    /// Whether this ends the wait for the first content.
    pub fn is_content(&self) -> bool {
        match self {
            Self::Delta { delta, .. } => delta.is_content(),
            Self::Chunk(chunk) => chunk.facts.has_content,
            Self::Answer(answer) => answer.has_content(),
            Self::Start(_)
            | Self::Finish { .. }
            | Self::SoFar(_)
            | Self::Usage(_)
            | Self::Alive
            | Self::Unreadable => false,
        }
    }

    /// How many bytes of answer this carries.
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::Delta { delta, .. } => delta.content_bytes(),
            Self::Chunk(chunk) => chunk.facts.content_bytes,
            Self::Answer(answer) => answer.content_bytes(),
            Self::Start(_)
            | Self::Finish { .. }
            | Self::SoFar(_)
            | Self::Usage(_)
            | Self::Alive
            | Self::Unreadable => 0,
        }
    }

    /// How many characters of answer this step of a stream carries; a whole answer's are not counted.
    pub fn content_chars(&self) -> usize {
        match self {
            Self::Delta { delta, .. } => delta.content_chars(),
            Self::Chunk(chunk) => chunk.facts.content_chars,
            Self::Start(_)
            | Self::Finish { .. }
            | Self::SoFar(_)
            | Self::Usage(_)
            | Self::Answer(_)
            | Self::Alive
            | Self::Unreadable => 0,
        }
    }

    /// The final token counts, where this event brings them.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Usage(usage) => Some(*usage),
            Self::Chunk(chunk) => chunk.facts.usage.as_deref().copied(),
            Self::Answer(answer) => answer.usage(),
            Self::Start(_)
            | Self::Delta { .. }
            | Self::Finish { .. }
            | Self::SoFar(_)
            | Self::Alive
            | Self::Unreadable => None,
        }
    }

    /// The choices that this event ends, with their reasons.
    pub fn finished(&self) -> Vec<(u32, FinishReason)> {
        match self {
            Self::Finish { choice, reason } => vec![(*choice, *reason)],
            Self::Chunk(chunk) => chunk.facts.finished().collect(),
            Self::Answer(answer) => answer.finished(),
            Self::Start(_)
            | Self::Delta { .. }
            | Self::SoFar(_)
            | Self::Usage(_)
            | Self::Alive
            | Self::Unreadable => Vec::new(),
        }
    }

    /// The model that the upstream says it used.
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Start(start) => start.model.as_deref(),
            Self::Chunk(chunk) => chunk.facts.start.model.as_deref(),
            Self::Answer(answer) => answer.model(),
            Self::Delta { .. }
            | Self::Finish { .. }
            | Self::SoFar(_)
            | Self::Usage(_)
            | Self::Alive
            | Self::Unreadable => None,
        }
    }
}

impl Answer {
    /// Whether a choice carries text, reasoning, a refusal or a tool call.
    pub fn has_content(&self) -> bool {
        match self {
            Self::Verbatim { facts, .. } => facts.has_content,
            Self::Composed(response) => response.content_bytes() > 0,
        }
    }

    fn content_bytes(&self) -> usize {
        match self {
            Self::Verbatim { facts, .. } => facts.content_bytes,
            Self::Composed(response) => response.content_bytes(),
        }
    }

    /// The text of the first choice.
    pub fn into_text(self) -> Option<String> {
        #[derive(Deserialize)]
        struct Whole {
            choices: Vec<Choice>,
        }
        #[derive(Deserialize)]
        struct Choice {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            content: Option<String>,
        }
        match self {
            Self::Verbatim { body, .. } => {
                let whole: Whole = serde_json::from_slice(&body).ok()?;
                whole.choices.into_iter().next()?.message.content
            }
            Self::Composed(response) => response.choices.into_iter().next()?.message.content,
        }
    }

    /// The token counts, where the upstream gave them.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Verbatim { facts, .. } => facts.usage,
            Self::Composed(response) => response.usage,
        }
    }

    fn finished(&self) -> Vec<(u32, FinishReason)> {
        match self {
            Self::Verbatim { facts, .. } => facts.finished.clone(),
            Self::Composed(response) => {
                response.choices.iter().map(|choice| (choice.index, choice.finish_reason)).collect()
            }
        }
    }

    fn model(&self) -> Option<&str> {
        match self {
            Self::Verbatim { facts, .. } => facts.model.as_deref(),
            Self::Composed(response) => response.start.model.as_deref(),
        }
    }
}
