//! Normal forms: two requests that a provider would take for the same are equal in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

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
