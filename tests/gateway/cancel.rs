//! A client that goes away: the upstream sees it go, nobody else is asked, and no target is blamed.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::chain::{PATH, ask, ask_stream, circuit, gateway, logged, outcomes};
use crate::support::client::{Raw, Streaming, encode};
use crate::support::gateway::Gateway;
use crate::support::in_time;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Unreachable, Upstream};

/// One failure would open the circuit.
const NERVOUS: &str = "breaker = { failures = 1 }\n";

/// A phase in which the client leaves while an upstream call runs.
struct Phase {
    name: &'static str,
    script: Script,
    body: Value,
    policy: &'static str,
    /// How many events the client reads before it leaves; `None`: it does not even wait for the head.
    reads: Option<usize>,
}

fn phases() -> Vec<Phase> {
    let stream = replies::openai_stream(&["one"]);
    let endless =
        replies::openai_chunk(&json!([{ "index": 0, "delta": { "content": "more" } }]), &Value::Null);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
    let phase = |name, script, body, reads| Phase { name, script, body, policy: "", reads };
    vec![
        phase("a stream before its head", Script::new().silence(), ask_stream(), None),
        phase("a stream before its content", stream.first(1).silence(), ask_stream(), None),
        phase("a stream that runs", stream.first(2).endless(replies::chunk(&endless)), ask_stream(), Some(5)),
        phase("a stream that is silent", stream.first(2).silence(), ask_stream(), Some(2)),
        phase("a JSON call before its head", Script::new().silence(), ask(), None),
        phase(
            "a JSON call in its body",
            Script::new().send(format!("{head}{{\"id\":")).silence(),
            ask(),
            None,
        ),
        Phase {
            policy: "commit = \"complete\"",
            ..phase("a stream that is held back", stream.first(2).silence(), ask_stream(), None)
        },
    ]
}

/// A client about to leave.
enum Client {
    Waiting(Raw),
    /// Held open until it leaves.
    Reading {
        _answer: Streaming,
    },
}

impl Client {
    async fn enter(gateway: &Gateway, phase: &Phase, upstream: &Upstream, hits: usize) -> Self {
        let sent = gateway.send_json(PATH, &phase.body).await;
        let Some(events) = phase.reads else {
            upstream.wait_for_hits(hits).await;
            return Self::Waiting(sent);
        };
        let mut answer = sent.head().await;
        for _ in 0..events {
            answer.next_event().await.expect("an event");
        }
        Self::Reading { _answer: answer }
    }

    fn leave(self, reset: bool) {
        match self {
            Self::Waiting(connection) if reset => connection.reset(),
            Self::Waiting(_) | Self::Reading { _answer: _ } => {}
        }
    }
}

#[tokio::test]
async fn the_upstream_sees_the_client_go_and_no_attempt_follows() {
    for phase in phases() {
        for reset in [false, true] {
            let name = phase.name;
            let first = Upstream::always(phase.script.clone()).await;
            let second = Upstream::always(replies::openai_stream(&["never"]).all()).await;
            let targets = [("openai", first.url()), ("openai", second.url())];
            let defaults = format!("[defaults]\n{NERVOUS}");
            let gateway = gateway(&targets, phase.policy, &defaults).await;
            let client = Client::enter(&gateway, &phase, &first, 1).await;
            let left = Instant::now();
            client.leave(reset);

            let close = first.closed_early().await;
            assert!(close.at >= left, "{name}: the upstream was left before its client had gone");
            let (request, attempts) = logged(&gateway, "client_cancelled").await;
            assert_eq!(outcomes(&attempts), ["client_cancelled"], "{name}");
            assert_eq!(request["status"], 499, "{name}");
            // The request is over and settled: what has not been asked by now never will be.
            assert_eq!((first.hits(), second.hits()), (1, 0), "{name}");
            assert_eq!(circuit(&gateway, 0).await, "closed", "{name}");
            let status = gateway.get("/piton/api/status").await.json();
            assert_eq!((&status["in_flight"], &status["held_bytes"]), (&json!(0), &json!(0)), "{name}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_a_retry_wait_is_not_retried_for() {
    let refusal = replies::status(429, "{}", &[("retry-after", "1"), ("content-type", "application/json")]);
    for body in [ask(), ask_stream()] {
        let first = Upstream::always(refusal.clone()).await;
        let second = Upstream::always(replies::openai_json("never")).await;
        let targets = [("openai", first.url()), ("openai", second.url())];
        let gateway = gateway(&targets, "", "").await;
        let client = gateway.send_json(PATH, &body).await;
        gateway.wait_for_log("the failure", |line| line["outcome"] == "rate_limited").await;
        drop(client);
        let (request, attempts) = logged(&gateway, "client_cancelled").await;
        assert_eq!(outcomes(&attempts), ["rate_limited"]);
        assert_eq!(request["attempt"], 1);
        // Longer than the wait would have been.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!((first.hits(), second.hits()), (1, 0));
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_uploads_reaches_nobody() {
    let upstream = Upstream::always(replies::openai_json("never")).await;
    let json = [("content-type", "application/json")];
    for reset in [false, true] {
        for chunked in [false, true] {
            let gateway = gateway(&[("openai", upstream.url())], "", "").await;
            let mut client = gateway.connect().await;
            let head = if chunked {
                let address = gateway.address();
                let kind = "content-type: application/json\r\ntransfer-encoding: chunked";
                format!("POST {PATH} HTTP/1.1\r\nhost: {address}\r\n{kind}\r\n\r\n400\r\n").into_bytes()
            } else {
                let whole = encode(gateway.address(), "POST", PATH, &json, &[b' '; 1000]);
                whole[..whole.len() - 1000].to_vec()
            };
            client.send(&head).await;
            client.send(b"{\"model\":").await;
            begun(&gateway).await;
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let (request, attempts) = logged(&gateway, "client_cancelled").await;
            assert_eq!((request["status"].as_u64(), attempts.len()), (Some(499), 0), "{reset} {chunked}");
            assert_eq!(upstream.hits(), 0);
            let status = gateway.get("/piton/api/status").await.json();
            assert_eq!((&status["in_flight"], &status["held_bytes"]), (&json!(0), &json!(0)));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_a_connection_is_made_reaches_nobody_else() {
    let first = Unreachable::new().await;
    let second = Upstream::always(replies::openai_json("never")).await;
    let targets = [("openai", first.url()), ("openai", second.url())];
    let defaults = format!("[defaults]\nconnect_timeout = \"5m\"\n{NERVOUS}");
    let gateway = gateway(&targets, "", &defaults).await;
    let client = gateway.send_json(PATH, &ask()).await;
    begun(&gateway).await;
    drop(client);
    let (_, attempts) = logged(&gateway, "client_cancelled").await;
    assert_eq!(outcomes(&attempts), ["client_cancelled"]);
    assert_eq!(second.hits(), 0);
    assert_eq!(circuit(&gateway, 0).await, "closed");
}

#[tokio::test]
async fn a_stream_that_is_reset_on_its_http2_connection_is_a_client_that_left() {
    let silent = replies::openai_stream(&["one"]).first(2).silence();
    let upstream = Upstream::always(silent).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client");
    let ask = |body: reqwest::Body| {
        let request = client.post(gateway.url() + PATH).header("content-type", "application/json");
        request.body(body).send()
    };
    let mut answer = ask(ask_stream().to_string().into()).await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    answer.chunk().await.expect("a good stream").expect("an event");
    let left = Instant::now();
    drop(answer);
    assert!(upstream.closed_early().await.at >= left);
    let (_, attempts) = logged(&gateway, "client_cancelled").await;
    assert_eq!(outcomes(&attempts), ["client_cancelled"]);

    // The same in the middle of an upload, on the connection that lives on.
    let endless =
        futures_util::stream::iter([Ok::<_, std::io::Error>("{")]).chain(futures_util::stream::pending());
    let upload = tokio::spawn(ask(reqwest::Body::wrap_stream(endless)));
    begun(&gateway).await;
    upload.abort();
    in_time("two requests that were left", async {
        while gateway.events("request").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(outcomes(&gateway.events("request")), ["client_cancelled"; 2]);
    assert_eq!(upstream.hits(), 1);
}

/// Waits until a request has begun.
async fn begun(gateway: &Gateway) {
    let in_flight = async || gateway.get("/piton/api/status").await.json()["in_flight"] == 1;
    in_time("a request that has begun", async { while !in_flight().await {} }).await;
}

#[tokio::test]
async fn the_upstream_always_learns_of_it_after_the_client_and_only_then() {
    const RUNS: usize = 200;
    for phase in phases() {
        let upstream = Upstream::always(phase.script.clone()).await;
        let gateway = gateway(&[("openai", upstream.url())], phase.policy, "").await;
        let mut times = Vec::new();
        for run in 0..RUNS {
            let client = Client::enter(&gateway, &phase, &upstream, run + 1).await;
            assert_eq!(upstream.early_closes(), run, "{}", phase.name);
            let left = Instant::now();
            client.leave(false);
            let close = upstream.closed_early().await;
            assert!(close.at >= left && close.request == run, "{}", phase.name);
            times.push(close.at - left);
        }
        times.sort_unstable();
        let (median, high) = (times[RUNS / 2], times[RUNS * 99 / 100]);
        eprintln!("client gone to upstream closed, {}: p50 {median:?}, p99 {high:?}", phase.name);
        assert_eq!(upstream.hits(), RUNS, "{}", phase.name);
    }
}
