//! The end of the process: no new requests, and what runs is finished, as long as `drain` allows.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::client::End;
use crate::support::gateway::Gateway;
use crate::support::in_time;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";

fn config(upstream: &Upstream, drain: &str) -> String {
    format!(
        "[server]\ndrain = \"{drain}\"\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [\"a/m\"]\n",
        upstream.url()
    )
}

fn ask(stream: bool) -> Value {
    json!({ "model": "main", "stream": stream, "messages": [{ "role": "user", "content": "hello" }] })
}

/// Streams stop in their middle, and JSON answers before their head, until the gate opens.
fn behind(gate: &Gate) -> impl Fn(usize, &Received) -> Script + Send + Sync + 'static {
    let stream = replies::openai_stream(&["one ", "two ", "three"]);
    let streamed = stream.first(3).wait(gate).then(stream.rest(3));
    let json = Script::new().wait(gate).then(replies::openai_json("late"));
    move |_, request| if request.json()["stream"] == true { streamed.clone() } else { json.clone() }
}

#[tokio::test]
async fn sigterm_under_load_cuts_no_running_answer_and_the_process_ends_well() {
    let gate = Gate::shut();
    let upstream = Upstream::start(behind(&gate)).await;
    let mut gateway = Gateway::start(&config(&upstream, "5m")).await;
    assert_eq!(gateway.get("/readyz").await.status, 200);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = gateway.stream(CHAT, &ask(true)).await;
        assert_eq!(stream.status, 200);
        let first = stream.next_event().await.expect("an event");
        streams.push((stream, vec![first]));
    }
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(gateway.send_json(CHAT, &ask(false)).await);
    }
    upstream.wait_for_hits(40).await;

    gateway.terminate();
    let draining = gateway.wait_for_log("the drain", |line| line["message"] == "draining").await;
    assert_eq!(draining["in_flight"], 40);
    assert!(TcpStream::connect(gateway.address()).await.is_err(), "no new connection is taken");
    gate.open();
    for (mut stream, mut events) in streams {
        events.extend(stream.events().await);
        assert_eq!(stream.end(), Some(End::Clean));
        let text: String = events.iter().map(|event| event.data.as_str()).collect();
        assert!(["one ", "two ", "three"].iter().all(|piece| text.contains(piece)), "{text}");
        assert_eq!(events.last().unwrap().data, "[DONE]");
        assert!(!text.contains("\"error\""));
    }
    for request in waiting {
        let answer = request.head().await.whole().await;
        assert_eq!(
            (answer.status, answer.json()["choices"][0]["message"]["content"].as_str()),
            (200, Some("late"))
        );
    }
    assert_eq!(gateway.exited().await.code(), Some(0));
    assert_eq!(gateway.events("request").iter().filter(|event| event["outcome"] == "ok").count(), 40);
    assert!(gateway.events("stopped").len() == 1 && upstream.early_closes() == 0);
}

#[tokio::test]
async fn clients_that_keep_coming_are_answered_whole_or_not_at_all() {
    let upstream = Upstream::start(|_, request| {
        let stream = replies::openai_stream(&["one ", "two"]);
        if request.json()["stream"] == true { stream.all() } else { replies::openai_json("whole") }
    })
    .await;
    let mut gateway = Gateway::start(&config(&upstream, "5m")).await;
    let url = Arc::new(gateway.url() + CHAT);
    let mut clients = JoinSet::new();
    for number in 0..16 {
        let url = Arc::clone(&url);
        clients.spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut answered = 0;
            loop {
                let body = ask(number % 2 == 0).to_string();
                let post = client.post(url.as_str()).header("content-type", "application/json").body(body);
                // The door is shut: nobody was let in and then sent away.
                let Ok(answer) = post.send().await else { return answered };
                assert_eq!(answer.status(), 200);
                let text = answer.text().await.expect("a whole answer");
                assert!(text.contains("whole") || text.ends_with("data: [DONE]\n\n"), "{text}");
                answered += 1;
            }
        });
    }
    upstream.wait_for_hits(200).await;
    gateway.terminate();
    let answered: Vec<usize> = in_time("every client's end", clients.join_all()).await;
    assert_eq!(gateway.exited().await.code(), Some(0));
    assert_eq!(answered.iter().sum::<usize>(), upstream.hits(), "whoever was let in was answered");
    let cancelled = gateway.events("request").iter().filter(|event| event["outcome"] != "ok").count();
    assert_eq!(cancelled, 0, "no request that had come in was given up");
}

#[tokio::test]
async fn an_idle_kept_connection_does_not_hold_up_the_end() {
    let upstream = Upstream::always(replies::openai_json("x")).await;
    let mut gateway = Gateway::start(&config(&upstream, "5m")).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(gateway.url() + "/readyz").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"ready"}"#);
    gateway.terminate();
    assert_eq!(gateway.exited().await.code(), Some(0));
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_and_the_process_ends_anyway() {
    let stream = replies::openai_stream(&["one ", "two"]);
    let upstream = Upstream::always(stream.first(2).silence()).await;
    let mut gateway = Gateway::start(&config(&upstream, "500ms")).await;
    let mut streaming = gateway.stream(CHAT, &ask(true)).await;
    assert!(streaming.next_event().await.is_some());
    gateway.terminate();
    let rest = streaming.events().await;
    assert!(rest.iter().all(|event| event.data != "[DONE]"), "a cut stream looks like no good end");
    assert_eq!(streaming.end(), Some(End::Broken));
    assert_eq!(gateway.exited().await.code(), Some(0));
    let warned = gateway.events("`drain` passed before all requests were finished");
    assert_eq!((warned.len(), &warned[0]["requests"]), (1, &json!(1)));
    upstream.closed_early().await;
}

#[tokio::test]
async fn a_client_that_has_said_nothing_is_not_waited_for() {
    let upstream = Upstream::start(|_, _| replies::openai_json("hello")).await;
    let mut gateway = Gateway::start(&config(&upstream, "5m")).await;
    let _silent = TcpStream::connect(gateway.address()).await.expect("a connection");
    assert_eq!(gateway.get("/readyz").await.status, 200);
    gateway.terminate();
    assert_eq!(in_time("the end of the process", gateway.exited()).await.code(), Some(0));
}
