//! Well-formed answers of the three dialects. What a test breaks, it breaks on purpose: a JSON answer with
//! [`Script::truncated`], a stream with [`EventStream::first`] and what follows it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::script::Script;

/// An event stream in chunked encoding, one chunk for each event.
#[derive(Debug, Clone)]
pub struct EventStream {
    /// Complete events with their blank lines, as they go over the wire.
    pub events: Vec<String>,
    pub headers: Vec<(String, String)>,
    gap: Option<Duration>,
}

impl EventStream {
    pub fn new(events: impl IntoIterator<Item = String>) -> Self {
        Self { events: events.into_iter().collect(), headers: Vec::new(), gap: None }
    }

    /// With one more response header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this pause before every event.
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = Some(gap);
        self
    }

    /// The whole stream, well ended.
    pub fn all(&self) -> Script {
        self.first(self.events.len()).send("0\r\n\r\n")
    }

    /// The head and the first `count` events, and no end yet: close, reset, silence or more may follow.
    pub fn first(&self, count: usize) -> Script {
        let mut head = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n",
        );
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        self.events[..count].iter().fold(Script::new().send(head + "\r\n"), |script, event| {
            let script = match self.gap {
                Some(gap) => script.pause(gap),
                None => script,
            };
            script.send(chunk(event))
        })
    }

    /// What is left after the first `count` events, and the end: for what follows a gate or a pause.
    pub fn rest(&self, count: usize) -> Script {
        let script =
            self.events[count..].iter().fold(Script::new(), |script, event| script.send(chunk(event)));
        script.send("0\r\n\r\n")
    }
}

/// One event as a chunk of the body.
pub fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// A complete answer with this status, these headers beside `content-length`, and this body.
pub fn status(status: u16, body: &str, headers: &[(&str, &str)]) -> Script {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    Script::new().send(head + "\r\n" + body)
}

/// A complete JSON answer.
pub fn json_reply(code: u16, body: &Value) -> Script {
    status(code, &body.to_string(), &[("content-type", "application/json")])
}

/// An error in OpenAI's envelope.
pub fn openai_error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Script {
    json_reply(status, &json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }))
}

/// An error in Anthropic's envelope.
pub fn anthropic_error(status: u16, kind: &str, message: &str) -> Script {
    json_reply(status, &json!({ "type": "error", "error": { "type": kind, "message": message } }))
}

/// An error in Gemini's envelope.
pub fn gemini_error(code: u16, status: &str, message: &str) -> Script {
    json_reply(code, &json!({ "error": { "code": code, "message": message, "status": status } }))
}

pub fn openai_json(text: &str) -> Script {
    json_reply(200, &openai_body(text))
}

/// Role, one delta for each piece, finish, usage, `[DONE]`: four events more than pieces.
pub fn openai_stream(pieces: &[&str]) -> EventStream {
    let choice = |delta: Value, finish: Value| {
        openai_chunk(&json!([{ "index": 0, "delta": delta, "finish_reason": finish }]), &Value::Null)
    };
    let mut events = vec![choice(json!({ "role": "assistant", "content": "" }), Value::Null)];
    events.extend(pieces.iter().map(|piece| choice(json!({ "content": piece }), Value::Null)));
    events.push(choice(json!({}), json!("stop")));
    events.push(openai_chunk(&json!([]), &openai_usage(pieces.len())));
    events.push(data("[DONE]"));
    EventStream::new(events)
}

pub fn anthropic_json(text: &str) -> Script {
    json_reply(200, &anthropic_body(text))
}

/// Start, block start, ping, one delta for each piece, block stop, message delta, message stop: six events
/// more than pieces.
pub fn anthropic_stream(pieces: &[&str]) -> EventStream {
    let event = |value: Value| {
        format!("event: {}\ndata: {value}\n\n", value["type"].as_str().expect("an event has a type"))
    };
    let mut message = anthropic_body("");
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut events = vec![
        event(json!({ "type": "message_start", "message": message })),
        event(json!({
            "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" }
        })),
        event(json!({ "type": "ping" })),
    ];
    events.extend(pieces.iter().map(|piece| {
        event(json!({
            "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": piece }
        }))
    }));
    events.push(event(json!({ "type": "content_block_stop", "index": 0 })));
    events.push(event(json!({
        "type": "message_delta",
        "delta": { "stop_reason": "end_turn", "stop_sequence": null },
        "usage": { "output_tokens": pieces.len() },
    })));
    events.push(event(json!({ "type": "message_stop" })));
    EventStream::new(events)
}

pub fn gemini_json(text: &str) -> Script {
    json_reply(200, &gemini_body(text, Some("STOP"), 2))
}

/// One event for each piece, with CRLF; the last one has the finish reason.
pub fn gemini_stream(pieces: &[&str]) -> EventStream {
    let last = pieces.len().saturating_sub(1);
    EventStream::new(pieces.iter().enumerate().map(|(index, piece)| {
        let finish = (index == last).then_some("STOP");
        format!("data: {}\r\n\r\n", gemini_body(piece, finish, index + 1))
    }))
}

/// A `chat.completion` for tests to change.
pub fn openai_body(text: &str) -> Value {
    json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": openai_usage(2),
        "system_fingerprint": "fp_scripted",
    })
}

/// An Anthropic `message` for tests to change.
pub fn anthropic_body(text: &str) -> Value {
    json!({
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{ "type": "text", "text": text }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": { "input_tokens": 9, "output_tokens": 2 },
    })
}

/// A `GenerateContentResponse` for tests to change.
pub fn gemini_body(text: &str, finish: Option<&str>, output_tokens: usize) -> Value {
    let mut candidate = json!({ "content": { "parts": [{ "text": text }], "role": "model" }, "index": 0 });
    if let Some(finish) = finish {
        candidate["finishReason"] = json!(finish);
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 9,
            "candidatesTokenCount": output_tokens,
            "totalTokenCount": 9 + output_tokens,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "scripted",
    })
}

/// A `data:` event.
pub fn data(payload: &str) -> String {
    format!("data: {payload}\n\n")
}

/// An OpenAI chunk with these choices.
pub fn openai_chunk(choices: &Value, usage: &Value) -> String {
    let chunk = json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
        "usage": usage,
    });
    data(&chunk.to_string())
}

fn openai_usage(completion: usize) -> Value {
    json!({ "prompt_tokens": 9, "completion_tokens": completion, "total_tokens": 9 + completion })
}
