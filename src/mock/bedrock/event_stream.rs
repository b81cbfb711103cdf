//! Amazon's binary event stream: each message is a prelude, headers, a payload and two checksums.

use bytes::{BufMut, Bytes, BytesMut};

/// Total length, length of the headers, and the checksum of both.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The type of a header whose value is text.
const TEXT: u8 = 7;

/// A message with these headers.
pub fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut head = BytesMut::new();
    for (name, value) in headers {
        head.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        head.put_slice(name.as_bytes());
        head.put_u8(TEXT);
        head.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        head.put_slice(value.as_bytes());
    }
    let total = PRELUDE + head.len() + payload.len() + CHECKSUM;
    let mut message = BytesMut::with_capacity(total);
    message.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    message.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
    message.put_u32(crc32(&message));
    message.put_slice(&head);
    message.put_slice(payload);
    message.put_u32(crc32(&message));
    message.freeze()
}

/// An event of this type with a JSON payload.
pub fn event(kind: &str, payload: &[u8]) -> Bytes {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload)
}

/// An exception, after which the stream ends.
pub fn exception(kind: &str, payload: &[u8]) -> Bytes {
    let headers =
        [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    message(&headers, payload)
}

/// The checksum of Ethernet and gzip.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 },
        )
    });
    !sum
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    /// The first message of a recorded stream (`RubyLLM`'s cassettes, MIT), byte for byte.
    #[test]
    fn a_message_is_what_amazon_sends() {
        let recorded = include_str!("recorded-message-start.base64").trim();
        let payload = br#"{"p":"abcdefghijkl","role":"assistant"}"#;
        assert_eq!(STANDARD.encode(event("messageStart", payload)), recorded);
    }
}
