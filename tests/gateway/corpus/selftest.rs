//! The driver finds what it is there to find: every kind of loss makes a difference.

use serde_json::{Value, json};

use super::answer::{Answer, Expected, Told};
use super::dialect::Dialect;
use super::exchange::{Exchange, events};
use super::oracle::anthropic::Anthropic;
use super::oracle::bedrock::Bedrock;
use super::oracle::cohere::Cohere;
use super::oracle::gemini::Gemini;
use super::oracle::openai::OpenAi;
use super::{compare, told};
use crate::support::client::Response;

fn exchange(api: &str, request: &Value, answer: &Value) -> Exchange {
    let file = json!({
        "source": "s", "licence": "l", "api": api, "model": "m", "features": [],
        "request": { "path": "/p", "body": request },
        "response": { "status": 200, "headers": {}, "body": answer },
    });
    serde_json::from_value(file).unwrap()
}

fn expected(dialect: &dyn Dialect, api: &str, answer: &Value) -> Answer {
    match dialect.answer(&exchange(api, &Value::Null, answer)) {
        Expected::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn response(kind: &str, body: &str) -> Response {
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    Response { status: 200, headers, body: body.to_owned().into() }
}

/// What all dialects' answers below say, in OpenAI's format.
fn plain() -> Value {
    let call =
        json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\":[1,2.5]}" } });
    json!({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "tool_calls", "logprobs": null,
            "message": {
                "role": "assistant", "content": "hello", "refusal": null, "reasoning_content": "hm", "tool_calls": [call],
            },
        }],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16,
            "prompt_tokens_details": { "cached_tokens": 4 }, "completion_tokens_details": { "reasoning_tokens": 2 },
        },
    })
}

fn told(body: &Value) -> Answer {
    match told::read(&response("application/json", &body.to_string())) {
        Told::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_answer_means_the_same_in_every_dialect() {
    let input = json!({ "a": [1, 2.5] });
    let anthropic = json!({
        "content": [
            { "type": "thinking", "thinking": "hm" }, { "type": "text", "text": "hello" },
            { "type": "tool_use", "id": "c", "name": "f", "input": input },
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 7,
            "output_tokens_details": { "thinking_tokens": 2 },
        },
    });
    let gemini = json!({
        "candidates": [{ "finishReason": "STOP", "content": { "parts": [
            { "text": "hm", "thought": true }, { "text": "hello" }, { "functionCall": { "id": "c", "name": "f", "args": input } },
        ] } }],
        "usageMetadata": {
            "promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 2,
        },
    });
    let cohere = json!({
        "finish_reason": "TOOL_CALL",
        "message": {
            "tool_plan": "hello", "content": [{ "type": "thinking", "thinking": "hm" }],
            "tool_calls": [{ "id": "c", "function": { "name": "f", "arguments": input.to_string() } }],
        },
        "usage": { "tokens": { "input_tokens": 9, "output_tokens": 7, "reasoning_tokens": 2 }, "cached_tokens": 4 },
    });
    let bedrock = json!({
        "output": { "message": { "content": [
            { "reasoningContent": { "reasoningText": { "text": "hm" } } }, { "text": "hello" },
            { "toolUse": { "toolUseId": "c", "name": "f", "input": input } },
        ] } },
        "stopReason": "tool_use",
        "usage": { "inputTokens": 5, "cacheReadInputTokens": 4, "outputTokens": 7 },
    });
    let told = told(&plain());
    let mut without_reasoning_count = told.clone();
    without_reasoning_count.usage.as_mut().unwrap().reasoning = 0;
    let cases: [(&dyn Dialect, &str, Value, &Answer); 5] = [
        (&OpenAi, "chat", plain(), &told),
        (&Anthropic, "anthropic", anthropic, &told),
        (&Gemini, "gemini", gemini, &told),
        (&Cohere, "cohere2", cohere, &told),
        (&Bedrock, "converse", bedrock, &without_reasoning_count),
    ];
    for (dialect, api, answer, told) in cases {
        let differences = compare::answers(&expected(dialect, api, &answer), told);
        assert_eq!(differences, [""; 0], "{api}");
    }
}

#[test]
fn every_loss_is_a_difference() {
    let expected = expected(&OpenAi, "chat", &plain());
    let losses = [
        ("/choices/0/message/content", json!("hell")),
        ("/choices/0/message/reasoning_content", json!("")),
        ("/choices/0/message/refusal", json!("no")),
        ("/choices/0/message/tool_calls/0/id", json!("d")),
        ("/choices/0/message/tool_calls/0/type", Value::Null),
        ("/choices/0/message/tool_calls/0/function/name", json!("g")),
        ("/choices/0/message/tool_calls/0/function/arguments", json!("{\"a\":[1,2.50001]}")),
        ("/choices/0/message/tool_calls/0/function/arguments", json!({ "a": [1, 2.5] })),
        ("/choices/0/message/tool_calls", json!([])),
        ("/choices/0/finish_reason", json!("stop")),
        ("/choices", json!([])),
        ("/usage/prompt_tokens", json!(8)),
        ("/usage/total_tokens", json!(17)),
        ("/usage/prompt_tokens_details/cached_tokens", json!(0)),
        ("/usage/completion_tokens_details/reasoning_tokens", json!(1)),
        ("/usage", Value::Null),
    ];
    for (place, value) in losses {
        let mut body = plain();
        *body.pointer_mut(place).unwrap() = value;
        assert!(!compare::answers(&expected, &told(&body)).is_empty(), "{place}");
    }
}

#[test]
fn a_signature_has_its_bytes_and_its_place() {
    let expected = expected(
        &Gemini,
        "gemini",
        &json!({ "candidates": [{ "finishReason": "STOP", "content": { "parts": [
            { "functionCall": { "name": "f" }, "thoughtSignature": "on call" },
            { "text": "a", "thoughtSignature": "on text" },
        ] } }] }),
    );
    let body = |on_call: &str, on_text: &str| {
        let mut body = plain();
        let message = &mut body["choices"][0]["message"];
        message["content"] = "a".into();
        message["reasoning_content"] = Value::Null;
        message["tool_calls"][0]["function"]["arguments"] = "{}".into();
        message["tool_calls"][0]["extra_content"] = json!({ "google": { "thought_signature": on_call } });
        message["reasoning_details"] = json!([{ "type": "reasoning.encrypted", "data": on_text }]);
        body
    };
    assert_eq!(compare::answers(&expected, &told(&body("on call", "on text"))), [""; 0]);
    assert_eq!(compare::answers(&expected, &told(&body("on cal", "on text"))).len(), 1);
    assert_eq!(compare::answers(&expected, &told(&body("on call", "on tex"))).len(), 1);
}

#[test]
fn a_stream_is_put_together_as_a_client_does_it() {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk = json!({ "id": "x", "created": 1, "model": "m", "choices": [choice] });
        format!("data: {chunk}\n\n")
    };
    let call = |piece: Value| json!({ "tool_calls": [piece] });
    let good = [
        chunk(json!({ "role": "assistant", "content": "hel" }), Value::Null),
        chunk(json!({ "content": "lo" }), Value::Null),
        chunk(
            call(
                json!({ "index": 0, "id": "c", "type": "function", "function": { "name": "f", "arguments": "{" } }),
            ),
            Value::Null,
        ),
        chunk(call(json!({ "index": 0, "function": { "arguments": "}" } })), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let read = |stream: &[String]| told::read(&response("text/event-stream", &stream.concat()));
    let Told::Answer(answer) = read(&good) else { panic!("no answer") };
    assert_eq!(
        (answer.choices[0].text.as_str(), answer.choices[0].calls[0].arguments.as_str()),
        ("hello", "{}")
    );
    assert_eq!(answer.oddities, [""; 0]);
    assert!(matches!(read(&good[..5]), Told::Nonsense(_)), "an end without [DONE]");
    let twice = [&good[..1], &good].concat();
    assert!(matches!(read(&twice), Told::Answer(answer) if answer.oddities == ["a second role"]));
    assert_eq!(events("data: a\r\ndata:b\r\n\r\n: c\n\ndata: d"), ["a\nb", "d"]);
}

#[test]
fn a_request_that_lost_something_means_something_else() {
    let recorded = json!({
        "max_tokens": 5, "system": [{ "type": "text", "text": "s" }],
        "messages": [
            { "role": "user", "content": "q" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "t", "signature": "sig" },
                { "type": "tool_use", "id": "i", "name": "f", "input": { "a": 1 } },
            ] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "i", "content": "r" }] },
        ],
    });
    let exchange = exchange("anthropic", &recorded, &Value::Null);
    let differences = |sent: &Value| {
        let meant = Anthropic.meaning("", &recorded, &exchange);
        compare::values(&meant, &Anthropic.meaning("", sent, &exchange))
    };
    let mut same = recorded.clone();
    same["system"] = "s".into();
    same["stream"] = true.into();
    same["messages"][1]["content"][1]["id"] = "renamed".into();
    same["messages"][2]["content"][0]["tool_use_id"] = "renamed".into();
    assert_eq!(differences(&same), [""; 0]);
    let losses = [
        ("/max_tokens", json!(6)),
        ("/system", json!("S")),
        ("/messages/1/content/0/signature", json!("si")),
        ("/messages/1/content/1/input/a", json!(2)),
        ("/messages/2/content/0/tool_use_id", json!("j")),
        ("/messages/2/content/0/content", json!("")),
    ];
    for (place, value) in losses {
        let mut sent = recorded.clone();
        *sent.pointer_mut(place).unwrap() = value;
        assert_eq!(differences(&sent).len(), 1, "{place}");
    }
}
