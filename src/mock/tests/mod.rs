//! The mock as its clients see it, over HTTP.

mod anthropic;
mod bedrock;
mod cohere;
mod control;
mod faults;
mod gemini;
mod openai;
mod recorded;
mod rules;
mod vendors;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Mock, Options, spawn};

/// A mock, and a client that knows the paths and credentials of the three dialects.
struct Fixture {
    mock: Mock,
    client: reqwest::Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Api {
    const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Gemini];
}

async fn start() -> Fixture {
    start_with(Options { name: "test".to_owned(), ..Options::default() }).await
}

async fn start_with(options: Options) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Fixture { mock: spawn(listener, options).unwrap(), client }
}

impl Fixture {
    /// A request with credentials; the body is complete already.
    fn request(&self, api: Api, model: &str, stream: bool) -> RequestBuilder {
        let url = self.mock.url();
        let post = |path: String| self.client.post(url + &path).header("content-type", "application/json");
        match api {
            Api::OpenAi => post("/v1/chat/completions".to_owned()),
            Api::Anthropic => {
                let request = post("/v1/messages".to_owned());
                request.header("x-api-key", "key").header("anthropic-version", "2023-06-01")
            }
            Api::Gemini => {
                let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                post(format!("/v1beta/models/{model}:{method}")).header("x-goog-api-key", "key")
            }
        }
    }

    async fn send(&self, api: Api, body: &Value) -> Response {
        self.request(api, "m", false).body(body.to_string()).send().await.unwrap()
    }

    /// The least request of the dialect with this text.
    async fn ask(&self, api: Api, model: &str, text: &str, stream: bool) -> reqwest::Result<Response> {
        self.request(api, model, stream).body(minimal(api, model, text, stream).to_string()).send().await
    }

    /// The answer to the least request, as JSON.
    async fn answer(&self, api: Api, model: &str, text: &str) -> Value {
        json_of(self.ask(api, model, text, false).await.unwrap()).await
    }
}

fn minimal(api: Api, model: &str, text: &str, stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": text }]);
    let mut body = match api {
        Api::OpenAi => json!({ "model": model, "messages": messages }),
        Api::Anthropic => json!({ "model": model, "max_tokens": 1000, "messages": messages }),
        Api::Gemini => return json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] }),
    };
    if stream {
        body["stream"] = json!(true);
    }
    body
}

/// The object with these fields laid over it.
fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("no object: {fields}") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

async fn json_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The payloads of a whole stream, `[DONE]` as a string.
async fn events(response: Response) -> Vec<Value> {
    parse_events(&response.text().await.unwrap())
}

fn parse_events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}

/// Everything at this place of the payloads, strings joined.
fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

fn text_of(api: Api, answer: &Value) -> &str {
    let pointer = match api {
        Api::OpenAi => "/choices/0/message/content",
        Api::Anthropic => "/content/0/text",
        Api::Gemini => "/candidates/0/content/parts/0/text",
    };
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text: {answer}"))
}

fn delta_of(api: Api) -> &'static str {
    match api {
        Api::OpenAi => "/choices/0/delta/content",
        Api::Anthropic => "/delta/text",
        Api::Gemini => "/candidates/0/content/parts/0/text",
    }
}

#[tokio::test]
async fn json_and_stream_say_the_same_in_every_dialect() {
    let fixture = start().await;
    for api in Api::ALL {
        let whole = fixture.answer(api, "gpt-4o", "Hello").await;
        let expected = "This is gpt-4o, simulated by test. I see 1 turn. You said: \"Hello\".";
        assert_eq!(text_of(api, &whole), expected);
        let stream = fixture.ask(api, "gpt-4o", "Hello", true).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(joined(&events(stream).await, delta_of(api)), expected);
    }
}

#[tokio::test]
async fn every_dialect_has_its_own_line_ends_and_request_id() {
    let fixture = start().await;
    for (api, blank, header) in [
        (Api::OpenAi, "\n\n", Some("x-request-id")),
        (Api::Anthropic, "\n\n", Some("request-id")),
        (Api::Gemini, "\r\n\r\n", None),
    ] {
        let response = fixture.ask(api, "m", "Hi", true).await.unwrap();
        assert_eq!(header.map(|name| response.headers().contains_key(name)), header.map(|_| true));
        let text = response.text().await.unwrap();
        assert!(text.ends_with(blank));
        assert_eq!(text.contains('\r'), api == Api::Gemini);
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_refused_in_the_dialects_envelope() {
    let fixture = start().await;
    for api in Api::ALL {
        for body in ["", "{", "[]", "\"text\""] {
            let response = fixture.request(api, "m", false).body(body).send().await.unwrap();
            assert_eq!(response.status(), 400);
            let error = json_of(response).await;
            assert!(error["error"]["message"].as_str().unwrap().contains("JSON body"), "{error}");
        }
    }
}
