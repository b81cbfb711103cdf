//! Chunks that say the same but for a piece of text. Nearly all of a stream's are: then what was read of one is known
//! of the next, and only its text is looked at.

use crate::chat::event::ChunkFacts;
use crate::wire::openai::{Choice, Completion};
use crate::wire::skim;

/// Longer ones are not remembered: every open stream holds one.
const LONGEST: usize = 1024;

/// A chunk of one choice that brings nothing but text, without that text.
pub struct Alike {
    /// What stands around the text, together.
    rest: Box<[u8]>,
    /// Where the text belongs: between its quotes.
    gap: usize,
    /// What it says beside the text.
    facts: ChunkFacts,
}

impl Alike {
    /// What chunks may be like, if this one is of that kind. It must depart nowhere from what OpenAI would send.
    pub fn of(data: &[u8], peek: &Completion<'_>, facts: &ChunkFacts) -> Option<Self> {
        let [choice] = peek.choices.as_deref()? else { return None };
        let Choice { delta: Some(delta), message: None, finish_reason: None, .. } = choice else {
            return None;
        };
        let text = delta.spelling?;
        let is_all = delta.tool_calls.is_none() && delta.audio.is_none() && facts.content_bytes == text.len();
        if !is_all || facts.usage.is_some() || data.len() - text.len() > LONGEST {
            return None;
        }
        let gap = text.as_ptr() as usize - data.as_ptr() as usize;
        let rest = [&data[..gap], &data[gap + text.len()..]].concat().into();
        Some(Self { rest, gap, facts: facts.clone() })
    }

    /// The text of a chunk that says the same otherwise. As it has no quotes and no escapes, it stands for itself, and
    /// all around it means what it meant.
    pub fn text<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        let (before, after) = self.rest.split_at(self.gap);
        let text = data.strip_prefix(before)?.strip_suffix(after)?;
        skim::is_plain(text).then(|| std::str::from_utf8(text).ok())?
    }

    /// What a chunk like this says that has this text.
    pub fn facts(&self, text: &str) -> ChunkFacts {
        ChunkFacts {
            has_content: !text.is_empty(),
            content_bytes: text.len(),
            content_chars: text.chars().count(),
            ..self.facts.clone()
        }
    }
}
