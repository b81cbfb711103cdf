//! Answers that are odd and good all the same: however they are framed, cut or packed, the client gets them whole and
//! in OpenAI's format.

use std::time::Duration;

use serde_json::{Value, json};

use super::upstreams::answer;
use crate::scene::{Dialect, Rung, Scene, Told, ask, chat};
use crate::support::replies::{EventStream, data, gemini_body, openai_chunk};
use crate::support::script::{Script, Step};
use crate::support::upstream::Upstream;

use Dialect::{Anthropic, Gemini, OpenAi};

const PIECES: [&str; 3] = ["Grüße ", "aus 東京 ", "🏔."];

/// Asks a chain of this one upstream.
async fn only(dialect: Dialect, script: Script, streamed: bool) -> Told {
    let upstream = Upstream::always(script).await;
    let told = ask(&chat("retries = 0", &[Rung::new(dialect, &upstream)]).await, "chat", streamed).await;
    assert_eq!(upstream.hits(), 1);
    told
}

/// The text arrived whole, from an answer that ended well.
async fn passes(name: &str, dialect: Dialect, script: Script, streamed: bool) {
    let told = only(dialect, script, streamed).await;
    let expected = format!("200 {} | 0=ok | by 0 after 1 because -", PIECES.concat());
    assert_eq!(told.summary(), expected, "{name}, {dialect:?}, streamed: {streamed}");
}

/// The body of a script that is one whole answer.
fn body_of(script: &Script) -> Vec<u8> {
    let Some(Step::Send(bytes)) = script.steps.first() else { panic!("one step") };
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    bytes[at..].to_vec()
}

fn json_body(dialect: Dialect) -> Vec<u8> {
    body_of(&dialect.json(&PIECES.concat()))
}

fn stream_body(dialect: Dialect) -> String {
    dialect.stream(&PIECES).events.concat()
}

fn sse(body: &[u8]) -> Script {
    answer(&[("content-type", "text/event-stream")], body)
}

/// The format that `gzip` writes, with blocks that are stored as they are.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = bytes.chunks(1000).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let crc = !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    out.extend(crc.to_le_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    out
}

#[tokio::test]
async fn an_answer_split_at_every_byte_passes() {
    for dialect in Dialect::ALL {
        let split = |script: Script| script.split_every(1, Duration::ZERO);
        passes("json", dialect, split(dialect.json(&PIECES.concat())), false).await;
        passes("stream", dialect, split(dialect.stream(&PIECES).all()), true).await;
        let bytes = stream_body(dialect).into_bytes();
        passes("bytes in one chunk each", dialect, in_chunks(bytes.chunks(1)), true).await;
    }
}

/// Every piece in a chunk of its own.
fn in_chunks<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Script {
    let script = EventStream::new([]).first(0);
    let script = pieces.fold(script, |script, piece| {
        script.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
    });
    script.send("0\r\n\r\n")
}

#[tokio::test]
async fn byte_order_marks_and_line_ends_of_any_kind_pass() {
    for dialect in Dialect::ALL {
        let unix = stream_body(dialect).replace("\r\n", "\n");
        for (name, body) in [
            ("LF", unix.clone()),
            ("CRLF", unix.replace('\n', "\r\n")),
            ("CR", unix.replace('\n', "\r")),
            ("BOM", format!("\u{feff}{unix}")),
            ("BOM and CRLF", format!("\u{feff}{}", unix.replace('\n', "\r\n"))),
            ("comments, ids and retries between", unix.replace("data:", ": hm\nid: 7\nretry: 1\ndata:")),
            ("no space after the colon", unix.replace("data: ", "data:").replace("event: ", "event:")),
            ("blank lines between", unix.replace("\n\n", "\n\n\n\n")),
            ("no blank line at the end", unix.trim_end().to_owned()),
        ] {
            passes(name, dialect, sse(body.as_bytes()), true).await;
            let upstream = sse(body.as_bytes()).split_every(3, Duration::ZERO);
            passes(name, dialect, upstream, true).await;
        }
    }
}

#[tokio::test]
async fn a_json_answer_with_a_byte_order_mark_or_spaces_is_clean_json_for_the_client() {
    for dialect in Dialect::ALL {
        for (name, before, after) in [("BOM", "\u{feff}", ""), ("spaces", " \r\n\t", "\n\n ")] {
            let body = [before.as_bytes(), &json_body(dialect), after.as_bytes()].concat();
            let script = answer(&[("content-type", "application/json; charset=utf-8")], &body);
            passes(name, dialect, script.clone(), false).await;
            passes(name, dialect, script, true).await;
        }
    }
}

#[tokio::test]
async fn gzip_passes_though_it_was_not_asked_for() {
    for dialect in Dialect::ALL {
        let headers = |kind| [("content-type", kind), ("content-encoding", "gzip")];
        let json = answer(&headers("application/json"), &gzip(&json_body(dialect)));
        passes("json", dialect, json, false).await;
        let packed = gzip(stream_body(dialect).as_bytes());
        let stream = answer(&headers("text/event-stream"), &packed);
        passes("stream", dialect, stream.clone().split_every(5, Duration::ZERO), true).await;
        passes("stream", dialect, stream, true).await;
        // Cut in the middle it is no answer.
        let cut = answer(&headers("application/json"), &gzip(&json_body(dialect))[..60]);
        let told = only(dialect, cut, false).await;
        assert_eq!(
            (told.status, told.header("x-piton-fallback-reason")),
            (502, Some("truncated")),
            "{dialect:?}"
        );
        // An error may be packed too.
        let error = gzip(br#"{"error":{"message":"the packed words","type":"x"}}"#);
        let mut script = answer(&headers("application/json"), &error);
        if let Some(Step::Send(bytes)) = script.steps.first_mut() {
            *bytes = String::from_utf8_lossy(&bytes[..12])
                .replace("200", "500")
                .into_bytes()
                .into_iter()
                .chain(bytes[12..].iter().copied())
                .collect();
        }
        let told = only(dialect, script, false).await;
        assert!(told.error["message"].as_str().unwrap().contains("the packed words"), "{}", told.error);
    }
}

#[tokio::test]
async fn an_event_of_four_megabytes_passes() {
    let large = "0123456789abcdef".repeat(1 << 18);
    for dialect in Dialect::ALL {
        let told = only(dialect, dialect.stream(&["a", &large, "z"]).all(), true).await;
        assert_eq!(
            (told.status, told.ended_well, told.text.len()),
            (200, true, large.len() + 2),
            "{dialect:?}"
        );
        assert!(told.text == format!("a{large}z"));
        let told = only(dialect, dialect.json(&large), false).await;
        assert!(told.status == 200 && told.text == large);
    }
}

#[tokio::test]
async fn a_stream_for_a_json_call_and_json_for_a_stream_pass_in_the_form_that_was_asked_for() {
    for dialect in Dialect::ALL {
        passes("stream for a JSON call", dialect, dialect.stream(&PIECES).all(), false).await;
        passes("JSON for a stream", dialect, dialect.json(&PIECES.concat()), true).await;
        let named = answer(&[("content-type", "text/event-stream")], &json_body(dialect));
        passes("JSON that is called a stream", dialect, named.clone(), true).await;
        passes("JSON that is called a stream", dialect, named, false).await;
        let named = answer(&[("content-type", "application/json")], stream_body(dialect).as_bytes());
        passes("a stream that is called JSON", dialect, named, true).await;
        let cut = dialect.stream(&PIECES).first(dialect.stream(&[]).events.len().min(3)).send("0\r\n\r\n");
        let told = only(dialect, cut, false).await;
        assert_eq!(
            told.header("x-piton-fallback-reason"),
            Some("truncated"),
            "{dialect:?} {}",
            told.summary()
        );
    }
}

#[tokio::test]
async fn informational_answers_before_the_real_one_pass() {
    for dialect in Dialect::ALL {
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
        let script = Script::new().send(early).then(dialect.json(&PIECES.concat()));
        passes("100 and 103", dialect, script, false).await;
        let script = Script::new().send(early).then(dialect.stream(&PIECES).all());
        passes("100 and 103", dialect, script, true).await;
    }
}

#[tokio::test]
async fn a_single_unreadable_event_inside_a_good_stream_is_skipped_and_counted() {
    for dialect in Dialect::ALL {
        let mut events = dialect.stream(&PIECES).events;
        events.insert(events.len() - 2, data("{\"half"));
        let upstream = Upstream::always(EventStream::new(events).all()).await;
        let gateway = chat("", &[Rung::new(dialect, &upstream)]).await;
        let told = ask(&gateway, "chat", true).await;
        assert_eq!(told.summary(), format!("200 {} | 0=ok | by 0 after 1 because -", PIECES.concat()));
        assert!(!told.events.iter().any(|event| event.contains("half")));
        let receipt =
            gateway.get(&format!("/piton/api/requests/{}", told.header("x-request-id").unwrap())).await;
        assert_eq!(receipt.json()["trail"][0]["unreadable_events"], 1, "{}", receipt.text());
    }
}

#[tokio::test]
async fn a_missing_done_is_made_up_for_and_what_follows_it_is_left_out() {
    let choice =
        |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let extra = openai_chunk(&choice(json!({ "content": "too late" }), Value::Null), &Value::Null);
    let good = OpenAi.stream(&PIECES).events;
    let without_done = good[..good.len() - 1].to_vec();
    let without_usage = good[..good.len() - 2].to_vec();
    let with_more = [good.clone(), vec![extra]].concat();
    for (name, events) in [("no [DONE]", without_done), ("no usage", without_usage), ("more", with_more)] {
        let stream = EventStream::new(events);
        passes(name, OpenAi, stream.all(), true).await;
        passes(name, OpenAi, stream.all(), false).await;
    }
    // The connection may break after the last word.
    let stream = EventStream::new(good[..good.len() - 1].to_vec());
    passes("closed", OpenAi, stream.first(stream.events.len()).close(), true).await;
    passes("reset", OpenAi, OpenAi.stream(&PIECES).first(good.len()).reset(), true).await;
}

#[tokio::test]
async fn invalid_utf8_inside_a_stream_never_reaches_the_client() {
    // The client of these tests stops at the first line that is no UTF-8.
    let spoil = |text: &str| {
        let bytes = text.replace("SPOIL", "\u{1}").into_bytes();
        bytes.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect::<Vec<u8>>()
    };
    for dialect in Dialect::ALL {
        let body = spoil(&dialect.stream(&["good ", "SPOIL", "text"]).events.concat());
        let told = only(dialect, sse(&body), true).await;
        assert!(told.text.starts_with("good "), "{told:?}");
        assert!(!told.ended_well || told.text == "good text", "{told:?}");
    }
    // In a member that Piton does not read.
    let chunk = r#"{"id":"chatcmpl-scripted","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-2024-08-06","choices":[],"x":"SPOIL"}"#;
    let mut events = OpenAi.stream(&["good"]).events;
    events.insert(2, data(chunk));
    let told = only(OpenAi, sse(&spoil(&events.concat())), true).await;
    assert_eq!(told.text, "good");
}

#[tokio::test]
async fn a_broken_upstream_leaves_its_neighbours_alone() {
    let broken =
        Upstream::always(Script::new().send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}}{}{}")).await;
    let well = crate::scene::good(Gemini, "well").await;
    let also_well = crate::scene::good(Anthropic, "also well").await;
    let gateway = Scene::default()
        .chain("broken", "retries = 0", &[Rung::new(OpenAi, &broken).provider("breaker = false")])
        .chain("well", "", &[Rung::new(Gemini, &well)])
        .chain("other", "", &[Rung::new(Anthropic, &also_well)])
        .start()
        .await;
    for streamed in [false, true, false, true] {
        assert_eq!(ask(&gateway, "broken", streamed).await.status, 502);
        assert_eq!(ask(&gateway, "well", streamed).await.text, "well");
        assert_eq!(ask(&gateway, "other", streamed).await.text, "also well");
    }
}

#[tokio::test]
async fn an_openai_stream_for_a_json_call_keeps_the_models_name() {
    let upstream = Upstream::always(OpenAi.stream(&PIECES).all()).await;
    let gateway = chat("", &[Rung::new(OpenAi, &upstream)]).await;
    let body = json!({ "model": "chat", "messages": [{ "role": "user", "content": "x" }] });
    let whole = gateway.post_json("/v1/chat/completions", &body).await.json();
    let told = ask(&gateway, "chat", true).await;
    let chunk: Value = serde_json::from_str(&told.events[0]).unwrap();
    for name in ["id", "model", "created"] {
        assert_eq!(whole[name], chunk[name], "{name}");
    }
}

#[tokio::test]
async fn content_in_parts_arrives_in_the_form_that_was_asked_for() {
    let rest = [PIECES[1], PIECES[2]].concat();
    let parts = json!([
        { "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] },
        { "type": "text", "text": PIECES[0] },
        { "type": "text", "text": rest },
    ]);
    let message = json!({ "role": "assistant", "content": parts });
    let choice = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
    let body =
        json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choice });
    let script = answer(&[("content-type", "application/json")], body.to_string().as_bytes());
    passes("parts for a stream", OpenAi, script, true).await;
}

/// Servers that cut text between the halves of a character send each half alone.
#[tokio::test]
async fn half_a_character_costs_nothing_but_itself() {
    let half = |body: &str| body.replace("🏔", r"\ud83c");
    let expected = PIECES.concat().replace('🏔', "\u{FFFD}");
    for dialect in Dialect::ALL {
        let json = half(&String::from_utf8(json_body(dialect)).unwrap());
        let told =
            only(dialect, answer(&[("content-type", "application/json")], json.as_bytes()), false).await;
        assert_eq!((told.status, told.text.as_str()), (200, expected.as_str()), "{dialect:?}");
        let told = only(dialect, sse(half(&stream_body(dialect)).as_bytes()), true).await;
        assert_eq!((told.ended_well, told.text.as_str()), (true, expected.as_str()), "{dialect:?}");
    }
}

/// Some of Gemini's models give a finish reason with every event. One that goes on after it, and then closes, loses
/// nothing, however long it pauses.
#[tokio::test]
async fn a_finish_reason_that_is_not_the_last_ends_nothing() {
    let event = |text: &str| data(&gemini_body(text, Some("STOP"), 1).to_string());
    let pause = Duration::from_millis(2300);
    let script = EventStream::new(["one ", "two ", "three"].map(event));
    let slow = script.first(2).then(Script::new().pause(pause)).then(script.rest(2));
    let told = only(Gemini, slow, true).await;
    assert_eq!((told.ended_well, told.text.as_str()), (true, "one two three"));
    let last = told.events.iter().rev().find(|event| event.contains("\"delta\"")).unwrap();
    assert!(last.contains(r#""finish_reason":"stop""#), "{last}");
    assert_eq!(told.events.iter().filter(|event| event.contains(r#""finish_reason":"stop""#)).count(), 1);
}
