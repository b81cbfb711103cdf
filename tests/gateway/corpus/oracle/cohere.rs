//! Cohere's Chat API, version 2.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::answer::{Annotation, Answer, Call, Choice, Expected, Fault, Usage, count, string};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::super::{inverse, normal};
use super::fault;

/// `api: cohere2`.
pub struct Cohere;

impl Dialect for Cohere {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        let payloads = exchange.payloads();
        let reply = if exchange.is_streamed() { joined(&payloads) } else { payloads[0].clone() };
        read(&reply)
    }

    fn turns(&self, exchange: &Exchange) -> Vec<Value> {
        inverse::cohere::turns(exchange.asked())
    }

    fn ask(&self, exchange: &Exchange, said: &[Value]) -> Result<Value, NotApplicable> {
        inverse::cohere::ask(exchange.asked(), said)
    }

    fn meaning(&self, _: &str, body: &Value, exchange: &Exchange) -> Value {
        normal::cohere::meaning(body, exchange.asked())
    }
}

/// The reply that a stream adds up to.
fn joined(events: &[Value]) -> Value {
    let mut message = json!({ "tool_plan": "", "citations": [] });
    let mut reply = json!({});
    let (mut blocks, mut calls) = (BTreeMap::<u64, Value>::new(), BTreeMap::<u64, Value>::new());
    for event in events {
        let (index, told) = (count(&event["index"]), &event["delta"]["message"]);
        match event["type"].as_str().unwrap_or_default() {
            "content-start" | "content-delta" => {
                let block = blocks.entry(index).or_insert_with(|| json!({ "text": "", "thinking": "" }));
                for name in ["text", "thinking"] {
                    block[name] = (string(&block[name]) + &string(&told["content"][name])).into();
                }
            }
            "tool-plan-delta" => {
                message["tool_plan"] = (string(&message["tool_plan"]) + &string(&told["tool_plan"])).into();
            }
            "tool-call-start" => {
                let mut call = told["tool_calls"].clone();
                call["function"]["arguments"] = string(&call["function"]["arguments"]).into();
                calls.insert(index, call);
            }
            "tool-call-delta" => {
                let call = calls.entry(index).or_default();
                let piece = string(&told["tool_calls"]["function"]["arguments"]);
                call["function"]["arguments"] = (string(&call["function"]["arguments"]) + &piece).into();
            }
            "citation-start" => {
                let mut citation = told["citations"].clone();
                if citation.is_array() {
                    citation = citation[0].clone();
                }
                message["citations"].as_array_mut().expect("a list").push(citation);
            }
            "message-end" => reply = event["delta"].clone(),
            _ => {}
        }
    }
    message["content"] = blocks.into_values().collect();
    message["tool_calls"] = calls.into_values().collect();
    reply["message"] = message;
    reply
}

fn read(reply: &Value) -> Expected {
    let message = &reply["message"];
    if !message.is_object() {
        return fault::only("malformed");
    }
    let blocks = message["content"].as_array().into_iter().flatten();
    let text: String = blocks.clone().filter_map(|block| block["text"].as_str()).collect();
    let calls: Vec<Call> = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    let choice = Choice {
        // The plan is text, and comes first.
        text: string(&message["tool_plan"]) + &text,
        reasoning: blocks.filter_map(|block| block["thinking"].as_str()).collect(),
        annotations: message["citations"].as_array().into_iter().flatten().flat_map(annotations).collect(),
        calls,
        ..Choice::default()
    };
    let called = !choice.calls.is_empty();
    let finish = match reply["finish_reason"].as_str() {
        None => return fault::only("truncated"),
        Some("COMPLETE" | "STOP_SEQUENCE" | "TOOL_CALL") if called => "tool_calls",
        Some("MAX_TOKENS") => "length",
        // An error, of whatever class.
        Some("ERROR" | "TIMEOUT") => return Expected::Failure(Fault::default()),
        Some(_) if choice.text.is_empty() && choice.reasoning.is_empty() => return fault::only("empty"),
        Some(_) => "stop",
    };
    let choice = Choice { finish: Some(finish.to_owned()), ..choice };
    let usage = reply["usage"].is_object().then(|| usage(&reply["usage"]));
    Expected::Answer(Answer { choices: vec![choice], usage, ..Answer::default() })
}

fn call(call: &Value) -> Call {
    let arguments = string(&call["function"]["arguments"]);
    let is_none = arguments.trim().is_empty() || arguments.trim() == "null";
    Call {
        name: string(&call["function"]["name"]),
        arguments: if is_none { "{}".to_owned() } else { arguments },
        id: call["id"].as_str().map(str::to_owned),
        signature: None,
    }
}

/// One for each source. Few sources have an address; what stands in its place is not said.
fn annotations(citation: &Value) -> Vec<Annotation> {
    let span = citation["start"].as_u64().zip(citation["end"].as_u64());
    let sources = citation["sources"].as_array().into_iter().flatten();
    sources
        .map(|source| Annotation {
            url: source["document"]["url"].as_str().map(str::to_owned),
            title: source["document"]["title"].as_str().map(str::to_owned),
            span,
        })
        .collect()
}

fn usage(usage: &Value) -> Usage {
    let counted = if usage["tokens"].is_object() { &usage["tokens"] } else { &usage["billed_units"] };
    Usage {
        prompt: count(&counted["input_tokens"]),
        completion: count(&counted["output_tokens"]),
        cached: count(&usage["cached_tokens"]),
        reasoning: count(&counted["reasoning_tokens"]),
        ..Usage::default()
    }
    .summed()
}
