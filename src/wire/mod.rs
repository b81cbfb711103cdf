//! Bytes of the protocols: how messages are framed on a connection, before anyone reads what they say.

use bytes::Bytes;

pub mod openai;
pub mod sse;

/// One message of a stream, out of its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The kind of message, where the framing names one: an SSE `event` field, never empty.
    pub event: Option<Bytes>,
    /// What it says: the values of the SSE `data` fields, joined with LF.
    pub data: Bytes,
}
