//! Normal forms: two requests that a provider would take for the same are equal in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod gemini;

/// Tool-call ids by the order in which they first occur: which call a result belongs to matters, not its name.
#[derive(Default)]
pub struct Ids(BTreeMap<String, usize>);

impl Ids {
    pub fn of(&mut self, id: &Value) -> Value {
        let next = self.0.len();
        let number = *self.0.entry(id.as_str().unwrap_or_default().to_owned()).or_insert(next);
        json!(format!("call {number}"))
    }
}

/// Keywords of JSON Schema that Claude's structured output does not take: they may stand in the description instead.
const ADVICE: [&str; 11] = [
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// A schema without what Claude's structured output cannot be held to, and without what it must have.
pub fn reduced(schema: &Value) -> Value {
    match schema {
        Value::Array(list) => list.iter().map(reduced).collect(),
        Value::Object(members) => {
            let mut members = members.clone();
            members.retain(|name, value| {
                !(ADVICE.contains(&name.as_str()) || (name == "additionalProperties" && *value == false))
            });
            if let Some(text) = members.get("description").and_then(Value::as_str) {
                let advice = ADVICE.iter().filter_map(|word| text.find(&format!("({word}: "))).min();
                let text = advice.map_or(text, |at| text[..at].trim_end()).to_owned();
                members.insert("description".to_owned(), text.into());
            }
            members.retain(|name, value| !(name == "description" && *value == ""));
            members.iter().map(|(name, value)| (name.clone(), reduced(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// What an image's first bytes say that it is: the APIs go by them, whatever the request says.
pub fn sniffed(data: &Value) -> Option<&'static str> {
    const KINDS: [(&str, &str); 4] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
    ];
    let data = data.as_str()?;
    KINDS.into_iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, kind)| kind)
}
