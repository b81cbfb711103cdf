//! What of an answer reaches the client: answers that have a feature, read as those of a target are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::case::Case;
use super::super::snapshot::sent;
use super::answers::written;
use super::columns::COLUMNS;
use crate::chat::{Answer, Delta, Event};
use crate::providers::ReplyContext;
use crate::providers::laws::Streamed;
use crate::reason::Failure;

/// Stands where a sample does not show what it is there for.
pub const WRONG: &str = "WRONG";

/// One feature of an answer.
pub struct Feature {
    pub name: &'static str,
    sought: Sought,
    samples: Vec<Samples>,
}

/// Where it is to be found in the answer that the client gets.
#[derive(Clone, Copy)]
pub enum Sought {
    /// At one of these, so many times in one answer.
    Places(&'static [&'static str], usize),
    /// It is this `finish_reason`.
    Finish(&'static str),
    /// The arguments of a call come in several pieces.
    Pieces,
    /// The answer ends in a failure.
    Failure,
}

/// Answers of one provider that have the feature, as `piece` shows.
struct Samples {
    folder: &'static str,
    piece: &'static str,
    files: &'static [&'static str],
}

impl Feature {
    pub fn new(name: &'static str, sought: Sought) -> Self {
        Self { name, sought, samples: Vec::new() }
    }

    /// How a provider's answers show it.
    pub fn at(mut self, folder: &'static str, piece: &'static str, files: &'static [&'static str]) -> Self {
        self.samples.push(Samples { folder, piece, files });
        self
    }

    /// The cell of a provider.
    pub fn cell(&self, folder: &str) -> String {
        let speaks_openais = ["openai", "mistral"].contains(&folder);
        let found = match self.samples.iter().find(|samples| samples.folder == folder) {
            Some(samples) => self.found_in_all(samples),
            None if speaks_openais && matches!(self.sought, Sought::Places(..)) => {
                Ok(self.found_in_written(folder))
            }
            None => return "–".to_owned(),
        };
        let found = match found {
            Ok(found) => found,
            Err(fault) => return format!("{WRONG}: {fault}"),
        };
        let places: Vec<String> = found.into_iter().map(|place| format!("`{place}`")).collect();
        match (self.sought, places.is_empty()) {
            (_, true) if speaks_openais => "–".to_owned(),
            (_, true) => "dropped".to_owned(),
            (Sought::Failure, false) => format!("fails: {}", places.join(", ")),
            (Sought::Pieces, false) => places.join(", ").replace('`', ""),
            (Sought::Places(..) | Sought::Finish(_), false) => format!("kept {}", places.join(", ")),
        }
    }

    /// Where it is in any of the samples; a sample that shows it nowhere, though another does, is at fault.
    fn found_in_all(&self, samples: &Samples) -> Result<BTreeSet<String>, String> {
        let mut all = BTreeSet::new();
        let mut empty = None;
        for file in samples.files {
            let found = self.found_in(samples, file)?;
            empty = if found.is_empty() { Some(file) } else { empty };
            all.extend(found);
        }
        match empty {
            Some(file) if !all.is_empty() => Err(format!("{file} does not show what the others do")),
            _ => Ok(all),
        }
    }

    fn found_in_written(&self, provider: &str) -> BTreeSet<String> {
        let column = COLUMNS.iter().find(|column| column.provider == provider).unwrap();
        let (provider, facts) = column.target();
        let answer = provider.decode(written().to_string().into(), &facts, &ReplyContext::default()).unwrap();
        self.found_at(&[whole(&answer)]).into_iter().collect()
    }

    fn found_in(&self, samples: &Samples, file: &str) -> Result<Vec<String>, String> {
        // Mistral speaks OpenAI's dialect; its recordings stand among those.
        let folder = if samples.folder == "mistral" { "openai" } else { samples.folder };
        let case = Case::fixture(folder, file);
        let bytes = case.bytes();
        let text = String::from_utf8_lossy(&bytes);
        if !text.contains(samples.piece) {
            return Err(format!("{file} has no {}", samples.piece));
        }
        let fails = |failure: &Failure| format!("{file}: {failure:?}");
        if file.starts_with("responses/") {
            let answer = case.decode(bytes).map_err(|failure| fails(&failure))?;
            return Ok(self.found_at(&[whole(&answer)]));
        }
        let stream = case.stream(&bytes, usize::MAX);
        Ok(match self.sought {
            Sought::Failure => {
                stream.end.err().map(|failure| failure.class.code().to_owned()).into_iter().collect()
            }
            Sought::Pieces => match pieces(&stream) {
                0 => Vec::new(),
                1 => vec!["put together".to_owned()],
                _ => vec!["as they come".to_owned()],
            },
            Sought::Places(..) | Sought::Finish(_) => {
                stream.end.as_ref().map_err(fails)?;
                self.found_at(&chunks(stream))
            }
        })
    }

    fn found_at(&self, answers: &[Value]) -> Vec<String> {
        let at = |place: &str| -> Vec<&Value> {
            let found = answers.iter().flat_map(|answer| look(answer, place));
            found.filter(|value| !is_nothing(value)).collect()
        };
        match self.sought {
            Sought::Places(places, count) => {
                let has = |place: &&&str| at(place).len() >= count;
                places.iter().filter(has).map(|place| short(place)).collect()
            }
            Sought::Finish(word) => {
                let is_there = at("choices[].finish_reason").iter().any(|reason| **reason == word);
                is_there.then(|| word.to_owned()).into_iter().collect()
            }
            Sought::Pieces | Sought::Failure => Vec::new(),
        }
    }
}

/// A place without what all places have.
fn short(place: &str) -> String {
    place.trim_start_matches("choices[].").to_owned()
}

pub fn whole(answer: &Answer) -> Value {
    match answer {
        Answer::Verbatim { body, .. } => serde_json::from_slice(body).unwrap(),
        Answer::Composed(response) => sent(response),
    }
}

/// A stream as one answer; where the provider's own chunks go on, as those, in the form of answers.
fn chunks(stream: Streamed) -> Vec<Value> {
    let as_answer = |data: &[u8]| {
        let mut chunk: Value = serde_json::from_slice(data).unwrap();
        for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
            choice["message"] = choice["delta"].take();
        }
        chunk
    };
    let own: Vec<Value> = stream
        .events
        .iter()
        .filter_map(|event| if let Event::Chunk(chunk) = event { Some(as_answer(&chunk.data)) } else { None })
        .collect();
    if own.is_empty() { vec![sent(&stream.fold())] } else { own }
}

/// In how many pieces the first call's arguments came.
fn pieces(stream: &Streamed) -> usize {
    let is_piece = |event: &&Event| match event {
        Event::Delta { delta: Delta::ToolArguments { index: 0, .. }, .. } => true,
        Event::Chunk(chunk) => {
            let chunk: Value = serde_json::from_slice(&chunk.data).unwrap();
            let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
            call["index"] == json!(0) && !is_nothing(&call["function"]["arguments"])
        }
        _ => false,
    };
    stream.events.iter().filter(is_piece).count()
}

/// All values at a place; `[]` means every element.
fn look<'a>(value: &'a Value, place: &str) -> Vec<&'a Value> {
    let (first, rest) = place.split_once('.').map_or((place, None), |(first, rest)| (first, Some(rest)));
    let found = match first.strip_suffix("[]") {
        Some(name) => value.get(name).and_then(Value::as_array).into_iter().flatten().collect(),
        None => value.get(first).into_iter().collect::<Vec<_>>(),
    };
    match rest {
        Some(rest) => found.into_iter().flat_map(|value| look(value, rest)).collect(),
        None => found,
    }
}

/// Written out, but empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Bool(_) | Value::Object(_) => false,
    }
}
