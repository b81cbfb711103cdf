//! Streams as they are read.

use super::*;
use crate::chat::{Delta, Event, FinishReason, Fold};
use crate::providers::Progress;
use crate::reason::Class;
use crate::wire::{Frame, sse};

/// The events of a stream whose bytes come in pieces of this size, and how it ended.
fn run(bytes: &[u8], size: usize) -> (Vec<Event>, Result<(), Failure>) {
    let mut frames = sse::Decoder::new(sse::DEFAULT_MAX_EVENT);
    let mut reader = Gemini::default().decoder(&facts("gemini-3-pro-preview"), &ReplyContext::default());
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        frames.push(Bytes::copy_from_slice(piece));
        while let Some(event) = frames.next().unwrap() {
            if let Err(failure) = reader.decode(&event, &mut out) {
                return (out, Err(failure));
            }
        }
    }
    while let Some(event) = frames.finish().unwrap() {
        if let Err(failure) = reader.decode(&event, &mut out) {
            return (out, Err(failure));
        }
    }
    let end = reader.finish(&mut out);
    (out, end)
}

fn recorded(case: &str) -> Vec<u8> {
    fixture(&format!("streams/{case}.txt"))
}

fn good(bytes: &[u8]) -> (Vec<Event>, ChatResponse) {
    let (events, end) = run(bytes, bytes.len().max(1));
    end.unwrap();
    let response = Fold::of(events.iter().cloned());
    (events, response)
}

fn wire(replies: &[Value]) -> Vec<u8> {
    replies.iter().flat_map(|reply| format!("data: {reply}\r\n\r\n").into_bytes()).collect()
}

fn text(text: &str, finish_reason: Option<&str>) -> Value {
    let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = json!(reason);
    }
    json!({"candidates": [candidate], "responseId": "r", "modelVersion": "m"})
}

#[test]
fn every_recorded_stream_keeps_the_laws() {
    let folder = format!("{}/src/providers/gemini/fixtures/streams", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let bytes = std::fs::read(&path).unwrap();
        let (events, _) = good(&bytes);
        let whole = format!("{events:?}");
        for size in [1, 7] {
            assert_eq!(format!("{:?}", run(&bytes, size).0), whole, "{} by {size}", path.display());
        }
        assert!(matches!(events.first(), Some(Event::Start(start)) if start.id.is_some()));
        assert!(matches!(events.last(), Some(Event::Usage(usage)) if usage.completion.get() > 0));
        let number = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
        let starts = number(|event| matches!(event, Event::Start(_)));
        let finishes = number(|event| matches!(event, Event::Finish { .. }));
        let usages = number(|event| matches!(event, Event::Usage(_)));
        assert_eq!((starts, finishes, usages), (1, 1, 1), "{}", path.display());
        assert_eq!(number(|event| matches!(event, Event::Unreadable)), 0);
    }
    assert!(count >= 12, "{count}");
}

#[test]
fn a_call_is_one_delta_and_its_arguments_another() {
    let (events, response) = good(&recorded("tool-calls-parallel-signed"));
    let calls: Vec<&Delta> = events
        .iter()
        .filter_map(|event| match event {
            Event::Delta { delta, .. } => Some(delta),
            _ => None,
        })
        .collect();
    let indexes: Vec<u32> = calls
        .iter()
        .map(|delta| match delta {
            Delta::ToolCall { index, .. } | Delta::ToolArguments { index, .. } => *index,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(indexes, [0, 0, 1, 1]);
    let choice = &response.choices[0];
    assert_eq!(choice.finish_reason, FinishReason::ToolCalls);
    assert_eq!(choice.message.tool_calls[1].arguments, r#"{"b":3,"a":2}"#);
    assert!(choice.message.tool_calls[0].extra.is_some() && choice.message.tool_calls[1].extra.is_none());
}

#[test]
fn the_signature_at_the_end_of_a_text_is_kept() {
    let (_, response) = good(&recorded("text-ends-with-signature"));
    let message = &response.choices[0].message;
    assert!(message.content.as_deref().is_some_and(|text| text.contains("40°C")));
    assert_eq!(message.reasoning_details.len(), 1);
    let usage = response.usage.unwrap();
    assert_eq!((usage.prompt.get(), usage.completion.get(), usage.reasoning.get()), (206, 112, 83));
}

#[test]
fn thoughts_come_before_the_answer() {
    let (_, response) = good(&recorded("thoughts-and-text"));
    let message = &response.choices[0].message;
    assert!(message.reasoning_content.is_some() && message.content.is_some());
}

#[test]
fn arguments_in_pieces_become_whole_calls() {
    let bytes = recorded("tool-call-in-pieces");
    let (_, response) = good(&bytes);
    let calls = &response.choices[0].message.tool_calls;
    let arguments: Vec<&str> = calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, [r#"{"location":"Boston"}"#, r#"{"location":"San Francisco"}"#]);
    assert!(calls[0].extra.is_some() && calls[0].id != calls[1].id);
    // The empty call that ends one has been seen missing.
    let text = String::from_utf8(bytes).unwrap().replacen(r#"{"functionCall":{}}"#, r#"{"text":""}"#, 1);
    assert_eq!(&good(text.as_bytes()).1.choices[0].message.tool_calls, calls);
}

#[test]
fn server_tools_are_no_calls() {
    let (_, response) = good(&recorded("server-tool"));
    let choice = &response.choices[0];
    assert!(choice.message.tool_calls.is_empty());
    assert_eq!(choice.finish_reason, FinishReason::Stop);
    assert!(!choice.message.annotations.is_empty());
}

#[test]
fn counts_may_follow_the_finish_and_come_once_at_the_end() {
    let late = json!({"usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2}});
    let (events, response) = good(&wire(&[text("a", None), text("b", Some("STOP")), late]));
    assert!(
        matches!(events.as_slice(), [.., Event::SoFar(_), Event::Finish { .. }, Event::Usage(_)]),
        "{events:?}"
    );
    assert_eq!(response.choices[0].message.content.as_deref(), Some("ab"));
    assert_eq!(response.usage.unwrap().total().get(), 6);
}

#[test]
fn a_stream_without_its_finish_is_cut() {
    for bytes in
        [wire(&[]), wire(&[text("a", None)]), wire(&[json!({"usageMetadata": {"promptTokenCount": 1}})])]
    {
        let (_, end) = run(&bytes, 64);
        assert_eq!(end.unwrap_err().class, Class::Truncated, "{}", String::from_utf8_lossy(&bytes));
    }
    let bytes = recorded("text");
    let cut = bytes.len() - bytes.len() / 3;
    assert_eq!(run(&bytes[..cut], 64).1.unwrap_err().class, Class::Truncated);
}

#[test]
fn an_error_in_a_stream_is_the_failure() {
    let error =
        json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    let (events, end) = run(&wire(&[text("a", None), error.clone()]), 64);
    assert_eq!(end.unwrap_err().class, Class::Overloaded);
    assert!(events.iter().any(Event::is_content));
    assert_eq!(run(&wire(&[json!([error])]), 64).1.unwrap_err().class, Class::Overloaded);
    let blocked = fixture("failed/blocked-prompt.json");
    let blocked: Value = serde_json::from_slice(&blocked).unwrap();
    assert_eq!(run(&wire(&[blocked]), 64).1.unwrap_err().class, Class::ContentFilter);
    let (_, end) = run(&wire(&[text("", Some("SAFETY"))]), 64);
    assert_eq!(end.unwrap_err().class, Class::ContentFilter);
    let (events, end) = run(&wire(&[text("It be", None), text("", Some("SAFETY"))]), 64);
    assert!(end.is_ok());
    assert_eq!(events.iter().flat_map(Event::finished).next(), Some((0, FinishReason::ContentFilter)));
}

#[test]
fn one_unreadable_event_is_left_out_and_a_foreign_one_is_only_life() {
    let mut bytes = wire(&[text("a", None)]);
    bytes.extend_from_slice(
        b"data: {\"candidates\":[{\"con\r\n\r\ndata: \xff\r\n\r\ndata: {\"ping\":1}\r\n\r\n: hello\r\n\r\n",
    );
    bytes.extend(wire(&[text("b", Some("STOP"))]));
    let (events, response) = good(&bytes);
    let kinds: Vec<bool> = events
        .iter()
        .filter_map(|event| match event {
            Event::Unreadable => Some(false),
            Event::Alive => Some(true),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [false, false, true]);
    assert_eq!(response.choices[0].message.content.as_deref(), Some("ab"));
}

#[test]
fn a_proxys_last_word_ends_the_stream_once() {
    let mut reader = Gemini::default().decoder(&facts("gemini-3-pro-preview"), &ReplyContext::default());
    let mut out = Vec::new();
    let event = |data: String| Frame { data: data.into(), ..Frame::default() };
    let mut last = text("a", Some("STOP"));
    last["usageMetadata"] = json!({"promptTokenCount": 1});
    assert_eq!(reader.decode(&event(last.to_string()), &mut out).unwrap(), Progress::More);
    assert!(!out.iter().any(|event| matches!(event, Event::Usage(_))));
    assert_eq!(reader.decode(&event("[DONE]".into()), &mut out).unwrap(), Progress::Done);
    assert!(matches!(out.last(), Some(Event::Usage(_))));
    let before = out.len();
    reader.finish(&mut out).unwrap();
    assert_eq!(out.len(), before, "the counts come once");
}

#[test]
fn any_bytes_are_survived() {
    let mut random = fastrand::Rng::with_seed(7);
    let bytes = recorded("tool-call-in-pieces");
    for _ in 0..300 {
        let mut broken = bytes.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..broken.len());
            broken[at] = random.u8(..);
        }
        let _ = run(&broken, 512);
        let start = random.usize(..broken.len());
        let _ = try_decode(&broken[start..], &ReplyContext::default());
    }
}

/// Some models give a finish reason with every event; only the last is the end of the answer.
#[test]
fn a_finish_reason_with_every_event_ends_the_answer_once_and_last() {
    let call = json!({"candidates": [{"index": 0, "finishReason": "STOP",
        "content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}}]});
    let bytes = wire(&[text("a", Some("STOP")), text("b", Some("STOP")), call]);
    let (events, response) = good(&bytes);
    assert!(
        matches!(events.last(), Some(Event::Finish { reason: FinishReason::ToolCalls, .. })),
        "{events:?}"
    );
    let finishes = events.iter().filter(|event| matches!(event, Event::Finish { .. })).count();
    assert_eq!((finishes, response.choices[0].message.content.as_deref()), (1, Some("ab")));

    let (_, response) = good(&wire(&[text("a", Some("STOP")), text("b", Some("MAX_TOKENS"))]));
    assert_eq!(response.choices[0].finish_reason, FinishReason::Length);
}

#[test]
fn an_answer_looks_complete_until_more_follows_its_finish_reason() {
    let mut reader = Gemini::default().decoder(&facts("gemini-3-pro-preview"), &ReplyContext::default());
    let mut states = Vec::new();
    for reply in [text("a", None), text("b", Some("STOP")), text("c", Some("STOP"))] {
        let frame = Frame { data: Bytes::from(reply.to_string()), ..Frame::default() };
        reader.decode(&frame, &mut Vec::new()).unwrap();
        states.push(reader.is_complete());
    }
    assert_eq!(states, [false, true, false]);
}
