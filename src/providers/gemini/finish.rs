//! Why an answer ended, in Gemini's many words.

use serde_json::Value;

use super::host::Host;
use crate::chat::FinishReason;

/// What a finish reason means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In OpenAI's words, but for tool calls, of which the reason says nothing.
    Well(FinishReason),
    /// The safety system or a rule like it cut the answer off.
    Filtered,
    /// The model wrote a tool call that is none: what it said before is no answer.
    BrokenCall,
    /// It went wrong, or nobody says how; what was said stands.
    Unclear,
}

/// The reasons, by their numbers in the protocol: some servers send those.
const REASONS: [&str; 18] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
];
/// Vertex's own numbers.
const REASONS_OF_VERTEX: [&str; 11] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "MODEL_ARMOR",
];
/// The reasons for which a prompt is blocked, likewise.
const BLOCK_REASONS: [&str; 6] =
    ["BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"];
const BLOCK_REASONS_OF_VERTEX: [&str; 6] =
    ["BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "MODEL_ARMOR"];

/// The finish reason as a word; `None` while the answer goes on.
pub fn reason(value: &Value, host: Host) -> Option<String> {
    match host {
        Host::Direct => word(value, &REASONS),
        Host::Vertex => word(value, &REASONS_OF_VERTEX),
    }
}

/// The block reason as a word.
pub fn block_reason(value: &Value, host: Host) -> Option<String> {
    match host {
        Host::Direct => word(value, &BLOCK_REASONS),
        Host::Vertex => word(value, &BLOCK_REASONS_OF_VERTEX),
    }
}

/// A word, or the word of a number; the first of `words` says nothing.
fn word(value: &Value, words: &[&str]) -> Option<String> {
    let word = match value {
        Value::String(word) => word.clone(),
        Value::Number(number) => {
            let known = number.as_u64().and_then(|at| words.get(usize::try_from(at).ok()?));
            known.map_or_else(|| number.to_string(), |word| (*word).to_owned())
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!word.is_empty() && words.first() != Some(&word.as_str())).then_some(word)
}

/// What the reason means.
pub fn ending(reason: &str) -> Ending {
    match reason {
        "STOP" => Ending::Well(FinishReason::Stop),
        "MAX_TOKENS" => Ending::Well(FinishReason::Length),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Ending::Filtered,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Ending::BrokenCall,
        // `OTHER`, `NO_IMAGE`, and what the future brings.
        _ => Ending::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_and_numbers_mean_the_same() {
        for (number, reason_word) in REASONS.iter().enumerate().skip(1) {
            assert_eq!(reason(&json!(number), Host::Direct), reason(&json!(reason_word), Host::Direct));
        }
        assert_eq!(reason(&json!(8), Host::Vertex).as_deref(), Some("SPII"));
        assert_eq!(reason(&json!("MODEL_ARMOR"), Host::Direct).as_deref(), Some("MODEL_ARMOR"));
        assert_eq!(block_reason(&json!(5), Host::Vertex).as_deref(), Some("MODEL_ARMOR"));
        for nothing in [json!(0), json!("FINISH_REASON_UNSPECIFIED"), json!(""), json!(null), json!({})] {
            assert_eq!(reason(&nothing, Host::Direct), None, "{nothing}");
        }
        assert_eq!(reason(&json!(99), Host::Vertex).as_deref(), Some("99"));
        assert_eq!(block_reason(&json!(4), Host::Direct).as_deref(), Some("PROHIBITED_CONTENT"));
    }

    #[test]
    fn every_reason_of_the_protocol_has_its_meaning() {
        use Ending::{BrokenCall, Filtered, Unclear, Well};
        let endings: Vec<Ending> = REASONS[1..].iter().map(|reason| ending(reason)).collect();
        let expected = [
            Well(FinishReason::Stop),
            Well(FinishReason::Length),
            Filtered,
            Filtered,
            Unclear,
            Filtered,
            Filtered,
            Filtered,
            Filtered,
            BrokenCall,
            Filtered,
            BrokenCall,
            BrokenCall,
            Filtered,
            Unclear,
            Unclear,
            Filtered,
        ];
        assert_eq!(endings, expected);
        assert_eq!(ending("QUANTUM_DECOHERENCE"), Unclear);
    }
}
