//! A primary that is down, seen from many clients at once: everybody is answered by the second target, the
//! circuit spares the first, and finds its way back by single probes.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::client::{self, Response};
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::{Gate, Script};
use crate::support::upstream::{Received, Refusing, Upstream};
use crate::support::{PATIENCE, in_time};

const CHAT: &str = "/v1/chat/completions";
const CLIENTS: usize = 200;

/// Two providers behind one chain; `first` and `defaults` are more keys of the first target and of `[defaults]`.
fn config(a: &str, b: &str, first: &str, defaults: &str) -> String {
    format!(
        r#"
        [defaults]
        {defaults}
        [providers.a]
        kind = "openai"
        base_url = "{a}"
        [providers.b]
        kind = "openai"
        base_url = "{b}"
        [chains]
        main.targets = [{{ model = "a/m", {first} }}, "b/m"]
        "#
    )
}

fn ask(chain: &str) -> Value {
    json!({ "model": chain, "messages": [{ "role": "user", "content": "hello" }] })
}

fn ask_stream(chain: &str) -> Value {
    let mut body = ask(chain);
    body["stream"] = json!(true);
    body
}

/// An answer in the mode that was asked for.
fn answer(_: usize, request: &Received) -> Script {
    if request.json()["stream"] == true {
        replies::openai_stream(&["from ", "b"]).all()
    } else {
        replies::openai_json("from b")
    }
}

fn unavailable() -> Script {
    replies::openai_error(503, "server_error", None, "down")
}

/// The status of a target's circuit, as `/piton/api/status` has it.
async fn circuit(gateway: &Gateway, target: &str) -> Value {
    let status = gateway.get("/piton/api/status").await.json();
    let targets = status["chains"].as_array().unwrap().iter().flat_map(|chain| {
        let targets = chain["targets"].as_array().unwrap();
        targets.iter().filter(|entry| entry["target"] == target)
    });
    targets.map(|entry| entry["circuit"].clone()).next().unwrap_or_else(|| panic!("no {target} in {status}"))
}

async fn gauge(gateway: &Gateway, target: &str) -> f64 {
    Exposition::of(gateway).await.sum("piton_circuit_state", &[("target", target)])
}

async fn cooled_down(gateway: &Gateway, target: &str) {
    in_time("the end of the cool-down", async {
        while circuit(gateway, target).await["state"] == "open" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// As many clients at once, every other one streaming; all their answers.
async fn crowd(gateway: &Gateway, clients: usize) -> Vec<Response> {
    let address = gateway.address();
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        let body = if number % 2 == 0 { ask("main") } else { ask_stream("main") };
        crowd.spawn(async move {
            let json = [("content-type", "application/json")];
            client::request(address, "POST", CHAT, &json, body.to_string().as_bytes()).await
        });
    }
    // Longer than one client's patience: the machine may be busy with other tests.
    tokio::time::timeout(PATIENCE * 5, crowd.join_all()).await.expect("an answer for everybody")
}

/// Everybody was served by the second target, in few enough attempts; answers how many attempts there were.
fn all_served_by_b(answers: &[Response], class: &str, per_request: usize) -> usize {
    let mut attempts = 0;
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("from"), "{}", answer.text());
        assert_eq!(answer.header("x-piton-target"), Some("b/m"));
        assert_eq!(answer.header("x-piton-target-index"), Some("1"));
        let streamed = answer.header("content-type").unwrap().starts_with("text/event-stream");
        assert_eq!(streamed, answer.text().ends_with("data: [DONE]\n\n"));
        let trail = answer.header("x-piton-trail").unwrap();
        let reason = answer.header("x-piton-fallback-reason").unwrap();
        let expected = if trail.starts_with("a/m=skip") { "circuit_open" } else { class };
        assert_eq!(reason, expected, "{trail}");
        let own: usize = answer.header("x-piton-attempts").unwrap().parse().unwrap();
        assert!(own <= per_request, "{own} attempts: {trail}");
        attempts += own;
    }
    attempts
}

/// Its circuit is open for this class, and stays so within its rule.
async fn is_open(gateway: &Gateway, class: &str, cool_down_ms: u64) {
    let state = circuit(gateway, "a/m").await;
    assert_eq!((&state["state"], &state["reason"]), (&json!("open"), &json!(class)));
    let left = state["for_ms"].as_u64().unwrap();
    assert!((1..=cool_down_ms).contains(&left), "{state}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let until = u128::from(state["until_unix_ms"].as_u64().unwrap());
    assert!(until > now && until <= now + u128::from(cool_down_ms), "{state} at {now}");
    assert_eq!(circuit(gateway, "b/m").await, json!({ "state": "closed" }));
    assert!((gauge(gateway, "a/m").await - 2.0).abs() < 1e-9);
    assert!(gauge(gateway, "b/m").await.abs() < 1e-9);
}

const OPEN_FOR_LONG: &str = r#"breaker = { cool_down = "10m" }"#;
const TEN_MINUTES_MS: u64 = 600_000;

#[tokio::test]
async fn while_the_primary_answers_503_two_hundred_clients_are_served_by_the_second() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::start(answer).await);
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", OPEN_FOR_LONG)).await;
    let answers = crowd(&gateway, CLIENTS).await;
    // Two at the first target (one retry), one at the second.
    let attempts = all_served_by_b(&answers, "overloaded", 3);
    assert_eq!(b.hits(), CLIENTS, "one call at the second target for each client");
    assert!(a.hits() >= 5 && a.hits() <= 2 * CLIENTS);
    assert_eq!(attempts, a.hits() + b.hits(), "every call that was told of was made, and no other");
    is_open(&gateway, "overloaded", TEN_MINUTES_MS).await;

    let before = a.hits();
    let answers = crowd(&gateway, 20).await;
    assert_eq!(all_served_by_b(&answers, "overloaded", 1), 20);
    assert_eq!(a.hits(), before, "an open circuit lets nobody through");
    let metrics = Exposition::of(&gateway).await;
    let skips = metrics.sum("piton_skips_total", &[("target", "a/m"), ("reason", "circuit_open")]);
    assert!(skips >= 20.0, "{skips} skips");
    let failed = metrics.sum("piton_attempts_total", &[("target", "a/m"), ("class", "overloaded")]);
    assert_eq!(failed.to_string(), before.to_string());
}

#[tokio::test]
async fn while_the_primary_refuses_connections_two_hundred_clients_are_served_by_the_second() {
    let (a, b) = (Refusing::new(), Upstream::start(answer).await);
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", OPEN_FOR_LONG)).await;
    let answers = crowd(&gateway, CLIENTS).await;
    let attempts = all_served_by_b(&answers, "connect_failed", 3);
    assert_eq!(b.hits(), CLIENTS);
    assert!(attempts > CLIENTS && attempts <= 3 * CLIENTS);
    is_open(&gateway, "connect_failed", TEN_MINUTES_MS).await;
}

#[tokio::test]
async fn while_the_primary_is_silent_two_hundred_clients_are_served_by_the_second() {
    let (a, b) = (Upstream::always(Script::new().silence()).await, Upstream::start(answer).await);
    let first = r#"answer_timeout = "500ms", first_token_timeout = "500ms""#;
    let gateway = Gateway::start(&config(&a.url(), &b.url(), first, OPEN_FOR_LONG)).await;
    let answers = crowd(&gateway, CLIENTS).await;
    let class = |answer: &Response| {
        let streamed = answer.text().ends_with("[DONE]\n\n");
        if streamed { "first_token_timeout" } else { "answer_timeout" }
    };
    // Silence is not asked twice: one at the first target, one at the second.
    for answer in &answers {
        all_served_by_b(std::slice::from_ref(answer), class(answer), 2);
    }
    assert_eq!(b.hits(), CLIENTS);
    assert!(a.hits() <= CLIENTS);
    let state = circuit(&gateway, "a/m").await;
    assert_eq!(state["state"], "open");
    assert!(state["reason"].as_str().unwrap().ends_with("_timeout"), "{state}");
}

#[tokio::test]
async fn the_fifth_failure_in_a_row_opens_the_circuit_and_not_the_fourth() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::start(answer).await);
    let defaults = format!("retries = 0\n{OPEN_FOR_LONG}");
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", &defaults)).await;
    for hits in 1..=5 {
        assert_eq!(circuit(&gateway, "a/m").await, json!({ "state": "closed" }));
        assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 200);
        assert_eq!(a.hits(), hits);
    }
    is_open(&gateway, "overloaded", TEN_MINUTES_MS).await;
    let answer = gateway.post_json(CHAT, &ask("main")).await;
    assert!(answer.header("x-piton-trail").unwrap().starts_with("a/m=skip:circuit_open, b/m=ok;"));
    assert_eq!(a.hits(), 5);
}

#[tokio::test]
async fn a_success_between_failures_keeps_the_circuit_closed() {
    let a = Upstream::start(|n, _| if n % 5 == 4 { replies::openai_json("a") } else { unavailable() }).await;
    let b = Upstream::start(answer).await;
    let defaults = "retries = 0\nbreaker = { min_requests = 1000 }";
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", defaults)).await;
    for _ in 0..15 {
        assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 200);
    }
    assert_eq!(a.hits(), 15, "four failures in a row are one too few");
}

#[tokio::test]
async fn half_of_many_requests_failing_opens_the_circuit_although_never_in_a_row() {
    let a = Upstream::start(|n, _| if n % 2 == 1 { replies::openai_json("a") } else { unavailable() }).await;
    let b = Upstream::start(answer).await;
    let defaults = r#"retries = 0
        breaker = { min_requests = 9, error_rate = 0.5, window = "10m", cool_down = "10m" }"#;
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", defaults)).await;
    for _ in 0..20 {
        assert_eq!(gateway.post_json(CHAT, &ask("main")).await.status, 200);
    }
    // The ninth attempt is the fifth failure: five of nine.
    assert_eq!(a.hits(), 9);
    is_open(&gateway, "overloaded", TEN_MINUTES_MS).await;
}

#[tokio::test]
async fn after_the_cool_down_exactly_one_probe_goes_through_and_its_success_brings_the_primary_back() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::start(answer).await);
    let defaults = "retries = 0\nbreaker = { cool_down = \"2s\" }";
    let gateway = Arc::new(Gateway::start(&config(&a.url(), &b.url(), "", defaults)).await);
    for _ in 0..5 {
        gateway.post_json(CHAT, &ask("main")).await;
    }
    assert_eq!((a.hits(), circuit(&gateway, "a/m").await["state"].clone()), (5, json!("open")));

    let gate = Gate::shut();
    let behind = gate.clone();
    a.answer_with(move |_, _| Script::new().wait(&behind).then(replies::openai_json("from a")));
    cooled_down(&gateway, "a/m").await;
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let gateway = Arc::clone(&gateway);
        crowd.spawn(async move { gateway.post_json(CHAT, &ask("main")).await });
    }
    // All but the probe are answered while it is still out.
    for _ in 0..49 {
        let answer = in_time("an answer", crowd.join_next()).await.unwrap().unwrap();
        assert_eq!(answer.header("x-piton-target"), Some("b/m"));
        assert_eq!(answer.header("x-piton-fallback-reason"), Some("circuit_open"));
    }
    assert_eq!(a.hits(), 6, "one probe");
    let state = circuit(&gateway, "a/m").await;
    assert_eq!(state, json!({ "state": "half_open", "reason": "overloaded" }));
    assert!((gauge(&gateway, "a/m").await - 1.0).abs() < 1e-9);

    gate.open();
    let probe = in_time("the probe", crowd.join_next()).await.unwrap().unwrap();
    assert_eq!(probe.header("x-piton-target"), Some("a/m"));
    assert_eq!(probe.header("x-piton-fallback-reason"), None);
    assert_eq!(circuit(&gateway, "a/m").await, json!({ "state": "closed" }));
    for hits in 7..10 {
        let next = gateway.post_json(CHAT, &ask("main")).await;
        assert_eq!((next.header("x-piton-target"), a.hits()), (Some("a/m"), hits));
    }
}

#[tokio::test]
async fn a_probe_that_fails_opens_the_circuit_again() {
    let (a, b) = (Upstream::always(unavailable()).await, Upstream::start(answer).await);
    let defaults = "retries = 0\nbreaker = { failures = 1, cool_down = \"400ms\" }";
    let gateway = Gateway::start(&config(&a.url(), &b.url(), "", defaults)).await;
    gateway.post_json(CHAT, &ask("main")).await;
    a.answer_with(|_, _| replies::openai_error(500, "server_error", None, "still"));
    cooled_down(&gateway, "a/m").await;
    let probe = gateway.post_json(CHAT, &ask("main")).await;
    assert_eq!(probe.header("x-piton-fallback-reason"), Some("server_error"));
    assert_eq!(a.hits(), 2);
    let state = circuit(&gateway, "a/m").await;
    // The cool-down may be over already on a busy machine; until then it names the probe's own class.
    assert!(state["state"] == "closed" || state["reason"] == "server_error", "{state}");
}
