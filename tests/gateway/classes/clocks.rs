//! Every clock with a small value, at a target that is silent in the way which the clock is for. Only the failing
//! target has small clocks: the one that serves may be slow on a busy machine.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, ask, chat, good, second, wants_stream};
use crate::support::replies::{chunk, openai_chunk};
use crate::support::script::Script;
use crate::support::upstream::{Unreachable, Upstream};

use Dialect::OpenAi;

const DRIP: Duration = Duration::from_millis(40);

fn piece(text: &str) -> String {
    let choices = json!([{ "index": 0, "delta": { "content": text }, "finish_reason": null }]);
    chunk(&openai_chunk(&choices, &Value::Null))
}

/// The head of a stream, then these bytes again and again.
fn dripping(bytes: &str) -> Script {
    (0..500).fold(OpenAi.stream(&[]).first(1), |script, _| script.pause(DRIP).send(bytes.to_owned()))
}

/// Asks a chain of `first`, under these clocks, and a good one.
async fn falls_back(first: &Upstream, clocks: &str, policy: &str, streamed: bool, class: &str) {
    let next = second().await;
    let clocks = format!(", {clocks}");
    let gateway = chat(policy, &[Rung::new(OpenAi, first).target(&clocks), Rung::new(OpenAi, &next)]).await;
    let told = ask(&gateway, "chat", streamed).await;
    let expected = format!("200 second | 0={class} 1=ok | by 1 after 2 because {class}");
    assert_eq!(told.summary(), expected, "{clocks}");
    // A silent route is not asked again, and the call is given up.
    first.closed_early().await;
    assert_eq!((first.hits(), next.hits()), (1, 1));
}

#[tokio::test]
async fn no_first_token_in_time_falls_back_whatever_else_arrives() {
    let comment = chunk(": still here\n\n");
    for script in [
        Script::new().silence(),
        OpenAi.stream(&["a"]).first(1).silence(),
        dripping(&comment),
        // A role is no content, however often it comes.
        dripping(&chunk(&OpenAi.stream(&[]).events[0])),
    ] {
        let first = Upstream::always(script).await;
        falls_back(&first, "first_token_timeout = \"300ms\"", "", true, "first_token_timeout").await;
    }
    let mut ping = Dialect::Anthropic.stream(&[]).first(2);
    for _ in 0..500 {
        ping = ping.pause(DRIP).send(chunk("event: ping\ndata: {\"type\": \"ping\"}\n\n"));
    }
    let (first, next) = (Upstream::always(ping).await, second().await);
    let rung = Rung::new(Dialect::Anthropic, &first).target(", first_token_timeout = \"300ms\"");
    let told = ask(&chat("", &[rung, Rung::new(OpenAi, &next)]).await, "chat", true).await;
    assert_eq!(told.trail(), "0=first_token_timeout 1=ok");
}

#[tokio::test]
async fn silence_before_the_first_content_falls_back() {
    let first = Upstream::always(OpenAi.stream(&["a"]).first(1).silence()).await;
    falls_back(&first, "idle_timeout = \"200ms\"", "", true, "idle_timeout").await;
}

#[tokio::test]
async fn silence_in_a_stream_that_is_held_back_falls_back() {
    let first = Upstream::always(OpenAi.stream(&["a", "b"]).first(3).silence()).await;
    falls_back(&first, "idle_timeout = \"200ms\"", "commit = \"complete\"", true, "idle_timeout").await;
}

#[tokio::test]
async fn a_stream_without_end_that_is_held_back_falls_back() {
    let first = Upstream::always(dripping(&piece("a"))).await;
    let clocks = "idle_timeout = \"600ms\", first_token_timeout = \"600ms\", stream_timeout = \"600ms\"";
    falls_back(&first, clocks, "commit = \"complete\"", true, "stream_timeout").await;
}

#[tokio::test]
async fn a_json_answer_that_takes_too_long_falls_back() {
    for script in [
        Script::new().silence(),
        OpenAi.json("a long answer").truncated(150).silence(),
        OpenAi.json("a long answer").split_every(1, DRIP),
    ] {
        let first = Upstream::always(script).await;
        falls_back(&first, "answer_timeout = \"300ms\"", "", false, "answer_timeout").await;
    }
}

#[tokio::test]
async fn a_connection_that_is_never_made_falls_back() {
    for streamed in [false, true] {
        let (first, next) = (Unreachable::new().await, second().await);
        let rung = Rung::unreachable(&first).target(", connect_timeout = \"150ms\"");
        let told = ask(&chat("", &[rung, Rung::new(OpenAi, &next)]).await, "chat", streamed).await;
        let expected =
            "200 second | 0=connect_failed 0=connect_failed 1=ok | by 1 after 3 because connect_failed";
        assert_eq!(told.summary(), expected);
        assert_eq!(next.hits(), 1);
    }
}

#[tokio::test]
async fn after_commit_each_clock_ends_the_stream_with_an_error_event() {
    let silent = OpenAi.stream(&["first", "b"]).first(2).silence();
    for (script, clocks, class) in [
        (silent, ", idle_timeout = \"300ms\"", "idle_timeout"),
        (
            dripping(&piece("first")),
            ", idle_timeout = \"900ms\", first_token_timeout = \"900ms\", stream_timeout = \"900ms\"",
            "stream_timeout",
        ),
    ] {
        let (first, next) = (Upstream::always(script).await, second().await);
        let rungs = [Rung::new(OpenAi, &first).target(clocks), Rung::new(OpenAi, &next)];
        let told = ask(&chat("", &rungs).await, "chat", true).await;
        assert_eq!((told.status, told.header("x-piton-target-index")), (200, Some("0")));
        assert!(told.text.starts_with("first") && !told.ended_well, "{told:?}");
        assert_eq!(told.error["code"], class);
        assert_eq!(told.error["type"], "server_error");
        assert!(!told.events.iter().any(|event| event == "[DONE]"));
        first.closed_early().await;
        assert_eq!((first.hits(), next.hits()), (1, 0));
    }
}

#[tokio::test]
async fn a_json_call_has_no_first_token_and_no_silence() {
    let pause = Duration::from_millis(700);
    let first = Upstream::start(move |_, request| {
        assert!(!wants_stream(request), "`stream` is never changed upstream to get a clock");
        Script::new().pause(pause).then(OpenAi.json("first"))
    })
    .await;
    let clocks = ", first_token_timeout = \"200ms\", idle_timeout = \"200ms\", stream_timeout = \"200ms\"";
    let told = ask(&chat("", &[Rung::new(OpenAi, &first).target(clocks)]).await, "chat", false).await;
    assert_eq!(told.summary(), "200 first | 0=ok | by 0 after 1 because -");
}

#[tokio::test]
async fn a_stream_has_no_answer_timeout() {
    let stream = OpenAi.stream(&["a", "b"]);
    let slow = stream.first(2).pause(Duration::from_millis(700)).then(stream.rest(2));
    let first = Upstream::always(slow).await;
    let rung = Rung::new(OpenAi, &first).target(", answer_timeout = \"200ms\"");
    let told = ask(&chat("", &[rung]).await, "chat", true).await;
    assert_eq!(told.summary(), "200 ab | 0=ok | by 0 after 1 because -");
}

#[tokio::test]
async fn after_commit_the_deadline_is_over() {
    let stream = OpenAi.stream(&["a", "b"]);
    let slow = stream.first(2).pause(Duration::from_millis(2500)).then(stream.rest(2));
    let first = Upstream::always(slow).await;
    let told = ask(&chat("deadline = \"2s\"", &[Rung::new(OpenAi, &first)]).await, "chat", true).await;
    assert_eq!(told.summary(), "200 ab | 0=ok | by 0 after 1 because -");
}

#[tokio::test]
async fn until_commit_the_deadline_holds() {
    let first = Upstream::always(OpenAi.stream(&["a", "b"]).first(2).silence()).await;
    let next = good(OpenAi, "second").await;
    let policy = "deadline = \"400ms\"\ncommit = \"complete\"";
    let gateway = chat(policy, &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
    let told = ask(&gateway, "chat", true).await;
    let expected = "504 deadline_exceeded | 0=deadline_exceeded | by - after 1 because deadline_exceeded";
    assert_eq!(told.summary(), expected);
    assert_eq!((first.hits(), next.hits()), (1, 0));
}

#[tokio::test]
async fn after_the_finish_nothing_is_waited_for_long() {
    let stream = OpenAi.stream(&["a"]);
    // Neither usage nor [DONE], and the connection stays open.
    let first = Upstream::always(stream.first(3).silence()).await;
    let told = ask(&chat("", &[Rung::new(OpenAi, &first)]).await, "chat", true).await;
    assert_eq!(told.summary(), "200 a | 0=ok | by 0 after 1 because -");
    first.closed_early().await;
}
