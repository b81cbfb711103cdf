//! The API's token counts in OpenAI's accounting.

use serde::Deserialize;
use serde_json::Value;

use crate::chat::Usage;
use crate::units::Tokens;
use crate::wire::openai::Number;

/// Reads a `usage` object. `tokens` counts all that the model read, the API's own instructions too; `billed_units`
/// leaves those out and stands in only where there are no others.
pub fn read(usage: &Value) -> Option<Usage> {
    let counts = [usage.get("tokens"), usage.get("billed_units")].into_iter().flatten();
    let counts =
        counts.into_iter().find(|counts| counts.as_object().is_some_and(|counts| !counts.is_empty()))?;
    let prompt = tokens(&counts["input_tokens"]);
    let completion = tokens(&counts["output_tokens"]);
    Some(Usage {
        prompt,
        completion,
        cached: tokens(&usage["cached_tokens"]).min(prompt),
        reasoning: tokens(&counts["reasoning_tokens"]).min(completion),
        ..Usage::default()
    })
}

/// A count, however it is spelt.
fn tokens(count: &Value) -> Tokens {
    Tokens::new(Number::deserialize(count).unwrap_or_default().count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_model_read_counts_not_what_is_billed() {
        let counted = read(&json!({
            "billed_units": {"input_tokens": 26, "output_tokens": 147},
            "tokens": {"input_tokens": 1431, "output_tokens": 152, "reasoning_tokens": 145},
            "cached_tokens": 1392,
        }));
        let expected = Usage {
            prompt: Tokens::new(1431),
            completion: Tokens::new(152),
            cached: Tokens::new(1392),
            reasoning: Tokens::new(145),
            ..Usage::default()
        };
        assert_eq!(counted, Some(expected));
        let billed = read(&json!({"billed_units": {"input_tokens": 5.0, "output_tokens": "2"}})).unwrap();
        assert_eq!((billed.prompt.get(), billed.completion.get()), (5, 2));
        assert_eq!(read(&json!({})), None);
    }
}
