//! Streams of the dialects that only the pieces are measured with.

use serde_json::{Value, json};

use super::exchanges::word;

/// The events of Gemini's streamed answer with this many pieces of text.
pub fn gemini(pieces: usize) -> Vec<String> {
    let event = |at: usize, finish: Value| {
        let mut candidate =
            json!({ "content": { "parts": [{ "text": word(at) }], "role": "model" }, "index": 0 });
        if finish.is_string() {
            candidate["finishReason"] = finish;
        }
        let usage = json!({ "promptTokenCount": 19, "candidatesTokenCount": at, "totalTokenCount": 19 + at });
        let event = json!({
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-2.5-flash",
            "responseId": "Zm9vYmFyYmF6cXV4",
        });
        format!("data: {event}\r\n\r\n")
    };
    let mut events: Vec<String> = (1..pieces).map(|at| event(at, Value::Null)).collect();
    events.push(event(pieces, json!("STOP")));
    events
}

/// The events of Cohere's streamed answer with this many pieces of text.
pub fn cohere(pieces: usize) -> Vec<String> {
    let event =
        |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default());
    let content = |kind: &str, content: Value| {
        event(json!({ "type": kind, "index": 0, "delta": { "message": { "content": content } } }))
    };
    let empty =
        json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
    let start = json!({ "id": "29f14a5a", "type": "message-start", "delta": { "message": empty } });
    let mut events = vec![event(start), content("content-start", json!({ "type": "text", "text": "" }))];
    events.extend((0..pieces).map(|at| content("content-delta", json!({ "text": word(at) }))));
    events.push(event(json!({ "type": "content-end", "index": 0 })));
    let tokens = json!({ "input_tokens": 19, "output_tokens": pieces });
    let usage = json!({ "billed_units": tokens, "tokens": tokens });
    let end = json!({ "finish_reason": "COMPLETE", "usage": usage });
    events.push(event(json!({ "type": "message-end", "delta": end })));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The messages of Bedrock's streamed answer with this many pieces of text.
pub fn bedrock(pieces: usize) -> Vec<Vec<u8>> {
    let mut messages = vec![message("messageStart", &json!({ "role": "assistant" }))];
    messages.extend((0..pieces).map(|at| {
        message("contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": word(at) } }))
    }));
    messages.push(message("contentBlockStop", &json!({ "contentBlockIndex": 0 })));
    messages.push(message("messageStop", &json!({ "stopReason": "end_turn" })));
    let usage = json!({ "inputTokens": 19, "outputTokens": pieces, "totalTokens": 19 + pieces });
    messages.push(message("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 512 } })));
    messages
}

/// A message of AWS's binary event stream: lengths, headers, payload, and the sums of what was before.
fn message(kind: &str, payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")]
    {
        // 7 is the type of text. No length is near what its bytes can count.
        headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = 12 + headers.len() + payload.len() + 4;
    let mut message = Vec::with_capacity(total);
    message.extend_from_slice(&u32::try_from(total).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}
