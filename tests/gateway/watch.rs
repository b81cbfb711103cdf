//! The configuration read again without being told over HTTP: a changed file, a changed secret, SIGHUP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::{Received, Upstream};
use crate::support::{PATIENCE, in_time};

const CHAT: &str = "/v1/chat/completions";

fn config(a: &Upstream, b: &Upstream, first: &str) -> String {
    format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [\"{first}/m\"]\n",
        a.url(),
        b.url()
    )
}

fn ask() -> Value {
    json!({ "model": "main", "messages": [{ "role": "user", "content": "hello" }] })
}

async fn pair() -> (Upstream, Upstream) {
    (Upstream::always(replies::openai_json("a")).await, Upstream::always(replies::openai_json("b")).await)
}

async fn start(config: &str) -> Gateway {
    Gateway::with(config).file("key", "first\n").start().await
}

/// Asks until this target serves. Every answer on the way must be good.
async fn until_served_by(gateway: &Gateway, target: &str) {
    in_time(&format!("an answer from {target}"), async {
        loop {
            let answer = gateway.post_json(CHAT, &ask()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            if answer.header("x-piton-target") == Some(target) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_written_in_place_or_renamed_over_serves_the_next_requests() {
    let (a, b) = pair().await;
    let gateway = start(&config(&a, &b, "a")).await;
    until_served_by(&gateway, "a/m").await;
    gateway.rewrite_config(&config(&a, &b, "b"));
    until_served_by(&gateway, "b/m").await;
    gateway.replace_config(&config(&a, &b, "a"));
    until_served_by(&gateway, "a/m").await;
}

#[tokio::test]
async fn a_hang_up_signal_reads_the_file_again() {
    let (a, b) = pair().await;
    let gateway = start(&config(&a, &b, "a")).await;
    gateway.rewrite_config(&config(&a, &b, "b"));
    gateway.hang_up();
    until_served_by(&gateway, "b/m").await;
    // Nothing has changed: the process lives on with the same configuration.
    let hash = gateway.get("/healthz").await.header("x-piton-config").unwrap().to_owned();
    gateway.hang_up();
    until_served_by(&gateway, "b/m").await;
    assert_eq!(gateway.get("/healthz").await.header("x-piton-config"), Some(hash.as_str()));
}

#[tokio::test]
async fn a_change_right_after_a_reload_is_seen_although_the_file_is_as_it_was_at_first() {
    let (a, b) = pair().await;
    let gateway = start(&config(&a, &b, "a")).await;
    gateway.rewrite_config(&config(&a, &b, "b"));
    assert_eq!(gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
    gateway.rewrite_config(&config(&a, &b, "a"));
    until_served_by(&gateway, "a/m").await;
    gateway.rewrite_config(&config(&a, &b, "b"));
    gateway.hang_up();
    until_served_by(&gateway, "b/m").await;
    gateway.rewrite_config(&config(&a, &b, "a"));
    until_served_by(&gateway, "a/m").await;
}

#[tokio::test]
async fn a_rotated_secret_goes_upstream_without_a_restart() {
    let by_key = |_: usize, request: &Received| match request.header("authorization") {
        Some("Bearer first" | "Bearer second") => replies::openai_json("a"),
        other => panic!("another key: {other:?}"),
    };
    let (a, b) = (Upstream::start(by_key).await, Upstream::always(replies::openai_json("b")).await);
    let gateway = start(&config(&a, &b, "a")).await;
    assert_eq!(gateway.post_json(CHAT, &ask()).await.status, 200);
    gateway.write("key", "second\n");
    in_time("the new key upstream", async {
        while a.requests().last().unwrap().header("authorization") != Some("Bearer second") {
            assert_eq!(gateway.post_json(CHAT, &ask()).await.status, 200);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_is_told_in_the_log_without_its_secrets_and_a_mended_one_is_taken() {
    let (a, b) = pair().await;
    let gateway = start(&config(&a, &b, "a")).await;
    let hash = gateway.get("/healthz").await.header("x-piton-config").unwrap().to_owned();
    let broken =
        config(&a, &b, "b").replace("[providers.b]", "[providers.b]\napi_kee = \"sk-live-0123456789abcdef\"");
    gateway.rewrite_config(&broken);
    in_time("the diagnostics", async {
        while !gateway.stderr().contains("api_kee") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!gateway.stderr().contains("0123456789"), "{}", gateway.stderr());
    let answer = gateway.post_json(CHAT, &ask()).await;
    assert_eq!(
        (answer.header("x-piton-target"), answer.header("x-piton-config")),
        (Some("a/m"), Some(&*hash))
    );
    gateway.rewrite_config(&config(&a, &b, "b"));
    until_served_by(&gateway, "b/m").await;
}

#[tokio::test]
async fn under_load_changes_by_file_and_by_signal_fail_no_request() {
    let (a, b) = pair().await;
    let gateway = Arc::new(start(&config(&a, &b, "a")).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
        workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = gateway.post_json(CHAT, &ask()).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    for (round, first) in ["b", "a", "b", "a", "b", "a"].into_iter().enumerate() {
        if round % 2 == 0 {
            gateway.replace_config(&config(&a, &b, first));
        } else {
            gateway.rewrite_config(&config(&a, &b, first));
            gateway.hang_up();
        }
        until_served_by(&gateway, &format!("{first}/m")).await;
    }
    stop.store(true, Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, workers.join_all()).await.expect("every worker's end");
}
