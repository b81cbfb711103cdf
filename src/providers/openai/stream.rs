//! A stream in OpenAI's format: each event is looked into, and passed on as it came unless it departs from what
//! OpenAI would send.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::alike::Alike;
use super::answer::reported_error;
use super::calls::{Calls, Place};
use super::mend::{self, Form, Thoughts};
use super::{ids, usage};
use crate::chat::{Chunk, Event, FinishReason, Start, TargetFacts, Usage};
use crate::providers::error::{self, ErrorWords};
use crate::providers::{EventDecoder, Progress};
use crate::reason::{Class, Failure};
use crate::wire::Frame;
use crate::wire::few::Few;
use crate::wire::openai::Completion;

/// How many chunks without an identity are held back until one has it.
const HELD: usize = 8;

/// What is known of a stream so far.
pub struct Decoder {
    reasons_beside: bool,
    /// How many choices must end.
    wanted: u32,
    choices: Vec<(u32, Progressing)>,
    is_identified: bool,
    /// What the last chunk said of the answer as a whole.
    start: Arc<Start>,
    /// What the last chunk was like, if the next one may be like it.
    like: Option<Alike>,
    /// What came before the answer had an id: the first one would be taken for the stream's.
    held: Vec<Bytes>,
    /// Token counts without content that came before the finish.
    early_usage: Option<Chunk>,
}

/// One choice on its way.
#[derive(Default)]
struct Progressing {
    calls: Calls,
    thoughts: Thoughts,
    has_content: bool,
    has_ended: bool,
}

/// What must be put right in a chunk.
#[derive(Default)]
struct Plan {
    departs: bool,
    /// For each choice of the chunk: its number, the places of its calls, and whether it had ended before.
    choices: Few<(u32, Vec<Place>, bool)>,
}

impl Decoder {
    /// A fresh decoder for a stream of this many choices.
    pub fn new(facts: &TargetFacts, choices: u32) -> Self {
        Self {
            reasons_beside: usage::reasons_beside(facts),
            wanted: choices.max(1),
            // One is the rule, and a vector that grows by itself begins with room for four.
            choices: Vec::with_capacity(1),
            is_identified: false,
            start: Arc::default(),
            like: None,
            held: Vec::new(),
            early_usage: None,
        }
    }

    fn is_complete(&self) -> bool {
        let ended = self.choices.iter().filter(|(_, choice)| choice.has_ended).count();
        ended >= self.wanted as usize
    }

    fn choice(&mut self, index: u32) -> &mut Progressing {
        let at = self.choices.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            self.choices.push((index, Progressing::default()));
            self.choices.len() - 1
        });
        &mut self.choices[at].1
    }

    /// `[DONE]`. A server that never says why it finished, but counts its tokens at the end, has finished.
    fn done(&mut self, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if !self.is_complete() && self.early_usage.is_some() {
            for (choice, state) in &mut self.choices {
                if state.has_content && !state.has_ended {
                    state.has_ended = true;
                    out.extend(last_thoughts(*choice, &state.thoughts.take()).map(Event::Chunk));
                    let reason =
                        if state.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
                    out.push(Event::Finish { choice: *choice, reason });
                }
            }
        }
        out.extend(self.early_usage.take().map(Event::Chunk));
        if self.is_complete() { Ok(Progress::Done) } else { Err(cut()) }
    }

    /// A chunk that is like the one before it.
    fn again(&mut self, data: &Bytes) -> Option<Chunk> {
        let like = self.like.as_ref()?;
        let facts = like.facts(like.text(data)?);
        for touched in &facts.choices {
            let state = self.choice(touched.choice);
            state.has_content |= facts.has_content;
            state.thoughts.spoke(facts.content_chars);
        }
        Some(Chunk { data: data.clone(), facts })
    }

    fn chunk(&mut self, data: &Bytes, peek: &Completion<'_>, out: &mut Vec<Event>) {
        let counts = usage::read(peek, self.reasons_beside);
        let has_id = peek.id.as_ref().is_some_and(|id| !id.0.is_empty());
        let has_choices = peek.choices.as_ref().is_some_and(|choices| !choices.is_empty());
        if !has_id && !has_choices && counts.is_none() {
            if self.is_identified {
                out.push(Event::Alive);
            } else if self.held.len() < HELD {
                self.held.push(data.clone());
                out.push(Event::Alive);
            }
            return;
        }
        self.release(peek, out);
        self.is_identified = true;
        let plan = self.plan(peek, counts.as_ref());
        let chunk = if plan.departs {
            mended(data, &plan, counts.as_ref(), &mut self.choices, &mut self.start)
        } else {
            Some(Chunk::of(data.clone(), peek, counts, &mut self.start))
        };
        let Some(chunk) = chunk else {
            out.push(Event::Unreadable);
            return;
        };
        let is_count =
            counts.is_some() && !chunk.facts.has_content && chunk.facts.finished().next().is_none();
        if is_count && !self.is_complete() {
            self.early_usage = Some(chunk);
            out.push(Event::Alive);
        } else {
            if !plan.departs {
                self.like = Alike::of(data, peek, &chunk.facts);
            }
            out.extend(self.early_usage.take().map(Event::Chunk));
            out.push(Event::Chunk(chunk));
        }
    }

    /// Takes note of what a chunk brings, and finds where it departs.
    fn plan(&mut self, peek: &Completion<'_>, counts: Option<&Usage>) -> Plan {
        let mut plan = Plan {
            departs: mend::departs(peek, Form::Chunk)
                || counts.is_some_and(|counts| !usage::is_plain(peek, counts)),
            choices: Few::None,
        };
        for choice in peek.choices.iter().flatten() {
            let state = self.choice(choice.index());
            let mut places = Vec::new();
            if let Some(piece) = choice.piece() {
                state.has_content |= piece.has_content();
                for call in piece.tool_calls.iter().flatten() {
                    let place = state.calls.place(call);
                    plan.departs |= !place.is_said_by(call);
                    places.push(place);
                }
            }
            let repeats = state.has_ended && choice.finish_reason.is_some();
            state.has_ended |= choice.finish_reason().is_some();
            plan.departs |= repeats || state.has_ended && state.thoughts.are_held();
            plan.choices.push((choice.index(), places, repeats));
        }
        // A chunk that is written anew tells its text then.
        if !plan.departs {
            for choice in peek.choices.iter().flatten() {
                let chars = choice.piece().and_then(|piece| piece.content).map_or(0, |content| content.chars);
                self.choice(choice.index()).thoughts.spoke(chars);
            }
        }
        plan
    }

    /// Lets out what was held back, under the identity that the stream now has.
    fn release(&mut self, peek: &Completion<'_>, out: &mut Vec<Event>) {
        for data in std::mem::take(&mut self.held) {
            let Ok(mut chunk) = serde_json::from_slice::<Map<String, Value>>(&data) else { continue };
            mend::head(&mut chunk, Form::Chunk);
            let text = |text: &Option<crate::wire::openai::Text<'_>>| {
                text.as_ref().map_or(Value::Null, |text| json!(text.0))
            };
            chunk.insert("id".into(), text(&peek.id));
            chunk.insert("model".into(), text(&peek.model));
            chunk.insert("created".into(), json!(peek.created.map_or(0, |created| created.count)));
            out.extend(chunk_of(chunk, None, &mut self.start).map(Event::Chunk));
        }
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure> {
        if event.event.is_none()
            && let Some(chunk) = self.again(&event.data)
        {
            out.push(Event::Chunk(chunk));
            return Ok(Progress::More);
        }
        self.like = None;
        let data = event.data.trim_ascii();
        if data == b"[DONE]" {
            return self.done(out);
        }
        if data.is_empty() {
            out.push(Event::Alive);
            return Ok(Progress::More);
        }
        // The parser looks only at what is peeked; the client's looks at every byte.
        let text = std::str::from_utf8(&event.data).ok();
        let peek = text.and_then(|text| Completion::read(text).ok());
        if let Some(failure) = peek.as_ref().zip(text).and_then(|(peek, text)| reported_error(peek, text)) {
            return Err(failure);
        }
        if event.event.as_deref() == Some(b"error") {
            let words = ErrorWords::read(data);
            let class = error::class_of_words(&words);
            return Err(words.failure(class));
        }
        match peek {
            Some(peek) => self.chunk(&event.data, &peek, out),
            None => out.push(Event::Unreadable),
        }
        Ok(Progress::More)
    }

    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        out.extend(self.early_usage.take().map(Event::Chunk));
        if self.is_complete() { Ok(()) } else { Err(cut()) }
    }
}

/// The chunk as OpenAI would have sent it.
fn mended(
    data: &Bytes,
    plan: &Plan,
    counts: Option<&Usage>,
    choices: &mut [(u32, Progressing)],
    start: &mut Arc<Start>,
) -> Option<Chunk> {
    let mut chunk: Map<String, Value> = serde_json::from_slice(data).ok()?;
    mend::head(&mut chunk, Form::Chunk);
    let answer = chunk.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten();
    for (entry, (index, places, repeats)) in entries.zip(&plan.choices) {
        let Some(entry) = entry.as_object_mut() else { continue };
        let Some((_, state)) = choices.iter_mut().find(|(known, _)| known == index) else { continue };
        entry.insert("index".into(), json!(index));
        // The message so far, which the deltas make up, or a whole one in the place of a delta.
        let message = entry.shift_remove("message").filter(Value::is_object);
        if !entry.get("delta").is_some_and(Value::is_object) {
            entry.insert("delta".into(), message.unwrap_or_else(|| json!({})));
        }
        if let Some(delta) = entry.get_mut("delta").and_then(Value::as_object_mut) {
            mend::piece(delta, Form::Chunk, &mut state.thoughts);
            let calls = delta.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
            for (call, place) in calls.zip(places) {
                place.write(call, |call, name| ids::invented(&answer, *index, call, name));
            }
            if state.has_ended && state.thoughts.are_held() {
                delta.insert("reasoning_details".into(), state.thoughts.take().into());
            }
        }
        if *repeats || entry.get("finish_reason").and_then(Value::as_str) == Some("") {
            entry.insert("finish_reason".into(), Value::Null);
        }
        mend::finish_reason(entry, !state.calls.is_empty());
    }
    if let Some(counts) = counts {
        usage::write(&mut chunk, counts);
    }
    chunk_of(chunk, counts.copied(), start)
}

/// What a choice thought, where no chunk of the upstream's is left to say it. The stream's identity is put in later.
fn last_thoughts(choice: u32, details: &[Value]) -> Option<Chunk> {
    if details.is_empty() {
        return None;
    }
    let delta = json!({ "reasoning_details": details });
    let choice = json!({ "index": choice, "delta": delta, "finish_reason": null });
    let mut chunk = Map::from_iter([("choices".to_owned(), json!([choice]))]);
    mend::head(&mut chunk, Form::Chunk);
    chunk_of(chunk, None, &mut Arc::default())
}

fn chunk_of(chunk: Map<String, Value>, counts: Option<Usage>, start: &mut Arc<Start>) -> Option<Chunk> {
    let data = Bytes::from(Value::Object(chunk).to_string());
    let peek: Completion<'_> = serde_json::from_slice(&data).ok()?;
    Some(Chunk::of(data.clone(), &peek, counts, start))
}

fn cut() -> Failure {
    Failure::new(Class::Truncated, "The upstream's stream ended without a finish reason.")
}

#[cfg(test)]
mod tests;
