//! Upstream nonsense: it never passes for an answer. Each case is asked through a chain with a second target, which
//! must serve, and through one without, which must end in an error; streamed and not, in all dialects.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, ask, second};
use crate::support::replies::{EventStream, data, openai_body, openai_chunk};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

use Dialect::{Anthropic, Gemini, OpenAi};

/// A name, the dialect that is expected, the nonsense, and the classes that may be made of it.
struct Nonsense {
    name: String,
    dialect: Dialect,
    script: Script,
    classes: &'static [&'static str],
}

const NO_FORMAT: &[&str] = &["malformed"];
const CUT: &[&str] = &["truncated"];
/// Nothing came: it may have been cut, or there may never have been more.
const NOTHING: &[&str] = &["truncated", "malformed", "empty"];
const LOST: &[&str] = &["connection_lost"];

/// An answer of status 200 with these headers and this body, whatever they say.
pub fn answer(headers: &[(&str, &str)], body: &[u8]) -> Script {
    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    Script::new().send([head.as_bytes(), b"\r\n", body].concat())
}

fn typed(media_type: &str, body: &[u8]) -> Script {
    answer(&[("content-type", media_type)], body)
}

fn everywhere(name: &str, script: &Script, classes: &'static [&'static str]) -> Vec<Nonsense> {
    let each = |dialect| Nonsense { name: name.to_owned(), dialect, script: script.clone(), classes };
    Dialect::ALL.map(each).into()
}

/// Replaces the text of a good answer with bytes that are no UTF-8.
fn spoiled(text: &str) -> Vec<u8> {
    text.replace("SPOIL", "\u{1}")
        .into_bytes()
        .into_iter()
        .map(|byte| if byte == 1 { 0xff } else { byte })
        .collect()
}

async fn none_passes(cases: Vec<Nonsense>) {
    let next = second().await;
    let mut scene = Scene::default();
    let mut upstreams = Vec::new();
    for (at, Nonsense { dialect, script, .. }) in cases.iter().enumerate() {
        let upstream = Upstream::always(script.clone()).await;
        let bad = || Rung::new(*dialect, &upstream).provider("breaker = false");
        scene = scene.chain(&format!("pair{at}"), "", &[bad(), Rung::new(OpenAi, &next)]).chain(
            &format!("only{at}"),
            "retries = 0",
            &[bad()],
        );
        upstreams.push(upstream);
    }
    let gateway = scene.start().await;
    let mut surprises = Vec::new();
    for streamed in [false, true] {
        for kind in ["pair", "only"] {
            let names: Vec<_> = (0..cases.len()).map(|at| format!("{kind}{at}")).collect();
            let told = join_all(names.iter().map(|chain| ask(&gateway, chain, streamed))).await;
            for (told, Nonsense { name, dialect, classes, .. }) in told.iter().zip(&cases) {
                let class = told.header("x-piton-fallback-reason").unwrap_or("-");
                let as_expected = if kind == "pair" {
                    told.summary() == format!("200 second | 0={class} 1=ok | by 1 after 2 because {class}")
                } else {
                    told.summary() == format!("502 {class} | 0={class} | by - after 1 because {class}")
                };
                if !as_expected || !classes.contains(&class) {
                    let case = format!("{dialect:?}, {kind}, streamed: {streamed}, {name}");
                    surprises.push(format!("{case}: {}", told.summary()));
                }
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert!(upstreams.iter().all(|upstream| upstream.hits() == 4));
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
}

#[tokio::test]
async fn bodies_in_another_format_do_not_pass() {
    let page = b"<!doctype html>\n<html><body>502 Bad Gateway</body></html>";
    let mut cases = Vec::new();
    for media_type in ["text/html", "application/json", "text/event-stream", "nonsense"] {
        cases.extend(everywhere(media_type, &typed(media_type, page), NO_FORMAT));
    }
    cases.extend(everywhere("text", &typed("text/plain", b"OK"), NOTHING));
    cases.extend(everywhere("no type", &answer(&[], b"OK"), NOTHING));
    cases.extend(everywhere(
        "binary",
        &typed("application/octet-stream", &[0x1f, 0x8b, 0, 1, 2, 255]),
        NOTHING,
    ));
    for body in
        ["{}", "[]", "null", "42", "true", "\"hello\"", "[1,2]", r#"{"object":"list","data":[]}"#, "{{{", "}"]
    {
        cases.extend(everywhere(body, &typed("application/json", body.as_bytes()), NOTHING));
    }
    for body in [
        r#"{"choices":[]}"#,
        r#"{"choices":null}"#,
        r#"{"choices":[{}]}"#,
        r#"{"choices":"many"}"#,
        r#"{"choices":[7]}"#,
    ] {
        let script = typed("application/json", body.as_bytes());
        cases.push(Nonsense { name: body.into(), dialect: OpenAi, script, classes: NOTHING });
    }
    for body in [r#"{"type":"message"}"#, r#"{"type":"message","content":7}"#, r#"{"type":"ping"}"#] {
        let script = typed("application/json", body.as_bytes());
        cases.push(Nonsense { name: body.into(), dialect: Anthropic, script, classes: NOTHING });
    }
    for body in
        [r#"{"candidates":[]}"#, r#"{"candidates":[{}]}"#, r#"{"candidates":7}"#, r#"{"usageMetadata":{}}"#]
    {
        let script = typed("application/json", body.as_bytes());
        cases.push(Nonsense { name: body.into(), dialect: Gemini, script, classes: NOTHING });
    }
    none_passes(cases).await;
}

#[tokio::test]
async fn another_dialects_answer_does_not_pass() {
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        for other in Dialect::ALL.into_iter().filter(|other| *other != dialect) {
            let name = format!("{other:?}'s answer");
            cases.push(Nonsense { name, dialect, script: other.json("wrong door"), classes: NOTHING });
            let name = format!("{other:?}'s stream");
            let script = other.stream(&["wrong", "door"]).all();
            cases.push(Nonsense { name, dialect, script, classes: NOTHING });
        }
    }
    none_passes(cases).await;
}

#[tokio::test]
async fn nothing_at_all_does_not_pass() {
    let mut cases = Vec::new();
    for media_type in ["application/json", "text/event-stream"] {
        cases.extend(everywhere("empty", &typed(media_type, b""), NOTHING));
        cases.extend(everywhere("blank", &typed(media_type, b" \n\r\n \n"), NOTHING));
    }
    cases.extend(everywhere("no body", &EventStream::new([]).all(), NOTHING));
    cases.extend(everywhere("closed", &EventStream::new([]).first(0).close(), CUT));
    cases.extend(everywhere("until close", &Script::new().send("HTTP/1.1 200 OK\r\n\r\n").close(), NOTHING));
    none_passes(cases).await;
}

#[tokio::test]
async fn invalid_utf8_does_not_pass() {
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        let json = match dialect {
            OpenAi => openai_body("SPOIL"),
            Anthropic => crate::support::replies::anthropic_body("SPOIL"),
            Gemini => crate::support::replies::gemini_body("SPOIL", Some("STOP"), 2),
        };
        let script = typed("application/json", &spoiled(&json.to_string()));
        cases.push(Nonsense { name: "text".into(), dialect, script, classes: NO_FORMAT });
    }
    for pointer in ["/system_fingerprint", "/id", "/choices/0/message/role", "/choices/0/finish_reason"] {
        let mut body = openai_body("fine");
        *body.pointer_mut(pointer).unwrap() = json!("SPOIL");
        let script = typed("application/json", &spoiled(&body.to_string()));
        cases.push(Nonsense { name: pointer.into(), dialect: OpenAi, script, classes: NO_FORMAT });
    }
    none_passes(cases).await;
}

#[tokio::test]
async fn streams_of_which_nothing_can_be_read_do_not_pass() {
    let mut cases = Vec::new();
    for (name, event) in [
        ("words", data("hello")),
        ("half an object", data("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x")),
        ("another object", data("{\"hello\":1}")),
        ("comments", ": hello\n\n".to_owned()),
        ("only an event name", "event: message\n\n".to_owned()),
        ("other fields", "id: 1\nretry: 5\nfoo: bar\n\n".to_owned()),
        ("no format", "hello world, this is no event stream\n".to_owned()),
        ("done at once", data("[DONE]")),
    ] {
        let stream = EventStream::new([event.clone(), event]);
        cases.extend(everywhere(name, &stream.all(), NOTHING));
        cases.extend(everywhere(name, &stream.first(2).close(), NOTHING));
    }
    let invalid = spoiled(&data(r#"{"choices":[{"index":0,"delta":{"content":"SPOIL"}}]}"#));
    cases.extend(everywhere("invalid UTF-8", &typed("text/event-stream", &invalid), NOTHING));
    // A content that is not text, and a finish that never comes.
    let odd = json!([{ "index": 0, "delta": { "content": { "a": [] } }, "finish_reason": null }]);
    let script = EventStream::new([openai_chunk(&odd, &Value::Null)]).all();
    cases.push(Nonsense { name: "odd content".into(), dialect: OpenAi, script, classes: NOTHING });
    none_passes(cases).await;
}

#[tokio::test]
async fn lies_about_length_and_encoding_do_not_pass() {
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        let body = match &dialect.json("an answer that is cut").steps[0] {
            crate::support::script::Step::Send(bytes) => bytes.clone(),
            _ => unreachable!("an answer is one step"),
        };
        let at = body.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let body = &body[at..];
        let lies = |length: usize| {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            Script::new().send([head.as_bytes(), body].concat()).close()
        };
        let chunked = |rest: &[u8]| {
            let head =
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            Script::new().send([&head[..], rest].concat()).close()
        };
        let mut case = |name: &str, script, classes| {
            cases.push(Nonsense { name: name.into(), dialect, script, classes });
        };
        case("a length beyond the body", lies(body.len() + 50), CUT);
        case("a length within the body", lies(body.len() - 30), NOTHING);
        case("a chunk size that is none", chunked(b"zz\r\nhello\r\n"), CUT);
        case("a chunk that is too short", chunked(b"ffff\r\nhello"), CUT);
        case("a chunk without its end", chunked(b"2\r\n{}{}{}\r\n0\r\n\r\n"), NOTHING);
        case("a chunk size beyond all numbers", chunked(b"ffffffffffffffffffff\r\nhello"), CUT);
        let said = answer(&[("content-type", "application/json"), ("content-encoding", "gzip")], body);
        case("gzip that is none", said, NOTHING);
        let said = answer(&[("content-type", "application/json"), ("content-encoding", "br")], body);
        case("brotli that is none", said, NOTHING);
    }
    cases.extend(everywhere("a length that is none", &broken_head("content-length: many"), LOST));
    cases.extend(everywhere("a header without colon", &broken_head("hello"), LOST));
    cases.extend(everywhere("no HTTP", &Script::new().send("HELLO WORLD\r\n\r\n").close(), LOST));
    cases.extend(everywhere("SSH", &Script::new().send("SSH-2.0-OpenSSH_9.6\r\n").close(), LOST));
    cases.extend(everywhere("half a head", &Script::new().send("HTTP/1.1 200 OK\r\ncontent-").close(), LOST));
    cases.extend(everywhere("endless headers", &broken_head(&"x: y\r\n".repeat(200_000)), LOST));
    none_passes(cases).await;
}

fn broken_head(line: &str) -> Script {
    Script::new().send(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n{{}}")).close()
}

#[tokio::test]
async fn other_statuses_are_no_answers_whatever_their_body_says() {
    let mut cases = Vec::new();
    for dialect in Dialect::ALL {
        for status in [
            "201 Created",
            "202 Accepted",
            "206 Partial",
            "302 Found",
            "304 Not Modified",
            "307 X",
            "101 Switching",
        ] {
            let good = match dialect {
                OpenAi => openai_body("good").to_string(),
                Anthropic => crate::support::replies::anthropic_body("good").to_string(),
                Gemini => crate::support::replies::gemini_body("good", Some("STOP"), 1).to_string(),
            };
            let length = good.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:9/\r\ncontent-type: application/json\r\n\
                 connection: close\r\ncontent-length: {length}\r\n\r\n{good}"
            );
            let classes: &[&str] =
                if status.starts_with("101") { &["malformed", "connection_lost"] } else { NO_FORMAT };
            cases.push(Nonsense {
                name: status.into(),
                dialect,
                script: Script::new().send(head).close(),
                classes,
            });
        }
    }
    none_passes(cases).await;
}

#[tokio::test]
async fn an_event_without_end_is_given_up() {
    let next = second().await;
    for dialect in Dialect::ALL {
        let start = EventStream::new([]).first(0).send("6\r\ndata: \r\n");
        let first = Upstream::always(start.endless(format!("10000\r\n{}\r\n", "x".repeat(0x10000)))).await;
        let scene =
            Scene::default().chain("chat", "", &[Rung::new(dialect, &first), Rung::new(OpenAi, &next)]);
        let told = ask(&scene.start().await, "chat", true).await;
        assert_eq!(told.summary(), "200 second | 0=malformed 1=ok | by 1 after 2 because malformed");
        first.closed_early().await;
        assert!(first.bytes_sent() < 64 << 20, "{}", first.bytes_sent());
    }
}

#[tokio::test]
async fn a_json_answer_without_end_is_given_up() {
    let next = second().await;
    for dialect in Dialect::ALL {
        let start = EventStream::new([]).first(0).send("1\r\n{\r\n");
        let first = Upstream::always(start.endless(format!("10000\r\n{}\r\n", " ".repeat(0x10000)))).await;
        let scene = Scene::default()
            .chain("chat", "", &[Rung::new(dialect, &first), Rung::new(OpenAi, &next)])
            .also("[server]\nmax_answer = \"1MiB\"");
        let gateway = scene.start().await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            assert_eq!(told.summary(), "200 second | 0=malformed 1=ok | by 1 after 2 because malformed");
            first.closed_early().await;
        }
    }
}
