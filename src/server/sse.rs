//! A stream on its way to the client, at the client's pace: nothing is read from the upstream before there is room
//! for it here.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use super::answer::broken_error;
use super::encode::{Encoder, fail, heartbeat};
use super::ticket::Ticket;
use crate::chat::ChatStream;
use crate::reason::Failure;

/// Load balancers cut connections that are silent for long.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that are ready at once travel together, up to this many bytes.
const BATCH: usize = 16 * 1024;
/// A buffer that has held more than this is not kept for the next events.
const KEPT: usize = 1024;

/// The body of a streamed answer.
pub struct SseBody {
    // Before the ticket: an attempt is written down before its request.
    stream: Option<ChatStream>,
    encoder: Encoder,
    ticket: Ticket,
    /// Where events are written: free again once the client's connection has taken them.
    out: BytesMut,
    heartbeat: Pin<Box<Sleep>>,
    last_sent: Instant,
}

impl SseBody {
    /// A body that encodes `stream` and settles `ticket` at its end.
    pub fn new(stream: ChatStream, encoder: Encoder, ticket: Ticket) -> Self {
        let heartbeat = Box::pin(sleep(HEARTBEAT));
        let out = BytesMut::new();
        Self { stream: Some(stream), encoder, ticket, out, heartbeat, last_sent: Instant::now() }
    }

    /// The stream has ended well.
    fn finish(&mut self) {
        self.stream = None;
        let receipt = self.ticket.settle("ok", StatusCode::OK.as_u16());
        self.encoder.finish(receipt.as_ref(), self.ticket.usage(), &mut self.out);
    }

    /// The stream broke: the client is told so, and gets no end that looks like a good one.
    fn fail(&mut self, failure: &Failure) {
        self.stream = None;
        self.ticket.settle(failure.class.code(), StatusCode::OK.as_u16());
        fail(&broken_error(failure).body(), &mut self.out);
    }

    /// What has been written.
    fn take(&mut self) -> Bytes {
        let written = self.out.split().freeze();
        if written.len() > KEPT {
            self.out = BytesMut::new();
        }
        written
    }

    /// Whether a comment is due. The timer is set anew only when it has run out.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            std::task::ready!(self.heartbeat.as_mut().poll(cx));
            let due = self.last_sent + HEARTBEAT;
            let is_due = due <= Instant::now();
            let next = if is_due { Instant::now() + HEARTBEAT } else { due };
            self.heartbeat.as_mut().reset(next);
            if is_due {
                return Poll::Ready(());
            }
        }
    }
}

impl http_body::Body for SseBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        while this.out.len() < BATCH {
            let Some(stream) = &mut this.stream else { break };
            match Pin::new(stream).poll_next(cx) {
                Poll::Ready(Some(Ok(event))) => this.encoder.event(event, &mut this.out),
                Poll::Ready(Some(Err(failure))) => this.fail(&failure),
                Poll::Ready(None) => this.finish(),
                Poll::Pending => break,
            }
        }
        if !this.out.is_empty() {
            this.last_sent = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(this.take()))));
        }
        if this.stream.is_none() {
            return Poll::Ready(None);
        }
        std::task::ready!(this.poll_heartbeat(cx));
        this.last_sent = Instant::now();
        Poll::Ready(Some(Ok(Frame::data(heartbeat()))))
    }
}
