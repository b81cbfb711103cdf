//! Bedrock: Converse, and Anthropic's bodies behind InvokeModel.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";

async fn post(fixture: &Fixture, path: &str, body: &Value) -> Response {
    let request = fixture.client.post(fixture.mock.url() + path).header("authorization", "Bearer key");
    request.body(body.to_string()).send().await.unwrap()
}

async fn converse(fixture: &Fixture, body: &Value) -> Response {
    post(fixture, &format!("/model/{CLAUDE}/converse"), body).await
}

/// The events of a stream by their lengths: type and payload.
fn messages(mut bytes: &[u8]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (total, head) = (word(0), word(4));
        let headers = String::from_utf8_lossy(&bytes[12..12 + head]).into_owned();
        let payload = serde_json::from_slice(&bytes[12 + head..total - 4]).unwrap();
        found.push((headers, payload));
        bytes = &bytes[total..];
    }
    found
}

fn body() -> Value {
    let schema =
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let tool = json!({ "toolSpec": { "name": "get_weather", "inputSchema": { "json": schema } } });
    json!({
        "messages": [{ "role": "user", "content": [{ "text": "The weather in Rome and Oslo?" }] }],
        "toolConfig": { "tools": [tool] },
        "inferenceConfig": { "maxTokens": 4000 },
        "additionalModelRequestFields": { "thinking": { "type": "enabled", "budget_tokens": 1024 } },
    })
}

#[tokio::test]
async fn an_answer_comes_back_as_history_with_its_signature() {
    let fixture = start().await;
    let mut body = body();
    let answer = json_of(converse(&fixture, &body).await).await;
    assert_eq!(answer["stopReason"], "tool_use");
    let usage = &answer["usage"];
    assert_eq!(
        usage["inputTokens"].as_u64().unwrap() + usage["outputTokens"].as_u64().unwrap(),
        usage["totalTokens"].as_u64().unwrap()
    );
    let message = answer["output"]["message"].clone();
    let calls: Vec<_> =
        message["content"].as_array().unwrap().iter().filter_map(|block| block.get("toolUse")).collect();
    assert_eq!((calls.len(), &calls[1]["input"]["city"]), (2, &json!("Oslo")));
    let results = calls.iter().map(|call| {
        json!({ "toolResult": { "toolUseId": call["toolUseId"], "content": [{ "json": { "t": 20 } }] } })
    });
    let results: Vec<_> = results.collect();
    let turns = body["messages"].as_array_mut().unwrap();
    turns.push(message);
    turns.push(json!({ "role": "user", "content": results }));
    let next = json_of(converse(&fixture, &body).await).await;
    let said = next["output"]["message"]["content"][1]["text"].as_str().unwrap();
    assert!(said.contains("The tools said: \"{\"t\":20}\""), "{said}");

    body["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]["text"] =
        json!("Another thought.");
    let refused = converse(&fixture, &body).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.headers()["x-amzn-errortype"].to_str().unwrap().starts_with("ValidationException:"));
    let message = json_of(refused).await;
    assert!(message["message"].as_str().unwrap().contains("Invalid `signature`"), "{message}");
}

#[tokio::test]
async fn a_stream_is_binary_and_says_the_same() {
    let fixture = start().await;
    let whole = json_of(converse(&fixture, &body()).await).await;
    let response = post(&fixture, &format!("/model/{CLAUDE}/converse-stream"), &body()).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    let events = messages(&response.bytes().await.unwrap());
    assert!(events[0].0.contains("messageStart") && events.last().unwrap().0.contains("metadata"));
    assert!(
        events.iter().all(|(headers, payload)| headers.contains(":message-type") && payload["p"].is_string())
    );
    let joined = |pointer: &str| -> String {
        events.iter().filter_map(|(_, payload)| payload.pointer(pointer)?.as_str()).collect()
    };
    let content = &whole["output"]["message"]["content"];
    let thought = &content[0]["reasoningContent"]["reasoningText"];
    assert_eq!(joined("/delta/reasoningContent/text"), *thought["text"].as_str().unwrap());
    assert_eq!(joined("/delta/reasoningContent/signature"), *thought["signature"].as_str().unwrap());
    let inputs = format!("{}{}", content[1]["toolUse"]["input"], content[2]["toolUse"]["input"]);
    assert_eq!(joined("/delta/toolUse/input"), inputs);
    assert_eq!(events.last().unwrap().1["usage"], whole["usage"]);
}

#[tokio::test]
async fn a_stream_can_end_in_an_exception() {
    let fixture = start().await;
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": "Hi" }] }] });
    let response = post(&fixture, "/model/mock-error-in-stream-3/converse-stream", &body).await;
    let events = messages(&response.bytes().await.unwrap());
    let (headers, payload) = events.last().unwrap();
    assert!(
        headers.contains(":exception-type") && headers.contains("serviceUnavailableException"),
        "{headers}"
    );
    assert!(payload["message"].is_string());
    let throttled = post(&fixture, "/model/mock-status-429/converse", &body).await;
    assert_eq!(throttled.status(), 429);
    assert!(throttled.headers()["x-amzn-errortype"].to_str().unwrap().starts_with("ThrottlingException"));
}

#[tokio::test]
async fn invoke_model_wraps_anthropics_form() {
    let fixture = start().await;
    let body = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{ "role": "user", "content": "Hi" }],
    });
    let path = format!("/model/{CLAUDE}/invoke");
    let whole = json_of(post(&fixture, &path, &body).await).await;
    let response = post(&fixture, &format!("{path}-with-response-stream"), &body).await;
    let events: Vec<Value> = messages(&response.bytes().await.unwrap())
        .into_iter()
        .map(|(_, payload)| {
            let event = STANDARD.decode(payload["bytes"].as_str().unwrap()).unwrap();
            serde_json::from_slice(&event).unwrap()
        })
        .collect();
    assert_eq!(joined(&events, "/delta/text"), whole["content"][0]["text"].as_str().unwrap());
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    let streamed = with(body, json!({ "stream": true }));
    let refused = json_of(post(&fixture, &path, &streamed).await).await;
    assert_eq!(refused, json!({ "message": "stream: Extra inputs are not permitted" }));
    let unsigned = fixture.client.post(fixture.mock.url() + &path).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
}
