use super::*;

fn request(body: &str) -> ChatRequest {
    ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn finished(edit: BodyEdit<'_>) -> String {
    String::from_utf8(edit.finish().concat()).unwrap()
}

const ODD: &str = r#" { "zz" : 1.10, "model":"a","messages" : [{"role":"user","content":"x"}] ,"q":{"b":1e0,"a":2}, "t":-0.0 } "#;

#[test]
fn an_edit_leaves_every_other_byte() {
    let request = request(ODD);
    let mut edit = request.edit();
    edit.set("model", r#""gpt-4o""#.into());
    assert_eq!(finished(edit), ODD.replace(r#""a","messages""#, r#""gpt-4o","messages""#));
}

#[test]
fn members_are_removed_renamed_and_added_without_stray_commas() {
    let request = request(ODD);
    let mut edit = request.edit();
    edit.remove("zz");
    edit.remove("t");
    edit.rename("q", "r");
    edit.set("stream", "true".into());
    let text = finished(edit);
    let value: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(names, ["model", "messages", "r", "stream"]);
    assert!(text.contains(r#"{"b":1e0,"a":2}"#));
}

#[test]
fn whole_numbers_may_be_spelt_as_floats() {
    let body =
        r#"{"model":"m","max_tokens":5e1,"seed":1.0,"n":2.0,"messages":[{"role":"user","content":"x"}]}"#;
    let request = request(body);
    assert_eq!((request.output_cap, request.answers), (Some(50), 2));
    assert_eq!(request.conversation().unwrap().seed, Some(1));
    let bad = body.replace("5e1", "1.5");
    assert_eq!(ChatRequest::parse(bad.into()).unwrap_err().param.as_deref(), Some("max_tokens"));
}

#[test]
fn members_that_no_field_reads_are_told() {
    let ask = |more: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{more}}}"#);
        request(&body).foreign_members().map(str::to_owned).collect::<Vec<_>>()
    };
    let none =
        r#""stream":true,"stream_options":null,"seed":1,"models":["a"],"logprobs":false,"thinking":null"#;
    assert!(ask(none).is_empty());
    assert!(ask(r#""metadata":{"piton_tier":"gold","task_type":"t"}"#).is_empty());
    assert_eq!(ask(r#""metadata":{"piton_tier":"gold","order":"7"},"top_a":0.1"#), ["metadata", "top_a"]);
}

#[test]
fn older_and_textual_tools_are_noticed() {
    let needs = |messages: &str| {
        let needs = request(&format!(r#"{{"model":"m","messages":{messages}}}"#)).needs;
        (needs.functions, needs.custom_tools)
    };
    let call =
        r#"{"role":"assistant","tool_calls":[{"id":"1","type":"custom","custom":{"name":"f","input":"x"}}]}"#;
    assert_eq!(needs(&format!("[{call}]")), (false, true));
    assert_eq!(needs(r#"[{"role":"function","name":"f","content":"x"}]"#), (true, false));
    assert_eq!(
        needs(r#"[{"role":"assistant","function_call":{"name":"f","arguments":"{}"}}]"#),
        (true, false)
    );
}

#[test]
fn what_some_clients_leave_out_or_spell_otherwise_is_understood() {
    let body = r#"{"model":"m","reasoning_effort":"default","tool_choice":{"function":{"name":"f"}},
        "tools":[{"function":{"name":"f"}}],"messages":[{"role":"user","content":"x"}]}"#;
    let request = request(body);
    assert_eq!(request.needs.effort, None);
    let conversation = request.conversation().unwrap();
    assert_eq!((conversation.reasoning_effort, conversation.tools[0].kind.as_str()), (None, "function"));
    assert!(
        matches!(&conversation.tool_choice, Some(super::super::conversation::ToolChoice::Function(name)) if name == "f")
    );
    for (from, to) in [("default", "lots"), (r#"{"function":{"name":"f"}},"#, r#"{"type":"odd"},"#)] {
        assert!(ChatRequest::parse(body.replacen(from, to, 1).into()).is_err(), "{to}");
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let body = r#"{"model":"a","model":"b","messages":[]}"#;
    let error = ChatRequest::parse(Bytes::from_static(body.as_bytes())).unwrap_err();
    assert!(error.message.contains("`model` stands twice"), "{error}");
}

#[test]
fn thinking_is_asked_for_in_several_words() {
    let thinks = |more: &str| {
        request(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}]{more}}}"#))
            .needs
            .thinks
    };
    assert_eq!(thinks(""), None);
    assert_eq!(thinks(r#","reasoning_effort":"low""#), Some(true));
    assert_eq!(thinks(r#","thinking":{"type":"enabled","budget_tokens":2000}"#), Some(true));
    assert_eq!(thinks(r#","thinking":{"type":"disabled"}"#), Some(false));
    assert_eq!(thinks(r#","thinking":{"type":"enabled"},"reasoning_effort":"none""#), Some(false));
    assert_eq!(thinks(r#","thinking":true"#), None);
}

#[test]
fn a_body_is_read_alike_with_and_without_a_look_on_the_way() {
    let many = (0..100).map(|at| format!(r#","m{at}":{at}"#)).collect::<Vec<_>>().concat();
    let message = r#"{"role":"user","content":"x"}"#;
    for body in [
        ODD.to_owned(),
        format!(
            r#"{{"messages":[{message}],"model":"m","tools":[{{"type":"function","function":{{"name":"f"}}}}]}}"#
        ),
        format!(r#"{{"messages":[{message}],"model":"m"{many}}}"#),
        format!(r#"{{"messages":[{message}],"\u006dodel":"m"}}"#),
        r#"{"messages":[{"role":"user","c\u006fntent":"xyz"}],"model":"m"}"#.to_owned(),
    ] {
        let request = request(&body);
        let bytes = Bytes::from(body.clone());
        let slow: TopLevel<'_> = serde_json::from_str(&body).unwrap();
        if let Some(fast) = TopLevel::skimmed(&body) {
            assert_eq!(fast.members, slow.members, "{body}");
        }
        assert_eq!(finished(request.edit()), body);
        let names: Vec<&str> = request.members.iter().map(|member| member.name(&bytes)).collect();
        assert_eq!(names, slow.members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>());
        let mut edit = request.edit();
        edit.set("model", "0".into());
        let edited: Value = serde_json::from_str(&finished(edit)).unwrap();
        assert_eq!(edited["model"], 0, "{body}");
    }
    let twice = |more: &str| format!(r#"{{"model":"m","messages":[{message}]{more},"model":"m"}}"#);
    for body in [twice(""), twice(&many)] {
        let refused = ChatRequest::parse(body.into()).unwrap_err();
        assert!(refused.message.contains("the member `model` stands twice"), "{}", refused.message);
    }
}

#[test]
fn the_older_forms_of_tools_count_as_text_and_what_is_not_counted_teaches_nothing() {
    let long = "word ".repeat(1000);
    let read = |body: String| ChatRequest::parse(body.into()).unwrap();
    let with = |message: &str, more: &str| {
        read(format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}{message}]{more}}}"#,
            &long[..500]
        ))
    };
    let plain = with("", "");
    assert!(plain.is_counted());
    let functions = with("", &format!(r#","functions":[{{"name":"f","description":"{long}"}}]"#));
    assert!(functions.size.text_bytes > 5500 && functions.is_counted());
    let call =
        with(&format!(r#",{{"role":"assistant","function_call":{{"name":"f","arguments":"{long}"}}}}"#), "");
    assert!(call.size.text_bytes > 5500 && call.is_counted());
    // Some models read earlier reasoning and others do not: who learns from it learns nonsense.
    let reasoning =
        with(&format!(r#",{{"role":"assistant","content":"Yes","reasoning_content":"{long}"}}"#), "");
    assert!(reasoning.size.text_bytes < 600 && !reasoning.is_counted());
}

#[test]
fn of_two_caps_the_larger_counts() {
    for (caps, counts) in [
        (r#""max_tokens":500,"max_completion_tokens":7"#, 500),
        (r#""max_completion_tokens":500,"max_tokens":7"#, 500),
        (r#""max_tokens":7"#, 7),
    ] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{caps}}}"#);
        assert_eq!(ChatRequest::parse(body.into()).unwrap().output_cap, Some(counts));
    }
}
