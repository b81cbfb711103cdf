//! The providers that share a dialect, each in its own way; and embeddings in every form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

async fn post(fixture: &Fixture, path: &str, body: &Value) -> Response {
    let request = fixture.client.post(fixture.mock.url() + path);
    let request = request.header("authorization", "Bearer key").header("x-goog-api-key", "key");
    request.body(body.to_string()).send().await.unwrap()
}

fn asking(model: &str, text: &str) -> Value {
    let function = json!({ "name": "get_weather", "parameters": { "type": "object", "properties": {} } });
    json!({
        "model": model,
        "messages": [{ "role": "user", "content": text }],
        "tools": [{ "type": "function", "function": function }],
    })
}

#[tokio::test]
async fn mistral_sends_whole_calls_and_thoughts_as_parts() {
    let fixture = start().await;
    let path = "/mistral/v1/chat/completions";
    let mut body = asking("mistral-large-latest", "weather");
    let answer = json_of(post(&fixture, path, &body).await).await;
    let call = answer["choices"][0]["message"]["tool_calls"][0].clone();
    assert_eq!(call["id"].as_str().unwrap().len(), 9);
    let streamed = events(post(&fixture, path, &with(body.clone(), json!({ "stream": true }))).await).await;
    let last = &streamed[streamed.len() - 2];
    assert_eq!(
        last["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"],
        call["function"]["arguments"]
    );
    assert!(last["choices"][0]["finish_reason"] == "tool_calls" && last["usage"].is_object(), "{last}");

    // Its own answer is taken back.
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(answer["choices"][0]["message"].clone());
    turns.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": "x" }));
    for message in turns.iter_mut() {
        message.as_object_mut().unwrap().shift_remove("refusal");
    }
    assert_eq!(post(&fixture, path, &body).await.status(), 200);

    let thinking = with(asking("magistral", "Hi"), json!({ "reasoning_effort": "high" }));
    let thought = json_of(post(&fixture, path, &thinking).await).await;
    let content = &thought["choices"][0]["message"]["content"];
    assert_eq!((&content[0]["type"], &content[1]["type"]), (&json!("thinking"), &json!("text")));
}

#[tokio::test]
async fn reasoning_stands_where_the_vendor_has_it() {
    let fixture = start().await;
    for (path, key) in [
        ("/deepseek/v1/chat/completions", "reasoning_content"),
        ("/groq/openai/v1/chat/completions", "reasoning"),
        ("/openrouter/api/v1/chat/completions", "reasoning_details"),
    ] {
        let body = with(asking("m", "Hi"), json!({ "reasoning_effort": "high" }));
        let answer = json_of(post(&fixture, path, &body).await).await;
        assert!(answer["choices"][0]["message"].get(key).is_some(), "{path}: {answer}");
        assert!(answer["choices"][0]["message"]["content"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn reasoning_is_asked_for_in_each_vendors_words() {
    let fixture = start().await;
    let path = "/compatible/v1/chat/completions";
    for (fields, thinks) in [
        (json!({ "reasoning_effort": "none" }), false),
        (json!({ "reasoning": { "effort": "low" } }), true),
        (json!({ "reasoning": { "enabled": false } }), false),
        (json!({ "thinking": { "type": "enabled" } }), true),
        (json!({ "thinking": { "type": "disabled" } }), false),
        (json!({ "enable_thinking": true }), true),
        (json!({ "chat_template_kwargs": { "enable_thinking": true } }), true),
    ] {
        let answer = json_of(post(&fixture, path, &with(asking("m", "Hi"), fields.clone())).await).await;
        let tokens = &answer["usage"]["completion_tokens_details"]["reasoning_tokens"];
        assert_eq!(tokens.as_u64().unwrap() > 0, thinks, "{fields}");
    }
}

#[tokio::test]
async fn a_gateways_signatures_come_back_whole_or_not_at_all() {
    let fixture = start().await;
    let path = "/openrouter/api/v1/chat/completions";
    let thinking = json!({ "reasoning": { "effort": "high" } });
    let answer = json_of(post(&fixture, path, &with(asking("m", "Hi"), thinking.clone())).await).await;
    let message = &answer["choices"][0]["message"];
    let stream = with(with(asking("m", "Hi"), thinking), json!({ "stream": true }));
    let streamed = events(post(&fixture, path, &stream).await).await;
    for key in ["text", "signature"] {
        let pointer = format!("/choices/0/delta/reasoning_details/0/{key}");
        assert_eq!(joined(&streamed, &pointer), message["reasoning_details"][0][key], "{key}");
    }
    let status = async |message: &Value| {
        let mut body = asking("m", "Hi");
        let turns = body["messages"].as_array_mut().unwrap();
        turns.extend([message.clone(), json!({ "role": "user", "content": "And?" })]);
        post(&fixture, path, &body).await.status().as_u16()
    };
    assert_eq!(status(message).await, 200);
    let mut altered = message.clone();
    altered["reasoning_details"][0]["text"] = json!("Something else.");
    assert_eq!(status(&altered).await, 400);
    let mut bare = message.clone();
    bare["reasoning_details"][0].as_object_mut().unwrap().shift_remove("signature");
    assert_eq!(status(&bare).await, 400);
}

#[tokio::test]
async fn errors_have_the_vendors_form() {
    let fixture = start().await;
    let ask = async |path: &str| json_of(post(&fixture, path, &asking("mock-status-400", "Hi")).await).await;
    assert!(ask("/xai/v1/chat/completions").await["error"].is_string());
    assert_eq!(ask("/openrouter/api/v1/chat/completions").await["error"]["code"], 400);
    assert_eq!(ask("/mistral/v1/chat/completions").await["object"], "error");
    let auth =
        json_of(post(&fixture, "/mistral/v1/chat/completions", &asking("mock-auth", "Hi")).await).await;
    assert!(auth["detail"].is_string());
    let groq = with(asking("mock-error-in-stream", "Hi"), json!({ "stream": true }));
    let text = post(&fixture, "/groq/openai/v1/chat/completions", &groq).await.text().await.unwrap();
    assert!(text.contains("event: error\ndata: {\"error\""), "{text}");
    let azure = post(&fixture, "/openai/deployments/d/chat/completions", &asking("m", "Hi")).await;
    assert_eq!((azure.status().as_u16(), json_of(azure).await["error"]["code"].clone()), (404, json!("404")));
}

#[tokio::test]
async fn claude_on_vertex_speaks_anthropics_form() {
    let fixture = start().await;
    let door = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929";
    let body = json!({
        "anthropic_version": "vertex-2023-10-16", "max_tokens": 100, "messages": [{ "role": "user", "content": "Hi" }],
    });
    let whole = json_of(post(&fixture, &format!("{door}:rawPredict"), &body).await).await;
    let streamed = events(post(&fixture, &format!("{door}:streamRawPredict"), &body).await).await;
    assert_eq!(joined(&streamed, "/delta/text"), whole["content"][0]["text"].as_str().unwrap());
    let gemini = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:generateContent";
    let body = with(minimal(Api::Gemini, "m", "Hi", false), json!({ "labels": { "team": "a" } }));
    assert_eq!(post(&fixture, gemini, &body).await.status(), 200);
    // Labels are Vertex's alone.
    assert_eq!(post(&fixture, "/v1beta/models/m:generateContent", &body).await.status(), 400);
}

#[tokio::test]
async fn an_altered_signature_is_refused() {
    let fixture = start().await;
    let tools = json!([{ "functionDeclarations": [{ "name": "get_weather" }] }]);
    let mut body = with(minimal(Api::Gemini, "m", "weather", false), json!({ "tools": tools }));
    let path = "/v1beta/models/gemini-3-pro-preview:generateContent";
    let answer = json_of(post(&fixture, path, &body).await).await;
    let turn = answer["candidates"][0]["content"].clone();
    assert!(turn["parts"][0]["thoughtSignature"].is_string(), "{turn}");
    let result = json!({ "functionResponse": { "name": "get_weather", "response": { "a": 1 } } });
    let turns = body["contents"].as_array_mut().unwrap();
    turns.push(turn);
    turns.push(json!({ "role": "user", "parts": [result] }));
    assert_eq!(post(&fixture, path, &body).await.status(), 200);
    for (proof, status) in
        [(json!("c2tpcA=="), 400), (Value::Null, 400), (json!("skip_thought_signature_validator"), 200)]
    {
        body["contents"][1]["parts"][0]["thoughtSignature"] = proof;
        assert_eq!(post(&fixture, path, &body).await.status(), status, "{body}");
    }

    let thinking = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "max_tokens": 4000 });
    let mut body = with(minimal(Api::Anthropic, "m", "Hi", false), thinking);
    let answer = json_of(fixture.send(Api::Anthropic, &body).await).await;
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(json!({ "role": "assistant", "content": answer["content"] }));
    turns.push(json!({ "role": "user", "content": "And?" }));
    assert_eq!(fixture.send(Api::Anthropic, &body).await.status(), 200);
    body["messages"][1]["content"][0]["thinking"] = json!("Another thought.");
    let refused = fixture.send(Api::Anthropic, &body).await;
    assert_eq!(refused.status(), 400);
    let message = json_of(refused).await["error"]["message"].clone();
    assert_eq!(message, "messages.1.content.0: Invalid `signature` in `thinking` block");
}

#[tokio::test]
async fn embeddings_are_the_same_in_every_form() {
    let fixture = start().await;
    let ask = async |path: &str, body: Value| {
        let response = post(&fixture, path, &body).await;
        assert_eq!(response.status(), 200, "{path}");
        json_of(response).await
    };
    let openai = ask("/v1/embeddings", json!({ "model": "e", "input": ["a", "b"], "dimensions": 4 })).await;
    let expected = openai["data"][0]["embedding"].clone();
    assert_eq!((expected.as_array().unwrap().len(), &openai["data"][1]["index"]), (4, &json!(1)));
    let packed = ask(
        "/v1/embeddings",
        json!({ "model": "e", "input": "a", "dimensions": 4, "encoding_format": "base64" }),
    )
    .await;
    let bytes = STANDARD.decode(packed["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let floats: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(json!(floats), expected);

    let parts = json!({ "parts": [{ "text": "a" }] });
    let one = json!({ "model": "models/e", "content": parts, "outputDimensionality": 4 });
    let gemini = ask("/v1beta/models/e:embedContent", one.clone()).await;
    assert_eq!(gemini["embedding"]["values"], expected);
    let batch = ask("/v1beta/models/e:batchEmbedContents", json!({ "requests": [one] })).await;
    assert_eq!(batch["embeddings"][0]["values"], expected);
    let vertex = "/v1/projects/p/locations/l/publishers/google/models/e:predict";
    let instances = json!({ "instances": [{ "content": "a" }], "parameters": { "outputDimensionality": 4 } });
    assert_eq!(ask(vertex, instances).await["predictions"][0]["embeddings"]["values"], expected);

    let texts =
        json!({ "texts": ["a"], "input_type": "search_document", "embedding_types": ["float", "int8"] });
    let cohere = ask("/v2/embed", with(texts.clone(), json!({ "model": "e", "output_dimension": 4 }))).await;
    assert_eq!(cohere["embeddings"]["float"][0], expected);
    assert_eq!(cohere["embeddings"]["int8"][0].as_array().unwrap().len(), 4);
    let on_bedrock =
        ask("/model/cohere.embed-v4%3A0/invoke", with(texts, json!({ "output_dimension": 256 }))).await;
    assert_eq!(on_bedrock["embeddings"]["float"][0].as_array().unwrap().len(), 256);
    let titan =
        ask("/model/amazon.titan-embed-text-v2%3A0/invoke", json!({ "inputText": "a", "dimensions": 256 }))
            .await;
    assert_eq!(titan["embedding"], on_bedrock["embeddings"]["float"][0]);
}
