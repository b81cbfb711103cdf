//! Every sign of a class, in every dialect, streamed and not: how often the failing target is asked, and that the
//! next one serves.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, ask, good, second, wants_stream};
use crate::support::replies::{
    EventStream, anthropic_error, data, gemini_error, json_reply, openai_chunk, openai_error, status,
};
use crate::support::script::Script;
use crate::support::upstream::Upstream;

use Dialect::{Anthropic, Gemini, OpenAi};

/// What a failing target answers, and what follows.
struct Sign {
    dialect: Dialect,
    class: &'static str,
    /// How often the failing target is asked.
    asked: usize,
    json: Script,
    stream: Script,
}

/// The same answer to either kind of request.
fn sign(dialect: Dialect, class: &'static str, asked: usize, script: Script) -> Sign {
    Sign { dialect, class, asked, json: script.clone(), stream: script }
}

fn signs_by_kind(
    dialect: Dialect,
    class: &'static str,
    asked: usize,
    json: &Value,
    stream: &EventStream,
) -> Sign {
    Sign { dialect, class, asked, json: json_reply(200, json), stream: stream.all() }
}

/// Has every case fail at its own first target, all at once, and holds what the client and both upstreams saw
/// against what the class demands.
async fn each_falls_back(signs: Vec<Sign>) {
    let next = second().await;
    let mut scene = Scene::default();
    let mut failing = Vec::new();
    for (at, sign) in signs.iter().enumerate() {
        let (json, stream) = (sign.json.clone(), sign.stream.clone());
        let upstream = Upstream::start(
            move |_, request| {
                if wants_stream(request) { stream.clone() } else { json.clone() }
            },
        )
        .await;
        let rungs = [Rung::new(sign.dialect, &upstream), Rung::new(OpenAi, &next)];
        // Without a breaker, whose effect on the second request has its own tests.
        let rungs = rungs.map(|rung| rung.provider("breaker = false"));
        scene = scene.chain(&format!("c{at}"), "", &rungs);
        failing.push(upstream);
    }
    let gateway = scene.start().await;
    let mut surprises = Vec::new();
    for streamed in [false, true] {
        let before: Vec<usize> = failing.iter().map(Upstream::hits).collect();
        let names: Vec<String> = (0..signs.len()).map(|at| format!("c{at}")).collect();
        let told = join_all(names.iter().map(|chain| ask(&gateway, chain, streamed))).await;
        for (at, (sign, told)) in signs.iter().zip(&told).enumerate() {
            let Sign { dialect, class, asked, .. } = sign;
            let tries = format!("0={class} ").repeat(*asked);
            let expected = format!("200 second | {tries}1=ok | by 1 after {} because {class}", asked + 1);
            let hits = failing[at].hits() - before[at];
            if told.summary() != expected || hits != *asked {
                let json = sign.json.steps.first();
                surprises.push(format!(
                    "{dialect:?}, streamed: {streamed}, {json:?}\n expected {expected}\n      got {} with {hits} hits",
                    told.summary()
                ));
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
    assert_eq!(next.hits(), 2 * signs.len());
}

#[tokio::test]
async fn openais_error_statuses_fall_back_by_their_class() {
    let error = |status, kind, code: Option<&str>, message| openai_error(status, kind, code, message);
    let mut signs = vec![
        sign(OpenAi, "rate_limited", 2, error(429, "requests", Some("rate_limit_exceeded"), "Slow down")),
        sign(
            OpenAi,
            "quota_exhausted",
            1,
            error(429, "insufficient_quota", Some("insufficient_quota"), "You exceeded your current quota"),
        ),
        sign(OpenAi, "quota_exhausted", 1, error(402, "billing", None, "Insufficient Balance")),
        sign(OpenAi, "overloaded", 2, error(503, "server_error", None, "The engine is overloaded")),
        sign(OpenAi, "overloaded", 2, status(529, "", &[])),
        sign(
            OpenAi,
            "auth_failed",
            1,
            error(401, "invalid_request_error", Some("invalid_api_key"), "Incorrect"),
        ),
        sign(OpenAi, "auth_failed", 1, error(403, "x", Some("unsupported_country"), "Country not supported")),
        sign(OpenAi, "model_not_found", 1, error(404, "x", Some("model_not_found"), "No such model")),
        sign(OpenAi, "model_not_found", 1, status(404, "<html>nginx</html>", &[])),
        sign(
            OpenAi,
            "context_length",
            1,
            error(400, "invalid_request_error", Some("context_length_exceeded"), "Too long"),
        ),
        sign(OpenAi, "too_large", 1, error(413, "x", None, "Request too large")),
        sign(OpenAi, "too_large", 1, status(413, "", &[])),
    ];
    for code in [500, 502, 504, 599, 408, 409, 424, 425] {
        signs.push(sign(OpenAi, "server_error", 2, error(code, "server_error", None, "Sorry")));
    }
    each_falls_back(signs).await;
}

#[tokio::test]
async fn anthropics_error_statuses_fall_back_by_their_class() {
    let error = anthropic_error;
    let cases = [
        ("rate_limited", 2, error(429, "rate_limit_error", "This request would exceed your rate limit")),
        ("overloaded", 2, error(529, "overloaded_error", "Overloaded")),
        ("overloaded", 2, error(503, "overloaded_error", "Overloaded")),
        ("server_error", 2, error(500, "api_error", "Internal server error")),
        ("server_error", 2, error(504, "timeout_error", "The request timed out")),
        ("quota_exhausted", 1, error(402, "billing_error", "Pay")),
        ("quota_exhausted", 1, error(400, "invalid_request_error", "Your credit balance is too low")),
        ("auth_failed", 1, error(401, "authentication_error", "invalid x-api-key")),
        ("auth_failed", 1, error(403, "permission_error", "Not allowed")),
        ("model_not_found", 1, error(404, "not_found_error", "model: m")),
        (
            "context_length",
            1,
            error(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
        ),
        ("too_large", 1, error(413, "request_too_large", "Request exceeds the maximum size")),
        ("invalid_request", 1, error(400, "invalid_request_error", "messages.0: wrong")),
    ];
    let cases = cases.into_iter().map(|(class, asked, script)| sign(Anthropic, class, asked, script));
    each_falls_back(cases.collect()).await;
}

#[tokio::test]
async fn geminis_error_statuses_fall_back_by_their_class() {
    let error = gemini_error;
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    let too_long = "The input token count (9) exceeds the maximum number of tokens allowed (8).";
    let cases = [
        // What every limit says here, the one per minute too.
        ("rate_limited", 2, error(429, "RESOURCE_EXHAUSTED", quota)),
        ("rate_limited", 2, exhausted("0.05s")),
        ("rate_limited", 1, exhausted("40s")),
        ("quota_exhausted", 1, error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")),
        ("overloaded", 2, error(503, "UNAVAILABLE", "The model is overloaded.")),
        ("server_error", 2, error(500, "INTERNAL", "An internal error has occurred.")),
        ("server_error", 2, error(504, "DEADLINE_EXCEEDED", "The service is unable to finish.")),
        ("auth_failed", 1, error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")),
        ("auth_failed", 1, error(403, "PERMISSION_DENIED", "The caller does not have permission.")),
        ("model_not_found", 1, error(404, "NOT_FOUND", "models/m is not found.")),
        ("context_length", 1, error(400, "INVALID_ARGUMENT", too_long)),
        ("too_large", 1, error(413, "", "Too large")),
        ("too_large", 1, error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit.")),
        ("invalid_request", 1, error(400, "INVALID_ARGUMENT", "Invalid value at 'contents'.")),
    ];
    let cases = cases.into_iter().map(|(class, asked, script)| sign(Gemini, class, asked, script));
    each_falls_back(cases.collect()).await;
}

/// A rate limit that says in Google's way how long to wait.
fn exhausted(delay: &str) -> Script {
    json_reply(
        429,
        &json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded", "details": [
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay },
        ]}}),
    )
}

#[tokio::test]
async fn an_error_inside_a_good_status_falls_back_by_its_words() {
    let mut signs = Vec::new();
    for (kind, code, class, asked) in [
        ("server_error", Value::Null, "server_error", 2),
        ("requests", json!("rate_limit_exceeded"), "rate_limited", 2),
        ("overloaded_error", Value::Null, "overloaded", 2),
        ("insufficient_quota", Value::Null, "quota_exhausted", 1),
        ("invalid_request_error", json!("context_length_exceeded"), "context_length", 1),
        ("provider", json!(502), "server_error", 2),
        ("provider", json!(429), "rate_limited", 2),
        ("provider", json!(401), "auth_failed", 1),
    ] {
        let body = json!({ "error": { "message": "No", "type": kind, "param": null, "code": code } });
        let role =
            json!([{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }]);
        let stream = [openai_chunk(&role, &Value::Null), data(&body.to_string())];
        signs.push(signs_by_kind(OpenAi, class, asked, &body, &EventStream::new(stream)));
    }
    for (kind, class, asked) in [
        ("overloaded_error", "overloaded", 2),
        ("rate_limit_error", "rate_limited", 2),
        ("api_error", "server_error", 2),
        ("authentication_error", "auth_failed", 1),
        ("not_found_error", "model_not_found", 1),
        ("invalid_request_error", "invalid_request", 1),
    ] {
        let body = json!({ "type": "error", "error": { "type": kind, "message": "No" } });
        let mut events = Anthropic.stream(&[]).events;
        events.truncate(3);
        events.push(format!("event: error\ndata: {body}\n\n"));
        signs.push(signs_by_kind(Anthropic, class, asked, &body, &EventStream::new(events)));
    }
    for (code, status, class, asked) in [
        (503, "UNAVAILABLE", "overloaded", 2),
        (429, "RESOURCE_EXHAUSTED", "rate_limited", 2),
        (500, "INTERNAL", "server_error", 2),
        (403, "PERMISSION_DENIED", "auth_failed", 1),
    ] {
        let body = json!({ "error": { "code": code, "status": status, "message": "No" } });
        let stream = EventStream::new([format!("data: {body}\r\n\r\n")]);
        signs.push(signs_by_kind(Gemini, class, asked, &body, &stream));
    }
    each_falls_back(signs).await;
}

#[tokio::test]
async fn answers_that_are_none_fall_back_without_a_second_try() {
    let page = status(200, "<!doctype html><title>Sign in</title>", &[("content-type", "text/html")]);
    let mut signs = Vec::new();
    for dialect in Dialect::ALL {
        // Before an answer, on a fresh connection, with another target left: it may have been served.
        signs.push(sign(dialect, "connection_lost", 1, Script::new().reset()));
        signs.push(sign(dialect, "connection_lost", 1, Script::new().close()));
        signs.push(sign(dialect, "malformed", 1, page.clone()));
        signs.push(sign(dialect, "malformed", 1, status(302, "", &[("location", "http://127.0.0.1:1/")])));
        signs.push(sign(dialect, "malformed", 1, status(204, "", &[])));
        signs.push(Sign {
            dialect,
            class: "truncated",
            asked: 1,
            json: dialect.json("A long answer that does not arrive").truncated(200).close(),
            stream: dialect.stream(&[]).first(0).close(),
        });
        signs.push(Sign {
            dialect,
            class: "empty",
            asked: 1,
            json: dialect.json(""),
            stream: dialect.stream(&[""]).all(),
        });
    }
    signs.push(Sign {
        dialect: OpenAi,
        class: "truncated",
        asked: 1,
        json: OpenAi.json("A long answer").truncated(150).reset(),
        // The role is no content yet.
        stream: OpenAi.stream(&["a"]).first(1).reset(),
    });
    signs.push(Sign {
        dialect: Anthropic,
        class: "truncated",
        asked: 1,
        json: Anthropic.json("A long answer").truncated(150).reset(),
        // Start, block start and ping are no content yet.
        stream: Anthropic.stream(&["a"]).first(3).close(),
    });
    each_falls_back(signs).await;
}

#[tokio::test]
async fn an_answer_without_text_for_a_reason_is_no_empty_one() {
    let mut cut = crate::support::replies::openai_body("");
    cut["choices"][0]["finish_reason"] = json!("length");
    let mut called = crate::support::replies::openai_body("");
    called["choices"][0]["finish_reason"] = json!("tool_calls");
    called["choices"][0]["message"]["tool_calls"] =
        json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{}" } }]);
    for body in [cut, called] {
        let first = Upstream::always(json_reply(200, &body)).await;
        let next = good(OpenAi, "second").await;
        let gateway = crate::scene::chat("", &[Rung::new(OpenAi, &first), Rung::new(OpenAi, &next)]).await;
        for streamed in [false, true] {
            let told = ask(&gateway, "chat", streamed).await;
            assert_eq!(told.summary(), "200  | 0=ok | by 0 after 1 because -");
        }
        assert_eq!((first.hits(), next.hits()), (2, 0));
    }
}
