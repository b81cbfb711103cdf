//! The status table: what a client is told when no target served. One test for each line, in its order.

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, Told, ask, ask_with, chat, question, second};
use crate::support::replies::{anthropic_error, gemini_error, openai_error, status};
use crate::support::script::Script;
use crate::support::upstream::{Refusing, Upstream};

use Dialect::{Anthropic, Gemini, OpenAi};

/// Holds status, error object and retry hints against what is expected, exactly.
fn is_error(told: &Told, status: u16, kind: &str, code: &str, retry: Option<(&str, bool)>) {
    let case = format!("{} {}", told.summary(), told.error);
    assert_eq!(told.status, status, "{case}");
    assert_eq!(told.error.as_object().unwrap().len(), 4, "{case}");
    let code = if code.is_empty() { Value::Null } else { json!(code) };
    assert_eq!((&told.error["type"], &told.error["code"]), (&json!(kind), &code), "{case}");
    assert!(told.error["message"].as_str().is_some_and(|message| !message.is_empty()), "{case}");
    assert!(told.error.get("param").is_some(), "{case}");
    assert_eq!(told.header("retry-after"), retry.map(|(wait, _)| wait), "{case}");
    let should_retry = retry.is_some_and(|(_, should)| should).to_string();
    assert_eq!(told.header("x-should-retry"), Some(should_retry.as_str()), "{case}");
    assert_eq!((told.header("x-piton-target"), told.header("x-piton-target-index")), (None, None), "{case}");
    assert!(told.header("x-piton-chain").is_some() && told.header("x-request-id").is_some(), "{case}");
}

/// One chain whose targets answer with these scripts, each asked once, streamed and not.
async fn each_way(policy: &str, answers: &[(Dialect, Script)]) -> [Told; 2] {
    let mut upstreams = Vec::new();
    for (dialect, script) in answers {
        upstreams.push((*dialect, Upstream::always(script.clone()).await));
    }
    let rungs: Vec<_> = upstreams
        .iter()
        .map(|(dialect, upstream)| Rung::new(*dialect, upstream).provider("breaker = false"))
        .collect();
    let gateway = chat(&format!("{policy}\nretries = 0"), &rungs).await;
    [ask(&gateway, "chat", false).await, ask(&gateway, "chat", true).await]
}

fn limited(headers: &[(&str, &str)]) -> Script {
    status(429, r#"{"error":{"message":"Slow down","code":"rate_limit_exceeded"}}"#, headers)
}

fn image(chain: &str) -> Value {
    let url = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    json!({ "model": chain, "messages": [{ "role": "user", "content": [url] }] })
}

const TOO_LONG: &str = "This model's maximum context length is 8 tokens.";

#[tokio::test]
async fn line_1_the_request_itself_is_refused_everywhere_400_with_the_code() {
    let too_long = || (OpenAi, openai_error(400, "x", Some("context_length_exceeded"), TOO_LONG));
    let long_prompt = || {
        (Anthropic, anthropic_error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"))
    };
    let wrong = || (Anthropic, anthropic_error(400, "invalid_request_error", "messages.0: wrong"));
    let invalid = || (Gemini, gemini_error(400, "INVALID_ARGUMENT", "Invalid value"));
    let large = || (OpenAi, openai_error(413, "x", None, "Larger than 10 MB"));
    let cases = [
        (vec![too_long()], 400, "x", "context_length_exceeded", TOO_LONG),
        (
            vec![long_prompt(), too_long()],
            400,
            "invalid_request_error",
            "context_length_exceeded",
            "prompt is too long: 9 tokens > 8 maximum",
        ),
        (vec![wrong(), too_long()], 400, "x", "context_length_exceeded", TOO_LONG),
        (vec![wrong(), wrong()], 400, "invalid_request_error", "", "messages.0: wrong"),
        (vec![invalid()], 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "Invalid value"),
        (vec![large(), large()], 413, "x", "request_too_large", "Larger than 10 MB"),
        (vec![large(), wrong()], 400, "invalid_request_error", "", "messages.0: wrong"),
    ];
    for (answers, status, kind, code, message) in cases {
        for told in each_way("", &answers).await {
            is_error(&told, status, kind, code, None);
            assert_eq!(told.error["message"], message);
        }
    }
}

#[tokio::test]
async fn line_1_what_no_target_is_able_to_do_is_a_400_before_any_call() {
    let (first, next) = (second().await, second().await);
    let rungs = || [Rung::new(OpenAi, &first), Rung::new(Anthropic, &next)];
    let scene = Scene::default().chain("blind", "", &rungs()).chain("small", "", &rungs()).also(
        r#"
        [models."blind-0/m"]
        capabilities = { vision = false }
        [models."blind-1/m"]
        capabilities = { vision = false }
        [models."small-0/m"]
        context = 100
        [models."small-1/m"]
        context = 200
        "#,
    );
    let gateway = scene.start().await;
    let told = ask_with(&gateway, &[], &image("blind")).await;
    is_error(&told, 400, "invalid_request_error", "capability", None);
    assert_eq!(told.trail(), "0=skip:capability:vision 1=skip:capability:vision");
    let message = told.error["message"].as_str().unwrap();
    assert!(message.contains("blind-0/m: skipped (capability:vision)"), "{message}");
    let mut body = question("small", true);
    body["messages"][0]["content"] = json!("word ".repeat(1000));
    let told = ask_with(&gateway, &[], &body).await;
    is_error(&told, 400, "invalid_request_error", "context_length_exceeded", None);
    assert_eq!(told.trail(), "0=skip:context_window 1=skip:context_window");
    assert_eq!((first.hits(), next.hits()), (0, 0));
}

#[tokio::test]
async fn line_1_skips_and_refusals_together_pass_the_refusal_on() {
    let wrong = Upstream::always(anthropic_error(400, "invalid_request_error", "messages.0: wrong")).await;
    let blind = second().await;
    let scene = Scene::default()
        .chain("chat", "", &[Rung::new(OpenAi, &blind), Rung::new(Anthropic, &wrong)])
        .also("[models.\"chat-0/m\"]\ncapabilities = { vision = false }");
    let told = ask_with(&scene.start().await, &[], &image("chat")).await;
    is_error(&told, 400, "invalid_request_error", "", None);
    assert_eq!(
        told.summary(),
        "400 null | 0=skip:capability:vision 1=invalid_request | by - after 1 because invalid_request"
    );
    assert_eq!(blind.hits(), 0);
}

#[tokio::test]
async fn line_2_a_chain_outside_the_keys_scope_is_a_403() {
    let first = second().await;
    let scene = Scene::default()
        .chain("closed", "", &[Rung::new(OpenAi, &first)])
        .chain("open", "", &[Rung::new(OpenAi, &first)])
        .also("[[keys]]\nname = \"app\"\nsecret = \"the-apps-key\"\nchains = [\"open\"]");
    let gateway = scene.start().await;
    let key = [("authorization", "Bearer the-apps-key")];
    for streamed in [false, true] {
        let told = ask_with(&gateway, &key, &question("closed", streamed)).await;
        is_error(&told, 403, "permission_error", "chain_not_allowed", None);
        assert_eq!(told.trail(), "0=skip:key_scope");
    }
    assert_eq!(first.hits(), 0);
    assert_eq!(ask_with(&gateway, &key, &question("open", false)).await.status, 200);
}

#[tokio::test]
async fn line_3_only_money_is_a_402() {
    let (first, next) = (second().await, second().await);
    let rungs = || [Rung::new(OpenAi, &first).target(", max_cost = 0.000001"), Rung::new(OpenAi, &next)];
    let scene = Scene::default().chain("chat", "max_price = { output = 1 }", &rungs()).also(
        r#"
        [models."chat-0/m"]
        price = { input = 0.5, output = 0.9 }
        [models."chat-1/m"]
        price = { input = 1, output = 5 }
        "#,
    );
    let gateway = scene.start().await;
    for streamed in [false, true] {
        let told = ask(&gateway, "chat", streamed).await;
        is_error(&told, 402, "insufficient_quota", "cost_ceiling", None);
        assert_eq!(told.trail(), "0=skip:max_cost 1=skip:price_ratio");
        let message = told.error["message"].as_str().unwrap();
        assert!(message.contains("chat-1/m: skipped (price_ratio)"), "{message}");
    }
    assert_eq!((first.hits(), next.hits()), (0, 0));
}

#[tokio::test]
async fn line_3_a_client_without_a_known_price_gets_a_402_for_its_ceiling() {
    let first = second().await;
    let gateway = chat("", &[Rung::new(OpenAi, &first)]).await;
    let told = ask_with(&gateway, &[("x-piton-max-cost", "0.01")], &question("chat", false)).await;
    is_error(&told, 402, "insufficient_quota", "cost_ceiling", None);
    assert_eq!(told.trail(), "0=skip:no_price");
    assert_eq!(first.hits(), 0);
}

#[tokio::test]
async fn line_4_a_passed_deadline_is_a_504() {
    let silent = (OpenAi, Script::new().silence());
    let down = (OpenAi, openai_error(429, "x", None, "Slow down"));
    for told in each_way("deadline = \"400ms\"", &[down, silent]).await {
        is_error(&told, 504, "server_error", "deadline_exceeded", None);
        assert_eq!(told.trail(), "0=rate_limited 1=deadline_exceeded");
        let message = told.error["message"].as_str().unwrap();
        assert!(message.contains("chat-1/m: deadline_exceeded"), "{message}");
    }
}

#[tokio::test]
async fn line_5_only_rate_limits_are_a_429_with_the_soonest_retry_after() {
    let google = json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded", "details": [
        { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.2s" },
    ]}});
    let google = (Gemini, crate::support::replies::json_reply(429, &google));
    let anthropic = anthropic_error(429, "rate_limit_error", "Slow down");
    let cases = [
        (vec![(OpenAi, limited(&[("retry-after", "40")])), google], Some(("18", true))),
        (vec![(OpenAi, limited(&[("retry-after", "30")]))], Some(("30", true))),
        (vec![(OpenAi, limited(&[("retry-after", "31")]))], Some(("31", false))),
        (vec![(OpenAi, limited(&[("retry-after-ms", "4100")]))], Some(("5", true))),
        (vec![(OpenAi, limited(&[])), (Anthropic, anthropic)], None),
    ];
    for (answers, retry) in cases {
        for told in each_way("", &answers).await {
            is_error(&told, 429, "rate_limit_error", "rate_limit_exceeded", retry);
        }
    }
}

#[tokio::test]
async fn line_5_targets_that_are_parked_for_their_rate_limit_are_rate_limited_still() {
    let first = Upstream::always(limited(&[("retry-after", "20")])).await;
    let next = Upstream::always(limited(&[("retry-after", "50")])).await;
    let gateway = chat("", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
    let told = ask(&gateway, "chat", false).await;
    is_error(&told, 429, "rate_limit_error", "rate_limit_exceeded", Some(("20", true)));
    assert_eq!(told.trail(), "0=rate_limited 1=rate_limited");
    // Both are parked now; the one that is ready sooner is asked all the same.
    let told = ask(&gateway, "chat", true).await;
    assert_eq!(told.trail(), "0=skip:circuit_open 1=skip:circuit_open 0=rate_limited");
    assert_eq!((told.status, &told.error["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!(told.header("x-should-retry"), Some("true"));
    assert_eq!((first.hits(), next.hits()), (2, 1));
}

#[tokio::test]
async fn line_6_only_circuits_and_missing_credentials_are_a_503() {
    let first = Upstream::always(openai_error(401, "x", None, "No")).await;
    let next = second().await;
    let scene = Scene::default().chain(
        "chat",
        "",
        &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next).provider("api_key = \"env:NOT_SET\"")],
    );
    let gateway = scene.start().await;
    // The first request still learns what is wrong.
    is_error(&ask(&gateway, "chat", false).await, 502, "server_error", "all_targets_failed", None);
    for streamed in [false, true] {
        let told = ask(&gateway, "chat", streamed).await;
        let wait: u64 = told.header("retry-after").unwrap().parse().unwrap();
        assert!((30..=60).contains(&wait), "{wait}");
        is_error(&told, 503, "server_error", "no_target_available", Some((&wait.to_string(), false)));
        assert_eq!(told.trail(), "0=skip:circuit_open 1=skip:no_credential");
    }
    assert_eq!((first.hits(), next.hits()), (1, 0));
}

#[tokio::test]
async fn line_7_one_and_the_same_upstream_status_is_passed_on() {
    for (code, class, kind) in [
        (404, "model_not_found", "server_error"),
        (408, "server_error", "server_error"),
        (500, "server_error", "server_error"),
        (502, "server_error", "server_error"),
        (503, "overloaded", "server_error"),
        (504, "server_error", "server_error"),
        (529, "overloaded", "server_error"),
    ] {
        let answers = [
            (OpenAi, openai_error(code, "x", None, "No")),
            (Anthropic, anthropic_error(code, "api_error", "No")),
        ];
        for told in each_way("", &answers).await {
            is_error(&told, code, kind, class, None);
        }
    }
}

#[tokio::test]
async fn line_8_anything_else_is_a_502() {
    let refusing = Refusing::new();
    let error = |status| (OpenAi, openai_error(status, "x", None, "No"));
    let cases = [
        // The caller's key was good.
        (vec![error(401)], "auth_failed"),
        (vec![error(403), error(403)], "auth_failed"),
        (vec![error(402)], "insufficient_quota"),
        // Not one and the same.
        (vec![error(500), error(503)], "all_targets_failed"),
        (vec![error(500), error(504)], "server_error"),
        (vec![error(409), error(409)], "server_error"),
        (vec![error(429), error(500)], "all_targets_failed"),
        // An outage is never hidden behind another target's 400.
        (
            vec![error(500), (Anthropic, anthropic_error(400, "invalid_request_error", "wrong"))],
            "all_targets_failed",
        ),
        (
            vec![(OpenAi, openai_error(400, "x", Some("context_length_exceeded"), TOO_LONG)), error(500)],
            "all_targets_failed",
        ),
        (vec![(OpenAi, status(200, "<html>", &[]))], "malformed"),
        (vec![(OpenAi, Script::new().reset())], "connection_lost"),
    ];
    for (answers, code) in cases {
        for told in each_way("", &answers).await {
            is_error(&told, 502, "server_error", code, None);
        }
    }
    let told = ask(&chat("retries = 0", &[Rung::refusing(&refusing)]).await, "chat", false).await;
    is_error(&told, 502, "server_error", "connect_failed", None);
}

#[tokio::test]
async fn a_class_that_stops_the_chain_speaks_for_it() {
    let limited = (OpenAi, openai_error(429, "x", None, "Slow down"));
    let filtered = openai_error(400, "invalid_request_error", Some("content_policy_violation"), "Filtered");
    let cases = [
        ((OpenAi, filtered), 400, "invalid_request_error", "content_filter"),
        (
            (OpenAi, openai_error(400, "invalid_request_error", Some("bad_value"), "Wrong")),
            400,
            "invalid_request_error",
            "bad_value",
        ),
        (
            (OpenAi, openai_error(422, "invalid_request_error", None, "Wrong")),
            422,
            "invalid_request_error",
            "",
        ),
        ((OpenAi, Script::new().silence()), 504, "server_error", "deadline_exceeded"),
    ];
    for (stops, status, kind, code) in cases {
        for told in each_way("deadline = \"500ms\"", &[limited.clone(), stops, limited.clone()]).await {
            is_error(&told, status, kind, code, None);
            assert_eq!(told.header("x-piton-attempts"), Some("2"));
        }
    }
}

#[tokio::test]
async fn the_message_names_each_target_and_its_class_in_a_line_and_then_the_last_words() {
    let key = "sk-proj-abcdefghijklmnop";
    let words = format!("Down. Tell support {key}. {}", "é".repeat(3000));
    let answers = [
        (OpenAi, openai_error(401, "x", None, "the first words")),
        (Anthropic, anthropic_error(529, "overloaded_error", "Overloaded")),
        (OpenAi, openai_error(500, "x", None, &words)),
    ];
    for told in each_way("", &answers).await {
        is_error(&told, 502, "server_error", "all_targets_failed", None);
        let message = told.error["message"].as_str().unwrap();
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "No target of the chain `chat` served this request.",
                "chat-0/m: auth_failed",
                "chat-1/m: overloaded",
                "chat-2/m: server_error",
            ]
        );
        let said = lines[4].strip_prefix("chat-2/m said: ").unwrap();
        assert!(said.starts_with(&format!("Down. Tell support {}. é", "*".repeat(key.len()))), "{said}");
        assert!(said.len() <= 1024 && said.ends_with("..."), "{}", said.len());
        assert_eq!(lines.len(), 5);
        assert!(!message.contains("the first words"));
    }
}

#[tokio::test]
async fn retries_are_told_in_the_line_of_their_target() {
    let flaky =
        Upstream::queue([openai_error(500, "x", None, "No")], openai_error(503, "x", None, "Later")).await;
    let told = ask(&chat("", &[Rung::new(OpenAi, &flaky)]).await, "chat", false).await;
    is_error(&told, 502, "server_error", "overloaded", None);
    let message = told.error["message"].as_str().unwrap();
    assert!(message.contains("\nchat-0/m: server_error, overloaded\n"), "{message}");
}

#[tokio::test]
async fn an_upstreams_words_reach_the_client_and_never_the_log() {
    let answers = openai_error(500, "x", None, "It quotes the request: my secret diary");
    let first = Upstream::always(answers).await;
    let gateway = chat("retries = 0", &[Rung::new(OpenAi, &first)]).await;
    let told = ask(&gateway, "chat", false).await;
    assert!(told.error["message"].as_str().unwrap().contains("my secret diary"));
    gateway.wait_for_log("the request", |line| line["message"] == "request").await;
    assert!(!gateway.stderr().contains("diary"));
}
