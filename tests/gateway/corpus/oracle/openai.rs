//! OpenAI's own format, as OpenAI and some thirty others speak it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, Expected, Usage, count, string};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::super::told;
use super::fault;

/// `api: chat`.
pub struct OpenAi;

impl Dialect for OpenAi {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        let payloads = exchange.payloads();
        if let Some(error) = payloads.iter().find(|payload| is_error(payload)) {
            return fault_inside(error, exchange);
        }
        let whole = if exchange.is_streamed() { joined(&payloads) } else { payloads[0].clone() };
        if whole["choices"].as_array().is_none_or(Vec::is_empty) {
            return fault::only("malformed");
        }
        let is_done = exchange.sse().is_some_and(|sse| sse.contains("[DONE]"));
        read(&whole, is_done)
    }

    fn ask(&self, exchange: &Exchange, _: &[Value]) -> Result<Value, NotApplicable> {
        let mut body = exchange.asked().clone();
        // OpenAI's format wants the type that some vendors' clients leave out.
        body.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten().for_each(state_type);
        body.get_mut("tool_choice").filter(|choice| choice.is_object()).into_iter().for_each(state_type);
        Ok(body)
    }

    fn meaning(&self, _: &str, body: &Value, exchange: &Exchange) -> Value {
        let mut body = body.clone();
        let members = body.as_object_mut().expect("an object");
        // The model is the target's, and whether usage is asked for is Piton's own affair.
        for own in ["model", "stream_options", "stream"] {
            members.remove(own);
        }
        for (other, usual) in [("max_completion_tokens", "max_tokens"), ("random_seed", "seed")] {
            if let Some(value) = members.remove(other) {
                members.insert(usual.to_owned(), value);
            }
        }
        members.retain(|_, value| !value.is_null());
        state_effort(members, &exchange.provider);
        members.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten().for_each(state_type);
        members.get_mut("tool_choice").filter(|choice| choice.is_object()).into_iter().for_each(state_type);
        for message in members.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
            tidy_message(message);
        }
        body
    }
}

/// An effort is said once, in the vendor's words: what only repeats it is left out.
fn state_effort(members: &mut Map<String, Value>, provider: &str) {
    let Some(effort) = members.get("reasoning_effort").and_then(Value::as_str).map(str::to_owned) else {
        return;
    };
    if provider == "deepseek" {
        // By its documentation these are one and the same there.
        let known = if matches!(effort.as_str(), "low" | "medium") { "high" } else { effort.as_str() };
        members.insert("reasoning_effort".to_owned(), known.into());
    }
    let repeated = [
        ("thinking", json!({ "type": "enabled" })),
        ("chat_template_kwargs", json!({ "enable_thinking": true, "reasoning_effort": effort })),
    ];
    members.retain(|name, value| !repeated.iter().any(|(other, same)| other == name && value == same));
}

fn state_type(tool: &mut Value) {
    if tool["function"].is_object() && tool["type"].is_null() {
        tool["type"] = "function".into();
    }
}

fn tidy_message(message: &mut Value) {
    let Some(members) = message.as_object_mut() else { return };
    members.retain(|_, value| !value.is_null());
    for call in members.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let arguments = &mut call["function"]["arguments"];
        // The same arguments may be spelt in two ways.
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            *arguments = parsed;
        }
    }
}

/// Departures of a vendor that OpenAI's SDKs do not mind.
const HARMLESS: [&str; 8] = [
    "the role is not assistant",
    "object is not chat.completion",
    "no id",
    "created is no whole number",
    "no model",
    "no content member",
    "a second finish reason",
    "a call's type comes twice",
];

/// Whether it reports an error: some put one into a 200, some into a stream.
fn is_error(payload: &Value) -> bool {
    !payload["error"].is_null()
}

/// An error inside a success: its own words say what it was.
fn fault_inside(payload: &Value, exchange: &Exchange) -> Expected {
    let stated = &payload["error"]["status_code"];
    let stated = stated.as_u64().or_else(|| payload["error"]["code"].as_u64());
    let status = stated.and_then(|status| u16::try_from(status).ok()).filter(|status| *status >= 400);
    let words = fault::words(status.unwrap_or(400), payload);
    match fault::told(&words) {
        // Whether anybody can still be told a status depends on what came before the error.
        Expected::Failure(told) if exchange.is_streamed() => {
            Expected::Failure(super::super::answer::Fault { status: None, ..told })
        }
        other => other,
    }
}

/// The whole that a stream adds up to.
fn joined(payloads: &[Value]) -> Value {
    let mut indexes = Indexes::default();
    let chunks: Vec<Value> = payloads.iter().map(|chunk| tidy_chunk(chunk, &mut indexes)).collect();
    let mut usage = Value::Null;
    for chunk in payloads {
        let given = [&chunk["usage"], &chunk["x_groq"]["usage"]];
        usage = given.into_iter().find(|given| given.is_object()).cloned().unwrap_or(usage);
    }
    let mut oddities = Vec::new();
    let mut body = told::assemble(chunks.iter(), &mut oddities);
    body["usage"] = usage;
    body["oddities"] = oddities.into();
    body
}

/// The calls seen so far, by choice.
#[derive(Default)]
struct Indexes(BTreeMap<u64, Vec<Seen>>);

/// What the vendor says of a call; its place is its own.
struct Seen {
    index: Value,
    id: Value,
    is_named: bool,
}

/// A chunk with plain texts and with calls counted from 0.
fn tidy_chunk(chunk: &Value, indexes: &mut Indexes) -> Value {
    let mut chunk = chunk.clone();
    for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
        let seen = indexes.0.entry(choice["index"].as_u64().unwrap_or(0)).or_default();
        if choice["finish_reason"] == "" {
            choice["finish_reason"] = Value::Null;
        }
        let Some(delta) = choice.get_mut("delta").filter(|delta| delta.is_object()) else { continue };
        plain_texts(delta);
        for call in delta["tool_calls"].as_array_mut().into_iter().flatten() {
            let (index, id) = (call["index"].clone(), call["id"].clone());
            let is_same = |call: &Seen| {
                if index.is_null() {
                    id.as_str().is_none_or(str::is_empty) || call.id == id
                } else {
                    call.index == index
                }
            };
            let at = seen.iter().rposition(is_same).unwrap_or_else(|| {
                seen.push(Seen { index: index.clone(), id: id.clone(), is_named: false });
                seen.len() - 1
            });
            call["index"] = json!(at);
            let is_named = std::mem::replace(&mut seen[at].is_named, true);
            if let Some(function) =
                call.get_mut("function").and_then(Value::as_object_mut).filter(|_| is_named)
            {
                // Some say the name in every piece.
                function.shift_remove("name");
            }
        }
    }
    chunk
}

/// Text and reasoning as strings: some send lists of parts, some call the reasoning otherwise.
fn plain_texts(message: &mut Value) {
    if let Some(parts) = message["content"].as_array().cloned() {
        let (mut text, mut thoughts) = (String::new(), String::new());
        for part in &parts {
            text += part["text"].as_str().unwrap_or_default();
            for thought in part["thinking"].as_array().into_iter().flatten() {
                thoughts += thought["text"].as_str().unwrap_or_default();
            }
        }
        message["content"] = text.into();
        if !thoughts.is_empty() {
            message["reasoning_content"] = thoughts.into();
        }
    }
    if string(&message["reasoning_content"]).is_empty() && message["reasoning"].is_string() {
        message["reasoning_content"] = message["reasoning"].clone();
    }
}

/// Reads a whole answer of any vendor; `is_done`: it was a stream that said so.
fn read(whole: &Value, is_done: bool) -> Expected {
    let mut whole = whole.clone();
    for choice in whole["choices"].as_array_mut().into_iter().flatten() {
        plain_texts(&mut choice["message"]);
    }
    let mut answer = told::whole(&whole);
    // What breaks no client may stay as the vendor sends it; the rest is for the gateway to mend.
    answer.oddities.extend(whole["oddities"].as_array().into_iter().flatten().map(string));
    answer.oddities.retain(|oddity| HARMLESS.contains(&oddity.as_str()));
    answer.usage = usage(&whole["usage"]);
    for (choice, given) in answer.choices.iter_mut().zip(whole["choices"].as_array().into_iter().flatten()) {
        if choice.reasoning.is_empty() {
            // Some say it in the details only.
            let details = given["message"]["reasoning_details"].as_array().into_iter().flatten();
            let texts = details.filter_map(|detail| detail["text"].as_str().or(detail["summary"].as_str()));
            choice.reasoning = texts.collect();
        }
        let called = !choice.calls.is_empty();
        let finish = match choice.finish.as_deref() {
            // A stream may end well without a reason.
            None if !is_done => return fault::only("truncated"),
            None if called => "tool_calls",
            None => "stop",
            Some("error" | "insufficient_system_resource") => return fault::only("server_error"),
            Some("" | "eos" | "eos_token") if called => "tool_calls",
            Some("" | "eos" | "eos_token") => "stop",
            Some("model_length") => "length",
            Some(other) => other,
        };
        choice.finish = Some(finish.to_owned());
    }
    if is_empty(&answer) {
        return fault::only("empty");
    }
    Expected::Answer(answer)
}

/// An answer that says nothing and gives no reason is a failure of the contract's own.
fn is_empty(answer: &Answer) -> bool {
    answer.choices.iter().all(|choice| {
        let refuses = choice.refusal.as_ref().is_some_and(|refusal| !refusal.is_empty());
        let texts = !choice.text.is_empty() || !choice.reasoning.is_empty() || refuses;
        let says = texts || !choice.calls.is_empty() || choice.audio;
        !says && choice.finish.as_deref() == Some("stop")
    })
}

/// Usage in OpenAI's accounting, from any vendor's.
fn usage(usage: &Value) -> Option<Usage> {
    let (prompt, completion) = (&usage["prompt_tokens_details"], &usage["completion_tokens_details"]);
    let first =
        |values: &[&Value]| values.iter().map(|value| count(value)).find(|count| *count > 0).unwrap_or(0);
    let mut told = Usage {
        prompt: count(&usage["prompt_tokens"]),
        completion: count(&usage["completion_tokens"]),
        cached: first(&[
            &prompt["cached_tokens"],
            &usage["cached_tokens"],
            &usage["num_cached_tokens"],
            &usage["prompt_cache_hit_tokens"],
        ]),
        cache_write: first(&[&prompt["cache_write_tokens"], &usage["cache_creation_input_tokens"]]),
        reasoning: first(&[&completion["reasoning_tokens"], &usage["reasoning_tokens"]]),
        audio_in: count(&prompt["audio_tokens"]),
        audio_out: count(&completion["audio_tokens"]),
        total: 0,
    };
    // Some leave the reasoning out of the completion: their total, or the reasoning itself, tells.
    let total = count(&usage["total_tokens"]);
    // And some the sound out of the prompt.
    if total > 0 && total == told.prompt + told.completion + told.audio_in {
        told.prompt += told.audio_in;
    }
    let beside = total.saturating_sub(told.prompt);
    if beside > told.completion {
        told.completion = beside;
    } else if told.reasoning > told.completion {
        told.completion += told.reasoning;
    }
    usage.is_object().then(|| told.summed())
}
