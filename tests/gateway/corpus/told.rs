//! What a client of OpenAI's API makes of an answer, as OpenAI's own SDKs do: whole bodies, and chunks put together.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::{Annotation, Answer, Call, Choice, Fault, Seal, Told, Usage, count, string};
use super::exchange::events;
use super::oracle::embeddings::vectors;
use crate::support::client::Response;

/// Formats of `reasoning_details` entries whose `id` is that of the call they belong to.
const OF_A_CALL: &str = "google-gemini-v1";

/// Reads what the client got.
pub fn read(response: &Response) -> Told {
    let class = response.header("x-piton-trail").and_then(last_class);
    let text = String::from_utf8_lossy(&response.body);
    let is_stream = response.header("content-type").is_some_and(|kind| kind.contains("event-stream"));
    if response.status != 200 {
        return match serde_json::from_str::<Value>(&text) {
            Ok(body) => fault(&body["error"], class, Some(response.status)),
            Err(error) => Told::Nonsense(format!("status {} and {error}", response.status)),
        };
    }
    if is_stream {
        return stream(&text);
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(body) if body["object"] == "list" => Told::Answer(Answer {
            vectors: vectors(&body),
            usage: usage(&body["usage"]),
            ..Answer::default()
        }),
        Ok(body) => Told::Answer(whole(&body)),
        Err(error) => Told::Nonsense(error.to_string()),
    }
}

/// Reads a chat completion.
pub fn whole(body: &Value) -> Answer {
    let mut oddities = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            oddities.push(what.to_owned());
        }
    };
    expect(body["object"] == "chat.completion", "object is not chat.completion");
    expect(body["id"].as_str().is_some_and(|id| !id.is_empty()), "no id");
    expect(body["created"].is_u64(), "created is no whole number");
    expect(body["model"].as_str().is_some_and(|model| !model.is_empty()), "no model");
    let choices = body["choices"].as_array().cloned().unwrap_or_default();
    for choice in &choices {
        let message = &choice["message"];
        expect(message["role"] == "assistant", "the role is not assistant");
        expect(message.get("content").is_some(), "no content member");
        expect(choice["finish_reason"].is_string(), "no finish reason");
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let is_custom = call["type"] == "custom";
            expect(is_custom || call["type"] == "function", "a call without its type");
            let arguments = if is_custom { &call["custom"]["input"] } else { &call["function"]["arguments"] };
            expect(arguments.is_string(), "arguments are no string");
            expect(call["id"].as_str().is_some_and(|id| !id.is_empty()), "a call without an id");
        }
    }
    let choices = choices.iter().map(choice).collect();
    Answer { choices, usage: usage(&body["usage"]), oddities, ..Answer::default() }
}

fn choice(choice: &Value) -> Choice {
    let message = &choice["message"];
    let mut read = Choice {
        text: string(&message["content"]),
        reasoning: string(&message["reasoning_content"]),
        refusal: Some(string(&message["refusal"])),
        finish: choice["finish_reason"].as_str().map(str::to_owned),
        audio: message["audio"]["data"].as_str().is_some_and(|data| !data.is_empty()),
        logprobs: choice["logprobs"].clone(),
        ..Choice::default()
    };
    read.calls = message["tool_calls"].as_array().into_iter().flatten().map(call).collect();
    // The older form of a call; some send it empty beside the newer one.
    let legacy = &message["function_call"];
    if legacy["name"].as_str().is_some_and(|name| !name.is_empty()) {
        read.calls.push(call(&serde_json::json!({ "function": legacy })));
    }
    read.annotations = annotations(&message["annotations"]);
    seal(&mut read, message["reasoning_details"].as_array().into_iter().flatten());
    read
}

fn call(call: &Value) -> Call {
    let is_custom = call["type"] == "custom";
    let function = if is_custom { &call["custom"] } else { &call["function"] };
    Call {
        name: string(&function["name"]),
        arguments: string(&function[if is_custom { "input" } else { "arguments" }]),
        id: call["id"].as_str().map(str::to_owned),
        signature: call
            .pointer("/extra_content/google/thought_signature")
            .and_then(Value::as_str)
            .map(Into::into),
    }
}

/// The annotations of a message.
pub fn annotations(list: &Value) -> Vec<Annotation> {
    // Other kinds are extensions: what they cite has no address.
    let list = list.as_array().into_iter().flatten().map(|entry| &entry["url_citation"]);
    let list = list.filter(|cited| cited.is_object());
    list.map(|cited| {
        let span = cited["start_index"].as_u64().zip(cited["end_index"].as_u64());
        Annotation {
            url: cited["url"].as_str().map(str::to_owned),
            title: cited["title"].as_str().map(str::to_owned),
            span,
        }
    })
    .collect()
}

/// The opaque reasoning: pieces of one index are one entry, as clients of OpenRouter join them.
pub fn seal<'a>(choice: &mut Choice, details: impl Iterator<Item = &'a Value>) {
    let mut joined: Vec<(Value, Seal)> = Vec::new();
    for entry in details {
        let kind = entry["type"].as_str().unwrap_or_default();
        let bytes = match kind {
            "reasoning.encrypted" => &entry["data"],
            // A part of Gemini's that has no place in OpenAI's format.
            "google.part" => &entry["part"]["thoughtSignature"],
            _ => &entry["signature"],
        };
        let of_call = entry["format"] == OF_A_CALL && kind == "reasoning.encrypted";
        let owner =
            choice.calls.iter_mut().find(|call| of_call && call.id.as_deref() == entry["id"].as_str());
        if let Some(owner) = owner.filter(|_| entry["id"].is_string()) {
            owner.signature.get_or_insert_with(|| string(bytes));
            continue;
        }
        // A whole block of the provider's own, carried for the way back, is no reasoning.
        if bytes.as_str().is_some_and(|bytes| bytes.starts_with('{')) {
            continue;
        }
        let piece = Seal { text: Some(string(&entry["text"])), bytes: string(bytes) };
        let index = entry["index"].clone();
        match joined
            .last_mut()
            .filter(|(last, seal)| !index.is_null() && *last == index && seal.bytes.is_empty())
        {
            Some((_, seal)) => {
                seal.text = seal.text.take().zip(piece.text).map(|(before, text)| before + &text);
                seal.bytes.push_str(&piece.bytes);
            }
            None => joined.push((index, piece)),
        }
    }
    choice.seals = joined.into_iter().map(|(_, seal)| seal).filter(|seal| !seal.bytes.is_empty()).collect();
}

/// OpenAI's usage object.
pub fn usage(usage: &Value) -> Option<Usage> {
    let (prompt, completion) = (&usage["prompt_tokens_details"], &usage["completion_tokens_details"]);
    usage.is_object().then(|| Usage {
        prompt: count(&usage["prompt_tokens"]),
        completion: count(&usage["completion_tokens"]),
        total: count(&usage["total_tokens"]),
        cached: count(&prompt["cached_tokens"]),
        cache_write: count(&prompt["cache_write_tokens"]),
        reasoning: count(&completion["reasoning_tokens"]),
        audio_in: count(&prompt["audio_tokens"]),
        audio_out: count(&completion["audio_tokens"]),
    })
}

/// Puts the chunks of a stream together into the body that says the same. What it meets on the way that OpenAI would
/// not send goes to `oddities`.
pub fn assemble<'a>(chunks: impl Iterator<Item = &'a Value>, oddities: &mut Vec<String>) -> Value {
    let mut choices: BTreeMap<u64, Value> = BTreeMap::new();
    let mut body = serde_json::json!({ "object": "chat.completion" });
    for chunk in chunks {
        for name in ["id", "created", "model"] {
            if body[name].is_null() {
                body[name] = chunk[name].clone();
            } else if body[name] != chunk[name] {
                oddities.push(format!("{name} changes within the stream"));
            }
        }
        if chunk["usage"].is_object() {
            body["usage"] = chunk["usage"].clone();
        }
        for piece in chunk["choices"].as_array().into_iter().flatten() {
            let index = piece["index"].as_u64().unwrap_or(0);
            let whole = choices.entry(index).or_insert_with(|| {
                serde_json::json!({ "index": index, "message": { "content": null }, "finish_reason": null })
            });
            add(whole, piece, oddities);
        }
    }
    body["choices"] = choices.into_values().collect();
    body
}

fn add(whole: &mut Value, piece: &Value, oddities: &mut Vec<String>) {
    let delta = &piece["delta"];
    if piece["finish_reason"].is_string() {
        if whole["finish_reason"].is_string() {
            oddities.push("a second finish reason".to_owned());
        }
        whole["finish_reason"] = piece["finish_reason"].clone();
    }
    let message = &mut whole["message"];
    if delta["role"].is_string() {
        if message["role"].is_string() {
            oddities.push("a second role".to_owned());
        }
        message["role"] = delta["role"].clone();
    }
    for name in ["content", "reasoning_content", "reasoning", "refusal"] {
        if let Some(text) = delta[name].as_str() {
            message[name] = (string(&message[name]) + text).into();
        }
    }
    for name in ["name", "arguments"] {
        if let Some(text) = delta["function_call"][name].as_str() {
            message["function_call"][name] = (string(&message["function_call"][name]) + text).into();
        }
    }
    for name in ["reasoning_details", "annotations"] {
        if let Some(entries) = delta[name].as_array() {
            let mut all = message[name].as_array().cloned().unwrap_or_default();
            all.extend(entries.iter().cloned());
            message[name] = all.into();
        }
    }
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        add_call(message, call, oddities);
    }
}

fn add_call(message: &mut Value, piece: &Value, oddities: &mut Vec<String>) {
    let Some(index) = piece["index"].as_u64().and_then(|index| usize::try_from(index).ok()) else {
        oddities.push("a call without an index".to_owned());
        return;
    };
    let mut calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
    if index > calls.len() {
        oddities.push(format!("call {index} comes before call {}", calls.len()));
        return;
    }
    if index == calls.len() {
        calls.push(serde_json::json!({ "function": { "name": "", "arguments": "" } }));
    }
    let call = &mut calls[index];
    for name in ["id", "type"] {
        if piece[name].as_str().is_some_and(|text| !text.is_empty()) {
            if call[name].is_string() {
                oddities.push(format!("a call's {name} comes twice"));
            } else {
                call[name] = piece[name].clone();
            }
        }
    }
    if piece["extra_content"].is_object() {
        call["extra_content"] = piece["extra_content"].clone();
    }
    for name in ["name", "arguments"] {
        let text = string(&call["function"][name]) + piece["function"][name].as_str().unwrap_or_default();
        call["function"][name] = text.into();
    }
    message["tool_calls"] = calls.into();
}

fn stream(text: &str) -> Told {
    let mut data = events(text);
    let is_done = data.last().is_some_and(|last| last == "[DONE]");
    if is_done {
        data.pop();
    }
    let chunks: Result<Vec<Value>, _> = data.iter().map(|data| serde_json::from_str(data)).collect();
    let chunks = match chunks {
        Ok(chunks) => chunks,
        Err(error) => return Told::Nonsense(error.to_string()),
    };
    if let Some(broken) = chunks.iter().find(|chunk| !chunk["error"].is_null()) {
        return fault(&broken["error"], None, None);
    }
    if !is_done {
        return Told::Nonsense("the stream has no [DONE] and no error".to_owned());
    }
    let mut oddities = Vec::new();
    let body = assemble(chunks.iter(), &mut oddities);
    let mut answer = whole(&body);
    oddities.append(&mut answer.oddities);
    oddities.sort();
    oddities.dedup();
    Told::Answer(Answer { oddities, ..answer })
}

fn fault(error: &Value, class: Option<String>, status: Option<u16>) -> Told {
    let code = error["code"].clone();
    if !(code.is_string() || code.is_null()) || !error["message"].is_string() {
        return Told::Nonsense(format!("no error object of OpenAI's: {error}"));
    }
    Told::Failure(Fault { class, status, code: Some(code) })
}

/// The class of the last attempt: `provider/model=class;12ms`.
fn last_class(trail: &str) -> Option<String> {
    let (_, outcome) = trail.rsplit(", ").next()?.rsplit_once('=')?;
    Some(outcome.split(';').next().unwrap_or(outcome).to_owned())
}
