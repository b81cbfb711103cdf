//! The simulated Bedrock: Converse and ConverseStream, and InvokeModel for the bodies of Anthropic.

mod event_stream;
mod invoke;
mod request;
pub mod rules;

use bytes::Bytes;
use serde_json::{Value, json};

pub use self::invoke::Invoke;
use super::answer::{Answer, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};
use super::{rule, signature};

/// Bedrock's side of the simulation.
pub struct Bedrock;

/// Whose signatures its reasoning carries: Claude's hold on every cloud.
const FAMILY: &str = super::anthropic::FAMILY;

/// What pads an event to hide its length.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

impl Dialect for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        authorize(incoming)
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        rules::schema(incoming)?;
        rule::hold(rules::RULES, incoming)?;
        request::read(incoming)
    }

    fn body(&self, _: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            let text = answer.full_reasoning();
            let signature = signature::sign(FAMILY, &text);
            content.push(
                json!({ "reasoningContent": { "reasoningText": { "signature": signature, "text": text } } }),
            );
        }
        if !answer.text.is_empty() {
            content.push(json!({ "text": answer.full_text() }));
        }
        content.extend(answer.calls.iter().enumerate().map(|(index, call)| {
            let id = stamp.part_id("tooluse_", index);
            json!({ "toolUse": { "input": call.arguments, "name": call.name, "toolUseId": id } })
        }));
        json!({
            "metrics": { "latencyMs": 1 },
            "output": { "message": { "content": content, "role": "assistant" } },
            "stopReason": stop_reason(&answer.finish),
            "usage": usage(answer.usage),
        })
    }

    fn frames(&self, _: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let mut frames = Frames { frames: Vec::new(), block: 0 };
        frames.push(Part::Opening, "messageStart", json!({ "role": "assistant" }));
        if !answer.reasoning.is_empty() {
            for piece in &answer.reasoning {
                frames.delta(&json!({ "reasoningContent": { "text": piece } }));
            }
            let signature = signature::sign(FAMILY, &answer.full_reasoning());
            frames.delta(&json!({ "reasoningContent": { "signature": signature } }));
            frames.stop();
        }
        // A block of text has no start.
        if !answer.text.is_empty() {
            for piece in &answer.text {
                frames.delta(&json!({ "text": piece }));
            }
            frames.stop();
        }
        for (index, call) in answer.calls.iter().enumerate() {
            let start =
                json!({ "toolUse": { "toolUseId": stamp.part_id("tooluse_", index), "name": call.name } });
            let start = json!({ "contentBlockIndex": frames.block, "start": start });
            frames.push(Part::Content, "contentBlockStart", start);
            for piece in call.pieces() {
                frames.delta(&json!({ "toolUse": { "input": piece } }));
            }
            frames.stop();
        }
        frames.push(Part::Closing, "messageStop", json!({ "stopReason": stop_reason(&answer.finish) }));
        let metadata = json!({ "metrics": { "latencyMs": 1 }, "usage": usage(answer.usage) });
        frames.push(Part::Terminator, "metadata", metadata);
        frames.frames
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        rejected(rejection)
    }

    fn error_header(&self, rejection: &Rejection) -> Option<(&'static str, &'static str)> {
        Some(("x-amzn-errortype", class(rejection)))
    }

    fn error_event(&self, payload: &Value) -> Bytes {
        event_stream::exception("serviceUnavailableException", payload.to_string().as_bytes())
    }

    fn broken_event(&self) -> Bytes {
        event_stream::event("contentBlockDelta", b"{\"contentBlockIndex\":0,\"del")
    }

    fn stream_type(&self) -> &'static str {
        STREAM
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-amzn-requestid")
    }

    fn filters_with_error(&self) -> bool {
        false
    }
}

const STREAM: &str = "application/vnd.amazon.eventstream";

/// The events of one stream so far.
struct Frames {
    frames: Vec<Frame>,
    /// The index of the block that is being written.
    block: usize,
}

impl Frames {
    fn push(&mut self, part: Part, kind: &str, mut payload: Value) {
        payload["p"] = json!(padding(self.frames.len()));
        let wire = event_stream::event(kind, payload.to_string().as_bytes());
        self.frames.push(Frame { part, wire });
    }

    fn delta(&mut self, delta: &Value) {
        let payload = json!({ "contentBlockIndex": self.block, "delta": delta });
        self.push(Part::Content, "contentBlockDelta", payload);
    }

    fn stop(&mut self) {
        let payload = json!({ "contentBlockIndex": self.block });
        self.push(Part::Closing, "contentBlockStop", payload);
        self.block += 1;
    }
}

/// Of another length for each event, and always the same for the same one.
fn padding(number: usize) -> &'static str {
    PADDING.get(..number * 7 % PADDING.len() + 1).unwrap_or(PADDING)
}

/// A signature or a bearer token.
fn authorize(incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let known = |value: &str| value.starts_with("AWS4-HMAC-SHA256 ") || value.starts_with("Bearer ");
    if incoming.header("authorization").is_some_and(known) {
        return Ok(());
    }
    Err(Rejection::Auth { message: "Missing Authentication Token".to_owned() })
}

/// Status and body of an error; its class is in a header.
fn rejected(rejection: &Rejection) -> (u16, Value) {
    let (status, message) = match rejection {
        Rejection::Invalid(wrong) => (wrong.status.unwrap_or(400), wrong.message.clone()),
        Rejection::Auth { message } => (403, message.clone()),
        Rejection::NotFound { .. } => (400, "The provided model identifier is invalid.".to_owned()),
        Rejection::NoRoute { path } => (404, format!("No method found matching route {path}.")),
        Rejection::ContextLength { tokens } => {
            let message = format!(
                "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Passed: {tokens}, maximum length: {WINDOW}"
            );
            (400, message)
        }
        Rejection::ContentFilter => (
            400,
            "The model returned the following errors: Output blocked by content filtering policy".to_owned(),
        ),
        Rejection::Quota => (400, "You have exceeded the service quota for this operation.".to_owned()),
        Rejection::Overloaded => {
            (503, "Bedrock is unable to process your request. Please try again.".to_owned())
        }
        Rejection::Status(status) => (*status, format!("Simulated error with status {status}.")),
    };
    (status, json!({ "message": message }))
}

fn class(rejection: &Rejection) -> &'static str {
    const VALIDATION: &str = "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/";
    match rejection {
        Rejection::Invalid(wrong) => wrong.kind.unwrap_or(VALIDATION),
        Rejection::Auth { .. } => {
            "UnrecognizedClientException:http://internal.amazon.com/coral/com.amazon.coral.service/"
        }
        Rejection::NoRoute { .. } => "UnknownOperationException",
        Rejection::Quota => "ServiceQuotaExceededException",
        Rejection::Overloaded => "ServiceUnavailableException",
        Rejection::NotFound { .. } | Rejection::ContextLength { .. } | Rejection::ContentFilter => VALIDATION,
        Rejection::Status(status) => match status {
            403 | 401 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            408 => "ModelTimeoutException",
            409 => "ConflictException",
            413 => "RequestEntityTooLargeException",
            424 => "ModelErrorException",
            429 => "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/",
            503 => "ServiceUnavailableException",
            500.. => "InternalServerException",
            _ => VALIDATION,
        },
    }
}

fn stop_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Calls { .. } => "tool_use",
        Finish::Refusal | Finish::ContentFilter => "content_filtered",
    }
}

/// The input count leaves out what came from the cache; the total does not.
fn usage(usage: Usage) -> Value {
    let mut counts = json!({
        "inputTokens": usage.prompt - usage.cached,
        "outputTokens": usage.completion,
        "totalTokens": usage.prompt + usage.completion,
    });
    if usage.cached > 0 {
        counts["cacheReadInputTokens"] = json!(usage.cached);
        counts["cacheWriteInputTokens"] = json!(0);
    }
    counts
}
