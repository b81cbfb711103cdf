//! An answer on its way.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, Stream, StreamExt};

use super::event::Event;
use crate::reason::Failure;

/// What is known of an answer before its events.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// Request fields that the target could not take, as the client names them.
    pub dropped: Vec<Cow<'static, str>>,
    /// The upstream's own id of the call.
    pub upstream_request_id: Option<String>,
    /// The upstream's HTTP status.
    pub status: u16,
}

/// The events of an answer as they come.
pub type Events = BoxStream<'static, Result<Event, Failure>>;

/// The events of one answer. After an `Err` or the end nothing follows. Dropping it cancels the upstream call.
pub struct ChatStream {
    pub served: Served,
    events: Events,
}

impl ChatStream {
    /// A stream of these events.
    pub fn new(served: Served, events: Events) -> Self {
        Self { served, events }
    }

    /// The same with `held` put in front of what is still to come.
    #[must_use]
    pub fn with_held(self, held: VecDeque<Event>) -> Self {
        self.map_events(|rest| stream::iter(held.into_iter().map(Ok)).chain(rest).boxed())
    }

    /// The same with its events seen or changed by `wrap`.
    #[must_use]
    pub fn map_events(self, wrap: impl FnOnce(Events) -> Events) -> Self {
        Self { served: self.served, events: wrap(self.events) }
    }
}

impl Stream for ChatStream {
    type Item = Result<Event, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatStream").field("served", &self.served).finish_non_exhaustive()
    }
}
