//! What an answer carries for its provider comes back to it, each signature on the part that it was on.

use serde_json::{Map, Value, json};

use super::*;
use crate::chat::Fold;
use crate::wire::sse;

/// The parts of all replies, as a history holds them: without what was only thought, without generated images, without
/// empty text, and with unsigned text in one piece.
fn parts_of_history(replies: &[Value]) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut history: Vec<Value> = Vec::new();
    for mut part in replies.iter().flat_map(|reply| list(&reply["candidates"][0]["content"]["parts"])) {
        let is_signed = part.get("thoughtSignature").is_some();
        if part.get("inlineData").is_some() || !is_signed && (part["text"] == "" || part["thought"] == true) {
            continue;
        }
        if let Some(call) = part.get_mut("functionCall").and_then(Value::as_object_mut) {
            call.entry("args").or_insert_with(|| json!({}));
            // One recorded name is none that Gemini takes.
            let name = call.get("name").and_then(Value::as_str).unwrap_or_default().replace('%', "_");
            call.insert("name".into(), json!(name));
        }
        match (history.last_mut(), part.get("text").and_then(Value::as_str)) {
            (Some(last), Some(text)) if !is_signed && last.get("thoughtSignature").is_none() => {
                match last.get("text").and_then(Value::as_str) {
                    Some(before) => last["text"] = json!(format!("{before}{text}")),
                    None => history.push(part),
                }
            }
            _ => history.push(part),
        }
    }
    history
}

/// The parts of the turn that an answer becomes in the next request.
fn parts_that_come_back(response: &ChatResponse) -> Vec<Value> {
    let sent: Value = serde_json::from_slice(&response.to_json("id-1", 0, "model-1")).unwrap();
    let message = sent["choices"][0]["message"].clone();
    let calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut messages = vec![json!({"role": "user", "content": "q"}), message];
    let result = |call: &Value| json!({"role": "tool", "tool_call_id": call["id"], "content": "r"});
    messages.extend(calls.iter().map(result));
    let (_, body) = encoded(&json!({"model": "gemini-3-flash-preview", "messages": messages}));
    let mut parts = body["contents"].as_array().unwrap()[1]["parts"].as_array().unwrap().clone();
    for part in &mut parts {
        if part.get("thoughtSignature") == Some(&json!(super::super::signature::SKIP)) {
            part.as_object_mut().unwrap().remove("thoughtSignature");
        }
    }
    parts
}

/// Ids that Piton made up are no part of what was recorded.
fn without_new_ids(mut parts: Vec<Value>, recorded: &[Value]) -> Vec<Value> {
    for (part, recorded) in parts.iter_mut().zip(recorded) {
        if recorded.pointer("/functionCall/id").is_none()
            && let Some(call) = part.get_mut("functionCall").and_then(Value::as_object_mut)
        {
            call.remove("id");
        }
    }
    parts
}

fn check(name: &str, replies: &[Value], response: &ChatResponse) -> bool {
    let expected = parts_of_history(replies);
    if name.contains("in-pieces") {
        return false;
    }
    let found = without_new_ids(parts_that_come_back(response), &expected);
    assert_eq!(found, expected, "{name}");
    expected.iter().any(|part| part.get("thoughtSignature").is_some())
}

fn replies(body: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(body).unwrap() {
        Value::Array(replies) => replies,
        reply => vec![reply],
    }
}

fn fixtures(kind: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/src/providers/gemini/fixtures/{kind}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_fixture = |path: &std::path::PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(&format!(".{ending}")) && !name.ends_with(".target.json")
    };
    let files = files.filter(is_fixture);
    files.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn every_recorded_turn_comes_back_as_it_was() {
    let mut signed = 0;
    for (name, body) in fixtures("responses", "json") {
        if let Ok(response) = try_decode(&body, &ReplyContext::default())
            && response.choices[0].finish_reason != FinishReason::Length
        {
            signed += u32::from(check(&name, &replies(&body), &response));
        }
    }
    for (name, body) in fixtures("streams", "txt") {
        let mut framing = sse::Decoder::new(sse::DEFAULT_MAX_EVENT);
        let mut decoder =
            Gemini::default().decoder(&facts("gemini-3-flash-preview"), &ReplyContext::default());
        let (mut events, mut replies) = (Vec::new(), Vec::new());
        framing.push(body.into());
        while let Some(frame) = framing.next().unwrap() {
            replies.push(serde_json::from_slice(&frame.data).unwrap());
            decoder.decode(&frame, &mut events).unwrap();
        }
        decoder.finish(&mut events).unwrap();
        signed += u32::from(check(&name, &replies, &Fold::of(events)));
    }
    assert!(signed >= 10, "only {signed} fixtures are signed");
}

#[test]
fn parts_keep_their_order_around_calls() {
    let parts = json!([
        {"text": "hm", "thought": true, "thoughtSignature": "dGhv"},
        {"text": "Öffnen. ", "thoughtSignature": "b25l"},
        {"text": "Now."},
        {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "dHdv"},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"functionCall": {"id": "b", "name": "g", "args": {"x": 1}}},
        {"text": "", "thoughtSignature": "dHJp"},
    ]);
    let body = answer(&parts, "STOP");
    let response = decoded(&body);
    assert_eq!(parts_that_come_back(&response), *parts.as_array().unwrap());
    let signature_alone = decoded(&answer(&json!([{"text": "a"}, {"thoughtSignature": "b25l"}]), "STOP"));
    let expected = json!([{"text": "a"}, {"text": "", "thoughtSignature": "b25l"}]);
    assert_eq!(json!(parts_that_come_back(&signature_alone)), expected);
}

#[test]
fn a_signature_whose_text_was_changed_is_that_of_the_last_text() {
    let detail = |range: Value| {
        let mut detail = Map::from_iter([("type".to_owned(), json!("reasoning.encrypted"))]);
        detail.extend([("data".to_owned(), json!("c2ln")), ("format".to_owned(), json!("google-gemini-v1"))]);
        if !range.is_null() {
            detail.insert("range".into(), range);
        }
        Value::Object(detail)
    };
    let turn = |content: Value, range: Value| {
        let message = json!({"role": "assistant", "content": content, "reasoning_details": [detail(range)]});
        let user = json!({"role": "user", "content": "q"});
        let (_, body) =
            encoded(&json!({"model": "gemini-3-flash-preview", "messages": [user, message, user]}));
        body["contents"][1]["parts"].clone()
    };
    let whole = json!([{"text": "é!", "thoughtSignature": "c2ln"}]);
    let in_parts = json!([{"type": "text", "text": "é"}, {"type": "text", "text": "!"}]);
    for (content, range) in [
        (json!("é!"), Value::Null),
        (json!("é!"), json!([0, 99])),
        (json!("é!"), json!([1, 3])),
        (json!("é!"), json!([3, 0])),
        (json!("é!"), json!("x")),
        (in_parts, Value::Null),
    ] {
        assert_eq!(turn(content, range.clone()), whole, "{range}");
    }
    assert_eq!(
        turn(json!("é!"), json!([3, 3])),
        json!([{"text": "é!"}, {"text": "", "thoughtSignature": "c2ln"}])
    );
    assert_eq!(turn(json!(""), Value::Null), json!([{"text": "", "thoughtSignature": "c2ln"}]));
}
