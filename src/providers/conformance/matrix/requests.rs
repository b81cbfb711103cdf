//! The features of a request, each as the members that make it.

use serde_json::{Value, json};

use super::probe::{Probe, RENAMED};

/// A few pixels.
const PNG: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const PDF: &str = "data:application/pdf;base64,JVBERi0xLjQK";
const TEXT: &str = "data:text/plain;base64,cHJvYmUtdGV4dA==";

/// All features, in groups.
pub fn groups() -> Vec<(&'static str, Vec<Probe>)> {
    vec![
        ("Roles and messages", roles()),
        ("Content of messages", content()),
        ("Tools", tools()),
        ("Form of the answer", forms()),
        ("Limits and sampling", sampling()),
        ("Reasoning", reasoning()),
        ("Caching, billing, bookkeeping", bookkeeping()),
        ("Other ways to answer", answers()),
        ("One provider's own fields", foreign()),
        ("Piton's own fields", own()),
    ]
}

fn roles() -> Vec<Probe> {
    let user = json!({ "role": "user", "content": "Hello" });
    let history = json!([user, { "role": "assistant", "content": "Hi" }, user]);
    let messages = |list: Value| json!({ "messages": list });
    vec![
        Probe::new("`system` in front", messages(json!([{ "role": "system", "content": "probe-words" }, user]))),
        Probe::new(
            "`developer` in front",
            messages(json!([{ "role": "developer", "content": "probe-words" }, user])),
        )
        .how("\"role\":\"system\"", "as `system`"),
        Probe::new(
            "several in front",
            messages(json!([{ "role": "system", "content": "One" }, { "role": "system", "content": "probe-words" }, user])),
        )
        .beside(messages(json!([{ "role": "system", "content": "One" }, user]))),
        Probe::new(
            "`system` later on",
            messages(json!([user, { "role": "assistant", "content": "Hi" }, { "role": "system", "content": "probe-words" }, user])),
        )
        .beside(messages(history.clone()))
        .how("<system_message>", "as marked text of the user"),
        Probe::new(
            "`name` of a message",
            messages(json!([{ "role": "user", "content": "Hello", "name": "probe-name" }])),
        ),
        Probe::new("history of user and assistant", messages(history)),
        Probe::new("two messages of one role", messages(json!([user, { "role": "user", "content": "probe-words" }]))),
        Probe::new(
            "prefill: the assistant's words last",
            messages(json!([user, { "role": "assistant", "content": "probe-words" }])),
        ),
        Probe::new(
            "`refusal` in the history",
            messages(json!([user, { "role": "assistant", "content": null, "refusal": "probe-words" }, user])),
        ),
        Probe::new(
            "role `function`",
            messages(json!([user, { "role": "function", "name": "look", "content": "probe-words" }])),
        ),
    ]
}

fn content() -> Vec<Probe> {
    let text = json!({ "type": "text", "text": "Hello" });
    let say = |parts: Value| json!({ "messages": [{ "role": "user", "content": parts }] });
    let beside = |part: Value| say(json!([text, part]));
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let detailed = json!({ "type": "image_url", "image_url": { "url": PNG, "detail": "low" } });
    let file = |file: Value| beside(json!({ "type": "file", "file": file }));
    vec![
        Probe::new("string", say(json!("probe-words"))),
        Probe::new("text parts", say(json!([text, { "type": "text", "text": "probe-words" }]))),
        Probe::new("image as `data:`", beside(image(PNG))).beside(say(json!([text]))),
        Probe::new("image by URL", beside(image("https://example.com/probe-image.png"))).beside(say(json!([text]))),
        Probe::new("`detail` of an image", beside(detailed)).beside(beside(image(PNG))),
        Probe::new("PDF as `file_data`", file(json!({ "filename": "a.pdf", "file_data": PDF }))).beside(say(json!([text]))),
        Probe::new("text file as `file_data`", file(json!({ "filename": "a.txt", "file_data": TEXT })))
            .beside(say(json!([text]))),
        Probe::new("`file_id`", file(json!({ "file_id": "file-1" }))).beside(say(json!([text]))),
        Probe::new(
            "`input_audio`",
            beside(json!({ "type": "input_audio", "input_audio": { "data": "UklGRiQAAABXQVZF", "format": "wav" } })),
        )
        .beside(say(json!([text]))),
        Probe::new("part of an unknown kind", beside(json!({ "type": "video_url", "video_url": { "url": "https://example.com/a.mp4" } })))
            .beside(say(json!([text]))),
    ]
}

fn tool(name: &str) -> Value {
    let parameters = json!({ "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"], "additionalProperties": false });
    json!({ "type": "function", "function": { "name": name, "description": "It looks.", "parameters": parameters } })
}

/// A call and its result.
fn called(result: &Value) -> Value {
    json!([
        { "role": "user", "content": "Hello" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "{\"q\":\"probe-argument\"}" } }
        ] },
        { "role": "tool", "tool_call_id": "call_1", "content": result },
    ])
}

fn tools() -> Vec<Probe> {
    let two = json!({ "tools": [tool("look"), tool("find")] });
    let choice = |name, choice: Value| Probe::new(name, json!({ "tool_choice": choice })).beside(two.clone());
    let mut strict = tool("look");
    strict["function"]["strict"] = json!(true);
    let mut marked = json!({ "tools": [tool("look")] });
    marked["tools"][0]["function"]["description"] = json!("probe-words");
    let named = json!({ "type": "function", "function": { "name": "look" } });
    let allowed =
        |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [named] } });
    let in_history = |result: Value| json!({ "tools": [tool("look")], "messages": called(&result) });
    let image =
        json!([{ "type": "text", "text": "Seen" }, { "type": "image_url", "image_url": { "url": PNG } }]);
    let custom = json!({ "type": "custom", "custom": { "name": "write", "description": "It writes." } });
    let fewer = "the other tools are left out";
    vec![
        Probe::new("`tools`", marked),
        Probe::new("`strict`", json!({ "tools": [strict] })).beside(json!({ "tools": [tool("look")] })),
        Probe::new(
            "a name that the provider refuses",
            json!({ "tools": [tool("look up.now/please and then a name that is far longer than sixty-four characters are")] }),
        )
        .how(RENAMED, "under a name that fits, and back in the answer"),
        choice("`tool_choice: \"auto\"`", json!("auto")).default_value(),
        choice("`tool_choice: \"none\"`", json!("none")).how("toolConfig=null", "the tools are left out"),
        choice("`tool_choice: \"required\"`", json!("required")),
        choice("`tool_choice` of one function", named.clone()).how("tools[]=null", fewer).how("tools[function]=null", fewer),
        choice("`allowed_tools`, auto", allowed("auto")).how("tools[]=null", fewer).how("tools[function]=null", fewer),
        choice("`allowed_tools`, required", allowed("required")).how("tools[]=null", fewer).how("tools[function]=null", fewer),
        Probe::new("`parallel_tool_calls: false`", json!({ "parallel_tool_calls": false })).beside(two.clone()),
        Probe::new("calls and results in the history", in_history(json!("probe-result")))
            .beside(json!({ "tools": [tool("look")] })),
        Probe::new("an image in a tool's result", in_history(image))
            .beside(in_history(json!([{ "type": "text", "text": "Seen" }]))),
        Probe::new("`functions`, `function_call`", json!({ "functions": [{ "name": "look", "parameters": {} }], "function_call": "auto" })),
        Probe::new("custom tools", json!({ "tools": [custom] })),
    ]
}

fn forms() -> Vec<Probe> {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string", "description": "probe-words" } }, "required": ["city"], "additionalProperties": false });
    let of_schema = |schema: Value| json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "place", "strict": true, "schema": schema } } });
    let odd = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "patternProperties": { "^x": { "type": "string" } } });
    let tool_words = "as the input of a tool that must be called";
    vec![
        Probe::new("`response_format: json_object`", json!({ "response_format": { "type": "json_object" } }))
            .beside(json!({ "messages": [{ "role": "user", "content": "Answer in JSON." }] })),
        Probe::new("`response_format: json_schema`", of_schema(schema.clone()))
            .how("json_answer", tool_words),
        Probe::new("a schema beyond the provider's own", of_schema(odd)).how("json_answer", tool_words),
        Probe::new("`json_schema` beside tools", of_schema(schema))
            .beside(json!({ "tools": [tool("look")] })),
        Probe::new("`response_format: text`", json!({ "response_format": { "type": "text" } }))
            .default_value(),
        Probe::new("`verbosity`", json!({ "verbosity": "low" })),
    ]
}

fn sampling() -> Vec<Probe> {
    vec![
        Probe::new("`max_tokens`", json!({ "max_tokens": 321 })),
        Probe::new("`max_completion_tokens`", json!({ "max_completion_tokens": 321 })),
        Probe::new("`temperature`", json!({ "temperature": 0.4 })),
        Probe::new("`temperature` above 1", json!({ "temperature": 1.7 })).how("temperature=1.0", "cut at 1"),
        Probe::new("`top_p`", json!({ "top_p": 0.6 })),
        Probe::new("`temperature` and `top_p`", json!({ "temperature": 0.4, "top_p": 0.6 })),
        Probe::new("`top_k`", json!({ "top_k": 33 })),
        Probe::new("`stop`", json!({ "stop": ["probe-stop"] })),
        Probe::new("`seed`", json!({ "seed": 7 })),
        Probe::new("`n`", json!({ "n": 2 })),
        Probe::new("`frequency_penalty`", json!({ "frequency_penalty": 0.3 })),
        Probe::new("`presence_penalty`", json!({ "presence_penalty": 0.3 })),
        Probe::new("`logprobs`", json!({ "logprobs": true })),
        Probe::new("`top_logprobs`", json!({ "top_logprobs": 3 })).beside(json!({ "logprobs": true })),
        Probe::new("`logit_bias`", json!({ "logit_bias": { "50256": -100 } })),
    ]
}

fn reasoning() -> Vec<Probe> {
    let budget = "as a number of tokens";
    let effort = |name, effort: &str| {
        Probe::new(name, json!({ "reasoning_effort": effort })).how("budget", budget).how("Budget", budget)
    };
    vec![
        effort("`reasoning_effort: none`", "none").default_value(),
        effort("`reasoning_effort: low`", "low"),
        effort("`reasoning_effort: high`", "high"),
        effort("`reasoning_effort: max`", "max"),
    ]
}

fn bookkeeping() -> Vec<Probe> {
    let mark = json!({ "type": "ephemeral" });
    let say = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
    let mut marked = tool("look");
    marked["cache_control"] = mark.clone();
    vec![
        Probe::new(
            "`cache_control` of a part",
            say(json!({ "type": "text", "text": "Hello", "cache_control": mark })),
        )
        .beside(say(json!({ "type": "text", "text": "Hello" }))),
        Probe::new("`cache_control` of a tool", json!({ "tools": [marked] }))
            .beside(json!({ "tools": [tool("look")] })),
        Probe::new("`prompt_cache_key`", json!({ "prompt_cache_key": "probe-key" })),
        Probe::new("`user`", json!({ "user": "probe-user" })),
        Probe::new("`safety_identifier`", json!({ "safety_identifier": "probe-user" })),
        Probe::new("`metadata`", json!({ "metadata": { "team": "probe-team" } })),
        Probe::new("`store`", json!({ "store": true })),
        Probe::new("`service_tier: \"flex\"`", json!({ "service_tier": "flex" })),
        Probe::new("`service_tier: \"default\"`", json!({ "service_tier": "default" })).default_value(),
        Probe::new("a field that nobody knows", json!({ "probe_field": "probe-value" })),
    ]
}

fn answers() -> Vec<Probe> {
    vec![
        Probe::new("`stream`", json!({ "stream": true })),
        Probe::new("`prediction`", json!({ "prediction": { "type": "content", "content": "probe-words" } })),
        Probe::new("`modalities: [\"text\"]`", json!({ "modalities": ["text"] })).default_value(),
        Probe::new(
            "`modalities` with audio",
            json!({ "modalities": ["text", "audio"], "audio": { "voice": "alloy", "format": "wav" } }),
        ),
        Probe::new("`web_search_options`", json!({ "web_search_options": {} })),
    ]
}

fn foreign() -> Vec<Probe> {
    let google = json!({ "google": { "thinking_config": { "thinking_budget": 2000 } } });
    vec![
        Probe::new("Cohere's `documents`", json!({ "documents": ["probe-words"] })),
        Probe::new("Cohere's `safety_mode`", json!({ "safety_mode": "STRICT" })),
        Probe::new("Google's `extra_body.google`", json!({ "extra_body": google })),
        Probe::new(
            "Bedrock's `guardrailConfig`",
            json!({ "guardrailConfig": { "guardrailIdentifier": "probe", "guardrailVersion": "1" } }),
        ),
        Probe::new(
            "Anthropic's `thinking`",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 }, "max_tokens": 4000 }),
        )
        .beside(json!({ "max_tokens": 4000 })),
        Probe::new("Mistral's `safe_prompt`", json!({ "safe_prompt": true })),
    ]
}

fn own() -> Vec<Probe> {
    vec![
        Probe::new("`stream_options.include_usage`", json!({ "stream_options": { "include_usage": true } }))
            .beside(json!({ "stream": true }))
            .by_piton(),
        Probe::new("`models`, `fallbacks`", json!({ "models": ["a/b"], "fallbacks": ["c/d"] })).by_piton(),
        Probe::new("`task_type`", json!({ "task_type": "chat" })).by_piton(),
        Probe::new("`metadata.piton_…`", json!({ "metadata": { "piton_team": "a" } })).by_piton(),
    ]
}
