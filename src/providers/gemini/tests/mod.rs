//! What holds for the dialect as a whole: requests, answers and streams, many of them recorded (`fixtures/SOURCES.md`).

mod requests;
mod responses;
mod roundtrip;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Gemini, Host};
use crate::chat::target::{Able, Quirks, Thinking};
use crate::chat::{Answer, ChatRequest, ChatResponse, FinishReason, TargetFacts};
use crate::providers::{Encoded, Provider, ReplyContext, Unsendable};
use crate::reason::Failure;

/// The facts of a model of which nothing is known but its name.
pub fn facts(model: &str) -> TargetFacts {
    TargetFacts {
        model: Arc::from(model),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks: Quirks::OPENAI,
    }
}

fn fixture(path: &str) -> Vec<u8> {
    let path = format!("{}/src/providers/gemini/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn request(body: &Value) -> ChatRequest {
    ChatRequest::parse(Bytes::from(body.to_string())).unwrap()
}

fn try_encode(body: &Value, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
    Gemini::default().encode(&request(body), facts)
}

/// The request and its body, for a model of which only the name is known.
fn encoded(body: &Value) -> (Encoded, Value) {
    let encoded = try_encode(body, &facts(body["model"].as_str().unwrap())).unwrap();
    let written = serde_json::from_slice(&encoded.body.concat()).unwrap();
    (encoded, written)
}

/// The same for a request of the fixtures.
fn encoded_fixture(case: &str) -> (Encoded, Value) {
    encoded(&serde_json::from_slice(&fixture(&format!("requests/{case}.json"))).unwrap())
}

fn try_decode(body: &[u8], context: &ReplyContext) -> Result<ChatResponse, Failure> {
    match Gemini::default().decode(Bytes::copy_from_slice(body), &facts("gemini-3-pro-preview"), context)? {
        Answer::Composed(response) => Ok(response),
        Answer::Verbatim { .. } => panic!("a translated answer is composed"),
    }
}

fn decoded(body: &Value) -> ChatResponse {
    try_decode(body.to_string().as_bytes(), &ReplyContext::default()).unwrap()
}

/// An answer of one candidate.
fn answer(parts: &Value, finish_reason: &str) -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish_reason, "index": 0}],
        "modelVersion": "gemini-3-pro-preview",
        "responseId": "r1",
    })
}
