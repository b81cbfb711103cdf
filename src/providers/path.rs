//! Pieces of URLs.

/// A path segment, or a value of the query: everything but the unreserved characters is encoded, once.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.extend(["%", &format!("{byte:02X}")]),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(segment("anthropic.claude-3~v1:0/é?"), "anthropic.claude-3~v1%3A0%2F%C3%A9%3F");
    }
}
