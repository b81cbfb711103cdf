//! What breaks after the first byte went out: the client is told so, once, and nothing that looks like a good end
//! follows; log, metrics and receipt know why.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::chain::{PATH, ask_stream, chunks, error_of, gateway, logged, metric, outcomes, text};
use crate::support::client::End;
use crate::support::replies::{self, EventStream, chunk, data};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

struct Break {
    name: &'static str,
    kind: &'static str,
    /// What comes after the first content.
    then: Script,
    /// The target's clocks.
    clocks: &'static str,
    class: &'static str,
}

fn breaks() -> Vec<Break> {
    let case = |name, then, clocks, class| Break { name, kind: "openai", then, clocks, class };
    let end = Script::new().send("0\r\n\r\n");
    let error = json!({ "error": {
        "message": "Rate limit reached", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded",
    } });
    let drip = EventStream::new(vec![piece(" more"); 400]).gap(Duration::from_millis(50));
    let drip = Script { steps: drip.first(400).steps.split_off(1) };
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    vec![
        case("reset", Script::new().reset(), "", "truncated"),
        case("close in the middle of the body", Script::new().close(), "", "truncated"),
        case("a clean end without a finish", end.clone(), "", "truncated"),
        case(
            "[DONE] without a finish",
            Script::new().send(chunk(&data("[DONE]"))).then(end),
            "",
            "truncated",
        ),
        case("half an event", Script::new().send("40\r\ndata: {\"id\":").close(), "", "truncated"),
        case("silence", Script::new().silence(), "idle_timeout = \"300ms\"", "idle_timeout"),
        case("no end", drip, "stream_timeout = \"700ms\"", "stream_timeout"),
        case("an error event", Script::new().send(chunk(&data(&error.to_string()))), "", "rate_limited"),
        Break {
            kind: "anthropic",
            ..case("a translated error event", Script::new().send(chunk(overloaded)), "", "overloaded")
        },
    ]
}

fn piece(text: &str) -> String {
    replies::openai_chunk(&json!([{ "index": 0, "delta": { "content": text } }]), &json!(null))
}

#[tokio::test]
async fn a_break_after_commit_is_one_error_event_and_no_done() {
    for Break { name, kind, then, clocks, class } in breaks() {
        let stream = match kind {
            "anthropic" => replies::anthropic_stream(&["one"]).first(4),
            _ => replies::openai_stream(&["one"]).first(2),
        };
        let first = Upstream::always(stream.then(then)).await;
        let second = Upstream::always(replies::openai_stream(&["two"]).all()).await;
        let targets = [(kind, first.url()), ("openai", second.url())];
        let gateway = gateway(&targets, clocks, "").await;
        let mut answer = gateway.stream(PATH, &ask_stream()).await;
        let events = answer.events().await;

        assert_eq!(answer.status, 200, "{name}");
        assert!(text(&events).starts_with("one"), "{name}: {events:?}");
        let error = error_of(&events);
        assert_eq!(error["code"], class, "{name}");
        assert_eq!(answer.end(), Some(End::Clean), "{name}: the error must be readable to its end");
        let (request, attempts) = logged(&gateway, class).await;
        assert_eq!(outcomes(&attempts), [class], "{name}");
        assert_eq!(request["target"], "p0/m0", "{name}");
        assert_eq!((first.hits(), second.hits()), (1, 0), "{name}");
        let attempts = format!("piton_attempts_total{{target=\"p0/m0\",class=\"{class}\"}}");
        assert!((metric(&gateway, &attempts).await - 1.0).abs() < f64::EPSILON, "{name}");
    }
}

#[tokio::test]
async fn a_single_malformed_event_is_skipped_and_counted() {
    let good = replies::openai_stream(&["one", "two"]);
    let mut events = good.events.clone();
    events.insert(2, data("{\"id\": \"chatcmpl-scripted\", \"choices\": [{"));
    let upstream = Upstream::always(EventStream::new(events).all()).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    let events = answer.events().await;

    chunks(&events);
    assert_eq!(text(&events), "onetwo");
    logged(&gateway, "ok").await;
    let counted = metric(&gateway, "piton_unreadable_events_total{target=\"p0/m0\"}").await;
    assert!((counted - 1.0).abs() < f64::EPSILON, "{counted}");
    let id = answer.header("x-request-id").expect("an id");
    let receipt = gateway.get(&format!("/piton/api/requests/{id}")).await.json();
    assert_eq!(receipt["trail"][0]["unreadable_events"], 1);
    assert_eq!(receipt["outcome"], "ok");
}

#[tokio::test]
async fn a_finished_stream_whose_connection_stays_open_ends_well() {
    let openai = replies::openai_stream(&["one"]);
    let gemini = replies::gemini_stream(&["one"]);
    for (kind, script) in [("openai", openai.first(3)), ("gemini", gemini.first(1))] {
        let upstream = Upstream::always(script.silence()).await;
        let gateway = gateway(&[(kind, upstream.url())], "", "").await;
        let asked = Instant::now();
        let mut answer = gateway.stream(PATH, &ask_stream()).await;
        let events = answer.events().await;

        let chunks = chunks(&events);
        assert_eq!(text(&events), "one", "{kind}");
        assert!(chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "stop"), "{kind}");
        // Usage and `[DONE]` were waited for, and nothing else was.
        assert!(asked.elapsed() >= Duration::from_millis(1_900), "{kind}");
        upstream.closed_early().await;
        let (_, attempts) = logged(&gateway, "ok").await;
        assert_eq!(outcomes(&attempts), ["ok"], "{kind}");
    }
}

#[tokio::test]
async fn a_broken_epilogue_does_not_spoil_a_finished_answer() {
    let stream = replies::openai_stream(&["one"]);
    for then in [Script::new().reset(), Script::new().close(), Script::new().send("0\r\n\r\n")] {
        let upstream = Upstream::always(stream.first(3).then(then)).await;
        let gateway = gateway(&[("openai", upstream.url())], "", "").await;
        let events = gateway.stream(PATH, &ask_stream()).await.events().await;
        chunks(&events);
        assert_eq!(text(&events), "one");
    }
}
