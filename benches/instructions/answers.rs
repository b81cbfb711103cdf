//! Answers as providers write them.

use serde_json::json;

use super::exchanges::prose;

/// An answer of OpenAI.
pub fn openai() -> String {
    json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_741_569_952,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": prose(120), "refusal": null, "annotations": [] },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 26,
            "total_tokens": 45,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": 0, "audio_tokens": 0 },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44added55e",
    })
    .to_string()
}

/// OpenAI's answer while it is overloaded.
pub fn openai_overloaded() -> String {
    json!({ "error": { "message": "The engine is currently overloaded, please try again later", "type": "server_error", "param": null, "code": null } })
        .to_string()
}

/// An answer of Anthropic.
pub fn anthropic() -> String {
    json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": [{ "type": "text", "text": prose(120) }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": {
            "input_tokens": 19,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 26,
            "service_tier": "standard",
        },
    })
    .to_string()
}

/// An answer of Gemini.
pub fn gemini() -> String {
    json!({
        "candidates": [{
            "content": { "parts": [{ "text": prose(120) }], "role": "model" },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 19,
            "candidatesTokenCount": 26,
            "totalTokenCount": 45,
            "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 19 }],
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "Zm9vYmFyYmF6cXV4",
    })
    .to_string()
}
