//! `commit`: before it every failure falls back unseen, after it the client is told.

use serde_json::{Value, json};

use crate::support::chain::{PATH, ask_stream, chunks, error_of, gateway, logged, outcomes, text};
use crate::support::client::Event;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::Upstream;

/// What the first target says before it fails; nobody may ever read it.
const UNSEEN: &str = "unseen";

/// Ways to fail, with their class.
fn failures() -> Vec<(&'static str, Script)> {
    let error = json!({ "error": { "message": "x", "type": "server_error", "code": null } });
    let error = replies::chunk(&replies::data(&error.to_string()));
    vec![
        ("truncated", Script::new().reset()),
        ("truncated", Script::new().send("0\r\n\r\n")),
        ("idle_timeout", Script::new().silence()),
        ("server_error", Script::new().send(error)),
    ]
}

async fn chain_of(first: &Upstream, second: &Upstream, policy: &str, more: &str) -> Gateway {
    gateway(&[("openai", first.url()), ("openai", second.url())], policy, more).await
}

async fn ask_for(gateway: &Gateway) -> (Vec<Event>, Option<String>) {
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    let target = answer.header("x-piton-target").map(str::to_owned);
    (answer.events().await, target)
}

#[tokio::test]
async fn what_fails_before_commit_falls_back_unseen() {
    let modes = ["commit = \"complete\"", "commit = { chars = 20 }", "commit = { time = \"10m\" }"];
    for mode in modes {
        for (class, failure) in failures() {
            let first = Upstream::always(replies::openai_stream(&[UNSEEN]).first(2).then(failure)).await;
            let second = Upstream::always(replies::openai_stream(&["a good answer at last"]).all()).await;
            let policy = format!("{mode}\nidle_timeout = \"400ms\"\nretries = 0");
            let gateway = chain_of(&first, &second, &policy, "").await;
            let (events, target) = ask_for(&gateway).await;

            chunks(&events);
            assert_eq!(text(&events), "a good answer at last", "{mode} {class}");
            assert!(events.iter().all(|event| !event.data.contains(UNSEEN)), "{mode} {class}");
            assert_eq!(target.as_deref(), Some("p1/m1"), "{mode} {class}");
            let (request, attempts) = logged(&gateway, "ok").await;
            assert_eq!(outcomes(&attempts), [class, "ok"], "{mode}");
            assert_eq!(request["fallback_reason"], class, "{mode}");
            assert_eq!((first.hits(), second.hits()), (1, 1), "{mode} {class}");
        }
    }
}

#[tokio::test]
async fn at_first_content_roles_and_comments_have_not_committed_anything() {
    let role = replies::openai_stream(&[]).first(1);
    let comment = Script::new().send(replies::chunk(": still thinking\n\n"));
    for (class, failure) in failures() {
        let first = Upstream::always(role.clone().then(comment.clone()).then(failure)).await;
        let second = Upstream::always(replies::openai_stream(&["fine"]).all()).await;
        let gateway = chain_of(&first, &second, "idle_timeout = \"400ms\"\nretries = 0", "").await;
        let (events, target) = ask_for(&gateway).await;
        chunks(&events);
        assert_eq!((text(&events).as_str(), target.as_deref()), ("fine", Some("p1/m1")), "{class}");
        let roles = events.iter().filter(|event| event.data.contains("\"role\"")).count();
        assert_eq!(roles, 1, "the first target's role must not show: {events:?}");
    }
}

#[tokio::test]
async fn what_fails_after_commit_is_an_error_event() {
    let modes = ["commit = \"first_content\"", "commit = { chars = 6 }", "commit = { time = \"50ms\" }"];
    for mode in modes {
        let gate = Gate::shut();
        let broken = replies::openai_stream(&["123456"]).first(2).wait(&gate).reset();
        let first = Upstream::always(broken).await;
        let second = Upstream::always(replies::openai_stream(&["never"]).all()).await;
        let gateway = chain_of(&first, &second, mode, "").await;
        // The head is here, so the answer is committed.
        let mut answer = gateway.stream(PATH, &ask_stream()).await;
        gate.open();
        let events = answer.events().await;
        assert_eq!(text(&events), "123456", "{mode}");
        assert_eq!(error_of(&events)["code"], "truncated", "{mode}");
        assert_eq!(second.hits(), 0, "{mode}");
        logged(&gateway, "truncated").await;
    }
}

#[tokio::test]
async fn characters_are_counted_not_bytes() {
    // Ten characters, twenty bytes.
    let first = Upstream::always(replies::openai_stream(&["ééééé", "ééééé"]).first(3).reset()).await;
    let second = Upstream::always(replies::openai_stream(&["fine and long enough"]).all()).await;
    let gateway = chain_of(&first, &second, "commit = { chars = 11 }", "").await;
    let (events, target) = ask_for(&gateway).await;
    chunks(&events);
    assert_eq!((text(&events).as_str(), target.as_deref()), ("fine and long enough", Some("p1/m1")));
}

#[tokio::test]
async fn an_answer_shorter_than_what_commit_waits_for_is_served_whole() {
    for mode in ["commit = \"complete\"", "commit = { chars = 1000 }", "commit = { time = \"10m\" }"] {
        let upstream = Upstream::always(replies::openai_stream(&["a", "b"]).all()).await;
        let gateway = gateway(&[("openai", upstream.url())], mode, "").await;
        let (events, _) = ask_for(&gateway).await;
        chunks(&events);
        assert_eq!(text(&events), "ab", "{mode}");
        logged(&gateway, "ok").await;
    }
}

#[tokio::test]
async fn nothing_reaches_the_client_before_commit() {
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["one", "two"]);
    let held = stream.first(3).wait(&gate).then(stream.rest(3));
    let upstream = Upstream::always(held).await;
    let gateway = gateway(&[("openai", upstream.url())], "commit = \"complete\"", "").await;
    let sent = gateway.send_json(PATH, &ask_stream()).await;
    let held = || async { crate::support::chain::metric(&gateway, "piton_held_bytes").await };
    crate::support::in_time("held events", async {
        // The request itself is small; what the upstream has said is more.
        while held().await < 600.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    gate.open();
    let opened = tokio::time::Instant::now();
    let mut answer = sent.head().await;
    assert!(answer.at >= opened);
    let events = answer.events().await;
    chunks(&events);
    assert_eq!(text(&events), "onetwo");
    logged(&gateway, "ok").await;
    assert!(held().await < 1.0, "what was held is given back");
}

#[tokio::test]
async fn the_deadline_holds_until_commit() {
    for mode in ["commit = \"complete\"", "commit = { chars = 20 }"] {
        let first = Upstream::always(replies::openai_stream(&[UNSEEN]).first(2).silence()).await;
        let second = Upstream::always(replies::openai_stream(&["never"]).all()).await;
        let gateway = chain_of(&first, &second, &format!("{mode}\ndeadline = \"700ms\""), "").await;
        let answer = gateway.post_json(PATH, &ask_stream()).await;
        assert_eq!(answer.status, 504, "{mode}");
        assert_eq!(answer.json()["error"]["code"], "deadline_exceeded", "{mode}");
        assert!(!answer.text().contains(UNSEEN), "{mode}");
        first.closed_early().await;
        let (_, attempts) = logged(&gateway, "deadline_exceeded").await;
        assert_eq!(outcomes(&attempts), ["deadline_exceeded"], "{mode}");
        assert_eq!(second.hits(), 0, "{mode}: a deadline is no reason to ask on");
    }
}

#[tokio::test]
async fn the_deadline_is_over_with_commit() {
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["one", "two"]);
    let upstream = Upstream::always(stream.first(2).wait(&gate).then(stream.rest(2))).await;
    let gateway = gateway(&[("openai", upstream.url())], "deadline = \"300ms\"", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    gate.open();
    let events = answer.events().await;
    chunks(&events);
    assert_eq!(text(&events), "onetwo");
}

#[tokio::test]
async fn an_answer_larger_than_max_answer_falls_back_while_it_is_held() {
    let piece: Value = json!([{ "index": 0, "delta": { "content": UNSEEN.repeat(1000) } }]);
    let endless = replies::chunk(&replies::openai_chunk(&piece, &Value::Null));
    let first = Upstream::always(replies::openai_stream(&[]).first(1).endless(endless)).await;
    let second = Upstream::always(replies::openai_stream(&["short"]).all()).await;
    let server = "[server]\nmax_answer = \"256KiB\"\n";
    let gateway = chain_of(&first, &second, "commit = \"complete\"", server).await;
    let (events, target) = ask_for(&gateway).await;
    chunks(&events);
    assert_eq!((text(&events).as_str(), target.as_deref()), ("short", Some("p1/m1")));
    first.closed_early().await;
    let (_, attempts) = logged(&gateway, "ok").await;
    assert_eq!(outcomes(&attempts), ["malformed", "ok"]);
}
