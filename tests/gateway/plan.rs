//! Before any call: which targets may take a request, in which order, and what of it they cannot take.

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::Upstream;

const CHAT: &str = "/v1/chat/completions";

fn ask() -> Value {
    json!({ "model": "main", "messages": [{ "role": "user", "content": "x".repeat(402) }] })
}

/// The same with these members.
fn ask_with(members: &Value) -> Value {
    let mut body = ask();
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

/// One user message with this part beside its text.
fn ask_with_part(part: &Value) -> Value {
    let parts = json!([{ "type": "text", "text": "look" }, part]);
    ask_with(&json!({ "messages": [{ "role": "user", "content": parts }] }))
}

fn failing() -> Script {
    replies::openai_error(500, "server_error", None, "broken")
}

fn provider(name: &str, kind: &str, upstream: &Upstream) -> String {
    format!("[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{}\"\n", upstream.url())
}

/// `a/m`, `b/m` and `c/m` in one chain, without retries.
fn three(a: &Upstream, b: &Upstream, c: &Upstream, more: &str) -> String {
    format!(
        "[defaults]\nretries = 0\nbreaker = false\n{}{}{}[chains.main]\n{more}\ntargets = [\"a/m\", \"b/m\", \"c/m\"]\n",
        provider("a", "openai", a),
        provider("b", "openai", b),
        provider("c", "openai", c)
    )
}

async fn good() -> Upstream {
    Upstream::always(replies::openai_json("good")).await
}

fn trail(answer: &Response) -> Vec<String> {
    let header = answer.header("x-piton-trail").unwrap_or_default();
    header.split(", ").map(|entry| entry.split(';').next().unwrap().to_owned()).collect()
}

const IMAGE: &str = "data:image/png;base64,iVBORw0KGgo=";

fn tool() -> Value {
    json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }])
}

fn schema() -> Value {
    let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    json!({ "type": "json_schema", "json_schema": { "name": "s", "strict": true, "schema": schema } })
}

#[tokio::test]
async fn a_target_that_lacks_what_the_request_needs_is_skipped_by_its_name() {
    let pdf = json!({ "filename": "x.pdf", "file_data": "data:application/pdf;base64,JVBERi0=" });
    let cases = [
        ("vision", ask_with_part(&json!({ "type": "image_url", "image_url": { "url": IMAGE } }))),
        (
            "vision",
            ask_with_part(&json!({ "type": "image_url", "image_url": { "url": "https://x.test/y" } })),
        ),
        (
            "audio",
            ask_with_part(
                &json!({ "type": "input_audio", "input_audio": { "data": "AA==", "format": "wav" } }),
            ),
        ),
        ("documents", ask_with_part(&json!({ "type": "file", "file": pdf }))),
        ("tools", ask_with(&json!({ "tools": tool() }))),
        ("json_schema", ask_with(&json!({ "response_format": schema() }))),
        ("json_mode", ask_with(&json!({ "response_format": { "type": "json_object" } }))),
        ("logprobs", ask_with(&json!({ "logprobs": true }))),
        ("n", ask_with(&json!({ "n": 2 }))),
        ("parallel_tools", ask_with(&json!({ "tools": tool(), "parallel_tool_calls": true }))),
    ];
    for (what, body) in cases {
        let (a, b) = (good().await, good().await);
        let lacking = format!("[models.\"a/m\"]\ncapabilities = {{ {what} = false }}\n");
        let chains = "[chains]\nmain = [\"a/m\", \"b/m\"]\nalone = [\"a/m\"]\n";
        let file = provider("a", "openai", &a) + &provider("b", "openai", &b) + &lacking + chains;
        let gateway = Gateway::start(&file).await;
        let answer = gateway.post_json(CHAT, &body).await;
        assert_eq!((answer.status, a.hits(), b.hits()), (200, 0, 1), "{what}: {}", answer.text());
        assert_eq!(trail(&answer), [format!("a/m=skip:capability:{what}"), "b/m=ok".to_owned()]);
        assert_eq!(answer.header("x-piton-fallback-reason"), None, "{what} is a skip by design");

        let mut alone = body.clone();
        alone["model"] = json!("alone");
        let refused = gateway.post_json(CHAT, &alone).await;
        assert_eq!((refused.status, a.hits()), (400, 0), "{what}");
        assert!(refused.text().contains(&format!("capability:{what}")), "{}", refused.text());
        let plain = gateway.post_json(CHAT, &ask()).await;
        assert_eq!(plain.header("x-piton-target"), Some("a/m"), "without that need nothing is skipped");
    }
}

#[tokio::test]
async fn a_target_whose_longest_answer_is_shorter_than_the_cap_is_skipped_if_the_cap_goes_out_as_it_came() {
    let (a, b) = (good().await, good().await);
    let models = "[models.\"a/m\"]\nmax_output = 100\n[chains]\nmain = [\"a/m\", \"b/m\"]\n";
    let file = provider("a", "openai", &a) + &provider("b", "openai", &b) + models;
    let gateway = Gateway::start(&file).await;
    let first_line = async |cap: u32| {
        let answer = gateway.post_json(CHAT, &ask_with(&json!({ "max_tokens": cap }))).await;
        trail(&answer)[0].clone()
    };
    assert_eq!(first_line(100).await, "a/m=ok");
    assert_eq!(first_line(101).await, "a/m=skip:capability:max_output");
    assert_eq!((a.hits(), b.hits()), (1, 1));
}

#[tokio::test]
async fn what_a_dialect_cannot_say_makes_its_target_skipped() {
    let user = json!({ "role": "user", "content": "x" });
    let older = json!([
        user,
        { "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "{}" } },
        { "role": "function", "name": "f", "content": "1" },
    ]);
    let call = json!({ "id": "c", "type": "custom", "custom": { "name": "f", "input": "x" } });
    let textual = json!([
        user,
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c", "content": "1" },
    ]);
    let cases = [
        ("anthropic", "json_mode", json!({ "response_format": { "type": "json_object" } })),
        ("anthropic", "logprobs", json!({ "logprobs": true })),
        ("anthropic", "n", json!({ "n": 2 })),
        ("cohere", "n", json!({ "n": 2 })),
        ("anthropic", "functions", json!({ "messages": older })),
        ("gemini", "custom_tools", json!({ "messages": textual })),
        ("mistral", "functions", json!({ "messages": older })),
        ("mistral", "custom_tools", json!({ "messages": textual })),
    ];
    for (kind, what, members) in cases {
        let (a, b) = (good().await, good().await);
        let file =
            provider("a", kind, &a) + &provider("b", "openai", &b) + "[chains]\nmain = [\"a/m\", \"b/m\"]\n";
        let gateway = Gateway::start(&file).await;
        let answer = gateway.post_json(CHAT, &ask_with(&members)).await;
        assert_eq!((answer.status, a.hits(), b.hits()), (200, 0, 1), "{kind} {what}");
        assert_eq!(trail(&answer)[0], format!("a/m=skip:capability:{what}"));
    }
}

#[tokio::test]
async fn a_hint_that_a_target_cannot_take_is_dropped_and_told() {
    let hints = json!({
        "seed": 7, "logit_bias": { "1": 1 }, "reasoning_effort": "high", "metadata": { "order": "7" }, "made_up": 1,
    });
    let cases = [
        ("openai", replies::openai_json("good"), "reasoning_effort"),
        ("anthropic", replies::anthropic_json("good"), "seed,logit_bias,reasoning_effort,metadata,made_up"),
    ];
    for (kind, answer, expected) in cases {
        let a = Upstream::always(answer).await;
        let file = provider("a", kind, &a)
            + "[models.\"a/m\"]\ncapabilities = { reasoning = false }\n[chains]\nmain = [\"a/m\"]\n";
        let gateway = Gateway::start(&file).await;
        let answer = gateway.post_json(CHAT, &ask_with(&hints)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sorted = |list: &str| {
            let mut names: Vec<String> = list.split(',').map(str::to_owned).collect();
            names.sort();
            names
        };
        let dropped = answer.header("x-piton-dropped").expect("something was dropped");
        assert_eq!(sorted(dropped), sorted(expected), "{kind}");
        let sent = a.request(0).json();
        for field in expected.split(',') {
            assert!(sent.get(field).is_none(), "{kind} got {field}: {sent}");
        }
        let plain = gateway.post_json(CHAT, &ask()).await;
        assert_eq!(plain.header("x-piton-dropped"), None, "nothing was dropped there");
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_for_a_window_is_not_sent_there() {
    let (a, b) = (good().await, good().await);
    // By the low estimate 402 bytes are 67 tokens.
    let windows = "[models.\"a/m\"]\ncontext = 166\n[models.\"b/m\"]\ncontext = 167\n";
    let chains = "[chains]\nmain = [\"a/m\", \"b/m\"]\nalone = [\"a/m\"]\n";
    let file = provider("a", "openai", &a) + &provider("b", "openai", &b) + windows + chains;
    let gateway = Gateway::start(&file).await;
    let answer = gateway.post_json(CHAT, &ask_with(&json!({ "max_tokens": 100 }))).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (200, 0, 1));
    assert_eq!(trail(&answer), ["a/m=skip:context_window", "b/m=ok"]);
    let fits = gateway.post_json(CHAT, &ask_with(&json!({ "max_tokens": 99 }))).await;
    assert_eq!(fits.header("x-piton-target"), Some("a/m"));
    let alone = gateway.post_json(CHAT, &ask_with(&json!({ "max_tokens": 100, "model": "alone" }))).await;
    assert_eq!((alone.status, a.hits()), (400, 1));
    assert_eq!(alone.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn models_and_fallbacks_narrow_and_reorder_the_chain() {
    // The members, and which targets are called in which order when all fail.
    let cases = [
        (json!({}), vec!["a/m", "b/m", "c/m"]),
        (json!({ "models": ["b/m"] }), vec!["b/m"]),
        (json!({ "models": ["c/m", "a/m"] }), vec!["c/m", "a/m"]),
        (json!({ "models": ["c/m", "c/m", "b/m"] }), vec!["c/m", "b/m"]),
        (json!({ "fallbacks": ["c/m"] }), vec!["a/m", "c/m"]),
        (json!({ "fallbacks": [] }), vec!["a/m"]),
        (json!({ "fallbacks": [{ "model": "c/m" }, "b/m"] }), vec!["a/m", "c/m", "b/m"]),
        (json!({ "models": ["b/m", "c/m"], "fallbacks": ["a/m"] }), vec!["b/m", "a/m"]),
    ];
    let upstreams = [
        Upstream::always(failing()).await,
        Upstream::always(failing()).await,
        Upstream::always(failing()).await,
    ];
    let [a, b, c] = &upstreams;
    let gateway = Gateway::start(&three(a, b, c, "")).await;
    for (members, order) in cases {
        let answer = gateway.post_json(CHAT, &ask_with(&members)).await;
        let expected: Vec<String> = order.iter().map(|target| format!("{target}=server_error")).collect();
        assert_eq!(trail(&answer), expected, "{members}");
        assert_eq!(answer.status, 500);
    }
    for received in upstreams.iter().flat_map(Upstream::requests) {
        let sent = received.json();
        assert!(sent.get("models").is_none() && sent.get("fallbacks").is_none(), "{sent}");
        assert_eq!(sent["model"], "m");
    }
}

#[tokio::test]
async fn parameters_of_a_fallback_hold_for_that_target_alone() {
    let (a, b) = (Upstream::always(failing()).await, good().await);
    let c = good().await;
    let gateway = Gateway::start(&three(&a, &b, &c, "")).await;
    let members = json!({
        "temperature": 0.9,
        "fallbacks": [{ "model": "b/m", "temperature": 0.1, "max_tokens": 7 }],
    });
    let answer = gateway.post_json(CHAT, &ask_with(&members)).await;
    assert_eq!(answer.header("x-piton-target"), Some("b/m"));
    let (first, second) = (a.request(0).json(), b.request(0).json());
    assert_eq!((&first["temperature"], first.get("max_tokens")), (&json!(0.9), None));
    assert_eq!((&second["temperature"], &second["max_tokens"]), (&json!(0.1), &json!(7)));
    assert_eq!(second["messages"], first["messages"]);
}

#[tokio::test]
async fn a_name_outside_the_chain_is_refused_before_any_call() {
    let (a, b, c) = (good().await, good().await, good().await);
    let gateway = Gateway::start(&three(&a, &b, &c, "")).await;
    let cases = [
        (json!({ "models": ["a/m", "openai/gpt-4o"] }), "models[1]"),
        (json!({ "models": [] }), "models"),
        (json!({ "fallbacks": ["d/m"] }), "fallbacks[0]"),
        (json!({ "fallbacks": ["b/m", { "model": "other", "seed": 1 }] }), "fallbacks[1]"),
        (json!({ "models": "a/m" }), "models"),
        (json!({ "fallbacks": [{ "model": "b/m", "temperature": "hot" }] }), "temperature"),
    ];
    for (members, param) in cases {
        let answer = gateway.post_json(CHAT, &ask_with(&members)).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, &error["param"]), (400, &json!(param)), "{members}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    assert_eq!(a.hits() + b.hits() + c.hits(), 0);
}

#[tokio::test]
async fn without_fallback_the_first_eligible_target_answers_or_nobody() {
    let (a, b, c) = (Upstream::always(failing()).await, good().await, good().await);
    let tools = "[models.\"a/m\"]\ncapabilities = { tools = false }\n";
    let gateway = Gateway::start(&(three(&a, &b, &c, "") + tools)).await;
    let off = |body: Value| {
        let gateway = &gateway;
        async move {
            let headers = [("content-type", "application/json"), ("x-piton-fallback", "off")];
            gateway.request("POST", CHAT, &headers, body.to_string().as_bytes()).await
        }
    };
    let answer = off(ask()).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (500, 1, 0));
    assert_eq!(trail(&answer), ["a/m=server_error"]);
    let answer = off(ask_with(&json!({ "tools": tool() }))).await;
    assert_eq!((answer.status, a.hits(), b.hits(), c.hits()), (200, 1, 1, 0), "passed over by design");
    let mut by_metadata = ask();
    by_metadata["metadata"] = json!({ "piton_fallback": "off" });
    let answer = gateway.post_json(CHAT, &by_metadata).await;
    assert_eq!((answer.status, a.hits(), b.hits()), (500, 2, 1));
}

#[tokio::test]
async fn max_attempts_bounds_the_calls_and_a_retry_never_takes_a_later_targets_call() {
    // `retries`, `max_attempts`, and the calls that each target gets.
    let cases =
        [(5, 1, [1, 0, 0]), (5, 2, [1, 1, 0]), (5, 3, [1, 1, 1]), (5, 5, [3, 1, 1]), (1, 4, [2, 1, 1])];
    for (retries, max_attempts, hits) in cases {
        let upstreams = [
            Upstream::always(failing()).await,
            Upstream::always(failing()).await,
            Upstream::always(failing()).await,
        ];
        let [a, b, c] = &upstreams;
        let file = three(a, b, c, &format!("retries = {retries}\nmax_attempts = {max_attempts}"));
        let gateway = Gateway::start(&file).await;
        let answer = gateway.post_json(CHAT, &ask()).await;
        let seen: Vec<usize> = upstreams.iter().map(Upstream::hits).collect();
        assert_eq!(seen, hits, "{retries} retries, {max_attempts} attempts");
        assert_eq!(answer.header("x-piton-attempts"), Some(max_attempts.to_string().as_str()));
    }
}

#[tokio::test]
async fn sound_and_the_older_functions_are_no_hints_that_a_translated_target_may_leave_out() {
    let upstream = good().await;
    for (lacking, members) in [
        ("audio", json!({ "modalities": ["text", "audio"], "audio": { "voice": "alloy", "format": "wav" } })),
        ("functions", json!({ "functions": [{ "name": "f", "parameters": { "type": "object" } }] })),
    ] {
        for kind in ["anthropic", "gemini"] {
            let config = format!("{}[chains]\nmain = [\"a/m\"]\n", provider("a", kind, &upstream));
            let gateway = Gateway::with(&config).env("ANTHROPIC_API_KEY", "x").env("GEMINI_API_KEY", "x");
            let answer = gateway.start().await.post_json(CHAT, &ask_with(&members)).await;
            assert_eq!(answer.status, 400, "{kind}: {}", answer.text());
            assert_eq!(trail(&answer), [format!("a/m=skip:capability:{lacking}")], "{kind}");
        }
    }
    assert_eq!(upstream.hits(), 0);
}
