//! What a provider's dialect has to offer for its side of the simulation.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::answer::Answer;
use super::prompt::{Incoming, Prompt, Rejection};

/// One provider's format: it reads requests and writes answers and errors. Stateless.
pub trait Dialect: Send + Sync {
    /// The provider's name.
    fn name(&self) -> &'static str;

    /// Refuses a request without a credential.
    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection>;

    /// Checks the request as the provider does, and reads it.
    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection>;

    /// The answer as one JSON body.
    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value;

    /// The answer as a stream.
    fn frames(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame>;

    /// The status and the body of an error.
    fn rejection(&self, rejection: &Rejection) -> (u16, Value);

    /// The header that names an error's class, where the body does not.
    fn error_header(&self, _rejection: &Rejection) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Puts the time to wait into an error's body, where the provider does so; else a header tells it.
    fn retry_hint(&self, _body: &mut Value, _after: Duration) -> bool {
        false
    }

    /// An error's body as an event of a stream that has begun.
    fn error_event(&self, payload: &Value) -> Bytes;

    /// An event whose payload is not JSON.
    fn broken_event(&self) -> Bytes;

    /// The media type of a stream.
    fn stream_type(&self) -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    /// The header in which the provider gives its request's id, if it has one.
    fn request_id_header(&self) -> Option<&'static str>;

    /// Whether the safety system answers with an error; else with a 200 that says so.
    fn filters_with_error(&self) -> bool;
}

/// A piece of a stream as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub part: Part,
    pub wire: Bytes,
}

/// What a frame is to the faults that break streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Before any content: a role, a start, a ping.
    Opening,
    Content,
    /// Ends a block, tells the finish reason or the usage.
    Closing,
    /// Without it the stream is not whole.
    Terminator,
}

/// Number and time of an answer, from which its ids are made.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub number: u64,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

impl Stamp {
    /// The answer's own id.
    pub fn id(self, prefix: &str) -> String {
        format!("{prefix}mock{:012}", self.number)
    }

    /// The id of the `index`th thing in it.
    pub fn part_id(self, prefix: &str, index: usize) -> String {
        format!("{prefix}mock{:012}x{index}", self.number)
    }
}
