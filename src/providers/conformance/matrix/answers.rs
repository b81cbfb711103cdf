//! The features of an answer, each with answers of the providers that have it, recorded or in their form.

use serde_json::{Value, json};

use super::reading::{Feature, Sought};

/// The columns: the folder of the fixtures stands for each.
pub const FOLDERS: [(&str, &str); 6] = [
    ("OpenAI, Azure", "openai"),
    ("Mistral", "mistral"),
    ("Anthropic", "anthropic"),
    ("Bedrock", "bedrock"),
    ("Gemini", "gemini"),
    ("Cohere", "cohere"),
];

const TEXT: Sought = Sought::Places(&["choices[].message.content"], 1);
const CALL: Sought = Sought::Places(&["choices[].message.tool_calls[].function.name"], 1);
const CALLS: Sought = Sought::Places(&["choices[].message.tool_calls[].function.name"], 2);
const REASONING: Sought = Sought::Places(&["choices[].message.reasoning_content"], 1);
const SIGNATURES: Sought = Sought::Places(
    &[
        "choices[].message.reasoning_details[].signature",
        "choices[].message.tool_calls[].extra_content.google.thought_signature",
        "choices[].message.reasoning_details[].data",
    ],
    1,
);
const REDACTED: Sought = Sought::Places(&["choices[].message.reasoning_details[].data"], 1);
const REPLAYABLE: Sought = Sought::Places(&["choices[].message.reasoning_details[].text"], 1);
const PARTS: Sought = Sought::Places(
    &["choices[].message.reasoning_details[].data", "choices[].message.reasoning_details[].part"],
    1,
);
const REFUSAL: Sought = Sought::Places(&["choices[].message.refusal"], 1);
const CITED: Sought = Sought::Places(&["choices[].message.annotations[].url_citation.url"], 1);
const LOGPROBS: Sought = Sought::Places(&["choices[].logprobs.content[].logprob"], 1);
const INPUT: Sought = Sought::Places(&["usage.prompt_tokens"], 1);
const OUTPUT: Sought = Sought::Places(&["usage.completion_tokens"], 1);
const CACHED: Sought = Sought::Places(&["usage.prompt_tokens_details.cached_tokens"], 1);
const WRITTEN: Sought = Sought::Places(&["usage.prompt_tokens_details.cache_write_tokens"], 1);
const THOUGHT: Sought = Sought::Places(&["usage.completion_tokens_details.reasoning_tokens"], 1);
const HEARD: Sought = Sought::Places(&["usage.prompt_tokens_details.audio_tokens"], 1);
const TIER: Sought = Sought::Places(&["service_tier"], 1);
const MODEL: Sought = Sought::Places(&["model"], 1);

/// An answer in OpenAI's format that has them, for those who speak it and of whom no recording has one.
pub fn written() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "model-1",
        "service_tier": "default",
        "choices": [{
            "index": 0, "finish_reason": "content_filter",
            "logprobs": { "content": [{ "token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [] }], "refusal": null },
            "message": {
                "role": "assistant", "content": "Hi", "refusal": "No.", "reasoning_content": "Well.",
                "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "one", "arguments": "{}" } },
                    { "id": "b", "type": "function", "function": { "name": "two", "arguments": "{}" } },
                ],
                "annotations": [{ "type": "url_citation", "url_citation": { "url": "https://example.com/", "title": "T", "start_index": 0, "end_index": 2 } }],
            },
        }],
        "usage": {
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 2, "cache_write_tokens": 3, "audio_tokens": 1 },
            "completion_tokens_details": { "reasoning_tokens": 4, "audio_tokens": 1 },
        },
    })
}

/// All features.
pub fn features() -> Vec<Feature> {
    let mut features = what_is_said();
    features.extend(how_it_ends());
    features.extend(what_it_took());
    features
}

fn what_is_said() -> Vec<Feature> {
    vec![
        Feature::new("text", TEXT)
            .at("openai", "content", &["responses/gemini-endpoint.json", "streams/vllm-text.txt"])
            .at(
                "mistral",
                r#""content":"#,
                &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"],
            )
            .at("anthropic", "text", &["responses/text.json", "streams/text.txt"])
            .at("bedrock", "text", &["responses/stop-sequence.json", "streams/text.bin"])
            .at("gemini", "text", &["responses/text.json", "streams/text.txt"])
            .at("cohere", "text", &["responses/text.json", "streams/text.txt"]),
        Feature::new("tool calls", CALL)
            .at("mistral", "tool_calls", &["responses/mistral-untyped-call.json"])
            .at("anthropic", "tool_use", &["responses/parallel-tools.json", "streams/parallel-tools.txt"])
            .at("bedrock", "toolUse", &["responses/tool-with-text.json", "streams/tool-claude.bin"])
            .at(
                "gemini",
                "functionCall",
                &["responses/tool-call-signed.json", "streams/tool-call-signed.txt"],
            )
            .at(
                "cohere",
                "tool_calls",
                &["responses/tool-call-forced.json", "streams/tool-calls-parallel.txt"],
            ),
        Feature::new("several at once", CALLS)
            .at("openai", "tool_calls", &["streams/openai-parallel-tools.txt"])
            .at("anthropic", "tool_use", &["responses/parallel-tools.json", "streams/parallel-tools.txt"])
            .at("bedrock", "toolUse", &["responses/tools-parallel.json", "streams/tools-parallel.bin"])
            .at(
                "gemini",
                "functionCall",
                &["responses/tool-calls-parallel-signed.json", "streams/tool-calls-parallel-signed.txt"],
            )
            .at(
                "cohere",
                "tool_calls",
                &["responses/tool-calls-parallel.json", "streams/tool-calls-parallel.txt"],
            ),
        Feature::new("arguments in pieces", Sought::Pieces)
            .at("openai", "arguments", &["streams/openai-parallel-tools.txt"])
            .at("anthropic", "input_json_delta", &["streams/vertex.txt"])
            .at("bedrock", "toolUse", &["streams/tool-claude.bin"])
            .at("gemini", "partialArgs", &["streams/tool-call-in-pieces.txt"])
            .at("cohere", "tool-call-delta", &["streams/tool-calls-parallel.txt"]),
        Feature::new("reasoning as text", REASONING)
            .at("openai", "reasoning_content", &["streams/deepseek-thinking.txt"])
            .at("mistral", "thinking", &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"])
            .at("anthropic", "thinking", &["responses/thinking.json", "streams/thinking-tool.txt"])
            .at("bedrock", "reasoning", &["responses/reasoning-signed.json", "streams/reasoning.bin"])
            .at(
                "gemini",
                "\"thought\"",
                &["responses/thoughts-and-signed-text.json", "streams/thoughts-and-text.txt"],
            )
            .at("cohere", "thinking", &["responses/thinking.json", "streams/pair-all.txt"]),
        Feature::new("reasoning that may go back", REPLAYABLE)
            .at("mistral", "thinking", &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"])
            .at("anthropic", "thinking", &["responses/thinking.json", "streams/thinking-tool.txt"])
            .at("bedrock", "reasoning", &["responses/reasoning-signed.json", "streams/reasoning.bin"])
            .at("cohere", "thinking", &["responses/thinking.json", "streams/pair-all.txt"]),
        Feature::new("its signature", SIGNATURES)
            .at("anthropic", "signature", &["responses/thinking.json", "streams/thinking-tool.txt"])
            .at("bedrock", "signature", &["responses/reasoning-signed.json", "streams/reasoning.bin"])
            .at(
                "gemini",
                "thoughtSignature",
                &[
                    "responses/tool-call-signed.json",
                    "responses/thoughts-and-signed-text.json",
                    "streams/tool-call-signed.txt",
                ],
            ),
        Feature::new("redacted reasoning", REDACTED)
            .at(
                "anthropic",
                "redacted_thinking",
                &["responses/pair-thinking-tools.json", "streams/redacted-thinking.txt"],
            )
            .at("bedrock", "redactedContent", &["responses/reasoning-redacted.json"]),
        Feature::new("calls and results of the provider's own tools", PARTS)
            .at("anthropic", "server_tool_use", &["responses/code-execution.json", "streams/server-tool.txt"])
            .at("gemini", "executableCode", &["responses/code-execution.json", "streams/code-execution.txt"]),
        Feature::new("refusal in words", REFUSAL).at("openai", "refusal", &["responses/openai-refusal.json"]),
        Feature::new("citations", CITED)
            .at(
                "anthropic",
                "web_search_result_location",
                &["responses/pair-citations.json", "streams/pair-citations.txt"],
            )
            .at("bedrock", "citation", &["responses/citations.json", "streams/grounding.bin"])
            .at("gemini", "groundingMetadata", &["responses/grounded.json", "streams/server-tool.txt"])
            .at(
                "cohere",
                "citation",
                &["responses/citations-of-documents.json", "streams/citations-and-thinking.txt"],
            ),
        Feature::new("`logprobs`", LOGPROBS)
            .at("gemini", "logprobsResult", &["responses/vertex-logprobs.json"])
            .at("cohere", "logprobs", &["responses/pair-all.json", "streams/pair-all.txt"]),
        Feature::new("the model's full name", MODEL)
            .at(
                "openai",
                "\"model\"",
                &["responses/openai-refusal.json", "streams/openai-parallel-tools.txt"],
            )
            .at("mistral", "\"model\"", &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"])
            .at("anthropic", "\"model\"", &["responses/text.json"])
            .at("gemini", "modelVersion", &["responses/text.json"]),
    ]
}

fn how_it_ends() -> Vec<Feature> {
    vec![
        Feature::new("`finish_reason: stop`", Sought::Finish("stop"))
            .at("openai", "stop", &["responses/openai-refusal.json"])
            .at("mistral", "stop", &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"])
            .at("anthropic", "end_turn", &["responses/text.json", "streams/text.txt"])
            .at("bedrock", "end_turn", &["responses/json-schema.json", "streams/text.bin"])
            .at("gemini", "STOP", &["responses/text.json", "streams/text.txt"])
            .at("cohere", "COMPLETE", &["responses/text.json", "streams/text.txt"]),
        Feature::new("`finish_reason: tool_calls`", Sought::Finish("tool_calls"))
            .at("openai", "tool_calls", &["streams/openai-parallel-tools.txt"])
            .at("anthropic", "tool_use", &["responses/parallel-tools.json", "streams/parallel-tools.txt"])
            .at("bedrock", "tool_use", &["responses/tool-with-text.json", "streams/tools-parallel.bin"])
            .at(
                "gemini",
                "functionCall",
                &["responses/tool-call-signed.json", "streams/tool-call-signed.txt"],
            )
            .at(
                "cohere",
                "TOOL_CALL",
                &["responses/tool-calls-parallel.json", "streams/tool-calls-parallel.txt"],
            ),
        Feature::new("`finish_reason: length`", Sought::Finish("length"))
            .at("openai", "length", &["streams/vllm-text.txt"])
            .at("anthropic", "max_tokens", &["responses/max-tokens.json"])
            .at("bedrock", "max_tokens", &["responses/max-tokens.json", "streams/max-tokens-titan.bin"])
            .at("gemini", "MAX_TOKENS", &["responses/max-tokens-without-text.json"])
            .at("cohere", "MAX_TOKENS", &["responses/length.json", "streams/length-without-start.txt"]),
        Feature::new("`finish_reason: content_filter`", Sought::Finish("content_filter"))
            .at("openai", "content_filter", &["responses/azure-filtered-answer.json"])
            .at("anthropic", "refusal", &["responses/refusal.json", "streams/refusal.txt"])
            .at("bedrock", "guardrail_intervened", &["responses/guardrail.json", "streams/guardrail.bin"]),
        Feature::new("an error inside a stream", Sought::Failure)
            .at("openai", "error", &["streams/groq-error-event.txt", "streams/openrouter-error-midway.txt"])
            .at("anthropic", "error", &["streams/error-midway.txt"])
            .at(
                "bedrock",
                "exception",
                &["streams/exception-throttled.bin", "streams/exception-unavailable.bin"],
            )
            .at("cohere", "error", &["streams/error-in-the-middle.txt"]),
        Feature::new("a stream that just ends", Sought::Failure)
            .at("openai", "data", &["streams/gpustack-cut.txt"])
            .at("anthropic", "data", &["streams/cut.txt"])
            .at("bedrock", "contentBlockDelta", &["streams/cut.bin"])
            .at("cohere", "data", &["streams/broken-off.txt"]),
    ]
}

fn what_it_took() -> Vec<Feature> {
    vec![
        Feature::new("tokens of the prompt", INPUT)
            .at(
                "openai",
                "prompt_tokens",
                &["responses/openai-refusal.json", "streams/openai-parallel-tools.txt"],
            )
            .at(
                "mistral",
                "prompt_tokens",
                &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"],
            )
            .at("anthropic", "input_tokens", &["responses/text.json", "streams/text.txt"])
            .at("bedrock", "inputTokens", &["responses/json-schema.json", "streams/text.bin"])
            .at("gemini", "promptTokenCount", &["responses/text.json", "streams/text.txt"])
            .at("cohere", "input_tokens", &["responses/text.json", "streams/text.txt"]),
        Feature::new("tokens of the answer", OUTPUT)
            .at(
                "openai",
                "completion_tokens",
                &["responses/openai-refusal.json", "streams/openai-parallel-tools.txt"],
            )
            .at(
                "mistral",
                "completion_tokens",
                &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"],
            )
            .at("anthropic", "output_tokens", &["responses/text.json", "streams/text.txt"])
            .at("bedrock", "outputTokens", &["responses/json-schema.json", "streams/text.bin"])
            .at("gemini", "candidatesTokenCount", &["responses/text.json", "streams/text.txt"])
            .at("cohere", "output_tokens", &["responses/text.json", "streams/text.txt"]),
        Feature::new("of these: read from a cache", CACHED)
            .at("openai", "cached_tokens", &["responses/xai-tool.json", "streams/zai-tool.txt"])
            .at(
                "mistral",
                "cached_tokens",
                &["responses/mistral-thinking.json", "streams/mistral-thinking.txt"],
            )
            .at(
                "anthropic",
                "cache_read_input_tokens",
                &["responses/cache-read.json", "streams/late-usage.txt"],
            )
            .at("bedrock", "cacheReadInputTokens", &["responses/cache-read.json"])
            .at("gemini", "cachedContentTokenCount", &["responses/cached.json"])
            .at("cohere", "cached_tokens", &["responses/cached.json", "streams/text.txt"]),
        Feature::new("written to a cache", WRITTEN)
            .at(
                "anthropic",
                "cache_creation_input_tokens",
                &["streams/cache-write.txt", "responses/pair-thinking-tools.json"],
            )
            .at("bedrock", "cacheWriteInputTokens", &["responses/cache-write.json"]),
        Feature::new("spent on reasoning", THOUGHT)
            .at(
                "openai",
                "reasoning_tokens",
                &["responses/openai-custom-tool.json", "streams/deepseek-thinking.txt"],
            )
            .at("anthropic", "thinking_tokens", &["responses/thinking.json", "streams/thinking-tool.txt"])
            .at(
                "gemini",
                "thoughtsTokenCount",
                &["responses/thoughts-and-tool-call.json", "streams/thoughts-and-text.txt"],
            )
            .at("cohere", "reasoning_tokens", &["responses/thinking.json"]),
        Feature::new("of sound", HEARD).at("gemini", "AUDIO", &["responses/audio-input.json"]),
        Feature::new("`service_tier`", TIER)
            .at("openai", "service_tier", &["streams/openai-parallel-tools.txt"])
            .at("anthropic", "service_tier", &["responses/parallel-tools.json"])
            .at("gemini", "serviceTier", &["responses/grounded.json"]),
    ]
}
