//! The ways to a provider: pooled connections, proxies, and answers that somebody compressed.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::{Builder, Gateway};
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";
/// No such host is anywhere: only a proxy can reach it.
const ELSEWHERE: &str = "http://models.example";

fn gateway(base_url: &str, provider: &str) -> Builder {
    Gateway::with(&format!(
        "[defaults]\nretries = 0\n[providers.a]\nkind = \"openai\"\nbase_url = \"{base_url}/v1\"\n{provider}\n\
         [chains]\nmain = [\"a/m\"]"
    ))
}

fn question(stream: bool) -> Value {
    json!({ "model": "main", "stream": stream, "messages": [{ "role": "user", "content": "hello" }] })
}

async fn ask(gateway: &Gateway, stream: bool) -> Response {
    gateway.stream(CHAT, &question(stream)).await.whole().await
}

fn answer(_: usize, request: &Received) -> Script {
    let stream = request.json()["stream"] == true;
    if stream {
        replies::openai_stream(&["from ", "there"]).all()
    } else {
        replies::openai_json("from there")
    }
}

/// The text of an answer, streamed or not.
fn text(answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.text();
    if !body.starts_with("data:") {
        return answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    }
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    let chunks = body.lines().filter_map(|line| line.strip_prefix("data: {"));
    let deltas = chunks.map(|chunk| {
        let chunk: Value = serde_json::from_str(&format!("{{{chunk}")).unwrap();
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    });
    deltas.collect()
}

#[tokio::test]
async fn answers_of_every_kind_leave_their_connection_to_the_next_request() {
    let upstream = Upstream::start(|n, request| match n % 4 {
        0 => replies::openai_error(503, "server_error", None, "down"),
        1 => replies::openai_json("x").split_every(40, Duration::ZERO),
        2 => replies::status(400, "", &[]),
        _ => answer(n, request),
    })
    .await;
    let gateway = gateway(&upstream.url(), "").start().await;
    for at in 0..12 {
        ask(&gateway, at % 4 == 3).await;
    }
    assert_eq!((upstream.hits(), upstream.connections()), (12, 1));
}

#[tokio::test]
async fn requests_at_the_same_time_have_connections_of_their_own() {
    let gate = Gate::shut();
    let waits = gate.clone();
    let upstream =
        Upstream::start(move |n, request| Script::new().wait(&waits).then(answer(n, request))).await;
    let gateway = gateway(&upstream.url(), "").start().await;
    let both = async { tokio::join!(ask(&gateway, false), ask(&gateway, true)) };
    let opened = async {
        upstream.wait_for_hits(2).await;
        gate.open();
    };
    let ((one, other), ()) = tokio::join!(both, opened);
    assert_eq!((text(&one), text(&other)), ("from there".to_owned(), "from there".to_owned()));
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_is_never_used() {
    let upstream = Upstream::start(|n, request| answer(n, request).close()).await;
    let gateway = gateway(&upstream.url(), "").start().await;
    for at in 1..=5 {
        assert_eq!(text(&ask(&gateway, at % 2 == 0).await), "from there");
        upstream.wait_until_idle().await;
        // The end travels one way more.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(upstream.connections(), at);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_takes_the_upstream_call_with_it() {
    let upstream = Upstream::always(Script::new().silence()).await;
    let gateway = gateway(&upstream.url(), "").start().await;
    let asking = gateway.send_json(CHAT, &question(false)).await;
    upstream.wait_for_hits(1).await;
    drop(asking);
    upstream.closed_early().await;
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_is_taken() {
    let refusal = replies::openai_error(413, "invalid_request_error", None, "too large");
    let upstream = EarlyRefusal::start(refusal).await;
    let gateway = gateway(&upstream, "").start().await;
    let mut body = question(false);
    body["messages"][0]["content"] = json!("x".repeat(8 << 20));
    let told = gateway.post_json(CHAT, &body).await;
    assert!(told.text().contains("too large"), "{}", told.text());
}

/// A server that answers as soon as it has a head, and reads the rest only slowly.
struct EarlyRefusal;

impl EarlyRefusal {
    async fn start(refusal: Script) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut some = [0; 1024];
                assert!(stream.read(&mut some).await.unwrap() > 0);
                for step in &refusal.steps {
                    if let crate::support::script::Step::Send(bytes) = step {
                        stream.write_all(bytes).await.unwrap();
                    }
                }
                while stream.read(&mut some).await.is_ok_and(|read| read > 0) {
                    tokio::task::yield_now().await;
                }
            }
        });
        format!("http://{address}")
    }
}

#[tokio::test]
async fn an_owners_proxy_makes_the_calls() {
    let proxy = Upstream::start(answer).await;
    let gateway = gateway(ELSEWHERE, &format!("proxy = \"{}\"", proxy.url())).start().await;
    for stream in [false, true] {
        assert_eq!(text(&ask(&gateway, stream).await), "from there");
    }
    assert_eq!((proxy.hits(), proxy.connections()), (2, 1));
    let asked = proxy.request(0);
    assert_eq!(asked.path, format!("{ELSEWHERE}{CHAT}"));
    let hosts: Vec<_> = asked.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).collect();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0].1, "models.example");
}

#[tokio::test]
async fn the_environments_proxy_makes_the_calls_that_it_is_meant_for() {
    let proxy = Upstream::start(answer).await;
    let here = Upstream::start(answer).await;
    let with_proxy = |base_url: &str| gateway(base_url, "").env("HTTP_PROXY", &proxy.url());
    let proxied = with_proxy(ELSEWHERE).start().await;
    assert_eq!(text(&ask(&proxied, false).await), "from there");
    assert_eq!(proxy.request(0).path, format!("{ELSEWHERE}{CHAT}"));
    // Not to this machine, and not where the environment says no.
    let local = with_proxy(&here.url()).start().await;
    assert_eq!(text(&ask(&local, false).await), "from there");
    let exempt = with_proxy(ELSEWHERE).env("NO_PROXY", "other.example, models.example").start().await;
    assert_eq!(ask(&exempt, false).await.status, 502);
    let https = with_proxy("https://models.example").start().await;
    assert_eq!(ask(&https, false).await.status, 502);
    assert_eq!((proxy.hits(), here.hits()), (1, 1));
}

/// gzip without compression: one stored block per part.
fn gzip(parts: &[&[u8]]) -> Vec<Bytes> {
    let mut pieces = vec![Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])];
    for part in parts {
        let length = u16::try_from(part.len()).unwrap();
        pieces.push([&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), part].concat().into());
    }
    let whole = parts.concat();
    let length = u32::try_from(whole.len()).unwrap();
    let end = [&[1, 0, 0, 255, 255][..], &crc32fast::hash(&whole).to_le_bytes(), &length.to_le_bytes()];
    pieces.push(end.concat().into());
    pieces
}

/// A zstd frame of one raw block.
fn zstd(whole: &[u8]) -> Vec<Bytes> {
    let size = u32::try_from(whole.len()).unwrap();
    let block = (size << 3 | 1).to_le_bytes();
    vec![[&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &size.to_le_bytes(), &block[..3], whole].concat().into()]
}

fn packed(encoding: &str, media_type: &str, pieces: Vec<Bytes>, between: Option<&Gate>) -> Script {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-encoding: {encoding}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let count = pieces.len();
    let mut script = Script::new().send(head);
    for (at, piece) in pieces.into_iter().enumerate() {
        // Before its last events.
        if let Some(gate) = between.filter(|_| at + 3 == count) {
            script = script.wait(gate);
        }
        script = script.send([format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat());
    }
    script.send("0\r\n\r\n")
}

#[tokio::test]
async fn an_answer_that_was_compressed_unasked_is_read() {
    let whole = replies::openai_body("from there").to_string();
    for (encoding, pieces) in [("gzip", gzip(&[whole.as_bytes()])), ("zstd", zstd(whole.as_bytes()))] {
        let upstream = Upstream::always(packed(encoding, "application/json", pieces, None)).await;
        let proxy = format!("proxy = \"{}\"", upstream.url());
        for builder in [gateway(&upstream.url(), ""), gateway(ELSEWHERE, &proxy)] {
            let gateway = builder.start().await;
            for _ in 0..2 {
                assert_eq!(text(&ask(&gateway, false).await), "from there", "{encoding}");
            }
        }
        assert_eq!((upstream.hits(), upstream.connections()), (4, 2), "{encoding}");
        assert!(upstream.request(0).headers.contains(&("accept-encoding".into(), "identity".into())));
    }
}

#[tokio::test]
async fn a_stream_that_was_compressed_unasked_is_not_held_back() {
    let gate = Gate::shut();
    let chunk = |content: &str| {
        let choices = json!([{ "index": 0, "delta": { "content": content }, "finish_reason": null }]);
        replies::openai_chunk(&choices, &Value::Null)
    };
    let stop = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    let events = [
        chunk("early"),
        chunk(" late"),
        replies::openai_chunk(&stop, &Value::Null) + &replies::data("[DONE]"),
    ];
    let pieces = gzip(&events.each_ref().map(String::as_bytes));
    let upstream = Upstream::always(packed("gzip", "text/event-stream", pieces, Some(&gate))).await;
    let gateway = gateway(&upstream.url(), "").start().await;
    let mut streaming = gateway.stream(CHAT, &question(true)).await;
    let first = streaming.next_event().await.unwrap();
    assert!(format!("{first:?}").contains("early"), "{first:?}");
    gate.open();
    let rest = streaming.whole().await.text();
    assert!(rest.contains(" late") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
}
