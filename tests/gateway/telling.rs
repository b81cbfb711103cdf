//! What is told of a request: headers, receipts, and the status page.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";

/// `a/m` before the dearer `b/m`, no retries.
fn config(a: &Upstream, b: &Upstream) -> String {
    format!(
        r#"
        [defaults]
        retries = 0
        [providers.a]
        kind = "openai"
        base_url = "{}"
        [providers.b]
        kind = "openai"
        base_url = "{}"
        [models."a/m"]
        price = {{ input = 1, output = 5 }}
        context = 8000
        max_output = 4000
        [models."b/m"]
        price = {{ input = 2, output = 10 }}
        [chains.main]
        why = "the main one"
        deadline = "30s"
        targets = ["a/m", {{ model = "b/m", why = "stands in" }}]
        "#,
        a.url(),
        b.url()
    )
}

fn ask(stream: bool) -> Value {
    json!({ "model": "main", "stream": stream, "messages": [{ "role": "user", "content": "hello" }] })
}

fn down() -> Script {
    replies::openai_error(503, "server_error", None, "down for a while")
}

async fn answering() -> Upstream {
    Upstream::start(|_, request: &Received| {
        if request.json()["stream"] == true {
            replies::openai_stream(&["he", "llo"]).all()
        } else {
            replies::openai_json("hello")
        }
    })
    .await
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
}

async fn receipt(gateway: &Gateway, id: &str) -> Value {
    gateway.get(&format!("/piton/api/requests/{id}")).await.json()
}

/// The header's entries without their times, which must be there for attempts.
fn trail(answer: &Response) -> Vec<String> {
    let header = answer.header("x-piton-trail").expect("a trail");
    let entry = |entry: &str| {
        let Some((what, time)) = entry.split_once(';') else {
            assert!(entry.contains("=skip:"), "an attempt without its time: {entry}");
            return entry.to_owned();
        };
        let milliseconds = time.strip_suffix("ms").unwrap_or_else(|| panic!("{entry}"));
        assert!(milliseconds.parse::<u64>().is_ok(), "{entry}");
        what.to_owned()
    };
    header.split(", ").map(entry).collect()
}

#[tokio::test]
async fn headers_tell_of_a_fallback_the_same_streamed_and_not() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    let hash = gateway.get("/healthz").await.header("x-piton-config").unwrap().to_owned();
    assert!(hash.len() >= 8 && hash.chars().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
    for streamed in [false, true] {
        let answer = post(&gateway, &[("x-request-id", "mine-1")], &ask(streamed)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let expected = [
            ("x-request-id", Some("mine-1")),
            ("x-piton-chain", Some("main")),
            ("x-piton-target", Some("b/m")),
            ("x-piton-target-index", Some("1")),
            ("x-piton-attempts", Some("2")),
            ("x-piton-fallback-reason", Some("overloaded")),
            // 9 tokens in at 2, 2 out at 10; a stream's cost is not known at its head.
            ("x-piton-cost-usd", (!streamed).then_some("0.000038000")),
            ("x-piton-dropped", None),
            ("x-piton-cache", None),
            ("x-piton-config", Some(hash.as_str())),
            ("x-should-retry", None),
        ];
        for (name, value) in expected {
            assert_eq!(answer.header(name), value, "{name}, streamed: {streamed}");
        }
        assert_eq!(trail(&answer), ["a/m=overloaded", "b/m=ok"]);
        let kind = if streamed { "text/event-stream" } else { "application/json" };
        assert!(answer.header("content-type").unwrap().starts_with(kind));
    }
}

#[tokio::test]
async fn headers_of_a_first_target_that_serves_name_no_fallback() {
    let (a, b) = (answering().await, answering().await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    let answer = post(&gateway, &[], &ask(false)).await;
    assert_eq!(answer.header("x-piton-target-index"), Some("0"));
    assert_eq!(answer.header("x-piton-fallback-reason"), None);
    assert_eq!(trail(&answer), ["a/m=ok"]);
    assert_eq!(answer.header("x-piton-cost-usd"), Some("0.000019000"));
    assert_eq!(answer.json()["model"], "gpt-4o-2024-08-06", "as the upstream reported it");
}

#[tokio::test]
async fn headers_of_an_error_tell_as_much_as_is_known() {
    let (a, b) = (Upstream::always(down()).await, Upstream::always(down()).await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    for streamed in [false, true] {
        let answer = post(&gateway, &[], &ask(streamed)).await;
        assert_eq!(answer.status, 503);
        let expected = [
            ("x-piton-chain", Some("main")),
            ("x-piton-target", None),
            ("x-piton-target-index", None),
            ("x-piton-attempts", Some("2")),
            ("x-piton-cost-usd", Some("0.000000000")),
            ("x-should-retry", Some("false")),
            ("content-type", Some("application/json")),
        ];
        for (name, value) in expected {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert_eq!(trail(&answer), ["a/m=overloaded", "b/m=overloaded"]);
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        let lines: Vec<&str> = message.lines().filter(|line| line.contains("overloaded")).collect();
        assert!(lines.len() == 2 && lines[0].contains("a/m") && lines[1].contains("b/m"), "{message}");
        assert!(message.ends_with("down for a while"), "the last upstream's own words: {message}");
    }
    // Nothing of a chain is known here.
    let unknown = post(&gateway, &[], &json!({ "model": "mian", "messages": ask(false)["messages"] })).await;
    assert_eq!((unknown.status, unknown.header("x-piton-chain")), (404, None));
    assert!(unknown.text().contains("`main`"), "a near name: {}", unknown.text());
    let malformed = gateway.request("POST", CHAT, &[("content-type", "application/json")], b"{").await;
    for answer in [unknown, malformed] {
        assert_eq!(answer.header("x-piton-attempts"), Some("0"));
        assert!(answer.header("x-request-id").is_some() && answer.header("x-piton-config").is_some());
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
}

#[tokio::test]
async fn a_long_trail_is_cut_at_one_kibibyte_and_whole_in_the_receipt() {
    let a = Upstream::always(down()).await;
    let names: Vec<String> =
        (0..60).map(|number| format!("\"a/a-model-with-a-long-name-{number}\"")).collect();
    let file = format!(
        "[defaults]\nretries = 0\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [{}]\n",
        a.url(),
        names.join(", ")
    );
    let gateway = Gateway::start(&file).await;
    let answer = post(&gateway, &[("x-request-id", "long")], &ask(false)).await;
    let header = answer.header("x-piton-trail").unwrap();
    assert!(header.len() <= 1024 && header.ends_with(", ..."), "{} {header}", header.len());
    assert_eq!(a.hits(), 60);
    assert_eq!(receipt(&gateway, "long").await["trail"].as_array().unwrap().len(), 60);
}

#[tokio::test]
async fn the_receipt_tells_the_whole_story() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    let headers = [("x-request-id", "r-1"), ("x-piton-task", "summary"), ("x-piton-tier", "gold")];
    let answer = post(&gateway, &headers, &ask(false)).await;
    let told = receipt(&gateway, "r-1").await;
    let expected = json!({
        "id": "r-1",
        "chain": "main",
        "config": answer.header("x-piton-config"),
        "outcome": "ok",
        "status": 200,
        "streamed": false,
        "target": "b/m",
        "target_index": 1,
        "provider": "b",
        "current_model": "gpt-4o-2024-08-06",
        "attempts": 2,
        "fallback_reason": "overloaded",
        "dropped": [],
        "task": "summary",
        "tier": "gold",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&told[name], value, "{name}");
    }
    for name in ["began_ms", "latency_ms", "overhead_us"] {
        assert!(told[name].as_u64().is_some(), "{name} in {told}");
    }
    assert_eq!(
        (&told["usage"]["prompt_tokens"], &told["usage"]["completion_tokens"]),
        (&json!(9), &json!(2))
    );
    assert!((told["cost_usd"].as_f64().unwrap() - 0.000_038).abs() < 1e-13);
    let trail = told["trail"].as_array().unwrap();
    assert_eq!(trail.len(), 2);
    for (line, (target, outcome, status)) in
        trail.iter().zip([("a/m", "overloaded", 503), ("b/m", "ok", 200)])
    {
        assert_eq!((&line["target"], &line["outcome"]), (&json!(target), &json!(outcome)));
        assert_eq!(line["status"], status);
        assert!(line["latency_ms"].as_u64().is_some() && line["attempt"].as_u64().is_some());
        assert!(line["estimate"]["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0), "{line}");
    }
}

#[tokio::test]
async fn a_repeated_id_keeps_the_newest_receipt_and_an_unknown_one_is_404() {
    let (a, b) = (answering().await, answering().await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    assert_eq!(post(&gateway, &[("x-request-id", "again")], &ask(false)).await.status, 200);
    assert_eq!(receipt(&gateway, "again").await["outcome"], "ok");
    a.answer_with(|_, _| replies::openai_error(400, "invalid_request_error", None, "no"));
    assert_eq!(post(&gateway, &[("x-request-id", "again")], &ask(false)).await.status, 400);
    let newest = receipt(&gateway, "again").await;
    assert_eq!((&newest["outcome"], &newest["status"]), (&json!("invalid_request"), &json!(400)));
    let missing = gateway.get("/piton/api/requests/never-seen").await;
    assert_eq!((missing.status, missing.json()["error"]["code"].as_str()), (404, Some("not_found")));
    let refused =
        post(&gateway, &[("x-request-id", "unknown-model")], &json!({ "model": "x", "messages": [] })).await;
    assert_eq!(refused.status, 400);
    assert_eq!(receipt(&gateway, "unknown-model").await["status"], 400, "refusals have receipts too");
}

#[tokio::test]
async fn the_answer_carries_its_receipt_where_the_client_asks_for_it() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let gateway = Gateway::start(&config(&a, &b)).await;
    let asks = [("x-piton-receipt", "true"), ("x-request-id", "with")];
    let whole = post(&gateway, &asks, &ask(false)).await.json();
    assert_eq!(whole["piton"], receipt(&gateway, "with").await);
    assert_eq!(whole["choices"][0]["message"]["content"], "hello");
    assert!(post(&gateway, &[], &ask(false)).await.json().get("piton").is_none());

    for include_usage in [true, false] {
        let mut body = ask(true);
        body["stream_options"] = json!({ "include_usage": include_usage });
        let text = post(&gateway, &asks, &body).await.text();
        let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(events.last(), Some(&"[DONE]"));
        let chunks: Vec<Value> =
            events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let with: Vec<&Value> = chunks.iter().filter(|chunk| chunk.get("piton").is_some()).collect();
        assert_eq!((with.len(), chunks.last()), (1, with.first().copied()), "once, and last: {text}");
        assert_eq!(with[0]["choices"], json!([]));
        assert_eq!(with[0]["piton"], receipt(&gateway, "with").await);
        assert_eq!(with[0]["piton"]["streamed"], true);
        let usages = chunks.iter().filter(|chunk| chunk["usage"].is_object()).count();
        assert_eq!(usages, 1, "the receipt comes in the usage chunk, whoever asked for that: {text}");
        let plain = post(&gateway, &[], &body).await.text();
        assert!(!plain.contains("\"piton\""), "{plain}");
        assert_eq!(plain.contains("\"prompt_tokens\""), include_usage, "{plain}");
    }
}

#[tokio::test]
async fn the_status_shows_chains_targets_and_circuits() {
    let (a, b) = (Upstream::always(down()).await, answering().await);
    let missing = "[chains.other]\ntargets = [\"openai/gpt-4o\", \"b/m\"]\n";
    let gateway = Gateway::start(&(config(&a, &b) + missing)).await;
    let status = gateway.get("/piton/api/status").await.json();
    assert_eq!(status["config"], gateway.get("/healthz").await.header("x-piton-config").unwrap());
    assert_eq!((&status["draining"], &status["in_flight"]), (&json!(false), &json!(0)));
    assert!(status["version"].is_string() && status["uptime_s"].as_u64().is_some());
    let chain = &status["chains"][0];
    let expected = json!({ "name": "main", "why": "the main one", "deadline_ms": 30_000, "max_attempts": 4 });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&chain[name], value, "{name}");
    }
    let target = &chain["targets"][0];
    let expected = json!({
        "target": "a/m",
        "index": 0,
        "provider": "a",
        "why": null,
        "url": format!("{}{CHAT}", a.url()),
        "circuit": { "state": "closed" },
        "missing_credential": null,
        "context_length": 8000,
        "max_output_tokens": 4000,
        "price_usd_per_million": { "input": 1.0, "output": 5.0 },
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&target[name], value, "{name}");
    }
    assert_eq!(
        (&chain["targets"][1]["why"], &chain["targets"][1]["index"]),
        (&json!("stands in"), &json!(1))
    );
    let other = &status["chains"][1]["targets"][0];
    assert_eq!(other["missing_credential"], "OPENAI_API_KEY");
}
