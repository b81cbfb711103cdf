//! The simulated Gemini, in AI Studio and on Vertex AI: `generateContent` and `streamGenerateContent`.

mod request;
pub mod rules;
mod schema;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};
use super::{rule, signature};

pub use self::rules::schema;

/// Gemini's side of the simulation.
pub struct Gemini {
    pub vertex: bool,
}

/// Whose signatures these are.
const FAMILY: &str = "gemini";

impl Dialect for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        request::authorize(incoming)
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        schema(self.vertex, "generate", incoming)?;
        let prompt = request::read(self.vertex, incoming)?;
        rule::hold(rules::RULES, incoming)?;
        if self.vertex {
            rule::hold(rules::OF_VERTEX, incoming)?;
        }
        Ok(prompt)
    }

    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        if prompt.as_array {
            return chunks(prompt, answer, stamp).into_iter().map(|(_, chunk)| chunk).collect();
        }
        let mut parts = Vec::new();
        if !answer.reasoning.is_empty() {
            parts.push(json!({ "text": answer.full_reasoning(), "thought": true }));
        }
        if has_text(answer) {
            parts.push(json!({ "text": answer.full_text() }));
        }
        parts.extend(calls(prompt, answer, stamp));
        if let Some(last) =
            parts.last_mut().filter(|_| !answer.reasoning.is_empty() && answer.calls.is_empty())
        {
            last["thoughtSignature"] = json!(signature::sign(FAMILY, ""));
        }
        chunk(prompt, answer, stamp, parts, Some(&answer.finish), answer.usage)
    }

    fn frames(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let chunks = chunks(prompt, answer, stamp).into_iter();
        chunks.map(|(part, chunk)| Frame { part, wire: event(&chunk) }).collect()
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        let (status, message, details) = match rejection {
            Rejection::Invalid(wrong) => {
                let details = wrong.param.as_ref().map(|param| {
                    json!({
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [{ "field": param, "description": wrong.message }],
                    })
                });
                (wrong.status.unwrap_or(400), wrong.message.clone(), details)
            }
            Rejection::Auth { message } => {
                let details = json!({
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com",
                    "metadata": { "service": "generativelanguage.googleapis.com" },
                });
                (400, message.clone(), Some(details))
            }
            Rejection::NotFound { model } => {
                let message = format!(
                    "models/{model} is not found for API version v1beta, or is not supported for generateContent. \
                     Call ListModels to see the list of available models and their supported methods."
                );
                (404, message, None)
            }
            Rejection::NoRoute { path } => (404, format!("The requested URL {path} was not found."), None),
            Rejection::ContextLength { tokens } => {
                let message = format!(
                    "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({WINDOW})."
                );
                (400, message, None)
            }
            Rejection::ContentFilter => (400, "The prompt was blocked.".to_owned(), None),
            Rejection::Quota => {
                let message = "You exceeded your current quota, please check your plan and billing details.";
                let details = json!({
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{ "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier" }],
                });
                (429, message.to_owned(), Some(details))
            }
            Rejection::Overloaded => {
                (503, "The model is overloaded. Please try again later.".to_owned(), None)
            }
            Rejection::Status(status) => (*status, format!("Simulated error with status {status}."), None),
        };
        let mut error = json!({ "code": status, "message": message, "status": status_name(status) });
        if let Some(details) = details {
            error["details"] = json!([details]);
        }
        (status, json!({ "error": error }))
    }

    fn retry_hint(&self, body: &mut Value, after: Duration) -> bool {
        let hint = json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}s", after.as_secs_f64()),
        });
        match body["error"]["details"].as_array_mut() {
            Some(details) => details.push(hint),
            None => body["error"]["details"] = json!([hint]),
        }
        true
    }

    fn error_event(&self, payload: &Value) -> Bytes {
        event(payload)
    }

    fn broken_event(&self) -> Bytes {
        Bytes::from_static(b"data: {\"candidates\": [{\"content\": {\"parts\": [{\"te\r\n\r\n")
    }

    fn request_id_header(&self) -> Option<&'static str> {
        None
    }

    fn filters_with_error(&self) -> bool {
        false
    }
}

fn event(payload: &Value) -> Bytes {
    format!("data: {payload}\r\n\r\n").into()
}

/// The stream's responses: one for each piece and each call, and one with the finish reason at the end.
fn chunks(prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<(Part, Value)> {
    let mut so_far = Usage { completion: 0, reasoning: 0, ..answer.usage };
    let mut chunks = Vec::new();
    let mut push = |part: Value, usage| {
        chunks.push((Part::Content, chunk(prompt, answer, stamp, vec![part], None, usage)));
    };
    for piece in &answer.reasoning {
        so_far.completion += 1;
        so_far.reasoning += 1;
        push(json!({ "text": piece, "thought": true }), so_far);
    }
    if has_text(answer) {
        for piece in &answer.text {
            so_far.completion += 1;
            push(json!({ "text": piece }), so_far);
        }
    }
    for part in calls(prompt, answer, stamp) {
        push(part, answer.usage);
    }
    let mut last = json!({ "text": "" });
    if !answer.reasoning.is_empty() && answer.calls.is_empty() {
        last["thoughtSignature"] = json!(signature::sign(FAMILY, ""));
    }
    let last = if chunks.is_empty() { Vec::new() } else { vec![last] };
    chunks.push((Part::Terminator, chunk(prompt, answer, stamp, last, Some(&answer.finish), answer.usage)));
    chunks
}

/// One `GenerateContentResponse`.
fn chunk(
    prompt: &Prompt,
    answer: &Answer,
    stamp: Stamp,
    parts: Vec<Value>,
    finish: Option<&Finish>,
    usage: Usage,
) -> Value {
    let mut response = json!({});
    if answer.finish == Finish::ContentFilter {
        response["promptFeedback"] = json!({ "blockReason": "PROHIBITED_CONTENT" });
    } else {
        let mut content = json!({});
        if !parts.is_empty() {
            content["parts"] = Value::Array(parts);
        }
        content["role"] = json!("model");
        let mut candidate = json!({ "content": content });
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish_reason(finish));
        }
        candidate["index"] = json!(0);
        response["candidates"] = json!([candidate]);
    }
    response["usageMetadata"] = usage_metadata(usage);
    response["modelVersion"] = json!(prompt.model);
    response["responseId"] = json!(stamp.id(""));
    response
}

/// The calls as parts; the first carries the signature of the reasoning before it.
fn calls(prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Value> {
    let with_ids = prompt.model.starts_with("gemini-3");
    let calls = answer.calls.iter().enumerate().map(|(index, call)| {
        let mut part = json!({ "functionCall": { "name": call.name, "args": call.arguments } });
        if with_ids {
            part["functionCall"]["id"] = json!(stamp.part_id("", index));
        }
        // Newer models think and sign whether they show it or not.
        if index == 0 && (with_ids || !answer.reasoning.is_empty()) {
            part["thoughtSignature"] = json!(signature::sign(FAMILY, &call.name));
        }
        part
    });
    calls.collect()
}

/// A refusal says nothing; it only has a finish reason.
fn has_text(answer: &Answer) -> bool {
    !answer.text.is_empty() && answer.finish != Finish::Refusal
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        // Calls end like anything else.
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls { .. } => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Refusal | Finish::ContentFilter => "SAFETY",
    }
}

/// The candidates' count leaves out the thoughts; a count of nothing is left out.
fn usage_metadata(usage: Usage) -> Value {
    let mut metadata = json!({ "promptTokenCount": usage.prompt });
    let candidates = usage.completion - usage.reasoning;
    let counts = [
        ("candidatesTokenCount", candidates),
        ("cachedContentTokenCount", usage.cached),
        ("thoughtsTokenCount", usage.reasoning),
    ];
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        metadata[name] = json!(count);
    }
    metadata["totalTokenCount"] = json!(usage.prompt + usage.completion);
    metadata["promptTokensDetails"] = json!([{ "modality": "TEXT", "tokenCount": usage.prompt }]);
    metadata
}

fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}
