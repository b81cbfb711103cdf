//! Money: what a request may cost at a target, what it did cost, and where both are told.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";

/// USD per million tokens of the two models of [`config`].
const PRICES: &str = r#"
    [models."a/m"]
    price = { input = 1, output = 5 }
    [models."b/m"]
    price = { input = 2, output = 10 }
"#;

fn providers(a: &Upstream, b: &Upstream) -> String {
    format!(
        "[defaults]\nretries = 0\nbreaker = false\n[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n",
        a.url(),
        b.url()
    )
}

/// A chain whose second target has these limits.
fn config(a: &Upstream, b: &Upstream, limits: &str) -> String {
    let chain = format!("[chains.main]\ntargets = [\"a/m\", {{ model = \"b/m\", {limits} }}]\n");
    providers(a, b) + PRICES + &chain
}

/// 402 bytes of text and 100 tokens of answer: by four bytes a token and half as much again for safety, 151 tokens
/// in, and 67 at the least. At `b/m` that is 151 * 2 + 100 * 10 = 1302 micro-USD, at `a/m` half as much.
fn ask() -> Value {
    let content = "x".repeat(402);
    json!({ "model": "main", "max_tokens": 100, "messages": [{ "role": "user", "content": content }] })
}

fn failing() -> Script {
    replies::openai_error(500, "server_error", None, "broken")
}

async fn receipt(gateway: &Gateway, answer: &Response) -> Value {
    let id = answer.header("x-request-id").unwrap();
    gateway.get(&format!("/piton/api/requests/{id}")).await.json()
}

fn is_usd(value: &Value, usd: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - usd).abs() < 1e-13)
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn a_target_just_over_its_bound_gets_no_call_and_one_just_under_does() {
    // The limits, whether this request passes them, the skip otherwise, and the bound in the receipt.
    let cases = [
        ("max_cost = 0.001302", None, json!({ "max_cost_usd": 0.001_302 })),
        ("max_cost = 0.001301", Some("max_cost"), json!({ "max_cost_usd": 0.001_301 })),
        ("max_price_ratio = 2", None, json!({ "max_price_ratio": 2.0 })),
        ("max_price_ratio = 1.99", Some("price_ratio"), json!({ "max_price_ratio": 1.99 })),
        (
            "max_price = { input = 2, output = 10 }",
            None,
            json!({ "max_price": { "input": 2.0, "output": 10.0 } }),
        ),
        (
            "max_price = { input = 1.99, output = 10 }",
            Some("price_ratio"),
            json!({ "max_price": { "input": 1.99, "output": 10.0 } }),
        ),
        (
            "max_price = { output = 9.99 }",
            Some("price_ratio"),
            json!({ "max_price": { "input": null, "output": 9.99 } }),
        ),
    ];
    for (limits, skip, bounds) in cases {
        let (a, b) = (Upstream::always(failing()).await, Upstream::always(replies::openai_json("b")).await);
        let gateway = Gateway::start(&config(&a, &b, limits)).await;
        let answer = gateway.post_json(CHAT, &ask()).await;
        let receipt = receipt(&gateway, &answer).await;
        let trail = receipt["trail"].as_array().unwrap();
        assert_eq!((trail.len(), a.hits()), (2, 1), "{limits}: {receipt}");
        let line = &trail[1];
        assert_eq!(line["target"], "b/m");
        assert_eq!(line["bounds"], bounds, "{limits}");
        let estimate = &line["estimate"];
        let tokens = [&estimate["input_tokens_low"], &estimate["input_tokens"], &estimate["output_tokens"]];
        assert_eq!(tokens, [67, 151, 100], "{limits}");
        assert!(is_usd(&estimate["cost_usd"], 0.001_302), "{limits}: {estimate}");
        assert!(is_usd(&trail[0]["estimate"]["cost_usd"], 0.000_651), "{receipt}");
        if let Some(skip) = skip {
            assert_eq!((answer.status, b.hits()), (500, 0), "{limits}");
            assert_eq!(line["skip"], skip);
            assert!(answer.header("x-piton-trail").unwrap().ends_with(&format!("b/m=skip:{skip}")));
            assert!(is_usd(&receipt["cost_usd"], 0.0), "{receipt}");
        } else {
            assert_eq!((answer.status, b.hits()), (200, 1), "{limits}");
            // 9 tokens in at 2, 2 out at 10.
            assert_eq!(answer.header("x-piton-cost-usd"), Some("0.000038000"));
            assert!(is_usd(&line["cost_usd"], 0.000_038) && is_usd(&receipt["cost_usd"], 0.000_038));
        }
    }
}

#[tokio::test]
async fn when_only_money_stands_in_the_way_the_answer_is_402() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let config = providers(&a, &a)
        + PRICES
        + "[chains.main]\ntargets = [{ model = \"a/m\", max_cost = 0.0001 }, { model = \"b/m\", max_cost = 0.0001 }]\n";
    let gateway = Gateway::start(&config).await;
    let answer = gateway.post_json(CHAT, &ask()).await;
    let error = &answer.json()["error"];
    assert_eq!((answer.status, a.hits()), (402, 0));
    assert_eq!((&error["type"], &error["code"]), (&json!("insufficient_quota"), &json!("cost_ceiling")));
    assert_eq!(answer.header("x-piton-attempts"), Some("0"));
    assert_eq!(answer.header("x-piton-target"), None);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_client_may_lower_the_ceiling_and_never_raise_it() {
    // The limit in the file, the client's header, and whether `b/m` is called.
    let cases = [
        ("max_cost = 0.01", "0.001301", false),
        ("max_cost = 0.01", "0.001302", true),
        ("max_cost = 0.001301", "1", false),
        ("retries = 0", "0.001301", false),
        ("retries = 0", "0.0013021", true),
    ];
    for (limits, ceiling, passes) in cases {
        let (a, b) = (Upstream::always(failing()).await, Upstream::always(replies::openai_json("b")).await);
        let gateway = Gateway::start(&config(&a, &b, limits)).await;
        let by_header = post(&gateway, &[("x-piton-max-cost", ceiling)], &ask()).await;
        let mut body = ask();
        body["metadata"] = json!({ "piton_max_cost": ceiling, "team": "blue" });
        let by_metadata = post(&gateway, &[], &body).await;
        for answer in [&by_header, &by_metadata] {
            assert_eq!(answer.status == 200, passes, "{limits}, {ceiling}: {}", answer.text());
            let receipt = receipt(&gateway, answer).await;
            assert!(is_usd(&receipt["max_cost_usd"], ceiling.parse().unwrap()), "{receipt}");
            if !passes {
                assert_eq!(receipt["trail"][1]["skip"], "max_cost");
            }
        }
        assert_eq!((a.hits(), b.hits()), (2, 2 * usize::from(passes)));
        assert_eq!(a.request(1).json()["metadata"], json!({ "team": "blue" }), "its own field stays here");
    }
}

#[tokio::test]
async fn what_earlier_attempts_cost_counts_towards_the_ceiling() {
    let mut empty = replies::openai_body("");
    empty["usage"] = json!({ "prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000 });
    let (a, b) = (
        Upstream::always(replies::json_reply(200, &empty)).await,
        Upstream::always(replies::openai_json("b")).await,
    );
    let gateway = Gateway::start(&config(&a, &b, "retries = 0")).await;
    // Empty, and paid for: 1000 tokens at 1. Then 0.001302 at the second target by the estimate.
    let answer = post(&gateway, &[("x-piton-max-cost", "0.002302")], &ask()).await;
    assert_eq!((answer.status, b.hits()), (200, 1), "{}", answer.text());
    assert_eq!(answer.header("x-piton-fallback-reason"), Some("empty"));
    assert_eq!(answer.header("x-piton-cost-usd"), Some("0.001038000"), "all attempts together");
    let receipt = receipt(&gateway, &answer).await;
    assert!(is_usd(&receipt["trail"][0]["cost_usd"], 0.001), "{receipt}");
    let answer = post(&gateway, &[("x-piton-max-cost", "0.0023")], &ask()).await;
    assert_eq!((answer.status, b.hits()), (502, 1), "{}", answer.text());
    assert!(answer.header("x-piton-trail").unwrap().ends_with("b/m=skip:max_cost"));
    assert_eq!(answer.header("x-piton-cost-usd"), Some("0.001000000"));
}

#[tokio::test]
async fn a_ceiling_on_a_target_without_a_price_is_an_error_of_the_file() {
    for limit in ["max_cost = 1", "max_price = { input = 1 }", "max_price_ratio = 2"] {
        let file = format!(
            "[providers.a]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9\"\n[chains.main]\n\
             targets = [\"openai/gpt-4o\", {{ model = \"a/nobody-knows\", {limit} }}]\n"
        );
        let ended = Gateway::with(&file).env("OPENAI_API_KEY", "k").try_start().await.err();
        let ended = ended.unwrap_or_else(|| panic!("{limit} was accepted"));
        let key = limit.split(' ').next().unwrap();
        assert!(!ended.status.success());
        assert!(ended.stderr.contains(&format!("`{key}` (set here) needs a price")), "{}", ended.stderr);
        assert!(ended.stderr.contains("piton.toml") && ended.stderr.contains("a/nobody-knows"));
    }
}

#[tokio::test]
async fn a_clients_ceiling_skips_a_target_without_a_price() {
    let (a, b) = (
        Upstream::always(replies::openai_json("a")).await,
        Upstream::always(replies::openai_json("b")).await,
    );
    let file = providers(&a, &b)
        + "[models.\"b/m\"]\nprice = { input = 2, output = 10 }\n[chains]\nmain = [\"a/m\", \"b/m\"]\nalone = [\"a/m\"]\n";
    let gateway = Gateway::start(&file).await;
    let answer = post(&gateway, &[("x-piton-max-cost", "1")], &ask()).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (200, 0, 1));
    assert!(answer.header("x-piton-trail").unwrap().starts_with("a/m=skip:no_price, b/m=ok;"));
    assert_eq!(answer.header("x-piton-fallback-reason"), None, "that was by design");
    let mut alone = ask();
    alone["model"] = json!("alone");
    assert_eq!(post(&gateway, &[("x-piton-max-cost", "1")], &alone).await.status, 402);
    assert_eq!(post(&gateway, &[], &alone).await.status, 200, "without a ceiling it needs no price");
    assert_eq!(a.hits(), 1);
}

#[tokio::test]
async fn lowering_the_ceiling_in_the_file_changes_the_next_request() {
    let (a, b) = (Upstream::always(failing()).await, Upstream::always(replies::openai_json("b")).await);
    let gateway = Gateway::start(&config(&a, &b, "max_cost = 0.01")).await;
    assert_eq!(gateway.post_json(CHAT, &ask()).await.status, 200);
    for (limits, status, hits) in [("max_cost = 0.001", 500, 1), ("max_cost = 0.002", 200, 2)] {
        gateway.rewrite_config(&config(&a, &b, limits));
        assert_eq!(gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
        let answer = gateway.post_json(CHAT, &ask()).await;
        assert_eq!((answer.status, b.hits()), (status, hits), "{limits}");
    }
}

#[tokio::test]
async fn every_kind_of_token_has_its_price_and_the_providers_own_cost_goes_first() {
    let cases = [
        (json!({ "prompt_tokens": 1000, "completion_tokens": 50 }), "0.001200000"),
        // 600 fresh at 1, 400 cached at 0.1, 50 out at 4, of which 20 were thought.
        (
            json!({
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "prompt_tokens_details": { "cached_tokens": 400 },
                "completion_tokens_details": { "reasoning_tokens": 20 },
            }),
            "0.000840000",
        ),
        (json!({ "prompt_tokens": 1000, "completion_tokens": 50, "cost": 0.0123 }), "0.012300000"),
        (json!({ "prompt_tokens": 1000, "completion_tokens": 50, "cost": 0 }), "0.000000000"),
    ];
    for (mut usage, cost) in cases {
        let total = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
        usage["total_tokens"] = json!(total);
        let mut body = replies::openai_body("a");
        body["usage"] = usage.clone();
        let a = Upstream::always(replies::json_reply(200, &body)).await;
        let price = "[models.\"a/m\"]\nprice = { input = 1, output = 4, cache_read = 0.1 }\n";
        let file = providers(&a, &a) + price + "[chains]\nmain = [\"a/m\"]\n";
        let gateway = Gateway::start(&file).await;
        let answer = gateway.post_json(CHAT, &ask()).await;
        assert_eq!(answer.header("x-piton-cost-usd"), Some(cost), "{usage}");
        let receipt = receipt(&gateway, &answer).await;
        assert!(is_usd(&receipt["cost_usd"], cost.parse().unwrap()), "{receipt}");
        assert_eq!(receipt["trail"][0]["usage_is_estimate"], false);
    }
}
