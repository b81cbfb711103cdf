//! What an answer means, in OpenAI's words but in no format: what an oracle expects and what a client got are both
//! one of these.

use serde_json::Value;

/// What the client must be told.
#[derive(Debug)]
pub enum Expected {
    Answer(Answer),
    Failure(Fault),
    /// The recording has no meaning that could be told in OpenAI's format, for this reason.
    NotApplicable(String),
}

/// What the client was told.
#[derive(Debug)]
pub enum Told {
    Answer(Answer),
    Failure(Fault),
    /// It was no valid answer of OpenAI's API at all.
    Nonsense(String),
}

/// A whole answer, streamed or not.
#[derive(Debug, Default, Clone)]
pub struct Answer {
    pub choices: Vec<Choice>,
    /// Of embeddings.
    pub vectors: Vec<Vec<f32>>,
    /// `None`: nothing is said about it.
    pub usage: Option<Usage>,
    /// Departures from the shape that OpenAI's own answers have; of an expected answer, those that may stay.
    pub oddities: Vec<String>,
}

/// One of the answers.
#[derive(Debug, Default, Clone)]
pub struct Choice {
    pub text: String,
    pub reasoning: String,
    /// `None`: nothing is said about it.
    pub refusal: Option<String>,
    pub calls: Vec<Call>,
    pub finish: Option<String>,
    pub annotations: Vec<Annotation>,
    /// Opaque reasoning in its order, calls' own signatures left out.
    pub seals: Vec<Seal>,
    /// It has sound.
    pub audio: bool,
    /// Log probabilities as they stand; null: none.
    pub logprobs: Value,
}

/// A call of a client's tool.
#[derive(Debug, Default, Clone)]
pub struct Call {
    pub name: String,
    /// JSON text.
    pub arguments: String,
    /// The provider's id; `None`: it gave none, any will do.
    pub id: Option<String>,
    /// The signature that belongs to this call.
    pub signature: Option<String>,
}

/// A web citation.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Annotation {
    /// `None`: the provider gave none.
    pub url: Option<String>,
    /// `None`: the provider gave none.
    pub title: Option<String>,
    /// Start and end in characters; `None`: the provider gave none.
    pub span: Option<(u64, u64)>,
}

/// Reasoning that only its provider can read, or that it signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Seal {
    /// The signed text; `None`: nothing is said about it.
    pub text: Option<String>,
    pub bytes: String,
}

/// Token counts in OpenAI's accounting.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    pub completion: u64,
    pub total: u64,
    pub cached: u64,
    pub cache_write: u64,
    pub reasoning: u64,
    pub audio_in: u64,
    pub audio_out: u64,
}

/// An error.
#[derive(Debug, Default, Clone)]
pub struct Fault {
    /// The class of section 4 of the contract, where it is known.
    pub class: Option<String>,
    pub status: Option<u16>,
    /// The `code` of the error object. `Some(Null)`: none.
    pub code: Option<Value>,
}

impl Usage {
    /// The total that follows from the parts.
    pub fn summed(mut self) -> Self {
        self.total = self.prompt + self.completion;
        self
    }
}

/// A whole number that may be written as a float, or be absent.
pub fn count(value: &Value) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of tokens")]
    let float = |float: f64| float as u64;
    value.as_u64().or_else(|| value.as_f64().map(float)).unwrap_or(0)
}

/// A string, or nothing.
pub fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
