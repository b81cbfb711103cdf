//! Bytes of the protocols: how messages are framed on a connection, before anyone reads what they say, and what is
//! spelt alike in several of them.

use bytes::Bytes;

pub mod event_stream;
pub mod few;
pub mod framing;
pub mod openai;
pub mod skim;
pub mod sse;
pub mod surrogate;
pub mod timestamp;

/// One message of a stream, out of its framing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The kind of message, where the framing names one, never empty: an SSE `event` field, an event stream's
    /// `:event-type`, `:exception-type` or `:error-code`.
    pub event: Option<Bytes>,
    /// What it says: the values of the SSE `data` fields, joined with LF; an event stream's payload.
    pub data: Bytes,
    /// The framing itself says that this is no event but a failure. SSE never does.
    pub is_exception: bool,
}
