//! The simulated Cohere: chat, version 2.

mod request;
pub mod rules;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};
use super::rule;

pub use self::rules::schema;

/// Cohere's side of the simulation.
pub struct Cohere;

impl Dialect for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
    }

    fn authorize(&self, incoming: &Incoming<'_>) -> Result<(), Rejection> {
        if incoming.header("authorization").is_some_and(|value| value.starts_with("Bearer ")) {
            return Ok(());
        }
        Err(Rejection::Auth { message: "no api key supplied".to_owned() })
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        schema("chat", incoming)?;
        rule::hold(rules::RULES, incoming)?;
        Ok(request::read(incoming))
    }

    fn body(&self, _: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        let mut message = json!({ "role": "assistant" });
        let mut content = Vec::new();
        if !answer.reasoning.is_empty() {
            content.push(json!({ "type": "thinking", "thinking": answer.full_reasoning() }));
        }
        if !answer.text.is_empty() {
            content.push(json!({ "type": "text", "text": answer.full_text() }));
        }
        if !content.is_empty() {
            message["content"] = json!(content);
        }
        if !answer.calls.is_empty() {
            message["tool_plan"] = json!(PLAN);
            let calls = answer.calls.iter().enumerate().map(|(index, call)| {
                let function = json!({ "name": call.name, "arguments": call.arguments.to_string() });
                json!({ "id": call_id(&call.name, stamp, index), "type": "function", "function": function })
            });
            message["tool_calls"] = calls.collect();
        }
        json!({
            "id": stamp.id(""),
            "message": message,
            "finish_reason": finish_reason(&answer.finish),
            "usage": usage(answer.usage),
        })
    }

    fn frames(&self, _: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let mut frames = Frames(Vec::new());
        let empty =
            json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
        let start = json!({ "id": stamp.id(""), "type": "message-start", "delta": { "message": empty } });
        frames.push(Part::Opening, &start);
        let blocks = [("thinking", &answer.reasoning), ("text", &answer.text)];
        for (index, (kind, pieces)) in blocks.into_iter().filter(|(_, pieces)| !pieces.is_empty()).enumerate()
        {
            frames.content("content-start", Part::Opening, index, &json!({ "type": kind, kind: "" }));
            for piece in pieces {
                frames.content("content-delta", Part::Content, index, &json!({ kind: piece }));
            }
            frames.push(Part::Closing, &json!({ "type": "content-end", "index": index }));
        }
        if !answer.calls.is_empty() {
            let plan = json!({ "message": { "tool_plan": PLAN } });
            frames.push(Part::Content, &json!({ "type": "tool-plan-delta", "delta": plan }));
        }
        for (index, call) in answer.calls.iter().enumerate() {
            let id = call_id(&call.name, stamp, index);
            let function = json!({ "name": call.name, "arguments": "" });
            let start = json!({ "id": id, "type": "function", "function": function });
            frames.call("tool-call-start", index, &start);
            for piece in call.pieces() {
                frames.call("tool-call-delta", index, &json!({ "function": { "arguments": piece } }));
            }
            frames.push(Part::Closing, &json!({ "type": "tool-call-end", "index": index }));
        }
        let end = json!({ "finish_reason": finish_reason(&answer.finish), "usage": usage(answer.usage) });
        frames.push(Part::Terminator, &json!({ "type": "message-end", "delta": end }));
        frames.0.push(Frame { part: Part::Terminator, wire: Bytes::from_static(b"data: [DONE]\n\n") });
        frames.0
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        let (status, message) = match rejection {
            Rejection::Invalid(wrong) => (wrong.status.unwrap_or(400), wrong.message.clone()),
            Rejection::Auth { message } => (401, message.clone()),
            Rejection::NotFound { model } => (
                404,
                format!(
                    "model '{model}' not found, make sure the correct model ID was used and that you have access to the model."
                ),
            ),
            Rejection::NoRoute { path } => (404, format!("{path} not found")),
            Rejection::ContextLength { tokens } => {
                let over = tokens.saturating_sub(WINDOW);
                let message = format!(
                    "too many tokens: size limit exceeded by {over} tokens. Try using shorter or fewer inputs. The limit \
                     for this model is {WINDOW} tokens."
                );
                let body = json!({ "error_type": "TOO_MANY_TOKENS", "id": "mock", "message": message });
                return (400, body);
            }
            Rejection::ContentFilter => {
                (400, "blocked input: please adjust your prompt and try again".to_owned())
            }
            Rejection::Quota => (402, "Please add or update your payment method to continue".to_owned()),
            Rejection::Overloaded => (503, "the service is overloaded, please try again later".to_owned()),
            Rejection::Status(status) => (*status, format!("Simulated error with status {status}.")),
        };
        (status, json!({ "id": "mock", "message": message }))
    }

    /// It fails with a good-looking end: only the reason says that it is none.
    fn error_event(&self, payload: &Value) -> Bytes {
        let error =
            json!({ "finish_reason": "ERROR", "error": payload["message"], "error_type": "SERVER_ERROR" });
        let end = json!({ "type": "message-end", "delta": error });
        format!("event: message-end\ndata: {end}\n\ndata: [DONE]\n\n").into()
    }

    fn broken_event(&self) -> Bytes {
        Bytes::from_static(b"event: content-delta\ndata: {\"type\":\"content-delta\",\"ind\n\n")
    }

    fn request_id_header(&self) -> Option<&'static str> {
        None
    }

    fn filters_with_error(&self) -> bool {
        true
    }
}

/// What it says before it calls its tools.
const PLAN: &str = "I will use a tool.";

/// The events of one stream so far.
struct Frames(Vec<Frame>);

impl Frames {
    fn push(&mut self, part: Part, payload: &Value) {
        let kind = payload["type"].as_str().unwrap_or_default();
        self.0.push(Frame { part, wire: format!("event: {kind}\ndata: {payload}\n\n").into() });
    }

    fn content(&mut self, kind: &str, part: Part, index: usize, content: &Value) {
        let delta = json!({ "message": { "content": content } });
        self.push(part, &json!({ "type": kind, "index": index, "delta": delta }));
    }

    /// In a stream the calls are one object, not a list.
    fn call(&mut self, kind: &str, index: usize, call: &Value) {
        let delta = json!({ "message": { "tool_calls": call } });
        self.push(Part::Content, &json!({ "type": kind, "index": index, "delta": delta }));
    }
}

/// The name, and twelve characters.
fn call_id(name: &str, stamp: Stamp, index: usize) -> String {
    format!("{name}_{:09}{index:03}", stamp.number)
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Refusal => "COMPLETE",
        Finish::StopSequence(_) => "STOP_SEQUENCE",
        Finish::Length => "MAX_TOKENS",
        Finish::Calls { .. } => "TOOL_CALL",
        Finish::ContentFilter => "ERROR",
    }
}

/// What is billed leaves out the provider's own preamble, which the other count has.
fn usage(usage: Usage) -> Value {
    const PREAMBLE: usize = 60;
    let mut counts = json!({
        "billed_units": { "input_tokens": usage.prompt - usage.cached, "output_tokens": usage.completion },
        "tokens": { "input_tokens": usage.prompt + PREAMBLE, "output_tokens": usage.completion },
    });
    if usage.reasoning > 0 {
        counts["tokens"]["reasoning_tokens"] = json!(usage.reasoning);
    }
    counts["cached_tokens"] = json!(usage.cached);
    counts
}
