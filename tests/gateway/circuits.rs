//! What circuits share and what they forget: the last resort, several chains over one target, reloads, new keys.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";
const ONE_FAILURE: &str = "retries = 0\nbreaker = { failures = 1, cool_down = \"10m\" }";

fn ask(chain: &str) -> Value {
    json!({ "model": chain, "messages": [{ "role": "user", "content": "hello" }] })
}

fn unavailable() -> Script {
    replies::openai_error(503, "server_error", None, "down")
}

fn config(a: &Upstream, b: &Upstream, chains: &str) -> String {
    format!(
        r#"
        [defaults]
        {ONE_FAILURE}
        [providers.a]
        kind = "openai"
        base_url = "{}"
        [providers.b]
        kind = "openai"
        base_url = "{}"
        [chains]
        {chains}
        "#,
        a.url(),
        b.url()
    )
}

async fn reload(gateway: &Gateway) {
    let answer = gateway.post_json("/piton/api/reload", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn with_every_circuit_open_the_least_bad_target_is_tried_by_one_request_at_a_time() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::always(unavailable()).await);
    let gateway = Gateway::start(&config(&a, &b, r#"main = ["a/m", "b/m"]"#)).await;
    let answer = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (503, 1, 1));

    let gate = Gate::shut();
    let behind = gate.clone();
    a.answer_with(move |_, _| Script::new().wait(&behind).then(replies::openai_json("from a")));
    b.answer_with(|_, _| replies::openai_json("from b"));
    // The first target's circuit closes sooner: that is the least bad.
    let first = gateway.send_json(CHAT, &ask("main")).await;
    a.wait_for_hits(2).await;
    for _ in 0..5 {
        let refused = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.json()["error"]["code"], "no_target_available");
        let wait: u64 = refused.header("retry-after").expect("a retry-after").parse().unwrap();
        assert!((1..=600).contains(&wait), "{wait}");
        let trail = refused.header("x-piton-trail");
        assert_eq!(trail, Some("a/m=skip:circuit_open, b/m=skip:circuit_open"));
        assert_eq!(refused.header("x-piton-attempts"), Some("0"));
    }
    assert_eq!((a.hits(), b.hits()), (2, 1), "one request at a time");

    gate.open();
    let first = first.head().await.whole().await;
    assert_eq!((first.status, first.header("x-piton-target")), (200, Some("a/m")));
    assert_eq!(first.header("x-piton-attempts"), Some("1"));
    let next = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!((next.header("x-piton-target"), a.hits(), b.hits()), (Some("a/m"), 3, 1));
}

#[tokio::test]
async fn a_last_resort_that_fails_leaves_the_circuit_open_for_the_next_one() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::always(unavailable()).await);
    let gateway = Gateway::start(&config(&a, &b, r#"main = ["a/m"]"#)).await;
    for hits in 1..=4 {
        let answer = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!((answer.status, a.hits()), (503, hits), "one at a time, and each its own try");
    }
    assert_eq!(b.hits(), 0);
}

#[tokio::test]
async fn a_circuit_that_only_a_person_can_mend_is_no_last_resort() {
    let refused = replies::openai_error(401, "invalid_request_error", Some("invalid_api_key"), "bad key");
    let (a, b) = (Upstream::always(refused).await, Upstream::always(unavailable()).await);
    let gateway = Gateway::start(&config(&a, &b, r#"main = ["a/m"]"#)).await;
    assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 502);
    let answer = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!((answer.status, a.hits()), (503, 1));
    let wait: u64 = answer.header("retry-after").expect("a retry-after").parse().unwrap();
    assert!((30..=60).contains(&wait), "long is a minute: {wait}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn many_refusals_at_once_are_one_opening_and_not_ten_minutes() {
    let gate = Gate::shut();
    let refused = replies::openai_error(401, "invalid_request_error", Some("invalid_api_key"), "bad key");
    let a = Upstream::always(Script::new().wait(&gate).then(refused)).await;
    let b = Upstream::always(replies::openai_json("b")).await;
    let gateway = Gateway::start(&config(&a, &b, r#"main = ["a/m", "b/m"]"#)).await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(gateway.send_json(CHAT, &ask("main")).await);
    }
    a.wait_for_hits(10).await;
    gate.open();
    for request in waiting {
        assert_eq!(request.head().await.whole().await.header("x-piton-target"), Some("b/m"));
    }
    let status = gateway.get("/piton/api/status").await.json();
    let circuit = &status["chains"][0]["targets"][0]["circuit"];
    assert_eq!((&circuit["state"], &circuit["reason"]), (&json!("open"), &json!("auth_failed")));
    assert!(circuit["for_ms"].as_u64().unwrap() <= 60_000, "{circuit}");
}

#[tokio::test]
async fn two_chains_over_one_target_share_its_circuit_and_a_reload_keeps_it() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::always(replies::openai_json("b")).await);
    let chains = "one = [\"a/m\", \"b/m\"]\ntwo = [\"a/m\", \"b/m\"]\nother = [\"a/other\", \"b/m\"]";
    let gateway = Gateway::start(&config(&a, &b, chains)).await;
    let trail = async |chain: &str| {
        let answer = gateway.post_json(CHAT, &ask(chain)).await;
        assert_eq!(answer.header("x-piton-target"), Some("b/m"));
        answer.header("x-piton-trail").unwrap().split(['=', ';', ',']).nth(1).unwrap().to_owned()
    };
    assert_eq!(trail("one").await, "overloaded");
    assert_eq!(trail("two").await, "skip:circuit_open");
    assert_eq!(trail("other").await, "overloaded", "another model of that provider has its own circuit");
    assert_eq!(a.hits(), 2);

    let old = gateway.get("/healthz").await.header("x-piton-config").unwrap().to_owned();
    gateway.rewrite_config(&config(&a, &b, &format!("{chains}\nthree = [\"a/m\", \"b/m\"]")));
    reload(&gateway).await;
    assert_ne!(gateway.get("/healthz").await.header("x-piton-config"), Some(old.as_str()));
    for chain in ["one", "two", "three"] {
        assert_eq!(trail(chain).await, "skip:circuit_open", "{chain} after the reload");
    }
    assert_eq!(a.hits(), 2);
}

#[tokio::test]
async fn a_mended_key_starts_with_a_closed_circuit() {
    let by_key = |_: usize, request: &Received| match request.header("authorization") {
        Some("Bearer good") => replies::openai_json("from a"),
        _ => replies::openai_error(401, "invalid_request_error", Some("invalid_api_key"), "bad key"),
    };
    let (a, b) = (Upstream::start(by_key).await, Upstream::always(replies::openai_json("from b")).await);
    let config = format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [\"a/m\", \"b/m\"]\n",
        a.url(),
        b.url()
    );
    let gateway = Gateway::with(&config).file("key", "bad\n").start().await;
    let target = async || {
        let answer = gateway.post_json(CHAT, &ask("main")).await;
        (answer.header("x-piton-target").unwrap().to_owned(), a.hits())
    };
    assert_eq!(target().await, ("b/m".to_owned(), 1));
    assert_eq!(target().await, ("b/m".to_owned(), 1), "the circuit is open");
    reload(&gateway).await;
    assert_eq!(target().await, ("b/m".to_owned(), 1), "the same key, the same circuit");
    gateway.write("key", "good\n");
    reload(&gateway).await;
    assert_eq!(target().await, ("a/m".to_owned(), 2));
    let status = gateway.get("/piton/api/status").await.json();
    assert_eq!(status["chains"][0]["targets"][0]["circuit"], json!({ "state": "closed" }));
}
