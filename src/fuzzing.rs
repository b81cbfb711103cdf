//! Entry points for fuzzing: arbitrary bytes into everything that reads what others send. Each one panics only where a
//! law is broken.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::chat::embeddings::EmbeddingsRequest;
use crate::chat::target::{Able, Thinking, ThinkingControls};
use crate::chat::{Answer, ChatRequest, Fold, TargetFacts};
use crate::providers::compatible::{KINDS, Kind};
use crate::providers::surface::{Api, Surface};
use crate::providers::{Provider, ReplyContext, dialect, laws, quirks};
use crate::units::Tokens;
use crate::wire::Frame;
use crate::wire::framing::Framing;

/// Server-sent events: the same events however the bytes are cut.
pub fn sse(data: &[u8]) {
    frames(Framing::Sse, data);
}

/// AWS's binary event stream: the same messages however the bytes are cut.
pub fn event_stream(data: &[u8]) {
    frames(Framing::EventStream, data);
}

/// An answer of a vendor, whole, streamed or an error, as the first byte says.
pub fn answer(kind: &str, data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let Some(kind) = Kind::find(kind) else { return };
    let provider = provider(kind, *choice);
    let facts = facts(kind, *choice);
    let context = ReplyContext {
        choices: 1 + u32::from(*choice >> 7),
        answer_tool: (choice & 0x40 != 0).then(|| "answer".to_owned()),
        ..ReplyContext::default()
    };
    let body = Bytes::copy_from_slice(body);
    match choice % 3 {
        0 => whole(&*provider, &facts, &context, body),
        1 => streamed(&*provider, &facts, &context, &body),
        _ => error(&*provider, *choice, &body),
    }
}

/// A client's request: parsed, edited, and written for every dialect; what is written is JSON.
pub fn request(data: &[u8]) {
    let Ok(request) = ChatRequest::parse(Bytes::copy_from_slice(data)) else { return };
    let unchanged: Bytes = request.edit().finish().concat().into();
    assert_eq!(&unchanged, request.body(), "an edit of nothing changes nothing");
    for kind in KINDS {
        for choice in [0, 0xff] {
            let provider = provider(kind, choice);
            let facts = facts(kind, choice);
            let _ = provider.lacks(&request, &facts);
            if let Ok(encoded) = provider.encode(&request, &facts) {
                let body = encoded.body.concat();
                assert!(serde_json::from_slice::<IgnoredAny>(&body).is_ok(), "{}: not JSON", kind.name);
            }
        }
    }
}

/// A request for vectors: parsed, and written for every dialect.
pub fn embeddings(data: &[u8]) {
    let Ok(request) = EmbeddingsRequest::parse(Bytes::copy_from_slice(data)) else { return };
    for kind in KINDS {
        let provider = provider(kind, 0);
        let facts = facts(kind, 0);
        let Some(embeddings) = provider.embeddings().filter(|it| it.cannot_embed(&request, &facts).is_none())
        else {
            continue;
        };
        let part = 0..embeddings.most_inputs(&facts).min(request.count());
        if let Ok(encoded) = embeddings.encode_part(&request, part, &facts) {
            let body = encoded.body.concat();
            assert!(serde_json::from_slice::<IgnoredAny>(&body).is_ok(), "{}: not JSON", kind.name);
        }
    }
}

/// Vectors as a vendor answers them.
pub fn vectors(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let kind = &KINDS[usize::from(*choice) % KINDS.len()];
    let provider = provider(kind, *choice);
    if let Some(embeddings) = provider.embeddings() {
        let body = Bytes::copy_from_slice(body);
        let _ = embeddings.decode_part(&HeaderMap::new(), body, &facts(kind, *choice));
    }
}

/// A JSON Schema, as a tool's parameters and as the form of the answer, in every dialect.
pub fn schema(data: &[u8]) {
    let Ok(schema) = serde_json::from_slice::<Value>(data) else { return };
    let body = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "x" }],
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": schema, "strict": true } }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "s", "schema": schema, "strict": true } },
    });
    request(body.to_string().as_bytes());
}

fn frames(framing: Framing, data: &[u8]) {
    let whole = split(framing, data, data.len().max(1));
    for piece in [1, 7] {
        assert_eq!(split(framing, data, piece), whole, "cut every {piece} bytes");
    }
}

/// The frames of a body that comes in pieces, and why it could not be read to its end.
fn split(framing: Framing, data: &[u8], piece: usize) -> (Vec<Frame>, Option<String>) {
    let mut decoder = framing.decoder();
    let mut frames = Vec::new();
    for chunk in data.chunks(piece).map(Some).chain([None]) {
        decoder.push(Bytes::copy_from_slice(chunk.unwrap_or_default()));
        loop {
            match if chunk.is_some() { decoder.next() } else { decoder.finish() } {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(broken) => return (frames, Some(broken.to_string())),
            }
        }
    }
    (frames, None)
}

fn whole(provider: &dyn Provider, facts: &TargetFacts, context: &ReplyContext, body: Bytes) {
    if let Ok(Answer::Composed(response)) = provider.decode(body, facts, context) {
        assert_eq!(
            Fold::of(response.clone().explode()),
            response,
            "an answer is the same after a way as a stream"
        );
    }
}

fn streamed(provider: &dyn Provider, facts: &TargetFacts, context: &ReplyContext, body: &Bytes) {
    let whole = laws::read(provider, facts, context, body, usize::MAX);
    laws::check(&whole, provider.name());
    let split = laws::read(provider, facts, context, body, 7);
    assert_eq!(split.end.map_err(|failure| failure.class), whole.end.map_err(|failure| failure.class));
    assert_eq!(split.events.len(), whole.events.len());
}

fn error(provider: &dyn Provider, choice: u8, body: &[u8]) {
    let (mut head, ()) = http::Response::new(()).into_parts();
    let statuses = [400, 401, 403, 404, 413, 422, 429, 500, 503, 529];
    let status = statuses[usize::from(choice) % statuses.len()];
    head.status = http::StatusCode::from_u16(status).unwrap_or_default();
    let failure = provider.classify(&head, body, SystemTime::UNIX_EPOCH);
    assert_eq!(failure.status, Some(status));
}

/// One of a kind's dialects: for some kinds the model decides, or the surface.
fn provider(kind: &Kind, choice: u8) -> Arc<dyn Provider> {
    let api = (choice & 2 != 0).then_some(Api::Invoke);
    dialect(kind, &Surface { api, api_version: None }, model(choice))
}

fn model(choice: u8) -> &'static str {
    ["model-1", "claude-3-haiku", "gemini-3-pro", "anthropic.claude-sonnet-4-5"][usize::from(choice >> 2) % 4]
}

/// Targets that differ in everything that a dialect asks of one.
fn facts(kind: &Kind, choice: u8) -> TargetFacts {
    let is_modern = choice & 1 == 0;
    let controls = ThinkingControls {
        efforts: ["low", "high"].map(str::to_owned).to_vec(),
        budget: Some((1024, Some(32_768))),
        can_be_off: true,
    };
    TargetFacts {
        model: model(choice).into(),
        max_output: is_modern.then(|| Tokens::new(8192)),
        able: Able::ALL,
        thinking: if is_modern { Thinking::Controlled(controls) } else { Thinking::Unknown },
        sampling: is_modern,
        quirks: quirks(kind, &Surface::default(), is_modern),
    }
}
