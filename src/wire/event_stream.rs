//! AWS's `application/vnd.amazon.eventstream` as it arrives: chunks of bytes in, frames out.
//!
//! A message is its length and the length of its headers (both four bytes, big-endian), a CRC-32 of these eight
//! bytes, the headers, the payload, and a CRC-32 of everything before. Both sums are checked, and lengths before
//! they are believed: nothing is reserved for a message that only says that it is large. Each byte is copied and
//! summed once.
//!
//! The framing has no way to find the next message after a broken one, so a decoder that has failed stays so.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::json;
use thiserror::Error;

use super::Frame;

/// The usual bound on one message.
pub const DEFAULT_MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Both lengths and their sum.
const PRELUDE: usize = 12;
/// The sum at the end.
const CHECKSUM: usize = 4;

/// Why a stream is not one of these messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Corrupt {
    #[error("a message of the stream is larger than {max} bytes")]
    TooLarge { max: usize },
    #[error("the checksum of a message does not match")]
    Checksum,
    #[error("the lengths of a message contradict each other")]
    Lengths,
    #[error("the headers of a message cannot be read")]
    Headers,
}

/// Turns the chunks of one response body into frames.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    /// What has been received and not yet read.
    buffer: BytesMut,
    /// The lengths of the message that the buffer begins with, once they are in and hold.
    lengths: Option<Lengths>,
    failed: Option<Corrupt>,
}

#[derive(Debug, Clone, Copy)]
struct Lengths {
    message: usize,
    headers: usize,
}

impl Decoder {
    /// A decoder that fails on messages of more than `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Self { max_message, buffer: BytesMut::new(), lengths: None, failed: None }
    }

    /// Takes the next piece of the body, cut anywhere.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next message that is complete, or `None` if more must be pushed first.
    pub fn next(&mut self) -> Result<Option<Frame>, Corrupt> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.read().inspect_err(|corrupt| {
            self.failed = Some(*corrupt);
            self.buffer = BytesMut::new();
        })
    }

    fn read(&mut self) -> Result<Option<Frame>, Corrupt> {
        let lengths = match self.lengths {
            Some(lengths) => lengths,
            None if self.buffer.len() < PRELUDE => return Ok(None),
            None => *self.lengths.insert(self.prelude()?),
        };
        if self.buffer.len() < lengths.message {
            return Ok(None);
        }
        self.lengths = None;
        let mut message = self.buffer.split_to(lengths.message).freeze();
        let checksum = message.split_off(lengths.message - CHECKSUM).get_u32();
        if crc32fast::hash(&message) != checksum {
            return Err(Corrupt::Checksum);
        }
        let payload = message.split_off(PRELUDE + lengths.headers);
        let headers = Headers::read(message.split_off(PRELUDE)).ok_or(Corrupt::Headers)?;
        Ok(Some(headers.frame(payload)))
    }

    fn prelude(&self) -> Result<Lengths, Corrupt> {
        let mut prelude = &self.buffer[..PRELUDE];
        let sum = crc32fast::hash(&prelude[..PRELUDE - CHECKSUM]);
        let (message, headers, checksum) = (prelude.get_u32(), prelude.get_u32(), prelude.get_u32());
        if checksum != sum {
            return Err(Corrupt::Checksum);
        }
        let (message, headers) = (message as usize, headers as usize);
        if message > self.max_message {
            return Err(Corrupt::TooLarge { max: self.max_message });
        }
        match message.checked_sub(PRELUDE + CHECKSUM) {
            Some(rest) if headers <= rest => Ok(Lengths { message, headers }),
            _ => Err(Corrupt::Lengths),
        }
    }
}

/// The headers that say what a message is.
#[derive(Debug, Default)]
struct Headers {
    message_type: Option<Bytes>,
    event_type: Option<Bytes>,
    exception_type: Option<Bytes>,
    error_code: Option<Bytes>,
    error_message: Option<Bytes>,
}

impl Headers {
    /// Each header is the length of its name (one byte), the name, its type (one byte) and a value of that type.
    fn read(mut bytes: Bytes) -> Option<Self> {
        let mut headers = Self::default();
        while bytes.has_remaining() {
            let length = bytes.try_get_u8().ok()?.into();
            let name = take(&mut bytes, length)?;
            let kind = bytes.try_get_u8().ok()?;
            let length = match kind {
                // True and false say it all.
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                // A number or a time.
                5 | 8 => 8,
                6 | 7 => bytes.try_get_u16().ok()?.into(),
                // A UUID.
                9 => 16,
                _ => return None,
            };
            let value = take(&mut bytes, length)?;
            let place = match name.as_ref() {
                b":message-type" => &mut headers.message_type,
                b":event-type" => &mut headers.event_type,
                b":exception-type" => &mut headers.exception_type,
                b":error-code" => &mut headers.error_code,
                b":error-message" => &mut headers.error_message,
                _ => continue,
            };
            *place = Some(value).filter(|value| kind == 7 && !value.is_empty());
        }
        Some(headers)
    }

    fn frame(self, payload: Bytes) -> Frame {
        match self.message_type.as_deref() {
            Some(b"exception") => Frame { event: self.exception_type, data: payload, is_exception: true },
            // An error that the service did not foresee has its words in the headers.
            Some(b"error") => {
                let words = self.error_message.unwrap_or_default();
                let data = json!({ "message": String::from_utf8_lossy(&words) }).to_string();
                Frame { event: self.error_code, data: data.into(), is_exception: true }
            }
            _ => Frame { event: self.event_type, data: payload, is_exception: false },
        }
    }
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    /// The start and the stop of a recorded ConverseStream answer.
    const RECORDED: &str = "\
        AAAAhAAAAFKkIfnjCzpldmVudC10eXBlBwAMbWVzc2FnZVN0YXJ0DTpjb250ZW50LXR5cGUHABBhcHBsaWNhdGlvbi9qc29u\
        DTptZXNzYWdlLXR5cGUHAAVldmVudHsicCI6ImFiY2RlZmciLCJyb2xlIjoiYXNzaXN0YW50In3i0eE2AAAAnwAAAFEqGA7K\
        CzpldmVudC10eXBlBwALbWVzc2FnZVN0b3ANOmNvbnRlbnQtdHlwZQcAEGFwcGxpY2F0aW9uL2pzb24NOm1lc3NhZ2UtdHlw\
        ZQcABWV2ZW50eyJwIjoiYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXpBQkNEIiwic3RvcFJlYXNvbiI6ImVuZF90dXJuIn2r\
        NcIb";

    const MAX: usize = 4096;

    fn header(name: &str, value: &str) -> Vec<u8> {
        let mut header = vec![u8::try_from(name.len()).unwrap()];
        header.extend_from_slice(name.as_bytes());
        header.push(7);
        header.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        header.extend_from_slice(value.as_bytes());
        header
    }

    fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
        let mut message = Vec::new();
        message.extend_from_slice(&length(PRELUDE + headers.len() + payload.len() + CHECKSUM));
        message.extend_from_slice(&length(headers.len()));
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message.extend_from_slice(headers);
        message.extend_from_slice(payload);
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message
    }

    fn event(name: &str, payload: &str) -> Vec<u8> {
        let headers = [header(":event-type", name), header(":message-type", "event")].concat();
        message(&headers, payload.as_bytes())
    }

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<Corrupt>) {
        let mut decoder = Decoder::new(MAX);
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(corrupt) => {
                        assert_eq!(decoder.next(), Err(corrupt), "it stays failed");
                        return (frames, Some(corrupt));
                    }
                }
            }
        }
        (frames, None)
    }

    fn frame(event: &'static str, data: &'static str, is_exception: bool) -> Frame {
        Frame { event: Some(event.into()), data: data.into(), is_exception }
    }

    #[test]
    fn a_recorded_stream_is_read() {
        let bytes = STANDARD.decode(RECORDED).unwrap();
        let (frames, corrupt) = decode([bytes.as_slice()]);
        assert_eq!(corrupt, None);
        let read = frames.iter().map(|frame| frame.event.as_deref().unwrap()).collect::<Vec<_>>();
        assert_eq!(read, [b"messageStart".as_slice(), b"messageStop"]);
        assert!(frames.iter().all(|frame| frame.data.starts_with(b"{") && !frame.is_exception));
    }

    #[test]
    fn exceptions_and_errors_are_told_from_events() {
        let exception =
            [header(":exception-type", "throttlingException"), header(":message-type", "exception")];
        let error = [
            header(":error-code", "InternalError"),
            header(":message-type", "error"),
            header(":error-message", "An \"internal\" error"),
        ];
        let flag = [5, b'n', b'o', b't', b'e', b's', 0].to_vec();
        let number = [&[1, b'n', 4][..], &[0; 4]].concat();
        let nameless = message(&[flag, number].concat(), b"x");
        let bytes = [
            event("chunk", "{}"),
            message(&exception.concat(), b"{\"message\":\"slow\"}"),
            message(&error.concat(), b""),
            nameless,
        ]
        .concat();
        let expected = [
            frame("chunk", "{}", false),
            frame("throttlingException", "{\"message\":\"slow\"}", true),
            frame("InternalError", r#"{"message":"An \"internal\" error"}"#, true),
            Frame { data: "x".into(), ..Frame::default() },
        ];
        assert_eq!(decode([bytes.as_slice()]), (expected.to_vec(), None));
    }

    #[test]
    fn what_is_broken_says_how() {
        let good = event("chunk", "{}");
        let mut payload = good.clone();
        let at = payload.len() - CHECKSUM - 1;
        payload[at] ^= 1;
        let mut prelude = good.clone();
        prelude[3] ^= 1;
        let long = message(&[], &[0; MAX]);
        let mut lengths = Vec::from([0, 0, 0, 16, 0, 0, 0, 1]);
        lengths.extend(crc32fast::hash(&lengths).to_be_bytes());
        let cases = [
            (payload, Corrupt::Checksum),
            (prelude, Corrupt::Checksum),
            (long[..PRELUDE].to_vec(), Corrupt::TooLarge { max: MAX }),
            (lengths, Corrupt::Lengths),
            (message(&[200, 1], b""), Corrupt::Headers),
            (message(&[1, b'a', 10], b""), Corrupt::Headers),
            (message(&[1, b'a', 7, 255], b""), Corrupt::Headers),
        ];
        for (bytes, corrupt) in cases {
            let bytes = [good.clone(), bytes, good.clone()].concat();
            assert_eq!(decode([bytes.as_slice()]), (vec![frame("chunk", "{}", false)], Some(corrupt)));
        }
    }

    proptest! {
        #[test]
        fn the_frames_do_not_depend_on_the_split(
            events in prop::collection::vec(("[a-z]{1,9}", "[ -~]{0,40}"), 0..6),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            length in 1_usize..40,
        ) {
            let mut bytes = events.iter().flat_map(|(name, payload)| event(name, payload)).collect::<Vec<_>>();
            for (at, with) in flips {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= with;
                }
            }
            prop_assert_eq!(decode([bytes.as_slice()]), decode(bytes.chunks(length)));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 1_usize..20) {
            prop_assert_eq!(decode([bytes.as_slice()]), decode(bytes.chunks(length)));
        }

        #[test]
        fn any_headers_are_survived(headers in prop::collection::vec(any::<u8>(), 0..60)) {
            let bytes = message(&headers, b"{}");
            prop_assert!(matches!(decode([bytes.as_slice()]), (_, None | Some(Corrupt::Headers))));
        }
    }
}
