//! The events of a streamed answer.
//!
//! A good stream ends with `message_stop`. One that breaks off after it gave its stop reason lost nothing, and
//! is good as well.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error;
use super::response::{BlockReader, Message, OpenBlock, malformed};
use super::usage::{Counts, Told};
use crate::chat::{Event, Start};
use crate::providers::{EventDecoder, Progress, ReplyContext};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// Reads one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    reader: BlockReader,
    counts: Counts,
    /// The blocks that have begun and not ended, by their index.
    open: BTreeMap<u64, OpenBlock>,
    started: bool,
    /// The identity of the answer, until its first block shows which model it is that serves.
    identity: Start,
    /// The stop reason is known.
    finished: bool,
    /// The usage has been told.
    done: bool,
    /// An event of this format has come.
    is_messages_api: bool,
    /// Something has come that is no event of this format.
    is_strange: bool,
}

/// What an event may carry, whatever its type.
#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<Told<'a>>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
    stop_details: Option<Value>,
}

impl Decoder {
    /// A reader of one answer.
    pub fn new(context: &ReplyContext) -> Self {
        Self {
            reader: BlockReader::new(context),
            counts: Counts::default(),
            open: BTreeMap::new(),
            started: false,
            identity: Start::default(),
            finished: false,
            done: false,
            is_messages_api: false,
            is_strange: false,
        }
    }

    fn event(&mut self, event: &WireEvent<'_>, out: &mut Vec<Event>) -> Result<Progress, Unread> {
        match event.kind.as_ref() {
            "message_start" => self.message_start(event.message, out)?,
            "content_block_start" if !self.finished => {
                let block = event.content_block.ok_or(Unread::Event)?;
                if let Some(model) = stand_in(block).filter(|_| !self.started) {
                    self.identity.model = Some(model);
                }
                self.start(out);
                let open = self.reader.open(block, out)?;
                // A block that never ended makes room for the next of its index.
                if let Some(mut lost) = self.open.insert(event.index, open) {
                    self.reader.close(&mut lost, out);
                }
            }
            "content_block_delta" => {
                let piece = event.delta.ok_or(Unread::Event)?;
                if !self.finished && !self.open.contains_key(&event.index) {
                    let begun = self.reader.begun_by(piece)?;
                    self.open.extend(begun.map(|begun| (event.index, begun)));
                    self.start(out);
                }
                let open = self.open.get_mut(&event.index).ok_or(Unread::Event)?;
                self.reader.add(open, piece, out)?;
            }
            "content_block_stop" => {
                if let Some(mut open) = self.open.remove(&event.index) {
                    self.reader.close(&mut open, out);
                }
            }
            "message_delta" => {
                event.usage.iter().for_each(|told| self.counts.update(told));
                let delta = event.delta.map(|delta| serde_json::from_str::<MessageDelta>(delta.get()));
                let delta = delta.transpose()?;
                if let Some(delta) = delta {
                    self.reader.heed(delta.stop_details.as_ref());
                    if let Some(reason) = delta.stop_reason {
                        self.stop(Some(&reason), out);
                    }
                }
            }
            "message_stop" => {
                self.stop(None, out);
                self.tell_usage(out);
                return Ok(Progress::Done);
            }
            // Pings, and events that came later.
            _ => {}
        }
        Ok(Progress::More)
    }

    /// Some upstreams begin a second message in one stream. It goes on with the first, unless it cuts a call in
    /// two: half a call's arguments are worth nothing.
    fn message_start(&mut self, message: Option<&RawValue>, out: &mut Vec<Event>) -> Result<(), Unread> {
        let mut message: Message<'_> = serde_json::from_str(message.ok_or(Unread::Event)?.get())?;
        if self.open.values().any(|open| matches!(open, OpenBlock::Call { .. } | OpenBlock::Answer { .. })) {
            let words = "The upstream began its answer anew in the middle of a tool call.";
            return Err(Unread::Stream(Box::new(Failure::new(Class::Truncated, words))));
        }
        self.close_blocks(out);
        if !self.started {
            self.identity = message.start();
        }
        message.usage.iter().for_each(|told| self.counts.update(told));
        out.extend(self.counts.usage().map(Event::SoFar));
        let content = if self.finished { None } else { message.content };
        for block in content.unwrap_or_default() {
            self.start(out);
            let mut open = self.reader.open(block, out)?;
            self.reader.close(&mut open, out);
        }
        Ok(())
    }

    fn start(&mut self, out: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            out.push(Event::Start(std::mem::take(&mut self.identity)));
        }
    }

    fn stop(&mut self, reason: Option<&str>, out: &mut Vec<Event>) {
        if !self.finished {
            self.start(out);
            self.close_blocks(out);
            self.finished = true;
            self.reader.finish(reason, out);
        }
    }

    fn close_blocks(&mut self, out: &mut Vec<Event>) {
        while let Some((_, mut open)) = self.open.pop_first() {
            self.reader.close(&mut open, out);
        }
    }

    fn tell_usage(&mut self, out: &mut Vec<Event>) {
        if !self.done {
            self.done = true;
            out.extend(self.counts.usage().map(Event::Usage));
        }
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if self.done {
            return Ok(Progress::Done);
        }
        let is_error = event.event.as_deref() == Some(b"error");
        let before = out.len();
        let Ok(wire) = serde_json::from_slice::<WireEvent<'_>>(&event.data) else {
            if is_error {
                return Err(error::reported(&event.data));
            }
            self.is_strange = true;
            out.push(Event::Unreadable);
            return Ok(Progress::More);
        };
        if is_error || wire.kind == "error" || (wire.kind.is_empty() && wire.error.is_some()) {
            return Err(error::reported(&event.data));
        }
        if wire.kind.is_empty() {
            self.is_strange = true;
            out.push(Event::Unreadable);
            return Ok(Progress::More);
        }
        self.is_messages_api = true;
        let progress = match self.event(&wire, out) {
            Ok(progress) => progress,
            Err(Unread::Stream(failure)) => return Err(*failure),
            Err(Unread::Event) => {
                out.push(Event::Unreadable);
                Progress::More
            }
        };
        if out.len() == before {
            out.push(Event::Alive);
        }
        Ok(progress)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.finished {
            self.tell_usage(out);
            return Ok(());
        }
        if self.is_strange && !self.is_messages_api {
            return Err(malformed(&"the stream has no event of it"));
        }
        Err(Failure::new(Class::Truncated, "The upstream's stream ended before its answer did."))
    }
}

/// The model that stepped in for the one that was asked, where a block says so.
fn stand_in(block: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Fallback {
        #[serde(rename = "type")]
        kind: String,
        to: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        model: String,
    }
    let fallback: Fallback = serde_json::from_str(block.get()).ok()?;
    (fallback.kind == "fallback").then_some(fallback.to.model)
}

/// Why an event was not taken in.
enum Unread {
    /// It alone cannot be read.
    Event,
    /// The whole stream is broken.
    Stream(Box<Failure>),
}

impl From<serde_json::Error> for Unread {
    fn from(_: serde_json::Error) -> Self {
        Self::Event
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::providers::laws::decode;

    #[test]
    fn an_error_is_known_by_its_words_even_if_one_of_them_is_broken() {
        let data =
            b"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\xff\"}}";
        for event in [None, Some(Bytes::from_static(b"error"))] {
            let frame = Frame { event, data: Bytes::from_static(data), ..Frame::default() };
            let read = decode(&mut Decoder::new(&ReplyContext::default()), &[frame]);
            assert_eq!(read.end.map_err(|failure| failure.class), Err(Class::Overloaded));
        }
    }
}
