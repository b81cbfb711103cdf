//! Answers as they are read.

use super::*;
use crate::chat::FinishReason;
use crate::chat::response::AnswerMessage;
use crate::reason::Class;

fn recorded(case: &str) -> ChatResponse {
    try_decode(&fixture(&format!("responses/{case}.json")), &ReplyContext::default()).unwrap()
}

fn only(response: ChatResponse) -> (AnswerMessage, FinishReason) {
    let [choice] = <[_; 1]>::try_from(response.choices).unwrap();
    (choice.message, choice.finish_reason)
}

fn failure(body: &[u8]) -> Failure {
    try_decode(body, &ReplyContext::default()).unwrap_err()
}

#[test]
fn text_has_its_identity_and_counts() {
    let response = recorded("text-with-thoughts-counted");
    assert!(response.start.id.is_some() && response.start.created.is_none());
    assert!(response.start.model.as_deref().is_some_and(|model| model.starts_with("gemini-")));
    let usage = response.usage.unwrap();
    assert!(usage.reasoning.get() > 0 && usage.completion > usage.reasoning);
    let (message, finish) = only(response);
    assert_eq!(finish, FinishReason::Stop);
    assert!(message.content.is_some() && message.tool_calls.is_empty());
}

#[test]
fn calls_finish_as_calls_and_carry_their_signatures() {
    let (message, finish) = only(recorded("tool-calls-parallel-signed"));
    assert_eq!(finish, FinishReason::ToolCalls);
    let [first, second] = message.tool_calls.as_slice() else { panic!("{message:?}") };
    assert_eq!((first.name.as_str(), first.arguments.as_str()), ("add", r#"{"b":3,"a":2}"#));
    assert!(first.extra.as_ref().unwrap()["google"]["thought_signature"].is_string());
    assert_eq!(second.name, "multiply");
    assert_eq!(second.extra, None);
    assert!(first.id.len() == 8 && first.id != second.id, "Gemini 3 gives ids of its own");
}

#[test]
fn calls_without_ids_get_stable_ones() {
    let (message, _) = only(recorded("tool-calls-parallel-without-ids"));
    let ids: Vec<&str> = message.tool_calls.iter().map(|call| call.id.as_str()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| id.starts_with("call_") && id.len() == 29), "{ids:?}");
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(only(recorded("tool-calls-parallel-without-ids")).0, message);
    let twice = json!([{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "args": null}}]);
    let mut other = answer(&twice, "STOP");
    let (here, _) = only(decoded(&other));
    other["responseId"] = json!("r2");
    let (there, _) = only(decoded(&other));
    other.as_object_mut().unwrap().remove("responseId");
    let (nowhere, _) = only(decoded(&other));
    let mut ids: Vec<String> = [here, there, nowhere]
        .into_iter()
        .flat_map(|message| message.tool_calls)
        .map(|call| call.id)
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn no_arguments_are_an_empty_object_and_numbers_keep_their_digits() {
    let (message, _) = only(recorded("tool-call-without-arguments"));
    assert_eq!(message.tool_calls[0].arguments, "{}");
    let body = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{
        "id": 12345678901234567890, "x": 1.0, "t": "a \" {b}\\", "n": [ 1e2 ] }}}]},"finishReason":"STOP"}]}"#;
    let (message, _) = only(try_decode(body.as_bytes(), &ReplyContext::default()).unwrap());
    let expected = r#"{"id":12345678901234567890,"x":1.0,"t":"a \" {b}\\","n":[1e2]}"#;
    assert_eq!(message.tool_calls[0].arguments, expected);
}

#[test]
fn renamed_tools_get_the_clients_names_back() {
    let renamed_tools = [("_2fa".to_owned(), "2fa".to_owned())].into();
    let context = ReplyContext { renamed_tools, ..ReplyContext::default() };
    let body =
        answer(&json!([{"functionCall": {"name": "_2fa"}}, {"functionCall": {"name": "other"}}]), "STOP");
    let (message, _) = only(try_decode(body.to_string().as_bytes(), &context).unwrap());
    let names: Vec<&str> = message.tool_calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["2fa", "other"]);
}

#[test]
fn thoughts_are_reasoning_and_signatures_come_along() {
    let (message, finish) = only(recorded("thoughts-and-signed-text"));
    assert_eq!(finish, FinishReason::Stop);
    assert!(message.content.is_some());
    let [detail] = message.reasoning_details.as_slice() else { panic!("{:?}", message.reasoning_details) };
    assert_eq!(
        (&detail["type"], &detail["format"]),
        (&json!("reasoning.encrypted"), &json!("google-gemini-v1"))
    );
    let (message, finish) = only(recorded("thoughts-and-tool-call"));
    assert_eq!(finish, FinishReason::ToolCalls);
    assert!(message.reasoning_content.is_some() && message.content.is_none());
}

#[test]
fn parts_are_joined_without_anything_between() {
    let parts = json!([{"text": "a"}, {"text": "hm", "thought": true}, {"text": "b"}, {"executableCode": {"code": "1"}}, {"text": ""}]);
    let (message, _) = only(decoded(&answer(&parts, "STOP")));
    assert_eq!(message.content.as_deref(), Some("ab"));
    assert_eq!(message.reasoning_content.as_deref(), Some("hm"));
}

#[test]
fn a_cap_that_thoughts_used_up_is_a_length() {
    let response = recorded("max-tokens-without-text");
    assert_eq!(response.usage.unwrap().completion.get(), 2);
    let (message, finish) = only(response);
    let empty = AnswerMessage { content: Some(String::new()), ..AnswerMessage::default() };
    assert_eq!((message, finish), (empty, FinishReason::Length));
}

#[test]
fn an_unexpected_call_that_is_whole_is_handed_over() {
    let (message, finish) = only(recorded("tool-call-unexpected"));
    assert_eq!(finish, FinishReason::ToolCalls);
    assert_eq!(message.tool_calls[0].name, "list_files");
}

#[test]
fn numbers_are_read_as_enums() {
    let response = recorded("enums-as-numbers");
    let usage = response.usage.unwrap();
    assert!(usage.completion.get() > 0);
    assert_eq!(only(response).1, FinishReason::Stop);
}

#[test]
fn sources_are_annotations_in_characters() {
    for case in ["grounded", "grounded-multibyte", "grounded-with-server-tool"] {
        let (message, _) = only(recorded(case));
        let text: Vec<char> = message.content.unwrap().chars().collect();
        assert!(!message.annotations.is_empty(), "{case}");
        for annotation in &message.annotations {
            let citation = &annotation["url_citation"];
            let at = |name: &str| usize::try_from(citation[name].as_u64().unwrap()).unwrap();
            assert!(
                at("start_index") < at("end_index") && at("end_index") <= text.len(),
                "{case} {annotation}"
            );
            assert!(citation["url"].as_str().unwrap().starts_with("https://"));
        }
    }
    let (message, _) = only(recorded("grounded-multibyte"));
    let citation = &message.annotations.last().unwrap()["url_citation"];
    let cited: String = message
        .content
        .unwrap()
        .chars()
        .skip(usize::try_from(citation["start_index"].as_u64().unwrap()).unwrap())
        .take(9)
        .collect();
    assert_eq!(cited, "date/ruby");
}

#[test]
fn an_image_is_left_out_and_its_text_kept() {
    let (message, finish) = only(recorded("image-and-text"));
    assert!(message.content.unwrap().starts_with("Once, in a hidden cenote"));
    assert_eq!(finish, FinishReason::Stop);
}

#[test]
fn audio_and_cached_tokens_are_part_of_the_prompt() {
    let usage = recorded("audio-input").usage.unwrap();
    assert!(usage.audio_input.get() > 0 && usage.audio_input < usage.prompt);
    let usage = recorded("cached").usage.unwrap();
    assert!(usage.cached.get() > 0 && usage.cached < usage.prompt);
}

#[test]
fn what_safety_stops_before_the_first_word_is_a_failure_and_after_it_a_finish() {
    let blocked = failure(&fixture("failed/blocked-prompt.json"));
    assert_eq!((blocked.class, blocked.code.as_deref()), (Class::ContentFilter, Some("content_filter")));
    for reason in ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII", "BLOCKLIST"] {
        assert_eq!(failure(answer(&json!([]), reason).to_string().as_bytes()).class, Class::ContentFilter);
        let (message, finish) = only(decoded(&answer(&json!([{"text": "It be"}]), reason)));
        assert_eq!((message.content.as_deref(), finish), (Some("It be"), FinishReason::ContentFilter));
    }
}

#[test]
fn a_broken_call_is_a_failure_that_another_try_may_mend() {
    for (parts, reason, class) in [
        (json!([]), "MALFORMED_FUNCTION_CALL", Some(Class::ServerError)),
        (json!([{"text": "Let me look."}]), "MALFORMED_FUNCTION_CALL", Some(Class::ServerError)),
        (json!([{"functionCall": {"name": "f"}}]), "TOO_MANY_TOOL_CALLS", None),
        (json!([{"text": "a"}]), "OTHER", None),
        (json!([{"text": "a"}]), "SOMETHING_NEW", None),
    ] {
        let read = try_decode(answer(&parts, reason).to_string().as_bytes(), &ReplyContext::default());
        assert_eq!(read.err().map(|failure| failure.class), class, "{reason} {parts}");
    }
    let other = failure(&fixture("failed/finish-other.json"));
    assert_eq!((other.class, other.code.as_deref()), (Class::ServerError, Some("OTHER")));
}

#[test]
fn several_candidates_are_several_choices_and_one_may_fail() {
    let body = json!({"candidates": [
        {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"},
        {"content": {}, "finishReason": "SAFETY", "index": 1},
    ]});
    let response = decoded(&body);
    let finishes: Vec<_> =
        response.choices.iter().map(|choice| (choice.index, choice.finish_reason)).collect();
    assert_eq!(finishes, [(0, FinishReason::Stop), (1, FinishReason::ContentFilter)]);
}

#[test]
fn no_answer_at_all_is_an_empty_one() {
    for body in [json!({"usageMetadata": {"promptTokenCount": 3}}), json!({"candidates": []})] {
        let (message, finish) = only(decoded(&body));
        assert_eq!((message, finish), (AnswerMessage::default(), FinishReason::Stop));
    }
}

#[test]
fn what_is_no_answer_has_its_class() {
    let cases: [(&[u8], Class); 11] = [
        (b"", Class::Truncated),
        (b"{\"candidates\":[{\"content\"", Class::Truncated),
        (b"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}", Class::Truncated),
        (b"<html>", Class::Malformed),
        (b"{}", Class::Malformed),
        (b"null", Class::Malformed),
        (b"[1]", Class::Malformed),
        (b"\xff\xfe", Class::Malformed),
        (b"{\"candidates\":7}", Class::Malformed),
        (b"{\"error\":{\"code\":503,\"message\":\"x\",\"status\":\"UNAVAILABLE\"}}", Class::Overloaded),
        (
            b"[{\"error\":{\"code\":429,\"message\":\"x\",\"status\":\"RESOURCE_EXHAUSTED\"}}]",
            Class::RateLimited,
        ),
    ];
    for (body, class) in cases {
        assert_eq!(failure(body).class, class, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_body_that_is_cut_anywhere_is_truncated() {
    let body = fixture("responses/tool-call-signed.json");
    for end in 0..body.trim_ascii_end().len() {
        assert_eq!(failure(&body[..end]).class, Class::Truncated, "to {end}");
    }
}

#[test]
fn recorded_errors_have_their_classes() {
    let cases = [
        ("400-api-key-invalid", Class::AuthFailed),
        ("400-context-length", Class::ContextLength),
        ("400-location", Class::AuthFailed),
        ("400-url-not-fetched", Class::InvalidRequest),
        ("404-model-not-found", Class::ModelNotFound),
        ("429-per-day", Class::RateLimited),
        ("429-retry-info", Class::RateLimited),
        ("503-overloaded", Class::Overloaded),
    ];
    for (case, class) in cases {
        let status: u16 = case[..3].parse().unwrap();
        let (head, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        let body = fixture(&format!("errors/{case}.json"));
        let failure = Gemini::default().classify(&head, &body, std::time::SystemTime::UNIX_EPOCH);
        assert_eq!((failure.class, failure.status), (class, Some(status)), "{case}");
        let waits = failure.retry_after.is_some();
        assert_eq!(waits, class == Class::RateLimited, "{case}");
    }
}

#[test]
fn the_time_and_the_log_probabilities_come_along() {
    let mut body = answer(&json!([{"text": "2"}]), "STOP");
    body["createTime"] = json!("2026-03-12T18:06:04.325486Z");
    let token = json!({"token": "2", "tokenId": 236_778, "logProbability": -0.006_693_993_7});
    body["candidates"][0]["logprobsResult"] = json!({"chosenCandidates": [token]});
    body["candidates"][0]["citationMetadata"] = json!({"citations": [{"endIndex": 1, "uri": "https://a"}]});
    let response = decoded(&body);
    assert_eq!(response.start.created, Some(1_773_338_764));
    let choice = &response.choices[0];
    let logprobs = choice.logprobs.as_ref().unwrap();
    assert_eq!(logprobs["content"][0]["logprob"], json!(-0.006_693_993_7));
    assert_eq!(choice.message.annotations[0]["url_citation"]["url"], "https://a");
}

#[test]
fn a_blocked_prompt_says_why() {
    let feedback = json!({"promptFeedback": {"blockReason": 5, "blockReasonMessage": "Armor."}});
    let vertex = Gemini { host: Host::Vertex };
    let body = Bytes::from(feedback.to_string());
    let failure = vertex.decode(body, &facts("m"), &ReplyContext::default()).unwrap_err();
    assert_eq!(failure.class, Class::ContentFilter);
    assert!(failure.message.ends_with("MODEL_ARMOR. Armor."), "{}", failure.message);
}
