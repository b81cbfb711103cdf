//! The support code held to its own promises: the upstream and the client against each other, and against
//! another HTTP client.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{self, End, Raw};
use super::in_time;
use super::replies::{self, EventStream};
use super::script::{Gate, Script};
use super::upstream::{Refusing, Unreachable, Upstream};

const POST: &str = "/v1/chat/completions";

async fn ask(upstream: &Upstream) -> reqwest::Result<String> {
    let client = http_client();
    client.post(upstream.url() + POST).body("{}").send().await?.text().await
}

fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn a_request_is_recorded_whole_and_in_order() {
    let upstream = Upstream::always(replies::openai_json("hi")).await;
    let body = json!({ "model": "m", "n": 1.0 });
    let headers = [("X-First", "1"), ("x-second", "2")];
    let sent = body.to_string();
    let reply = client::request(upstream.address(), "POST", "/v1/x?y=1", &headers, sent.as_bytes()).await;
    assert_eq!((reply.status, reply.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
    assert!(reply.text().contains("\"hi\""));

    let received = upstream.request(0);
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/v1/x?y=1"));
    let names: Vec<_> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-length", "host", "X-First", "x-second"]);
    assert_eq!(received.header("x-first"), Some("1"));
    assert_eq!(received.json(), body);
    assert!(received.at <= Instant::now());
}

#[tokio::test]
async fn a_chunked_request_body_is_joined() {
    let upstream = Upstream::always(replies::status(200, "ok", &[])).await;
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        .await;
    assert_eq!(raw.head().await.whole().await.text(), "ok");
    assert_eq!(upstream.request(0).body, "abcde");
}

#[tokio::test]
async fn one_connection_serves_several_requests_until_it_goes_stale() {
    let upstream = Upstream::start(|_, request| {
        let script = replies::openai_json("hi");
        if request.nth_on_connection == 2 { Script::new().close() } else { script }
    })
    .await;
    let mut raw = Raw::connect(upstream.address()).await;
    let request = client::encode(upstream.address(), "GET", "/", &[], b"");
    raw.send(&[request.clone(), request.clone(), request].concat()).await;
    let answers = String::from_utf8(raw.read_to_end().await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
    assert_eq!((upstream.hits(), upstream.connections()), (3, 1));
    assert_eq!(upstream.request(2).nth_on_connection, 2);
    upstream.wait_until_idle().await;
    assert_eq!(upstream.early_closes(), 0);
}

#[tokio::test]
async fn scripts_come_from_a_queue_and_can_be_exchanged() {
    let broken = replies::status(503, "no", &[("retry-after", "1")]);
    let upstream = Upstream::queue([broken], replies::openai_json("second")).await;
    let first = http_client().get(upstream.url()).send().await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert!(ask(&upstream).await.unwrap().contains("second"));
    upstream.answer_with(|n, _| replies::openai_json(&format!("answer {n}")));
    assert!(ask(&upstream).await.unwrap().contains("answer 2"));
    upstream.wait_for_hits(3).await;
}

#[tokio::test]
async fn the_streams_of_all_dialects_are_well_formed() {
    for (stream, last) in [
        (replies::openai_stream(&["a", "b"]), "[DONE]"),
        (replies::anthropic_stream(&["a", "b"]), "message_stop"),
        (replies::gemini_stream(&["a", "b"]), "STOP"),
    ] {
        for script in [stream.all(), stream.all().split_every(1, Duration::ZERO)] {
            let upstream = Upstream::always(script).await;
            let mut answer = client::open(upstream.address(), "POST", POST, &[], b"{}").await;
            let events = answer.events().await;
            assert_eq!((events.len(), answer.end()), (stream.events.len(), Some(End::Clean)));
            assert!(events.last().unwrap().data.contains(last), "{events:?}");
            for event in events.iter().filter(|event| event.data != "[DONE]") {
                serde_json::from_str::<Value>(&event.data).unwrap();
            }
            let text = ask(&upstream).await.unwrap();
            assert_eq!(text, stream.events.concat());
        }
    }
    for (script, text) in [
        (replies::openai_json("hi"), "/choices/0/message/content"),
        (replies::anthropic_json("hi"), "/content/0/text"),
        (replies::gemini_json("hi"), "/candidates/0/content/parts/0/text"),
    ] {
        let upstream = Upstream::always(script.split_every(7, Duration::ZERO)).await;
        let answer: Value = serde_json::from_str(&ask(&upstream).await.unwrap()).unwrap();
        assert_eq!(answer.pointer(text).unwrap(), "hi");
    }
}

#[tokio::test]
async fn errors_wear_their_dialects_envelope() {
    for (script, status, pointer) in [
        (replies::openai_error(429, "tokens", Some("rate_limit_exceeded"), "slow down"), 429, "/error/code"),
        (replies::anthropic_error(529, "overloaded_error", "Overloaded"), 529, "/error/type"),
        (replies::gemini_error(503, "UNAVAILABLE", "overloaded"), 503, "/error/status"),
    ] {
        let upstream = Upstream::always(script).await;
        let answer = client::request(upstream.address(), "POST", POST, &[], b"{}").await;
        assert_eq!(answer.status, status);
        assert!(answer.json().pointer(pointer).unwrap().is_string());
    }
}

#[tokio::test]
async fn a_reset_before_the_head_looks_like_one() {
    let upstream = Upstream::always(Script::new().reset()).await;
    assert!(ask(&upstream).await.unwrap_err().is_request());
    assert_eq!(upstream.hits(), 1);
    upstream.reset_at_accept(true);
    assert!(ask(&upstream).await.is_err());
    assert_eq!(upstream.hits(), 1);
    upstream.reset_at_accept(false);
    upstream.answer_with(|_, _| replies::openai_json("hi"));
    ask(&upstream).await.unwrap();
}

#[tokio::test]
async fn a_body_can_be_cut_at_any_byte() {
    let stream = replies::openai_stream(&["a", "b"]);
    for script in [
        stream.first(2).close(),
        stream.first(2).reset(),
        stream.first(2).send("40\r\ndata: {\"half").close(),
        replies::openai_json("hi").truncated(180).close(),
    ] {
        let upstream = Upstream::always(script).await;
        let mut answer = client::open(upstream.address(), "POST", POST, &[], b"{}").await;
        let events = answer.events().await;
        assert!(events.len() <= 2, "{events:?}");
        assert_eq!(answer.end(), Some(End::Broken));
        assert!(ask(&upstream).await.is_err());
    }
}

#[tokio::test]
async fn silence_notes_when_the_peer_went_away() {
    let upstream = Upstream::start(|n, _| match n {
        0 => Script::new().silence(),
        _ => replies::openai_stream(&["a"]).first(2).pause(Duration::from_mins(10)),
    })
    .await;
    for events in [0, 2] {
        let mut raw = Raw::connect(upstream.address()).await;
        raw.send(&client::encode(upstream.address(), "POST", POST, &[], b"{}")).await;
        upstream.wait_for_hits(upstream.early_closes() + 1).await;
        if events == 0 {
            assert_eq!(upstream.open_connections(), 1);
            let before = Instant::now();
            raw.reset();
            let close = upstream.closed_early().await;
            assert_eq!(close.request, 0);
            assert!(close.at >= before);
        } else {
            let mut answer = raw.head().await;
            for _ in 0..events {
                answer.next_event().await.unwrap();
            }
            drop(answer);
            assert_eq!(upstream.closed_early().await.request, 1);
        }
    }
    assert_eq!(upstream.early_closes(), 2);
    upstream.wait_until_idle().await;
}

#[tokio::test]
async fn an_endless_stream_feels_backpressure() {
    let event = replies::chunk(&replies::data(&"x".repeat(16_000)));
    let endless = EventStream::new([]).header("x-a", "b").first(0).endless(event);
    let upstream = Upstream::always(endless).await;
    let answer = client::open(upstream.address(), "POST", POST, &[], b"{}").await;
    assert_eq!(answer.header("x-a"), Some("b"));
    // Nobody reads: the sockets fill up and then the count stands still.
    let mut sent = 0;
    in_time("full sockets", async {
        while upstream.bytes_sent() == 0 || upstream.bytes_sent() != sent {
            sent = upstream.bytes_sent();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert!(sent < 64 << 20, "{sent}");
    drop(answer);
    upstream.closed_early().await;
}

#[tokio::test]
async fn a_drip_and_a_gate_keep_their_time() {
    let gap = Duration::from_millis(30);
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["a"]).gap(gap);
    let upstream = Upstream::always(stream.first(3).wait(&gate).then(stream.rest(3))).await;
    // Only sums from before the request are sure: a busy machine may see two late events at once.
    let start = Instant::now();
    let mut answer = client::open(upstream.address(), "POST", POST, &[], b"{}").await;
    for count in 1..=3 {
        let event = answer.next_event().await.unwrap();
        assert!(event.at - start >= gap * count && event.at >= answer.at, "{count} {:?}", event.at - start);
    }
    assert!(tokio::time::timeout(gap, answer.next_line()).await.is_err(), "the gate is shut");
    gate.open();
    assert_eq!(answer.events().await.len(), 2);
    assert_eq!(answer.end(), Some(End::Clean));

    let slow = replies::status(200, "abcdefgh", &[]).split_every(20, Duration::from_millis(5));
    let upstream = Upstream::always(slow).await;
    assert_eq!(ask(&upstream).await.unwrap(), "abcdefgh");
}

#[tokio::test]
async fn some_addresses_refuse_and_some_never_answer() {
    let refusing = Refusing::new();
    assert!(http_client().get(refusing.url()).send().await.unwrap_err().is_connect());
    let unreachable = Unreachable::new().await;
    let impatient = http_client().get(unreachable.url()).timeout(Duration::from_millis(300));
    assert!(impatient.send().await.unwrap_err().is_timeout());
}
