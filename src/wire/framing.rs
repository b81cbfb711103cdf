//! The framings of streamed answers behind one face.

use bytes::Bytes;
use thiserror::Error;

use super::{Frame, event_stream, sse, surrogate};

/// How the messages of a streamed answer are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// AWS's binary event stream.
    EventStream,
}

impl Framing {
    /// The media type of a streamed answer.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    /// A reader of one streamed body, with the usual bound on one message.
    pub fn decoder(self) -> Decoder {
        match self {
            Self::Sse => Decoder::Sse(sse::Decoder::new(sse::DEFAULT_MAX_EVENT)),
            Self::EventStream => {
                Decoder::EventStream(event_stream::Decoder::new(event_stream::DEFAULT_MAX_MESSAGE))
            }
        }
    }
}

/// Turns the chunks of one response body into frames. After each [`push`](Self::push), call
/// [`next`](Self::next) until it gives `None`; at the end of the body [`finish`](Self::finish) likewise.
#[derive(Debug)]
pub enum Decoder {
    Sse(sse::Decoder),
    EventStream(event_stream::Decoder),
}

/// Why a stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Broken {
    #[error(transparent)]
    Sse(#[from] sse::TooLarge),
    #[error(transparent)]
    EventStream(#[from] event_stream::Corrupt),
}

impl Decoder {
    /// Takes the next piece of the body, cut anywhere.
    pub fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Sse(decoder) => decoder.push(chunk),
            Self::EventStream(decoder) => decoder.push(&chunk),
        }
    }

    /// The next frame that is complete, or `None` if more must be pushed first.
    pub fn next(&mut self) -> Result<Option<Frame>, Broken> {
        match self {
            Self::Sse(decoder) => Ok(decoder.next()?.map(mended)),
            Self::EventStream(decoder) => Ok(decoder.next()?),
        }
    }

    /// As [`next`](Self::next) when the body has ended. Half a binary message is no message; what is left of
    /// server-sent events counts as complete.
    pub fn finish(&mut self) -> Result<Option<Frame>, Broken> {
        match self {
            Self::Sse(decoder) => Ok(decoder.finish()?.map(mended)),
            Self::EventStream(decoder) => Ok(decoder.next()?),
        }
    }
}

/// What servers break in JSON, made whole.
fn mended(frame: Frame) -> Frame {
    Frame { data: surrogate::mended(frame.data), ..frame }
}
