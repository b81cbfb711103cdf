//! Log probabilities in OpenAI's form.

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogprobsResult {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<Alternatives>,
}

#[derive(Deserialize)]
struct Alternatives {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(default)]
    token: String,
    /// A number, or a word where it is none.
    log_probability: Option<Value>,
}

/// What OpenAI writes for a token that has no chance at all.
const IMPOSSIBLE: f64 = -9999.0;

/// The `logprobs` of a choice, or of one piece of it. What cannot be read is left out.
pub fn of(result: &Value) -> Option<Value> {
    let result = LogprobsResult::deserialize(result).ok()?;
    let mut alternatives = result.top_candidates.iter();
    let entry = |token: &Token| {
        let top = alternatives.next().map_or(&[][..], |alternatives| &alternatives.candidates);
        let mut entry = token.to_json();
        entry["top_logprobs"] = top.iter().map(Token::to_json).collect();
        entry
    };
    let content: Vec<Value> = result.chosen_candidates.iter().map(entry).collect();
    (!content.is_empty()).then(|| json!({ "content": content, "refusal": null }))
}

impl Token {
    fn to_json(&self) -> Value {
        let logprob = match &self.log_probability {
            Some(Value::Number(number)) => json!(number),
            // A zero is not written.
            None | Some(Value::Null) => json!(0.0),
            Some(_) => json!(IMPOSSIBLE),
        };
        json!({ "token": self.token, "logprob": logprob, "bytes": self.token.as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_bytes_and_its_rivals() {
        let result = json!({
            "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.25}, {"token": "e", "logProbability": "-Infinity"}]}, {}],
            "chosenCandidates": [{"token": "é", "tokenId": 7, "logProbability": -0.25}, {"token": "!"}],
        });
        let expected = json!({
            "content": [
                {"token": "é", "logprob": -0.25, "bytes": [195, 169], "top_logprobs": [
                    {"token": "é", "logprob": -0.25, "bytes": [195, 169]},
                    {"token": "e", "logprob": -9999.0, "bytes": [101]},
                ]},
                {"token": "!", "logprob": 0.0, "bytes": [33], "top_logprobs": []},
            ],
            "refusal": null,
        });
        assert_eq!(of(&result), Some(expected));
        for nothing in [json!({}), json!(null), json!({"chosenCandidates": 7})] {
            assert_eq!(of(&nothing), None, "{nothing}");
        }
    }
}
