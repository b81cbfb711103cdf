//! Requests and streams as clients and providers write them, of the sizes that the benchmarks ask for.

use serde_json::{Value, json};

/// A chat request whose body has this many bytes, or a few more.
pub fn request(model: &str, bytes: usize, streamed: bool) -> String {
    let mut body = json!({
        "model": model,
        "messages": [
            { "role": "system", "content": "You are a concise assistant." },
            { "role": "user", "content": "" },
        ],
        "temperature": 0.2,
        "max_tokens": 256,
    });
    if streamed {
        body["stream"] = json!(true);
        body["stream_options"] = json!({ "include_usage": true });
    }
    let rest = bytes.saturating_sub(body.to_string().len());
    body["messages"][1]["content"] = json!(prose(rest));
    body.to_string()
}

/// The events of OpenAI's streamed answer with this many pieces of text.
pub fn openai_stream(pieces: usize) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "object": "chat.completion.chunk",
            "created": 1_741_569_952,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_44added55e",
            "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        chunk(json!([choice]), Value::Null)
    };
    let mut events =
        vec![choice(json!({ "role": "assistant", "content": "", "refusal": null }), Value::Null)];
    events.extend((0..pieces).map(|at| choice(json!({ "content": word(at) }), Value::Null)));
    events.push(choice(json!({}), json!("stop")));
    let usage = json!({ "prompt_tokens": 19, "completion_tokens": pieces, "total_tokens": 19 + pieces });
    events.push(chunk(json!([]), usage));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The events of Anthropic's streamed answer with this many pieces of text.
pub fn anthropic_stream(pieces: usize) -> Vec<String> {
    let event =
        |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default());
    let message = json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": { "input_tokens": 19, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1 },
    });
    let mut events = vec![
        event(json!({ "type": "message_start", "message": message })),
        event(
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        ),
    ];
    events.extend((0..pieces).map(|at| {
        let delta = json!({ "type": "text_delta", "text": word(at) });
        event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    }));
    events.push(event(json!({ "type": "content_block_stop", "index": 0 })));
    let end = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    events
        .push(event(json!({ "type": "message_delta", "delta": end, "usage": { "output_tokens": pieces } })));
    events.push(event(json!({ "type": "message_stop" })));
    events
}

/// As many bytes of text.
pub fn prose(bytes: usize) -> String {
    let sentence = "The quick brown fox jumps over the lazy dog while \"nobody\" looks.\n";
    sentence.chars().cycle().take(bytes).collect()
}

/// The text of a stream's piece.
pub fn word(at: usize) -> &'static str {
    [" the", " quick", " brown", " fox", " jumps", " over"][at % 6]
}
