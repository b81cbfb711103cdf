//! Anthropic's dialect.

use super::*;

const API: Api = Api::Anthropic;

fn tools() -> Value {
    let schema =
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    json!([{ "name": "get_weather", "input_schema": schema }])
}

#[tokio::test]
async fn a_message_counts_cached_tokens_apart() {
    let fixture = start().await;
    let body = fixture.answer(API, "claude", "Hello").await;
    assert_eq!(
        (&body["type"], &body["role"], &body["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("end_turn"))
    );
    assert_eq!(
        (&body["usage"]["input_tokens"], &body["usage"]["cache_read_input_tokens"]),
        (&json!(6), &json!(0))
    );
    let system = json!([{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }]);
    let marked = with(minimal(API, "claude", "Hello", false), json!({ "system": system }));
    let usage = &json_of(fixture.send(API, &marked).await).await["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!((count("input_tokens"), count("cache_read_input_tokens")), (4, 4));
}

#[tokio::test]
async fn a_stream_has_its_events_in_order() {
    let fixture = start().await;
    let response = fixture.ask(API, "claude", "Hi", true).await.unwrap();
    let text = response.text().await.unwrap();
    let streamed = parse_events(&text);
    let named: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let kinds: Vec<_> = streamed.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(named, kinds);
    assert_eq!(kinds[..4], ["message_start", "content_block_start", "ping", "content_block_delta"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(
        (&streamed[0]["message"]["content"], &streamed[0]["message"]["stop_reason"]),
        (&json!([]), &Value::Null)
    );
    let delta = &streamed[streamed.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], "end_turn");
    assert_eq!(
        delta["usage"]["output_tokens"],
        kinds.iter().filter(|kind| **kind == "content_block_delta").count()
    );
}

#[tokio::test]
async fn thinking_comes_first_and_is_signed() {
    let fixture = start().await;
    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "max_tokens": 2000 });
    let body = with(minimal(API, "claude", "Hi", false), thinking);
    let whole = json_of(fixture.send(API, &body).await).await;
    let block = &whole["content"][0];
    assert_eq!((&block["type"], &whole["content"][1]["type"]), (&json!("thinking"), &json!("text")));
    assert!(!block["signature"].as_str().unwrap().is_empty());
    let streamed = events(fixture.send(API, &with(body.clone(), json!({ "stream": true }))).await).await;
    assert_eq!(joined(&streamed, "/delta/thinking"), block["thinking"]);
    assert!(!joined(&streamed, "/delta/signature").is_empty());
    let adaptive = with(body, json!({ "thinking": { "type": "adaptive" } }));
    assert_eq!(json_of(fixture.send(API, &adaptive).await).await["content"][0]["type"], "thinking");
}

#[tokio::test]
async fn tools_are_called_in_both_modes_and_their_results_quoted() {
    let fixture = start().await;
    let body = with(minimal(API, "claude", "weather in Rome and Oslo", false), json!({ "tools": tools() }));
    let whole = json_of(fixture.send(API, &body).await).await;
    assert_eq!(
        (&whole["stop_reason"], &whole["content"][1]["input"]),
        (&json!("tool_use"), &json!({ "city": "Oslo" }))
    );
    let streamed = events(fixture.send(API, &with(body.clone(), json!({ "stream": true }))).await).await;
    let second: Vec<_> = streamed.into_iter().filter(|event| event["index"] == 1).collect();
    assert_eq!(
        (&second[0]["content_block"]["type"], &second[0]["content_block"]["input"]),
        (&json!("tool_use"), &json!({}))
    );
    assert_eq!(joined(&second, "/delta/partial_json"), r#"{"city":"Oslo"}"#);

    let result = |index: usize, text: Value| json!({ "type": "tool_result", "tool_use_id": whole["content"][index]["id"], "content": text });
    let results = json!([result(0, json!("hot")), result(1, json!([{ "type": "text", "text": "cold" }]))]);
    let mut next = body.clone();
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": whole["content"] }));
    messages.push(json!({ "role": "user", "content": results }));
    let answer = json_of(fixture.send(API, &next).await).await;
    assert!(text_of(API, &answer).ends_with("The tools said: \"hot\" and \"cold\"."), "{answer}");

    let one = json!({ "tool_choice": { "type": "any", "disable_parallel_tool_use": true } });
    let answer = json_of(fixture.send(API, &with(body, one)).await).await;
    assert_eq!(answer["content"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_without_arguments_streams_one_empty_piece() {
    let fixture = start().await;
    let tool = json!([{ "name": "now", "input_schema": { "type": "object", "properties": {} } }]);
    let body = with(
        minimal(API, "claude", "Hi", true),
        json!({ "tools": tool, "tool_choice": { "type": "tool", "name": "now" } }),
    );
    let streamed = events(fixture.send(API, &body).await).await;
    let pieces: Vec<_> = streamed.iter().filter_map(|event| event.pointer("/delta/partial_json")).collect();
    assert_eq!(pieces, [&json!("")]);
}

#[tokio::test]
async fn formats_limits_and_stop_sequences_are_honoured() {
    let fixture = start().await;
    let ask = async |fields: Value| {
        json_of(fixture.send(API, &with(minimal(API, "m", "Hi", false), fields)).await).await
    };
    let schema = json!({
        "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"], "additionalProperties": false,
    });
    let format = json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } });
    assert_eq!(text_of(API, &ask(format).await), r#"{"n":1}"#);
    let short = ask(json!({ "max_tokens": 1 })).await;
    assert_eq!((&short["stop_reason"], &short["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(1)));
    let stopped = ask(json!({ "stop_sequences": ["by"] })).await;
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("by")));
}

#[tokio::test]
async fn headers_are_demanded() {
    let fixture = start().await;
    let url = fixture.mock.url() + "/v1/messages";
    let body = minimal(API, "m", "Hi", false).to_string();
    let post = || fixture.client.post(&url).body(body.clone());
    let no_key = post().header("anthropic-version", "2023-06-01").send().await.unwrap();
    assert_eq!(no_key.status(), 401);
    assert_eq!(json_of(no_key).await["error"]["type"], "authentication_error");
    let no_version = post().header("x-api-key", "key").send().await.unwrap();
    assert_eq!(no_version.status(), 400);
    assert_eq!(json_of(no_version).await["error"]["message"], "anthropic-version: header is required");
}

#[tokio::test]
async fn faulty_requests_are_refused() {
    let fixture = start().await;
    let base = minimal(API, "m", "Hi", false);
    let fields = |fields: Value| with(base.clone(), fields);
    let messages = |messages: Value| with(base.clone(), json!({ "messages": messages, "tools": tools() }));
    let user = json!({ "role": "user", "content": "Hi" });
    let call = json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "a", "name": "f", "input": {} }] });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "x" });
    let text_first = json!({ "role": "user", "content": [{ "type": "text", "text": "x" }, result("a")] });
    let mut no_max = base.clone();
    no_max.as_object_mut().unwrap().shift_remove("max_tokens");
    for (body, message) in [
        (no_max, "max_tokens: Field required"),
        (fields(json!({ "seed": 1 })), "seed: Extra inputs are not permitted"),
        (fields(json!({ "stop_sequences": null })), "stop_sequences: Input should not be null"),
        (fields(json!({ "temperature": 1.5 })), "temperature: range: 0..1"),
        (fields(json!({ "metadata": { "task": "x" } })), "metadata.task: Extra inputs are not permitted"),
        (
            fields(json!({ "stop_sequences": [" "] })),
            "stop_sequences: each stop sequence must contain non-whitespace",
        ),
        (
            fields(json!({ "tool_choice": { "type": "any" } })),
            "tool_choice: may only be specified while providing tools",
        ),
        (
            fields(json!({ "tools": [{ "name": "f", "input_schema": {} }] })),
            "tools.0.custom.input_schema.type: Field required",
        ),
        (
            fields(json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } })),
            "`max_tokens` must be greater",
        ),
        (
            fields(
                json!({ "thinking": { "type": "adaptive" }, "tools": tools(), "tool_choice": { "type": "any" } }),
            ),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            fields(
                json!({ "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } } }),
            ),
            "output_config.format.schema: For 'object' type",
        ),
        (messages(json!([])), "messages: at least one message is required"),
        (messages(json!([{ "role": "system", "content": "x" }])), "messages.0.role: Input should be"),
        (
            messages(json!([{ "role": "user", "content": "" }])),
            "messages.0: all messages must have non-empty content",
        ),
        (messages(json!([{ "role": "user", "content": "x", "name": "y" }])), "messages.0.name: Extra inputs"),
        (
            messages(json!([{ "role": "user", "content": [{ "type": "text", "text": "" }] }])),
            "messages: text content blocks must be non-empty",
        ),
        (
            messages(json!([user, { "role": "assistant", "content": "x " }])),
            "messages: final assistant content cannot end with trailing whitespace",
        ),
        (messages(json!([user, call])), "messages.1: `tool_use` ids were found without"),
        (messages(json!([user, call, text_first])), "messages.1: `tool_use` ids were found without"),
        (
            messages(json!([{ "role": "user", "content": [result("a")] }])),
            "messages.0: unexpected `tool_use_id`",
        ),
        (
            messages(json!([{ "role": "user", "content": [result("a b")] }])),
            "messages.0.content.0.tool_result.tool_use_id: String",
        ),
        (
            messages(json!([{ "role": "user", "content": [{ "type": "image_url" }] }])),
            "messages.0.content.0: Input tag 'image_url'",
        ),
    ] {
        let response = fixture.send(API, &body).await;
        assert_eq!(response.status(), 400, "{body}");
        let error = json_of(response).await;
        assert_eq!(
            (&error["type"], &error["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        let given = error["error"]["message"].as_str().unwrap();
        assert!(given.starts_with(message), "{given}");
    }
    // Runs of one role are one turn, and their results count together.
    let calls = json!({ "role": "assistant", "content": [
        { "type": "tool_use", "id": "a", "name": "f", "input": {} }, { "type": "tool_use", "id": "b", "name": "f", "input": {} },
    ] });
    let (first, second) = (
        json!({ "role": "user", "content": [result("a")] }),
        json!({ "role": "user", "content": [result("b")] }),
    );
    assert_eq!(fixture.send(API, &messages(json!([user, calls, first, second]))).await.status(), 200);
    // The newest models take instructions after a user turn.
    let system = json!({ "role": "system", "content": "Be brief." });
    for (turns, status) in [(json!([user, system]), 200), (json!([system, user]), 400)] {
        let body = with(messages(turns), json!({ "model": "claude-opus-4-8" }));
        assert_eq!(fixture.send(API, &body).await.status(), status);
    }
}
