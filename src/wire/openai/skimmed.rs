//! The usual forms of answers and chunks, read in one walk. What this cannot read, serde does; what it does read is
//! what serde would have read.

use std::borrow::Cow;

use super::{
    Choice, Completion, CompletionDetails, Few, Measure, Number, Piece, PromptDetails, Shape, Stated, Text,
    Usage,
};
use crate::wire::skim::{Seen, Skim, set};

/// A chunk, or a whole answer.
pub fn completion(json: &str) -> Seen<Completion<'_>> {
    let mut read = Completion {
        id: None,
        object: None,
        model: None,
        created: None,
        choices: None,
        usage: Stated::Nothing,
        x_groq: None,
        error: None,
    };
    Skim::whole(json, |skim| {
        skim.object(|skim, name| match name {
            "id" => set(&mut read.id, text(skim), 1),
            "object" => set(&mut read.object, text(skim), 1 << 1),
            "model" => set(&mut read.model, text(skim), 1 << 2),
            "created" => set(&mut read.created, number(skim), 1 << 3),
            "choices" => set(&mut read.choices, choices(skim), 1 << 4),
            "usage" => set(&mut read.usage, stated(skim), 1 << 5),
            "x_groq" => set(&mut read.x_groq, skim.typed(), 1 << 6),
            "error" => set(&mut read.error, skim.typed(), 1 << 7),
            _ => skim.skip().map(|_| 0),
        })
    })?;
    Some(read)
}

fn choices<'a>(skim: &mut Skim<'a>) -> Seen<Option<Few<Choice<'a>>>> {
    if skim.null() {
        return Some(None);
    }
    let mut choices = Few::None;
    skim.list(|skim| {
        choices.push(choice(skim)?);
        Some(())
    })?;
    Some(Some(choices))
}

fn choice<'a>(skim: &mut Skim<'a>) -> Seen<Choice<'a>> {
    let mut read = Choice { index: None, delta: None, message: None, finish_reason: None, error: None };
    skim.object(|skim, name| match name {
        "index" => set(&mut read.index, number(skim), 1),
        "delta" => set(&mut read.delta, piece(skim), 1 << 1),
        "message" => set(&mut read.message, piece(skim).map(|piece| piece.map(Box::new)), 1 << 2),
        "finish_reason" => set(&mut read.finish_reason, text(skim), 1 << 3),
        "error" => set(&mut read.error, skim.typed(), 1 << 4),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(read)
}

fn piece<'a>(skim: &mut Skim<'a>) -> Seen<Option<Piece<'a>>> {
    if skim.null() {
        return Some(None);
    }
    let mut read = Piece::default();
    skim.object(|skim, name| match name {
        "role" => set(&mut read.role, measure(skim), 1),
        // Null is content too, if no text.
        "content" => {
            let (content, json) = skim.with_text(measure)?;
            let spelling = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
            read.spelling =
                spelling.filter(|text| content.is_some_and(|content| content.bytes == text.len()));
            set(&mut read.content, Some(content.or(Some(Measure::NOTHING))), 1 << 1)
        }
        "reasoning_content" => set(&mut read.reasoning_content, measure(skim), 1 << 2),
        "reasoning" => set(&mut read.reasoning, measure(skim), 1 << 3),
        "reasoning_details" => set(&mut read.reasoning_details, skim.typed(), 1 << 4),
        "refusal" => set(&mut read.refusal, measure(skim), 1 << 5),
        "tool_calls" => set(&mut read.tool_calls, skim.typed(), 1 << 6),
        "function_call" => set(&mut read.function_call, skim.typed(), 1 << 7),
        "audio" => set(&mut read.audio, skim.typed(), 1 << 8),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(Some(read))
}

fn stated(skim: &mut Skim<'_>) -> Seen<Stated> {
    if skim.ahead() != Some(b'{') {
        return skim.typed();
    }
    let mut read = Box::new(Usage::default());
    skim.object(|skim, name| match name {
        "prompt_tokens" => set(&mut read.prompt_tokens, number(skim), 1),
        "completion_tokens" => set(&mut read.completion_tokens, number(skim), 1 << 1),
        "total_tokens" => set(&mut read.total_tokens, number(skim), 1 << 2),
        "prompt_tokens_details" => set(&mut read.prompt_tokens_details, prompt_details(skim), 1 << 3),
        "completion_tokens_details" => {
            set(&mut read.completion_tokens_details, completion_details(skim), 1 << 4)
        }
        "prompt_cache_hit_tokens" => set(&mut read.prompt_cache_hit_tokens, number(skim), 1 << 5),
        "cached_tokens" => set(&mut read.cached_tokens, number(skim), 1 << 6),
        "num_cached_tokens" => set(&mut read.num_cached_tokens, number(skim), 1 << 7),
        "cache_creation_input_tokens" => set(&mut read.cache_creation_input_tokens, number(skim), 1 << 8),
        "reasoning_tokens" => set(&mut read.reasoning_tokens, number(skim), 1 << 9),
        "cost" => set(&mut read.cost, skim.typed(), 1 << 10),
        "cost_in_usd_ticks" => set(&mut read.cost_in_usd_ticks, number(skim), 1 << 11),
        "is_byok" => set(&mut read.is_byok, skim.typed(), 1 << 12),
        "cost_details" => set(&mut read.cost_details, skim.typed(), 1 << 13),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(Stated::Counts(read))
}

fn prompt_details(skim: &mut Skim<'_>) -> Seen<Option<PromptDetails>> {
    if skim.null() {
        return Some(None);
    }
    let mut read = PromptDetails::default();
    skim.object(|skim, name| match name {
        "cached_tokens" => set(&mut read.cached_tokens, number(skim), 1),
        "cache_write_tokens" => set(&mut read.cache_write_tokens, number(skim), 1 << 1),
        "audio_tokens" => set(&mut read.audio_tokens, number(skim), 1 << 2),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(Some(read))
}

fn completion_details(skim: &mut Skim<'_>) -> Seen<Option<CompletionDetails>> {
    if skim.null() {
        return Some(None);
    }
    let mut read = CompletionDetails::default();
    skim.object(|skim, name| match name {
        "reasoning_tokens" => set(&mut read.reasoning_tokens, number(skim), 1),
        "audio_tokens" => set(&mut read.audio_tokens, number(skim), 1 << 1),
        _ => skim.skip().map(|_| 0),
    })?;
    Some(Some(read))
}

/// A count, or null.
fn number(skim: &mut Skim<'_>) -> Seen<Option<Number>> {
    match skim.natural() {
        Some(count) => Some(Some(Number { count, is_whole: true })),
        None => skim.typed(),
    }
}

/// A string without escapes, or null.
fn text<'a>(skim: &mut Skim<'a>) -> Seen<Option<Text<'a>>> {
    skim.word().map(|word| word.map(|word| Text(Cow::Borrowed(word))))
}

/// How much text stands here, or null.
fn measure(skim: &mut Skim<'_>) -> Seen<Option<Measure>> {
    if skim.ahead()? != b'"' {
        return skim.typed();
    }
    let text = skim.text()?;
    Some(Some(Measure { kind: Shape::Text, bytes: text.bytes(), chars: text.chars() }))
}

#[cfg(test)]
mod tests;
