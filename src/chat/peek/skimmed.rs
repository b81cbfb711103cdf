//! The usual forms of messages, looked into while the body is read. What this cannot read is read again by serde, and
//! has the same counts; what is wrong gets its words there.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{
    ContentPeek, Key, Marks, MessagesPeek, StringLength, WireCall, WireImage, WireMessage, WirePart, judge,
};
use crate::wire::skim::{Seen, Skim, set};

/// The list of messages ahead.
pub fn messages(skim: &mut Skim<'_>) -> Seen<MessagesPeek> {
    let mut found = MessagesPeek::default();
    let mut calls = HashSet::new();
    let mut count = 0;
    skim.list(|skim| {
        let message = message(skim, &mut found.marks)?;
        judge(count, message, &mut found, &mut calls).ok()?;
        count += 1;
        Some(())
    })?;
    (count > 0).then_some(found)
}

fn message<'a>(skim: &mut Skim<'a>, marks: &mut Marks) -> Seen<WireMessage<'a>> {
    let mut read = WireMessage::default();
    skim.object(|skim, name| {
        marks.note(name);
        match name {
            "role" => set(&mut read.role, key(skim), 1),
            "content" => set(&mut read.content, content(skim, marks), 1 << 1),
            "tool_calls" => set(&mut read.tool_calls, calls(skim, marks), 1 << 2),
            "tool_call_id" => set(&mut read.tool_call_id, key(skim), 1 << 3),
            "name" => set(&mut read.name, skim.typed(), 1 << 4),
            "refusal" => set(&mut read.refusal, skim.typed(), 1 << 5),
            "reasoning_content" => set(&mut read.reasoning_content, skim.typed(), 1 << 6),
            "reasoning_details" => set(&mut read.reasoning_details, skim.typed(), 1 << 7),
            "function_call" => set(&mut read.function_call, skim.typed(), 1 << 8),
            "audio" => set(&mut read.audio, skim.typed(), 1 << 9),
            _ => skim.skip().map(|_| 0),
        }
    })?;
    marks.developer |= read.role.as_ref().is_some_and(|role| role.0 == "developer");
    Some(read)
}

fn content(skim: &mut Skim<'_>, marks: &mut Marks) -> Seen<ContentPeek> {
    let mut read = ContentPeek { is_given: true, ..ContentPeek::default() };
    match skim.ahead()? {
        b'"' => read.text_bytes = length(skim)?.0,
        b'[' => skim.list(|skim| read.take(part(skim, marks)?).ok())?,
        _ => return skim.null().then(ContentPeek::default),
    }
    Some(read)
}

fn part<'a>(skim: &mut Skim<'a>, marks: &mut Marks) -> Seen<WirePart<'a>> {
    let mut kind = None;
    let mut text = None;
    let mut image_url = None;
    let mut input_audio = None;
    let mut file = None;
    skim.object(|skim, name| {
        marks.note(name);
        match name {
            "type" => set(&mut kind, key(skim), 1),
            "text" => set(&mut text, length(skim).map(Some), 1 << 1),
            "image_url" => set(&mut image_url, image(skim).map(Some), 1 << 2),
            "input_audio" => set(&mut input_audio, skim.typed(), 1 << 3),
            "file" => set(&mut file, skim.typed(), 1 << 4),
            _ => skim.skip().map(|_| 0),
        }
    })?;
    Some(WirePart { kind: kind?, text, image_url, input_audio, file })
}

fn image<'a>(skim: &mut Skim<'a>) -> Seen<WireImage<'a>> {
    let (mut url, mut detail) = (None, None);
    skim.object(|skim, name| match name {
        "url" => set(&mut url, key(skim), 1),
        "detail" => set(&mut detail, key(skim), 1 << 1),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(WireImage { url: url?, detail })
}

fn calls<'a>(skim: &mut Skim<'a>, marks: &mut Marks) -> Seen<Option<Vec<WireCall<'a>>>> {
    let (calls, text) = skim.with_text(Skim::typed)?;
    let inside = Marks::in_text(text);
    marks.extra_content |= inside.extra_content;
    marks.cache_control |= inside.cache_control;
    Some(calls)
}

fn length(skim: &mut Skim<'_>) -> Seen<StringLength> {
    skim.text().map(|text| StringLength(text.bytes() as u64))
}

/// A string without escapes, or null.
fn key<'a>(skim: &mut Skim<'a>) -> Seen<Option<Key<'a>>> {
    skim.word().map(|word| word.map(|word| Key(Cow::Borrowed(word))))
}

impl Marks {
    /// Takes note of a member of a message, or of a part of its content.
    fn note(&mut self, name: &str) {
        self.reasoning |= name.starts_with("reasoning");
        self.cache_control |= name == "cache_control";
        self.refusal |= name == "refusal";
        self.tools |= name.starts_with("tool");
    }
}
