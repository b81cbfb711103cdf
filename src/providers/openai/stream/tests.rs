use proptest::prelude::*;

use super::*;
use crate::chat::target::{Able, Quirks, Thinking};
use crate::wire::skim::mutation::change;

fn decoder() -> Decoder {
    let facts = TargetFacts {
        model: "m".into(),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks: Quirks::OPENAI,
    };
    Decoder::new(&facts, 1)
}

fn frame(data: &str) -> Frame {
    Frame { data: Bytes::copy_from_slice(data.as_bytes()), ..Frame::default() }
}

/// What a stream's events are, and whether each was known by its like.
fn read(chunks: &[String], remembers: bool) -> (Vec<String>, Vec<bool>) {
    let mut decoder = decoder();
    let (mut events, mut known) = (Vec::new(), Vec::new());
    for chunk in chunks {
        if !remembers {
            decoder.like = None;
        }
        known.push(decoder.like.as_ref().is_some_and(|like| like.text(chunk.as_bytes()).is_some()));
        let mut out = Vec::new();
        let progress = decoder.decode(&frame(chunk), &mut out);
        events.push(format!("{progress:?} {out:?}"));
    }
    let mut out = Vec::new();
    let end = decoder.finish(&mut out);
    events.push(format!("{end:?} {out:?}"));
    (events, known)
}

/// A chunk of OpenAI's with this in the place of its text.
fn chunk(content: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":17,"model":"m","choices":[{{"index":0,"delta":{{"content":{content}}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
    )
}

#[test]
fn chunks_that_differ_in_their_text_alone_are_known() {
    let chunks = [r#""a""#, r#"" bé""#, r#""""#, r#""\n""#, r#""c""#, "null", r#""d""#, r#""e""#].map(chunk);
    let (events, known) = read(&chunks, true);
    assert_eq!(known, [false, true, true, false, false, false, false, true]);
    assert_eq!(events, read(&chunks, false).0);
}

/// Chunks of several kinds, each with this in the place of its text.
fn kind(at: usize, content: &str) -> String {
    match at {
        0 => chunk(content),
        1 => chunk(content).replace(r#""finish_reason":null"#, r#""finish_reason":"stop""#),
        2 => chunk(content).replace(r#""delta":{"#, r#""delta":{"role":"assistant","#),
        3 => chunk(content).replace(r#""delta":{"#, r#""delta":{"reasoning_content":"so","#),
        4 => chunk(content).replace(
            r#""delta":{"#,
            r#""delta":{"tool_calls":[{"index":0,"id":"i","type":"function","function":{"name":"f","arguments":""}}],"#,
        ),
        5 => chunk(content).replace(r#""usage":null"#, r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}"#),
        6 => chunk(content).replace(r#""id":"c""#, r#""id":"""#),
        7 => chunk(content).replace(r#""index":0"#, r#""index":1"#),
        8 => r#"{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1}}"#.to_owned(),
        9 => r#"{"error":{"message":"no"}}"#.to_owned(),
        10 => chunk(content).replace("17", "17.0"),
        11 => "{}".to_owned(),
        _ => chunk(content).replace(r#""content""#, r#""content":[{"type":"thinking","thinking":"x"}],"c""#),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A stream says the same whether chunks are known by their like or each is read anew.
    #[test]
    fn what_is_known_is_what_would_be_read(
        chunks in prop::collection::vec(
            (
                prop_oneof![8 => Just(0_usize), 4 => 1_usize..13],
                prop::sample::select(vec![
                    "\"a\"", "\"é\"", "\"\"", "\"\\n\"", "null", "\"x", "\"\",\"content\":\"\"", "\"\",\"role\":\"r\"", "7", "\"\t\"",
                    "\"a\"},\"delta\":{\"content\":\"b\"", "[]", "\"\\ud83d\"",
                ]),
                prop::option::weighted(0.2, change(&["x"])),
            ),
            0..12,
        ),
    ) {
        let chunks: Vec<String> = chunks
            .into_iter()
            .map(|(at, content, change)| {
                change.iter().fold(kind(at, content), |json, change| change.apply(&json))
            })
            .collect();
        prop_assert_eq!(read(&chunks, true).0, read(&chunks, false).0, "{:#?}", chunks);
    }
}
