//! A chain over scripted upstreams, what is asked of it, and how its answers are looked into.

use std::fmt::Write;

use serde_json::{Value, json};

use super::client::Event;
use super::gateway::Gateway;

pub const PATH: &str = "/v1/chat/completions";

/// A configuration whose only chain is `chain`. Its targets are `p0/m0`, `p1/m1` and so on, each given as the kind of
/// its provider and where that is; `policy` is the chain's own part.
pub fn config(targets: &[(&str, String)], policy: &str) -> String {
    let mut text = String::new();
    let mut names = Vec::new();
    for (at, (kind, url)) in targets.iter().enumerate() {
        let _ = writeln!(
            text,
            "[providers.p{at}]\nkind = \"{kind}\"\nbase_url = \"{url}\"\napi_key = \"env:KEY\""
        );
        names.push(format!("\"p{at}/m{at}\""));
    }
    let _ = writeln!(text, "[chains.chain]\n{policy}\ntargets = [{}]", names.join(", "));
    text
}

/// A gateway with [`config`] and the credential that it names; `more` are further sections.
pub async fn gateway(targets: &[(&str, String)], policy: &str, more: &str) -> Gateway {
    let config = config(targets, policy) + more;
    Gateway::with(&config).env("KEY", "upstream-key").start().await
}

/// A plain request.
pub fn ask() -> Value {
    json!({ "model": "chain", "messages": [{ "role": "user", "content": "Hi" }] })
}

/// The same for a stream.
pub fn ask_stream() -> Value {
    with(ask(), &json!({ "stream": true }))
}

/// The same for a stream with its usage.
pub fn ask_usage() -> Value {
    with(ask_stream(), &json!({ "stream_options": { "include_usage": true } }))
}

/// `body` with these members added or replaced.
pub fn with(mut body: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// The chunks of a stream that must be good: everything before its `[DONE]`.
pub fn chunks(events: &[Event]) -> Vec<Value> {
    let (last, chunks) = events.split_last().expect("events");
    assert_eq!(last.data, "[DONE]", "{events:#?}");
    let chunks: Vec<Value> =
        chunks.iter().map(|event| serde_json::from_str(&event.data).expect("a chunk")).collect();
    assert!(chunks.iter().all(|chunk| chunk.get("error").is_none()), "{chunks:#?}");
    chunks
}

/// The error that must end a broken stream: one event, the last, and no `[DONE]` anywhere.
pub fn error_of(events: &[Event]) -> Value {
    assert!(events.iter().all(|event| event.data != "[DONE]"), "{events:#?}");
    let errors: Vec<Value> = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(&event.data).ok()?.get("error").cloned())
        .collect();
    assert_eq!(errors.len(), 1, "{events:#?}");
    let last = events.last().map(|event| event.data.as_str()).unwrap_or_default();
    assert!(last.contains("\"error\""), "something follows the error: {events:#?}");
    errors[0].clone()
}

/// The text of the first choice, as far as it has come.
pub fn text(events: &[Event]) -> String {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

/// Waits for the log line of the only request that ends this way, and gives it with the lines of its attempts.
pub async fn logged(gateway: &Gateway, outcome: &str) -> (Value, Vec<Value>) {
    let what = format!("a request logged as {outcome}");
    let request =
        gateway.wait_for_log(&what, |line| line["message"] == "request" && line["outcome"] == outcome).await;
    let mut attempts = gateway.events("attempt");
    attempts.retain(|line| line["request_id"] == request["request_id"]);
    (request, attempts)
}

/// The outcomes of these log lines.
pub fn outcomes(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["outcome"].as_str().unwrap_or_default()).collect()
}

/// The sum of a metric's samples whose line starts with `name`, which may end in labels.
pub async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = gateway.get("/metrics").await.text();
    let samples = text.lines().filter(|line| line.starts_with(name));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The state of a target's circuit.
pub async fn circuit(gateway: &Gateway, target: usize) -> String {
    let status = gateway.get("/piton/api/status").await.json();
    status["chains"][0]["targets"][target]["circuit"]["state"].as_str().expect("a state").to_owned()
}
