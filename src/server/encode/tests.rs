use super::*;
use crate::chat::FinishReason;
use crate::units::Tokens;
use crate::wire::openai::Completion;

fn encoder(include_usage: bool, wants_receipt: bool) -> Encoder {
    Encoder::new("chatcmpl-1".into(), 7, "m".into(), include_usage, wants_receipt)
}

fn chunk(json: &'static str) -> Event {
    let peek: Completion<'_> = serde_json::from_str(json).unwrap();
    let usage = peek.usage().map(Usage::of);
    Event::Chunk(Chunk::of(Bytes::from_static(json.as_bytes()), &peek, usage, &mut Arc::default()))
}

fn run(encoder: &mut Encoder, events: Vec<Event>, receipt: Option<&Value>) -> Vec<String> {
    let mut out = BytesMut::new();
    events.into_iter().for_each(|event| encoder.event(event, &mut out));
    encoder.finish(receipt, Usage { prompt: Tokens::new(9), ..Usage::default() }, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
}

fn values(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn lists_come_whole_and_numbered_before_the_finish() {
    let delta = |choice, delta| Event::Delta { choice, delta };
    let detail = |text: &str| Delta::ReasoningDetail(json!({"type": "reasoning.text", "text": text}));
    let events = vec![
        delta(0, detail("a")),
        delta(0, Delta::Annotation(json!({"type": "url_citation"}))),
        delta(1, detail("c")),
        delta(0, Delta::Text("x".into())),
        delta(0, Delta::ReasoningDetail(json!({"type": "reasoning.text", "text": "b", "index": 4}))),
        Event::Finish { choice: 0, reason: FinishReason::Stop },
        Event::Finish { choice: 1, reason: FinishReason::Stop },
        delta(0, Delta::Annotation(json!({"type": "url_citation"}))),
    ];
    let chunks = values(&run(&mut encoder(false, false), events, None));
    let deltas: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(*deltas[0], json!({"role": "assistant", "content": "x"}));
    let texts: Vec<_> = deltas[1]["reasoning_details"].as_array().unwrap().iter().collect();
    assert_eq!(
        texts,
        [
            &json!({"type": "reasoning.text", "text": "a", "index": 0}),
            &json!({"type": "reasoning.text", "text": "b", "index": 4}),
        ],
        "a number that is there stays"
    );
    assert_eq!(*deltas[2], json!({"annotations": [{"type": "url_citation", "index": 0}]}));
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(deltas[4]["reasoning_details"][0]["text"], "c");
    assert_eq!(*deltas[6], json!({"annotations": [{"type": "url_citation", "index": 1}]}), "late, not lost");
}

#[test]
fn a_list_that_never_ends_does_not_wait() {
    let entry = |_| Event::Delta { choice: 0, delta: Delta::ReasoningDetail(json!({})) };
    let chunks = values(&run(&mut encoder(false, false), (0..=MOST_HELD).map(entry).collect(), None));
    let sizes: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["reasoning_details"].as_array().unwrap())
        .collect();
    assert_eq!((sizes[0].len(), sizes[1].len(), &sizes[1][0]["index"]), (MOST_HELD, 1, &json!(MOST_HELD)));
}

#[test]
fn a_translated_stream_looks_like_openais() {
    let start = Start {
        id: Some("msg_1".into()),
        model: Some("claude".into()),
        service_tier: Some("default".into()),
        ..Start::default()
    };
    let call = Delta::ToolCall { index: 0, id: "t".into(), name: "f".into(), extra: None };
    let events = vec![
        Event::Start(start),
        Event::Delta { choice: 0, delta: Delta::Text("hi".into()) },
        Event::Delta { choice: 0, delta: call },
        Event::Delta { choice: 0, delta: Delta::ToolArguments { index: 0, piece: "{}".into() } },
        Event::Finish { choice: 0, reason: FinishReason::ToolCalls },
        Event::Usage(Usage { prompt: Tokens::new(3), completion: Tokens::new(2), ..Usage::default() }),
    ];
    let lines = run(&mut encoder(true, false), events, None);
    assert_eq!(lines.last().unwrap(), "[DONE]");
    let chunks = values(&lines);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == "msg_1" && chunk["model"] == "claude" && chunk["created"] == 7)
    );
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "hi"}));
    assert_eq!(
        chunks[2]["choices"][0]["delta"],
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})
    );
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[4]["usage"]["total_tokens"], 5);
    assert_eq!(chunks[4]["choices"], json!([]));
    assert!(chunks.iter().all(|chunk| chunk["service_tier"] == "default"));
}

#[test]
fn good_chunks_keep_their_bytes() {
    let first = r#"{"id":"a","created":5,"model":"x","zz":1.0,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
    let second =
        r#"{"id":"a","created":5,"model":"x","choices":[{"index":0,"delta":{"content":"h"},"q":1e2}]}"#;
    let lines = run(&mut encoder(false, false), vec![chunk(first), chunk(second)], None);
    assert_eq!(lines, [first, second, "[DONE]"]);
}

#[test]
fn a_contradicting_chunk_is_put_right() {
    let lines = run(
        &mut encoder(false, false),
        vec![
            chunk(r#"{"id":"","model":"","created":0,"choices":[],"prompt_filter_results":[1]}"#),
            chunk(r#"{"id":"a","created":5,"model":"x","choices":[{"index":0,"delta":{"content":"h"}}]}"#),
            chunk(
                r#"{"id":"b","created":6,"model":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"i"}}]}"#,
            ),
        ],
        None,
    );
    let chunks = values(&lines);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["id"] == "chatcmpl-1" && chunk["created"] == 7 && chunk["model"] == "m")
    );
    assert_eq!(chunks[0]["prompt_filter_results"], json!([1]));
    assert_eq!(chunks[1]["choices"][0]["delta"], json!({"role": "assistant", "content": "h"}));
    assert_eq!(chunks[2]["choices"][0]["delta"], json!({"content": "i"}));
}

#[test]
fn usage_goes_to_those_who_asked() {
    let usage = r#"{"id":"a","created":5,"model":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let first = r#"{"id":"a","created":5,"model":"x","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    let events = || vec![chunk(first), chunk(usage)];
    assert_eq!(run(&mut encoder(false, false), events(), None), [first, "[DONE]"]);
    assert_eq!(run(&mut encoder(true, false), events(), None), [first, usage, "[DONE]"]);
    let receipt = json!({"id": "r"});
    let lines = run(&mut encoder(true, true), events(), Some(&receipt));
    let last = values(&lines).pop().unwrap();
    assert_eq!(last["piton"]["id"], "r");
    assert_eq!(last["usage"]["prompt_tokens"], 1);
    assert_eq!(lines.len(), 3, "one usage chunk, not two");
}

#[test]
fn what_the_upstream_did_not_count_is_supplied() {
    let first = r#"{"id":"a","created":5,"model":"x","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#;
    let last = values(&run(&mut encoder(true, false), vec![chunk(first)], None)).pop().unwrap();
    assert_eq!((&last["id"], &last["usage"]["total_tokens"]), (&json!("a"), &json!(9)));
}

#[test]
fn each_choice_is_introduced_by_its_own_first_chunk() {
    let chunks = [
        r#"{"id":"a","created":5,"model":"x","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"id":"a","created":5,"model":"x","choices":[{"index":1,"delta":{"role":"assistant","content":""},"z":1e1}]}"#,
        r#"{"id":"a","created":5,"model":"x","choices":[{"index":1,"delta":{"content":"h"}},{"index":0,"delta":{"content":"i"}}]}"#,
    ];
    let lines = run(&mut encoder(false, false), chunks.map(chunk).into(), None);
    assert_eq!(lines[..3], chunks);
}

#[test]
fn a_written_chunk_is_pinned_to_the_byte() {
    let piece = |choice, delta| Event::Delta { choice, delta };
    let call = Delta::ToolCall { index: 0, id: "t\"1".into(), name: "f".into(), extra: None };
    let extra = Some(json!({"z": 1, "a": [2]}));
    let marked = Delta::ToolCall { index: 1, id: "t2".into(), name: "g".into(), extra };
    let tier = Some("flex".into());
    let start = Start { model: Some("cl\"aude".into()), service_tier: tier, ..Start::default() };
    let events = vec![
        Event::Start(start),
        piece(0, Delta::Reasoning("a\u{1}\té".into())),
        piece(0, Delta::Text("\n\"\\/ 😀".into())),
        piece(0, Delta::Refusal(String::new())),
        piece(0, call),
        piece(0, Delta::ToolArguments { index: 0, piece: r#"{"x": 1}"#.into() }),
        piece(0, marked),
        piece(0, Delta::Logprobs(json!({"content": []}))),
        piece(0, Delta::Annotation(json!({"type": "url_citation"}))),
        Event::Finish { choice: 0, reason: FinishReason::ToolCalls },
        Event::Finish { choice: 1, reason: FinishReason::Length },
    ];
    let choices = [
        r#"{"index":0,"delta":{"role":"assistant","reasoning_content":"a\u0001\té"},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"content":"\n\"\\/ 😀"},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"refusal":""},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t\"1","type":"function","function":{"name":"f","arguments":""}}]},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\": 1}"}}]},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t2","type":"function","function":{"name":"g","arguments":""},"extra_content":{"z":1,"a":[2]}}]},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{},"logprobs":{"content":[]},"finish_reason":null}"#,
        r#"{"index":0,"delta":{"annotations":[{"type":"url_citation","index":0}]},"logprobs":null,"finish_reason":null}"#,
        r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}"#,
        r#"{"index":1,"delta":{"role":"assistant"},"logprobs":null,"finish_reason":"length"}"#,
    ];
    let usage = r#"{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}"#;
    let head =
        r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"cl\"aude","choices":["#;
    for include_usage in [false, true] {
        let null = if include_usage { r#","usage":null"# } else { "" };
        let chunk = |choice: &&str| format!(r#"{head}{choice}],"service_tier":"flex"{null}}}"#);
        let mut expected: Vec<String> = choices.iter().map(chunk).collect();
        if include_usage {
            expected.push(format!(r#"{head}],"service_tier":"flex","usage":{usage}}}"#));
        }
        expected.push("[DONE]".into());
        assert_eq!(run(&mut encoder(include_usage, false), events.clone(), None), expected);
    }
}
