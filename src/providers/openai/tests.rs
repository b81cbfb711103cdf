use super::*;
use serde_json::Value;

use crate::chat::request::Marks;
use crate::chat::target::{Able, Quirks, Thinking};
use crate::reason::Class;

fn facts(quirks: Quirks) -> TargetFacts {
    TargetFacts {
        model: "gpt-x".into(),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks,
    }
}

fn encoded(body: &str, facts: &TargetFacts) -> (String, Vec<&'static str>) {
    let request = ChatRequest::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let encoded = OpenAi { telemetry: "openai" }.encode(&request, facts).unwrap();
    (String::from_utf8(encoded.body.concat()).unwrap(), encoded.dropped)
}

#[test]
fn all_but_the_model_keeps_its_bytes() {
    let body =
        r#"{"x":1.10,"model":"chain" ,"messages":[{"role":"user","content":"\u00e9"}],"temperature":0.1e1}"#;
    let (sent, dropped) = encoded(body, &facts(Quirks::OPENAI));
    assert_eq!(sent, body.replace("chain", "gpt-x"));
    assert!(dropped.is_empty());
}

#[test]
fn own_fields_stay_here() {
    let body = r#"{"models":["a"],"model":"c","task_type":"code","metadata":{"piton_user":"u","team":"t"},"messages":[{"role":"user","content":"x"}],"fallbacks":[]}"#;
    let (sent, _) = encoded(body, &facts(Quirks::OPENAI));
    assert_eq!(
        sent,
        r#"{"model":"gpt-x","metadata":{"team":"t"},"messages":[{"role":"user","content":"x"}]}"#
    );
}

#[test]
fn a_stream_is_asked_for_its_usage() {
    let body = r#"{"model":"c","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let (sent, _) = encoded(body, &facts(Quirks::OPENAI));
    assert!(sent.ends_with(r#","stream_options":{"include_usage":true}}"#), "{sent}");
    let mistral = super::super::compatible::Kind::find("mistral").unwrap().quirks;
    let (sent, dropped) = encoded(
        r#"{"model":"c","stream":true,"user":"u","seed":3,"max_completion_tokens":5,"messages":[{"role":"user","content":"x"}]}"#,
        &facts(mistral),
    );
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["random_seed"], 3);
    assert_eq!(sent["max_tokens"], 5);
    assert!(sent.get("stream_options").is_none() && sent.get("user").is_none());
    assert_eq!(dropped, ["user"]);
}

#[test]
fn a_model_without_free_sampling_is_spared_it() {
    let facts = TargetFacts { sampling: false, thinking: Thinking::Never, ..facts(Quirks::OPENAI) };
    let (sent, dropped) = encoded(
        r#"{"model":"c","temperature":0.2,"top_p":1,"reasoning_effort":"low","messages":[{"role":"user","content":"x"}]}"#,
        &facts,
    );
    assert_eq!(sent, r#"{"model":"gpt-x","top_p":1,"messages":[{"role":"user","content":"x"}]}"#);
    assert_eq!(dropped, ["temperature", "reasoning_effort"]);
}

#[test]
fn an_answer_that_is_none_is_told_from_a_cut_one() {
    let class = |body: &'static str| {
        let facts = facts(Quirks::OPENAI);
        let decoded =
            OpenAi { telemetry: "openai" }.decode(Bytes::from(body), &facts, &ReplyContext::default());
        decoded.map_err(|failure| failure.class).unwrap_err()
    };
    assert_eq!(class(r#"{"choices":[{"message":{"cont"#), Class::Truncated);
    assert_eq!(class("<html>"), Class::Malformed);
    assert_eq!(class(r#"{"object":"list"}"#), Class::Malformed);
    assert_eq!(class(r#"{"error":{"message":"x","code":429}}"#), Class::RateLimited);
    assert_eq!(class(r#"{"error":{"message":"x","code":"content_filter"}}"#), Class::ContentFilter);
}

#[test]
fn images_cost_their_tiles() {
    assert_eq!(tiles((1024, 1024)), 4);
    assert_eq!(tiles((4096, 8192)), 6);
    assert_eq!(tiles((100, 100)), 1);
}

/// A message that has no mark is not even looked at: there must be nothing in it to change.
#[test]
fn marks_miss_nothing_that_a_vendor_takes_otherwise() {
    let message = |json: &str| {
        format!(
            r#"{{"model":"c","messages":[{{"role":"user","content":"\"reasoning\" \"developer\" \"tool\""}},{json}]}}"#
        )
    };
    let call = |more: &str| {
        message(&format!(
            r#"{{"role":"assistant","content":"","tool_calls":[{{"id":"call_123","type":"function","function":{{"name":"f","arguments":"{{}}"}}{more}}}]}},{{"role":"tool","tool_call_id":"call_123","content":"x"}}"#
        ))
    };
    let bodies = [
        message(r#"{"role":"user","content":"x"}"#),
        message(r#"{"role":"user","content":"x","cache_control":{}}"#),
        message(r#"{"role":"user","content":[{"type":"text","text":"x","cache_control":{}}]}"#),
        message(r#"{"role":"developer","content":"x"}"#),
        message(r#"{"role":"assistant","refusal":"no"}"#),
        message(r#"{"role":"assistant","content":"x","reasoning":"so"}"#),
        message(r#"{"role":"assistant","content":"x","reasoning_content":"so"}"#),
        message(r#"{"role":"assistant","content":"x","reasoning_details":[{"format":"mistral-content"}]}"#),
        call(""),
        call(r#","extra_content":{"a":1}"#),
        call(r#","cache_control":{"a":1}"#),
        message(r#"{"role":"user","content":"x","cache\u005fcontrol":{},"re\u0061soning":"so"}"#),
    ];
    for body in bodies {
        let request = ChatRequest::parse(body.clone().into()).unwrap();
        let mut marked = ChatRequest::parse(body.clone().into()).unwrap();
        marked.marks = Marks {
            reasoning: true,
            extra_content: true,
            cache_control: true,
            developer: true,
            refusal: true,
            tools: true,
        };
        for kind in crate::providers::compatible::KINDS {
            let facts = facts(kind.quirks);
            let encode = |request| {
                let encoded = OpenAi { telemetry: "openai" }.encode(request, &facts).unwrap();
                (encoded.body.concat(), encoded.dropped)
            };
            assert_eq!(encode(&request), encode(&marked), "{}: {body}", kind.name);
        }
    }
}

#[test]
fn a_budget_for_thinking_comes_on_top_of_the_cap() {
    let alibaba = super::super::compatible::Kind::find("dashscope").unwrap().quirks;
    let most = |more: &str, quirks: Quirks| {
        let body = format!(r#"{{"model":"c","messages":[{{"role":"user","content":"x"}}]{more}}}"#);
        let request = ChatRequest::parse(body.into_bytes().into()).unwrap();
        OpenAi { telemetry: "openai" }.most_output(&request, &facts(quirks))
    };
    let both = r#","max_tokens":100,"reasoning_effort":"low""#;
    assert_eq!(most(both, alibaba), Some(4196));
    assert_eq!(most(both, Quirks::OPENAI), Some(100));
    assert_eq!(most(r#","max_tokens":100,"thinking_budget":7"#, alibaba), Some(107));
    assert_eq!(most(r#","reasoning_effort":"low""#, alibaba), None);
}
