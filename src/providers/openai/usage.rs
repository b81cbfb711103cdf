//! Token counts: what a vendor's `usage` means, and how it looks in OpenAI's accounting.

use serde_json::{Map, Value, json};

use crate::chat::{TargetFacts, Usage};
use crate::units::Tokens;
use crate::wire::openai::{Completion, Number};

/// Whether the vendor counts this model's reasoning beside the completion.
pub fn reasons_beside(facts: &TargetFacts) -> bool {
    facts.quirks.reasoning_beside.iter().any(|start| facts.model.starts_with(start))
}

/// The token counts in OpenAI's accounting, whatever the vendor's, and whether or not it [`reasons_beside`].
pub fn read(peek: &Completion<'_>, reasons_beside: bool) -> Option<Usage> {
    let wire = peek.usage()?;
    let mut usage = Usage::of(wire);
    let counted = wire.completion_tokens.map_or(0, |number| number.count);
    // Where the sums show it, it has been set right already.
    if reasons_beside && usage.completion == Tokens::new(counted) {
        usage.completion = usage.completion + usage.reasoning;
    }
    Some(usage)
}

/// Whether the vendor's own object says the same.
pub fn is_plain(peek: &Completion<'_>, usage: &Usage) -> bool {
    let Some(wire) = peek.usage().filter(|_| peek.has_usage_in_place()) else { return false };
    let says = |number: Option<Number>, tokens: Tokens| {
        number.is_some_and(|number| number.is_whole && number.count == tokens.get())
    };
    let says_or_none = |number: Option<Number>, tokens: Tokens| {
        says(number, tokens) || tokens == Tokens::ZERO && number.is_none_or(|number| number.count == 0)
    };
    let prompt = wire.prompt_tokens_details.unwrap_or_default();
    let completion = wire.completion_tokens_details.unwrap_or_default();
    says(wire.prompt_tokens, usage.prompt)
        && says(wire.completion_tokens, usage.completion)
        && says(wire.total_tokens, usage.total())
        && says_or_none(prompt.cached_tokens, usage.cached)
        && says_or_none(prompt.cache_write_tokens, usage.cache_write)
        && says_or_none(prompt.audio_tokens, usage.audio_input)
        && says_or_none(completion.reasoning_tokens, usage.reasoning)
        && says_or_none(completion.audio_tokens, usage.audio_output)
}

/// Puts the counts into the answer; what else the vendor counts stays.
pub fn write(answer: &mut Map<String, Value>, usage: &Usage) {
    let beside = answer.get("x_groq").map(|groq| &groq["usage"]);
    let known = answer.get("usage").filter(|usage| usage.is_object()).or(beside);
    let mut object = known.and_then(Value::as_object).cloned().unwrap_or_default();
    object.insert("prompt_tokens".into(), json!(usage.prompt));
    object.insert("completion_tokens".into(), json!(usage.completion));
    object.insert("total_tokens".into(), json!(usage.total()));
    let prompt = [
        ("cached_tokens", usage.cached),
        ("cache_write_tokens", usage.cache_write),
        ("audio_tokens", usage.audio_input),
    ];
    details(&mut object, "prompt_tokens_details", &prompt);
    let completion = [("reasoning_tokens", usage.reasoning), ("audio_tokens", usage.audio_output)];
    details(&mut object, "completion_tokens_details", &completion);
    answer.insert("usage".into(), Value::Object(object));
}

fn details(usage: &mut Map<String, Value>, name: &str, counts: &[(&str, Tokens)]) {
    let known = usage.get(name).and_then(Value::as_object);
    let mut details = known.cloned().unwrap_or_default();
    for (count, tokens) in counts {
        if *tokens > Tokens::ZERO || details.contains_key(*count) {
            details.insert((*count).into(), json!(tokens));
        }
    }
    if !details.is_empty() {
        usage.insert(name.into(), Value::Object(details));
    }
}
