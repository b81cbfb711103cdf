//! Bytes that are hardly HTTP, or stop half way: the connection may end, the process never does.

use std::time::Duration;

use crate::scene::{Dialect, Rung, Scene, ask, chat, question, second};
use crate::support::client::encode;

const JSON: (&str, &str) = ("content-type", "application/json");
const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_body_slower_than_body_timeout_is_a_408() {
    let upstream = second().await;
    let scene = Scene::default()
        .chain("chat", "", &[Rung::new(Dialect::OpenAi, &upstream)])
        .also("[server]\nbody_timeout = \"300ms\"");
    let gateway = scene.start().await;
    let whole =
        encode(gateway.address(), "POST", CHAT, &[JSON], question("chat", false).to_string().as_bytes());
    let mut connection = gateway.connect().await;
    connection.send(&whole[..whole.len() - 5]).await;
    let answer = connection.head().await.whole().await;
    assert_eq!(answer.status, 408);
    let error = answer.json()["error"].clone();
    assert_eq!(
        (error["code"].as_str(), error["type"].as_str()),
        (Some("body_timeout"), Some("invalid_request_error"))
    );
    assert!(error["message"].as_str().unwrap().contains("body_timeout"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.hits(), 0);
    // A slow body that arrives in time is none the worse for it.
    let mut connection = gateway.connect().await;
    connection.send(&whole[..whole.len() - 5]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    connection.send(&whole[whole.len() - 5..]).await;
    assert_eq!(connection.head().await.whole().await.status, 200);
}

#[tokio::test]
async fn a_body_that_breaks_off_reaches_no_upstream() {
    let upstream = second().await;
    let gateway = chat("", &[Rung::new(Dialect::OpenAi, &upstream)]).await;
    let whole =
        encode(gateway.address(), "POST", CHAT, &[JSON], question("chat", false).to_string().as_bytes());
    for left in [1, 20, whole.len() - 10] {
        let mut connection = gateway.connect().await;
        connection.send(&whole[..whole.len() - left]).await;
        connection.reset();
    }
    assert_eq!(ask(&gateway, "chat", false).await.text, "second");
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn what_is_hardly_http_ends_its_connection_and_nothing_else() {
    let upstream = second().await;
    let gateway = chat("", &[Rung::new(Dialect::OpenAi, &upstream)]).await;
    let body = question("chat", false).to_string();
    let with = |headers: &str| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let many = "x-one: y\r\n".repeat(2000);
    let huge = format!("x: {}\r\n", "y".repeat(400 * 1024));
    let cases: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        b"HELLO\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        format!("POST {CHAT} HTTP/9.9\r\n\r\n").into_bytes(),
        with("no colon here\r\n").into_bytes(),
        with("content-length: 5\r\ncontent-length: 6\r\n").into_bytes(),
        with("content-length: -5\r\n").into_bytes(),
        with("content-length: many\r\n").into_bytes(),
        with("transfer-encoding: chunked\r\n").into_bytes(),
        with("bad\x01name: x\r\n").into_bytes(),
        with(&many).into_bytes(),
        with(&huge).into_bytes(),
        vec![b'\n'; 100_000],
        vec![0; 100_000],
    ];
    for case in cases {
        let mut connection = gateway.connect().await;
        connection.send(&case).await;
        let answer = connection.read_to_end().await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(100)]).into_owned();
        let case = String::from_utf8_lossy(&case[..case.len().min(200)]).into_owned();
        assert!(answer.is_empty() || shown.starts_with("HTTP/1.1 4"), "{case:?}: {shown}");
    }
    assert_eq!(ask(&gateway, "chat", true).await.text, "second");
    assert_eq!(upstream.hits(), 1);
}

#[tokio::test]
async fn json_that_is_nested_without_end_is_no_way_to_crash() {
    let (plain, translated) = (second().await, crate::scene::good(Dialect::Anthropic, "second").await);
    let scene = Scene::default().chain("plain", "", &[Rung::new(Dialect::OpenAi, &plain)]).chain(
        "translated",
        "",
        &[Rung::new(Dialect::Anthropic, &translated)],
    );
    let gateway = scene.start().await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for model in ["plain", "translated"] {
        let user = r#"{"role":"user","content":"x"}"#;
        for body in [
            format!(r#"{{"model":"{model}","messages":[{user}],"x":{deep}}}"#),
            format!(r#"{{"model":"{model}","messages":[{user}],"metadata":{objects}}}"#),
            format!(r#"{{"model":"{model}","messages":{deep}}}"#),
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":{deep}}}]}}"#),
            format!(
                r#"{{"model":"{model}","messages":[{user}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{objects}}}}}]}}"#
            ),
            format!(
                r#"{{"model":"{model}","messages":[{user}],"response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{objects}}}}}}}"#
            ),
            format!(r#"{{"model":"{model}","messages":[{user}],"stop":{deep}}}"#),
            "[".repeat(1_000_000),
        ] {
            let answer = gateway.request("POST", CHAT, &[JSON], body.as_bytes()).await;
            let shown = &body[..body.len().min(120)];
            assert!(matches!(answer.status, 200 | 400), "{} for {shown}", answer.status);
        }
        assert_eq!(ask(&gateway, model, false).await.text, "second");
    }
}
