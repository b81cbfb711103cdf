//! Thought signatures: opaque, of one turn and one part of it. In OpenAI's format they travel with the client, on the
//! tool call (`extra_content`, as Google's own OpenAI endpoint does) or in `reasoning_details` (as OpenRouter does).

use serde_json::{Value, json};

use crate::chat::conversation::ToolCall;

/// Base64 of `skip_thought_signature_validator`, which Google documents for a call that another model made.
pub const SKIP: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";
/// What OpenRouter calls the format.
const FORMAT: &str = "google-gemini-v1";

/// The `extra_content` of a tool call.
pub fn on_call(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// The entry of `reasoning_details` for the signature of a text.
pub fn on_text(signature: &str) -> Value {
    json!({ "type": "reasoning.encrypted", "data": signature, "format": FORMAT })
}

/// The signature that came back with a call.
pub fn of_call<'a>(call: &'a ToolCall, details: &'a [Value]) -> Option<&'a str> {
    let carried = call.extra_content.as_ref().and_then(|extra| extra.pointer("/google/thought_signature"));
    let carried = carried.and_then(Value::as_str).filter(|signature| is_sendable(signature));
    let named = || details.iter().rfind(|detail| id(detail) == Some(&call.id)).and_then(encrypted);
    carried.or_else(named)
}

/// The signature that came back with the text of a turn. The last one is that of the last text part.
pub fn of_text(details: &[Value]) -> Option<&str> {
    details.iter().filter(|detail| id(detail).is_none()).filter_map(encrypted).next_back()
}

fn id(detail: &Value) -> Option<&str> {
    detail.get("id").and_then(Value::as_str)
}

/// What a detail of this format holds; another provider's is of no use here.
fn encrypted(detail: &Value) -> Option<&str> {
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    let is_ours = text("type") == Some("reasoning.encrypted") && text("format") == Some(FORMAT);
    text("data").filter(|data| is_ours && is_sendable(data))
}

/// Whether it is base64, in either alphabet: anything else is refused as no bytes.
fn is_sendable(signature: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=');
    !signature.is_empty() && signature.chars().all(is_base64)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn call(extra: &Value) -> ToolCall {
        let body = json!({"id": "c1", "function": {"name": "f"}, "extra_content": extra});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_goes_out_comes_back() {
        assert_eq!(of_call(&call(&on_call("c2ln")), &[]), Some("c2ln"));
        assert_eq!(of_text(&[on_text("b25l"), on_text("dHdv")]), Some("dHdv"));
    }

    #[test]
    fn openrouters_detail_of_a_call_is_known() {
        let mut detail = on_text("c2ln");
        detail["id"] = json!("c1");
        assert_eq!(of_call(&call(&Value::Null), std::slice::from_ref(&detail)), Some("c2ln"));
        assert_eq!(of_text(&[detail]), None);
    }

    #[test]
    fn what_is_not_geminis_is_left_alone() {
        let other = json!({"type": "reasoning.encrypted", "data": "c2ln", "format": "anthropic-claude-v1"});
        assert_eq!(of_text(&[other, json!("x"), json!({"type": "reasoning.text"})]), None);
        assert_eq!(of_call(&call(&on_call("no base64!")), &[]), None);
        assert_eq!(of_call(&call(&json!("x")), &[]), None);
    }

    #[test]
    fn the_documented_word_is_sent_as_bytes() {
        assert_eq!(STANDARD.decode(SKIP).unwrap(), b"skip_thought_signature_validator");
    }
}
