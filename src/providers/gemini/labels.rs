//! `metadata` as Vertex's labels, which its bills can be split by: lower case, and short.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::chat::ChatRequest;
use crate::chat::request::own_metadata;

const MAX_LENGTH: usize = 63;
const MAX_LABELS: usize = 64;

/// The labels of a request, and whether some of its metadata cannot be one. What is Piton's own is neither.
pub fn of(request: &ChatRequest) -> (BTreeMap<String, String>, bool) {
    let metadata: Option<Map<String, Value>> =
        request.member("metadata").and_then(|json| serde_json::from_str(json).ok());
    let mut labels = BTreeMap::new();
    let mut is_cut = false;
    for (name, value) in metadata.unwrap_or_default() {
        if own_metadata(&name).is_some() {
            continue;
        }
        match value.as_str().filter(|value| is_label(&name, value) && labels.len() < MAX_LABELS) {
            Some(value) => drop(labels.insert(name, value.to_owned())),
            None => is_cut = true,
        }
    }
    (labels, is_cut)
}

fn is_label(name: &str, value: &str) -> bool {
    let is_word = |text: &str| {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        text.len() <= MAX_LENGTH && text.bytes().all(is_allowed)
    };
    name.starts_with(|c: char| c.is_ascii_lowercase()) && is_word(name) && is_word(value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_a_label_becomes_one() {
        let labels = |metadata: Value| {
            let messages = json!([{"role": "user", "content": "x"}]);
            let body = json!({"model": "m", "messages": messages, "metadata": metadata});
            of(&ChatRequest::parse(Bytes::from(body.to_string())).unwrap())
        };
        let (found, is_cut) =
            labels(json!({"team": "analytics", "env-1": "", "piton_task": "T", "task_type": "T"}));
        assert_eq!(json!(found), json!({"team": "analytics", "env-1": ""}));
        assert!(!is_cut);
        for (name, value) in [("Team", json!("a")), ("1a", json!("a")), ("a", json!("A b")), ("a", json!(1))]
        {
            let (found, is_cut) = labels(json!({name: value}));
            assert!(found.is_empty() && is_cut, "{name}");
        }
        assert!(labels(Value::Null).0.is_empty());
    }
}
