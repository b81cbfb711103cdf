//! AWS's binary event stream, read without its checksums: the recordings keep them, and the gateway checks them.

use serde_json::Value;

/// One message of a stream.
pub struct Message {
    /// Its headers that are strings, by name.
    headers: Vec<(String, String)>,
    pub payload: Value,
}

impl Message {
    /// A header's value; empty without it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// The messages of a stream.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while bytes.len() >= 16 {
        let (total, length) = (number(&bytes[0..4]), number(&bytes[4..8]));
        let (message, rest) = bytes.split_at(total);
        let payload = serde_json::from_slice(&message[12 + length..total - 4]).unwrap_or_default();
        messages.push(Message { headers: headers(&message[12..12 + length]), payload });
        bytes = rest;
    }
    messages
}

/// Only strings (type 7) occur.
fn headers(mut bytes: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut headers = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at(usize::from(*length));
        assert_eq!(rest[0], 7, "a header that is no string");
        let (value, rest) = rest[3..].split_at(number(&rest[1..3]));
        headers.push((text(name), text(value)));
        bytes = rest;
    }
    headers
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
