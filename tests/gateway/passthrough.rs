//! A request and its answer in OpenAI's own format keep their bytes.

use crate::support::chain::{PATH, gateway};
use crate::support::client::Response;
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(gateway: &Gateway, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = [&[JSON], headers].concat();
    gateway.request("POST", PATH, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_request_arrives_byte_for_byte_but_for_its_model_and_pitons_own_fields() {
    // What the client sends, and what of it arrives.
    let cases = [
        (
            "{ \"zeta\" : 1.0e+2 ,\n\t\"model\" :\"chain\" ,\r\n \"messages\":[ {\"content\":\"h\\u0069 \\/ \u{1F600}\",\"role\":\"user\",\"x\":-0.0} ],\
             \"temperature\":1.00 ,\"big\":12345678901234567890123.4560, \"logit_bias\":{\"50256\":-1e2}, \"nul\":null,\"\\u0061\":[ ] } \n",
            "{ \"zeta\" : 1.0e+2 ,\n\t\"model\" :\"m0\" ,\r\n \"messages\":[ {\"content\":\"h\\u0069 \\/ \u{1F600}\",\"role\":\"user\",\"x\":-0.0} ],\
             \"temperature\":1.00 ,\"big\":12345678901234567890123.4560, \"logit_bias\":{\"50256\":-1e2}, \"nul\":null,\"\\u0061\":[ ] } \n",
        ),
        (
            r#"{"models":["p0/m0"] , "a":1, "task_type":"x","messages":[{"role":"user","content":"h"}],"fallbacks":["m1"], "model":"chain"}"#,
            r#"{ "a":1,"messages":[{"role":"user","content":"h"}], "model":"m0"}"#,
        ),
        (
            r#"{"model":"chain","metadata":{"piton_user":"u","kept":"1","n":1.50,"task_type":"t"},"messages":[{"role":"user","content":"h"}]}"#,
            r#"{"model":"m0","metadata":{"kept":"1","n":1.50},"messages":[{"role":"user","content":"h"}]}"#,
        ),
        (
            r#"{"model":"chain","metadata":{"piton_user":"u"},"messages":[{"role":"user","content":"h"}]}"#,
            r#"{"model":"m0","messages":[{"role":"user","content":"h"}]}"#,
        ),
        (
            r#"{"model":"chain","metadata":{ "kept" : "1" },"messages":[{"role":"user","content":"h"}],"user":"someone"}"#,
            r#"{"model":"m0","metadata":{ "kept" : "1" },"messages":[{"role":"user","content":"h"}],"user":"someone"}"#,
        ),
        // Only a stream is asked for its token counts; a client that asks itself is not corrected.
        (
            r#"{"model":"chain","stream":true,"messages":[{"role":"user","content":"h"}] }"#,
            r#"{"model":"m0","stream":true,"messages":[{"role":"user","content":"h"}],"stream_options":{"include_usage":true} }"#,
        ),
        (
            r#"{"model":"chain","stream":true ,"stream_options":{ "include_usage":true,"z":1e0 },"messages":[{"role":"user","content":"h"}]}"#,
            r#"{"model":"m0","stream":true ,"stream_options":{ "include_usage":true,"z":1e0 },"messages":[{"role":"user","content":"h"}]}"#,
        ),
    ];
    let upstream = Upstream::start(|_, request| {
        let streams = request.json()["stream"] == true;
        if streams { replies::openai_stream(&["hi"]).all() } else { replies::openai_json("hi") }
    })
    .await;
    let other = Upstream::always(replies::openai_json("never")).await;
    let gateway = gateway(&[("openai", upstream.url()), ("openai", other.url())], "", "").await;
    for (at, (sent, expected)) in cases.into_iter().enumerate() {
        let answer = post(&gateway, &[], sent).await;
        assert_eq!(answer.status, 200, "{sent}: {}", answer.text());
        let received = upstream.request(at);
        assert_eq!(String::from_utf8_lossy(&received.body), expected, "of {sent}");
        assert_eq!(received.path, "/v1/chat/completions");
        assert_eq!(received.header("content-length"), Some(expected.len().to_string().as_str()));
        assert_eq!(received.header("transfer-encoding"), None);
    }
    assert_eq!(other.hits(), 0);
}

#[tokio::test]
async fn only_listed_headers_go_upstream_and_the_key_is_the_owners() {
    let upstream = Upstream::always(replies::openai_json("hi")).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("authorization", "Bearer the-clients-own"),
        ("cookie", "session=1"),
        ("x-api-key", "the-clients-own"),
        ("x-stainless-lang", "python"),
        ("x-stainless-retry-count", "0"),
        ("user-agent", "OpenAI/Python 2.0"),
        ("accept-encoding", "gzip, br"),
        ("accept", "text/plain"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "mine"),
        ("x-piton-user", "someone"),
        ("openai-organization", "org-1"),
        ("openai-beta", "assistants=v2"),
        ("anthropic-beta", "a-beta"),
        ("traceparent", parent),
    ];
    let body = r#"{"model":"chain","messages":[{"role":"user","content":"h"}]}"#;
    assert_eq!(post(&gateway, &headers, body).await.status, 200);
    let received = upstream.request(0);
    let mut names: Vec<String> = received.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "accept-encoding",
        "anthropic-beta",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "openai-beta",
        "traceparent",
        "user-agent",
    ];
    assert_eq!(names, expected);
    assert_eq!(received.header("authorization"), Some("Bearer upstream-key"));
    assert_eq!(received.header("accept-encoding"), Some("identity"));
    assert_eq!(received.header("traceparent"), Some(parent));
    assert_eq!(received.header("openai-beta"), Some("assistants=v2"));
    assert!(received.header("user-agent").is_some_and(|agent| agent.starts_with("piton/")));
    for (name, value) in &received.headers {
        assert!(!value.contains("the-clients-own"), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_list_on_several_lines_goes_upstream_whole() {
    let openai = Upstream::always(replies::openai_error(503, "server_error", None, "down")).await;
    let anthropic = Upstream::always(replies::anthropic_json("hi")).await;
    let gateway = gateway(&[("openai", openai.url()), ("anthropic", anthropic.url())], "", "").await;
    let headers = [
        ("openai-beta", "assistants=v2"),
        ("anthropic-beta", "one,two"),
        ("openai-beta", "responses=v1"),
        ("anthropic-beta", "three"),
    ];
    let body = r#"{"model":"chain","messages":[{"role":"user","content":"h"}]}"#;
    assert_eq!(post(&gateway, &headers, body).await.status, 200);
    for received in [openai.request(0), anthropic.request(0)] {
        assert_eq!(received.header("openai-beta"), Some("assistants=v2, responses=v1"));
        assert_eq!(received.header("anthropic-beta"), Some("one,two, three"));
    }
}

/// An answer as no serializer would write it.
const ODD: &str = "{ \"model\":\"odd-1\",\"choices\" : [ {\"message\":{\"content\":\"h\\u0069\",\"role\":\"assistant\",\"vendor\":1.50},\n\
     \"finish_reason\":\"stop\",\"index\":0.0e0} ],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,\"z\":1e2}, \"x\":-0 }\n";

#[tokio::test]
async fn a_json_answer_comes_back_byte_for_byte() {
    let upstream =
        Upstream::always(replies::status(200, ODD, &[("content-type", "application/json; charset=utf-8")]))
            .await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let body = r#"{"model":"chain","messages":[{"role":"user","content":"h"}]}"#;
    let answer = post(&gateway, &[], body).await;
    assert_eq!(answer.text(), ODD);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some(ODD.len().to_string().as_str()));
}

#[tokio::test]
async fn a_receipt_adds_its_member_and_changes_nothing_else() {
    let upstream = Upstream::always(replies::status(200, ODD, &[JSON])).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let plain = r#"{"model":"chain","messages":[{"role":"user","content":"h"}]}"#;
    let in_metadata =
        r#"{"model":"chain","messages":[{"role":"user","content":"h"}],"metadata":{"piton_receipt":true}}"#;
    for (headers, body) in [(&[("x-piton-receipt", "true")][..], plain), (&[][..], in_metadata)] {
        let answer = post(&gateway, headers, body).await;
        let text = answer.text();
        let kept = ODD.trim_end().strip_suffix('}').expect("an object");
        let rest = text.strip_prefix(kept).unwrap_or_else(|| panic!("changed: {text}"));
        assert!(rest.starts_with(",\"piton\":{") && rest.ends_with('}'), "{rest}");
        let receipt = &answer.json()["piton"];
        assert_eq!(receipt["target"], "p0/m0");
        assert_eq!(receipt["current_model"], "odd-1");
        assert_eq!(receipt["id"].as_str(), answer.header("x-request-id"));
    }
}

#[tokio::test]
async fn a_history_with_calls_of_custom_tools_is_openais_own_and_passes() {
    let upstream = Upstream::always(replies::openai_json("good")).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let with_call = |called: &str| {
        format!(
            r#"{{"model":"chain","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{{"id":"a","type":"custom"{called}}}]}},{{"role":"tool","tool_call_id":"a","content":"y"}}]}}"#
        )
    };
    let whole = post(&gateway, &[], &with_call(r#","custom":{"name":"sh","input":"ls"}"#)).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let bare = post(&gateway, &[], &with_call("")).await;
    assert_eq!(bare.status, 400, "{}", bare.text());
    assert_eq!(bare.json()["error"]["param"], "messages[1].tool_calls");
    assert_eq!(upstream.hits(), 1);
}
