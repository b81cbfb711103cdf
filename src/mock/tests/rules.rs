//! Every rule of every provider, each with a request that breaks it and no other.

use std::collections::BTreeSet;

use super::*;
use crate::mock::openai::vendor;
use crate::mock::rule::Rule;
use crate::mock::verdict::judge;
use crate::mock::{anthropic, bedrock, cohere, gemini};

/// A provider's cases: what is common to them, and for each the rule and what is laid over it.
struct Table {
    path: &'static str,
    rules: Vec<&'static [Rule]>,
    cases: Vec<(&'static str, Value)>,
}

/// The body with another value at its top for each key; a null takes the key away.
fn over(base: &Value, fields: &Value) -> Value {
    let mut body = base.clone();
    for (key, value) in fields.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().shift_remove(key);
        } else {
            body[key] = value.clone();
        }
    }
    body
}

fn named(model: &str, fields: Value) -> Value {
    with(json!({ "model": model }), fields)
}

/// Holds every case to its rule, and the table to having a case for each rule.
fn hold(table: &Table, base: &Value) {
    judge(table.path, base, true).unwrap_or_else(|refusal| panic!("{}: {refusal:?}", table.path));
    let mut seen = BTreeSet::new();
    for (rule, fields) in &table.cases {
        // A case may name another path after a space.
        let (rule, path) = rule.split_once(' ').unwrap_or((rule, table.path));
        let body = over(base, fields);
        let refusal = judge(path, &body, true).expect_err(&format!("{rule}: {body}"));
        assert_eq!(refusal.rule, rule, "{path} {body}: {refusal:?}");
        let known = table.rules.iter().flat_map(|rules| rules.iter()).find(|known| known.name == rule);
        assert_eq!(refusal.status, known.map_or(refusal.status, |known| known.status), "{rule}");
        seen.insert(rule);
    }
    for rule in table.rules.iter().flat_map(|rules| rules.iter()) {
        assert!(seen.contains(rule.name), "{}: no case for {}", table.path, rule.name);
    }
}

fn user(content: impl Into<Value>) -> Value {
    json!({ "role": "user", "content": content.into() })
}

fn function(name: &str, fields: Value) -> Value {
    json!({ "type": "function", "function": with(json!({ "name": name }), fields) })
}

fn calling(id: &str) -> Value {
    let function = json!({ "name": "f", "arguments": "{}" });
    json!({ "role": "assistant", "content": null, "tool_calls": [{ "id": id, "type": "function", "function": function }] })
}

fn told(id: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": "x" })
}

/// Begins like a PNG.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

#[test]
fn openai_and_azure() {
    let base = json!({ "model": "gpt-4o", "messages": [user("Hi")] });
    let open = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    let half =
        json!({ "type": "object", "properties": { "a": {} }, "required": [], "additionalProperties": false });
    let image = json!([{ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }]);
    let audio = json!([{ "type": "input_audio", "input_audio": { "data": "AAAA", "format": "wav" } }]);
    let long = "c".repeat(41);
    let cases = vec![
        ("schema", json!({ "min_p": 1 })),
        ("schema", json!({ "temperature": 2.5 })),
        ("legacy_limit", named("gpt-5-mini", json!({ "max_tokens": 5 }))),
        ("two_limits", json!({ "max_tokens": 5, "max_completion_tokens": 5 })),
        ("fixed_sampling", named("o3", json!({ "temperature": 0.2 }))),
        ("no_stop", named("o4-mini", json!({ "stop": "x" }))),
        ("role_of_model", named("o1-mini", json!({ "messages": [{ "role": "system", "content": "x" }] }))),
        ("top_logprobs", json!({ "top_logprobs": 2 })),
        ("web_search", json!({ "web_search_options": {} })),
        ("audio_of_model", json!({ "messages": [user(audio)] })),
        ("parameters", json!({ "tools": [function("f", json!({ "parameters": { "type": "array" } }))] })),
        (
            "parameters",
            json!({ "tools": [function("f", json!({ "parameters": { "type": "object", "properties": { "a": { "type": "array" } } } }))] }),
        ),
        ("strict_tool", json!({ "tools": [function("f", json!({ "strict": true, "parameters": half }))] })),
        (
            "strict_format",
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": open } } }),
        ),
        ("long_call_id", json!({ "messages": [user("x"), calling(&long), told(&long)] })),
        ("schema", json!({ "messages": [{ "role": "system", "content": image }] })),
    ];
    let rules = vendor::OPENAI.rules.to_vec();
    hold(&Table { path: "/v1/chat/completions", rules, cases }, &base);

    let path = "/openai/deployments/d/chat/completions?api-version=2024-06-01";
    let cases = vec![
        ("no_version /openai/deployments/d/chat/completions", json!({})),
        ("old_version", json!({ "stream": true, "stream_options": { "include_usage": true } })),
    ];
    let rules = vec![vendor::AZURE.rules[0]];
    hold(&Table { path, rules, cases }, &over(&base, &json!({ "model": null })));
}

#[test]
fn mistral() {
    let base = json!({ "model": "mistral-large-latest", "messages": [user("Hi")] });
    let (hi, call, result) = (user("Hi"), calling("abcDEF123"), told("abcDEF123"));
    let messages = |messages: Value| json!({ "messages": messages });
    let cases = vec![
        ("schema", json!({ "stream_options": { "include_usage": true } })),
        ("order", messages(json!([hi, call, result, hi]))),
        ("last_role", messages(json!([hi, { "role": "assistant", "content": "Well" }]))),
        ("empty_assistant", messages(json!([hi, { "role": "assistant", "content": "" }, hi]))),
        ("call_id", messages(json!([hi, calling("call_1"), told("call_1")]))),
        ("result_count", messages(json!([hi, call, result, result]))),
        ("function_name", json!({ "tools": [function("a b", json!({ "parameters": {} }))] })),
    ];
    let rules = vendor::named("mistral").unwrap().rules.to_vec();
    hold(&Table { path: "/mistral/v1/chat/completions", rules, cases }, &base);
    let refusal = judge("/mistral/v1/chat/completions", &with(base, json!({ "seed": 1 })), true).unwrap_err();
    assert_eq!(refusal.status, 422);
    let detail = json!({ "type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted" });
    assert_eq!(refusal.body["message"]["detail"], json!([detail]));
}

#[test]
fn other_vendors() {
    let hi = user("Hi");
    let base = |model: &str| json!({ "model": model, "messages": [hi] });
    let turns = json!({ "messages": [hi, calling("a"), told("a")] });
    let tools = json!([function("f", json!({}))]);
    let unsigned = |format: &str| json!({ "type": "reasoning.text", "text": "Hm.", "format": format });
    let thinking =
        |detail: Value| json!({ "role": "assistant", "content": "x", "reasoning_details": [detail] });
    let vendors = [
        (
            "groq",
            "/groq/openai/v1/chat/completions",
            base("llama"),
            vec![
                ("schema", json!({ "top_k": 1 })),
                ("unsupported", json!({ "logprobs": true })),
                ("message_key", json!({ "messages": [{ "role": "user", "content": "x", "name": "n" }] })),
                ("one_choice", json!({ "n": 2 })),
                ("json_with_tools", json!({ "tools": tools, "response_format": { "type": "json_object" } })),
                ("raw_reasoning", json!({ "tools": tools, "reasoning_format": "raw" })),
            ],
        ),
        (
            "deepseek",
            "/deepseek/chat/completions",
            base("deepseek-reasoner"),
            vec![
                ("reasoning_back", turns.clone()),
                (
                    "json_schema",
                    json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "n" } } }),
                ),
            ],
        ),
        (
            "moonshot",
            "/moonshot/v1/chat/completions",
            base("kimi-k2-thinking"),
            vec![("reasoning_back", turns)],
        ),
        (
            "openrouter",
            "/openrouter/api/v1/chat/completions",
            base("anthropic/claude-sonnet-4.5"),
            vec![
                ("signature", json!({ "messages": [hi, thinking(unsigned("anthropic-claude-v1")), hi] })),
                ("format", json!({ "messages": [hi, thinking(unsigned("something")), hi] })),
            ],
        ),
        (
            "xai",
            "/xai/v1/chat/completions",
            base("grok-4"),
            vec![("fixed_sampling", json!({ "stop": ["x"] }))],
        ),
        (
            "perplexity",
            "/perplexity/chat/completions",
            base("sonar"),
            vec![
                ("alternation", json!({ "messages": [hi, hi] })),
                ("last_role", json!({ "messages": [hi, { "role": "assistant", "content": "x" }] })),
            ],
        ),
    ];
    for (name, path, base, cases) in vendors {
        let rules = vendor::named(name).unwrap().rules.to_vec();
        hold(&Table { path, rules, cases }, &base);
    }
    let tested = ["mistral", "groq", "deepseek", "moonshot", "openrouter", "xai", "perplexity"];
    let others = vendor::VENDORS.iter().filter(|vendor| !tested.contains(&vendor.name));
    for vendor in others {
        assert!(vendor.rules.is_empty(), "{} has rules without cases", vendor.name);
    }
}

#[test]
fn anthropic() {
    let text =
        |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let tool = json!({ "name": "f", "input_schema": { "type": "object" } });
    let base = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 4000, "messages": [user("Hi")], "tools": [tool],
    });
    let thinking = json!({ "type": "enabled", "budget_tokens": 1024 });
    let call = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    let result = json!({ "type": "tool_result", "tool_use_id": "a", "content": "x" });
    let assistant = |content: Value| json!({ "role": "assistant", "content": content });
    let hi = user("Hi");
    let five: Vec<_> = (0..5).map(|_| text("x")[0].clone()).collect();
    let late =
        json!([{ "type": "text", "text": "x", "cache_control": { "type": "ephemeral", "ttl": "1h" } }]);
    let wrong_image =
        json!([{ "type": "image", "source": { "type": "base64", "media_type": "image/jpeg", "data": PNG } }]);
    let thought = json!({ "type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl" });
    let cases = vec![
        ("schema", json!({ "user": "x" })),
        ("cache_count", json!({ "system": five })),
        ("cache_order", json!({ "system": text("x"), "messages": [user(late)] })),
        ("media_type", json!({ "messages": [user(wrong_image)] })),
        ("model_limit", json!({ "max_tokens": 64_001 })),
        ("one_sampling", json!({ "temperature": 0.5, "top_p": 0.5 })),
        ("no_sampling", named("claude-opus-4-8", json!({ "temperature": 0.5 }))),
        ("thinking_sampling", json!({ "thinking": thinking, "top_k": 5 })),
        ("adaptive_only", named("claude-opus-4-7", json!({ "thinking": thinking }))),
        ("no_prefill", named("claude-opus-4-6", json!({ "messages": [hi, assistant(json!("Well"))] }))),
        (
            "thinking_first",
            json!({ "thinking": thinking, "messages": [hi, assistant(json!([call])), user(json!([result]))] }),
        ),
        (
            "signature",
            json!({ "messages": [hi, assistant(json!([thought, { "type": "text", "text": "x" }])), hi] }),
        ),
        ("call_twice", json!({ "messages": [hi, assistant(json!([call, call])), user(json!([result]))] })),
        (
            "result_twice",
            json!({ "messages": [hi, assistant(json!([call])), user(json!([result, result]))] }),
        ),
        (
            "schema /model/us.anthropic.claude-sonnet-4-5-v1%3A0/invoke",
            json!({ "anthropic_version": "bedrock-2023-05-31" }),
        ),
        (
            "schema /v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5:rawPredict",
            json!({ "model": null }),
        ),
    ];
    hold(&Table { path: "/v1/messages", rules: vec![anthropic::rules::RULES], cases }, &base);
}

#[test]
fn gemini() {
    let turn = |role: &str, parts: Value| json!({ "role": role, "parts": parts });
    let hi = turn("user", json!([{ "text": "Hi" }]));
    let base = json!({ "contents": [hi] });
    let config = |config: Value| json!({ "generationConfig": config });
    let tools = json!([{ "functionDeclarations": [{ "name": "f" }] }]);
    let call = json!({ "functionCall": { "name": "f", "args": {} } });
    let result = |name: &str| turn("user", json!([{ "functionResponse": { "name": name, "response": {} } }]));
    let parameters = |key: &str, schema: Value| json!({ "tools": [{ "functionDeclarations": [{ "name": "f", key: schema }] }] });
    let forged = json!({ "functionCall": { "name": "f" }, "thoughtSignature": "AAAA" });
    let cases = vec![
        ("schema", config(json!({ "maxTokens": 1 }))),
        ("first_role", json!({ "contents": [turn("model", json!([{ "text": "Hi" }])), hi] })),
        ("cached_content", json!({ "cachedContent": "c", "tools": tools })),
        ("result_names", json!({ "contents": [hi, turn("model", json!([call])), result("g")] })),
        (
            "missing_signature /v1beta/models/gemini-3-pro-preview:generateContent",
            json!({ "contents": [hi, turn("model", json!([call])), result("f")] }),
        ),
        ("corrupted_signature", json!({ "contents": [hi, turn("model", json!([forged])), result("f")] })),
        (
            "json_with_tools",
            with(config(json!({ "responseMimeType": "application/json" })), json!({ "tools": tools })),
        ),
        (
            "search_with_tools",
            json!({ "tools": [{ "functionDeclarations": [{ "name": "f" }], "googleSearch": {} }] }),
        ),
        (
            "two_schemas",
            config(
                json!({ "responseMimeType": "application/json", "responseSchema": {}, "responseJsonSchema": {} }),
            ),
        ),
        (
            "ref_siblings",
            parameters("parametersJsonSchema", json!({ "items": { "$ref": "#/$defs/a", "title": "x" } })),
        ),
        (
            "empty_object /v1beta/models/gemini-1.5-pro:generateContent",
            parameters("parameters", json!({ "type": "object", "properties": {} })),
        ),
        (
            "budget /v1beta/models/gemini-2.5-pro:generateContent",
            config(json!({ "thinkingConfig": { "thinkingBudget": 0 } })),
        ),
        ("budget", config(json!({ "thinkingConfig": { "thinkingLevel": "low" } }))),
        ("logprobs", config(json!({ "logprobs": 2 }))),
        ("choices", config(json!({ "candidateCount": 9 }))),
        ("nucleus", config(json!({ "topP": 1.5 }))),
        (
            "one_tool /v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
            json!({ "tools": [tools[0], { "urlContext": {} }] }),
        ),
    ];
    let rules = vec![gemini::rules::RULES, gemini::rules::OF_VERTEX];
    hold(&Table { path: "/v1beta/models/gemini-2.5-flash:generateContent", rules, cases }, &base);
}

#[test]
fn converse() {
    let turn = |role: &str, content: Value| json!({ "role": role, "content": content });
    let hi = turn("user", json!([{ "text": "Hi" }]));
    let well = turn("assistant", json!([{ "text": "Well" }]));
    let call = turn("assistant", json!([{ "toolUse": { "toolUseId": "a", "name": "f", "input": {} } }]));
    let result = turn("user", json!([{ "toolResult": { "toolUseId": "a", "content": [{ "text": "x" }] } }]));
    let tool = json!({ "toolSpec": { "name": "f", "inputSchema": { "json": { "type": "object" } } } });
    let config = json!({ "tools": [tool] });
    let base = json!({ "messages": [hi] });
    let messages = |messages: Value| json!({ "messages": messages });
    let document =
        |name: &str| json!({ "document": { "name": name, "format": "txt", "source": { "bytes": "AAAA" } } });
    let text = json!({ "text": "x" });
    let image = json!({ "image": { "format": "jpeg", "source": { "bytes": PNG } } });
    let points: Vec<_> =
        (0..5).flat_map(|_| [text.clone(), json!({ "cachePoint": { "type": "default" } })]).collect();
    let claude = |rule: &str| -> &'static str {
        format!("{rule} /model/us.anthropic.claude-sonnet-4-5-v1%3A0/converse").leak()
    };
    let llama = "tool_choice /model/us.meta.llama3-3-70b-instruct-v1%3A0/converse";
    let titan = "no_system /model/amazon.titan-text-express-v1/converse";
    let thinking = |budget: u64| json!({ "thinking": { "type": "enabled", "budget_tokens": budget } });
    let unsigned =
        turn("assistant", json!([{ "reasoningContent": { "reasoningText": { "text": "Hm." } } }, text]));
    let video = json!({ "video": { "format": "mp4", "source": { "bytes": "AAAA" } } });
    let cases = vec![
        ("schema", json!({ "inferenceConfig": { "max_tokens": 5 } })),
        ("first_role", messages(json!([well, hi]))),
        ("alternation", messages(json!([hi, hi]))),
        ("last_role", messages(json!([hi, well]))),
        (
            "blank_text",
            json!({ "system": [{ "text": "x" }], "messages": [turn("user", json!([{ "text": "" }]))] }),
        ),
        ("tool_config", messages(json!([hi, call, result]))),
        ("unanswered", json!({ "messages": [hi, call, hi], "toolConfig": config })),
        ("stray_result", json!({ "messages": [result], "toolConfig": config })),
        (llama, json!({ "toolConfig": { "tools": [tool], "toolChoice": { "any": {} } } })),
        (
            claude("forced_thinking"),
            json!({ "toolConfig": { "tools": [tool], "toolChoice": { "any": {} } }, "additionalModelRequestFields": thinking(2000) }),
        ),
        (claude("budget"), json!({ "additionalModelRequestFields": thinking(100) })),
        (claude("signature"), messages(json!([hi, unsigned, hi]))),
        ("document_name", messages(json!([turn("user", json!([text, document("a.pdf")]))]))),
        ("document_twice", messages(json!([turn("user", json!([text, document("a"), document("a")]))]))),
        ("document_alone", messages(json!([turn("user", json!([document("a")]))]))),
        ("media_type", messages(json!([turn("user", json!([image]))]))),
        (
            "object_schema",
            json!({ "toolConfig": { "tools": [{ "toolSpec": { "name": "f", "inputSchema": { "json": {} } } }] } }),
        ),
        ("cache_points", messages(json!([turn("user", json!(points))]))),
        (titan, json!({ "system": [text] })),
        (claude("media_of_model"), messages(json!([turn("user", json!([video]))]))),
    ];
    let rules = vec![bedrock::rules::RULES];
    hold(&Table { path: "/model/amazon.nova-lite-v1%3A0/converse", rules, cases }, &base);
}

#[test]
fn cohere() {
    let hi = user("Hi");
    let base = json!({ "model": "command-a-03-2025", "messages": [hi] });
    let tools = json!([function("f", json!({}))]);
    let format = json!({ "type": "json_object" });
    let cases = vec![
        ("schema", json!({ "n": 2 })),
        ("no_messages", json!({ "messages": [] })),
        ("tool_before_call", json!({ "messages": [hi, told("a")] })),
        ("unanswered", json!({ "messages": [hi, calling("a"), hi] })),
        ("empty_message", json!({ "messages": [hi, { "role": "assistant", "content": "" }, hi] })),
        ("tool_name", json!({ "tools": [function("1st", json!({}))] })),
        ("tool_choice", json!({ "tool_choice": "REQUIRED" })),
        ("json_with_tools", named("command-r-plus", json!({ "tools": tools, "response_format": format }))),
        ("json_with_documents", json!({ "documents": ["x"], "response_format": format })),
        ("temperature", json!({ "temperature": 1.5 })),
    ];
    hold(&Table { path: "/v2/chat", rules: vec![cohere::rules::RULES], cases }, &base);
}

#[test]
fn embeddings() {
    let refused = |path: &str, body: Value| judge(path, &body, true).unwrap_err().rule;
    assert_eq!(refused("/v1/embeddings", json!({ "model": "m", "input": ["a", ""] })), "empty_input");
    assert_eq!(refused("/v1/embeddings", json!({ "model": "m", "input": "a", "input_type": "x" })), "schema");
    assert_eq!(
        refused("/mistral/v1/embeddings", json!({ "model": "m", "input": "a", "dimensions": 5 })),
        "schema"
    );
    assert_eq!(refused("/v2/embed", json!({ "model": "m", "texts": ["a"] })), "schema");
    assert_eq!(refused("/v2/embed", json!({ "model": "m", "input_type": "search_query" })), "one_input");
    let many: Vec<_> = (0..97).map(|_| "a").collect();
    assert_eq!(
        refused("/v2/embed", json!({ "model": "m", "input_type": "search_query", "texts": many })),
        "schema"
    );
    let one = json!({ "model": "models/m", "content": { "parts": [{ "text": "a" }] } });
    let batch =
        |requests: Value| refused("/v1beta/models/m:batchEmbedContents", json!({ "requests": requests }));
    assert_eq!(batch(vec![one.clone(); 101].into()), "batch");
    assert_eq!(batch(json!([{ "model": "models/other", "content": one["content"] }])), "batch_model");
    assert_eq!(
        refused("/v1beta/models/m:embedContent", json!({ "content": { "parts": [] } })),
        "empty_input"
    );
    let titan = "/model/amazon.titan-embed-text-v2%3A0/invoke";
    assert_eq!(refused(titan, json!({ "inputText": "a", "dimensions": 300 })), "schema");
}
