//! `on = { class = action }` and `max_attempts`: the owner's word instead of the default.

use crate::scene::{Dialect, Rung, Scene, ask, chat, second};
use crate::support::replies::{anthropic_error, openai_error, status};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

use Dialect::{Anthropic, OpenAi};

#[tokio::test]
async fn every_action_does_what_its_name_says() {
    let error = |status, code: &str| openai_error(status, "x", Some(code), "Sorry");
    let page = || status(200, "<html>", &[]);
    let cases: [(&str, Dialect, Script, &str, usize); 20] = [
        // Neither retry nor fall back.
        ("rate_limited = \"stop\"", OpenAi, error(429, "x"), "429 rate_limit_exceeded | 0=rate_limited |", 0),
        ("server_error = \"stop\"", OpenAi, error(500, "x"), "500 server_error | 0=server_error |", 0),
        ("overloaded = \"stop\"", OpenAi, error(503, "x"), "503 overloaded | 0=overloaded |", 0),
        (
            "model_not_found = \"stop\"",
            OpenAi,
            error(404, "x"),
            "404 model_not_found | 0=model_not_found |",
            0,
        ),
        ("auth_failed = \"stop\"", OpenAi, error(401, "x"), "502 auth_failed | 0=auth_failed |", 0),
        (
            "quota_exhausted = \"stop\"",
            OpenAi,
            error(402, "x"),
            "502 insufficient_quota | 0=quota_exhausted |",
            0,
        ),
        ("malformed = \"stop\"", OpenAi, page(), "502 malformed | 0=malformed |", 0),
        ("empty = \"stop\"", OpenAi, OpenAi.json(""), "502 empty | 0=empty |", 0),
        ("too_large = \"stop\"", OpenAi, error(413, "x"), "413 x | 0=too_large |", 0),
        (
            "context_length = \"stop\"",
            OpenAi,
            error(400, "context_length_exceeded"),
            "400 context_length_exceeded | 0=context_length |",
            0,
        ),
        (
            "invalid_request = \"stop\"",
            Anthropic,
            anthropic_error(400, "invalid_request_error", "wrong"),
            "400 null | 0=invalid_request |",
            0,
        ),
        (
            "connection_lost = \"stop\"",
            OpenAi,
            Script::new().reset(),
            "502 connection_lost | 0=connection_lost |",
            0,
        ),
        // Fall back without a retry.
        ("server_error = \"fallback\"", OpenAi, error(500, "x"), "200 second | 0=server_error 1=ok |", 1),
        (
            "invalid_request = \"fallback\"",
            OpenAi,
            error(400, "x"),
            "200 second | 0=invalid_request 1=ok |",
            1,
        ),
        // Retry, but never fall back.
        (
            "server_error = \"retry\"",
            OpenAi,
            error(500, "x"),
            "500 server_error | 0=server_error 0=server_error |",
            0,
        ),
        ("malformed = \"retry\"", OpenAi, page(), "502 malformed | 0=malformed 0=malformed |", 0),
        // Retry, then fall back.
        ("malformed = \"retry+fallback\"", OpenAi, page(), "200 second | 0=malformed 0=malformed 1=ok |", 1),
        (
            "connection_lost = \"retry+fallback\"",
            OpenAi,
            Script::new().reset(),
            "200 second | 0=connection_lost 0=connection_lost 1=ok |",
            1,
        ),
        (
            "content_filter = \"retry+fallback\"",
            OpenAi,
            error(400, "content_filter"),
            "200 second | 0=content_filter 0=content_filter 1=ok |",
            1,
        ),
        // Take the answer as it is.
        ("empty = \"accept\"", OpenAi, OpenAi.json(""), "200  | 0=ok |", 0),
    ];
    let mut scene = Scene::default();
    let mut upstreams = Vec::new();
    for (at, (on, dialect, script, ..)) in cases.iter().enumerate() {
        let (first, next) = (Upstream::always(script.clone()).await, second().await);
        let rungs = [Rung::new(*dialect, &first), Rung::new(OpenAi, &next)];
        let rungs = rungs.map(|rung| rung.provider("breaker = false"));
        scene = scene.chain(&format!("c{at}"), &format!("on = {{ {on} }}"), &rungs);
        upstreams.push((first, next));
    }
    let gateway = scene.start().await;
    for streamed in [false, true] {
        for (at, (on, _, _, expected, fell_back)) in cases.iter().enumerate() {
            let (first, next) = &upstreams[at];
            let before = (first.hits(), next.hits());
            let told = ask(&gateway, &format!("c{at}"), streamed).await;
            assert!(told.summary().starts_with(expected), "{on}, {streamed}: {}", told.summary());
            let asked = told.trail().matches("0=").count();
            assert_eq!((first.hits() - before.0, next.hits() - before.1), (asked, *fell_back), "{on}");
        }
    }
}

#[tokio::test]
async fn a_chain_overrides_what_the_defaults_order() {
    let first = Upstream::always(openai_error(500, "x", None, "Sorry")).await;
    let next = second().await;
    let rungs = || [Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)];
    let scene = Scene::default()
        .also("[defaults]\non = { server_error = \"stop\", empty = \"accept\" }\nbreaker = false")
        .chain("inherits", "", &rungs())
        .chain("differs", "on = { server_error = \"fallback\" }", &rungs());
    let gateway = scene.start().await;
    assert_eq!(ask(&gateway, "inherits", false).await.trail(), "0=server_error");
    assert_eq!(ask(&gateway, "differs", false).await.trail(), "0=server_error 1=ok");
    assert_eq!((first.hits(), next.hits()), (2, 1));
    first.answer_with(|_, _| OpenAi.json(""));
    // A table that says something else still inherits this key.
    assert_eq!(ask(&gateway, "differs", false).await.trail(), "0=ok");
}

#[tokio::test]
async fn a_class_that_is_made_to_stop_tells_of_the_targets_before_it() {
    let first = Upstream::always(openai_error(429, "x", None, "Slow down")).await;
    let middle = Upstream::always(openai_error(503, "x", None, "Down")).await;
    let next = second().await;
    let rungs = [&first, &middle, &next].map(|upstream| Rung::new(OpenAi, upstream));
    let told = ask(&chat("retries = 0\non = { overloaded = \"stop\" }", &rungs).await, "chat", false).await;
    assert_eq!(
        told.summary(),
        "503 overloaded | 0=rate_limited 1=overloaded | by - after 2 because rate_limited"
    );
    assert_eq!(told.error["type"], "server_error");
    let message = told.error["message"].as_str().unwrap();
    for line in ["chat-0/m: rate_limited", "chat-1/m: overloaded", "chat-1/m said: Down"] {
        assert!(message.lines().any(|found| found == line), "{line:?} in {message}");
    }
    assert_eq!(next.hits(), 0);
}

#[tokio::test]
async fn max_attempts_bounds_the_calls_of_one_request() {
    let failing = Upstream::always(openai_error(401, "x", None, "No")).await;
    for most in 1..=4 {
        let rungs: Vec<_> = (0..4).map(|_| Rung::new(OpenAi, &failing).provider("breaker = false")).collect();
        let before = failing.hits();
        let gateway = chat(&format!("max_attempts = {most}"), &rungs).await;
        let told = ask(&gateway, "chat", false).await;
        assert_eq!((told.status, failing.hits() - before), (502, most));
        assert_eq!(told.header("x-piton-attempts"), Some(most.to_string().as_str()));
    }
}
