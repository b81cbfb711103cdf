//! Pieces of URLs.

/// A path segment, or a value of the query: everything but the unreserved characters is encoded, once.
pub fn segment(text: &str) -> String {
    if text.bytes().all(is_unreserved) {
        return text.to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if is_unreserved(byte) => encoded.push(byte.into()),
            _ => encoded.extend(["%", &format!("{byte:02X}")]),
        }
    }
    encoded
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(segment("claude-3.5_x~"), "claude-3.5_x~");
        assert_eq!(segment("anthropic.claude-3~v1:0/é?"), "anthropic.claude-3~v1%3A0%2F%C3%A9%3F");
    }
}
