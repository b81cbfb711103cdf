//! What a request asks of a simulated model, whatever dialect it came in, and why it may be refused.

use http::HeaderMap;
use serde_json::{Map, Value};

/// A valid request, reduced to what a simulated answer depends on.
#[derive(Debug, Default)]
pub struct Prompt {
    pub model: String,
    pub stream: bool,
    /// Gemini's stream without `alt=sse`: one JSON array of what would be events.
    pub as_array: bool,
    /// OpenAI's `stream_options.include_usage`; the other dialects always tell.
    pub include_usage: bool,
    /// Turns of the conversation, system messages not counted.
    pub turns: usize,
    pub images: usize,
    /// The text of the last user turn.
    pub last_user: String,
    /// What the tools said, where the conversation ends with their results.
    pub tool_results: Vec<String>,
    pub tools: Vec<Tool>,
    pub tool_choice: ToolChoice,
    pub parallel: bool,
    pub format: Format,
    pub reasoning: bool,
    /// Of reasoning, text and calls together, as all three providers count.
    pub max_tokens: Option<usize>,
    pub stop: Vec<String>,
    /// Bytes of text in the messages and of the tools' definitions.
    pub text_bytes: usize,
    pub cached: bool,
    /// How many choices; OpenAI only.
    pub choices: usize,
}

/// A function that the model may call.
#[derive(Debug, Clone)]
pub struct Tool {
    pub name: String,
    pub schema: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

/// The form that the answer's text must have.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Format {
    #[default]
    Text,
    JsonObject,
    Schema(Value),
}

/// One request as its dialect reads it.
#[derive(Debug)]
pub struct Incoming<'r> {
    pub headers: &'r HeaderMap,
    pub query: &'r str,
    /// From the path, else from the body; empty where neither names one.
    pub model: String,
    /// The path is one that must name a version in its query.
    pub needs_version: bool,
    /// The path names a deployment.
    pub of_deployment: bool,
    /// What the path says of it; `None` where the body says it.
    pub stream: Option<bool>,
    pub body: &'r Map<String, Value>,
    /// The conversation was held with simulated models, so that their signatures can be told from foreign ones.
    pub ours: bool,
}

/// Why a request gets an error instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The request is at fault.
    Invalid(Invalid),
    /// A credential is missing, or is refused.
    Auth {
        message: String,
    },
    NotFound {
        model: String,
    },
    NoRoute {
        path: String,
    },
    ContextLength {
        tokens: usize,
    },
    ContentFilter,
    Quota,
    Overloaded,
    Status(u16),
}

/// What is wrong with a request, before it takes a provider's form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalid {
    /// The name of the rule that it breaks, for the log and the tests.
    pub rule: &'static str,
    /// 400 where the rule says nothing else.
    pub status: Option<u16>,
    pub message: String,
    pub param: Option<String>,
    /// Machine-readable, in the provider's own words.
    pub code: Option<&'static str>,
    pub kind: Option<&'static str>,
    /// Where the provider's message is no text.
    pub detail: Option<Value>,
}

/// The window that the simulated models claim in their error for a prompt that is too long.
pub const WINDOW: usize = 8192;

impl Prompt {
    /// Counts one piece of the prompt's text.
    pub fn read(&mut self, text: &str) {
        self.text_bytes += text.len();
    }
}

impl Incoming<'_> {
    /// The first header of this name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's value for this key; an explicit null counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.body.get(key).filter(|value| !value.is_null())
    }

    /// The body's list for this key; nothing where it is none.
    pub fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Rejection {
    /// The request is at fault, and that is all there is to say.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(Invalid { message: message.into(), ..Invalid::default() })
    }

    /// This field of the request is at fault.
    pub fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(Invalid { message: message.into(), param: Some(param.into()), ..Invalid::default() })
    }

    /// The same with OpenAI's machine-readable code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        self.edit(|invalid| invalid.code = Some(code))
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        self.edit(|invalid| invalid.status = Some(status))
    }

    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Invalid)) -> Self {
        if let Self::Invalid(invalid) = &mut self {
            edit(invalid);
        }
        self
    }
}

/// The value as a count, where it is one.
pub fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}
