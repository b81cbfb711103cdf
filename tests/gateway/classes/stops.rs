//! What no other target is asked about, or only some: the request's own fault, and the deadline.

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, ask, ask_with, chat, question, second};
use crate::support::replies::{anthropic_error, gemini_error, json_reply, openai_error};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

use Dialect::{Anthropic, Gemini, OpenAi};

fn filtered() -> [(Dialect, Script); 4] {
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" } });
    [
        (OpenAi, openai_error(400, "invalid_request_error", Some("content_filter"), "Filtered")),
        (OpenAi, openai_error(400, "x", Some("content_policy_violation"), "Filtered")),
        (
            Anthropic,
            anthropic_error(400, "invalid_request_error", "Output blocked by content filtering policy"),
        ),
        (Gemini, json_reply(200, &blocked)),
    ]
}

#[tokio::test]
async fn a_filtered_request_goes_nowhere_else() {
    for (dialect, script) in filtered() {
        let (first, next) = (Upstream::always(script).await, second().await);
        let gateway = chat("", &[Rung::new(dialect, &first), Rung::new(OpenAi, &next)]).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            let expected = "400 content_filter | 0=content_filter | by - after 1 because content_filter";
            assert_eq!(told.summary(), expected, "{dialect:?}");
            assert_eq!(told.header("x-should-retry"), Some("false"));
        }
        assert_eq!((first.hits(), next.hits()), (2, 0));
    }
}

#[tokio::test]
async fn a_filtered_request_goes_on_where_the_chain_opts_in() {
    for (dialect, script) in filtered() {
        let (first, next) = (Upstream::always(script).await, second().await);
        let policy = "on = { content_filter = \"fallback\" }";
        let gateway = chat(policy, &[Rung::new(dialect, &first), Rung::new(OpenAi, &next)]).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            let expected = "200 second | 0=content_filter 1=ok | by 1 after 2 because content_filter";
            assert_eq!(told.summary(), expected, "{dialect:?}");
        }
        assert_eq!((first.hits(), next.hits()), (2, 2));
    }
}

#[tokio::test]
async fn an_invalid_request_at_a_pass_through_target_stops_with_the_upstreams_own_words() {
    let error = json!({ "error": {
        "message": "Unknown parameter: 'temprature'. Your key sk-proj-abcdefghijklmnop is fine.",
        "type": "invalid_request_error", "param": "temprature", "code": "unknown_parameter",
    }});
    for (upstream_status, status) in [(400, 400), (422, 422), (405, 400), (451, 400)] {
        let (first, next) = (Upstream::always(json_reply(upstream_status, &error)).await, second().await);
        let gateway = chat("", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            assert_eq!(
                told.summary(),
                format!(
                    "{status} unknown_parameter | 0=invalid_request | by - after 1 because invalid_request"
                )
            );
            assert_eq!(told.error["param"], "temprature");
            assert_eq!(told.error["type"], "invalid_request_error");
            let masked = "*".repeat("sk-proj-abcdefghijklmnop".len());
            let message = format!("Unknown parameter: 'temprature'. Your key {masked} is fine.");
            assert_eq!(told.error["message"], message);
        }
        assert_eq!((first.hits(), next.hits()), (2, 0));
    }
}

#[tokio::test]
async fn an_invalid_request_at_a_translated_target_goes_on_since_the_fault_may_be_ours() {
    for (dialect, script) in [
        (Anthropic, anthropic_error(400, "invalid_request_error", "messages.0: wrong")),
        (Gemini, gemini_error(400, "INVALID_ARGUMENT", "Invalid value")),
    ] {
        let (first, next) = (Upstream::always(script).await, second().await);
        let gateway = chat("", &[Rung::new(dialect, &first), Rung::new(OpenAi, &next)]).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            let expected = "200 second | 0=invalid_request 1=ok | by 1 after 2 because invalid_request";
            assert_eq!(told.summary(), expected);
        }
        assert_eq!((first.hits(), next.hits()), (2, 2));
    }
}

#[tokio::test]
async fn too_long_for_one_window_goes_only_to_larger_or_unknown_ones() {
    let too_long = || openai_error(400, "invalid_request_error", Some("context_length_exceeded"), "Too long");
    let first = Upstream::always(too_long()).await;
    let (same, smaller) = (second().await, second().await);
    let larger = Upstream::always(too_long()).await;
    let between = second().await;
    let unknown = second().await;
    let rungs = [&first, &same, &smaller, &larger, &between, &unknown].map(|up| Rung::new(OpenAi, up));
    let windows = [8000, 8000, 4000, 32_000, 16_000].into_iter().enumerate();
    let models = windows.map(|(at, window)| format!("[models.\"chat-{at}/m\"]\ncontext = {window}\n"));
    let scene = Scene::default().chain("chat", "", &rungs).also(&models.collect::<String>());
    let gateway = scene.start().await;
    for streamed in [false, true] {
        let told = ask(&gateway, "chat", streamed).await;
        let expected = "200 second | 0=context_length 1=skip:context_window 2=skip:context_window \
                        3=context_length 4=skip:context_window 5=ok | by 5 after 3 because context_length";
        assert_eq!(told.summary(), expected);
    }
    assert_eq!(
        [&first, &same, &smaller, &larger, &between, &unknown].map(Upstream::hits),
        [2, 0, 0, 2, 0, 2]
    );
}

#[tokio::test]
async fn the_chains_deadline_stops_everything() {
    for streamed in [false, true] {
        let (first, next) = (Upstream::always(Script::new().silence()).await, second().await);
        let rungs = [Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)];
        let told = ask(&chat("deadline = \"300ms\"", &rungs).await, "chat", streamed).await;
        let expected = "504 deadline_exceeded | 0=deadline_exceeded | by - after 1 because deadline_exceeded";
        assert_eq!(told.summary(), expected);
        assert_eq!(told.header("x-should-retry"), Some("false"));
        assert_eq!(told.error["type"], "server_error");
        // The upstream sees the call go.
        first.closed_early().await;
        assert_eq!((first.hits(), next.hits()), (1, 0));
    }
}

#[tokio::test]
async fn the_client_may_lower_the_deadline_and_never_raise_it() {
    let (first, next) = (Upstream::always(Script::new().silence()).await, second().await);
    let scene = Scene::default()
        .chain("long", "", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)])
        .chain("short", "deadline = \"300ms\"", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]);
    let gateway = scene.start().await;
    let in_metadata = |chain: &str, deadline: &str| {
        let mut body = question(chain, false);
        body["metadata"] = json!({ "piton_deadline": deadline });
        body
    };
    let cases: [(Option<&str>, Value); 4] = [
        (Some("300ms"), question("long", false)),
        (None, in_metadata("long", "300ms")),
        (Some("10m"), question("short", false)),
        (None, in_metadata("short", "10m")),
    ];
    for (header, body) in cases {
        let headers: Vec<_> = header.map(|value| ("x-piton-deadline", value)).into_iter().collect();
        let told = ask_with(&gateway, &headers, &body).await;
        let expected = "504 deadline_exceeded | 0=deadline_exceeded | by - after 1 because deadline_exceeded";
        assert_eq!(told.summary(), expected, "{header:?} {body}");
    }
    assert_eq!((first.hits(), next.hits()), (4, 0));
}

#[tokio::test]
async fn a_deadline_that_is_no_target_fault_trips_no_circuit() {
    let first = Upstream::always(Script::new().silence()).await;
    let rung = Rung::new(OpenAi, &first).provider("breaker = { failures = 1 }");
    let gateway = chat("deadline = \"100ms\"", &[rung]).await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "chat", false).await.status, 504);
    }
    assert_eq!(first.hits(), 3);
}
