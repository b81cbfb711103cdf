//! A stream in OpenAI's format: each event is looked into and passed on as it came.

use super::{reported_error, usage};
use crate::chat::target::Quirks;
use crate::chat::{Chunk, Event};
use crate::providers::{EventDecoder, Progress};
use crate::reason::{Class, Failure};
use crate::wire::Frame;
use crate::wire::openai::Completion;

/// What is known of a stream so far.
pub struct Decoder {
    quirks: Quirks,
    /// How many choices must end.
    choices: u32,
    ended: Vec<u32>,
}

impl Decoder {
    /// A fresh decoder for a stream of this many choices.
    pub fn new(quirks: Quirks, choices: u32) -> Self {
        Self { quirks, choices: choices.max(1), ended: Vec::new() }
    }

    fn is_complete(&self) -> bool {
        self.ended.len() >= self.choices as usize
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            return if self.is_complete() { Ok(Progress::Done) } else { Err(cut()) };
        }
        if data.is_empty() {
            out.push(Event::Alive);
            return Ok(Progress::More);
        }
        // The parser looks only at what is peeked; the client's looks at every byte.
        let text = std::str::from_utf8(&event.data).ok();
        let Some(peek) = text.and_then(|text| serde_json::from_str::<Completion<'_>>(text).ok()) else {
            out.push(Event::Unreadable);
            return Ok(Progress::More);
        };
        if let Some(failure) = reported_error(&peek) {
            return Err(failure);
        }
        let chunk = Chunk::of(event.data.clone(), &peek, usage(&peek, &self.quirks));
        for (choice, _) in &chunk.facts.finished {
            if !self.ended.contains(choice) {
                self.ended.push(*choice);
            }
        }
        out.push(Event::Chunk(chunk));
        Ok(Progress::More)
    }

    fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), Failure> {
        if self.is_complete() { Ok(()) } else { Err(cut()) }
    }
}

fn cut() -> Failure {
    Failure::new(Class::Truncated, "The upstream's stream ended without a finish reason.")
}
