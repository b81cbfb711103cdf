//! A streamed answer of Bedrock's InvokeModel: the Messages API's events, each in base64 inside a `chunk`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::stream;
use crate::chat::Event;
use crate::providers::{EventDecoder, Progress, bedrock};
use crate::reason::Failure;
use crate::wire::Frame;

/// Unwraps the events for the reader of the Messages API.
#[derive(Debug)]
pub struct Decoder {
    messages: stream::Decoder,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: &'a str,
}

impl Decoder {
    /// A reader of one answer.
    pub fn new(messages: stream::Decoder) -> Self {
        Self { messages }
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if event.is_exception {
            return Err(bedrock::error::of_exception(event));
        }
        if event.event.as_deref() != Some(b"chunk") {
            out.push(Event::Alive);
            return Ok(Progress::More);
        }
        let chunk = serde_json::from_slice::<Chunk<'_>>(&event.data).ok();
        // What is no chunk is no event either: the reader says so in its own way.
        let data = chunk.and_then(|chunk| STANDARD.decode(chunk.bytes).ok()).unwrap_or_default();
        self.messages.decode(&Frame { data: data.into(), ..Frame::default() }, out)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        self.messages.finish(out)
    }
}
