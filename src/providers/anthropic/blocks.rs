//! The parts of a message as content blocks. Blank text, which the API refuses, is left out.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde_json::Value;
use serde_json::value::RawValue;

use super::carrier::{Carried, Place};
use super::media;
use super::wire::Block;
use crate::chat::conversation::{Content, Part, ToolCall};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;

/// A text and its caching mark.
pub type Marked<'a> = (&'a str, Option<&'a Value>);

/// The blocks of a user's message or of a tool's result.
pub fn of_user(content: &Content, at: usize) -> Result<Vec<Block<'_>>, Unsendable> {
    let parts = match content {
        Content::None => return Ok(Vec::new()),
        Content::Text(text) => return Ok(of_text((text, None)).into_iter().collect()),
        Content::Parts(parts) => parts,
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (nth, part) in parts.iter().enumerate() {
        blocks.extend(match part {
            Part::Text { text, cache_control } => of_text((text, cache_control.as_ref())),
            Part::ImageUrl { image_url, cache_control } => {
                let source = media::image(&image_url.url)?;
                Some(Block::Image { source, cache_control: cache_control.as_ref() })
            }
            Part::File(file) => Some(media::document(file, &format!("messages[{at}].content[{nth}].file"))?),
            Part::InputAudio(_) => return Err(Unsendable::Lacks("audio")),
            Part::Refusal(text) => of_text((text, None)),
            Part::Unknown => return Err(Unsendable::Lacks("content_part")),
        });
    }
    Ok(blocks)
}

/// The texts of a message that can hold nothing else.
pub fn texts<'a>(content: &'a Content) -> Result<Vec<Marked<'a>>, Unsendable> {
    let parts = match content {
        Content::None => return Ok(Vec::new()),
        Content::Text(text) => return Ok(vec![(text, None)]),
        Content::Parts(parts) => parts,
    };
    let text = |part: &'a Part| match part {
        Part::Text { text, cache_control } => Ok((text.as_str(), cache_control.as_ref())),
        Part::Refusal(text) => Ok((text.as_str(), None)),
        Part::ImageUrl { .. } | Part::InputAudio(_) | Part::File(_) | Part::Unknown => {
            Err(Unsendable::Lacks("content_part"))
        }
    };
    parts.iter().map(text).collect()
}

/// The block of a text, unless it is blank.
pub fn of_text((text, cache_control): Marked<'_>) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then(|| Block::Text { text: text.into(), cache_control })
}

/// A call's arguments as an object, byte for byte.
pub fn input(call: &ToolCall, at: usize, nth: usize) -> Result<Cow<'_, RawValue>, Invalid> {
    let text = match call.function.arguments.trim() {
        "" | "null" => "{}",
        text => text,
    };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(Cow::Borrowed(raw)),
        _ => Err(Invalid::at(
            format!("messages[{at}].tool_calls[{nth}].function.arguments"),
            "`arguments` must be the text of a JSON object.",
        )),
    }
}

/// An assistant's turn: its text, its calls, and what was carried, each where it stood. Where the client changed
/// the text meanwhile, what is left of it counts.
pub fn weave<'a>(texts: Vec<Marked<'a>>, calls: Vec<Block<'a>>, carried: Vec<Carried<'a>>) -> Vec<Block<'a>> {
    let mut woven = Vec::with_capacity(texts.len() + calls.len() + carried.len());
    let mut texts = VecDeque::from(texts);
    let mut calls = calls.into_iter();
    let mut done = Place::default();
    for Carried { place, block } in carried {
        while done.after_text < place.after_text
            && let Some((text, mark)) = texts.pop_front()
        {
            let (piece, rest) = split(text, place.after_text - done.after_text);
            done.after_text += piece.chars().count();
            // A mark stands at the end of what it marks.
            woven.extend(of_text((piece, if rest.is_empty() { mark } else { None })));
            if !rest.is_empty() {
                texts.push_front((rest, mark));
            }
        }
        let before = place.after_calls.saturating_sub(done.after_calls);
        woven.extend(calls.by_ref().take(before));
        done.after_calls += before;
        woven.push(block);
    }
    woven.extend(texts.into_iter().filter_map(of_text));
    woven.extend(calls);
    woven
}

/// The first characters of a text, and the rest.
fn split(text: &str, characters: usize) -> (&str, &str) {
    let at = text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}
