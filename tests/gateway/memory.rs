//! What Piton holds in memory is bounded, whoever sends much, reads slowly, or comes in numbers.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::chain::{PATH, ask, ask_stream, gateway, logged, metric};
use crate::support::client::{End, Raw, Streaming};
use crate::support::gateway::Gateway;
use crate::support::replies::{self, EventStream};
use crate::support::script::{Gate, Script};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, in_time};

const LARGE: usize = 20_000_000;
const MEGABYTE: u64 = 1_000_000;

/// A figure of the process in `/proc`, in bytes.
fn memory_of(gateway: &Gateway, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure");
    let kibibytes: u64 = line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number");
    kibibytes * 1024
}

/// The most that was ever resident.
fn peak(gateway: &Gateway) -> u64 {
    memory_of(gateway, "VmHWM")
}

/// A request whose body has about this many bytes.
fn large_body(stream: bool, bytes: usize) -> Bytes {
    let mut body = ask();
    body["stream"] = json!(stream);
    body["messages"][0]["content"] = Value::from("All work and no play. ".repeat(bytes / 22));
    body.to_string().into()
}

/// Sends a request in pieces, each in good time, so that only a stuck peer fails the test.
async fn send(gateway: &Gateway, body: &Bytes) -> Raw {
    let mut connection = gateway.connect().await;
    let (address, length) = (gateway.address(), body.len());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    connection.send(head.as_bytes()).await;
    for piece in body.chunks(1 << 20) {
        connection.send(piece).await;
    }
    connection
}

/// A stream of about this many bytes of text.
fn large_stream(kind: &str, bytes: usize) -> Script {
    let piece = "x".repeat(16 * 1024);
    let pieces = vec![piece.as_str(); bytes / piece.len()];
    match kind {
        "anthropic" => replies::anthropic_stream(&pieces).all(),
        "gemini" => replies::gemini_stream(&pieces).all(),
        _ => replies::openai_stream(&pieces).all(),
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    in_time(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_request_and_a_large_stream_pass_in_little_memory() {
    let cases = [("openai", ""), ("openai", "commit = \"complete\""), ("anthropic", ""), ("gemini", "")];
    for (kind, policy) in cases {
        let upstream = Upstream::always(large_stream(kind, LARGE)).await;
        let gateway = gateway(&[(kind, upstream.url())], policy, "").await;
        let mut answer = send(&gateway, &large_body(true, LARGE)).await.head().await;
        assert_eq!(answer.status, 200, "{kind}");
        let mut bytes = 0;
        let mut last = String::new();
        while let Some(event) = answer.next_event().await {
            bytes += event.data.len();
            last = event.data;
        }
        assert_eq!((last.as_str(), answer.end()), ("[DONE]", Some(End::Clean)), "{kind}");
        assert!(bytes > LARGE * 99 / 100, "{kind}: {bytes}");
        assert!(upstream.request(0).body.len() > LARGE * 99 / 100, "{kind}");
        let peak = peak(&gateway);
        eprintln!("{kind} {policy}: peak {} MB", peak / MEGABYTE);
        assert!(peak < 200 * MEGABYTE, "{kind} {policy}: {peak}");
    }
}

#[tokio::test]
async fn a_large_json_answer_passes_in_little_memory_streamed_or_not() {
    let text = "x".repeat(LARGE);
    let upstream = Upstream::always(replies::openai_json(&text)).await;
    let plain = gateway(&[("openai", upstream.url())], "", "").await;
    let answer = plain.post_json(PATH, &ask()).await;
    assert_eq!(answer.body.len(), replies::openai_body(&text).to_string().len());
    assert!(peak(&plain) < 200 * MEGABYTE, "{}", peak(&plain));
    let cannot_stream = "[models.\"p0/m0\"]\ncapabilities = { streaming = false }\n";
    let replaying = gateway(&[("openai", upstream.url())], "", cannot_stream).await;
    let answer = replaying.post_json(PATH, &ask_stream()).await;
    assert!(answer.body.len() > LARGE);
    eprintln!("JSON: peak {} MB, replayed: {} MB", peak(&plain) / MEGABYTE, peak(&replaying) / MEGABYTE);
    assert!(peak(&replaying) < 200 * MEGABYTE, "{}", peak(&replaying));
}

#[tokio::test]
async fn a_request_body_is_let_go_once_its_answer_streams() {
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["one"]);
    let upstream = Upstream::always(stream.first(2).wait(&gate).then(stream.rest(2))).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let idle = memory_of(&gateway, "VmRSS");
    let body = large_body(true, LARGE);
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut answer = send(&gateway, &body).await.head().await;
        answer.next_event().await.expect("an event");
        streams.push(answer);
    }
    // All eight streams run, and their bodies are neither counted nor there.
    assert!(metric(&gateway, "piton_held_bytes").await < 1.0);
    let rss = memory_of(&gateway, "VmRSS");
    eprintln!("idle {} MB, eight streams after large bodies: {} MB", idle / MEGABYTE, rss / MEGABYTE);
    assert!(rss < 8 * LARGE as u64, "{rss}");
    gate.open();
    for mut answer in streams {
        assert_eq!(answer.events().await.last().expect("events").data, "[DONE]");
    }
}

#[tokio::test]
async fn forty_large_bodies_at_once_stay_within_buffer_memory_and_the_surplus_is_refused() {
    const CLIENTS: usize = 40;
    const BUFFER: u32 = 200 << 20;
    let gate = Gate::shut();
    let upstream = Upstream::always(Script::new().wait(&gate).then(replies::openai_json("hi"))).await;
    let server = "[server]\nbuffer_memory = \"200MiB\"\nmax_answer = \"1MiB\"\nbody_timeout = \"5m\"\n";
    let gateway = gateway(&[("openai", upstream.url())], "answer_timeout = \"5m\"", server).await;
    let body = large_body(false, LARGE);
    let (told, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let clients = (0..CLIENTS).map(|_| {
        let told = told.clone();
        let (gateway, body) = (&gateway, &body);
        async move {
            let answer = send(gateway, body).await.head().await;
            told.send(answer.status).expect("a listener");
            answer.whole().await
        }
    });
    let clients = futures_util::future::join_all(clients);
    // The surplus is refused while the others are still being answered; then the gate opens for those.
    let fit = BUFFER as usize / body.len();
    let conduct = async {
        for _ in 0..CLIENTS - fit {
            assert_eq!(answers.recv().await, Some(503));
        }
        assert!(metric(&gateway, "piton_held_bytes").await <= f64::from(BUFFER));
        gate.open();
    };
    let (answers, ()) = tokio::join!(clients, conduct);
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(served, fit);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some_and(|wait| wait.parse::<u64>().is_ok()));
        assert_eq!(refused.header("x-should-retry"), Some("true"));
        assert_eq!(refused.json()["error"]["code"], "busy");
    }
    assert_eq!(upstream.hits(), fit, "what was refused reached nobody");
    let peak = peak(&gateway);
    eprintln!("forty bodies: peak {} MB", peak / MEGABYTE);
    assert!(peak < u64::from(BUFFER) + 100 * MEGABYTE, "{peak}");
    until("all memory given back", async || metric(&gateway, "piton_held_bytes").await < 1.0).await;
    let again = send(&gateway, &body).await.head().await.whole().await;
    assert_eq!(again.status, 200);
    eprintln!("forty bodies: resident afterwards {} MB", memory_of(&gateway, "VmRSS") / MEGABYTE);
}

#[tokio::test]
async fn bodies_made_for_single_targets_are_counted_too() {
    let upstream = Upstream::always(replies::openai_json("hi")).await;
    let other = Upstream::always(replies::openai_json("hi")).await;
    let server = "[server]\nmax_body = \"1MiB\"\nmax_answer = \"1MiB\"\nbuffer_memory = \"2MiB\"\n";
    let targets = [("openai", upstream.url()), ("openai", other.url()), ("openai", other.url())];
    let gateway = gateway(&targets, "", server).await;
    let mut body: Value = serde_json::from_slice(&large_body(false, 900 << 10)).expect("JSON");
    for (fallbacks, status) in [
        (json!(["p1/m1", "p2/m2"]), 200),
        (json!([{ "model": "p1/m1", "temperature": 1 }, "p2/m2"]), 200),
        (json!([{ "model": "p1/m1", "temperature": 1 }, { "model": "p2/m2", "temperature": 1 }]), 503),
    ] {
        body["fallbacks"] = fallbacks;
        assert_eq!(gateway.post_json(PATH, &body).await.status, status, "{}", body["fallbacks"]);
    }
    assert_eq!((upstream.hits(), other.hits()), (2, 0));
    until("all memory given back", async || metric(&gateway, "piton_held_bytes").await < 1.0).await;
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_the_upstream_and_resumes_it() {
    let piece = "x".repeat(8 * 1024);
    let endless =
        replies::openai_chunk(&json!([{ "index": 0, "delta": { "content": piece } }]), &Value::Null);
    let start = replies::openai_stream(&["one"]).first(2);
    let upstream = Upstream::always(start.endless(replies::chunk(&endless))).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    answer.next_event().await.expect("an event");
    let plateau = settled(&upstream).await;
    assert!(peak(&gateway) < 100 * MEGABYTE, "{}", peak(&gateway));
    in_time("the upstream's next bytes", read_until(&mut answer, || upstream.bytes_sent() > plateau)).await;
    let again = settled(&upstream).await;
    assert!(again > plateau);
    drop(answer);
    upstream.closed_early().await;
}

/// Waits until the upstream cannot get rid of more, and says how much it was.
async fn settled(upstream: &Upstream) -> u64 {
    let begun = Instant::now();
    let mut last = upstream.bytes_sent();
    loop {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let now = upstream.bytes_sent();
        if now == last {
            return now;
        }
        last = now;
        assert!(begun.elapsed() < PATIENCE, "the upstream is never held up");
    }
}

async fn read_until(answer: &mut Streaming, condition: impl Fn() -> bool) {
    while !condition() {
        answer.next_line().await.expect("a stream without end");
    }
}

#[tokio::test]
async fn a_slow_client_is_no_silent_upstream() {
    let upstream = Upstream::always(large_stream("openai", LARGE)).await;
    let gateway = gateway(&[("openai", upstream.url())], "idle_timeout = \"500ms\"", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    answer.next_event().await.expect("an event");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let events = answer.events().await;
    assert_eq!(events.last().expect("events").data, "[DONE]");
    logged(&gateway, "ok").await;
}

#[tokio::test]
async fn a_body_over_max_body_is_refused_however_it_is_sent() {
    let upstream = Upstream::always(replies::openai_json("never")).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "[server]\nmax_body = \"1MiB\"\n").await;
    let body = large_body(false, 2 << 20);
    let announced = send(&gateway, &body).await.head().await.whole().await;
    let mut chunked = gateway.connect().await;
    let head = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    chunked.send(format!("POST {PATH} HTTP/1.1\r\nhost: {}\r\n{head}", gateway.address()).as_bytes()).await;
    for piece in body.chunks(1 << 16) {
        let piece = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        chunked.send(&piece).await;
    }
    chunked.send(b"0\r\n\r\n").await;
    let chunked = chunked.head().await.whole().await;
    for answer in [announced, chunked] {
        assert_eq!(answer.status, 413);
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "request_too_large");
        assert!(error["message"].as_str().expect("a message").contains("max_body"));
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert_eq!(upstream.hits(), 0);
    assert!(metric(&gateway, "piton_held_bytes").await < 1.0);
    assert_eq!(gateway.post_json(PATH, &ask()).await.status, 200);
}

#[tokio::test]
async fn a_body_slower_than_body_timeout_is_refused() {
    let upstream = Upstream::always(replies::openai_json("never")).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "[server]\nbody_timeout = \"400ms\"\n").await;
    let mut client = gateway.connect().await;
    let head = "content-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"model\":";
    client.send(format!("POST {PATH} HTTP/1.1\r\nhost: {}\r\n{head}", gateway.address()).as_bytes()).await;
    let answer = client.head().await.whole().await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (408, &json!("body_timeout")));
    assert_eq!(upstream.hits(), 0);
    assert!(metric(&gateway, "piton_held_bytes").await < 1.0);
}

#[tokio::test]
async fn more_requests_than_max_in_flight_are_refused_until_one_ends() {
    let gate = Gate::shut();
    let upstream = Upstream::always(Script::new().wait(&gate).then(replies::openai_json("hi"))).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "[server]\nmax_in_flight = 2\n").await;
    let first = gateway.send_json(PATH, &ask()).await;
    let second = gateway.send_json(PATH, &ask()).await;
    upstream.wait_for_hits(2).await;
    let refused = gateway.post_json(PATH, &ask()).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("busy")));
    assert!(refused.header("retry-after").is_some());
    gate.open();
    for answer in [first, second] {
        assert_eq!(answer.head().await.whole().await.status, 200);
    }
    assert_eq!(upstream.hits(), 2);
    assert_eq!(gateway.post_json(PATH, &ask()).await.status, 200);
}

#[tokio::test]
async fn an_upstreams_answer_over_max_answer_falls_back() {
    let text = "x".repeat(1 << 20);
    let server = "[server]\nmax_answer = \"256KiB\"\n";
    let announced = replies::openai_json(&text);
    let unannounced = EventStream::new([replies::openai_body(&text).to_string()]).all();
    for script in [announced, unannounced] {
        let first = Upstream::always(script).await;
        let second = Upstream::always(replies::openai_json("short")).await;
        let targets = [("openai", first.url()), ("openai", second.url())];
        let gateway = gateway(&targets, "", server).await;
        let answer = gateway.post_json(PATH, &ask()).await;
        assert_eq!(answer.header("x-piton-target"), Some("p1/m1"));
        assert_eq!(answer.header("x-piton-fallback-reason"), Some("malformed"));
        until("all memory given back", async || metric(&gateway, "piton_held_bytes").await < 1.0).await;
    }
}
