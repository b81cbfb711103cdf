//! `POST /v1/embeddings`: vectors of one model, whoever serves it, in the form that was asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::exposition::Exposition;
use crate::support::gateway::Gateway;
use crate::support::replies::{self, json_reply};
use crate::support::script::Script;
use crate::support::upstream::{Received, Upstream};

const PATH: &str = "/v1/embeddings";

/// A gateway whose chain `vectors` has the target `p0/embed`, `p1/embed`, ... of these kinds; all are the same model.
async fn gateway(targets: &[(&str, &str, &Upstream)]) -> Gateway {
    let mut config = String::from("[defaults]\nretries = 0\n");
    let mut names = Vec::new();
    for (at, (kind, path, upstream)) in targets.iter().enumerate() {
        config.push_str(&format!(
            "[providers.p{at}]\nkind = \"{kind}\"\nbase_url = \"{}{path}\"\napi_key = \"env:KEY\"\n\
             [models.\"p{at}/embed\"]\nprice = {{ input = 0.1, output = 0 }}\n",
            upstream.url().trim_end_matches("/v1")
        ));
        names.push(format!("\"p{at}/embed\""));
    }
    config.push_str(&format!("[chains]\nvectors = [{}]\n", names.join(", ")));
    Gateway::with(&config).env("KEY", "upstream-key").start().await
}

async fn ask(gateway: &Gateway, more: Value) -> Response {
    let mut body = json!({ "model": "vectors" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway.post_json(PATH, &body).await
}

/// What OpenAI answers: the vector of the text "7" is [7, 0.5].
fn openai(request: &Received) -> Script {
    let asked = request.json();
    let inputs = match &asked["input"] {
        Value::Array(inputs) => inputs.clone(),
        one => vec![one.clone()],
    };
    let vector = |input: &Value| {
        let number: f32 = input.as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let bytes: Vec<u8> = [number, 0.5].iter().flat_map(|number| number.to_le_bytes()).collect();
        if asked["encoding_format"] == "base64" {
            json!(STANDARD.encode(bytes))
        } else {
            json!([number, 0.5])
        }
    };
    let data: Vec<Value> = (0..)
        .zip(&inputs)
        .map(|(index, input)| json!({ "object": "embedding", "index": index, "embedding": vector(input) }))
        .collect();
    let usage = json!({ "prompt_tokens": inputs.len(), "total_tokens": inputs.len() });
    json_reply(200, &json!({ "object": "list", "data": data, "model": "embed-1", "usage": usage }))
}

/// What Cohere answers.
fn cohere(request: &Received) -> Script {
    let asked = request.json();
    let texts = asked["texts"].as_array().unwrap();
    let vectors: Vec<Value> =
        texts.iter().map(|text| json!([text.as_str().unwrap().parse::<f32>().unwrap_or(0.0), 0.5])).collect();
    let body = json!({
        "id": "r1",
        "texts": texts,
        "embeddings": { "float": vectors },
        "meta": { "billed_units": { "input_tokens": texts.len() } },
        "response_type": "embeddings_by_type",
    });
    json_reply(200, &body)
}

/// What Gemini answers.
fn gemini(request: &Received) -> Script {
    let asked = request.json();
    let requests = asked["requests"].as_array().unwrap();
    let number = |request: &Value| {
        request["content"]["parts"][0]["text"].as_str().unwrap().parse::<f32>().unwrap_or(0.0)
    };
    let vectors: Vec<Value> =
        requests.iter().map(|request| json!({ "values": [number(request), 0.5] })).collect();
    json_reply(
        200,
        &json!({ "embeddings": vectors, "usageMetadata": { "promptTokenCount": requests.len() } }),
    )
}

/// The first number of every vector, in the order of their indexes.
fn firsts(answer: &Response) -> Vec<i64> {
    let body = answer.json();
    let data = body["data"].as_array().unwrap_or_else(|| panic!("{body}"));
    let first = |(index, entry): (usize, &Value)| {
        assert_eq!(entry["index"], index);
        assert_eq!(entry["embedding"][1], 0.5);
        #[expect(clippy::cast_possible_truncation, reason = "they are whole")]
        let number = entry["embedding"][0].as_f64().unwrap() as i64;
        number
    };
    data.iter().enumerate().map(first).collect()
}

fn numbers(count: i64) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn openais_own_bytes_go_through_both_ways() {
    const BODY: &str = "{ \"data\" : [ {\"embedding\":[1e0,-0.0],\"index\":0,\"object\":\"embedding\"} ],\"object\":\"list\",\
                        \"model\":\"embed-1\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8},\"more\":1.50 }";
    let upstream =
        Upstream::always(replies::status(200, BODY, &[("content-type", "application/json")])).await;
    let gateway = gateway(&[("openai", "/v1", &upstream)]).await;
    let sent =
        r#"{"input":[ 1, 2 ] ,"model":"vectors","dimensions":2,"metadata":{"piton_user":"u"}, "user":"x"}"#;
    for path in [PATH, "/embeddings"] {
        let answer =
            gateway.request("POST", path, &[("content-type", "application/json")], sent.as_bytes()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, BODY));
        assert_eq!(answer.header("x-piton-target"), Some("p0/embed"));
        assert_eq!(answer.header("x-piton-cost-usd"), Some("0.000000800"));
    }
    let received = upstream.request(0);
    assert_eq!(received.path, "/v1/embeddings");
    assert_eq!(received.header("authorization"), Some("Bearer upstream-key"));
    let expected = r#"{"input":[ 1, 2 ] ,"model":"embed","dimensions":2, "user":"x"}"#;
    assert_eq!(String::from_utf8_lossy(&received.body), expected);
}

#[tokio::test]
async fn many_inputs_become_calls_of_each_providers_size_in_order() {
    let openai_upstream = Upstream::start(|_, request| openai(request)).await;
    let cohere_upstream = Upstream::start(|_, request| cohere(request)).await;
    let gemini_upstream = Upstream::start(|_, request| gemini(request)).await;
    let cases: [(&str, &str, &Upstream, i64, &[usize]); 3] = [
        ("openai", "/v1", &openai_upstream, 4100, &[2048, 2048, 4]),
        ("cohere", "/v2", &cohere_upstream, 200, &[96, 96, 8]),
        ("gemini", "/v1beta", &gemini_upstream, 201, &[100, 100, 1]),
    ];
    for (kind, path, upstream, count, calls) in cases {
        let gateway = gateway(&[(kind, path, upstream)]).await;
        let answer = ask(&gateway, json!({ "input": numbers(count) })).await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert_eq!(firsts(&answer), (0..count).collect::<Vec<_>>(), "{kind}");
        assert_eq!(
            answer.json()["usage"],
            json!({ "prompt_tokens": count, "total_tokens": count }),
            "{kind}"
        );
        assert_eq!(answer.header("x-piton-attempts"), Some("1"), "{kind}");
        let sizes = upstream.requests().into_iter().map(|received| {
            let body = received.json();
            let list = ["input", "texts", "requests"].iter().find_map(|name| body[name].as_array());
            list.unwrap().len()
        });
        let mut sizes: Vec<usize> = sizes.collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(sizes, calls, "{kind}");
    }
}

#[tokio::test]
async fn each_form_of_vector_is_made_of_the_other() {
    let cohere_upstream = Upstream::start(|_, request| cohere(request)).await;
    let gateway = gateway(&[("cohere", "/v2", &cohere_upstream)]).await;
    let more = json!({
        "input": "7", "encoding_format": "base64", "dimensions": 256, "input_type": "query", "user": "u",
    });
    let answer = ask(&gateway, more).await;
    assert_eq!(
        answer.json()["data"][0]["embedding"],
        json!(STANDARD.encode([0, 0, 0xe0, 0x40, 0, 0, 0, 0x3f]))
    );
    assert_eq!(answer.json()["model"], "embed");
    assert_eq!(answer.header("x-piton-dropped"), Some("user"));
    let received = cohere_upstream.request(0);
    assert_eq!(received.path, "/v2/embed");
    let expected = json!({
        "model": "embed", "texts": ["7"], "input_type": "search_query", "embedding_types": ["float"],
        "output_dimension": 256,
    });
    assert_eq!(received.json(), expected);
    // An upstream that knows base64 only, whatever it is asked for.
    let data = json!([{ "object": "embedding", "index": 0, "embedding": "AADgQAAAAD8=" }]);
    let stubborn = Upstream::always(json_reply(200, &json!({ "object": "list", "data": data }))).await;
    let gateway = self::gateway(&[("openai", "/v1", &stubborn)]).await;
    let answer = ask(&gateway, json!({ "input": "x" })).await;
    assert_eq!(firsts(&answer), [7]);
    // It counted no tokens: they are estimated, and nothing is put out.
    let usage = ask(&gateway, json!({ "input": "x" })).await.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], usage["total_tokens"]);
}

#[tokio::test]
async fn gemini_is_told_what_the_vectors_are_for() {
    let upstream = Upstream::start(|_, request| gemini(request)).await;
    let gateway = gateway(&[("gemini", "/v1beta", &upstream)]).await;
    let answer = ask(&gateway, json!({ "input": ["7"], "dimensions": 768, "input_type": "query" })).await;
    assert_eq!(firsts(&answer), [7]);
    let received = upstream.request(0);
    assert_eq!(received.path, "/v1beta/models/embed:batchEmbedContents");
    let one = json!({
        "model": "models/embed", "content": { "parts": [{ "text": "7" }] }, "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 768,
    });
    assert_eq!(received.json(), json!({ "requests": [one] }));
}

#[tokio::test]
async fn mistral_and_azure_have_names_and_paths_of_their_own() {
    let mistral = Upstream::start(|_, request| openai(request)).await;
    let gateway = gateway(&[("mistral", "/v1", &mistral)]).await;
    let answer = ask(&gateway, json!({ "input": ["7"], "dimensions": 256, "user": "u" })).await;
    assert_eq!(firsts(&answer), [7]);
    assert_eq!(answer.header("x-piton-dropped"), Some("user"));
    let expected = json!({ "model": "embed", "input": ["7"], "output_dimension": 256 });
    assert_eq!(mistral.request(0).json(), expected);
    let azure = Upstream::start(|_, request| openai(request)).await;
    let config = format!(
        "[providers.az]\nkind = \"azure\"\nbase_url = \"{}\"\napi_key = \"env:KEY\"\napi_version = \"2024-10-21\"\n\
         [chains]\nvectors = [\"az/my-embed\"]\n",
        azure.url().trim_end_matches("/v1")
    );
    let gateway = Gateway::with(&config).env("KEY", "upstream-key").start().await;
    assert_eq!(firsts(&ask(&gateway, json!({ "input": "7" })).await), [7]);
    let received = azure.request(0);
    assert_eq!(received.path, "/openai/deployments/my-embed/embeddings?api-version=2024-10-21");
    assert_eq!(received.header("api-key"), Some("upstream-key"));
}

#[tokio::test]
async fn a_failing_target_is_left_for_the_same_model_elsewhere() {
    let failures: [Script; 4] = [
        replies::openai_error(503, "server_error", None, "overloaded"),
        replies::openai_error(404, "invalid_request_error", Some("model_not_found"), "no such model"),
        json_reply(200, &json!({ "object": "list", "data": [] })),
        json_reply(200, &json!({ "error": { "message": "x", "code": 500 } })),
    ];
    for (failure, class) in
        failures.into_iter().zip(["overloaded", "model_not_found", "malformed", "server_error"])
    {
        let bad = Upstream::always(failure).await;
        let good = Upstream::start(|_, request| cohere(request)).await;
        let gateway = gateway(&[("openai", "/v1", &bad), ("cohere", "/v2", &good)]).await;
        let answer = ask(&gateway, json!({ "input": ["7", "8"] })).await;
        assert_eq!(firsts(&answer), [7, 8], "{class}");
        assert_eq!(answer.header("x-piton-target"), Some("p1/embed"));
        assert_eq!(answer.header("x-piton-fallback-reason"), Some(class));
    }
}

#[tokio::test]
async fn tokens_and_dialects_without_embeddings_are_capabilities() {
    let anthropic = Upstream::start(|_, request| openai(request)).await;
    let cohere_upstream = Upstream::start(|_, request| cohere(request)).await;
    let openai_upstream = Upstream::start(|_, request| openai(request)).await;
    let targets: [(&str, &str, &Upstream); 3] = [
        ("anthropic", "/v1", &anthropic),
        ("cohere", "/v2", &cohere_upstream),
        ("openai", "/v1", &openai_upstream),
    ];
    let gateway = gateway(&targets).await;
    let answer = ask(&gateway, json!({ "input": [[1, 2], [3]] })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let trail = answer.header("x-piton-trail").unwrap();
    assert!(
        trail.starts_with(
            "p0/embed=skip:capability:embeddings, p1/embed=skip:capability:token_input, p2/embed=ok"
        ),
        "{trail}"
    );
    assert_eq!(openai_upstream.request(0).json()["input"], json!([[1, 2], [3]]));
    let alone = self::gateway(&[("anthropic", "/v1", &anthropic)]).await;
    let refused = ask(&alone, json!({ "input": "x" })).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("capability")));
    assert_eq!(anthropic.hits(), 0);
}

#[tokio::test]
async fn two_models_in_one_chain_do_not_mix_unless_they_are_alike() {
    let upstream = Upstream::start(|_, request| openai(request)).await;
    let config = format!(
        r#"
        [providers.p]
        kind = "openai"
        base_url = "{}"
        [models."p/deployment"]
        like = "openai/text-embedding-3-small"
        [chains]
        mixed = ["p/text-embedding-3-small", "p/text-embedding-3-large"]
        alike = ["p/text-embedding-3-small", "p/deployment"]
        "#,
        upstream.url()
    );
    let gateway = Gateway::start(&config).await;
    let refused = gateway.post_json(PATH, &json!({ "model": "mixed", "input": "x" })).await;
    let error = refused.json()["error"].clone();
    assert_eq!((refused.status, &error["param"]), (400, &json!("model")));
    assert!(error["message"].as_str().unwrap().contains("`like`"), "{error}");
    let answer = gateway.post_json(PATH, &json!({ "model": "alike", "input": "7" })).await;
    assert_eq!(firsts(&answer), [7]);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_before_any_call() {
    let upstream = Upstream::start(|_, request| openai(request)).await;
    let gateway = gateway(&[("openai", "/v1", &upstream)]).await;
    let cases = [
        (json!({}), 400, "input"),
        (json!({ "input": [] }), 400, "input"),
        (json!({ "input": ["a", 1] }), 400, "input"),
        (json!({ "input": "x", "dimensions": 1.5 }), 400, "dimensions"),
        (json!({ "input": "x", "model": "nothing" }), 404, "model"),
    ];
    for (body, status, param) in cases {
        let answer = ask(&gateway, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (status, &json!(param)), "{body}");
    }
    assert_eq!(upstream.hits(), 0);
    assert_eq!(gateway.get(PATH).await.status, 405);
}

#[tokio::test]
async fn logs_metrics_and_receipts_know_the_operation() {
    let upstream = Upstream::start(|_, request| openai(request)).await;
    let gateway = gateway(&[("openai", "/v1", &upstream)]).await;
    let body = json!({ "model": "vectors", "input": ["7", "8"] });
    let headers = [("content-type", "application/json"), ("x-piton-receipt", "true")];
    let answer = gateway.request("POST", PATH, &headers, body.to_string().as_bytes()).await;
    let receipt = answer.json()["piton"].clone();
    assert_eq!((&receipt["operation"], &receipt["outcome"]), (&json!("embeddings"), &json!("ok")));
    assert_eq!(receipt["usage"]["prompt_tokens"], 2);
    for message in ["attempt", "request"] {
        let event = gateway.wait_for_log(message, |event| event["message"] == message).await;
        assert_eq!(
            (&event["operation"], &event["input_tokens"]),
            (&json!("embeddings"), &json!(2)),
            "{event}"
        );
    }
    let metrics = Exposition::read(gateway.get("/metrics").await.text());
    let labels = [("gen_ai_operation_name", "embeddings"), ("gen_ai_token_type", "input")];
    let tokens = metrics.sum("gen_ai_client_token_usage_sum", &labels);
    assert!((tokens - 2.0).abs() < 1e-9, "{tokens}");
}
