//! Thought signatures: opaque, of one turn and one part of it. In OpenAI's format they travel with the client: that of a
//! tool call in its `extra_content` (as Google's own OpenAI endpoint does), every other in `reasoning_details` (as
//! OpenRouter does).
//!
//! An entry of `reasoning_details` says where its part stood, so that it goes back there: `range` are the bytes of the
//! message's `content` that the part held, `calls` how many tool calls came before it. Parts that have no place in OpenAI's
//! format (server-side tools and code, whose results a Gemini 3 wants back) travel whole, as `part`. Without a range,
//! as OpenRouter writes them, a signature is that of the last text. `index` tells the entries of a stream apart.

use serde_json::{Map, Value, json};

use crate::chat::conversation::ToolCall;

/// Google documents this word for a call that another model made. It goes out as it is.
pub const SKIP: &str = "skip_thought_signature_validator";
/// What OpenRouter calls the format.
const FORMAT: &str = "google-gemini-v1";
/// The type of an entry that carries a whole part.
const PART: &str = "google.part";

/// Where a part stood in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The bytes of the content that it held.
    pub start: usize,
    pub end: usize,
    /// How many tool calls came before it.
    pub calls: usize,
}

/// What came back for one part of a turn.
#[derive(Debug, PartialEq)]
pub struct Mark<'a> {
    pub place: Option<Place>,
    pub kind: Kind<'a>,
}

#[derive(Debug, PartialEq)]
pub enum Kind<'a> {
    /// The signature of a text.
    Text(&'a str),
    /// A thought with a signature of its own.
    Thought { text: &'a str, signature: &'a str },
    /// A part as Gemini wrote it.
    Part(&'a Map<String, Value>),
}

impl Mark<'_> {
    /// The entry of `reasoning_details`.
    pub fn detail(&self, index: usize) -> Value {
        let mut detail = match self.kind {
            Kind::Text(signature) => json!({ "type": "reasoning.encrypted", "data": signature }),
            Kind::Thought { text, signature } => {
                json!({ "type": "reasoning.text", "text": text, "signature": signature })
            }
            Kind::Part(part) => json!({ "type": PART, "part": part }),
        };
        detail["format"] = json!(FORMAT);
        detail["index"] = json!(index);
        if let Some(Place { start, end, calls }) = self.place {
            detail["range"] = json!([start, end]);
            if calls > 0 {
                detail["calls"] = json!(calls);
            }
        }
        detail
    }
}

/// The `extra_content` of a tool call.
pub fn on_call(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// The signature that came back with a call.
pub fn of_call<'a>(call: &'a ToolCall, details: &'a [Value]) -> Option<&'a str> {
    let carried = call.extra_content.as_ref().and_then(|extra| extra.pointer("/google/thought_signature"));
    let carried = carried.and_then(Value::as_str).filter(|signature| is_sendable(signature));
    let named = || {
        let detail = details.iter().rfind(|detail| id(detail) == Some(&call.id) && is_ours(detail))?;
        text(detail, "data").filter(|data| is_sendable(data))
    };
    carried.or_else(named)
}

/// What came back for the other parts of a turn, in their order.
pub fn marks(details: &[Value]) -> Vec<Mark<'_>> {
    details.iter().filter(|detail| id(detail).is_none() && is_ours(detail)).filter_map(mark).collect()
}

fn mark(detail: &Value) -> Option<Mark<'_>> {
    let signature = |name| text(detail, name).filter(|data| is_sendable(data));
    let kind = match text(detail, "type")? {
        "reasoning.encrypted" => Kind::Text(signature("data")?),
        "reasoning.text" => Kind::Thought { text: text(detail, "text")?, signature: signature("signature")? },
        PART => Kind::Part(detail.get("part")?.as_object()?),
        _ => return None,
    };
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let at = |place: usize| detail.get("range").and_then(|range| number(range.get(place)?));
    let calls = detail.get("calls").and_then(number).unwrap_or_default();
    let place = at(0).zip(at(1)).map(|(start, end)| Place { start, end, calls });
    Some(Mark { place, kind })
}

fn text<'a>(detail: &'a Value, name: &str) -> Option<&'a str> {
    detail.get(name).and_then(Value::as_str)
}

fn id(detail: &Value) -> Option<&str> {
    text(detail, "id")
}

/// Another provider's details are of no use here.
fn is_ours(detail: &Value) -> bool {
    text(detail, "format") == Some(FORMAT)
}

/// Whether it is base64, in either alphabet, padded or not: anything else is refused as no bytes.
fn is_sendable(signature: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    let digits = signature.trim_end_matches('=');
    // One digit more than whole bytes need holds no byte.
    !digits.is_empty() && digits.len() % 4 != 1 && digits.chars().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(extra: &Value) -> ToolCall {
        let body = json!({"id": "c1", "function": {"name": "f"}, "extra_content": extra});
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_goes_out_comes_back() {
        assert_eq!(of_call(&call(&on_call("c2ln")), &[]), Some("c2ln"));
        let part = json!({"toolCall": {"id": "t"}, "thoughtSignature": "c2ln"});
        let marks_sent = [
            Mark {
                place: Some(Place { start: 0, end: 3, calls: 0 }),
                kind: Kind::Thought { text: "hm", signature: "b25l" },
            },
            Mark {
                place: Some(Place { start: 3, end: 3, calls: 0 }),
                kind: Kind::Part(part.as_object().unwrap()),
            },
            Mark { place: Some(Place { start: 3, end: 9, calls: 2 }), kind: Kind::Text("dHdv") },
            Mark { place: None, kind: Kind::Text("dHdv") },
        ];
        let details: Vec<Value> = (0..).zip(&marks_sent).map(|(index, mark)| mark.detail(index)).collect();
        assert_eq!(marks(&details), marks_sent);
        let expected = json!({"type": "reasoning.encrypted", "data": "dHdv", "format": "google-gemini-v1", "index": 2, "range": [3, 9], "calls": 2});
        assert_eq!(details[2], expected);
    }

    #[test]
    fn openrouters_detail_of_a_call_is_known() {
        let mut detail = Mark { place: None, kind: Kind::Text("c2ln") }.detail(0);
        detail["id"] = json!("c1");
        assert_eq!(of_call(&call(&Value::Null), std::slice::from_ref(&detail)), Some("c2ln"));
        assert_eq!(marks(&[detail]), []);
    }

    #[test]
    fn what_is_not_geminis_is_left_alone() {
        let other = json!({"type": "reasoning.encrypted", "data": "c2ln", "format": "anthropic-claude-v1"});
        let odd = json!({"type": "reasoning.encrypted", "data": "no base64!", "format": "google-gemini-v1"});
        let new = json!({"type": "reasoning.summary", "summary": "x", "format": "google-gemini-v1"});
        assert_eq!(marks(&[other, odd, new, json!("x"), json!({"type": "reasoning.text"})]), []);
        for no_base64 in ["no base64!", "s", "c2lnb", "====", "c2=ln"] {
            assert_eq!(of_call(&call(&on_call(no_base64)), &[]), None, "{no_base64}");
        }
        assert_eq!(of_call(&call(&json!("x")), &[]), None);
    }
}
