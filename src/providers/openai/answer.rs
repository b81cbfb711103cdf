//! A whole answer in OpenAI's format: looked into, put right where the server departs from OpenAI's own, and else
//! passed on as it came.

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::mend::{self, Form, Thoughts};
use super::{ids, usage};
use crate::chat::{Answer, AnswerFacts, TargetFacts};
use crate::providers::error::{self, ErrorWords};
use crate::reason::{Class, Failure};
use crate::wire::openai::{Choice, Completion};

/// Reads an answer of status 200.
pub fn decode(body: Bytes, facts: &TargetFacts) -> Result<Answer, Failure> {
    // The parser looks only at what is peeked; the client's looks at every byte.
    let text = std::str::from_utf8(&body).map_err(|error| not_text(&error))?;
    let peek = Completion::read(text).map_err(|error| unreadable(&error))?;
    if let Some(failure) = reported_error(&peek, text) {
        return Err(failure);
    }
    let choices = peek.choices.as_deref().unwrap_or_default();
    if choices.is_empty() {
        return Err(Failure::new(Class::Malformed, "The upstream's answer has no `choices`."));
    }
    if choices.iter().any(|choice| choice.finish_reason.is_none()) {
        return Err(Failure::new(Class::Truncated, "The upstream's answer has no finish reason."));
    }
    let counts = usage::read(&peek, usage::reasons_beside(facts));
    let departs = mend::departs(&peek, Form::Answer)
        || choices.iter().any(|choice| has_loose_call(choice))
        || counts.is_some_and(|counts| !usage::is_plain(&peek, &counts));
    if !departs {
        let facts = AnswerFacts::of(&peek, counts);
        return Ok(Answer::Verbatim { body, facts });
    }
    let mut answer: Value = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    mend_answer(&mut answer);
    if let (Some(counts), Some(answer)) = (counts, answer.as_object_mut()) {
        usage::write(answer, &counts);
    }
    let body = Bytes::from(answer.to_string());
    let peek: Completion<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let facts = AnswerFacts::of(&peek, counts);
    Ok(Answer::Verbatim { body, facts })
}

/// The failure that an `error` member reports, if it says anything.
pub fn failure_of(error: &RawValue) -> Option<Failure> {
    let value: Value = serde_json::from_str(error.get()).unwrap_or_default();
    if says_nothing(&value) {
        return None;
    }
    let words = ErrorWords::of(&json!({ "error": value }));
    let class = error::class_of_words(&words);
    Some(words.failure(class))
}

/// The error that some vendors put into a 200: as the whole of it, in its place, in a choice, or as a finish reason.
pub fn reported_error(peek: &Completion<'_>, text: &str) -> Option<Failure> {
    if peek.object.as_ref().is_some_and(|object| object.0 == "error") {
        let words = ErrorWords::read(text.as_bytes());
        let class = error::class_of_words(&words);
        return Some(words.failure(class));
    }
    let choices = || peek.choices.iter().flatten();
    let errors = peek.error.into_iter().chain(choices().filter_map(|choice| choice.error));
    if let Some(failure) = errors.into_iter().find_map(failure_of) {
        return Some(failure);
    }
    choices().filter_map(Choice::finish_reason).find_map(failed).map(|class| {
        Failure::new(class, "The upstream ended its answer with an error that it does not describe.")
    })
}

/// The class of a finish reason that is none.
fn failed(reason: &str) -> Option<Class> {
    match reason {
        "error" => Some(Class::ServerError),
        "insufficient_system_resource" => Some(Class::Overloaded),
        _ => None,
    }
}

/// Nulls, empty texts and zeros: members that a server writes out although there is nothing to say.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::Object(members) => members.values().all(says_nothing),
    }
}

/// Whether a call lacks something that clients look for.
fn has_loose_call(choice: &Choice<'_>) -> bool {
    let calls = choice.message.as_ref().and_then(|message| message.tool_calls.as_deref());
    calls.unwrap_or_default().iter().any(|call| {
        let has_id = call.id.as_ref().is_some_and(|id| !id.0.is_empty());
        !has_id || mend::is_loose(call, Form::Answer)
    })
}

fn mend_answer(answer: &mut Value) {
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    let Some(answer) = answer.as_object_mut() else { return };
    mend::head(answer, Form::Answer);
    let choices = answer.get_mut("choices").and_then(Value::as_array_mut);
    for (at, choice) in (0..).zip(choices.into_iter().flatten()) {
        let Some(choice) = choice.as_object_mut() else { continue };
        choice.entry("index").or_insert_with(|| json!(at));
        // Perplexity's last delta, empty beside the message.
        choice.shift_remove("delta");
        if !choice.get("message").is_some_and(Value::is_object) {
            choice.insert("message".into(), json!({ "role": "assistant", "content": null }));
        }
        let Some(message) = choice.get_mut("message").and_then(Value::as_object_mut) else { continue };
        mend::piece(message, Form::Answer, &mut Thoughts::default());
        let mut calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for (position, call) in calls.iter_mut().flat_map(|calls| calls.iter_mut()).enumerate() {
            mend::call(call, Form::Answer);
            if call["id"].as_str().is_none_or(str::is_empty) {
                let name = call["function"]["name"].as_str().unwrap_or_default();
                call["id"] = json!(ids::invented(&id, at, position, name));
            }
        }
        let has_calls = calls.is_some_and(|calls| !calls.is_empty());
        mend::finish_reason(choice, has_calls);
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    let class = if error.is_eof() { Class::Truncated } else { Class::Malformed };
    Failure::new(class, format!("The upstream's answer is not a chat completion: {error}."))
}

fn not_text(error: &std::str::Utf8Error) -> Failure {
    let class = if error.error_len().is_none() { Class::Truncated } else { Class::Malformed };
    Failure::new(class, format!("The upstream's answer is not a chat completion: {error}."))
}
