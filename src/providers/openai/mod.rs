//! OpenAI's own dialect, and that of everybody who copies it. The client's bytes go through: only `model`, Piton's
//! own fields and what the vendor's row says are touched, and answers keep their bytes.

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::{self, ErrorWords};
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable};
use crate::chat::conversation::Effort;
use crate::chat::request::{Image, own_metadata};
use crate::chat::target::{Quirks, Thinking};
use crate::chat::{Answer, AnswerFacts, ChatRequest, TargetFacts, Usage};
use crate::reason::{Class, Failure};
use crate::units::Tokens;
use crate::wire::openai::Completion;

mod stream;

/// The dialect; vendors differ in their [`Quirks`] only.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi {
    /// OpenTelemetry's name of the vendor.
    pub telemetry: &'static str,
}

/// Parameters that models without free sampling answer with 400, and the value that they do take.
const SAMPLING: [(&str, f64); 4] =
    [("temperature", 1.0), ("top_p", 1.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0)];

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        self.telemetry
    }

    fn authorization(&self) -> Authorization {
        Authorization::Bearer
    }

    fn is_pass_through(&self) -> bool {
        true
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        let (needs, able) = (&request.needs, &facts.able);
        let lacks = [
            (needs.image_data || needs.image_url, able.vision, "vision"),
            (needs.audio, able.audio, "audio"),
            (needs.documents, able.documents, "documents"),
            (needs.tools, able.tools, "tools"),
            (needs.json_schema, able.json_schema, "json_schema"),
            (needs.json_mode, able.json_mode, "json_mode"),
            (needs.logprobs, able.logprobs, "logprobs"),
            (needs.n, able.n, "n"),
        ];
        lacks.into_iter().find_map(|(needed, able, what)| (needed && !able).then_some(what))
    }

    /// OpenAI's tiles: 85 tokens, and 170 for each 512 by 512 pixels after scaling to 2048 and then 768.
    fn fetches(&self, _: &str, facts: &TargetFacts) -> bool {
        facts.quirks.fetches_images
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        const LOW: u64 = 85;
        const MOST: u64 = LOW + 170 * 8;
        let tokens = match image.pixels {
            _ if image.low_detail => (LOW, LOW),
            Some(pixels) => {
                let tokens = LOW + 170 * tiles(pixels);
                (tokens, tokens)
            }
            None => (LOW, MOST),
        };
        (Tokens::new(tokens.0), Tokens::new(tokens.1))
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        let mut edit = request.edit();
        edit.set("model", Value::from(&*facts.model).to_string());
        for own in ["models", "fallbacks", "task_type"] {
            edit.remove(own);
        }
        clean_metadata(request, &mut edit);
        for (ours, theirs) in facts.quirks.renames {
            // Where the client sent both, the vendor's own name stands.
            if request.member(theirs).is_some() { edit.remove(ours) } else { edit.rename(ours, theirs) }
        }
        let dropped = unwelcome(request, facts);
        dropped.iter().for_each(|field| edit.remove(field));
        if request.stream && facts.able.streaming {
            ask_for_usage(request, &facts.quirks, &mut edit);
        } else if request.stream {
            edit.set("stream", "false".into());
            edit.remove("stream_options");
        }
        Ok(Encoded {
            path: "/chat/completions".into(),
            body: edit.finish(),
            dropped: dropped.into_iter().filter(|field| *field != "stream_options").collect(),
            context: ReplyContext { choices: request.answers, ..ReplyContext::default() },
            ..Encoded::default()
        })
    }

    fn decode(&self, body: Bytes, facts: &TargetFacts, _: &ReplyContext) -> Result<Answer, Failure> {
        // The parser looks only at what is peeked; the client's looks at every byte.
        let text = std::str::from_utf8(&body).map_err(|error| not_text(&error))?;
        let peek: Completion<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        if let Some(failure) = reported_error(&peek) {
            return Err(failure);
        }
        if peek.choices.as_ref().is_none_or(Vec::is_empty) {
            return Err(Failure::new(Class::Malformed, "The upstream's answer has no `choices`."));
        }
        let facts = AnswerFacts::of(&peek, usage(&peek, &facts.quirks));
        Ok(Answer::Verbatim { body, facts })
    }

    fn decoder(&self, facts: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(facts.quirks, context.choices))
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}

/// Fields that this target would refuse and that only hint at something.
fn unwelcome(request: &ChatRequest, facts: &TargetFacts) -> Vec<&'static str> {
    let mut fields: Vec<&'static str> = Vec::new();
    let present = |field: &str| request.member(field).is_some_and(|json| json != "null");
    fields.extend(facts.quirks.refuses.iter().copied().filter(|field| present(field)));
    if !facts.sampling {
        let differs = |(field, default): &(&str, f64)| {
            let value = request.member(field).and_then(|json| json.parse::<f64>().ok());
            value.is_some_and(|value| (value - default).abs() > f64::EPSILON)
        };
        fields.extend(SAMPLING.iter().filter(|entry| differs(entry)).map(|(field, _)| *field));
    }
    let asks_to_think = request.needs.effort.is_some_and(|effort| effort != Effort::None);
    if facts.thinking == Thinking::Never && (asks_to_think || request.needs.effort.is_some()) {
        fields.push("reasoning_effort");
    }
    fields
}

/// Usage is always asked for: without it nobody knows what a stream cost.
fn ask_for_usage(request: &ChatRequest, quirks: &Quirks, edit: &mut crate::chat::edit::BodyEdit<'_>) {
    if !quirks.stream_options || request.include_usage {
        return;
    }
    let mut options = request
        .member("stream_options")
        .and_then(|json| serde_json::from_str::<Value>(json).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    options["include_usage"] = json!(true);
    edit.set("stream_options", options.to_string());
}

/// Takes Piton's own entries out of the metadata; raw values keep the spelling of what stays.
fn clean_metadata(request: &ChatRequest, edit: &mut crate::chat::edit::BodyEdit<'_>) {
    let parsed = request.member("metadata").map(serde_json::from_str::<IndexMap<String, &RawValue>>);
    let Some(Ok(mut metadata)) = parsed else { return };
    let before = metadata.len();
    metadata.retain(|key, _| own_metadata(key).is_none());
    match serde_json::to_string(&metadata) {
        _ if metadata.len() == before => {}
        Ok(rest) if !metadata.is_empty() => edit.set("metadata", rest),
        _ => edit.remove("metadata"),
    }
}

/// The error that some vendors put into a 200.
fn reported_error(peek: &Completion<'_>) -> Option<Failure> {
    let error = peek.error.filter(|error| error.get() != "null")?;
    let value: Value = serde_json::from_str(error.get()).unwrap_or_default();
    let words = ErrorWords::of(&json!({ "error": value }));
    let class = error::class_of_words(&words);
    Some(words.failure(class))
}

/// The token counts in OpenAI's accounting, whatever the vendor's.
fn usage(peek: &Completion<'_>, quirks: &Quirks) -> Option<Usage> {
    let mut usage = Usage::of(&peek.usage()?);
    if quirks.reasoning_beside_completion {
        usage.completion = usage.completion + usage.reasoning;
    }
    Some(usage)
}

fn unreadable(error: &serde_json::Error) -> Failure {
    let class = if error.is_eof() { Class::Truncated } else { Class::Malformed };
    Failure::new(class, format!("The upstream's answer is not a chat completion: {error}."))
}

fn not_text(error: &std::str::Utf8Error) -> Failure {
    let class = if error.error_len().is_none() { Class::Truncated } else { Class::Malformed };
    Failure::new(class, format!("The upstream's answer is not a chat completion: {error}."))
}

/// How many 512-pixel tiles an image has after it was scaled.
fn tiles((width, height): (u32, u32)) -> u64 {
    let (mut width, mut height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    for (side, bound) in [(width.max(height), 2048.0), (0.0, 768.0)] {
        let side = if side > 0.0 { side } else { width.min(height) };
        let scale = (bound / side).min(1.0);
        width *= scale;
        height *= scale;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are between 1 and 2048"
    )]
    let count = |length: f64| (length / 512.0).ceil() as u64;
    count(width) * count(height)
}

#[cfg(test)]
mod tests;
