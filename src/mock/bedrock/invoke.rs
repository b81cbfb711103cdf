//! InvokeModel: another provider's body in Bedrock's envelope.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{STREAM, authorize, class, event_stream, padding, rejected};
use crate::mock::answer::Answer;
use crate::mock::anthropic::{Anthropic, Host};
use crate::mock::dialect::{Dialect, Frame, Stamp};
use crate::mock::prompt::{Incoming, Prompt, Rejection};

/// Anthropic's models behind InvokeModel.
pub struct Invoke;

const ANTHROPIC: Anthropic = Anthropic(Host::Bedrock);

impl Dialect for Invoke {
    fn name(&self) -> &'static str {
        "bedrock-invoke"
    }

    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        authorize(incoming)
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        ANTHROPIC.read(incoming)
    }

    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        ANTHROPIC.body(prompt, answer, stamp)
    }

    fn frames(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let frames = ANTHROPIC.frames(prompt, answer, stamp).into_iter().enumerate();
        frames.map(|(number, frame)| Frame { wire: chunk(&frame.wire, number), ..frame }).collect()
    }

    /// Anthropic's words, place included, in Bedrock's envelope.
    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        match rejection {
            Rejection::Invalid(_) => {
                let (status, body) = ANTHROPIC.rejection(rejection);
                (status, json!({ "message": body["error"]["message"] }))
            }
            other => rejected(other),
        }
    }

    fn error_header(&self, rejection: &Rejection) -> Option<(&'static str, &'static str)> {
        Some(("x-amzn-errortype", class(rejection)))
    }

    fn error_event(&self, payload: &Value) -> Bytes {
        event_stream::exception("serviceUnavailableException", payload.to_string().as_bytes())
    }

    fn broken_event(&self) -> Bytes {
        event_stream::event("chunk", b"{\"bytes\":\"eyJ0")
    }

    fn stream_type(&self) -> &'static str {
        STREAM
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-amzn-requestid")
    }

    fn filters_with_error(&self) -> bool {
        true
    }
}

/// A server-sent event's data as a chunk.
fn chunk(event: &[u8], number: usize) -> Bytes {
    let text = String::from_utf8_lossy(event);
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    let payload = json!({ "bytes": STANDARD.encode(data), "p": padding(number) });
    event_stream::event("chunk", payload.to_string().as_bytes())
}
