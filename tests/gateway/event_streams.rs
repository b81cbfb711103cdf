//! Streams in a binary framing, from an upstream's socket to the client's server-sent events.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::chain::{PATH, ask_stream, ask_usage, chunks, config, error_of, gateway, text};
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\
                    x-amzn-requestid: request-1\r\ntransfer-encoding: chunked\r\n\r\n";

/// A message in a chunk of its own. `kind` is `event` or `exception`.
fn message(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let mut headers = Vec::new();
    for (header, value) in [(format!(":{kind}-type"), name), (":message-type".to_owned(), kind)] {
        headers.push(u8::try_from(header.len()).unwrap());
        headers.extend(header.as_bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let payload = payload.to_string();
    let mut message = Vec::new();
    message.extend(length(16 + headers.len() + payload.len()));
    message.extend(length(headers.len()));
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.as_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    let chunk = [format!("{:x}\r\n", message.len()).into_bytes(), message, b"\r\n".to_vec()];
    chunk.concat()
}

fn stream(messages: &[Vec<u8>]) -> Script {
    Script::new().send(HEAD).send(messages.concat()).send("0\r\n\r\n")
}

fn piece(text: &str) -> Vec<u8> {
    message("event", "contentBlockDelta", &json!({ "contentBlockIndex": 0, "delta": { "text": text } }))
}

fn start() -> Vec<u8> {
    message("event", "messageStart", &json!({ "role": "assistant", "p": "abc" }))
}

fn throttled() -> Vec<u8> {
    message("exception", "throttlingException", &json!({ "message": "Too many tokens, please wait." }))
}

#[tokio::test]
async fn a_binary_stream_is_read_however_it_is_split() {
    let stop = message("event", "messageStop", &json!({ "stopReason": "max_tokens" }));
    let usage = json!({ "inputTokens": 3, "outputTokens": 2, "totalTokens": 15, "cacheReadInputTokens": 10 });
    let metadata = message("event", "metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 1 } }));
    let good = stream(&[start(), piece("Grüße"), piece(", Welt"), stop, metadata]);
    let upstream = Upstream::always(good.split_every(3, Duration::ZERO)).await;
    let gateway = gateway(&[("bedrock", upstream.url())], "", "").await;
    let events = gateway.stream(PATH, &ask_usage()).await.events().await;
    assert_eq!(text(&events), "Grüße, Welt");
    let chunks = chunks(&events);
    let (usage, rest) = chunks.split_last().unwrap();
    assert_eq!(rest.last().unwrap()["choices"][0]["finish_reason"], "length");
    assert_eq!((&usage["usage"]["prompt_tokens"], &usage["usage"]["total_tokens"]), (&json!(13), &json!(15)));
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 10);
    let sent = upstream.request(0);
    assert_eq!(sent.path, "/model/m0/converse-stream");
    assert_eq!(sent.header("authorization"), Some("Bearer upstream-key"));
    assert!(sent.header("accept").unwrap().contains("application/vnd.amazon.eventstream"));
}

#[tokio::test]
async fn an_exception_before_content_goes_on_to_the_next_target() {
    let failing = Upstream::always(stream(&[start(), throttled()])).await;
    let next = Upstream::always(replies::openai_stream(&["next"]).all()).await;
    let gateway = gateway(&[("bedrock", failing.url()), ("openai", next.url())], "retries = 0", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    assert_eq!(answer.header("x-piton-fallback-reason"), Some("rate_limited"));
    assert_eq!(text(&answer.events().await), "next");
}

#[tokio::test]
async fn an_exception_or_a_broken_message_after_content_is_an_error_and_no_end() {
    let mut broken = piece("lost");
    let last = broken.len() - 3;
    broken[last] ^= 1;
    for ending in [throttled(), broken] {
        let upstream = Upstream::always(stream(&[start(), piece("He"), ending])).await;
        let gateway = gateway(&[("bedrock", upstream.url())], "retries = 0", "").await;
        let events = gateway.stream(PATH, &ask_stream()).await.events().await;
        assert!(error_of(&events)["message"].is_string());
        assert!(events.iter().all(|event| event.data != "[DONE]" && !event.data.contains("lost")));
    }
}

#[tokio::test]
async fn claudes_own_format_comes_in_base64_inside_the_binary_stream() {
    use base64::Engine;
    let event = |event: Value| {
        let bytes = base64::engine::general_purpose::STANDARD.encode(event.to_string());
        message("event", "chunk", &json!({ "bytes": bytes, "p": "abcd" }))
    };
    let claude = [
        json!({ "type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
            "usage": { "input_tokens": 3, "output_tokens": 1 },
        } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Olá" } }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 2 } }),
        json!({ "type": "message_stop", "amazon-bedrock-invocationMetrics": { "inputTokenCount": 3 } }),
    ];
    let upstream = Upstream::always(stream(&claude.map(event))).await;
    let config = config(&[("bedrock", upstream.url())], "")
        .replace("kind = \"bedrock\"", "kind = \"bedrock\"\napi = \"invoke\"")
        .replace("p0/m0", "p0/anthropic.claude-x-v1:0");
    let gateway = Gateway::with(&config).env("KEY", "upstream-key").start().await;
    let events = gateway.stream(PATH, &ask_usage()).await.events().await;
    assert_eq!(text(&events), "Olá");
    assert_eq!(chunks(&events).last().unwrap()["usage"]["total_tokens"], 5);
    let sent = upstream.request(0);
    assert_eq!(sent.path, "/model/anthropic.claude-x-v1%3A0/invoke-with-response-stream");
    let body = sent.json();
    assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
    assert!(body.get("model").is_none() && body.get("stream").is_none());
}
