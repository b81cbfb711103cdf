//! What clients get wrong: each the right status, the whole error object, a message that tells what to do, and a
//! connection on which the next request is answered.

use serde_json::{Value, json};

use crate::scene::{Dialect, Rung, Scene, question, second};
use crate::support::client::{Raw, encode};
use crate::support::gateway::Gateway;

const JSON: (&str, &str) = ("content-type", "application/json");
const CHAT: &str = "/v1/chat/completions";

/// A bad request and what must come back.
struct Bad<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: Vec<u8>,
    status: u16,
    code: Value,
    param: Value,
    /// The message says this.
    says: &'a str,
}

/// A body that is refused with 400.
fn body<'a>(body: impl Into<Vec<u8>>, param: &str, says: &'a str) -> Bad<'a> {
    let param = if param.is_empty() { Value::Null } else { json!(param) };
    Bad {
        method: "POST",
        path: CHAT,
        headers: vec![(JSON.0, JSON.1.into())],
        body: body.into(),
        status: 400,
        code: Value::Null,
        param,
        says,
    }
}

/// The same with one member of a good request replaced.
fn member<'a>(name: &str, value: Value, param: &str, says: &'a str) -> Bad<'a> {
    let mut request = question("chat", false);
    request[name] = value;
    body(request.to_string(), param, says)
}

/// A good body under these headers.
fn headed<'a>(headers: &[(&'a str, &str)], status: u16, code: &str, says: &'a str) -> Bad<'a> {
    let code = if code.is_empty() { Value::Null } else { json!(code) };
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Bad { headers, status, code, ..body(question("chat", false).to_string(), "", says) }
}

/// Two answers from one connection: the head and body of each.
fn answers(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8(rest[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().unwrap();
        found.push((head, rest[end + 4..end + 4 + length].to_vec()));
        rest = &rest[end + 4 + length..];
    }
    found
}

/// Sends each bad request with a good one behind it on the same connection.
async fn each_is_refused(gateway: &Gateway, good_headers: &[(&str, &str)], cases: Vec<Bad<'_>>) {
    let address = gateway.address();
    let headers = [&[JSON, ("connection", "close")], good_headers].concat();
    let good = encode(address, "POST", CHAT, &headers, question("chat", false).to_string().as_bytes());
    for bad in cases {
        let Bad { method, path, headers, body, status, code, param, says } = bad;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        let shown = format!("{method} {path} {:?} {shown}", headers.first());
        let mut connection = Raw::connect(address).await;
        connection.send(&encode(address, method, path, &headers, &body)).await;
        connection.send(&good).await;
        let answers = answers(&connection.read_to_end().await);
        assert_eq!(answers.len(), 2, "the connection lives on after {shown}: {answers:?}");
        let (head, body) = &answers[0];
        let answer: Value = serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} {head}"));
        let shown = format!("{shown}\n{head}\n{answer}");
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{status} for {shown}");
        for name in
            ["x-request-id: ", "x-piton-config: ", "x-should-retry: false", "content-type: application/json"]
        {
            assert!(head.contains(name), "{name} in {shown}");
        }
        let error = answer["error"].as_object().unwrap_or_else(|| panic!("{shown}"));
        let names: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(names, ["message", "type", "param", "code"], "{shown}");
        assert_eq!((&error["code"], &error["param"]), (&code, &param), "{shown}");
        assert!(
            error["type"].is_string() && error["message"].as_str().unwrap().contains(says),
            "{says} in {shown}"
        );
        assert!(answers[1].0.starts_with("http/1.1 200"), "after {shown}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_chat_request() {
    let upstream = second().await;
    let gateway = crate::scene::chat("", &[Rung::new(Dialect::OpenAi, &upstream)]).await;
    let message = |message: Value| json!([message]);
    let user = |content: Value| json!([{ "role": "user", "content": content }]);
    let result = json!([
        { "role": "assistant", "tool_calls": [{ "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": "b", "content": "x" },
    ]);
    let cases = vec![
        body("", "", "not a JSON object"),
        body("hello", "", "not a JSON object"),
        body(r#"{"model":"chat","messages":[{"role":"user""#, "", "not a JSON object"),
        body(r#"{"model":"chat","messages":[{"role":"user","content":"x"}]} more"#, "", "not a JSON object"),
        body(r#"{"model":"chat",}"#, "", "not a JSON object"),
        body("[]", "", "not a JSON object"),
        body("null", "", "not a JSON object"),
        body(
            b"{\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
            "",
            "not valid UTF-8",
        ),
        body(b"\xef\xbb\xbf{\"model\":\"chat\"}", "", "not a JSON object"),
        body(b"\x00\x01\x02", "", "not a JSON object"),
        body(
            r#"{"model":"chat","messages":[{"role":"user","content":"x"}],"model":"other"}"#,
            "",
            "`model` stands twice",
        ),
        body(r#"{"messages":[{"role":"user","content":"x"}]}"#, "model", "`model` is missing"),
        member("model", json!(7), "model", "must be a string"),
        member("model", json!(""), "model", "must name a chain"),
        member("messages", Value::Null, "messages", "`messages` is missing"),
        member("messages", json!([]), "messages", "at least one message"),
        member("messages", json!("hi"), "messages", "must be a list"),
        member("messages", json!(["hi"]), "messages[0]", "must be an object"),
        member("messages", message(json!({ "content": "x" })), "messages[0].role", "needs a `role`"),
        member(
            "messages",
            message(json!({ "role": "robot", "content": "x" })),
            "messages[0].role",
            "system, developer",
        ),
        member(
            "messages",
            message(json!({ "role": 1, "content": "x" })),
            "messages[0].role",
            "must be a string",
        ),
        member("messages", message(json!({ "role": "user" })), "messages[0].content", "needs `content`"),
        member("messages", user(json!(5)), "messages[0].content", "must be a string or a list"),
        member("messages", user(json!([{ "type": "text" }])), "messages[0].content", "what that type needs"),
        member(
            "messages",
            user(json!([{ "type": "image_url" }])),
            "messages[0].content",
            "what that type needs",
        ),
        member(
            "messages",
            message(json!({ "role": "tool", "content": "x" })),
            "messages[0].tool_call_id",
            "tool_call_id",
        ),
        member("messages", result, "messages[1].tool_call_id", "no earlier assistant message made"),
        member("stream", json!("yes"), "stream", "true or false"),
        member("n", json!(0), "n", "1 or more"),
        member("max_tokens", json!(-1), "max_tokens", "whole number of tokens"),
        member("max_completion_tokens", json!("many"), "max_completion_tokens", "whole number of tokens"),
        member("temperature", json!("hot"), "temperature", "a number"),
        member("stop", json!(5), "stop", "a string or a list of strings"),
        member("tools", json!({}), "tools", "a list of tools"),
        member("tools", json!([{ "type": "function" }]), "tools[0]", "needs its `function`"),
        member("tool_choice", json!("perhaps"), "tool_choice", "\"auto\""),
        member("response_format", json!("json"), "response_format", "an object with a `type`"),
        member("response_format", json!({ "type": "json_schema" }), "response_format", "json_schema.schema"),
        member("reasoning_effort", json!("extreme"), "reasoning_effort", "one of"),
        member("metadata", json!("x"), "metadata", "an object"),
        member("metadata", json!({ "piton_deadline": "soon" }), "", "a duration such as"),
        member("models", json!(["other/m"]), "models[0]", "Chains are closed"),
        member("models", json!([]), "models", "at least one target"),
        member("fallbacks", json!([{ "model": "gpt-9" }]), "fallbacks[0]", "its targets are: chat-0/m"),
    ];
    let count = cases.len();
    each_is_refused(&gateway, &[], cases).await;
    // Only the good requests got through.
    assert_eq!(upstream.hits(), count);
}

#[tokio::test]
async fn names_places_and_headers_that_do_not_exist() {
    let upstream = second().await;
    let rungs = || [Rung::new(Dialect::OpenAi, &upstream)];
    let gateway =
        Scene::default().chain("chat", "", &rungs()).chain("primary-chat", "", &rungs()).start().await;
    let unknown = |model: &str, says| Bad {
        status: 404,
        code: json!("model_not_found"),
        ..member("model", json!(model), "model", says)
    };
    let at = |method, path, status, code: &str, says| Bad {
        method,
        path,
        status,
        code: json!(code),
        ..headed(&[JSON], status, code, says)
    };
    let long = "x".repeat(100 * 1024);
    let cases = vec![
        unknown("primary-caht", "Did you mean `primary-chat`?"),
        unknown("zzz", "The chains are: chat, primary-chat"),
        unknown("gpt-4o", "There is no chain `gpt-4o`"),
        unknown("openai/gpt-4o", "There is no chain"),
        at("POST", "/v1/completions", 404, "not_found", "/v1/chat/completions"),
        at("POST", "/v1/chat/completions/", 404, "not_found", "/v1/chat/completions"),
        at("POST", "/", 404, "not_found", "/v1/chat/completions"),
        at("GET", CHAT, 405, "method_not_allowed", "does not take GET"),
        at("DELETE", "/v1/models", 405, "method_not_allowed", "does not take DELETE"),
        at("BREW", CHAT, 405, "method_not_allowed", "does not take BREW"),
        headed(&[], 415, "unsupported_media_type", "application/json"),
        headed(&[("content-type", "text/plain")], 415, "unsupported_media_type", "not `text/plain`"),
        headed(&[("content-type", "multipart/form-data")], 415, "unsupported_media_type", "application/json"),
        headed(
            &[JSON, ("content-encoding", "gzip")],
            415,
            "unsupported_media_type",
            "content-encoding `gzip`",
        ),
        headed(&[JSON, ("x-piton-deadline", "5")], 400, "", "a duration such as"),
        headed(&[JSON, ("x-piton-max-cost", "cheap")], 400, "", "an amount in USD"),
        headed(&[JSON, ("x-piton-fallback", "no")], 400, "", "\"off\" or \"on\""),
        headed(&[JSON, ("x-piton-wat", "1")], 400, "", "not known here"),
        headed(&[JSON, ("x-piton-explain", "maybe")], 400, "", "true or false"),
        headed(&[JSON, ("idempotency-key", "1")], 400, "not_supported", "not supported by this version"),
        headed(&[JSON, ("x-filler", &long)], 431, "headers_too_large", "65536 bytes"),
        headed(&[JSON, ("host", "evil.example")], 403, "host_not_allowed", "loopback"),
        headed(&[JSON, ("origin", "https://evil.example")], 403, "origin_not_allowed", "Web pages"),
        headed(&[JSON, ("origin", "null")], 403, "origin_not_allowed", "Web pages"),
    ];
    let count = cases.len();
    each_is_refused(&gateway, &[], cases).await;
    assert_eq!(upstream.hits(), count);
}

#[tokio::test]
async fn keys_that_are_missing_bad_or_for_another_chain() {
    let upstream = second().await;
    let rungs = || [Rung::new(Dialect::OpenAi, &upstream)];
    let gateway = Scene::default()
        .chain("chat", "", &rungs())
        .chain("internal", "", &rungs())
        .also("[[keys]]\nname = \"app\"\nsecret = \"the-apps-key\"\nchains = [\"chat\"]")
        .start()
        .await;
    let good = ("authorization", "Bearer the-apps-key");
    let keyed = |headers: &[(&'static str, &str)], says| {
        headed(&[&[JSON], headers].concat(), 401, "invalid_api_key", says)
    };
    let cases = vec![
        keyed(&[], "Authorization: Bearer"),
        keyed(&[("authorization", "Bearer wrong-key")], "not known here"),
        keyed(&[("authorization", "Bearer ")], ""),
        keyed(&[("authorization", "Basic dGhlLWFwcHMta2V5")], "Authorization: Bearer"),
        keyed(&[("x-api-key", "wrong-key")], "not known here"),
        Bad {
            headers: vec![(JSON.0, JSON.1.into()), (good.0, good.1.into())],
            body: question("internal", false).to_string().into_bytes(),
            ..headed(&[], 403, "chain_not_allowed", "internal")
        },
        // A chain that the key does not reach is not named as a near one.
        Bad {
            headers: vec![(JSON.0, JSON.1.into()), (good.0, good.1.into())],
            body: question("internol", false).to_string().into_bytes(),
            param: json!("model"),
            ..headed(&[], 404, "model_not_found", "The chains are: chat.")
        },
    ];
    let count = cases.len();
    each_is_refused(&gateway, &[good], cases).await;
    assert_eq!(upstream.hits(), count);
    assert!(!gateway.stderr().contains("the-apps-key") && !gateway.stderr().contains("wrong-key"));
}

#[tokio::test]
async fn a_body_over_max_body_is_refused_and_the_connection_kept() {
    let upstream = second().await;
    let scene = Scene::default()
        .chain("chat", "", &[Rung::new(Dialect::OpenAi, &upstream)])
        .also("[server]\nmax_body = \"2KiB\"");
    let gateway = scene.start().await;
    let large = |size: usize| Bad {
        status: 413,
        code: json!("request_too_large"),
        ..member("user", json!("x".repeat(size)), "", "larger than `max_body` (2048 bytes)")
    };
    each_is_refused(&gateway, &[], vec![large(2048), large(3000)]).await;
    assert_eq!(upstream.hits(), 2);

    // The same where the length is not announced.
    let mut connection = gateway.connect().await;
    let body = large(3000).body;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes()).await;
    connection.send(format!("{:x}\r\n", body.len()).as_bytes()).await;
    connection.send(&[&body, &b"\r\n0\r\n\r\n"[..]].concat()).await;
    let good = question("chat", false).to_string();
    connection
        .send(&encode(gateway.address(), "POST", CHAT, &[JSON, ("connection", "close")], good.as_bytes()))
        .await;
    let answers = answers(&connection.read_to_end().await);
    assert!(
        answers[0].0.starts_with("http/1.1 413") && answers[1].0.starts_with("http/1.1 200"),
        "{answers:?}"
    );
}
