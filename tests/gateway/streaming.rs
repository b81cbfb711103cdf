//! Streams that end well: chunks pass as they come, and whatever the upstream's habits, the client sees OpenAI's.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::chain::{PATH, ask_stream, ask_usage, chunks, gateway, logged, outcomes, text, with};
use crate::support::client::Event;
use crate::support::replies::{self, EventStream, data};
use crate::support::script::{Gate, Script};
use crate::support::upstream::Upstream;

/// The events that a client gets of one OpenAI-compatible upstream.
async fn events_of(kind: &str, script: Script, body: &Value) -> Vec<Event> {
    let upstream = Upstream::always(script).await;
    let gateway = gateway(&[(kind, upstream.url())], "", "").await;
    let mut answer = gateway.stream(PATH, body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    answer.events().await
}

fn payloads(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.data.as_str()).collect()
}

fn well_formed(payloads: &[&str]) -> Script {
    EventStream::new(payloads.iter().map(|payload| data(payload))).all()
}

#[tokio::test]
async fn a_chunk_is_at_the_client_before_the_next_one_is_sent() {
    for kind in ["openai", "anthropic", "gemini"] {
        let pieces = ["one", "two", "three"];
        let (stream, first) = match kind {
            "anthropic" => (replies::anthropic_stream(&pieces), 4),
            "gemini" => (replies::gemini_stream(&pieces), 1),
            _ => (replies::openai_stream(&pieces), 2),
        };
        let (one, two) = (Gate::shut(), Gate::shut());
        let second = EventStream::new([stream.events[first].clone()]).first(1);
        let second = Script { steps: second.steps.into_iter().skip(1).collect() };
        let script = stream.first(first).wait(&one).then(second).wait(&two).then(stream.rest(first + 1));
        let upstream = Upstream::always(script).await;
        let gateway = gateway(&[(kind, upstream.url())], "", "").await;
        let mut answer = gateway.stream(PATH, &ask_stream()).await;
        let mut seen = Vec::new();
        for (word, gate) in [("one", &one), ("two", &two)] {
            // Nothing but the words so far can be here: the rest waits behind the gate.
            while !text(&seen).ends_with(word) {
                seen.push(answer.next_event().await.expect("an event"));
            }
            gate.open();
        }
        seen.extend(answer.events().await);
        chunks(&seen);
        assert_eq!(text(&seen), "onetwothree", "{kind}");
    }
}

#[tokio::test]
async fn unknown_fields_of_chunks_reach_the_client_byte_for_byte() {
    let sent = [
        r#"{ "id":"x","object":"chat.completion.chunk","created":17,"model":"m","zz":1.0e2 ,"choices":[{"index":0,"delta":{"role":"assistant","content":"a","vendor":{"n":1.50}},"q":-0.0}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"h\u006dm","signature":"\/"},"index":0}],"created":17,"id":"x","model":"m","obfuscation":"k3"}"#,
        r#"{"id":"x","created":17,"model":"m","choices":[{"index":0,"delta":{"content":"b"},"logprobs":{"content":[{"token":"b","logprob":-1e-7}]}}]}"#,
        r#"{"id":"x","created":17,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop","matched_stop":1.0}]}"#,
        r#"{"id":"x","created":17,"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"x_queue":0.10}}"#,
        "[DONE]",
    ];
    let events = events_of("openai", well_formed(&sent), &ask_usage()).await;
    assert_eq!(payloads(&events), sent);
}

/// A chunk of the usual identity with this rest.
fn usual(rest: &str) -> String {
    format!(r#"{{"id":"x","object":"chat.completion.chunk","created":17,"model":"m",{rest}}}"#)
}

#[tokio::test]
async fn a_stream_is_put_right_where_it_contradicts_itself_and_nowhere_else() {
    let role = usual(r#""choices":[{"index":0,"delta":{"role":"assistant","content":""}}]"#);
    let a = usual(r#""choices":[{"index":0,"delta":{"content":"a"}}]"#);
    let a_with_role = usual(r#""choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]"#);
    let strange = r#"{"id":"y","object":"chat.completion.chunk","created":99,"model":"other","choices":[{"index":0,"delta":{"content":"a"}}]}"#.to_owned();
    let finish = usual(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#);
    let usage = usual(r#""choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#);
    let done = "[DONE]".to_owned();
    let with_done = [&role, &a, &finish, &done].map(String::as_str);
    let cases: [(&str, Vec<&String>, Vec<&str>); 6] = [
        ("as it should be", vec![&role, &a, &finish, &done], with_done.to_vec()),
        ("[DONE] is missing", vec![&role, &a, &finish], with_done.to_vec()),
        ("usage was not asked for", vec![&role, &a, &finish, &usage, &done], with_done.to_vec()),
        ("a role in every chunk", vec![&role, &a_with_role, &finish, &done], with_done.to_vec()),
        ("another identity", vec![&role, &strange, &finish, &done], with_done.to_vec()),
        ("no role at all", vec![&a, &finish, &done], vec![&a_with_role, &finish, "[DONE]"]),
    ];
    for (name, sent, expected) in cases {
        let sent: Vec<&str> = sent.into_iter().map(String::as_str).collect();
        let events = events_of("openai", well_formed(&sent), &ask_stream()).await;
        let read = |payload: &str| serde_json::from_str::<Value>(payload).unwrap_or(json!(payload));
        let received: Vec<Value> = payloads(&events).into_iter().map(read).collect();
        assert_eq!(received, expected.into_iter().map(read).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn usage_is_supplied_where_the_upstream_counts_nothing() {
    let stream = replies::openai_stream(&["twelve bytes"]);
    let without = EventStream::new(stream.events[..3].iter().cloned().chain([data("[DONE]")])).all();
    let mut body = with(ask_usage(), &json!({ "metadata": { "piton_receipt": "true" } }));
    body["messages"][0]["content"] = json!("Some words to be counted. ".repeat(10));
    let chunks = chunks(&events_of("openai", without, &body).await);
    let usages: Vec<&Value> = chunks.iter().filter(|chunk| chunk["usage"].is_object()).collect();
    assert_eq!(usages.len(), 1, "{chunks:#?}");
    let usage = chunks.last().expect("chunks");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 3);
    assert!(usage["usage"]["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{usage}");
    assert_eq!(usage["usage"], usage["piton"]["usage"], "one count, told twice");
    assert_eq!(usage["id"], chunks[0]["id"]);
}

#[tokio::test]
async fn a_receipt_rides_on_the_usage_chunk() {
    for body in [ask_stream(), ask_usage()] {
        let body = with(body, &json!({ "metadata": { "piton_receipt": "true" } }));
        let stream = replies::openai_stream(&["a"]).all();
        let chunks = chunks(&events_of("openai", stream, &body).await);
        let (last, before) = chunks.split_last().expect("chunks");
        assert_eq!(last["piton"]["target"], "p0/m0");
        assert_eq!(last["usage"]["total_tokens"], 10);
        assert!(before.iter().all(|chunk| !chunk["usage"].is_object() && chunk.get("piton").is_none()));
    }
}

#[tokio::test]
async fn several_answers_in_one_stream_keep_their_bytes_and_end_once_each() {
    let choice = |index: u32, rest: &str| usual(&format!(r#""choices":[{{"index":{index},{rest}}}]"#));
    let mut sent = Vec::new();
    for rest in [
        r#""delta":{"role":"assistant","content":""},"z":1e1"#,
        r#""delta":{"content":"a"}"#,
        r#""delta":{},"finish_reason":"stop""#,
    ] {
        sent.extend([choice(0, rest), choice(1, rest)]);
    }
    sent.push("[DONE]".to_owned());
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    let body = with(ask_stream(), &json!({ "n": 2 }));
    assert_eq!(payloads(&events_of("openai", well_formed(&sent), &body).await), sent);

    // One of two has not ended: that is no whole answer.
    let cut = [sent[0], sent[1], sent[2], sent[3], sent[4], "[DONE]"];
    let events = events_of("openai", well_formed(&cut), &body).await;
    assert_eq!(crate::support::chain::error_of(&events)["code"], "truncated");
}

/// Holds a translated stream to everything that distinguishes OpenAI's own.
fn assert_openais_own(events: &[Event], texts: &[(&str, &str)], tools: &[(&str, &str)], finish: &str) {
    let chunks = chunks(events);
    let (usage, rest) = chunks.split_last().expect("chunks");
    assert_eq!(usage["choices"], json!([]), "{usage}");
    assert!(usage["usage"]["total_tokens"].as_u64().is_some_and(|total| total > 0), "{usage}");
    let keys =
        |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<String>>();
    let mut said = json!({});
    let mut calls: Vec<(Value, String)> = Vec::new();
    let mut finishes = Vec::new();
    for (at, chunk) in rest.iter().enumerate() {
        let identity = |chunk: &Value| ["id", "created", "model", "object"].map(|key| chunk[key].clone());
        assert_eq!(identity(chunk), identity(usage), "one identity");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk["usage"].is_null(), "{chunk}");
        let choices = chunk["choices"].as_array().expect("choices");
        assert_eq!(choices.len(), 1);
        let choice = &choices[0];
        let delta = &choice["delta"];
        assert_eq!(
            delta.get("role"),
            (at == 0).then_some(&json!("assistant")),
            "a role first, and only there"
        );
        let known = ["role", "content", "reasoning_content", "reasoning_details", "refusal", "tool_calls"];
        assert!(keys(delta).iter().all(|key| known.contains(&key.as_str())), "{delta}");
        assert!(finishes.is_empty(), "something follows the finish: {chunk}");
        for (field, _) in texts {
            if let Some(piece) = delta[field].as_str() {
                said[field] = json!(said[field].as_str().unwrap_or_default().to_owned() + piece);
            }
        }
        if let Some(pieces) = delta["tool_calls"].as_array() {
            assert_eq!(pieces.len(), 1, "one tool call per chunk");
            let index = usize::try_from(pieces[0]["index"].as_u64().expect("an index")).expect("small");
            if index == calls.len() {
                assert!(pieces[0]["id"].as_str().is_some_and(|id| !id.is_empty()), "{pieces:?}");
                assert_eq!(pieces[0]["type"], "function");
                calls.push((pieces[0]["function"]["name"].clone(), String::new()));
            } else {
                assert_eq!(index + 1, calls.len(), "the index rises: {pieces:?}");
                assert_eq!(keys(&pieces[0]), BTreeSet::from(["index".into(), "function".into()]));
                assert_eq!(keys(&pieces[0]["function"]), BTreeSet::from(["arguments".into()]));
            }
            calls[index].1 += pieces[0]["function"]["arguments"].as_str().unwrap_or_default();
        }
        finishes.extend(choice["finish_reason"].as_str());
    }
    assert_eq!(finishes, [finish]);
    for (field, text) in texts {
        assert_eq!(said[field], *text, "{field}");
    }
    let calls: Vec<(&str, Value)> = calls
        .iter()
        .map(|(name, arguments)| {
            (name.as_str().expect("a name"), serde_json::from_str(arguments).expect("JSON"))
        })
        .collect();
    let tools: Vec<(&str, Value)> =
        tools.iter().map(|(name, json)| (*name, serde_json::from_str(json).expect("JSON"))).collect();
    assert_eq!(calls, tools);
}

fn ask_with_tools() -> Value {
    let tool = |name: &str| {
        json!({ "type": "function", "function": { "name": name, "parameters": {
        "type": "object", "properties": { "x": { "type": "integer" } },
    } } })
    };
    with(ask_usage(), &json!({ "tools": [tool("f"), tool("g")] }))
}

#[tokio::test]
async fn a_translated_anthropic_stream_looks_like_openais_own() {
    let mut stream = replies::anthropic_stream(&["Let me ", "see."]);
    let events = [
        json!({ "type": "content_block_start", "index": 1, "content_block": { "type": "thinking", "thinking": "" } }),
        json!({ "type": "content_block_delta", "index": 1, "delta": { "type": "thinking_delta", "thinking": "hm" } }),
        json!({ "type": "content_block_stop", "index": 1 }),
        json!({ "type": "content_block_start", "index": 2, "content_block": { "type": "tool_use", "id": "t1", "name": "f", "input": {} } }),
        json!({ "type": "content_block_delta", "index": 2, "delta": { "type": "input_json_delta", "partial_json": "{\"x\":" } }),
        json!({ "type": "content_block_delta", "index": 2, "delta": { "type": "input_json_delta", "partial_json": "1}" } }),
        json!({ "type": "content_block_stop", "index": 2 }),
        json!({ "type": "ping" }),
        json!({ "type": "content_block_start", "index": 3, "content_block": { "type": "tool_use", "id": "t2", "name": "g", "input": {} } }),
        json!({ "type": "content_block_stop", "index": 3 }),
    ];
    let events =
        events.map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")));
    let end = stream.events.len() - 2;
    stream.events.splice(end..end, events);
    stream.events[end + 10] = stream.events[end + 10].replace("end_turn", "tool_use");
    let events = events_of("anthropic", stream.all(), &ask_with_tools()).await;
    let texts = [("content", "Let me see."), ("reasoning_content", "hm")];
    assert_openais_own(&events, &texts, &[("f", "{\"x\":1}"), ("g", "{}")], "tool_calls");
}

#[tokio::test]
async fn a_translated_gemini_stream_looks_like_openais_own() {
    let part = |part: Value, finish: Option<&str>| {
        let mut body = replies::gemini_body("", finish, 5);
        body["candidates"][0]["content"]["parts"] = json!([part]);
        format!("data: {body}\r\n\r\n")
    };
    let stream = EventStream::new([
        part(json!({ "text": "hm", "thought": true }), None),
        part(json!({ "text": "Let me " }), None),
        part(json!({ "text": "see." }), None),
        part(json!({ "functionCall": { "name": "f", "args": { "x": 1 } } }), None),
        part(json!({ "functionCall": { "name": "g", "args": {} } }), Some("STOP")),
    ]);
    let events = events_of("gemini", stream.all(), &ask_with_tools()).await;
    let texts = [("content", "Let me see."), ("reasoning_content", "hm")];
    assert_openais_own(&events, &texts, &[("f", "{\"x\":1}"), ("g", "{}")], "tool_calls");
}

#[tokio::test]
async fn usage_of_a_translated_stream_goes_to_those_who_ask() {
    for (kind, script) in [
        ("anthropic", replies::anthropic_stream(&["a"]).all()),
        ("gemini", replies::gemini_stream(&["a"]).all()),
    ] {
        for (body, asked) in [(ask_stream(), false), (ask_usage(), true)] {
            let chunks = chunks(&events_of(kind, script.clone(), &body).await);
            let counts = chunks.iter().filter(|chunk| chunk["usage"].is_object()).count();
            assert_eq!(counts, usize::from(asked), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_target_that_cannot_stream_is_asked_for_json_and_replayed() {
    let failed = || replies::openai_error(500, "server_error", None, "x");
    for (kind, json) in [
        ("openai", replies::openai_json("hello")),
        ("anthropic", replies::anthropic_json("hello")),
        ("gemini", replies::gemini_json("hello")),
    ] {
        for cannot_stream in [0, 1] {
            let one_cannot = format!(
                "[models.\"p{cannot_stream}/m{cannot_stream}\"]\ncapabilities = {{ streaming = false }}\n"
            );
            for first_fails in [false, true] {
                let name = format!("{kind}, {cannot_stream} cannot stream, first fails: {first_fails}");
                let streams = replies::openai_stream(&["streamed"]).all();
                let (mut first, second) =
                    if cannot_stream == 0 { (json.clone(), streams) } else { (streams, json.clone()) };
                if first_fails {
                    first = failed();
                }
                let (first, second) = (Upstream::always(first).await, Upstream::always(second).await);
                let kinds = if cannot_stream == 0 { [kind, "openai"] } else { ["openai", kind] };
                let targets = [(kinds[0], first.url()), (kinds[1], second.url())];
                let gateway = gateway(&targets, "retries = 0", &one_cannot).await;
                let mut answer = gateway.stream(PATH, &ask_usage()).await;
                let events = answer.events().await;

                let served = usize::from(first_fails);
                let replayed = served == cannot_stream;
                let chunks = chunks(&events);
                assert_eq!(text(&events), if replayed { "hello" } else { "streamed" }, "{name}");
                let target = format!("p{served}/m{served}");
                assert_eq!(answer.header("x-piton-target"), Some(target.as_str()), "{name}");
                assert_eq!(chunks.iter().filter(|chunk| chunk["usage"].is_object()).count(), 1, "{name}");
                if replayed {
                    assert_openais_own(&events, &[("content", "hello")], &[], "stop");
                }
                for (at, upstream) in [&first, &second].into_iter().enumerate().take(served + 1) {
                    let asked = upstream.request(0);
                    let wants_stream =
                        asked.json()["stream"] == true || asked.path.contains("streamGenerateContent");
                    assert_eq!(wants_stream, at != cannot_stream, "{name}: {}", asked.path);
                    let asks_usage = asked.json().get("stream_options").is_some();
                    assert!(wants_stream || !asks_usage, "{name}: stream_options without a stream");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_target_that_cannot_stream_has_the_clock_of_a_json_call() {
    let slow = Script::new().pause(Duration::from_millis(900)).then(replies::openai_json("slow"));
    let upstream = Upstream::always(slow).await;
    let cannot_stream = "[models.\"p0/m0\"]\ncapabilities = { streaming = false }\n";
    for (clocks, served) in [("first_token_timeout = \"200ms\"", true), ("answer_timeout = \"200ms\"", false)]
    {
        let gateway = gateway(&[("openai", upstream.url())], clocks, cannot_stream).await;
        let mut answer = gateway.stream(PATH, &ask_stream()).await;
        if served {
            let events = answer.events().await;
            chunks(&events);
            assert_eq!(text(&events), "slow");
        } else {
            assert_eq!(answer.status, 502);
            let (_, attempts) = logged(&gateway, "answer_timeout").await;
            assert_eq!(outcomes(&attempts), ["answer_timeout"]);
        }
    }
}

#[tokio::test]
async fn a_silent_stream_carries_a_comment_every_fifteen_seconds() {
    let gate = Gate::shut();
    let stream = replies::openai_stream(&["one", "two"]);
    let upstream = Upstream::always(stream.first(2).wait(&gate).then(stream.rest(2))).await;
    let gateway = gateway(&[("openai", upstream.url())], "", "").await;
    let mut answer = gateway.stream(PATH, &ask_stream()).await;
    let mut last = Instant::now();
    let comment = loop {
        let line = answer.next_line().await.expect("a line");
        if line.text.starts_with(':') {
            break line;
        }
        last = line.at;
    };
    assert!(comment.at - last >= Duration::from_secs(14), "{:?}", comment.at - last);
    gate.open();
    let events = answer.events().await;
    chunks(&events);
    assert_eq!(text(&events), "two");
}
