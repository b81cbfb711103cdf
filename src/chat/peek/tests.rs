use proptest::prelude::*;

use super::*;
use crate::wire::skim::Skim;
use crate::wire::skim::mutation::change;

fn look(json: &str) -> Result<MessagesPeek, Invalid> {
    let found = messages(Some(json));
    let seen_on_the_way = Skim::whole(json, skimmed::messages).is_some();
    assert_eq!(seen_on_the_way, found.is_ok(), "{json}");
    found
}

#[test]
fn counts_text_and_finds_what_is_needed() {
    let found = look(
        r#"[{"role":"user","content":[{"type":"text","text":"a\nb"},
            {"type":"image_url","image_url":{"url":"https://x/y.png","detail":"low"}}]},
           {"role":"assistant","content":"four"}]"#,
    )
    .unwrap();
    assert_eq!(found.text_bytes, 7);
    assert!(found.image_url && !found.image_data && found.ends_with_assistant);
    assert_eq!(found.images, [Image { pixels: None, low_detail: true }]);
}

#[test]
fn says_which_member_is_at_fault() {
    let cases = [
        ("[]", "messages"),
        ("{}", "messages"),
        ("[3]", "messages[0]"),
        ("[{}]", "messages[0].role"),
        (r#"[{"role":"robot","content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":7,"content":"x"}]"#, "messages[0].role"),
        (r#"[{"role":"user"}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":null}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":5}]"#, "messages[0].content"),
        (r#"[{"role":"user","content":[{"type":"text"}]}]"#, "messages[0].content"),
        (r#"[{"role":"assistant"}]"#, "messages[0].content"),
        (r#"[{"role":"assistant","tool_calls":[{"id":1}]}]"#, "messages[0].tool_calls"),
        (r#"[{"role":"tool","content":"x"}]"#, "messages[0].tool_call_id"),
        (r#"[{"role":"tool","tool_call_id":"a","content":"x"}]"#, "messages[0].tool_call_id"),
    ];
    for (json, param) in cases {
        assert_eq!(look(json).unwrap_err().param.as_deref(), Some(param), "{json}");
    }
}

/// Messages of every form that is known.
const SENT: [&str; 5] = [
    r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"h\u00e9 \"x\"\n\ud83d\ude00","name":"a"}]"#,
    r#"[{"role":"user","content":[{"type":"text","text":"see\t","cache_control":{"type":"ephemeral"}},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},{"type":"image_url","image_url":{"url":"https://x/y.png"}},{"type":"file","file":{"file_id":"f"}},{"type":"input_audio","input_audio":{"data":"","format":"wav"}}]}]"#,
    r#"[{"role":"user","content":"x"},{"role":"assistant","content":null,"reasoning_content":"so","reasoning_details":[{"text":"so"}],"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},"extra_content":{"g":1}}]},{"role":"tool","tool_call_id":"call_1","content":"4"}]"#,
    r#"[{"role":"developer","content":"x"},{"role":"assistant","refusal":"no","cache_control":null},{"role":"assistant","function_call":{"name":"f"},"content":""},{"role":"function","name":"f","content":"1"}]"#,
    r#"[ { "role" : "assistant" , "content" : [ ] , "audio" : { "id" : "a" } , "tool_calls" : [{"id":"c","custom":{"name":"n","input":"i"}}] } ]"#,
];

#[test]
fn the_usual_forms_need_no_second_look() {
    for sent in SENT {
        let found = Skim::whole(sent, skimmed::messages).unwrap();
        assert_eq!(found, messages(Some(sent)).unwrap(), "{sent}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever can be seen on the way is what the second look would see.
    #[test]
    fn both_looks_see_the_same(
        sent in prop::sample::select(SENT.to_vec()),
        changes in prop::collection::vec(change(&PIECES), 0..3),
    ) {
        let json = changes.iter().fold(sent.to_owned(), |json, change| change.apply(&json));
        if let Some(mut found) = Skim::whole(&json, skimmed::messages) {
            let second = messages(Some(&json)).unwrap();
            // The text alone tells them less exactly.
            found.marks = second.marks;
            prop_assert_eq!(found, second, "{}", json);
        }
    }
}

/// What a change may put in besides.
const PIECES: [&str; 7] = [
    "\"role\":null,",
    "\"role\":\"tool\",",
    "\"tool_calls\":[],",
    "\"type\":\"text\",",
    "\"name\":1,",
    "\"text\":null,",
    "{\"role\":\"user\",\"content\":\"\"},",
];

#[test]
fn what_is_spelt_with_escapes_is_marked_too() {
    for json in [
        r#"[{"role":"devel\u006fper","content":"x"}]"#,
        r#"[{"role":"user","content":[{"type":"text","text":"x","cache\u005fcontrol":{"type":"ephemeral"}}]}]"#,
    ] {
        let marks = messages(Some(json)).unwrap().marks;
        assert!(marks.developer && marks.cache_control, "{json}");
    }
}
