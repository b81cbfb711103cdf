//! The events of a streamed answer. A good stream ends with `message-end`; the `[DONE]` after it says no more.

use serde_json::Value;

use super::error;
use super::response::{Reader, entries, logprobs, malformed};
use crate::chat::Event;
use crate::providers::{EventDecoder, Progress, ReplyContext};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// Reads one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    reader: Reader,
    is_done: bool,
    /// An event of this format has come.
    is_known: bool,
    /// Something has come that is no event of it.
    is_strange: bool,
}

impl Decoder {
    /// A reader of one answer.
    pub fn new(context: &ReplyContext) -> Self {
        Self { reader: Reader::new(context), is_done: false, is_known: false, is_strange: false }
    }

    fn event(&mut self, kind: &str, event: &Value, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        let delta = &event["delta"];
        let message = &delta["message"];
        let index = event["index"].as_u64().unwrap_or_default();
        let reader = &mut self.reader;
        reader.start(event, out);
        match kind {
            "message-start" => reader.message(message, out),
            "content-start" | "content-delta" => {
                entries(&message["content"]).iter().for_each(|piece| reader.content(index, piece, out));
                logprobs(&event["logprobs"], out);
            }
            "content-end" => reader.end_content(index, out),
            "tool-plan-delta" => reader.plan(&message["tool_plan"], out),
            "tool-call-start" => {
                entries(&message["tool_calls"]).iter().for_each(|call| reader.call(index, call, out));
            }
            "tool-call-delta" => {
                for call in entries(&message["tool_calls"]) {
                    if !reader.arguments(index, call, out) {
                        out.push(Event::Unreadable);
                    }
                }
            }
            "tool-call-end" => reader.end_call(index, out),
            "citation-start" => {
                entries(&message["citations"]).iter().for_each(|citation| reader.cite(citation, out));
            }
            "message-end" => {
                reader.end(delta, out)?;
                self.is_done = true;
                return Ok(Progress::Done);
            }
            // `citation-end`, and what came later.
            _ => {}
        }
        Ok(Progress::More)
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if self.is_done {
            return Ok(Progress::Done);
        }
        let before = out.len();
        let value: Value = serde_json::from_slice(&event.data).unwrap_or_default();
        let Some(kind) = value["type"].as_str() else {
            if value["message"].is_string() || value["error"].is_string() {
                return Err(error::in_answer(&value));
            }
            self.is_strange = true;
            out.push(Event::Unreadable);
            return Ok(Progress::More);
        };
        self.is_known = true;
        let progress = self.event(kind, &value, out)?;
        if out.len() == before {
            out.push(Event::Alive);
        }
        Ok(progress)
    }

    fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), Failure> {
        if self.is_done {
            return Ok(());
        }
        if self.is_strange && !self.is_known {
            return Err(malformed(&"the stream has no event of it"));
        }
        Err(Failure::new(Class::Truncated, "The upstream's stream ended before its answer did."))
    }
}
