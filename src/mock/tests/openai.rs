//! OpenAI's dialect.

use super::*;

const API: Api = Api::OpenAi;

fn tools() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": { "city": { "type": "string" }, "unit": { "type": "string", "enum": ["c", "f"] } },
        "required": ["city", "unit"],
    });
    json!([{ "type": "function", "function": { "name": "get_weather", "parameters": parameters } }])
}

#[tokio::test]
async fn a_completion_has_every_field_and_counts_that_add_up() {
    let fixture = start().await;
    let body = fixture.answer(API, "gpt-4o", "Hello").await;
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("gpt-4o")));
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &body["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["role"]), (&json!("stop"), &json!("assistant")));
    let usage = &body["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("prompt_tokens") + count("completion_tokens"), count("total_tokens"));
    assert_eq!(count("prompt_tokens"), 6);
}

#[tokio::test]
async fn a_stream_begins_with_a_role_and_ends_with_usage_if_asked() {
    let fixture = start().await;
    let body = with(minimal(API, "m", "Hi", true), json!({ "stream_options": { "include_usage": true } }));
    let asked = events(fixture.send(API, &body).await).await;
    assert_eq!(asked[0]["choices"][0]["delta"]["role"], "assistant");
    let (usage, finish) = (&asked[asked.len() - 2], &asked[asked.len() - 3]);
    assert_eq!((&usage["choices"], &finish["choices"][0]["finish_reason"]), (&json!([]), &json!("stop")));
    assert_eq!(asked.last().unwrap(), "[DONE]");
    let pieces = asked
        .iter()
        .filter(|event| event["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()));
    assert_eq!(usage["usage"]["completion_tokens"], pieces.count());
    assert!(
        asked[..asked.len() - 2]
            .iter()
            .all(|event| event["usage"].is_null() && event["id"] == asked[0]["id"])
    );

    let plain = events(fixture.ask(API, "m", "Hi", true).await.unwrap()).await;
    assert!(plain.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(plain.len(), asked.len() - 1);
}

#[tokio::test]
async fn tools_are_called_and_their_results_quoted() {
    let fixture = start().await;
    let body = with(minimal(API, "m", "The weather in Rome?", false), json!({ "tools": tools() }));
    let answer = json_of(fixture.send(API, &body).await).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("get_weather")));
    assert_eq!(call["function"]["arguments"], r#"{"city":"Rome","unit":"c"}"#);

    let mut next = body.clone();
    let messages = next["messages"].as_array_mut().unwrap();
    messages.push(choice["message"].clone());
    messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "21 degrees" }));
    let answer = json_of(fixture.send(API, &next).await).await;
    assert!(text_of(API, &answer).ends_with("The tools said: \"21 degrees\"."), "{answer}");
}

#[tokio::test]
async fn parallel_calls_stream_with_an_index_of_their_own() {
    let fixture = start().await;
    let body = with(minimal(API, "m", "weather in Rome and Paris", true), json!({ "tools": tools() }));
    let streamed = events(fixture.send(API, &body).await).await;
    let pieces: Vec<_> =
        streamed.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    for (index, city) in [(0, "Rome"), (1, "Paris")] {
        let of_call: Vec<_> = pieces.iter().filter(|piece| piece["index"] == index).collect();
        assert!(of_call[0]["id"].is_string() && of_call[1..].iter().all(|piece| piece.get("id").is_none()));
        let arguments: String =
            of_call.iter().filter_map(|piece| piece["function"]["arguments"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({ "city": city, "unit": "c" }));
    }
    let one = with(body, json!({ "parallel_tool_calls": false, "stream": false }));
    let answer = json_of(fixture.send(API, &one).await).await;
    assert_eq!(answer["choices"][0]["message"]["tool_calls"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_function_forced_by_name_ends_with_stop() {
    let fixture = start().await;
    let forced = json!({ "type": "function", "function": { "name": "get_weather" } });
    for (choice, finish) in [(forced, "stop"), (json!("required"), "tool_calls")] {
        let body = with(minimal(API, "m", "Hi", false), json!({ "tools": tools(), "tool_choice": choice }));
        let answer = json_of(fixture.send(API, &body).await).await;
        assert_eq!(answer["choices"][0]["finish_reason"], finish);
        assert!(answer["choices"][0]["message"]["tool_calls"].is_array());
    }
}

#[tokio::test]
async fn formats_reasoning_limits_and_choices_are_honoured() {
    let fixture = start().await;
    let ask = async |fields: Value| {
        json_of(fixture.send(API, &with(minimal(API, "m", "Give me JSON", false), fields)).await).await
    };
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } });
    assert_eq!(text_of(API, &ask(json!({ "response_format": format })).await), r#"{"n":1}"#);
    let object = ask(json!({ "response_format": { "type": "json_object" } })).await;
    assert!(serde_json::from_str::<Value>(text_of(API, &object)).unwrap().is_object());

    let thought = ask(json!({ "reasoning_effort": "low" })).await;
    let reasoning = thought["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!(reasoning > 0 && thought["choices"][0]["message"].get("reasoning_content").is_none());
    let body = with(minimal(API, "m", "Hi", true), json!({ "reasoning_effort": "low" }));
    let streamed = events(fixture.send(API, &body).await).await;
    assert_eq!(joined(&streamed, "/choices/0/delta/reasoning_content"), "", "it is only counted");

    let short = ask(json!({ "max_completion_tokens": 2, "n": 2 })).await;
    assert_eq!(short["choices"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&short["choices"][1]["index"], &short["choices"][1]["finish_reason"]),
        (&json!(1), &json!("length"))
    );
    assert_eq!(short["usage"]["completion_tokens"], 4);
    assert_eq!(text_of(API, &ask(json!({ "stop": "simulated" })).await), "This is m, ");
    assert!(
        ask(json!({ "prompt_cache_key": "k" })).await["usage"]["prompt_tokens_details"]["cached_tokens"] != 0
    );
}

#[tokio::test]
async fn images_are_counted() {
    let fixture = start().await;
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let content = json!([{ "type": "text", "text": "What is it?" }, image, image]);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": content }] });
    let answer = json_of(fixture.send(API, &body).await).await;
    assert!(text_of(API, &answer).contains("2 images"));
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 500);
}

#[tokio::test]
async fn other_prefixes_and_deployments_are_served_and_models_listed() {
    let options = Options { models: vec!["gpt-4o".to_owned()], ..Options::default() };
    let fixture = start_with(options).await;
    let url = fixture.mock.url();
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }] }).to_string();
    let azure = format!("{url}/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21");
    let answer = json_of(fixture.client.post(azure).body(body).send().await.unwrap()).await;
    assert_eq!(answer["model"], "prod-4o");
    let models = json_of(fixture.client.get(format!("{url}/v1/models")).send().await.unwrap()).await;
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("gpt-4o")));
    let unknown = fixture.client.post(format!("{url}/v1/unknown")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(json_of(unknown).await["error"]["message"].as_str().unwrap().contains("POST /v1/unknown"));
}

#[tokio::test]
async fn faulty_requests_are_refused_with_param_and_code() {
    let fixture = start().await;
    let base = minimal(API, "m", "Hi", false);
    let without = |key: &str| {
        let mut body = base.clone();
        body.as_object_mut().unwrap().shift_remove(key);
        body
    };
    let messages = |messages: Value| json!({ "model": "m", "messages": messages });
    let call = json!({ "role": "assistant", "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }] });
    let user = json!({ "role": "user", "content": "Hi" });
    for (body, param, code) in [
        (without("model"), Value::Null, Value::Null),
        (without("messages"), json!("messages"), json!("missing_required_parameter")),
        (messages(json!([])), json!("messages"), json!("empty_array")),
        (
            messages(json!([{ "role": "robot", "content": "" }])),
            json!("messages[0].role"),
            json!("invalid_value"),
        ),
        (
            messages(json!([{ "role": "user" }])),
            json!("messages[0].content"),
            json!("missing_required_parameter"),
        ),
        (
            messages(json!([{ "role": "user", "content": 1 }])),
            json!("messages[0].content"),
            json!("invalid_type"),
        ),
        (
            messages(json!([{ "role": "user", "content": [{ "type": "video" }] }])),
            json!("messages[0].content[0].type"),
            json!("invalid_value"),
        ),
        (
            messages(json!([{ "role": "tool", "tool_call_id": "a", "content": "" }])),
            json!("messages[0].role"),
            Value::Null,
        ),
        (messages(json!([user, call, user])), json!("messages[2].role"), Value::Null),
        (messages(json!([user, call])), json!("messages.role"), Value::Null),
        (
            with(base.clone(), json!({ "temperature": 3 })),
            json!("temperature"),
            json!("integer_above_max_value"),
        ),
        (
            with(base.clone(), json!({ "max_tokens": 0 })),
            json!("max_tokens"),
            json!("integer_below_min_value"),
        ),
        (with(base.clone(), json!({ "stream": "yes" })), json!("stream"), json!("invalid_type")),
        (with(base.clone(), json!({ "stream_options": {} })), json!("stream_options"), Value::Null),
        (with(base.clone(), json!({ "tool_choice": "required" })), json!("tool_choice"), Value::Null),
        (
            with(
                base.clone(),
                json!({ "tools": [{ "type": "function", "function": { "name": "no spaces" } }] }),
            ),
            json!("tools[0].function.name"),
            json!("invalid_value"),
        ),
        (
            with(base.clone(), json!({ "response_format": { "type": "json_object" } })),
            json!("messages"),
            Value::Null,
        ),
        (
            with(base.clone(), json!({ "stop": ["1", "2", "3", "4", "5"] })),
            json!("stop"),
            json!("array_above_max_length"),
        ),
    ] {
        let response = fixture.send(API, &body).await;
        assert_eq!(response.status(), 400, "{body}");
        let error = &json_of(response).await["error"];
        assert_eq!((&error["param"], &error["code"]), (&param, &code), "{body}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    // Explicit nulls pass; unknown keys do with others that speak the dialect.
    let nulls = with(base, json!({ "temperature": null, "tools": null }));
    assert_eq!(fixture.send(API, &nulls).await.status(), 200);
    let unknown = with(nulls, json!({ "min_p": 0.1 }));
    let refused = fixture.send(API, &unknown).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(json_of(refused).await["error"]["code"], "unknown_parameter");
    let url = fixture.mock.url() + "/vllm/v1/chat/completions";
    let taken = fixture.client.post(url).body(unknown.to_string()).send().await.unwrap();
    assert_eq!(taken.status(), 200);
}
