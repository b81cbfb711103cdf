//! Anthropic's Messages API, direct, on Vertex and through Bedrock's InvokeModel.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::{Annotation, Answer, Call, Choice, Expected, Seal, Usage, count, string};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::super::{inverse, normal};
use super::{event_stream, fault};

/// `api: anthropic`.
pub struct Anthropic;

impl Dialect for Anthropic {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        let message = match exchange.event_stream() {
            Some(bytes) => {
                let chunks = event_stream::messages(&bytes);
                stream(&chunks.iter().map(|chunk| inner(&chunk.payload)).collect::<Vec<_>>())
            }
            None if exchange.is_streamed() => stream(&exchange.payloads()),
            None => Ok(exchange.response.body.clone()),
        };
        match message {
            Ok(message) if message["completion"].is_string() => {
                Expected::NotApplicable("Anthropic's older Text Completions API".to_owned())
            }
            Ok(message) if message["content"].is_array() => read(&message),
            Ok(_) => fault::only("malformed"),
            Err(failure) => failure,
        }
    }

    fn ask(&self, exchange: &Exchange, _: &[Value]) -> Result<Value, NotApplicable> {
        inverse::anthropic::ask(exchange.asked())
    }

    fn meaning(&self, _: &str, body: &Value, _: &Exchange) -> Value {
        normal::anthropic::meaning(body)
    }
}

/// The event inside a chunk of InvokeModel.
fn inner(chunk: &Value) -> Value {
    let bytes = chunk["bytes"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The message that a stream adds up to.
fn stream(events: &[Value]) -> Result<Value, Expected> {
    let mut message = json!({ "content": [], "usage": {} });
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut done: Vec<Value> = Vec::new();
    let mut has_ended = false;
    for event in events {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                // A second one goes on with the same message.
                done.append(&mut std::mem::take(&mut blocks).into_values().collect());
                merge(&mut message["usage"], &event["message"]["usage"]);
            }
            "content_block_start" => {
                let mut block = event["content_block"].clone();
                block["pieces"] = json!("");
                blocks.insert(count(&event["index"]), block);
            }
            "content_block_delta" => {
                if let Some(block) = blocks.get_mut(&count(&event["index"])) {
                    add(block, &event["delta"]);
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                merge(&mut message["usage"], &event["usage"]);
            }
            "message_stop" => {
                has_ended = true;
                break;
            }
            "error" => {
                let words = fault::words(200, event);
                let class = fault::class(&words);
                return Err(fault::only(class));
            }
            // InvokeModel's older models.
            _ if event["completion"].is_string() => message["completion"] = event["completion"].clone(),
            _ => {}
        }
    }
    if message["completion"].is_null() && !has_ended {
        return Err(fault::only("truncated"));
    }
    done.extend(blocks.into_values());
    message["content"] = done.into();
    Ok(message)
}

/// Later counts win; what a later event does not name stays.
fn merge(usage: &mut Value, later: &Value) {
    for (name, value) in later.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        usage[name] = value.clone();
    }
}

fn add(block: &mut Value, delta: &Value) {
    let mut append = |member: &str, piece: &Value| {
        block[member] = (string(&block[member]) + piece.as_str().unwrap_or_default()).into();
    };
    match delta["type"].as_str().unwrap_or_default() {
        "text_delta" => append("text", &delta["text"]),
        "thinking_delta" => append("thinking", &delta["thinking"]),
        "signature_delta" => append("signature", &delta["signature"]),
        "input_json_delta" => append("pieces", &delta["partial_json"]),
        "citations_delta" => {
            let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
            citations.push(delta["citation"].clone());
            block["citations"] = citations.into();
        }
        _ => {}
    }
}

fn read(message: &Value) -> Expected {
    let mut choice = Choice::default();
    for block in message["content"].as_array().into_iter().flatten() {
        take(block, &mut choice);
    }
    // Calls from within the provider's own tools may have been answered already: they end nothing.
    let mut blocks = message["content"].as_array().into_iter().flatten();
    let called = blocks.any(|block| {
        let is_direct = block["caller"].is_null() || block["caller"]["type"] == "direct";
        block["type"] == "tool_use" && (is_direct || message["stop_reason"] == "tool_use")
    });
    choice.finish = match message["stop_reason"].as_str() {
        Some("max_tokens" | "model_context_window_exceeded") => Some("length"),
        Some("refusal") => Some("content_filter"),
        // OpenAI has no word for a turn that is to be continued.
        Some("pause_turn" | "compaction") => None,
        _ if called => Some("tool_calls"),
        _ => Some("stop"),
    }
    .map(str::to_owned);
    let says = !choice.text.is_empty() || !choice.reasoning.is_empty() || called || !choice.seals.is_empty();
    if !says && choice.finish.as_deref() == Some("stop") {
        return fault::only("empty");
    }
    let usage = Some(usage(&message["usage"])).filter(|_| message["usage"].is_object());
    Expected::Answer(Answer { choices: vec![choice], usage, ..Answer::default() })
}

fn take(block: &Value, choice: &mut Choice) {
    match block["type"].as_str().unwrap_or_default() {
        "text" => {
            let from = choice.text.chars().count() as u64;
            choice.text += block["text"].as_str().unwrap_or_default();
            let to = choice.text.chars().count() as u64;
            let cited = block["citations"].as_array().into_iter().flatten();
            // Only citations of what has an address have a form in OpenAI's.
            choice.annotations.extend(cited.filter_map(|cited| {
                let url = [&cited["url"], &cited["source"]].into_iter().filter_map(Value::as_str);
                Some(Annotation {
                    url: Some(url.into_iter().find(|url| url.starts_with("http"))?.to_owned()),
                    title: cited["title"].as_str().map(str::to_owned),
                    span: Some((from, to)),
                })
            }));
        }
        "thinking" => {
            let (text, bytes) = (string(&block["thinking"]), string(&block["signature"]));
            choice.reasoning += &text;
            if !bytes.is_empty() {
                choice.seals.push(Seal { text: Some(text), bytes });
            }
        }
        "redacted_thinking" => {
            choice.seals.push(Seal { text: Some(String::new()), bytes: string(&block["data"]) });
        }
        "tool_use" => {
            let pieces = block["pieces"].as_str().filter(|pieces| !pieces.is_empty()).map(str::to_owned);
            let whole =
                || if block["input"].is_null() { "{}".to_owned() } else { block["input"].to_string() };
            choice.calls.push(Call {
                name: string(&block["name"]),
                arguments: pieces.unwrap_or_else(whole),
                id: block["id"].as_str().map(str::to_owned),
                signature: None,
            });
        }
        _ => {}
    }
}

fn usage(usage: &Value) -> Usage {
    let (cached, written) =
        (count(&usage["cache_read_input_tokens"]), count(&usage["cache_creation_input_tokens"]));
    Usage {
        prompt: count(&usage["input_tokens"]) + cached + written,
        completion: count(&usage["output_tokens"]),
        cached,
        cache_write: written,
        reasoning: count(&usage["output_tokens_details"]["thinking_tokens"]),
        ..Usage::default()
    }
    .summed()
}
