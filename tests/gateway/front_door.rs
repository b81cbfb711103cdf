//! How the door itself behaves: protocols, paths, models, ids, and heads that are too large or ask for too much.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::piton;
use crate::support::replies;
use crate::support::script::Gate;
use crate::support::upstream::{Received, Upstream};

const CHAT: &str = "/v1/chat/completions";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn upstream() -> Upstream {
    Upstream::start(|_, request: &Received| {
        if request.json()["stream"] == true {
            replies::openai_stream(&["stre", "amed"]).all()
        } else {
            replies::openai_json("whole")
        }
    })
    .await
}

fn config(upstream: &Upstream) -> String {
    format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\n[chains]\nmain = [\"a/m\"]\n",
        upstream.url()
    )
}

fn ask() -> Value {
    json!({ "model": "main", "messages": [{ "role": "user", "content": "hello" }] })
}

async fn post(gateway: &Gateway, headers: &[(&str, &str)]) -> Response {
    let headers = [&[JSON], headers].concat();
    gateway.request("POST", CHAT, &headers, ask().to_string().as_bytes()).await
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken_on_the_same_port() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = gateway.url();
    let send = async |body: Value| {
        let post = client.post(url.clone() + CHAT).header("content-type", "application/json");
        let answer = post.body(body.to_string()).send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
        assert_eq!(answer.headers()["x-piton-target"], "a/m");
        answer.text().await.unwrap()
    };
    assert!(send(ask()).await.contains("whole"));
    let mut streamed = ask();
    streamed["stream"] = json!(true);
    assert!(send(streamed).await.ends_with("data: [DONE]\n\n"));
    let models = client.get(url.clone() + "/v1/models").send().await.unwrap();
    assert_eq!((models.version(), models.status().as_u16()), (reqwest::Version::HTTP_2, 200));
    // The name that the client called is checked in this protocol too.
    let rebound = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .resolve("rebound.example", gateway.address())
        .build()
        .unwrap();
    let foreign = format!("http://rebound.example:{}/v1/models", gateway.address().port());
    assert_eq!(rebound.get(foreign).send().await.unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn many_requests_share_one_http_2_connection() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let upstream = Upstream::start(move |_, _| {
        crate::support::script::Script::new().wait(&behind).then(replies::openai_json("whole"))
    })
    .await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let post = client.post(gateway.url() + CHAT).header("content-type", "application/json");
        let post = post.body(ask().to_string());
        running.spawn(async move { post.send().await.unwrap().status().as_u16() });
    }
    upstream.wait_for_hits(50).await;
    gate.open();
    assert_eq!(running.join_all().await, [200; 50]);
}

#[tokio::test]
async fn every_route_answers_with_and_without_v1() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream)).await;
    for prefix in ["/v1", ""] {
        let answer = gateway.post_json(&format!("{prefix}/chat/completions"), &ask()).await;
        assert_eq!((answer.status, answer.header("x-piton-chain")), (200, Some("main")), "{prefix}");
        let models = gateway.get(&format!("{prefix}/models")).await.json();
        assert_eq!(models["data"][0]["id"], "main", "{prefix}");
        assert_eq!(gateway.get(&format!("{prefix}/models/main")).await.json()["id"], "main", "{prefix}");
    }
    let nowhere = gateway.get("/v2/models").await;
    assert_eq!(
        (nowhere.status, nowhere.json()["error"]["type"].as_str()),
        (404, Some("invalid_request_error"))
    );
    let method = gateway.get(CHAT).await;
    assert_eq!((method.status, method.json()["error"]["code"].as_str()), (405, Some("method_not_allowed")));
}

#[tokio::test]
async fn models_tell_the_least_window_and_output_over_their_chain() {
    let file = r#"
        [providers.a]
        kind = "openai"
        base_url = "http://127.0.0.1:9"
        [models."a/large"]
        context = 200_000
        max_output = 8_000
        [models."a/small"]
        context = 32_000
        max_output = 16_000
        [chains]
        both = ["a/large", "a/small"]
        large = ["a/large"]
        unknown = ["a/nobody-knows"]
    "#;
    let gateway = Gateway::start(file).await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    let expected = [
        ("both", json!(32_000), json!(8_000)),
        ("large", json!(200_000), json!(8_000)),
        ("unknown", Value::Null, Value::Null),
    ];
    assert_eq!(list["data"].as_array().unwrap().len(), expected.len());
    for (model, (id, context, output)) in list["data"].as_array().unwrap().iter().zip(expected) {
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")));
        assert_eq!((&model["context_length"], &model["max_output_tokens"]), (&context, &output), "{id}");
        assert!(model["created"].as_u64().is_some() && model["owned_by"].is_string());
        assert_eq!(gateway.get(&format!("/v1/models/{id}")).await.json(), *model);
    }
    let missing = gateway.get("/v1/models/nope").await;
    assert_eq!((missing.status, missing.json()["error"]["code"].as_str()), (404, Some("model_not_found")));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_the_others_are_served() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let large = "x".repeat(70_000);
    let names: Vec<String> = (0..200).map(|number| format!("x-many-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let answer = post(&gateway, &[("x-large", large.as_str())]).await;
    assert_eq!(answer.status, 431, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "headers_too_large");
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(post(&gateway, &many).await.status, 431);
    let fits = "x".repeat(30_000);
    assert_eq!(post(&gateway, &[("x-large", fits.as_str())]).await.status, 200);
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn a_usable_request_id_is_kept_and_any_other_replaced() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let longest = "i".repeat(128);
    let too_long = "i".repeat(129);
    for id in ["abc-123", "~!@#$%^&*()_+{}|:<>?", longest.as_str()] {
        assert_eq!(post(&gateway, &[("x-request-id", id)]).await.header("x-request-id"), Some(id));
    }
    for id in [too_long.as_str(), "two words", "", "caf\u{e9}", "tab\there"] {
        let answer = post(&gateway, &[("x-request-id", id)]).await;
        let new = answer.header("x-request-id").unwrap();
        assert_ne!(new, id);
        let parsed = uuid::Uuid::parse_str(new).unwrap_or_else(|error| panic!("{new}: {error}"));
        assert_eq!(parsed.get_version_num(), 7, "{new}");
    }
    let (one, two) = (post(&gateway, &[]).await, post(&gateway, &[]).await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    for path in ["/healthz", "/nowhere", "/v1/models", "/metrics"] {
        let answer = gateway.request("GET", path, &[("x-request-id", "mine")], &[]).await;
        assert_eq!(answer.header("x-request-id"), Some("mine"), "{path}");
        assert!(answer.header("x-piton-config").is_some(), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_supported_or_not_understood_is_refused_before_any_call() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let cases = [
        ("idempotency-key", "k-1", Some("not_supported")),
        ("x-piton-explain", "yes", None),
        ("x-piton-fallback", "sometimes", None),
        ("x-piton-deadline", "5", None),
        ("x-piton-deadline", "soon", None),
        ("x-piton-max-cost", "-1", None),
        ("x-piton-max-cost", "cheap", None),
        ("x-piton-receipt", "yes", None),
        ("x-piton-unheard-of", "1", None),
    ];
    for (name, value, code) in cases {
        let answer = post(&gateway, &[(name, value)]).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["code"].as_str()), (400, code), "{name}: {value}");
        let message = error["message"].as_str().unwrap().to_ascii_lowercase();
        assert!(message.contains(name), "{message}");
    }
    for (name, value) in [("piton_explain", "yes"), ("piton_nonsense", "1")] {
        let mut body = ask();
        body["metadata"] = json!({ name: value });
        let answer = gateway.post_json(CHAT, &body).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().contains(name), "{}", answer.text());
    }
    assert_eq!(upstream.hits(), 0);
}

#[tokio::test]
async fn a_clients_deadline_only_lowers_the_chains() {
    let upstream = Upstream::always(crate::support::script::Script::new().silence()).await;
    let gateway = Gateway::start(&config(&upstream)).await;
    let answer = post(&gateway, &[("x-piton-deadline", "200ms")]).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (504, Some("deadline_exceeded")));
    gateway.rewrite_config(
        &config(&upstream).replace(
            "[chains]\nmain = [\"a/m\"]",
            "[chains.main]\ndeadline = \"200ms\"\ntargets = [\"a/m\"]",
        ),
    );
    assert_eq!(gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
    let answer = post(&gateway, &[("x-piton-deadline", "1h")]).await;
    assert_eq!(answer.status, 504, "the chain's own deadline holds");
}

#[tokio::test]
async fn it_may_open_as_many_sockets_as_the_system_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("piton.toml"), config(&upstream().await)).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 64; exec \"$0\" serve --listen 127.0.0.1:0"])
        .arg(piton())
        .current_dir(directory.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("listening")), "it has started");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits[0], limits[1], "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
