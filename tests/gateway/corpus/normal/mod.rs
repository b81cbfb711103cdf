//! Normal forms: two requests that a provider would take for the same are equal in it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub mod anthropic;

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
