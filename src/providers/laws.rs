//! What holds for every stream, however broken itself: for the tests of recordings, and for fuzzing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{EventDecoder, Progress, Provider, ReplyContext};
#[cfg(test)]
use crate::chat::{ChatResponse, Fold};
use crate::chat::{Delta, Event, TargetFacts};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// What came of a stream.
pub struct Streamed {
    pub events: Vec<Event>,
    pub done: bool,
    pub end: Result<(), Failure>,
}

impl Streamed {
    /// Takes in one frame; whether it was the last.
    fn take(&mut self, decoder: &mut dyn EventDecoder, frame: &Frame) -> bool {
        match decoder.decode(frame, &mut self.events) {
            Ok(Progress::More) => false,
            Ok(Progress::Done) => {
                self.done = true;
                true
            }
            Err(failure) => {
                self.end = Err(failure);
                true
            }
        }
    }

    #[cfg(test)]
    pub fn fold(self) -> ChatResponse {
        Fold::of(self.events)
    }
}

/// Reads a streamed body in pieces of at most this many bytes.
pub fn read(
    provider: &dyn Provider,
    facts: &TargetFacts,
    context: &ReplyContext,
    body: &Bytes,
    piece: usize,
) -> Streamed {
    let mut framing = provider.framing().decoder();
    let mut decoder = provider.decoder(facts, context);
    let mut read = Streamed { events: Vec::new(), done: false, end: Ok(()) };
    let pieces =
        (0..body.len()).step_by(piece).map(|at| body.slice(at..body.len().min(at.saturating_add(piece))));
    for bytes in pieces.map(Some).chain([None]) {
        let at_end = bytes.is_none();
        framing.push(bytes.unwrap_or_default());
        loop {
            match if at_end { framing.finish() } else { framing.next() } {
                Ok(Some(frame)) if read.take(&mut *decoder, &frame) => return read,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(broken) => {
                    read.end = Err(Failure::new(Class::Malformed, broken.to_string()));
                    return read;
                }
            }
        }
    }
    read.end = decoder.finish(&mut read.events);
    read
}

/// Reads frames as they are.
#[cfg(test)]
pub fn decode(decoder: &mut dyn EventDecoder, frames: &[Frame]) -> Streamed {
    let mut read = Streamed { events: Vec::new(), done: false, end: Ok(()) };
    if frames.iter().any(|frame| read.take(decoder, frame)) {
        return read;
    }
    read.end = decoder.finish(&mut read.events);
    read
}

/// The laws that no stream may break, however broken itself.
pub fn check(stream: &Streamed, name: &str) {
    let mut started = false;
    let mut finished = Vec::new();
    let mut told_usage = false;
    let mut calls: BTreeMap<u32, u32> = BTreeMap::new();
    for event in &stream.events {
        for (choice, _) in event.finished() {
            assert!(!finished.contains(&choice), "{name}: choice {choice} finishes twice");
            finished.push(choice);
        }
        assert!(!matches!(event, Event::Answer(_)), "{name}: a whole answer in a stream");
        match event {
            Event::Delta { choice, delta } => {
                assert!(started, "{name}: content before the start");
                assert!(!finished.contains(choice), "{name}: content after the finish of {choice}");
                assert!(!told_usage, "{name}: usage is not last");
                check_call(name, calls.entry(*choice).or_default(), delta);
            }
            Event::Usage(_) => {
                assert!(!std::mem::replace(&mut told_usage, true), "{name}: usage twice");
            }
            Event::Start(_) => {
                assert!(!std::mem::replace(&mut started, true), "{name}: it starts twice");
                assert!(!told_usage, "{name}: usage is not last");
            }
            Event::Finish { .. } | Event::SoFar(_) => assert!(!told_usage, "{name}: usage is not last"),
            Event::Chunk(_) | Event::Answer(_) | Event::Alive | Event::Unreadable => {}
        }
    }
    if stream.end.is_ok() && !stream.done {
        assert!(!finished.is_empty(), "{name}: a good end without a finish");
    }
}

/// Calls are counted up from 0, and arguments belong to a call that has begun.
fn check_call(name: &str, calls: &mut u32, delta: &Delta) {
    match delta {
        Delta::ToolCall { index, .. } => {
            assert_eq!(index, calls, "{name}: tool calls are not counted up");
            *calls += 1;
        }
        Delta::ToolArguments { index, .. } => assert!(index < calls, "{name}: arguments without a call"),
        Delta::Text(_)
        | Delta::Reasoning(_)
        | Delta::ReasoningDetail(_)
        | Delta::Refusal(_)
        | Delta::Annotation(_)
        | Delta::Logprobs(_) => {}
    }
}
