//! Amazon Bedrock's Converse and ConverseStream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::answer::{Annotation, Answer, Call, Choice, Expected, Fault, Seal, Usage, count, string};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::super::{inverse, normal};
use super::event_stream::{Message, messages};
use super::fault;

/// `api: converse`.
pub struct Bedrock;

impl Dialect for Bedrock {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        match exchange.event_stream() {
            Some(bytes) => match joined(&messages(&bytes)) {
                Ok(reply) => read(&reply),
                Err(failure) => failure,
            },
            None => read(&exchange.response.body),
        }
    }

    fn turns(&self, exchange: &Exchange) -> Vec<Value> {
        inverse::bedrock::turns(exchange.asked())
    }

    fn ask(&self, exchange: &Exchange, said: &[Value]) -> Result<Value, NotApplicable> {
        inverse::bedrock::ask(exchange.asked(), said)
    }

    fn meaning(&self, _: &str, body: &Value, _: &Exchange) -> Value {
        normal::bedrock::meaning(body)
    }
}

/// The reply that a stream adds up to.
fn joined(events: &[Message]) -> Result<Value, Expected> {
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut reply = json!({});
    for event in events {
        let (index, payload) = (count(&event.payload["contentBlockIndex"]), &event.payload);
        let kind = event.header(":exception-type");
        if !kind.is_empty() || event.header(":message-type") == "error" {
            return Err(fault::only(class(kind)));
        }
        match event.header(":event-type") {
            "contentBlockStart" => {
                blocks.insert(index, payload["start"].clone());
            }
            "contentBlockDelta" => add(blocks.entry(index).or_insert_with(|| json!({})), &payload["delta"]),
            "messageStop" => reply["stopReason"] = payload["stopReason"].clone(),
            "metadata" => reply["usage"] = payload["usage"].clone(),
            _ => {}
        }
    }
    if reply["stopReason"].is_null() {
        return Err(fault::only("truncated"));
    }
    reply["output"] = json!({ "message": { "content": blocks.into_values().collect::<Vec<_>>() } });
    Ok(reply)
}

fn class(exception: &str) -> &'static str {
    match exception {
        "throttlingException" => "rate_limited",
        "serviceUnavailableException" => "overloaded",
        "validationException" => "invalid_request",
        _ => "server_error",
    }
}

/// A block of a stream has the members of a whole one, but for citations, which stand beside their text.
fn add(block: &mut Value, delta: &Value) {
    let append = |to: &mut Value, piece: &Value| *to = (string(to) + &string(piece)).into();
    if delta["text"].is_string() {
        append(&mut block["text"], &delta["text"]);
    }
    if delta["toolUse"].is_object() {
        append(&mut block["toolUse"]["pieces"], &delta["toolUse"]["input"]);
    }
    let reasoning = &delta["reasoningContent"];
    for name in ["text", "signature"] {
        if reasoning[name].is_string() {
            append(&mut block["reasoningContent"]["reasoningText"][name], &reasoning[name]);
        }
    }
    if reasoning["redactedContent"].is_string() {
        append(&mut block["reasoningContent"]["redactedContent"], &reasoning["redactedContent"]);
    }
    if delta["citation"].is_object() {
        let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
        citations.push(delta["citation"].clone());
        block["citations"] = citations.into();
    }
}

fn read(reply: &Value) -> Expected {
    let content = &reply["output"]["message"]["content"];
    if !content.is_array() {
        return fault::only("malformed");
    }
    let mut choice = Choice::default();
    for block in content.as_array().into_iter().flatten() {
        take(block, &mut choice);
    }
    let called = !choice.calls.is_empty();
    let says = called || !choice.text.is_empty() || !choice.reasoning.is_empty() || !choice.seals.is_empty();
    let finish = match reply["stopReason"].as_str() {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("guardrail_intervened" | "content_filtered") => "content_filter",
        // An error, of whatever class.
        Some("malformed_model_output" | "malformed_tool_use") => return Expected::Failure(Fault::default()),
        _ if called => "tool_calls",
        _ if !says => return fault::only("empty"),
        _ => "stop",
    };
    choice.finish = Some(finish.to_owned());
    let usage = reply["usage"].is_object().then(|| usage(&reply["usage"]));
    Expected::Answer(Answer { choices: vec![choice], usage, ..Answer::default() })
}

fn take(block: &Value, choice: &mut Choice) {
    let reasoning = &block["reasoningContent"];
    let thought = &reasoning["reasoningText"];
    choice.reasoning += thought["text"].as_str().unwrap_or_default();
    let seals = [&thought["signature"], &reasoning["redactedContent"]];
    let seals = seals.into_iter().filter_map(Value::as_str).filter(|bytes| !bytes.is_empty());
    choice.seals.extend(seals.map(|bytes| Seal { text: None, bytes: bytes.to_owned() }));
    let from = choice.text.chars().count() as u64;
    choice.text += block["text"].as_str().unwrap_or_default();
    let cited = &block["citationsContent"];
    for piece in cited["content"].as_array().into_iter().flatten() {
        choice.text += piece["text"].as_str().unwrap_or_default();
    }
    let to = choice.text.chars().count() as u64;
    // Citations without a text of their own are of what was said before them.
    let span = Some((from, to)).filter(|(from, to)| from < to);
    for citation in
        [&cited["citations"], &block["citations"]].into_iter().filter_map(Value::as_array).flatten()
    {
        // Only sources on the web have a form in OpenAI's format.
        let url =
            [&citation["location"]["web"]["url"], &citation["source"]].into_iter().filter_map(Value::as_str);
        if let Some(url) = url.into_iter().find(|url| url.starts_with("http")) {
            let title = citation["title"].as_str().map(str::to_owned);
            choice.annotations.push(Annotation { url: Some(url.to_owned()), title, span });
        }
    }
    let call = &block["toolUse"];
    // The provider's own tools are no calls of the client's.
    if call.is_object() && call["type"] != "server_tool_use" {
        let pieces = call["pieces"].as_str().filter(|pieces| !pieces.is_empty()).map(str::to_owned);
        let whole = || if call["input"].is_null() { "{}".to_owned() } else { call["input"].to_string() };
        choice.calls.push(Call {
            name: string(&call["name"]),
            arguments: pieces.unwrap_or_else(whole),
            id: call["toolUseId"].as_str().map(str::to_owned),
            signature: None,
        });
    }
}

fn usage(usage: &Value) -> Usage {
    let either = |one: &str, other: &str| count(&usage[one]).max(count(&usage[other]));
    let cached = either("cacheReadInputTokens", "cacheReadInputTokenCount");
    let written = either("cacheWriteInputTokens", "cacheWriteInputTokenCount");
    Usage {
        prompt: count(&usage["inputTokens"]) + cached + written,
        completion: count(&usage["outputTokens"]),
        cached,
        cache_write: written,
        ..Usage::default()
    }
    .summed()
}
