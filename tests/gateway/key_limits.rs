//! What one caller may take: requests and tokens per minute, and requests at the same time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Dialect, Told, ask_with, good, question};
use crate::support::client::{self, Streaming};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::in_time;
use crate::support::replies;
use crate::support::script::Gate;
use crate::support::upstream::Upstream;

const APP: (&str, &str) = ("authorization", "Bearer app-secret");
const OTHER: (&str, &str) = ("authorization", "Bearer other-secret");

fn config(upstream: &Upstream, limits: &str) -> String {
    format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nchat = [\"a/m\", \"a/n\"]\nprivate = [\"a/m\"]\n\
         [[keys]]\nname = \"app\"\nsecret = \"env:APP\"\nchains = [\"chat\"]\n{limits}\n\
         [[keys]]\nname = \"other\"\nsecret = \"env:OTHER\"\n",
        upstream.url()
    )
}

/// A gateway with the key `app` under these limits, and `other` under none.
async fn limited(upstream: &Upstream, limits: &str) -> Gateway {
    let config = format!("[server]\nadmin_key = \"env:ADMIN\"\n{}", config(upstream, limits));
    let gateway = Gateway::with(&config).env("APP", "app-secret").env("OTHER", "other-secret");
    gateway.env("ADMIN", "admin-secret").start().await
}

async fn ask(gateway: &Gateway, key: (&str, &str), body: &Value) -> Told {
    ask_with(gateway, &[key], body).await
}

/// A stream of the key `app`, once its head is here.
async fn stream(gateway: &Gateway) -> Streaming {
    let headers = [("content-type", "application/json"), APP];
    let body = question("chat", true).to_string();
    client::open(gateway.address(), "POST", "/v1/chat/completions", &headers, body.as_bytes()).await
}

/// What the status says of the key `app`.
async fn standing(gateway: &Gateway) -> Value {
    let admin = [("authorization", "Bearer admin-secret")];
    let status = gateway.request("GET", "/piton/api/status", &admin, &[]).await.json();
    let keys = status["keys"].as_array().expect("keys");
    assert_eq!((keys.len(), &keys[0]["key"]), (1, &json!("app")), "a key without limits has no standing");
    keys[0].clone()
}

fn number(told: &Told, header: &str) -> u64 {
    told.header(header).unwrap_or_else(|| panic!("{header}")).parse().expect("a number")
}

#[tokio::test]
async fn more_requests_than_a_minute_allows_are_refused_as_openai_refuses_them() {
    let upstream = good(Dialect::OpenAi, "hi").await;
    let gateway = limited(&upstream, "requests_per_minute = 3").await;
    let body = question("chat", false);
    for left in [2, 1, 0] {
        let told = ask(&gateway, APP, &body).await;
        assert_eq!((told.status, told.header("x-ratelimit-limit-requests")), (200, Some("3")));
        assert_eq!(number(&told, "x-ratelimit-remaining-requests"), left);
        let reset = told.header("x-ratelimit-reset-requests").expect("a reset");
        assert!(reset.ends_with('s') && reset.starts_with(|digit: char| digit.is_ascii_digit()), "{reset}");
        assert_eq!(told.header("x-ratelimit-limit-tokens"), None, "tokens are not limited");
    }
    for streamed in [false, true] {
        let told = ask(&gateway, APP, &question("chat", streamed)).await;
        assert_eq!((told.status, &told.error["code"]), (429, &json!("rate_limit_exceeded")));
        assert_eq!((&told.error["type"], &told.error["param"]), (&json!("requests"), &Value::Null));
        let message = told.error["message"].as_str().expect("a message");
        assert!(message.contains("`app` on requests per minute: limit 3, used 3, requested 1"), "{message}");
        assert!((15..=20).contains(&number(&told, "retry-after")), "{:?}", told.header("retry-after"));
        assert_eq!(told.header("x-should-retry"), Some("true"));
        assert_eq!(told.header("x-piton-attempts"), Some("0"));
        assert_eq!(number(&told, "x-ratelimit-remaining-requests"), 0);
    }
    assert_eq!(upstream.hits(), 3, "who has to wait costs nothing");
    let other = ask(&gateway, OTHER, &body).await;
    assert_eq!((other.status, other.header("x-ratelimit-limit-requests")), (200, None));
    let requests = standing(&gateway).await["requests_per_minute"].clone();
    assert_eq!(requests, json!({ "limit": 3, "remaining": 0 }));
    let log = gateway.wait_for_log("a refusal", |line| line["outcome"] == "key_limit").await;
    assert_eq!((&log["key"], &log["status"]), (&json!("app"), &json!(429)));
    let admin = gateway.request("GET", "/metrics", &[("authorization", "Bearer admin-secret")], &[]).await;
    let refused = Exposition::read(admin.text());
    let refused = refused.sum("piton_requests_total", &[("chain", "chat"), ("outcome", "key_limit")]);
    assert!((refused - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn room_comes_back_evenly() {
    let upstream = good(Dialect::OpenAi, "hi").await;
    let gateway = limited(&upstream, "requests_per_minute = 60").await;
    let body = question("chat", false);
    let mut served = 0;
    let refused = loop {
        let told = ask(&gateway, APP, &body).await;
        match told.status {
            200 => served += 1,
            _ => break told,
        }
        assert!(served <= 120, "no end");
    };
    assert!(served >= 60, "{served}");
    assert_eq!(number(&refused, "retry-after"), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&gateway, APP, &body).await.status, 200);
}

#[tokio::test]
async fn every_answer_to_a_limited_key_says_how_it_stands() {
    let upstream = Upstream::always(replies::openai_error(500, "server_error", None, "down")).await;
    let gateway = limited(&upstream, "requests_per_minute = 1000\ntokens_per_minute = 600000").await;
    let mut malformed = question("chat", false);
    malformed["messages"] = json!(3);
    let cases = [
        (question("chat", false), 500, 999),
        (question("private", false), 403, 999),
        (question("nowhere", false), 404, 999),
        (malformed, 400, 999),
    ];
    for (body, status, left) in cases {
        let told = ask(&gateway, APP, &body).await;
        assert_eq!(told.status, status, "{}", told.error);
        assert_eq!(told.header("x-ratelimit-limit-requests"), Some("1000"));
        assert!((left..=1000).contains(&number(&told, "x-ratelimit-remaining-requests")), "{status}");
        assert_eq!(number(&told, "x-ratelimit-limit-tokens"), 600_000);
    }
    let told = ask(&gateway, ("authorization", "Bearer unknown"), &question("chat", false)).await;
    assert_eq!((told.status, told.header("x-ratelimit-limit-requests")), (401, None));
}

#[tokio::test]
async fn tokens_are_reserved_by_an_estimate_and_settled_by_what_was_used() {
    let upstream = good(Dialect::OpenAi, "hi").await;
    let gateway = limited(&upstream, "tokens_per_minute = 2000\nrequests_per_minute = 100").await;
    let gate = Gate::shut();
    let behind = gate.clone();
    let held = replies::openai_stream(&["a", "b"]);
    upstream.answer_with(move |n, request| match n {
        0 => held.first(2).wait(&behind).then(held.rest(2)),
        _ => Dialect::OpenAi.good(request, "hi"),
    });
    // Without a cap a thousand tokens of output are expected, and the question has a few.
    let mut long = stream(&gateway).await;
    let reserved = 2000 - long.header("x-ratelimit-remaining-tokens").unwrap().parse::<u64>().unwrap();
    assert!((1000..=1010).contains(&reserved), "{reserved}");
    let told = ask(&gateway, APP, &question("chat", false)).await;
    assert_eq!((told.status, &told.error["type"]), (429, &json!("tokens")));
    let message = told.error["message"].as_str().expect("a message");
    assert!(message.contains("`app` on tokens per minute: limit 2000, used 10"), "{message}");
    assert_eq!(told.header("x-ratelimit-remaining-requests"), Some("99"), "all or nothing");
    let mut capped = question("chat", false);
    capped["max_tokens"] = json!(500);
    assert_eq!(ask(&gateway, APP, &capped).await.status, 200);
    gate.open();
    assert!(!long.events().await.is_empty());
    // Eleven tokens each.
    let tokens = in_time("the settlement", async {
        loop {
            let standing = standing(&gateway).await;
            if standing["in_flight"] == 0 {
                return standing["tokens_per_minute"]["remaining"].as_u64().expect("a number");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let tokens = tokens.await;
    assert!((1978..=2000).contains(&tokens), "{tokens}");

    capped["max_tokens"] = json!(5000);
    let told = ask(&gateway, APP, &capped).await;
    assert_eq!((told.status, told.header("retry-after")), (429, None), "it would never fit");
    assert_eq!(told.header("x-should-retry"), Some("false"));
    assert!(told.error["message"].as_str().expect("a message").contains("too large for this limit"));

    capped["max_tokens"] = json!(5);
    capped["fallbacks"] = json!([{ "model": "a/n", "max_tokens": 5000 }]);
    assert_eq!(
        ask(&gateway, APP, &capped).await.status,
        429,
        "one target may take more than the request itself"
    );
}

#[tokio::test]
async fn so_many_at_the_same_time_and_a_client_that_goes_makes_room_at_once() {
    let stream_of = replies::openai_stream(&["a", "b"]);
    let upstream = Upstream::start(move |_, _| stream_of.first(2).silence()).await;
    let gateway = limited(&upstream, "concurrency = 2").await;
    let (first, second) = (stream(&gateway).await, stream(&gateway).await);
    assert_eq!((first.status, second.status), (200, 200));
    let told = ask(&gateway, APP, &question("chat", false)).await;
    assert_eq!((told.status, told.header("retry-after")), (429, Some("1")));
    let message = told.error["message"].as_str().expect("a message");
    assert!(message.contains("on requests at the same time: limit 2, used 2"), "{message}");
    assert_eq!(told.header("x-ratelimit-limit-requests"), None, "there is no rate to tell");
    drop(first);
    upstream.closed_early().await;
    in_time("a free place", async {
        while stream(&gateway).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(second);
}

#[tokio::test]
async fn whoever_has_the_whole_answer_may_ask_again_at_once() {
    let upstream = Upstream::start(|_, request| Dialect::OpenAi.good(request, "hi")).await;
    let gateway = limited(&upstream, "concurrency = 1").await;
    for n in 0..40 {
        let told = ask(&gateway, APP, &question("chat", n % 2 == 0)).await;
        assert_eq!((told.status, told.text.as_str()), (200, "hi"), "request {n}: {}", told.error);
    }
    assert_eq!(upstream.hits(), 40);
}

#[tokio::test]
async fn what_was_taken_survives_a_reload() {
    let upstream = good(Dialect::OpenAi, "hi").await;
    let gateway = limited(&upstream, "requests_per_minute = 3").await;
    let body = question("chat", false);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, APP, &body).await.status, 200);
    }
    let reload = async |limits: &str| {
        gateway
            .rewrite_config(&format!("[server]\nadmin_key = \"env:ADMIN\"\n{}", config(&upstream, limits)));
        let admin = [("authorization", "Bearer admin-secret")];
        assert_eq!(gateway.request("POST", "/piton/api/reload", &admin, &[]).await.status, 200);
    };
    reload("requests_per_minute = 3\nuser = \"app\"").await;
    assert_eq!(ask(&gateway, APP, &body).await.status, 429);
    reload("requests_per_minute = 100").await;
    let told = ask(&gateway, APP, &body).await;
    assert_eq!(told.status, 200);
    assert!((96..=99).contains(&number(&told, "x-ratelimit-remaining-requests")));
    reload("").await;
    assert_eq!(ask(&gateway, APP, &body).await.header("x-ratelimit-limit-requests"), None);
}
