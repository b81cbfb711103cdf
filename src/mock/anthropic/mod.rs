//! The simulated Anthropic: Messages, direct, on Vertex AI and on Bedrock.

mod conversation;
mod request;
pub mod rules;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};
use super::{rule, signature};

/// Anthropic's side of the simulation, behind one of its doors.
pub struct Anthropic(pub Host);

/// Whose door the request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Direct,
    Vertex,
    Bedrock,
}

/// Whose signatures these are; they hold on every cloud.
pub const FAMILY: &str = "anthropic";

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        request::authorize(self.0, incoming)
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        rules::schema(self.0, incoming)?;
        let prompt = request::read(incoming)?;
        rule::hold(rules::RULES, incoming)?;
        Ok(prompt)
    }

    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        let mut message = message(prompt, answer, stamp);
        message["content"] = blocks(answer, stamp).iter().map(Block::whole).collect();
        let (reason, sequence) = stop_reason(&answer.finish);
        message["stop_reason"] = json!(reason);
        message["stop_sequence"] = json!(sequence);
        message
    }

    fn frames(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut push = |part, payload: &Value| frames.push(Frame { part, wire: event(payload) });
        let mut start = message(prompt, answer, stamp);
        start["usage"]["output_tokens"] = json!(answer.usage.completion.min(1));
        push(Part::Opening, &json!({ "type": "message_start", "message": start }));
        for (index, block) in blocks(answer, stamp).iter().enumerate() {
            let start =
                json!({ "type": "content_block_start", "index": index, "content_block": block.start() });
            push(Part::Opening, &start);
            if index == 0 {
                push(Part::Opening, &json!({ "type": "ping" }));
            }
            for delta in block.deltas() {
                let delta = json!({ "type": "content_block_delta", "index": index, "delta": delta });
                push(Part::Content, &delta);
            }
            push(Part::Closing, &json!({ "type": "content_block_stop", "index": index }));
        }
        let (reason, sequence) = stop_reason(&answer.finish);
        let delta = json!({
            "type": "message_delta",
            "delta": { "stop_reason": reason, "stop_sequence": sequence },
            "usage": output(answer.usage),
        });
        push(Part::Closing, &delta);
        push(Part::Terminator, &json!({ "type": "message_stop" }));
        frames
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        let invalid = "invalid_request_error";
        let (status, kind, message) = match rejection {
            Rejection::Invalid(wrong) => {
                let place = wrong.param.as_ref().map(|param| format!("{param}: ")).unwrap_or_default();
                (wrong.status.unwrap_or(400), invalid, place + &wrong.message)
            }
            Rejection::Auth { message } => (401, "authentication_error", message.clone()),
            Rejection::NotFound { model } => (404, "not_found_error", format!("model: {model}")),
            Rejection::NoRoute { path } => (404, "not_found_error", format!("Not found: {path}")),
            Rejection::ContextLength { tokens } => {
                (400, invalid, format!("prompt is too long: {tokens} tokens > {WINDOW} maximum"))
            }
            Rejection::ContentFilter => {
                (400, invalid, "Output blocked by content filtering policy".to_owned())
            }
            Rejection::Quota => {
                let message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
                               Billing to upgrade or purchase credits.";
                (400, invalid, message.to_owned())
            }
            Rejection::Overloaded => (529, "overloaded_error", "Overloaded".to_owned()),
            Rejection::Status(status) => {
                (*status, kind_of(*status), format!("Simulated error with status {status}."))
            }
        };
        (status, json!({ "type": "error", "error": { "type": kind, "message": message } }))
    }

    fn error_event(&self, payload: &Value) -> Bytes {
        event(payload)
    }

    fn broken_event(&self) -> Bytes {
        let event =
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"del\n\n";
        Bytes::from_static(event)
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("request-id")
    }

    fn filters_with_error(&self) -> bool {
        true
    }
}

fn event(payload: &Value) -> Bytes {
    format!("event: {}\ndata: {payload}\n\n", payload["type"].as_str().unwrap_or_default()).into()
}

/// One block of the answer's content.
enum Block<'a> {
    Thinking { pieces: &'a [String], signature: String },
    Text { pieces: &'a [String] },
    ToolUse { id: String, name: &'a str, input: &'a Value, pieces: Vec<String> },
}

impl Block<'_> {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking { pieces, signature } => {
                json!({ "type": "thinking", "thinking": pieces.concat(), "signature": signature })
            }
            Self::Text { pieces } => json!({ "type": "text", "text": pieces.concat() }),
            Self::ToolUse { id, name, input, .. } => {
                json!({ "type": "tool_use", "id": id, "name": name, "input": input })
            }
        }
    }

    /// The block before its first delta.
    fn start(&self) -> Value {
        match self {
            Self::Thinking { .. } => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Self::Text { .. } => json!({ "type": "text", "text": "" }),
            Self::ToolUse { id, name, .. } => {
                json!({ "type": "tool_use", "id": id, "name": name, "input": {} })
            }
        }
    }

    fn deltas(&self) -> Vec<Value> {
        match self {
            Self::Thinking { pieces, signature } => {
                let thinking =
                    pieces.iter().map(|piece| json!({ "type": "thinking_delta", "thinking": piece }));
                let signature = json!({ "type": "signature_delta", "signature": signature });
                thinking.chain([signature]).collect()
            }
            Self::Text { pieces } => {
                pieces.iter().map(|piece| json!({ "type": "text_delta", "text": piece })).collect()
            }
            // A call without arguments has only the empty first piece.
            Self::ToolUse { pieces, input, .. } => {
                let empty = input.as_object().is_some_and(serde_json::Map::is_empty);
                let first = String::new();
                let pieces = if empty { &[][..] } else { pieces };
                let delta = |piece| json!({ "type": "input_json_delta", "partial_json": piece });
                std::iter::once(&first).chain(pieces).map(delta).collect()
            }
        }
    }
}

/// The message without its content, and without an end.
fn message(prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
    json!({
        "id": stamp.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(answer.usage),
    })
}

fn blocks(answer: &Answer, stamp: Stamp) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    if !answer.reasoning.is_empty() {
        let signature = signature::sign(FAMILY, &answer.full_reasoning());
        blocks.push(Block::Thinking { pieces: &answer.reasoning, signature });
    }
    // A refusal has no text of its own.
    if !answer.text.is_empty() && answer.finish != Finish::Refusal {
        blocks.push(Block::Text { pieces: &answer.text });
    }
    blocks.extend(answer.calls.iter().enumerate().map(|(index, call)| Block::ToolUse {
        id: stamp.part_id("toolu_", index),
        name: &call.name,
        input: &call.arguments,
        pieces: call.pieces(),
    }));
    blocks
}

fn stop_reason(finish: &Finish) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::Length => ("max_tokens", None),
        Finish::Calls { .. } => ("tool_use", None),
        Finish::Refusal | Finish::ContentFilter => ("refusal", None),
    }
}

/// The input count leaves out what came from the cache.
fn usage(usage: Usage) -> Value {
    let mut counts = json!({
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "service_tier": "standard",
    });
    for (name, count) in output(usage).as_object().into_iter().flatten() {
        counts[name] = count.clone();
    }
    counts
}

/// What thinking took is a part of the output, and is told where there was any.
fn output(usage: Usage) -> Value {
    let mut counts = json!({ "output_tokens": usage.completion });
    if usage.reasoning > 0 {
        counts["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning });
    }
    counts
}

fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
