//! Before it happens: what `x-piton-explain` and `piton explain` say of a request that is sent nowhere.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, ask, good, question};
use crate::support::client::Response;
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::{piton, replies};

const CHAT: &str = "/v1/chat/completions";
const PRICES: &str = "[models.\"chat-0/m\"]\nprice = { input = 1, output = 2 }\ncontext = 8192\n\
                      [models.\"chat-1/m\"]\nprice = { input = 10, output = 20 }\n\
                      [models.\"chat-2/m\"]\nprice = { input = 1, output = 3 }\ncapabilities = { vision = false }\n";

async fn explain(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[("content-type", "application/json"), ("x-piton-explain", "true")], headers].concat();
    gateway.request("POST", path, &headers, body.to_string().as_bytes()).await
}

/// `chat` over three upstreams: cheap, too dear, and without eyes.
async fn scene() -> (Scene, [Upstream; 3]) {
    let all = [
        good(Dialect::OpenAi, "a").await,
        good(Dialect::OpenAi, "b").await,
        good(Dialect::OpenAi, "c").await,
    ];
    let rungs = [
        Rung::new(Dialect::OpenAi, &all[0]).target(", max_cost = 0.5"),
        Rung::new(Dialect::OpenAi, &all[1]).target(", max_price_ratio = 1.5"),
        Rung::new(Dialect::OpenAi, &all[2]),
    ];
    let policy = "deadline = \"30s\"\nmax_attempts = 4";
    (Scene::default().chain("chat", policy, &rungs).also(PRICES), all)
}

fn hits(all: &[Upstream]) -> usize {
    all.iter().map(Upstream::hits).sum()
}

/// Each target of a plan with its skip.
fn line(plan: &Value) -> String {
    let targets = plan["targets"].as_array().expect("targets").iter();
    let told = targets.map(|target| {
        assert_eq!(target["eligible"].as_bool(), Some(target["skip"].is_null()), "{target}");
        let reached = if target["reached"] == true { "" } else { "!" };
        format!("{reached}{}={}", target["index"], target["skip"].as_str().unwrap_or("ok"))
    });
    told.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_plan_is_told_and_nothing_is_asked() {
    let (scene, all) = scene().await;
    let gateway = scene.start().await;
    let body = json!({
        "model": "chat", "stream": true, "max_tokens": 100,
        "messages": [{ "role": "user", "content": "x".repeat(600) }],
    });
    let answer = explain(&gateway, CHAT, &[("x-piton-max-cost", "0.4")], &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.header("x-piton-chain"), Some("chat"));
    assert_eq!((answer.header("x-piton-attempts"), answer.header("x-piton-target")), (Some("0"), None));
    let plan = answer.json();
    assert_eq!(answer.header("x-piton-config"), plan["config"].as_str());
    let said =
        ["object", "asked", "chain", "operation", "streamed", "status", "first", "last_resort", "fallback"]
            .map(|name| plan[name].clone());
    let expected = json!(["piton.plan", "chat", "chat", "chat", true, 200, "chat-0/m", false, true]);
    assert_eq!(json!(said), expected);
    assert_eq!((&plan["deadline_ms"], &plan["max_attempts"]), (&json!(30_000), &json!(4)));
    assert_eq!(plan["max_cost_usd"], 0.4);
    assert_eq!(line(&plan), "0=ok 1=price_ratio 2=ok");
    let first = &plan["targets"][0];
    let low = first["estimate"]["input_tokens_low"].as_u64().expect("a number");
    let high = first["estimate"]["input_tokens"].as_u64().expect("a number");
    assert!(low >= 100 && high > low && high < 400, "{first}");
    assert_eq!(first["estimate"]["output_tokens"], 100);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let cost = (high as f64 + 200.0) / 1e6;
    let told = first["estimate"]["cost_usd"].as_f64().expect("a cost");
    assert!((told - cost).abs() < 1e-12, "{told} is not {cost}");
    assert_eq!(first["price_usd_per_million"], json!({ "input": 1.0, "output": 2.0 }));
    assert_eq!((&first["bounds"], &first["context_length"]), (&json!({ "max_cost_usd": 0.5 }), &json!(8192)));
    assert_eq!(first["circuit"], json!({ "state": "closed" }));
    assert_eq!(plan["targets"][1]["bounds"], json!({ "max_price_ratio": 1.5 }));
    assert_eq!(hits(&all), 0);
}

#[tokio::test]
async fn it_is_logged_and_counted_apart_from_answers() {
    let (scene, all) = scene().await;
    let gateway = scene.start().await;
    let headers = [("x-request-id", "plan-1")];
    assert_eq!(explain(&gateway, CHAT, &headers, &question("chat", false)).await.status, 200);
    let log = gateway.wait_for_log("the plan", |line| line["outcome"] == "explained").await;
    assert_eq!(
        (&log["request_id"], &log["chain"], &log["attempt"]),
        (&json!("plan-1"), &json!("chat"), &json!(0))
    );
    let metrics = Exposition::read(gateway.get("/metrics").await.text());
    for (name, count) in
        [("piton_plans_total", 1.0), ("piton_requests_total", 0.0), ("piton_skips_total", 0.0)]
    {
        assert!((metrics.sum(name, &[]) - count).abs() < f64::EPSILON, "{name}");
    }
    let receipt = gateway.get("/piton/api/requests/plan-1").await;
    assert_eq!((receipt.status, hits(&all)), (404, 0), "there is nothing to have a receipt of");
}

#[tokio::test]
async fn a_plan_that_nothing_would_serve_says_what_the_client_would_get() {
    let (scene, all) = scene().await;
    let gateway = scene.start().await;
    let mut body = question("chat", false);
    body["metadata"] = json!({ "piton_explain": "true", "piton_max_cost": "0.000000001" });
    let plan = gateway.post_json(CHAT, &body).await.json();
    assert_eq!(line(&plan), "0=max_cost 1=price_ratio 2=max_cost");
    assert_eq!((&plan["status"], &plan["first"]), (&json!(402), &Value::Null));
    assert_eq!(plan["error"]["code"], "cost_ceiling");
    body["metadata"]["piton_explain"] = json!("false");
    let refused = gateway.post_json(CHAT, &body).await;
    assert_eq!((refused.status, &refused.json()["error"]), (402, &plan["error"]), "as was foretold");
    assert_eq!(hits(&all), 0);
}

#[tokio::test]
async fn without_fallback_the_walk_ends_at_the_first_eligible_target() {
    let (scene, _all) = scene().await;
    let gateway = scene.start().await;
    let mut body = question("chat", false);
    let off = [("x-piton-fallback", "off")];
    let plan = explain(&gateway, CHAT, &off, &body).await.json();
    assert_eq!((line(&plan).as_str(), &plan["fallback"]), ("0=ok !1=price_ratio !2=ok", &json!(false)));
    body["models"] = json!(["chat-2/m", "chat-0/m"]);
    let plan = explain(&gateway, CHAT, &[], &body).await.json();
    assert_eq!((line(&plan).as_str(), &plan["first"]), ("2=ok 0=ok", &json!("chat-2/m")));
}

#[tokio::test]
async fn open_circuits_show_and_so_does_the_last_resort() {
    let down = || replies::openai_error(503, "server_error", None, "down");
    let upstreams = [Upstream::always(down()).await, Upstream::always(down()).await];
    let breaker = "breaker = { failures = 1, cool_down = \"10m\" }\n";
    let rungs = upstreams.each_ref().map(|one| Rung::new(Dialect::OpenAi, one).provider(breaker));
    let gateway = Scene::default().chain("chat", "retries = 0", &rungs).start().await;
    assert_eq!(ask(&gateway, "chat", false).await.status, 503);
    let plan = explain(&gateway, CHAT, &[], &question("chat", false)).await.json();
    assert_eq!(line(&plan), "0=circuit_open 1=circuit_open");
    let circuit = &plan["targets"][0]["circuit"];
    assert_eq!((&circuit["state"], &circuit["reason"]), (&json!("open"), &json!("overloaded")));
    let said = (&plan["status"], &plan["first"], &plan["last_resort"]);
    assert_eq!(said, (&json!(200), &json!("chat-0/m"), &json!(true)), "the least bad one");
    for upstream in &upstreams {
        assert_eq!(upstream.hits(), 1, "a plan is no probe");
    }
}

#[tokio::test]
async fn who_may_not_ask_is_not_told_either_and_tokens_are_not_taken() {
    let upstream = good(Dialect::OpenAi, "a").await;
    let keys = "[[keys]]\nname = \"app\"\nsecret = \"env:APP\"\nchains = [\"chat\"]\nrequests_per_minute = 3\n\
                tokens_per_minute = 100000\n";
    let scene = Scene::default()
        .chain("chat", "", &[Rung::new(Dialect::OpenAi, &upstream)])
        .chain("private", "", &[Rung::new(Dialect::OpenAi, &upstream)])
        .also(keys);
    let gateway = scene.prepared().env("APP", "secret").start().await;
    let app = ("authorization", "Bearer secret");
    let told = |chain: &'static str, header| {
        let gateway = &gateway;
        async move { explain(gateway, CHAT, &[header], &question(chain, false)).await }
    };
    assert_eq!(told("chat", ("authorization", "Bearer other")).await.status, 401);
    let refused = told("private", app).await;
    assert_eq!((refused.status, refused.json().get("targets").is_some()), (403, false), "{}", refused.text());
    assert_eq!(told("nowhere", app).await.status, 404);
    let mut broken = question("chat", false);
    broken["messages"] = json!(7);
    assert_eq!(explain(&gateway, CHAT, &[app], &broken).await.status, 400);
    for left in ["2", "1", "0"] {
        let plan = told("chat", app).await;
        assert_eq!((plan.status, plan.header("x-ratelimit-remaining-requests")), (200, Some(left)));
        assert_eq!(plan.header("x-ratelimit-remaining-tokens"), Some("100000"));
    }
    assert_eq!(told("chat", app).await.status, 429, "a plan is a request of its caller");
    assert_eq!(upstream.hits(), 0);
}

#[tokio::test]
async fn images_are_not_fetched_and_embeddings_have_plans_too() {
    let (images, target) = (good(Dialect::OpenAi, "x").await, good(Dialect::OpenAi, "a").await);
    let server = "[server]\nfetch_images = true\nfetch_images_from = [\"127.0.0.1\"]\n\
                  [models.\"chat-0/m\"]\nprice = { input = 5, output = 0 }\n";
    let gateway = Scene::default().also(server).chain("chat", "", &[Rung::new(Dialect::Gemini, &target)]);
    let gateway = gateway.prepared().env("GEMINI_API_KEY", "k").start().await;
    let mut body = question("chat", false);
    let image = json!({ "type": "image_url", "image_url": { "url": format!("{}/x.png", images.url()) } });
    body["messages"][0]["content"] = json!([{ "type": "text", "text": "what?" }, image]);
    let plan = explain(&gateway, CHAT, &[], &body).await.json();
    assert_eq!((line(&plan).as_str(), images.hits(), target.hits()), ("0=ok", 0, 0));
    assert!(
        plan["targets"][0]["estimate"]["input_tokens"].as_u64() > Some(100),
        "an image has its price: {plan}"
    );
    let plan = explain(&gateway, "/v1/embeddings", &[], &json!({ "model": "chat", "input": "Hello" })).await;
    let plan = plan.json();
    assert_eq!((&plan["operation"], &plan["status"]), (&json!("embeddings"), &json!(200)));
    assert_eq!((&plan["targets"][0]["estimate"]["output_tokens"], target.hits()), (&json!(0), 0));
}

#[tokio::test]
async fn equal_deployments_and_keys_are_shown_each() {
    let (a, b) = (good(Dialect::OpenAi, "a").await, good(Dialect::OpenAi, "b").await);
    let config = format!(
        "[providers.a]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = [\"env:ONE\", \"env:TWO\"]\n\
         [providers.b]\nkind = \"openai\"\nbase_url = \"{}\"\n[models.\"b/m\"]\ncapabilities = {{ n = false }}\n\
         [[chains.chat.targets]]\nany = [\"a/m\", \"b/m\"]\n",
        a.url(),
        b.url()
    );
    let gateway = Gateway::with(&config).env("ONE", "1").env("TWO", "2").start().await;
    let mut body = question("chat", false);
    body["n"] = json!(2);
    let plan = explain(&gateway, CHAT, &[], &body).await.json();
    assert_eq!(line(&plan), "0=ok");
    let deployments = plan["targets"][0]["deployments"].as_array().expect("deployments").iter();
    let told = deployments.map(|one| json!([one["target"], one["key_number"], one["share"], one["skip"]]));
    let expected = [
        json!(["a/m", 1, 0.25, null]),
        json!(["a/m", 2, 0.25, null]),
        json!(["b/m", null, 0.5, "capability:n"]),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

/// Runs `piton explain` beside this gateway's configuration.
fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    let command = Command::new(piton())
        .arg("explain")
        .args(arguments)
        .current_dir(gateway.directory())
        .env_clear()
        .env("PITON_CONFIG", gateway.config_path())
        .output();
    command.expect("a program that starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn the_command_line_says_the_same_without_a_gateway() {
    let (scene, all) = scene().await;
    let gateway = scene.start().await;
    let body = question("chat", false);
    gateway.write("request.json", &body.to_string());
    let plan = explain(&gateway, CHAT, &[("x-piton-deadline", "5s")], &body).await.json();
    let output = run(&gateway, &["--file", "request.json", "--deadline", "5s", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), plan);

    let output = run(&gateway, &["--model", "chat", "-m", "Hello", "--max-tokens", "10"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    let lines: Vec<String> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(lines[0].starts_with("chat: 4 attempts within 30s; configuration "), "{table}");
    assert!(lines[2].starts_with("0 chat-0/m would be asked 0 to 2 10 0.0000"), "{table}");
    assert!(lines[3].starts_with("1 chat-1/m skip: price_ratio"), "{table}");
    assert!(lines[4].starts_with("2 chat-2/m next"), "{table}");
    assert_eq!(hits(&all), 0);
}

#[tokio::test]
async fn the_command_line_fails_where_nothing_would_serve() {
    let (scene, _all) = scene().await;
    let key = "[[keys]]\nname = \"app\"\nsecret = \"env:APP\"\nchains = [\"other-*\"]\n";
    let gateway = scene.also(key).prepared().env("APP", "secret").start().await;
    let said = |model: &str, arguments: &[&str]| {
        let output = run(&gateway, &[&["--no-secrets", "--model", model], arguments].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let cases: [(&str, &[&str], &str); 5] = [
        ("chat", &["--max-cost", "0"], "402 Payment Required"),
        ("chat", &["--key", "app"], "403 Forbidden"),
        ("chat", &["--key", "ap"], "did you mean \"app\"?"),
        ("chatt", &[], "404 Not Found: There is no chain `chatt`. Did you mean `chat`?"),
        ("chat", &["--deadline", "soon"], "400 Bad Request"),
    ];
    for (model, arguments, words) in cases {
        let (code, told) = said(model, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    assert_eq!(said("chat", &[]).0, Some(0), "without a key everything is open");
}
