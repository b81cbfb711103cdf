//! `on_exhausted`: one last chain behind another, and how answers, receipts, plans and metrics tell of it.

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, ask, ask_with, good, question};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

const LAST: &str = "retries = 0\non_exhausted = { chain = \"spare\" }";

async fn failing(status: u16, kind: &str) -> Upstream {
    Upstream::always(replies::openai_error(status, kind, None, "no")).await
}

/// `chat` over `own`, and behind it `spare` over `last`.
async fn start(own: &Upstream, last: &Upstream) -> Gateway {
    let prices = "[models.\"chat-0/m\"]\nprice = { input = 1, output = 2 }\n\
                  [models.\"spare-0/m\"]\nprice = { input = 1000, output = 2000 }\n";
    let rung = |upstream| Rung::new(Dialect::OpenAi, upstream).provider("breaker = false\n");
    let scene = Scene::default()
        .chain("chat", LAST, &[rung(own).target(", max_cost = 5")])
        .chain("spare", "retries = 0", &[rung(last).target(", max_cost = 9")])
        .also(prices);
    scene.start().await
}

#[tokio::test]
async fn the_last_chain_serves_and_everything_says_so() {
    let (own, last) = (failing(503, "server_error").await, good(Dialect::OpenAi, "spare").await);
    let gateway = start(&own, &last).await;
    for streamed in [false, true] {
        let told = ask_with(&gateway, &[("x-request-id", "told")], &question("chat", streamed)).await;
        assert_eq!((told.status, &*told.text, told.ended_well), (200, "spare", true));
        let header = |name| told.header(name).unwrap_or("-");
        assert_eq!(header("x-piton-chain"), "spare");
        assert_eq!((header("x-piton-target"), header("x-piton-target-index")), ("spare-0/m", "0"));
        assert_eq!((header("x-piton-attempts"), header("x-piton-fallback-reason")), ("2", "overloaded"));
        let trail = header("x-piton-trail");
        assert!(trail.starts_with("chat-0/m=overloaded;") && trail.contains(", spare-0/m=ok;"), "{trail}");
        let receipt = gateway.get("/piton/api/requests/told").await.json();
        assert_eq!((&receipt["chain"], &receipt["asked_chain"]), (&json!("spare"), &json!("chat")));
        let of = |at: usize| {
            (receipt["trail"][at]["chain"].clone(), receipt["trail"][at]["bounds"]["max_cost_usd"].clone())
        };
        assert_eq!((of(0), of(1)), ((Value::Null, json!(5.0)), (json!("spare"), json!(9.0))));
    }
    let metrics = Exposition::read(gateway.get("/metrics").await.text());
    let fallbacks = [("chain", "chat"), ("from", "chat-0/m"), ("to", "spare-0/m"), ("reason", "overloaded")];
    assert!((metrics.sum("piton_fallbacks_total", &fallbacks) - 2.0).abs() < f64::EPSILON);
    assert!(
        (metrics.sum("piton_requests_total", &[("chain", "spare")])).abs() < f64::EPSILON,
        "asked was `chat`"
    );
    assert!(
        metrics.sum("piton_failover_extra_usd_total", &[("chain", "chat")]) > 0.0,
        "it is the dearer one"
    );
    let status = gateway.get("/piton/api/status").await.json();
    assert_eq!(status["chains"][0]["on_exhausted"], "spare");
}

#[tokio::test]
async fn one_status_speaks_for_the_targets_of_both() {
    let limited = || failing(429, "rate_limit_error");
    let cases = [
        (limited().await, limited().await, 429),
        (limited().await, failing(500, "server_error").await, 502),
        (failing(500, "server_error").await, failing(500, "server_error").await, 500),
    ];
    for (own, last, status) in cases {
        let gateway = start(&own, &last).await;
        let told = ask(&gateway, "chat", false).await;
        assert_eq!((told.status, told.header("x-piton-chain")), (status, Some("spare")), "{}", told.error);
        assert_eq!((own.hits(), last.hits()), (1, 1));
    }
    // A class that stops the chain stops all.
    let (own, last) = (failing(400, "invalid_request_error").await, good(Dialect::OpenAi, "spare").await);
    let gateway = start(&own, &last).await;
    let told = ask(&gateway, "chat", false).await;
    assert_eq!((told.status, told.header("x-piton-chain"), last.hits()), (400, Some("chat"), 0));
    let off = ask_with(&gateway, &[("x-piton-fallback", "off")], &question("chat", false)).await;
    assert_eq!((off.status, last.hits()), (400, 0));
}

#[tokio::test]
async fn a_plan_shows_the_last_chain_too() {
    let (own, last) = (good(Dialect::OpenAi, "a").await, good(Dialect::OpenAi, "spare").await);
    let gateway = start(&own, &last).await;
    let plan = |headers: &'static [(&str, &str)]| {
        let gateway = &gateway;
        async move {
            let headers =
                [&[("content-type", "application/json"), ("x-piton-explain", "true")], headers].concat();
            let body = question("chat", false).to_string();
            gateway.request("POST", "/v1/chat/completions", &headers, body.as_bytes()).await.json()
        }
    };
    let whole = plan(&[]).await;
    assert_eq!((&whole["chain"], &whole["first"]), (&json!("chat"), &json!("chat-0/m")));
    let behind = &whole["on_exhausted"];
    assert_eq!((&behind["chain"], &behind["first"]), (&json!("spare"), &json!("spare-0/m")));
    // Too dear for both: one word for all.
    let dear = plan(&[("x-piton-max-cost", "0")]).await;
    assert_eq!(
        (&dear["status"], &dear["on_exhausted"]["targets"][0]["skip"]),
        (&json!(402), &json!("max_cost"))
    );
    let message = dear["error"]["message"].as_str().expect("a message");
    assert!(message.contains("chat-0/m: skipped (max_cost)\nspare-0/m: skipped (max_cost)"), "{message}");
    assert_eq!(plan(&[("x-piton-fallback", "off")]).await.get("on_exhausted"), None);
    assert_eq!(own.hits() + last.hits(), 0);
}

#[tokio::test]
async fn vectors_of_another_model_are_no_stand_in() {
    let (own, last) = (failing(503, "server_error").await, good(Dialect::OpenAi, "x").await);
    let gateway = |like: &str| {
        let rung = |upstream| Rung::new(Dialect::OpenAi, upstream);
        let also = format!(
            "[models.\"chat-0/m\"]\nlike = \"openai/text-embedding-3-small\"\n[models.\"spare-0/m\"]\nlike = \"openai/{like}\"\n"
        );
        Scene::default().chain("chat", LAST, &[rung(&own)]).chain("spare", "", &[rung(&last)]).also(&also)
    };
    for (like, calls) in [("text-embedding-3-large", 0), ("text-embedding-3-small", 1)] {
        let gateway = gateway(like).start().await;
        let body = json!({ "model": "chat", "input": "Hello" });
        gateway.post_json("/v1/embeddings", &body).await;
        assert_eq!(last.hits(), calls, "{like}");
    }
}
