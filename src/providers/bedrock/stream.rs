//! The events of a streamed answer.
//!
//! A good stream ends with `metadata`, which has the token counts and comes after `messageStop`. One that breaks
//! off between the two lost no content, and is good as well.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error;
use super::response::{BlockReader, OpenBlock, Piece, ToolUse, malformed};
use super::usage::Counts;
use crate::chat::{Event, Start, TargetFacts};
use crate::providers::{EventDecoder, Progress, ReplyContext};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// Reads one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    reader: BlockReader,
    counts: Option<Counts>,
    /// The blocks that have begun and not ended, by their index.
    open: BTreeMap<u64, OpenBlock>,
    started: bool,
    /// The stop reason is known.
    finished: bool,
    /// The usage has been told.
    done: bool,
    /// An event of this format has come.
    is_converse: bool,
}

/// What an event may carry, whatever its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEvent<'a> {
    #[serde(default)]
    content_block_index: u64,
    #[serde(borrow)]
    start: Option<BlockStart<'a>>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart<'a> {
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
}

/// Why an event was not taken in.
enum Unread {
    /// It alone cannot be read.
    Event,
    /// The answer is broken.
    Answer(Box<Failure>),
}

impl Decoder {
    /// A reader of one answer.
    pub fn new(facts: &TargetFacts, context: &ReplyContext) -> Self {
        Self {
            reader: BlockReader::new(facts, context),
            counts: None,
            open: BTreeMap::new(),
            started: false,
            finished: false,
            done: false,
            is_converse: false,
        }
    }

    fn event(&mut self, kind: &[u8], data: &[u8], out: &mut Vec<Event>) -> Result<(), Unread> {
        let is_known = matches!(
            kind,
            b"messageStart"
                | b"contentBlockStart"
                | b"contentBlockDelta"
                | b"contentBlockStop"
                | b"messageStop"
                | b"metadata"
        );
        // What came later, or opens the connection.
        if !is_known {
            return Ok(());
        }
        self.is_converse = true;
        let event: WireEvent<'_> = serde_json::from_slice(data).map_err(|_| Unread::Event)?;
        let index = event.content_block_index;
        match kind {
            b"messageStart" => self.start(out),
            b"contentBlockStart" if !self.finished => {
                self.start(out);
                let call = event.start.and_then(|start| start.tool_use);
                let open = call.map_or(OpenBlock::Other, |call| self.reader.open_call(call, out));
                // A block that never ended makes room for the next of its index.
                if let Some(lost) = self.open.insert(index, open) {
                    self.reader.close(lost, out);
                }
            }
            b"contentBlockDelta" if !self.finished => {
                let piece = event.delta.ok_or(Unread::Event)?;
                let piece: Piece = serde_json::from_str(piece.get()).map_err(|_| Unread::Event)?;
                self.start(out);
                let mut open = self.open.remove(&index);
                let added = self.reader.add(&mut open, piece, out);
                self.open.extend(open.map(|open| (index, open)));
                added.ok_or(Unread::Event)?;
            }
            b"contentBlockStop" => {
                if let Some(open) = self.open.remove(&index) {
                    self.reader.close(open, out);
                }
            }
            b"messageStop" => self.stop(event.stop_reason.as_deref(), out)?,
            b"metadata" => {
                self.counts = event.usage.or(self.counts.take()).or_else(|| Some(Counts::default()));
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, out: &mut Vec<Event>) {
        if !self.started {
            self.started = true;
            out.push(Event::Start(Start::default()));
        }
    }

    fn stop(&mut self, reason: Option<&str>, out: &mut Vec<Event>) -> Result<(), Unread> {
        if !self.finished {
            self.start(out);
            while let Some((_, open)) = self.open.pop_first() {
                self.reader.close(open, out);
            }
            self.reader.finish(reason, out).map_err(|failure| Unread::Answer(Box::new(failure)))?;
            self.finished = true;
        }
        Ok(())
    }

    fn tell_usage(&mut self, out: &mut Vec<Event>) {
        if !self.done {
            self.done = true;
            out.extend(self.counts.take().and_then(|counts| counts.usage()).map(Event::Usage));
        }
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if self.done {
            return Ok(Progress::Done);
        }
        if event.is_exception {
            return Err(error::of_exception(event));
        }
        let before = out.len();
        let kind = event.event.as_deref().unwrap_or_default();
        match self.event(kind, &event.data, out) {
            Ok(()) => {}
            Err(Unread::Answer(failure)) => return Err(*failure),
            Err(Unread::Event) => out.push(Event::Unreadable),
        }
        if self.finished && self.counts.is_some() {
            self.tell_usage(out);
            return Ok(Progress::Done);
        }
        if out.len() == before {
            out.push(Event::Alive);
        }
        Ok(Progress::More)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.finished {
            self.tell_usage(out);
            return Ok(());
        }
        if !self.is_converse {
            return Err(malformed(&"the stream has no event of it"));
        }
        Err(Failure::new(Class::Truncated, "The upstream's stream ended before its answer did."))
    }
}
