//! What each class does to its target's circuit, as `/piton/api/status` tells it and the next request feels it.

use serde_json::Value;

use crate::scene::{Dialect, Rung, Scene, ask, ask_with, chat, good, question, second};
use crate::support::gateway::Gateway;
use crate::support::in_time;
use crate::support::replies::{openai_error, status};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

use Dialect::OpenAi;

/// The circuit of a target.
async fn circuit(gateway: &Gateway, chain: &str, index: usize) -> Value {
    let status = gateway.get("/piton/api/status").await.json();
    let chains = status["chains"].as_array().unwrap();
    let chain = chains.iter().find(|found| found["name"] == chain).unwrap();
    chain["targets"][index]["circuit"].clone()
}

/// `closed`, or the reason why it is open.
async fn standing(gateway: &Gateway, chain: &str, index: usize) -> String {
    let circuit = circuit(gateway, chain, index).await;
    match circuit["state"].as_str().unwrap() {
        "open" => circuit["reason"].as_str().unwrap().to_owned(),
        other => other.to_owned(),
    }
}

fn down() -> Script {
    openai_error(500, "server_error", None, "Down")
}

#[tokio::test]
async fn each_class_trips_the_circuit_as_the_contract_says() {
    const SHORT: (u64, u64) = (1, 10_000);
    const LONG: (u64, u64) = (30_000, 60_000);
    const PARKED: (u64, u64) = (10_000, 20_000);
    const NONE: (u64, u64) = (0, 0);
    let error = |status, code: &str| openai_error(status, "x", Some(code), "Sorry");
    let limited = |headers: &[(&str, &str)]| status(429, "{}", headers);
    let silent = || Script::new().silence();
    let calm = ", answer_timeout = \"150ms\"";
    // How many failures it takes (0: more than ten), for how long it is then open, in milliseconds.
    let cases: [(&str, Script, usize, (u64, u64)); 17] = [
        ("rate_limited", limited(&[]), 5, SHORT),
        ("rate_limited", limited(&[("retry-after", "20")]), 1, PARKED),
        // A wait of more than a minute parks it for a minute.
        ("rate_limited", limited(&[("retry-after", "3600")]), 1, LONG),
        ("quota_exhausted", error(402, "x"), 1, LONG),
        ("overloaded", error(503, "x"), 5, SHORT),
        // Only a rate limit's own wait parks.
        ("overloaded", status(503, "{}", &[("retry-after", "20")]), 5, SHORT),
        ("server_error", error(500, "x"), 5, SHORT),
        ("connection_lost", Script::new().reset(), 5, SHORT),
        ("truncated", OpenAi.json("x").truncated(150).close(), 5, SHORT),
        ("malformed", status(200, "<html>", &[]), 5, SHORT),
        ("answer_timeout", silent(), 5, SHORT),
        ("auth_failed", error(401, "x"), 1, LONG),
        ("model_not_found", error(404, "x"), 1, LONG),
        ("empty", OpenAi.json(""), 0, NONE),
        ("context_length", error(400, "context_length_exceeded"), 0, NONE),
        ("too_large", error(413, "x"), 0, NONE),
        ("content_filter", error(400, "content_filter"), 0, NONE),
    ];
    let next = second().await;
    let mut scene = Scene::default();
    let mut failing = Vec::new();
    for (at, (_, script, ..)) in cases.iter().enumerate() {
        let first = Upstream::always(script.clone()).await;
        let rungs = [Rung::new(OpenAi, &first).target(calm), Rung::new(OpenAi, &next)];
        scene = scene.chain(&format!("c{at}"), "retries = 0", &rungs);
        failing.push(first);
    }
    let gateway = scene.start().await;
    for (at, (class, _, failures, (least, most))) in cases.into_iter().enumerate() {
        let chain = format!("c{at}");
        let tries = if failures == 0 { 10 } else { failures };
        for done in 0..tries {
            assert_eq!(standing(&gateway, &chain, 0).await, "closed", "{class} after {done}");
            let told = ask(&gateway, &chain, false).await;
            assert!(told.trail().starts_with(&format!("0={class}")), "{class} {done}: {}", told.summary());
        }
        let open = circuit(&gateway, &chain, 0).await;
        if failures == 0 {
            assert_eq!(open["state"], "closed", "{class}");
            continue;
        }
        assert_eq!((&open["state"], &open["reason"]), (&"open".into(), &class.into()), "{class} {open}");
        let left = open["for_ms"].as_u64().unwrap();
        assert!((least..=most).contains(&left), "{class}: {open}");
        let told = ask(&gateway, &chain, false).await;
        let expected = "200 second | 0=skip:circuit_open 1=ok | by 1 after 1 because circuit_open";
        assert_eq!(told.summary(), expected, "{class}");
        assert_eq!(failing[at].hits(), tries, "{class}");
    }
}

#[tokio::test]
async fn an_invalid_request_and_a_stream_that_ends_well_trip_nothing() {
    let first = Upstream::always(openai_error(400, "invalid_request_error", None, "Wrong")).await;
    let gateway = chat("", &[Rung::new(OpenAi, &first).provider("breaker = { failures = 1 }")]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat", true).await.status, 400);
    }
    first.answer_with(|_, request| OpenAi.good(request, "first"));
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat", true).await.text, "first");
    }
    assert_eq!(standing(&gateway, "chat", 0).await, "closed");
    assert_eq!(first.hits(), 6);
}

#[tokio::test]
async fn a_stream_that_breaks_after_commit_counts_and_one_that_the_client_leaves_does_not() {
    let stream = OpenAi.stream(&["first", "b"]);
    let first = Upstream::always(stream.first(2).silence()).await;
    let provider = "breaker = { failures = 2 }";
    let gateway = chat("", &[Rung::new(OpenAi, &first).provider(provider)]).await;
    for _ in 0..3 {
        let mut answer = gateway.stream("/v1/chat/completions", &question("chat", true)).await;
        answer.next_event().await.unwrap();
        drop(answer);
        first.closed_early().await;
    }
    assert_eq!(standing(&gateway, "chat", 0).await, "closed");
    first.answer_with(move |_, _| stream.first(2).close());
    for _ in 0..2 {
        assert_eq!(standing(&gateway, "chat", 0).await, "closed");
        let told = ask(&gateway, "chat", true).await;
        assert_eq!((told.text.as_str(), &told.error["code"]), ("first", &"truncated".into()));
    }
    assert_eq!(standing(&gateway, "chat", 0).await, "truncated");
}

#[tokio::test]
async fn after_the_cool_down_one_probe_closes_it_or_opens_it_again() {
    let (first, next) = (Upstream::always(down()).await, second().await);
    let provider = "breaker = { failures = 2, cool_down = \"400ms\" }";
    let rungs = [Rung::new(OpenAi, &first).provider(provider), Rung::new(OpenAi, &next)];
    let gateway = chat("retries = 0", &rungs).await;
    let ready = async || {
        in_time("the end of the cool-down", async {
            while standing(&gateway, "chat", 0).await != "closed" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    for _ in 0..2 {
        assert_eq!(ask(&gateway, "chat", false).await.trail(), "0=server_error 1=ok");
    }
    assert_eq!(standing(&gateway, "chat", 0).await, "server_error");
    ready().await;
    // One failed probe opens it again, where two failures were needed before.
    assert_eq!(ask(&gateway, "chat", false).await.trail(), "0=server_error 1=ok");
    assert_eq!(standing(&gateway, "chat", 0).await, "server_error");
    assert_eq!(first.hits(), 3);

    ready().await;
    let gate = crate::support::script::Gate::shut();
    let held = gate.clone();
    first.answer_with(move |_, _| Script::new().wait(&held).then(OpenAi.json("first")));
    let probe = gateway.send_json("/v1/chat/completions", &question("chat", false)).await;
    first.wait_for_hits(4).await;
    assert_eq!(circuit(&gateway, "chat", 0).await["state"], "half_open");
    // While the probe is out, nobody else gets through.
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat", false).await.trail(), "0=skip:circuit_open 1=ok");
    }
    assert_eq!(first.hits(), 4);
    gate.open();
    assert_eq!(probe.head().await.whole().await.status, 200);
    assert_eq!(standing(&gateway, "chat", 0).await, "closed");
    assert_eq!(ask(&gateway, "chat", false).await.text, "first");
}

#[tokio::test]
async fn the_least_bad_open_circuit_is_tried_where_all_are_open_for_a_passing_reason() {
    let (first, middle, last) = (
        Upstream::always(openai_error(401, "x", None, "No")).await,
        Upstream::always(down()).await,
        Upstream::always(down()).await,
    );
    let [a, b, c] = [&first, &middle, &last].map(|upstream| Rung::new(OpenAi, upstream));
    let rungs = [
        a,
        b.provider("breaker = { failures = 1, cool_down = \"60s\" }"),
        c.provider("breaker = { failures = 1, cool_down = \"120s\" }"),
    ];
    let gateway = chat("retries = 0", &rungs).await;
    assert_eq!(ask(&gateway, "chat", false).await.trail(), "0=auth_failed 1=server_error 2=server_error");
    middle.answer_with(|_, request| OpenAi.good(request, "middle"));
    let told = ask(&gateway, "chat", true).await;
    let expected = "200 middle | 0=skip:circuit_open 1=skip:circuit_open 2=skip:circuit_open 1=ok \
                    | by 1 after 1 because circuit_open";
    assert_eq!(told.summary(), expected);
    assert_eq!((first.hits(), middle.hits(), last.hits()), (1, 2, 1));
    // It is closed again, and the bad key still is not asked.
    let told = ask(&gateway, "chat", false).await;
    assert_eq!(told.trail(), "0=skip:circuit_open 1=ok");
}

#[tokio::test]
async fn a_circuit_that_a_person_must_mend_is_no_last_resort() {
    let only = Upstream::always(openai_error(401, "x", None, "No")).await;
    let gateway = chat("", &[Rung::new(OpenAi, &only)]).await;
    assert_eq!(ask(&gateway, "chat", false).await.status, 502);
    for streamed in [false, true] {
        let told = ask(&gateway, "chat", streamed).await;
        let expected = "503 no_target_available | 0=skip:circuit_open | by - after 0 because circuit_open";
        assert_eq!(told.summary(), expected);
    }
    assert_eq!(only.hits(), 1);
}

#[tokio::test]
async fn a_circuit_belongs_to_the_target_whichever_chain_uses_it() {
    let (first, next) =
        (Upstream::always(openai_error(404, "x", None, "No such model")).await, second().await);
    let (failing, serving) = (first.url(), next.url());
    let config = format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{failing}\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{serving}\"\n\
         [chains]\none = [\"a/m\", \"b/m\"]\ntwo = [\"b/n\", \"a/m\"]\nthree = [\"a/m\", \"a/n\", \"b/m\"]\n"
    );
    let gateway = Scene::default().also(&config).start().await;
    assert_eq!(ask(&gateway, "one", false).await.trail(), "a=model_not_found b=ok");
    assert_eq!(standing(&gateway, "two", 1).await, "model_not_found");
    assert_eq!(standing(&gateway, "three", 0).await, "model_not_found");
    // Another model of the same provider has a circuit of its own.
    assert_eq!(standing(&gateway, "three", 1).await, "closed");
    let told = ask(&gateway, "three", false).await;
    assert_eq!(told.trail(), "a=skip:circuit_open a/n=model_not_found b=ok");
}

#[tokio::test]
async fn without_a_breaker_a_target_is_asked_every_time() {
    let (first, next) = (Upstream::always(down()).await, good(OpenAi, "second").await);
    let rungs = [Rung::new(OpenAi, &first).provider("breaker = false"), Rung::new(OpenAi, &next)];
    let gateway = chat("retries = 0", &rungs).await;
    for _ in 0..8 {
        let told = ask_with(&gateway, &[], &question("chat", false)).await;
        assert_eq!(told.trail(), "0=server_error 1=ok");
    }
    assert_eq!((first.hits(), next.hits()), (8, 8));
}
