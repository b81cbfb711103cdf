//! The simulated OpenAI: `chat.completions`.

mod request;

use serde_json::{Value, json};

use super::answer::{Answer, Finish, Usage};
use super::dialect::{Dialect, Frame, Part, Stamp};
use super::prompt::{Incoming, Prompt, Rejection, WINDOW};

/// OpenAI's side of the simulation.
pub struct OpenAi;

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn read(&self, incoming: &Incoming<'_>) -> Result<Prompt, Rejection> {
        request::read(incoming)
    }

    fn body(&self, prompt: &Prompt, answer: &Answer, stamp: Stamp) -> Value {
        let choices: Vec<_> = (0..prompt.choices)
            .map(|index| {
                json!({
                    "index": index,
                    "message": message(answer, stamp, index),
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
        let mut stream = Stream { prompt, stamp, frames: Vec::new() };
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
            stream.choice(Part::Closing, index, &json!({}), &json!(finish));
        }
        if prompt.include_usage {
            stream.chunk(Part::Closing, &json!([]), usage(answer.usage, prompt.choices));
        }
        stream.frames.push(Frame { part: Part::Terminator, wire: "data: [DONE]\n\n".to_owned() });
        stream.frames
    }

    fn rejection(&self, rejection: &Rejection) -> (u16, Value) {
        let invalid = "invalid_request_error";
        let (status, kind, code, param, message) = match rejection {
            Rejection::Invalid { message, param, code } => {
                (400, invalid, *code, param.as_deref(), message.clone())
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
        (status, json!({ "error": { "message": message, "type": kind, "param": param, "code": code } }))
    }

    fn event(&self, payload: &Value) -> String {
        format!("data: {payload}\n\n")
    }

    fn broken_event(&self) -> String {
        "data: {\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"ind\n\n"
            .to_owned()
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("x-request-id")
    }

    fn filters_with_error(&self) -> bool {
        false
    }
}

const ID: &str = "chatcmpl-";
const FINGERPRINT: &str = "fp_mock";

/// The chunks of one stream so far.
struct Stream<'s> {
    prompt: &'s Prompt,
    stamp: Stamp,
    frames: Vec<Frame>,
}

impl Stream<'_> {
    fn content(&mut self, index: usize, answer: &Answer) {
        for piece in &answer.reasoning {
            self.delta(Part::Content, index, &json!({ "reasoning_content": piece }));
        }
        let key = if answer.finish == Finish::Refusal { "refusal" } else { "content" };
        for piece in &answer.text {
            self.delta(Part::Content, index, &json!({ key: piece }));
        }
        for (at, call) in answer.calls.iter().enumerate() {
            let start = json!({ "tool_calls": [{
                "index": at,
                "id": call_id(self.stamp, index, at),
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

    fn delta(&mut self, part: Part, index: usize, delta: &Value) {
        self.choice(part, index, delta, &Value::Null);
    }

    fn choice(&mut self, part: Part, index: usize, delta: &Value, finish: &Value) {
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": finish });
        self.chunk(part, &json!([choice]), Value::Null);
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
        if self.prompt.include_usage {
            chunk["usage"] = usage;
        }
        self.frames.push(Frame { part, wire: OpenAi.event(&chunk) });
    }
}

fn message(answer: &Answer, stamp: Stamp, choice: usize) -> Value {
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
        message["reasoning_content"] = json!(answer.full_reasoning());
    }
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().enumerate().map(|(at, call)| {
            json!({
                "id": call_id(stamp, choice, at),
                "type": "function",
                "function": { "name": call.name, "arguments": call.arguments.to_string() },
            })
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn call_id(stamp: Stamp, choice: usize, at: usize) -> String {
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
