//! Gemini's dialect.

use super::*;

const API: Api = Api::Gemini;

fn tools() -> Value {
    let parameters = json!({ "type": "OBJECT", "properties": { "location": { "type": "STRING" } } });
    json!([{ "functionDeclarations": [{ "name": "get_weather", "parameters": parameters }] }])
}

#[tokio::test]
async fn a_response_leaves_thoughts_out_of_the_candidates_count() {
    let fixture = start().await;
    let plain = fixture.answer(API, "gemini-x", "Hello").await;
    assert_eq!(
        (&plain["modelVersion"], &plain["candidates"][0]["finishReason"]),
        (&json!("gemini-x"), &json!("STOP"))
    );
    assert!(plain["usageMetadata"].get("thoughtsTokenCount").is_none());
    let thinking = json!({ "generationConfig": { "thinkingConfig": { "includeThoughts": true } } });
    let body = with(minimal(API, "m", "Hello", false), thinking);
    let thought = json_of(fixture.send(API, &body).await).await;
    let parts = &thought["candidates"][0]["content"]["parts"];
    assert_eq!((&parts[0]["thought"], parts[1]["thoughtSignature"].is_string()), (&json!(true), true));
    let count = |answer: &Value, name: &str| answer["usageMetadata"][name].as_u64().unwrap();
    assert_eq!(
        count(&thought, "promptTokenCount")
            + count(&thought, "candidatesTokenCount")
            + count(&thought, "thoughtsTokenCount"),
        count(&thought, "totalTokenCount")
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_finish_and_the_signature() {
    let fixture = start().await;
    let thinking = json!({ "generation_config": { "thinking_config": { "include_thoughts": true } } });
    let body = with(minimal(API, "m", "Hello", true), thinking).to_string();
    let streamed = events(fixture.request(API, "m", true).body(body).send().await.unwrap()).await;
    let (last, others) = streamed.split_last().unwrap();
    assert!(others.iter().all(|event| event["candidates"][0].get("finishReason").is_none()));
    let candidate = &last["candidates"][0];
    assert_eq!(
        (&candidate["finishReason"], &candidate["content"]["parts"][0]["text"]),
        (&json!("STOP"), &json!(""))
    );
    assert!(candidate["content"]["parts"][0]["thoughtSignature"].is_string());
    assert_eq!(others[0]["candidates"][0]["content"]["parts"][0]["thought"], true);
    assert!(others[0]["usageMetadata"].get("candidatesTokenCount").is_none());
    assert_eq!(others.last().unwrap()["usageMetadata"], last["usageMetadata"]);
}

#[tokio::test]
async fn a_stream_without_sse_is_one_array() {
    let fixture = start().await;
    let url = fixture.mock.url() + "/v1beta/models/m:streamGenerateContent?key=k";
    let body = minimal(API, "m", "Hello", true).to_string();
    let answer = json_of(fixture.client.post(url).body(body).send().await.unwrap()).await;
    let chunks = answer.as_array().unwrap();
    assert!(joined(chunks, delta_of(API)).starts_with("This is m"));
}

#[tokio::test]
async fn functions_are_called_and_their_responses_quoted() {
    let fixture = start().await;
    let body = with(minimal(API, "m", "weather in Rome and Oslo", false), json!({ "tools": tools() }));
    let answer = json_of(fixture.send(API, &body).await).await;
    let candidate = &answer["candidates"][0];
    assert_eq!(candidate["finishReason"], "STOP");
    let call = &candidate["content"]["parts"][1]["functionCall"];
    assert_eq!(call, &json!({ "name": "get_weather", "args": { "location": "Oslo" } }));
    let newer = fixture.request(API, "gemini-3-pro", false).body(body.to_string()).send().await.unwrap();
    let newer = json_of(newer).await;
    assert!(newer.pointer("/candidates/0/content/parts/0/functionCall/id").unwrap().is_string());
    let streamed = fixture.request(API, "m", true).body(body.to_string()).send().await.unwrap();
    let streamed = events(streamed).await;
    assert_eq!(streamed.len(), 3);
    assert_eq!(streamed[1].pointer("/candidates/0/content/parts/0/functionCall"), Some(call));

    let response =
        |text: &str| json!({ "functionResponse": { "name": "get_weather", "response": { "output": text } } });
    let mut next = body.clone();
    let contents = next["contents"].as_array_mut().unwrap();
    contents.push(candidate["content"].clone());
    contents.push(json!({ "role": "user", "parts": [response("hot"), response("cold")] }));
    let answer = json_of(fixture.send(API, &next).await).await;
    assert!(text_of(API, &answer).ends_with("The tools said: \"hot\" and \"cold\"."), "{answer}");

    let forced = json!({ "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["get_weather"] } } });
    let body = with(with(minimal(API, "m", "Hi", false), json!({ "tools": tools() })), forced);
    let answer = json_of(fixture.send(API, &body).await).await;
    assert!(answer.pointer("/candidates/0/content/parts/0/functionCall").is_some());
}

#[tokio::test]
async fn formats_and_limits_are_honoured() {
    let fixture = start().await;
    let ask = async |config: Value| {
        let body = with(minimal(API, "m", "Hi", false), json!({ "generationConfig": config }));
        json_of(fixture.send(API, &body).await).await
    };
    let schema = json!({ "type": "OBJECT", "properties": { "n": { "type": "INTEGER" } }, "required": ["n"] });
    let answer = ask(json!({ "responseMimeType": "application/json", "responseSchema": schema })).await;
    assert_eq!(text_of(API, &answer), r#"{"n":1}"#);
    let schema = json!({ "type": "array", "items": { "const": 7 }, "minItems": 2 });
    let answer = ask(json!({ "responseMimeType": "application/json", "responseJsonSchema": schema })).await;
    assert_eq!(text_of(API, &answer), "[7,7]");
    let plain = ask(json!({ "responseMimeType": "application/json" })).await;
    assert!(serde_json::from_str::<Value>(text_of(API, &plain)).unwrap().is_object());
    let stopped = ask(json!({ "stopSequences": ["by"] })).await;
    assert_eq!(
        (text_of(API, &stopped), &stopped["candidates"][0]["finishReason"]),
        ("This is m, simulated ", &json!("STOP"))
    );
    // Thoughts may take all that there is: then the content has no parts.
    let spent = ask(json!({ "maxOutputTokens": 2, "thinkingConfig": { "includeThoughts": true } })).await;
    assert_eq!(spent["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert!(spent["usageMetadata"].get("candidatesTokenCount").is_none());
}

#[tokio::test]
async fn faulty_requests_are_refused() {
    let fixture = start().await;
    let base = minimal(API, "m", "Hi", false);
    let fields = |fields: Value| with(base.clone(), fields);
    let config = |config: Value| with(base.clone(), json!({ "generationConfig": config }));
    let parameters = |parameters: Value| {
        with(
            base.clone(),
            json!({ "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": parameters }] }] }),
        )
    };
    let call = json!({ "role": "model", "parts": [{ "functionCall": { "name": "f" } }] });
    let user = json!({ "role": "user", "parts": [{ "text": "x" }] });
    let response = json!({ "functionResponse": { "name": "f", "response": { "a": 1 } } });
    for (body, message) in [
        (
            fields(json!({ "max_tokens": 1 })),
            "Invalid JSON payload received. Unknown name \"max_tokens\": Cannot find field.",
        ),
        (
            config(json!({ "maxTokens": 1 })),
            "Invalid JSON payload received. Unknown name \"maxTokens\" at 'generation_config'",
        ),
        (
            config(json!({ "seed": 3_000_000_000_u64 })),
            "Invalid value at 'generation_config.seed' (TYPE_INT32)",
        ),
        (config(json!({ "maxOutputTokens": 0 })), "max_output_tokens must be positive."),
        (
            config(json!({ "thinkingConfig": { "thinkingBudget": 1, "thinkingLevel": "low" } })),
            "You can only set only one",
        ),
        (config(json!({ "responseSchema": { "type": "object" } })), "Response schema is only supported"),
        (
            parameters(json!({ "type": "object", "additionalProperties": false })),
            "Invalid JSON payload received. Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'",
        ),
        (
            fields(json!({ "tools": [{ "functionDeclarations": [{ "name": "1st" }] }] })),
            "* GenerateContentRequest.tools[0]",
        ),
        (fields(json!({ "contents": [] })), "* GenerateContentRequest.contents: contents is not specified"),
        (
            fields(json!({ "contents": [{ "role": "assistant", "parts": [{ "text": "x" }] }] })),
            "Please use a valid role: user, model.",
        ),
        (
            fields(json!({ "contents": [{ "role": "user", "parts": [] }] })),
            "* GenerateContentRequest.contents[0].parts",
        ),
        (
            fields(json!({ "contents": [{ "role": "user", "parts": [{ "type": "text" }] }] })),
            "Invalid JSON payload received. Unknown name \"type\"",
        ),
        (
            fields(json!({ "contents": [user, call, user] })),
            "Please ensure that the number of function response parts",
        ),
        (fields(json!({ "contents": [user, call] })), "Please ensure that function call turn is followed"),
        (
            fields(json!({ "contents": [{ "parts": [response] }] })),
            "Please ensure that the number of function response parts",
        ),
        (
            fields(
                json!({ "contents": [{ "parts": [{ "functionResponse": { "name": "f", "response": "text" } }] }] }),
            ),
            "Invalid value at 'contents[0].parts[0].function_response.response'",
        ),
    ] {
        let response = fixture.send(API, &body).await;
        assert_eq!(response.status(), 400, "{body}");
        let error = &json_of(response).await["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")));
        let given = error["message"].as_str().unwrap();
        assert!(given.starts_with(message), "{given}");
    }
    // Consecutive contents of one role are one turn.
    let turns =
        json!([user, call, call, { "parts": [response] }, { "role": "function", "parts": [response] }]);
    assert_eq!(fixture.send(API, &fields(json!({ "contents": turns }))).await.status(), 200);
    let url = fixture.mock.url() + "/v1beta/models/m:generateContent";
    let no_key = fixture.client.post(url).body(base.to_string()).send().await.unwrap();
    assert_eq!(no_key.status(), 400);
    assert_eq!(json_of(no_key).await["error"]["details"][0]["reason"], "API_KEY_INVALID");
}
