//! Task and tier: which chain serves a request, which target may, and whose word counts.

use serde_json::{Value, json};

use crate::support::chain::{PATH, with};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

/// Headers.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// One upstream that plays every provider and says who was asked.
async fn upstream() -> Upstream {
    Upstream::start(|_, request| replies::openai_json(request.json()["model"].as_str().unwrap())).await
}

/// The chains `main`, `deep` and `premium` over one upstream: `main` branches off to both, `deep` to `premium`.
fn config(upstream: &Upstream, more: &str) -> String {
    format!(
        r#"
[defaults]
breaker = false
[providers.p]
kind = "openai"
base_url = "{}"
[chains.main]
targets = ["p/plain"]
by_task = {{ code = "deep" }}
by_tier = {{ gold = "premium" }}
[chains.deep]
targets = ["p/deep"]
by_tier = {{ gold = "premium" }}
[chains]
premium = ["p/premium"]
{more}
"#,
        upstream.url()
    )
}

fn ask() -> Value {
    json!({ "model": "main", "messages": [{ "role": "user", "content": "Hi" }] })
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json")], headers].concat();
    gateway.request("POST", PATH, &headers, body.to_string().as_bytes()).await
}

async fn receipt(gateway: &Gateway, answer: &Response) -> Value {
    let id = answer.header("x-request-id").unwrap();
    gateway.get(&format!("/piton/api/requests/{id}")).await.json()
}

#[tokio::test]
async fn a_task_and_a_tier_decide_which_chain_serves_and_the_receipt_says_how() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream, "")).await;
    let task = json!({ "task_type": "code" });
    let by_metadata = json!({ "metadata": { "task_type": "code", "team": "t" } });
    let of_piton = json!({ "metadata": { "piton_task": "code", "piton_tier": "silver" } });
    let both = json!({ "task_type": "code", "metadata": { "piton_task": "else" } });
    let cases: [(Pairs<'_>, Value, &str, &[&str]); 9] = [
        (&[], json!({}), "main", &[]),
        (&[("x-piton-task", "else")], json!({}), "main", &[]),
        (&[("x-piton-task", "code")], json!({}), "deep", &["main.by_task.code"]),
        (&[], task.clone(), "deep", &["main.by_task.code"]),
        (&[], by_metadata, "deep", &["main.by_task.code"]),
        (&[], of_piton, "deep", &["main.by_task.code"]),
        (&[], both, "deep", &["main.by_task.code"]),
        // The header wins over the body, and says that there is none.
        (&[("x-piton-task", "chat"), ("x-piton-tier", "gold")], task, "premium", &["main.by_tier.gold"]),
        (
            &[("x-piton-task", "code"), ("x-piton-tier", "gold")],
            json!({}),
            "premium",
            &["main.by_task.code", "deep.by_tier.gold"],
        ),
    ];
    for (at, (headers, members, chain, branches)) in cases.into_iter().enumerate() {
        let answer = post(&gateway, headers, &with(ask(), &members)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-piton-chain"), Some(chain), "{headers:?} {members}");
        let model = if chain == "main" { "plain" } else { chain };
        assert_eq!(answer.header("x-piton-target"), Some(&*format!("p/{model}")));
        let receipt = receipt(&gateway, &answer).await;
        assert_eq!(receipt["chain"], chain);
        if branches.is_empty() {
            assert_eq!((&receipt["asked_chain"], &receipt["branches"]), (&Value::Null, &Value::Null));
        } else {
            assert_eq!((&receipt["asked_chain"], &receipt["branches"]), (&json!("main"), &json!(branches)));
        }
        let sent = upstream.request(at).json();
        assert_eq!((&sent["task_type"], &sent["metadata"]["piton_task"]), (&Value::Null, &Value::Null));
        assert_eq!(sent["metadata"]["task_type"], Value::Null, "Piton's own field stays here");
    }
    let status = gateway.get("/piton/api/status").await.json();
    assert_eq!(status["chains"][0]["by_task"], json!({ "code": "deep" }));
}

#[tokio::test]
async fn targets_are_for_their_tasks_and_tiers() {
    let upstream = upstream().await;
    let more = r#"
[chains.mixed]
targets = [{ model = "p/code", tasks = ["code-*"] }, { model = "p/gold", tiers = ["gold"] }, "p/rest"]
[chains.narrow]
targets = [{ model = "p/code", tasks = ["code-*"] }]
"#;
    let gateway = Gateway::start(&config(&upstream, more)).await;
    let mixed = with(ask(), &json!({ "model": "mixed" }));
    for (headers, trail) in [
        ([("x-piton-task", "code-review")], "p/code=ok"),
        ([("x-piton-tier", "gold")], "p/code=skip:task, p/gold=ok"),
        ([("x-piton-task", "chat")], "p/code=skip:task, p/gold=skip:task:tier, p/rest=ok"),
    ] {
        let answer = post(&gateway, &headers, &mixed).await;
        let told = answer.header("x-piton-trail").unwrap();
        assert!(told.starts_with(trail), "{told}");
        assert_eq!(answer.header("x-piton-fallback-reason"), None, "that was by design");
    }
    let narrow = with(ask(), &json!({ "model": "narrow" }));
    let answer = post(&gateway, &[], &narrow).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("task")));
    let metrics = gateway.get("/metrics").await.text();
    assert!(metrics.contains(r#"piton_skips_total{target="p/code",reason="task"} 3"#), "{metrics}");
    assert!(metrics.contains(r#"piton_skips_total{target="p/gold",reason="task:tier"} 1"#), "{metrics}");
}

/// A caller's key is its name.
fn key(name: &str, more: &str) -> String {
    format!("[[keys]]\nname = \"{name}\"\nsecret = \"env:{}\"\n{more}\n", name.to_uppercase())
}

#[tokio::test]
async fn a_key_bounds_what_its_clients_may_claim() {
    let upstream = upstream().await;
    let more = [
        key("free", "tier = \"free\"\nchains = [\"main\"]"),
        key("coder", "tasks = [\"code\"]"),
        key("some", "tasks = [\"chat\", \"code-*\"]"),
        key("open", ""),
    ];
    let mut builder = Gateway::with(&config(&upstream, &more.concat()));
    for name in ["free", "coder", "some", "open"] {
        builder = builder.env(&name.to_uppercase(), name);
    }
    let gateway = builder.start().await;
    let cases: [(&str, Pairs<'_>, u16, Option<&str>); 9] = [
        // What the key says of the tier holds, whatever the client claims.
        ("free", &[("x-piton-tier", "gold")], 200, Some("main")),
        // Its scope is that of the chain it asked for: the branch is the owner's word.
        ("free", &[("x-piton-task", "code")], 200, Some("deep")),
        ("open", &[("x-piton-tier", "gold")], 200, Some("premium")),
        // The only task of a key is that of every request.
        ("coder", &[], 200, Some("deep")),
        ("coder", &[("x-piton-task", "code")], 200, Some("deep")),
        ("coder", &[("x-piton-task", "chat")], 403, None),
        ("some", &[], 200, Some("main")),
        ("some", &[("x-piton-task", "code-review")], 200, Some("main")),
        ("some", &[("x-piton-task", "code")], 403, None),
    ];
    for (caller, headers, status, chain) in cases {
        let bearer = format!("Bearer {caller}");
        let headers = [&[("authorization", &*bearer)], headers].concat();
        let answer = post(&gateway, &headers, &ask()).await;
        assert_eq!((answer.status, answer.header("x-piton-chain")), (status, chain), "{headers:?}");
        if status == 403 {
            assert_eq!(answer.json()["error"]["code"], "task_not_allowed");
        }
    }
    let direct = with(ask(), &json!({ "model": "deep" }));
    let answer = post(&gateway, &[("authorization", "Bearer free")], &direct).await;
    assert_eq!(answer.status, 403, "the chain behind a branch is not the key's to name");
}

#[tokio::test]
async fn a_task_does_not_mix_vectors_of_two_models() {
    let upstream = Upstream::always(replies::json_reply(
        200,
        &json!({
            "object": "list",
            "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }],
            "model": "m",
            "usage": { "prompt_tokens": 1, "total_tokens": 1 },
        }),
    ))
    .await;
    let gateway = Gateway::start(&config(&upstream, "")).await;
    let body = json!({ "model": "main", "input": "Hi", "task_type": "code" });
    let answer = gateway.post_json("/v1/embeddings", &body).await;
    assert_eq!((answer.status, upstream.hits()), (400, 0), "{}", answer.text());
    assert!(answer.text().contains("vectors of two models"));
    let plain = json!({ "model": "main", "input": "Hi" });
    assert_eq!(gateway.post_json("/v1/embeddings", &plain).await.status, 200);
}
