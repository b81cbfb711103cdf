//! AWS's binary event stream, read without its checksums: the recordings keep them, and the gateway checks them.

use serde_json::Value;

/// The payloads of a stream, as JSON.
pub fn payloads(mut bytes: &[u8]) -> Vec<Value> {
    let mut payloads = Vec::new();
    while bytes.len() >= 16 {
        let (total, headers) = (number(&bytes[0..4]), number(&bytes[4..8]));
        let (message, rest) = bytes.split_at(total);
        payloads.push(serde_json::from_slice(&message[12 + headers..total - 4]).unwrap_or_default());
        bytes = rest;
    }
    payloads
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
