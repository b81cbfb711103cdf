//! What is written down: log events and metrics, by the names that dashboards rely on, and nothing of what was
//! said.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::client::Response;
use crate::support::exposition::Exposition;
use crate::support::gateway::{Builder, Gateway};
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";

type Labels<'a> = &'a [(&'a str, &'a str)];

const CLIENT_KEY: &str = "client-key-7d1f";
const UPSTREAM_KEY: &str = "upstream-key-93ab";
const PROMPT: &str = "prompt-marker-51c2";
const ANSWER: &str = "answer-marker-e07b";
const WORDS: &str = "upstream-words-44fe";
const USER: &str = "user-marker-c11d";
const SESSION: &str = "session-marker-08aa";
const MARK: &str = "mark-of-the-client";

/// `a/m` before the dearer `b/m`; the other chain is the other way round.
fn builder(a: &Upstream, b: &Upstream) -> Builder {
    let file = format!(
        r#"
        [defaults]
        retries = 0
        [providers.a]
        kind = "openai"
        base_url = "{}"
        api_key = "file:upstream-key"
        [providers.b]
        kind = "openai"
        base_url = "{}"
        api_key = "file:upstream-key"
        [models."a/m"]
        price = {{ input = 1, output = 5 }}
        capabilities = {{ tools = false }}
        [models."b/m"]
        price = {{ input = 2, output = 10 }}
        [chains]
        main = ["a/m", "b/m"]
        back = ["b/m", "a/m"]
        [[keys]]
        name = "shop"
        secret = "file:client-key"
        "#,
        a.url(),
        b.url()
    );
    Gateway::with(&file).file("client-key", CLIENT_KEY).file("upstream-key", UPSTREAM_KEY)
}

fn ask(chain: &str, stream: bool) -> Value {
    json!({ "model": chain, "stream": stream, "messages": [{ "role": "user", "content": PROMPT }] })
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let bearer = format!("Bearer {CLIENT_KEY}");
    let own = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let headers = [&own, headers].concat();
    gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
}

fn down() -> Script {
    let body = json!({ "error": { "message": format!("{WORDS} {PROMPT}"), "type": "server_error" } });
    replies::status(503, &body.to_string(), &[("content-type", "application/json"), ("x-request-id", "up-a")])
}

async fn answering() -> Upstream {
    Upstream::start(|_, request: &Received| {
        if request.json()["stream"] == true {
            replies::openai_stream(&[ANSWER, " more"]).header("x-request-id", "up-b").all()
        } else {
            replies::openai_json(ANSWER)
        }
    })
    .await
}

/// SHA-256 in hexadecimal, its first 16 digits.
fn hashed(name: &str) -> String {
    format!("{:x}", Sha256::digest(name))[..16].to_owned()
}

#[tokio::test]
async fn every_attempt_and_every_request_is_one_event_with_every_field() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let gateway = builder(&a, &b).start().await;
    let headers = [
        ("x-request-id", "req-1"),
        ("x-piton-user", USER),
        ("x-piton-session", SESSION),
        ("x-piton-task", "summary"),
        ("x-piton-tier", "gold"),
    ];
    assert_eq!(post(&gateway, &headers, &ask("main", true)).await.status, 200);
    let request = gateway.wait_for_log("the request event", |line| line["message"] == "request").await;
    let attempts = gateway.events("attempt");
    assert_eq!(attempts.len(), 2);
    let shared = json!({
        "request_id": "req-1",
        "chain": "main",
        "streamed": true,
        "key": "shop",
        "user": hashed(USER),
        "session": hashed(SESSION),
        "task": "summary",
        "tier": "gold",
    });
    let failed = json!({
        "upstream_request_id": "up-a",
        "target": "a/m",
        "provider": "a",
        "current_model": "m",
        "attempt": 1,
        "outcome": "overloaded",
        "fallback_reason": null,
        "status": 503,
        "first_token_ms": null,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "cost_usd": 0.0,
    });
    let served = json!({
        "upstream_request_id": "up-b",
        "target": "b/m",
        "provider": "b",
        "current_model": "gpt-4o-2024-08-06",
        "attempt": 2,
        "outcome": "ok",
        "fallback_reason": "overloaded",
        "status": 200,
        "input_tokens": 9,
        "output_tokens": 2,
        "cached_tokens": 0,
        "cost_usd": 0.000_038,
    });
    for (event, own) in [(&attempts[0], &failed), (&attempts[1], &served), (&request, &served)] {
        for (name, value) in shared.as_object().unwrap().iter().chain(own.as_object().unwrap()) {
            assert_eq!(&event[name], value, "{name} in {event}");
        }
        assert!(event["latency_ms"].as_u64().is_some(), "{event}");
        assert!(event["timestamp"].is_string(), "{event}");
    }
    assert!(attempts[1]["first_token_ms"].as_u64().is_some() && request["first_token_ms"].as_u64().is_some());
}

#[tokio::test]
async fn a_request_that_nobody_served_is_an_event_too() {
    let (a, b) = (Upstream::always(down()).await, Upstream::always(down()).await);
    let gateway = builder(&a, &b).start().await;
    assert_eq!(post(&gateway, &[], &ask("main", false)).await.status, 503);
    let event = gateway.wait_for_log("the request event", |line| line["message"] == "request").await;
    assert_eq!((&event["outcome"], &event["status"]), (&json!("overloaded"), &json!(503)));
    assert_eq!((&event["attempt"], event.get("target")), (&json!(2), None));
    assert_eq!(gateway.events("attempt").len(), 2);
    // Piton's own refusals have no attempts.
    assert_eq!(post(&gateway, &[("x-piton-nonsense", "1")], &ask("main", false)).await.status, 400);
    let refused = gateway.wait_for_log("the refusal", |line| line["outcome"] == "rejected").await;
    assert_eq!((&refused["message"], &refused["status"]), (&json!("request"), &json!(400)));
    assert_eq!(gateway.events("attempt").len(), 2);
}

#[tokio::test]
async fn an_alarm_is_a_warning_and_a_metric() {
    let refused = replies::openai_error(401, "invalid_request_error", Some("invalid_api_key"), WORDS);
    let (a, b) = (Upstream::always(refused).await, answering().await);
    let gateway = builder(&a, &b).start().await;
    // Both targets use the same key at different addresses: the second is asked.
    assert_eq!(post(&gateway, &[], &ask("main", false)).await.status, 200);
    let alarm =
        gateway.wait_for_log("the alarm", |line| line["level"] == "WARN" && line["target"] == "a/m").await;
    assert_eq!((&alarm["class"], &alarm["status"]), (&json!("auth_failed"), &json!(401)));
    let metrics = Exposition::of(&gateway).await;
    assert!(
        (metrics.sum("piton_alarms_total", &[("target", "a/m"), ("class", "auth_failed")]) - 1.0).abs()
            < 1e-9
    );
}

#[tokio::test]
async fn nothing_of_prompts_answers_or_keys_is_in_any_log_line_or_metric() {
    let (a, b) = (answering().await, answering().await);
    let gateway = builder(&a, &b).env("PITON_LOG", "piton=trace,info").start().await;
    let labels = [("x-piton-user", USER), ("x-piton-session", SESSION)];
    for stream in [false, true] {
        let answer = post(&gateway, &labels, &ask("main", stream)).await;
        assert!(answer.text().contains(ANSWER));
    }
    // An upstream that quotes the prompt, and the key, in its error.
    let quoting = format!("{WORDS} {PROMPT} {UPSTREAM_KEY}");
    for (status, kind) in
        [(400, "invalid_request_error"), (401, "invalid_request_error"), (500, "server_error")]
    {
        let error = replies::openai_error(status, kind, None, &quoting);
        a.answer_with(move |_, _| error.clone());
        b.answer_with(|_, _| down());
        let answer = post(&gateway, &labels, &ask("main", false)).await;
        assert_ne!(answer.status, 200);
    }
    // A stream that breaks in its middle, nonsense from upstream, and clients that make no sense.
    let broken = replies::openai_stream(&[ANSWER, ANSWER]).first(2).close();
    b.answer_with(move |_, _| broken.clone());
    post(&gateway, &labels, &ask("back", true)).await;
    b.answer_with(|_, _| replies::status(200, &format!("<html>{ANSWER}"), &[("content-type", "text/html")]));
    post(&gateway, &labels, &ask("back", false)).await;
    let json = [("content-type", "application/json"), ("authorization", "Bearer wrong-key-b00c")];
    gateway.request("POST", CHAT, &json, format!("{{\"model\": \"{PROMPT}").as_bytes()).await;
    post(
        &gateway,
        &[],
        &json!({ "model": format!("model-{PROMPT}"), "messages": ask("x", false)["messages"] }),
    )
    .await;
    post(&gateway, &[], &json!({ "model": "main", "messages": [{ "role": PROMPT, "content": 1 }] })).await;
    gateway.post_json("/piton/api/reload", &json!({})).await;
    gateway.wait_for_log("the last line", |line| line["message"] == "the configuration was read again").await;

    let metrics = Exposition::of(&gateway).await.text;
    let status = gateway.get("/piton/api/status").await.text();
    let told = [("the log", gateway.stderr()), ("the metrics", metrics), ("the status", status)];
    assert!(told[0].1.lines().count() > 10 && told[1].1.lines().count() > 50);
    for (place, text) in told {
        for secret in [CLIENT_KEY, UPSTREAM_KEY, PROMPT, ANSWER, WORDS, USER, SESSION, "wrong-key-b00c"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is in {place}");
        }
    }
}

#[tokio::test]
async fn every_metric_has_its_name_and_its_labels() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let gateway = builder(&a, &b).start().await;
    assert_eq!(post(&gateway, &[], &ask("main", false)).await.status, 200);
    assert_eq!(post(&gateway, &[], &ask("main", true)).await.status, 200);
    // One skip by design, which is no fallback.
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let mut with_tools = ask("main", false);
    with_tools["tools"] = tool;
    assert_eq!(post(&gateway, &[], &with_tools).await.header("x-piton-fallback-reason"), None);
    // The cheaper target stands in for the dearer one.
    a.answer_with(|_, _| replies::openai_json("a"));
    b.answer_with(|_, _| down());
    assert_eq!(post(&gateway, &[], &ask("back", false)).await.status, 200);

    let metrics = Exposition::of(&gateway).await;
    let operation = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"];
    let usage =
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"];
    let names: [(&str, &[&str]); 14] = [
        ("gen_ai_client_operation_duration_seconds_count", &operation),
        ("gen_ai_client_operation_time_to_first_chunk_seconds_count", &operation),
        ("gen_ai_client_token_usage_count", &usage),
        ("piton_requests_total", &["chain", "outcome"]),
        ("piton_attempts_total", &["target", "class"]),
        ("piton_fallbacks_total", &["chain", "from", "to", "reason"]),
        ("piton_skips_total", &["target", "reason"]),
        ("piton_cost_usd_total", &["chain", "target"]),
        ("piton_failover_extra_usd_total", &["chain"]),
        ("piton_failover_saved_usd_total", &["chain"]),
        ("piton_overhead_seconds_count", &[]),
        ("piton_overhead_seconds_bucket", &["le"]),
        ("piton_circuit_state", &["target"]),
        ("piton_in_flight", &[]),
    ];
    for (name, labels) in names {
        let found: Vec<_> = metrics.with(name, &[]).collect();
        assert!(!found.is_empty(), "{name} is missing");
        for sample in found {
            let have: Vec<&str> = sample.labels.keys().map(String::as_str).collect();
            let mut expected: Vec<&str> = labels.to_vec();
            expected.sort_unstable();
            expected.retain(|label| *label != "error_type" || have.contains(label));
            assert_eq!(have, expected, "{name}");
        }
    }
    let values: [(&str, Labels<'_>, f64); 16] = [
        ("piton_requests_total", &[("chain", "main"), ("outcome", "ok")], 3.0),
        ("piton_requests_total", &[("chain", "back"), ("outcome", "ok")], 1.0),
        ("piton_attempts_total", &[("target", "a/m"), ("class", "overloaded")], 2.0),
        ("piton_attempts_total", &[("target", "a/m"), ("class", "ok")], 1.0),
        ("piton_attempts_total", &[("target", "b/m"), ("class", "ok")], 3.0),
        ("piton_fallbacks_total", &[("from", "a/m"), ("to", "b/m"), ("reason", "overloaded")], 2.0),
        ("piton_fallbacks_total", &[("chain", "main")], 2.0),
        ("piton_fallbacks_total", &[("chain", "back"), ("from", "b/m"), ("to", "a/m")], 1.0),
        ("piton_skips_total", &[("target", "a/m"), ("reason", "capability:tools")], 1.0),
        ("piton_cost_usd_total", &[("chain", "main"), ("target", "b/m")], 3.0 * 0.000_038),
        ("piton_cost_usd_total", &[("chain", "back"), ("target", "a/m")], 0.000_019),
        ("piton_failover_extra_usd_total", &[("chain", "main")], 2.0 * 0.000_019),
        ("piton_failover_saved_usd_total", &[("chain", "back")], 0.000_019),
        ("piton_failover_extra_usd_total", &[("chain", "back")], 0.0),
        ("piton_overhead_seconds_count", &[], 4.0),
        ("gen_ai_client_token_usage_sum", &[("gen_ai_token_type", "input")], 36.0),
    ];
    for (name, labels, value) in values {
        let is = metrics.sum(name, labels);
        assert!((is - value).abs() < 1e-12, "{name}{labels:?} is {is}, not {value}\n{}", metrics.text);
    }
    assert!(metrics.text.ends_with("# EOF\n"));
    let answer = gateway.get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn no_label_comes_from_a_client() {
    let (a, b) = (answering().await, answering().await);
    let gateway = builder(&a, &b).start().await;
    let headers = ["x-request-id", "x-piton-user", "x-piton-session", "x-piton-task", "x-piton-tier"];
    let headers: Vec<(&str, &str)> = headers.into_iter().map(|name| (name, MARK)).collect();
    let mut body = ask("main", false);
    body["user"] = json!(MARK);
    body["metadata"] = json!({ "team": MARK });
    assert_eq!(post(&gateway, &headers, &body).await.status, 200);
    for model in [MARK, "openai/mark-of-the-client"] {
        body["model"] = json!(model);
        assert_eq!(post(&gateway, &headers, &body).await.status, 404);
    }
    // What the upstream says of itself is no label either.
    let mut odd = replies::openai_body("x");
    odd["model"] = json!(MARK);
    let odd = replies::json_reply(200, &odd);
    a.answer_with(move |_, _| odd.clone());
    assert_eq!(post(&gateway, &headers, &ask("main", false)).await.status, 200);
    let metrics = Exposition::of(&gateway).await;
    assert!(!metrics.text.contains(MARK), "{}", metrics.text);
}
