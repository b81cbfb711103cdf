//! Every fault, as a client meets it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;

/// Long enough that what has not come will not come.
const SILENCE: Duration = Duration::from_millis(150);
/// Long enough that what will come has come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What of a streamed answer arrives before it ends, breaks, or falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    Broken,
    Silent,
}

async fn stream(fixture: &Fixture, api: Api, model: &str, expected: End) -> String {
    let response = fixture.ask(api, model, "Hi", true).await.unwrap();
    assert_eq!(response.status(), 200);
    read(response, expected).await
}

/// The body, which must end as expected.
async fn read(response: Response, expected: End) -> String {
    let patience = if expected == End::Silent { SILENCE } else { PATIENCE };
    let mut text = String::new();
    let mut body = response.bytes_stream();
    let end = loop {
        match timeout(patience, body.next()).await {
            Ok(Some(Ok(bytes))) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(Some(Err(_))) => break End::Broken,
            Ok(None) => break End::Clean,
            Err(_) => break End::Silent,
        }
    };
    assert_eq!(end, expected, "{text}");
    text
}

fn pieces(api: Api, text: &str) -> usize {
    let events = parse_events(text);
    let pieces = events.iter().filter_map(|event| event.pointer(delta_of(api))?.as_str());
    pieces.filter(|piece| !piece.is_empty()).count()
}

fn is_terminated(api: Api, text: &str) -> bool {
    match api {
        Api::OpenAi => text.contains("[DONE]"),
        Api::Anthropic => text.contains("message_stop"),
        Api::Gemini => text.contains("finishReason"),
    }
}

#[tokio::test]
async fn error_statuses_come_in_the_dialects_envelope() {
    let fixture = start().await;
    for (model, statuses, kinds) in [
        ("status-503", [503, 503, 503], ["server_error", "api_error", "UNAVAILABLE"]),
        ("status-429", [429, 429, 429], ["requests", "rate_limit_error", "RESOURCE_EXHAUSTED"]),
        ("overloaded", [503, 529, 503], ["server_error", "overloaded_error", "UNAVAILABLE"]),
        ("quota", [429, 400, 429], ["insufficient_quota", "invalid_request_error", "RESOURCE_EXHAUSTED"]),
        ("auth", [401, 401, 400], ["invalid_request_error", "authentication_error", "INVALID_ARGUMENT"]),
        ("not-found", [404, 404, 404], ["invalid_request_error", "not_found_error", "NOT_FOUND"]),
        (
            "context-length",
            [400, 400, 400],
            ["invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"],
        ),
    ] {
        for (api, (status, kind)) in Api::ALL.into_iter().zip(statuses.into_iter().zip(kinds)) {
            for streamed in [false, true] {
                let response = fixture.ask(api, model, "Hi", streamed).await.unwrap();
                assert_eq!(response.status(), status, "{model} {api:?}");
                let error = json_of(response).await;
                let field = if api == Api::Gemini { "status" } else { "type" };
                assert_eq!(error["error"][field], kind, "{model} {error}");
            }
        }
    }
    let message = |error: &Value| error["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message(&fixture.answer(Api::OpenAi, "context-length", "Hi").await)
            .contains("maximum context length")
    );
    assert!(
        message(&fixture.answer(Api::Anthropic, "context-length", "Hi").await)
            .starts_with("prompt is too long")
    );
    assert!(
        message(&fixture.answer(Api::Gemini, "context-length", "Hi").await)
            .contains("exceeds the maximum number")
    );
    assert!(
        message(&fixture.answer(Api::Gemini, "not-found", "Hi").await)
            .starts_with("models/not-found is not found")
    );
}

#[tokio::test]
async fn retry_hints_are_where_the_provider_puts_them() {
    let fixture = start().await;
    for api in [Api::OpenAi, Api::Anthropic] {
        let response = fixture.ask(api, "status-429-retry-after-2", "Hi", false).await.unwrap();
        assert_eq!(response.headers()["retry-after"], "2");
        assert!(!response.headers().contains_key("retry-after-ms"));
    }
    let precise = fixture.ask(Api::OpenAi, "overloaded-retry-after-1500ms", "Hi", false).await.unwrap();
    assert_eq!(
        (&precise.headers()["retry-after"], &precise.headers()["retry-after-ms"]),
        (&"2".parse().unwrap(), &"1500".parse().unwrap())
    );
    let gemini = fixture.ask(Api::Gemini, "status-429-retry-after-1.5s", "Hi", false).await.unwrap();
    assert!(!gemini.headers().contains_key("retry-after"));
    assert_eq!(json_of(gemini).await["error"]["details"][0]["retryDelay"], "1.5s");
    let quota = fixture.answer(Api::Gemini, "quota-retry-after-3", "Hi").await;
    assert_eq!(quota["error"]["details"][1]["retryDelay"], "3s");
}

#[tokio::test]
async fn bad_words_in_a_name_are_explained() {
    let fixture = start().await;
    for api in Api::ALL {
        let response = fixture.ask(api, "mock-status-5000", "Hi", false).await.unwrap();
        assert_eq!(response.status(), 400);
        let error = json_of(response).await;
        assert!(
            error["error"]["message"].as_str().unwrap().contains("`5000` is no CODE for `status`"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn silent_upstreams_keep_silent() {
    let fixture = start().await;
    let each = Api::ALL.into_iter().flat_map(|api| [(api, false), (api, true)]);
    join_all(each.map(async |(api, streamed)| {
        let hang = fixture.ask(api, "hang", "Hi", streamed);
        assert!(timeout(SILENCE, hang).await.is_err());
        for (model, nothing) in [("hang-body", true), ("stall", false)] {
            let response = fixture.ask(api, model, "Hi", streamed).await.unwrap();
            let text = read(response, End::Silent).await;
            assert_eq!(text.is_empty(), nothing, "{model} {api:?} {text}");
        }
    }))
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_wait() {
    let fixture = start().await;
    for model in ["hang", "hang-body", "stall", "slow-600s"] {
        let mut raw = TcpStream::connect(fixture.mock.address()).await.unwrap();
        let body = minimal(Api::OpenAi, model, "Hi", true).to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        raw.write_all(request.as_bytes()).await.unwrap();
        let mut seen = [0; 64];
        // The server, not this side, closes once it has seen the end of what this side sends.
        let _ = timeout(SILENCE, raw.read(&mut seen)).await;
        raw.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(10), raw.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{model} still holds its connection");
    }
}

#[tokio::test]
async fn a_reset_comes_instead_of_a_head() {
    let fixture = start().await;
    let error = fixture.ask(Api::OpenAi, "reset", "Hi", true).await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    let mut raw = TcpStream::connect(fixture.mock.address()).await.unwrap();
    let body = minimal(Api::OpenAi, "reset", "Hi", false).to_string();
    let request =
        format!("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    raw.write_all(request.as_bytes()).await.unwrap();
    let error = raw.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn streams_break_where_they_are_told_to() {
    let fixture = start().await;
    for api in Api::ALL {
        let good = stream(&fixture, api, "ok", End::Clean).await;
        assert!(is_terminated(api, &good));
        let all = pieces(api, &good);
        for (model, count, end) in [
            ("cut", all.div_ceil(2), End::Broken),
            ("cut-0", 0, End::Broken),
            ("cut-2", 2, End::Broken),
            ("cut-999", all, End::Broken),
            ("stall-3", 3, End::Silent),
            ("end-early", all.div_ceil(2), End::Clean),
            ("end-early-0", 0, End::Clean),
            ("no-done", all, End::Clean),
        ] {
            let text = stream(&fixture, api, model, end).await;
            assert_eq!(pieces(api, &text), count, "{model} {api:?}: {text}");
            assert!(!is_terminated(api, &text), "{model} {api:?}: {text}");
        }
    }
}

#[tokio::test]
async fn json_bodies_break_where_they_are_told_to() {
    let fixture = start().await;
    for api in Api::ALL {
        for (model, nothing, end) in [
            ("cut", false, End::Broken),
            ("cut-0", true, End::Broken),
            ("stall", false, End::Silent),
            ("end-early", false, End::Clean),
            ("malformed", false, End::Clean),
        ] {
            let response = fixture.ask(api, model, "Hi", false).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-type"]),
                (200, &"application/json".parse().unwrap())
            );
            let text = read(response, end).await;
            assert_eq!(text.is_empty(), nothing, "{model} {api:?}");
            assert!(serde_json::from_str::<Value>(&text).is_err());
        }
        assert!(!text_of(api, &fixture.answer(api, "no-done", "Hi").await).is_empty());
    }
}

#[tokio::test]
async fn one_bad_event_stands_in_a_good_stream() {
    let fixture = start().await;
    for api in Api::ALL {
        let good = stream(&fixture, api, "ok", End::Clean).await;
        let text = stream(&fixture, api, "malformed", End::Clean).await;
        assert_eq!(pieces(api, &text), pieces(api, &good));
        let bad =
            parse_events(&text).into_iter().filter(|event| event.is_string() && *event != "[DONE]").count();
        assert_eq!(bad, 1, "{text}");
        assert!(is_terminated(api, &text));
    }
}

#[tokio::test]
async fn an_error_can_come_after_the_head() {
    let fixture = start().await;
    for api in Api::ALL {
        let text = stream(&fixture, api, "error-in-stream", End::Clean).await;
        let events = parse_events(&text);
        assert_eq!(events.len(), 1, "{text}");
        assert!(events[0]["error"]["message"].is_string());
        assert_eq!(text.starts_with("event: error\n"), api == Api::Anthropic);
        let text = stream(&fixture, api, "error-in-stream-2", End::Clean).await;
        assert_eq!((pieces(api, &text), is_terminated(api, &text)), (2, false));
        assert!(parse_events(&text).last().unwrap()["error"].is_object());
        let response = fixture.ask(api, "error-in-stream", "Hi", false).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(json_of(response).await["error"].is_object());
    }
}

#[tokio::test]
async fn answers_without_an_answer() {
    let fixture = start().await;
    for api in Api::ALL {
        for streamed in [false, true] {
            let response = fixture.ask(api, "garbage", "Hi", streamed).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-type"]),
                (200, &"text/html".parse().unwrap())
            );
        }
        let text = stream(&fixture, api, "empty-reasoning", End::Clean).await;
        assert_eq!((pieces(api, &text), is_terminated(api, &text)), (0, true));
    }
    let empty = fixture.answer(Api::OpenAi, "empty", "Hi").await;
    assert_eq!(
        (&empty["choices"][0]["message"]["content"], &empty["choices"][0]["finish_reason"]),
        (&json!(""), &json!("stop"))
    );
    assert_eq!(fixture.answer(Api::Anthropic, "empty", "Hi").await["content"], json!([]));
    let empty = fixture.answer(Api::Gemini, "empty", "Hi").await;
    assert_eq!(
        (&empty["candidates"][0]["content"], &empty["candidates"][0]["finishReason"]),
        (&json!({ "role": "model" }), &json!("STOP"))
    );
}

#[tokio::test]
async fn refusals_and_filters_speak_each_dialects_words() {
    let fixture = start().await;
    let refused = fixture.answer(Api::OpenAi, "refusal", "Hi").await;
    let message = &refused["choices"][0]["message"];
    assert_eq!((&message["refusal"], &message["content"]), (&json!("I can't help with that."), &Value::Null));
    let text = stream(&fixture, Api::OpenAi, "refusal", End::Clean).await;
    assert_eq!(joined(&parse_events(&text), "/choices/0/delta/refusal"), "I can't help with that.");
    let refused = fixture.answer(Api::Anthropic, "refusal", "Hi").await;
    assert_eq!((&refused["stop_reason"], &refused["content"]), (&json!("refusal"), &json!([])));
    assert_eq!(fixture.answer(Api::Gemini, "refusal", "Hi").await["candidates"][0]["finishReason"], "SAFETY");

    let filtered = fixture.answer(Api::OpenAi, "content-filter", "Hi").await;
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    let filtered = fixture.ask(Api::Anthropic, "content-filter", "Hi", true).await.unwrap();
    assert_eq!(filtered.status(), 400);
    let filtered = fixture.answer(Api::Gemini, "content-filter", "Hi").await;
    assert_eq!(
        (filtered.get("candidates"), &filtered["promptFeedback"]["blockReason"]),
        (None, &json!("PROHIBITED_CONTENT"))
    );
}

#[tokio::test]
async fn delays_come_where_they_belong() {
    let fixture = start().await;
    let slow = Duration::from_secs(1);
    join_all(Api::ALL.map(async |api| {
        let whole = ["slow-1s", "slow-1s-status-503", "slow-1s-garbage"].map(async |model| {
            let start = Instant::now();
            fixture.ask(api, model, "Hi", false).await.unwrap();
            assert!(start.elapsed() >= slow, "{model}");
        });
        // A stream has its head at once.
        let streamed = ["slow-1s", "slow-1s-empty"].map(async |model| {
            let start = Instant::now();
            let response = fixture.ask(api, model, "Hi", true).await.unwrap();
            let head = start.elapsed();
            response.text().await.unwrap();
            assert!(head < slow && start.elapsed() >= slow, "{model} {head:?} {:?}", start.elapsed());
        });
        let dripping = [(true, 10), (false, 8)].map(async |(streamed, gaps)| {
            let start = Instant::now();
            let response = fixture.ask(api, "drip-10ms-words-10", "Hi", streamed).await.unwrap();
            let text = response.text().await.unwrap();
            assert!(start.elapsed() >= Duration::from_millis(10) * gaps);
            assert_eq!(if streamed { pieces(api, &text) } else { 10 }, 10);
        });
        tokio::join!(join_all(whole), join_all(streamed), join_all(dripping));
    }))
    .await;
}

#[tokio::test]
async fn words_cached_and_reasoning_shape_the_answer() {
    let fixture = start().await;
    let usage = &fixture.answer(Api::OpenAi, "words-7-cached-reasoning", "Hello").await["usage"];
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!(reasoning > 0);
    assert_eq!(usage["completion_tokens"], 7 + reasoning);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 3);
}
