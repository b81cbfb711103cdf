//! The entries of `reasoning_details` that a client sends back: opaque reasoning on its way home.
//!
//! Each entry names the format of its provider. A signature holds there only, so a dialect takes its own formats
//! and leaves the rest.

use serde_json::Value;

/// One block of reasoning that its provider can check.
#[derive(Debug, PartialEq, Eq)]
pub enum Signed<'a> {
    Text { format: &'a str, text: String, signature: &'a str },
    Encrypted { format: &'a str, data: &'a str },
}

/// The blocks of the formats that are taken, in their order. An entry that came in pieces is put together again;
/// text without a signature is left out.
pub fn signed(details: &[Value], is_taken: impl Fn(&str) -> bool) -> Vec<Signed<'_>> {
    let mut blocks = Vec::new();
    // The index and the text of an entry that goes on until its signature comes.
    let mut open: Option<(Option<u64>, String)> = None;
    for entry in details {
        let Some(format) = member(entry, "format").filter(|format| is_taken(format)) else { continue };
        match member(entry, "type") {
            Some("reasoning.text") => {
                let index = entry.get("index").and_then(Value::as_u64);
                let before = open.take().filter(|(other, _)| *other == index);
                let mut text = before.map(|(_, text)| text).unwrap_or_default();
                text.push_str(member(entry, "text").unwrap_or_default());
                match member(entry, "signature").filter(|signature| !signature.is_empty()) {
                    Some(signature) => blocks.push(Signed::Text { format, text, signature }),
                    None => open = Some((index, text)),
                }
            }
            Some("reasoning.encrypted") => {
                blocks.extend(member(entry, "data").map(|data| Signed::Encrypted { format, data }));
            }
            _ => {}
        }
    }
    blocks
}

fn member<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_are_joined_and_strangers_left_out() {
        let details = [
            json!({"type": "reasoning.text", "format": "a", "index": 0, "text": "one "}),
            json!({"type": "reasoning.text", "format": "b", "index": 0, "text": "foreign", "signature": "f"}),
            json!({"type": "reasoning.text", "format": "a", "index": 0, "text": "two", "signature": "s"}),
            json!({"type": "reasoning.encrypted", "format": "a", "index": 1, "data": "d"}),
            json!({"type": "reasoning.text", "format": "a", "index": 2, "text": "unsigned"}),
            json!({"type": "reasoning.summary", "format": "a", "summary": "x"}),
            json!(7),
        ];
        let expected = [
            Signed::Text { format: "a", text: "one two".to_owned(), signature: "s" },
            Signed::Encrypted { format: "a", data: "d" },
        ];
        assert_eq!(signed(&details, |format| format == "a"), expected);
    }
}
