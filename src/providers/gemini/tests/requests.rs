//! Requests as they are written.

use super::*;
use crate::chat::target::ThinkingControls;
use crate::units::Tokens;

fn user(text: &str) -> Value {
    json!({"role": "user", "parts": [{"text": text}]})
}

fn lacks(body: &Value, facts: &TargetFacts) -> Option<&'static str> {
    Gemini::default().lacks(&request(body), facts)
}

fn chat(model: &str, more: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn a_plain_request_holds_nothing_but_the_text() {
    let (encoded, written) = encoded_fixture("text");
    assert_eq!(encoded.path, "/models/gemini-2.5-flash:generateContent");
    assert_eq!(written, json!({"contents": [user("Say hello.")]}));
    assert!(encoded.dropped.is_empty() && encoded.headers.is_empty());
    let (encoded, streamed) = encoded_fixture("text-streamed");
    assert_eq!(encoded.path, "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(streamed, written);
}

#[test]
fn odd_model_names_stay_one_segment() {
    for (model, path) in [
        ("models/gemini-2.5-flash", "/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine-1", "/tunedModels/mine-1:generateContent"),
        ("a/b:c?d#é%", "/models/a%2Fb%3Ac%3Fd%23%C3%A9%25:generateContent"),
    ] {
        assert_eq!(encoded(&chat(model, &json!({}))).0.path, path);
    }
}

#[test]
fn leading_system_messages_are_the_instruction_and_later_ones_marked_text() {
    let (_, written) = encoded_fixture("system-messages");
    assert_eq!(written["systemInstruction"], json!({"parts": [{"text": "Be brief.\n\nAnswer in French."}]}));
    let last = json!({"role": "user", "parts": [
        {"text": "[System message]\nNow answer in German.\n[End of system message]"},
        {"text": "Hello again"},
    ]});
    assert_eq!(written["contents"][2], last);
    let (_, alone) = encoded_fixture("system-only");
    assert_eq!(alone, json!({"contents": [user("Write a haiku.")]}));
}

#[test]
fn turns_alternate_and_begin_with_the_user() {
    let (_, written) = encoded_fixture("merged-turns");
    let expected = json!([
        user("."),
        {"role": "model", "parts": [{"text": "How can I help?"}]},
        {"role": "user", "parts": [{"text": "One."}, {"text": "Two."}]},
        {"role": "model", "parts": [{"text": "A"}, {"text": "B"}]},
        user("Go on."),
    ]);
    assert_eq!(written["contents"], expected);
    let (_, empty) =
        encoded(&json!({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": ""}]}));
    assert_eq!(empty["contents"], json!([user("")]), "an empty prompt is the client's own");
}

#[test]
fn sampling_fields_have_their_names_and_ranges() {
    let (encoded, written) = encoded_fixture("sampling");
    let expected = json!({
        "candidateCount": 2, "stopSequences": ["END"], "maxOutputTokens": 300, "temperature": 0.7, "topP": 0.95,
        "topK": 40, "seed": 705_032_704, "presencePenalty": -0.5, "frequencyPenalty": 0.5,
    });
    assert_eq!(written["generationConfig"], expected);
    assert_eq!(encoded.context.choices, 2);
    assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
}

#[test]
fn hints_that_have_no_place_are_named() {
    let (encoded, written) = encoded_fixture("dropped-hints");
    let expected = [
        "logit_bias",
        "store",
        "verbosity",
        "prompt_cache_key",
        "user",
        "parallel_tool_calls",
        "frequency_penalty",
    ];
    assert_eq!(encoded.dropped, expected);
    assert_eq!(written.get("generationConfig"), None);
    let fixed = TargetFacts { sampling: false, ..facts("gemini-3-pro-preview") };
    let body = chat("m", &json!({"temperature": 1, "top_p": 1, "top_k": 1, "seed": 7}));
    let encoded = try_encode(&body, &fixed).unwrap();
    assert_eq!(encoded.dropped, ["temperature", "top_p", "top_k"]);
    assert!(String::from_utf8(encoded.body.concat()).unwrap().contains(r#""generationConfig":{"seed":7}"#));
}

#[test]
fn tools_are_declared_once_and_renamed_names_are_remembered() {
    let (encoded, written) = encoded_fixture("tools");
    let declarations = written["tools"][0]["functionDeclarations"].as_array().unwrap();
    let names: Vec<&Value> = declarations.iter().map(|declaration| &declaration["name"]).collect();
    assert_eq!(names, ["get_weather", "now", "ping", "_2fa"]);
    assert_eq!(written["tools"].as_array().unwrap().len(), 1);
    assert_eq!(declarations[1].get("parametersJsonSchema"), None);
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["sms"]},
            "to": {"description": "whom", "anyOf": [{"$ref": "#/$defs/to"}]},
        },
        "$defs": {"to": {"type": "string"}},
    });
    assert_eq!(declarations[3]["parametersJsonSchema"], schema);
    assert_eq!(written["toolConfig"], json!({"functionCallingConfig": {"mode": "ANY"}}));
    assert_eq!(encoded.context.renamed_tools.get("_2fa").map(String::as_str), Some("2fa"));
    let (_, forced) = encoded_fixture("tool-choice-named");
    let config = json!({"mode": "ANY", "allowedFunctionNames": ["_2fa"]});
    assert_eq!(forced["toolConfig"]["functionCallingConfig"], config);
}

#[test]
fn results_follow_the_order_of_their_calls_and_signatures_stay_where_they_were() {
    let (_, written) = encoded_fixture("tool-results");
    let signature = "EqcECqQEAb4+9vvKtw3zAyNExHKmG2Of7hrIubjtkhvACUhm5FP+RwKuFg==";
    let model = json!({"role": "model", "parts": [
        {"text": "Let me look."},
        {"functionCall": {"id": "89nz05jy", "name": "get_weather", "args": {"city": "Paris"}}, "thoughtSignature": signature},
        {"functionCall": {"id": "k0srpqrc", "name": "get_weather", "args": {"city": "Rome"}}},
    ]});
    let results = json!({"role": "user", "parts": [
        {"functionResponse": {"id": "89nz05jy", "name": "get_weather", "response": {"result": "18 degrees"}}},
        {"functionResponse": {"id": "k0srpqrc", "name": "get_weather", "response": {"celsius": 24, "sky": null}}},
        {"text": "In one line, please."},
    ]});
    assert_eq!(written["contents"][1], model);
    assert_eq!(written["contents"][2], results);
    let (_, signed_text) = encoded_fixture("text-signature");
    let part = json!({"text": "y", "thoughtSignature": signature});
    assert_eq!(signed_text["contents"][1], json!({"role": "model", "parts": [part]}));
}

#[test]
fn calls_of_another_model_get_the_documented_signature_and_objects_all_around() {
    let (_, written) = encoded_fixture("tool-results-foreign");
    let skip = "skip_thought_signature_validator";
    let contents = &written["contents"];
    assert_eq!(contents[1]["parts"][0]["thoughtSignature"], skip);
    assert_eq!(contents[1]["parts"][1]["functionCall"]["args"], json!({}));
    assert_eq!(contents[1]["parts"][1].get("thoughtSignature"), None);
    assert_eq!(contents[2]["parts"][0]["functionResponse"]["response"], json!({"result": "[1,2]"}));
    let rounded = json!({"result": "{\"id\":12345678901234567890}"});
    assert_eq!(contents[2]["parts"][1]["functionResponse"]["response"], rounded);
    assert_eq!(contents[3]["parts"][0]["functionCall"]["args"], json!({"arguments": "{broken"}));
    assert_eq!(contents[3]["parts"][0]["thoughtSignature"], skip);
    assert_eq!(contents[4]["parts"][0]["functionResponse"]["response"], json!({"result": ""}));

    let mut older: Value = serde_json::from_slice(&fixture("requests/tool-results-foreign.json")).unwrap();
    older["model"] = json!("gemini-2.5-flash");
    assert!(!encoded(&older).1.to_string().contains("thoughtSignature"));
}

#[test]
fn one_id_in_two_turns_answers_its_own_turn() {
    let call = |name: &str| json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": name, "arguments": "{}"}}]});
    let result = |text: &str| json!({"role": "tool", "tool_call_id": "a", "content": text});
    let messages = json!([{"role": "user", "content": "x"}, call("f"), result("1"), call("g"), result("2")]);
    let (_, written) = encoded(&json!({"model": "gemini-2.5-flash", "messages": messages}));
    let response = |turn: usize| &written["contents"][turn]["parts"][0]["functionResponse"];
    assert_eq!((&response(2)["name"], &response(4)["name"]), (&json!("f"), &json!("g")));
}

#[test]
fn images_in_results_go_where_the_generation_takes_them() {
    let (_, written) = encoded_fixture("tool-result-with-image");
    let response = &written["contents"][2]["parts"][0]["functionResponse"];
    assert_eq!(response["response"], json!({"result": "a picture"}));
    assert_eq!(response["parts"][0]["inlineData"]["mimeType"], "image/png");
    let mut older: Value = serde_json::from_slice(&fixture("requests/tool-result-with-image.json")).unwrap();
    older["model"] = json!("gemini-2.5-flash");
    let parts = &encoded(&older).1["contents"][2]["parts"];
    assert_eq!(parts[0]["functionResponse"].get("parts"), None);
    assert_eq!(parts[1]["inlineData"]["mimeType"], "image/png");
}

#[test]
fn media_are_inline_or_an_address() {
    let (encoded, written) = encoded_fixture("media");
    let parts = written["contents"][0]["parts"].as_array().unwrap();
    let types: Vec<&Value> = parts[1..]
        .iter()
        .map(|part| part.get("inlineData").or(part.get("fileData")).map(|data| &data["mimeType"]).unwrap())
        .collect();
    assert_eq!(types, ["image/png", "image/webp", "audio/wav", "application/pdf"]);
    assert_eq!(parts[2]["fileData"]["fileUri"], "https://example.org/cat.webp?size=2");
    assert_eq!(encoded.dropped, ["detail"]);
}

#[test]
fn json_is_asked_for_by_type_and_schema() {
    let (_, object) = encoded_fixture("json-object");
    assert_eq!(object["generationConfig"], json!({"responseMimeType": "application/json"}));
    let (_, schema) = encoded_fixture("json-schema");
    let parent = &schema["generationConfig"]["responseJsonSchema"]["properties"]["parent"];
    assert_eq!(parent, &json!({"description": "older", "anyOf": [{"$ref": "#/$defs/p"}]}));
}

#[test]
fn an_effort_is_told_and_the_visible_cap_stays_visible() {
    let (_, budget) = encoded_fixture("effort-as-budget");
    let thinking = json!({"includeThoughts": true, "thinkingBudget": 4096});
    assert_eq!(budget["generationConfig"], json!({"maxOutputTokens": 4596, "thinkingConfig": thinking}));
    let (_, off) = encoded_fixture("effort-off");
    assert_eq!(off["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 0}));
    let (_, level) = encoded_fixture("effort-as-level");
    let thinking = json!({"includeThoughts": true, "thinkingLevel": "high"});
    assert_eq!(level["generationConfig"], json!({"maxOutputTokens": 2000, "thinkingConfig": thinking}));

    let controls =
        ThinkingControls { budget: Some((0, Some(24_576))), can_be_off: true, ..Default::default() };
    let small = TargetFacts {
        max_output: Some(Tokens::new(3000)),
        thinking: Thinking::Controlled(controls),
        ..facts("gemini-2.5-flash")
    };
    let body = chat("m", &json!({"max_tokens": 500, "reasoning_effort": "low"}));
    let written: Value = serde_json::from_slice(&try_encode(&body, &small).unwrap().body.concat()).unwrap();
    assert_eq!(written["generationConfig"]["maxOutputTokens"], 3000);
}

#[test]
fn what_gemini_has_under_another_name_is_sent() {
    let more = json!({
        "logprobs": true, "top_logprobs": 3, "service_tier": "priority", "modalities": ["text"],
        "web_search_options": {"search_context_size": "low", "user_location": null},
        "extra_body": {"google": {
            "thinking_config": {"include_thoughts": true, "thinking_budget": -1},
            "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
            "cached_content": "cachedContents/a", "new": 1,
        }},
        "reasoning_effort": "low",
    });
    let (encoded, written) = encoded(&chat("gemini-2.5-flash", &more));
    let expected = json!({
        "responseLogprobs": true, "logprobs": 3, "thinkingConfig": {"includeThoughts": true, "thinkingBudget": -1},
    });
    assert_eq!(written["generationConfig"], expected);
    assert_eq!(written["serviceTier"], "priority");
    assert_eq!(written["tools"], json!([{"googleSearch": {}}]));
    assert_eq!(
        written["safetySettings"],
        json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}])
    );
    assert_eq!(written["cachedContent"], "cachedContents/a");
    let dropped = ["reasoning_effort", "web_search_options.search_context_size", "extra_body"];
    assert_eq!(encoded.dropped, dropped);
}

#[test]
fn a_detail_that_all_images_share_is_the_resolution_of_all_media() {
    let image = |detail: &str| json!({"type": "image_url", "image_url": {"url": "https://x.org/a.png", "detail": detail}});
    let file = || json!({"type": "file", "file": {"file_data": "JVBERi0xLjQKJcOkw7zD"}});
    let cases = [
        (json!([image("low"), image("low")]), json!("MEDIA_RESOLUTION_LOW"), false),
        (json!([image("high")]), json!("MEDIA_RESOLUTION_HIGH"), false),
        (json!([image("auto")]), Value::Null, false),
        (json!([image("low"), image("high")]), Value::Null, true),
        (json!([image("low"), file()]), Value::Null, true),
    ];
    for (content, resolution, is_dropped) in cases {
        let messages = json!([{"role": "user", "content": content}]);
        let (encoded, written) = encoded(&json!({"model": "gemini-2.5-flash", "messages": messages}));
        let config = written.get("generationConfig").cloned().unwrap_or_default();
        assert_eq!(config.get("mediaResolution").cloned().unwrap_or_default(), resolution, "{content}");
        assert_eq!(encoded.dropped.contains(&"detail"), is_dropped, "{content}");
    }
}

#[test]
fn nulls_are_absent() {
    let nulls = [
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "user",
        "service_tier",
        "logprobs",
        "logit_bias",
        "parallel_tool_calls",
    ];
    let nulls: Value = nulls.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let body = chat("gemini-2.5-flash", &nulls);
    let (encoded, written) = encoded(&body);
    assert_eq!(written, json!({"contents": [user("x")]}));
    assert!(encoded.dropped.is_empty());
    assert_eq!(lacks(&body, &facts("gemini-2.5-flash")), None);
}

#[test]
fn what_would_change_the_meaning_is_lacked() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {}}});
    let cases = [
        ("gemini-2.5-flash", json!({"logprobs": true}), None),
        ("gemini-2.5-flash", json!({"web_search_options": {}}), None),
        ("gemini-2.5-flash", json!({"web_search_options": {}, "tools": tools}), Some("web_search")),
        ("gemini-3-flash-preview", json!({"web_search_options": {}, "tools": tools}), None),
        ("gemini-2.5-flash", json!({"n": 2}), None),
        ("gemini-2.5-flash", json!({"n": 2, "stream": true}), Some("n")),
        ("gemini-3-pro-preview", json!({"n": 2}), Some("n")),
        ("gemini-2.5-flash", json!({"response_format": schema, "tools": tools}), Some("json_schema")),
        (
            "gemini-2.0-flash",
            json!({"response_format": {"type": "json_object"}, "tools": tools}),
            Some("json_mode"),
        ),
        (
            "gemini-2.5-flash",
            json!({"response_format": schema, "web_search_options": {}}),
            Some("json_schema"),
        ),
        ("gemini-3-pro-preview", json!({"response_format": schema, "tools": tools}), None),
        ("gemini-2.5-flash", json!({"response_format": schema}), None),
        ("gemini-2.5-flash", json!({"reasoning_effort": "high", "stream": true, "tools": tools}), None),
    ];
    for (model, more, expected) in cases {
        assert_eq!(lacks(&chat(model, &more), &facts(model)), expected, "{model} {more}");
    }
    let media = serde_json::from_slice(&fixture("requests/media.json")).unwrap();
    assert_eq!(lacks(&media, &facts("gemini-2.5-flash")), None);
    let able = |change: fn(&mut Able)| {
        let mut facts = facts("gemini-2.5-flash");
        change(&mut facts.able);
        facts
    };
    let logprobs = chat("m", &json!({"logprobs": true}));
    assert_eq!(lacks(&logprobs, &able(|able| able.logprobs = false)), Some("logprobs"));
    assert_eq!(lacks(&media, &able(|able| able.vision = false)), Some("vision"));
    assert_eq!(lacks(&media, &able(|able| able.audio = false)), Some("audio"));
    assert_eq!(lacks(&media, &able(|able| able.documents = false)), Some("documents"));
    let prefill = json!({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]});
    assert_eq!(lacks(&prefill, &able(|able| able.prefill = false)), Some("prefill"));
}

#[test]
fn what_only_encoding_sees_is_lacked_or_invalid() {
    let facts = facts("gemini-2.5-flash");
    let user = |part: Value| json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    let six = json!(["1", "2", "3", "4", "5", "6"]);
    let lacking = [
        (user(json!({"type": "video_url", "video_url": {}})), "content_part"),
        (user(json!({"type": "file", "file": {"file_id": "file-1"}})), "file_id"),
        (user(json!({"type": "input_audio", "input_audio": {"data": "", "format": "midi"}})), "audio_format"),
        (chat("m", &json!({"stop": six})), "stop"),
        (chat("m", &json!({"n": 9})), "n"),
        (chat("m", &json!({"tools": [{"type": "web_search"}]})), "tool_type"),
    ];
    for (body, what) in lacking {
        assert_eq!(try_encode(&body, &facts).unwrap_err(), Unsendable::Lacks(what));
    }
    let system = json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]);
    let body = json!({"model": "m", "messages": [{"role": "system", "content": system}]});
    let Unsendable::Invalid(invalid) = try_encode(&body, &facts).unwrap_err() else { panic!("{body}") };
    assert_eq!(invalid.param.as_deref(), Some("messages[0].content"));
}

#[test]
fn images_cost_what_was_recorded_or_between() {
    use crate::chat::request::Image;
    let cost = |pixels| {
        let (least, most) = Gemini::default().image_tokens(&Image { pixels, low_detail: false });
        (least.get(), most.get())
    };
    assert_eq!(cost(Some((300, 200))), (258, 1120));
    // 2.0 Flash counted 3354 tokens (13 tiles) for a photograph of these proportions.
    assert_eq!(cost(Some((2048, 3072))), (258, 3354));
    assert_eq!(cost(None), (258, 4386));
    assert_eq!(cost(Some((u32::MAX, u32::MAX))), (258, 4386));
    assert_eq!(cost(Some((0, 0))), (258, 1120));
}

#[test]
fn vertex_has_labels_a_header_for_the_tier_and_ids_only_where_its_models_give_them() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ]);
    let body = json!({
        "model": "m", "messages": messages, "service_tier": "flex", "metadata": {"team": "analytics", "Cost": "x"},
    });
    let vertex = Gemini { host: Host::Vertex };
    let encode = |model: &str| {
        let encoded = vertex.encode(&request(&body), &facts(model)).unwrap();
        let written: Value = serde_json::from_slice(&encoded.body.concat()).unwrap();
        (encoded, written)
    };
    let (encoded, written) = encode("gemini-2.5-flash");
    assert_eq!(encoded.headers["x-vertex-ai-llm-shared-request-type"], "flex");
    assert_eq!(encoded.dropped, ["metadata"]);
    assert_eq!(written["labels"], json!({"team": "analytics"}));
    assert_eq!(written.get("serviceTier"), None);
    assert_eq!(written["contents"][1]["parts"][0], json!({"functionCall": {"name": "f", "args": {}}}));
    let (_, written) = encode("gemini-3-flash-preview");
    assert_eq!(written["contents"][2]["parts"][0]["functionResponse"]["id"], "c1");
}
