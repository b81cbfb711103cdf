//! The simulated OpenAI, and the other providers that speak its dialect: `chat.completions` and embeddings.

mod azure;
mod compatible;
mod mistral;
mod request;
mod rules;
pub mod vendor;

use bytes::Bytes;
use serde_json::{Value, json};

use self::vendor::{Thought, Vendor};
use super::answer::{Answer, Call, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};
use super::signature;

/// OpenAI's side of the simulation, in one vendor's way.
pub struct OpenAi(pub &'static Vendor);

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        self.0.name
    }

    /// Self-hosted servers ask for no key, and tests of others need none.
    fn authorize(&self, _: &Incoming<'_>) -> Result<(), Rejection> {
        Ok(())
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        if incoming.model.is_empty() {
            return Err(Rejection::invalid("you must provide a model parameter"));
        }
        self.0.check("chat", incoming)?;
        request::read(incoming)
    }

    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        let choices: Vec<_> = (0..prompt.choices)
            .map(|index| {
                json!({
                    "index": index,
                    "message": message(self.0, answer, stamp, index),
                    "logprobs": null,
                    "finish_reason": finish_reason(&answer.finish),
                })
            })
            .collect();
        json!({
            "id": stamp.id(ID),
            "object": "chat.completion",
            "created": stamp.created,
            "model": prompt.model,
            "choices": choices,
            "usage": usage(answer.usage, prompt.choices),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        })
    }

    fn frames(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Vec<Frame> {
        let mut stream = Stream { vendor: self.0, prompt, stamp, frames: Vec::new() };
        let each = 0..prompt.choices;
        for index in each.clone() {
            stream.delta(
                Part::Opening,
                index,
                &json!({ "role": "assistant", "content": "", "refusal": null }),
            );
        }
        for index in each.clone() {
            stream.content(index, answer);
        }
        let finish = finish_reason(&answer.finish);
        for index in each {
            let calls = if self.0.whole_calls { &answer.calls[..] } else { &[] };
            let mut delta = json!({});
            if !calls.is_empty() {
                delta["tool_calls"] = stream.whole_calls(index, calls);
            }
            let usage = if self.0.usage_on_last { usage(answer.usage, prompt.choices) } else { Value::Null };
            stream.choice(Part::Closing, index, &delta, &json!(finish), usage);
        }
        if prompt.include_usage && !self.0.usage_on_last {
            stream.chunk(Part::Closing, &json!([]), usage(answer.usage, prompt.choices));
        }
        stream.frames.push(Frame { part: Part::Terminator, wire: Bytes::from_static(b"data: [DONE]\n\n") });
        stream.frames
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        let invalid = "invalid_request_error";
        let (status, kind, code, param, message) = match rejection {
            Rejection::Invalid(wrong) => {
                let status = wrong.status.unwrap_or(400);
                let (kind, param) = (wrong.kind.unwrap_or(invalid), wrong.param.as_deref());
                let mut body = self.0.errors.body(status, &wrong.message, Some(kind), param, wrong.code);
                if let Some(detail) = &wrong.detail {
                    body["message"] = detail.clone();
                }
                return (status, body);
            }
            Rejection::Auth { message } => (401, invalid, Some("invalid_api_key"), None, message.clone()),
            Rejection::NotFound { model } => {
                let message = format!("The model `{model}` does not exist or you do not have access to it.");
                (404, invalid, Some("model_not_found"), None, message)
            }
            Rejection::NoRoute { path } => (404, invalid, None, None, format!("Invalid URL ({path})")),
            Rejection::ContextLength { tokens } => {
                let message = format!(
                    "This model's maximum context length is {WINDOW} tokens. However, your messages resulted in \
                     {tokens} tokens. Please reduce the length of the messages."
                );
                (400, invalid, Some("context_length_exceeded"), Some("messages"), message)
            }
            Rejection::ContentFilter => {
                let message = "The request was stopped by the content management policy.".to_owned();
                (400, invalid, Some("content_filter"), Some("prompt"), message)
            }
            Rejection::Quota => {
                let message = "You exceeded your current quota, please check your plan and billing details.";
                (429, "insufficient_quota", Some("insufficient_quota"), None, message.to_owned())
            }
            Rejection::Overloaded => {
                let message = "The engine is currently overloaded, please try again later.".to_owned();
                (503, "server_error", None, None, message)
            }
            Rejection::Status(status) => {
                let (kind, code) = kind_of(*status);
                (*status, kind, code, None, format!("Simulated error with status {status}."))
            }
        };
        (status, self.0.errors.body(status, &message, Some(kind), param, code))
    }

    fn error_event(&self, payload: &Value) -> Bytes {
        // One of them names its events, and only those of errors.
        let name = if self.0.name == "groq" { "event: error\n" } else { "" };
        format!("{name}data: {payload}\n\n").into()
    }

    fn broken_event(&self) -> Bytes {
        let event =
            b"data: {\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"ind\n\n";
        Bytes::from_static(event)
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-request-id")
    }

    fn filters_with_error(&self) -> bool {
        false
    }
}

const ID: &str = "chatcmpl-";
/// Whose signatures go through a gateway, and the format that it calls them by.
const FAMILY: &str = super::anthropic::FAMILY;
const DETAILS: &str = "anthropic-claude-v1";
const FINGERPRINT: &str = "fp_mock";

/// The chunks of one stream so far.
struct Stream<'s> {
    vendor: &'static Vendor,
    prompt: &'s Prompt,
    stamp: Stamp,
    frames: Vec<Frame>,
}

impl Stream<'_> {
    fn content(&mut self, index: usize, answer: &Answer) {
        let form = self.vendor.reasoning;
        for piece in answer.reasoning.iter().filter(|_| form != Thought::Hidden) {
            self.delta(Part::Content, index, &thought(form, piece));
        }
        if form == Thought::Details && !answer.reasoning.is_empty() {
            let proof = signature::sign(FAMILY, &answer.full_reasoning());
            let last = json!({ "reasoning_details": [detail("signature", &proof)] });
            self.delta(Part::Content, index, &last);
        }
        let key = if answer.finish == Finish::Refusal { "refusal" } else { "content" };
        for piece in &answer.text {
            self.delta(Part::Content, index, &json!({ key: piece }));
        }
        let calls = if self.vendor.whole_calls { &[] } else { &answer.calls[..] };
        for (at, call) in calls.iter().enumerate() {
            let start = json!({ "tool_calls": [{
                "index": at,
                "id": call_id(self.vendor, self.stamp, index, at),
                "type": "function",
                "function": { "name": call.name, "arguments": "" },
            }] });
            self.delta(Part::Content, index, &start);
            for piece in call.pieces() {
                let more = json!({ "tool_calls": [{ "index": at, "function": { "arguments": piece } }] });
                self.delta(Part::Content, index, &more);
            }
        }
    }

    /// All calls in one piece.
    fn whole_calls(&self, index: usize, calls: &[Call]) -> Value {
        let calls = calls.iter().enumerate().map(|(at, call)| {
            json!({
                "index": at,
                "id": call_id(self.vendor, self.stamp, index, at),
                "function": { "name": call.name, "arguments": call.arguments.to_string() },
            })
        });
        calls.collect()
    }

    fn delta(&mut self, part: Part, index: usize, delta: &Value) {
        self.choice(part, index, delta, &Value::Null, Value::Null);
    }

    fn choice(&mut self, part: Part, index: usize, delta: &Value, finish: &Value, usage: Value) {
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish });
        self.chunk(part, &json!([choice]), usage);
    }

    fn chunk(&mut self, part: Part, choices: &Value, usage: Value) {
        let mut chunk = json!({
            "id": self.stamp.id(ID),
            "object": "chat.completion.chunk",
            "created": self.stamp.created,
            "model": self.prompt.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        });
        if self.prompt.include_usage || !usage.is_null() {
            chunk["usage"] = usage;
        }
        self.frames.push(Frame { part, wire: format!("data: {chunk}\n\n").into() });
    }
}

/// A piece of reasoning as a vendor writes it into a message or a delta.
fn thought(form: Thought, text: &str) -> Value {
    match form {
        Thought::Hidden => json!({}),
        Thought::Content => json!({ "reasoning_content": text }),
        Thought::Plain => json!({ "reasoning": text }),
        Thought::Details => json!({ "reasoning": text, "reasoning_details": [detail("text", text)] }),
        Thought::Part => {
            let part = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": text }] });
            json!({ "content": [part] })
        }
    }
}

/// A piece of signed reasoning: some of its text, or at its end the signature.
fn detail(key: &str, value: &str) -> Value {
    json!({ "type": "reasoning.text", key: value, "format": DETAILS, "index": 0 })
}

/// A thought that is complete: it says so, or it is signed.
fn whole_thought(form: Thought, text: &str) -> Value {
    let mut thought = thought(form, text);
    match form {
        Thought::Part => thought["content"][0]["closed"] = json!(true),
        Thought::Details => {
            thought["reasoning_details"][0]["signature"] = json!(signature::sign(FAMILY, text));
        }
        Thought::Hidden | Thought::Content | Thought::Plain => {}
    }
    thought
}

fn message(vendor: &Vendor, answer: &Answer, stamp: Stamp, choice: usize) -> Value {
    let text = json!(answer.full_text());
    let (content, refusal) = match answer.finish {
        Finish::Refusal => (Value::Null, text),
        Finish::Calls { .. } => (Value::Null, Value::Null),
        Finish::Stop | Finish::StopSequence(_) | Finish::Length | Finish::ContentFilter => {
            (text, Value::Null)
        }
    };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": refusal });
    if !answer.reasoning.is_empty() {
        let mut thought = whole_thought(vendor.reasoning, &answer.full_reasoning());
        if let Some(parts) = thought.get_mut("content").and_then(Value::as_array_mut)
            && let Some(text) = message["content"].as_str()
        {
            parts.push(json!({ "type": "text", "text": text }));
        }
        for (key, value) in thought.as_object().into_iter().flatten() {
            message[key] = value.clone();
        }
    }
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().enumerate().map(|(at, call)| {
            json!({
                "id": call_id(vendor, stamp, choice, at),
                "type": "function",
                "function": { "name": call.name, "arguments": call.arguments.to_string() },
            })
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn call_id(vendor: &Vendor, stamp: Stamp, choice: usize, at: usize) -> String {
    if vendor.short_ids {
        return format!("m{:05}{:03}", stamp.number % 100_000, (choice * 100 + at) % 1000);
    }
    // Two digits for each keep the ids of a hundred calls of a hundred choices apart.
    stamp.part_id("call_", choice * 100 + at)
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        // A function forced by its name ends with `stop`; calls that the model chose, or had to choose, do not.
        Finish::Calls { named: false } => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Refusal | Finish::Calls { named: true } => "stop",
        Finish::Length => "length",
        Finish::ContentFilter => "content_filter",
    }
}

/// The usage of all choices together; the prompt is counted once.
fn usage(usage: Usage, choices: usize) -> Value {
    let (completion, reasoning) = (usage.completion * choices, usage.reasoning * choices);
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": completion,
        "total_tokens": usage.prompt + completion,
        "prompt_tokens_details": { "cached_tokens": usage.cached, "audio_tokens": 0 },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn kind_of(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        429 => ("requests", Some("rate_limit_exceeded")),
        401 => ("invalid_request_error", Some("invalid_api_key")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}
