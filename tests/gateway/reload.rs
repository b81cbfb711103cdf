//! A new configuration while requests run: none fails, each keeps what it began with, and a bad file changes
//! nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::PATIENCE;
use crate::support::client::{End, Response};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";

/// Two providers, and a chain of these targets.
fn config(a: &Upstream, b: &Upstream, targets: &str) -> String {
    format!(
        "[defaults]\nretries = 0\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [{targets}]\n",
        a.url(),
        b.url()
    )
}

const A_FIRST: &str = r#""a/m", "b/m""#;
const B_FIRST: &str = r#""b/m", "a/m""#;

fn ask(stream: bool) -> Value {
    json!({ "model": "main", "stream": stream, "messages": [{ "role": "user", "content": "hello" }] })
}

fn answer(_: usize, request: &Received) -> Script {
    if request.json()["stream"] == true {
        replies::openai_stream(&["from ", "there"]).all()
    } else {
        replies::openai_json("from there")
    }
}

async fn reload(gateway: &Gateway) -> Response {
    gateway.post_json("/piton/api/reload", &json!({})).await
}

async fn hash(gateway: &Gateway) -> String {
    gateway.get("/healthz").await.header("x-piton-config").unwrap().to_owned()
}

#[tokio::test]
async fn under_load_no_request_fails_and_each_says_which_configuration_decided() {
    let (a, b) = (Upstream::start(answer).await, Upstream::start(answer).await);
    let gateway = Arc::new(Gateway::start(&config(&a, &b, A_FIRST)).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for number in 0..16 {
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        workers.spawn(async move {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = gateway.post_json(CHAT, &ask(number % 2 == 0)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let header = |name: &str| answer.header(name).unwrap().to_owned();
                seen.push((header("x-piton-config"), header("x-piton-target")));
            }
            seen
        });
    }
    let mut hashes = BTreeSet::from([(hash(&gateway).await, "a/m")]);
    for round in 0..10 {
        let (before_a, before_b) = (a.hits(), b.hits());
        let (targets, first) = if round % 2 == 0 { (B_FIRST, "b/m") } else { (A_FIRST, "a/m") };
        gateway.rewrite_config(&config(&a, &b, targets));
        let answer = reload(&gateway).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.json();
        assert_eq!(said["reloaded"], true);
        let new = hash(&gateway).await;
        assert_eq!(said["config"], new.as_str());
        hashes.insert((new, first));
        // Load goes on under the new configuration before the next one comes.
        if first == "b/m" { b.wait_for_hits(before_b + 5).await } else { a.wait_for_hits(before_a + 5).await }
    }
    stop.store(true, Ordering::Relaxed);
    let seen: BTreeSet<(String, String)> =
        tokio::time::timeout(PATIENCE, workers.join_all()).await.unwrap().into_iter().flatten().collect();
    assert_eq!(hashes.len(), 2, "the same text has the same hash: {hashes:?}");
    let expected: BTreeSet<(String, String)> =
        hashes.into_iter().map(|(hash, target)| (hash, target.to_owned())).collect();
    assert_eq!(seen, expected, "each hash names the configuration that decided");
    let metrics = Exposition::of(&gateway).await;
    let failed = metrics.samples.iter().filter(|sample| sample.name == "piton_requests_total");
    assert!(failed.clone().all(|sample| sample.labels["outcome"] == "ok"), "{}", metrics.text);
}

#[tokio::test]
async fn running_requests_keep_the_configuration_that_they_began_with() {
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["before ", "after"]);
    let slow_stream = stream.first(2).wait(&gate).then(stream.rest(2));
    let slow_failure = Script::new().wait(&gate).then(replies::openai_error(500, "x", None, "late"));
    let a = Upstream::start(move |_, request| {
        if request.json()["stream"] == true { slow_stream.clone() } else { slow_failure.clone() }
    })
    .await;
    let (b, c) = (Upstream::start(answer).await, Upstream::start(answer).await);
    let gateway = Gateway::start(&config(&a, &b, A_FIRST)).await;
    let old = hash(&gateway).await;
    let mut streaming = gateway.stream(CHAT, &ask(true)).await;
    assert_eq!(streaming.header("x-piton-config"), Some(old.as_str()));
    let first = streaming.next_event().await.unwrap();
    let waiting = gateway.send_json(CHAT, &ask(false)).await;
    a.wait_for_hits(2).await;

    // The new one knows neither target of the old one.
    let text =
        format!("[providers.c]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [\"c/m\"]\n", c.url());
    gateway.rewrite_config(&text);
    assert_eq!(reload(&gateway).await.status, 200);
    let new = hash(&gateway).await;
    assert_ne!(new, old);
    let next = gateway.post_json(CHAT, &ask(false)).await;
    assert_eq!((next.header("x-piton-target"), next.header("x-piton-config")), (Some("c/m"), Some(&*new)));

    gate.open();
    let rest = streaming.events().await;
    assert!(first.data.contains("assistant"));
    assert_eq!((streaming.end(), rest.last().unwrap().data.as_str()), (Some(End::Clean), "[DONE]"));
    assert!(rest.iter().any(|event| event.data.contains("after")));
    let fell_back = waiting.head().await.whole().await;
    assert_eq!(fell_back.status, 200, "{}", fell_back.text());
    assert_eq!(fell_back.header("x-piton-target"), Some("b/m"), "the old chain's second target");
    assert_eq!(fell_back.header("x-piton-config"), Some(old.as_str()));
    assert_eq!((b.hits(), c.hits()), (1, 1));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_explained_and_the_old_one_stays() {
    const SECRET: &str = "sk-live-0123456789abcdefghijklmnop";
    let (a, b) = (Upstream::start(answer).await, Upstream::start(answer).await);
    let gateway = Gateway::start(&config(&a, &b, A_FIRST)).await;
    let old = hash(&gateway).await;
    // The file, and what the diagnostics say about it.
    let cases = [
        ("[chains]\nmain = [\"a/m\"\n".to_owned(), vec!["piton.toml"]),
        (config(&a, &b, r#""nobody/m""#), vec!["nobody", "piton.toml", "chains.main[0]"]),
        (config(&a, &b, A_FIRST).replace("retries", "retires"), vec!["did you mean", "retries"]),
        (
            config(&a, &b, A_FIRST)
                .replace("[providers.b]", &format!("[providers.b]\napi_kee = \"{SECRET}\"")),
            vec!["api_kee", "did you mean", "api_key"],
        ),
        (
            config(&a, &b, A_FIRST)
                .replace("[providers.b]", &format!("[providers.b]\napi_key = [\"{SECRET}\", 3]")),
            vec!["api_key"],
        ),
    ];
    for (text, expected) in cases {
        gateway.rewrite_config(&text);
        let answer = reload(&gateway).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"]), (422, &json!("invalid_config")), "{text}");
        let message = error["message"].as_str().unwrap();
        for words in expected {
            assert!(message.contains(words), "{words:?} is not in\n{message}");
        }
        assert!(!message.contains("0123456789"), "a secret is told:\n{message}");
        assert!(message.contains("-->") || message.contains(" | "), "no place in the file:\n{message}");
        let served = gateway.post_json(CHAT, &ask(false)).await;
        assert_eq!((served.status, served.header("x-piton-config")), (200, Some(old.as_str())));
    }
    assert!(!gateway.stderr().contains("0123456789"), "a secret is logged");
    gateway.rewrite_config(&config(&a, &b, B_FIRST));
    assert_eq!(reload(&gateway).await.status, 200);
    assert_eq!(gateway.post_json(CHAT, &ask(false)).await.header("x-piton-target"), Some("b/m"));
}

#[tokio::test]
async fn a_removed_file_keeps_the_old_configuration_too() {
    let (a, b) = (Upstream::start(answer).await, Upstream::start(answer).await);
    let gateway = Gateway::start(&config(&a, &b, A_FIRST)).await;
    std::fs::remove_file(gateway.config_path()).unwrap();
    assert_eq!(reload(&gateway).await.status, 422);
    assert_eq!(gateway.post_json(CHAT, &ask(false)).await.status, 200);
}

#[tokio::test]
async fn keys_and_chains_of_a_new_file_hold_for_the_next_request() {
    let (a, b) = (Upstream::start(answer).await, Upstream::start(answer).await);
    let text = config(&a, &b, A_FIRST);
    let gateway = Gateway::start(&text).await;
    assert_eq!(gateway.post_json(CHAT, &ask(false)).await.status, 200);
    gateway.rewrite_config(&format!("{text}[[keys]]\nname = \"one\"\nsecret = \"file:secret\"\n"));
    gateway.write("secret", "first\n");
    assert_eq!(reload(&gateway).await.status, 200);
    assert_eq!(gateway.post_json(CHAT, &ask(false)).await.status, 401);
    let with = async |secret: &str| {
        let bearer = format!("Bearer {secret}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        gateway.request("POST", CHAT, &headers, ask(false).to_string().as_bytes()).await.status
    };
    assert_eq!((with("first").await, with("second").await), (200, 401));
    gateway.write("secret", "second\n");
    assert_eq!(reload(&gateway).await.status, 200);
    assert_eq!((with("first").await, with("second").await), (401, 200));
}
