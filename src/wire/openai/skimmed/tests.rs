use proptest::prelude::*;

use super::*;
use crate::wire::skim::mutation::change;

/// What OpenAI and its compatible servers send.
const SENT: [&str; 7] = [
    r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4o","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    r#"{"id":"c","object":"chat.completion.chunk","created":17,"model":"m","choices":[{"index":0,"delta":{"content":" h\u00e9 \"q\" \ud83d\ude00\n"},"finish_reason":"stop"},{"index":1,"delta":{}}],"obfuscation":"x"}"#,
    r#"{"id":"c","object":"chat.completion","created":17,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello there","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":26,"total_tokens":45,"prompt_tokens_details":{"cached_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0}},"service_tier":"default"}"#,
    r#"{"choices":[{"index":0.0,"delta":{"reasoning":"so","reasoning_details":[{"type":"reasoning.text","text":"so"}],"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]}}],"usage":{"prompt_tokens":3.0,"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":1e-3},"completion_tokens":"4","prompt_tokens_details":null}}"#,
    r#"{"id":"","choices":[],"x_groq":{"id":"r","usage":{"prompt_tokens":3,"num_cached_tokens":1}},"usage":[]}"#,
    r#"{"error":{"message":"no"},"choices":null,"usage":{"prompt_tokens":[],"reasoning_tokens":5,"total_tokens":9}}"#,
    r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"}],"function_call":{"name":"f","arguments":""},"audio":{"id":"a"},"reasoning_content":"r"},"error":{"code":5},"finish_reason":""}]}"#,
];

#[test]
fn the_usual_forms_need_no_serde() {
    for sent in SENT {
        assert!(completion(sent).is_some(), "{sent}");
    }
}

/// What a change may put in besides.
const PIECES: [&str; 9] = [
    "-1",
    "1.5",
    "7",
    "\"id\":null,",
    "\"index\":1,",
    "\"usage\":{},",
    "\"total_tokens\":\"9\",",
    "[1e999]",
    "{\"a\":1e999}",
];

fn without_spelling(mut choice: Choice<'_>) -> Choice<'_> {
    choice.delta.iter_mut().chain(choice.message.as_deref_mut()).for_each(|piece| piece.spelling = None);
    choice
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// It may leave something to serde, but never reads it otherwise.
    #[test]
    fn reads_what_serde_reads(
        sent in prop::sample::select(SENT.to_vec()),
        changes in prop::collection::vec(change(&PIECES), 0..3),
    ) {
        let json = changes.iter().fold(sent.to_owned(), |json, change| change.apply(&json));
        if let Some(mut skimmed) = completion(&json) {
            // Only this walk sees where the text stands.
            let Completion { choices, .. } = &mut skimmed;
            *choices = choices.take().map(|choices| choices.into_iter().map(without_spelling).collect());
            let read = serde_json::from_str::<Completion<'_>>(&json);
            prop_assert_eq!(Some(format!("{skimmed:?}")), read.ok().map(|read| format!("{read:?}")), "{}", json);
        }
    }
}
