//! Cohere's dialect.

use super::*;

async fn chat(fixture: &Fixture, body: &Value) -> Response {
    let request = fixture.client.post(fixture.mock.url() + "/v2/chat").header("authorization", "Bearer key");
    request.body(body.to_string()).send().await.unwrap()
}

fn asking(text: &str) -> Value {
    let parameters =
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let function = json!({ "name": "get_weather", "description": "d", "parameters": parameters });
    json!({
        "model": "command-a-03-2025",
        "messages": [{ "role": "user", "content": text }],
        "tools": [{ "type": "function", "function": function }],
    })
}

#[tokio::test]
async fn calls_have_a_plan_and_results_are_documents() {
    let fixture = start().await;
    let mut body = asking("The weather in Rome?");
    let answer = json_of(chat(&fixture, &body).await).await;
    assert_eq!((&answer["finish_reason"], answer["message"].get("content")), (&json!("TOOL_CALL"), None));
    assert!(answer["message"]["tool_plan"].is_string());
    let call = answer["message"]["tool_calls"][0].clone();
    assert!(call["id"].as_str().unwrap().starts_with("get_weather_"));
    assert_eq!(call["function"]["arguments"], r#"{"city":"Rome"}"#);
    assert!(
        answer["usage"]["tokens"]["input_tokens"].as_u64()
            > answer["usage"]["billed_units"]["input_tokens"].as_u64()
    );

    let document = json!({ "type": "document", "document": { "data": { "t": 20 } } });
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(answer["message"].clone());
    turns.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": [document] }));
    let next = json_of(chat(&fixture, &body).await).await;
    assert!(next["message"]["content"][0]["text"].as_str().unwrap().contains("The tools said"), "{next}");
}

#[tokio::test]
async fn a_stream_says_the_same_and_ends_twice() {
    let fixture = start().await;
    for text in ["The weather in Rome and Oslo?", "Hello"] {
        let body = with(asking(text), json!({ "thinking": { "type": "enabled" } }));
        let whole = json_of(chat(&fixture, &body).await).await;
        let streamed = events(chat(&fixture, &with(body, json!({ "stream": true }))).await).await;
        assert_eq!(streamed[0]["type"], "message-start");
        let (done, end) = (&streamed[streamed.len() - 1], &streamed[streamed.len() - 2]);
        assert_eq!((done, &end["delta"]["usage"]), (&json!("[DONE]"), &whole["usage"]));
        let message = &whole["message"];
        assert_eq!(joined(&streamed, "/delta/message/content/thinking"), message["content"][0]["thinking"]);
        let said = message["content"][1]["text"].as_str().unwrap_or_default();
        assert_eq!(joined(&streamed, "/delta/message/content/text"), said);
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let arguments: String = calls.filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(joined(&streamed, "/delta/message/tool_calls/function/arguments"), arguments);
    }
}

#[tokio::test]
async fn refusals_have_cohere_s_body() {
    let fixture = start().await;
    let unknown = chat(&fixture, &with(asking("Hi"), json!({ "n": 1 }))).await;
    assert_eq!(unknown.status(), 422);
    assert_eq!(json_of(unknown).await["message"], "unknown field: parameter 'n' is not a valid field");
    let broken = with(asking("Hi"), json!({ "model": "mock-error-in-stream", "stream": true }));
    let broken = events(chat(&fixture, &broken).await).await;
    assert_eq!(broken[broken.len() - 2]["delta"]["finish_reason"], "ERROR");
    let url = fixture.mock.url() + "/v2/chat";
    let no_key = fixture.client.post(url).body(asking("Hi").to_string()).send().await.unwrap();
    assert_eq!(
        (no_key.status().as_u16(), json_of(no_key).await["message"].clone()),
        (401, json!("no api key supplied"))
    );
}
