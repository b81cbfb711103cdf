//! Bodies: what is sent, in pieces, and what is read, whichever client reads it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_http::decompression::{Decompression, DecompressionBody};

use super::line::Line;
use super::pool::Pool;

/// The body of an answer: a stream of its bytes as they come.
pub enum Body {
    Direct(Leased),
    /// Compressed though nobody asked for it.
    Packed(Pin<Box<DecompressionBody<Leased>>>),
    General(reqwest::Body),
}

/// The connection broke before the body's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke")]
pub struct Lost;

/// A body with the connection that it comes on, which goes back when the body has ended.
pub struct Leased {
    incoming: Incoming,
    line: Option<Box<Line>>,
    pool: Arc<Pool>,
}

/// A request body in pieces, of known length, sent without joining them.
pub struct Pieces(VecDeque<Bytes>);

impl Body {
    /// How many bytes are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Direct(body) => body.size_hint().exact(),
            Self::Packed(_) => None,
            Self::General(body) => body.size_hint().exact(),
        }
    }

    /// The same answer with its body as it was before somebody compressed it.
    pub async fn unpacked(response: http::Response<Leased>) -> Result<http::Response<Self>, Lost> {
        let mut response = Some(response);
        let answer = tower::service_fn(move |_: http::Request<Pieces>| {
            std::future::ready(response.take().ok_or(Lost))
        });
        let unpacked = Decompression::new(answer).oneshot(http::Request::new(Pieces(VecDeque::new())));
        unpacked.await.map(|response| response.map(|body| Self::Packed(Box::pin(body))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        match self {
            Self::Direct(body) => Pin::new(body).poll_frame(cx).map_err(|_| Lost),
            Self::Packed(body) => body.as_mut().poll_frame(cx).map_err(|_| Lost),
            Self::General(body) => Pin::new(body).poll_frame(cx).map_err(|_| Lost),
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers say nothing that is needed.
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Err(lost)) => return Poll::Ready(Some(Err(lost))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Leased {
    /// `pool`: where the connection goes back.
    pub fn new(incoming: Incoming, line: Box<Line>, pool: Arc<Pool>) -> Self {
        let mut body = Self { incoming, line: Some(line), pool };
        body.return_at_end();
        body
    }

    fn return_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(line) = self.line.take()
        {
            self.pool.put(line);
        }
    }
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, line, .. } = &mut *self;
        let polled = match line {
            Some(line) => line.poll_body(cx, |cx| Pin::new(incoming).poll_frame(cx)),
            None => Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop())),
        };
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.return_at_end(),
            Poll::Ready(None) => {
                if let Some(line) = self.line.take() {
                    self.pool.put(line);
                }
            }
            Poll::Ready(Some(Err(_))) => self.line = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces.into())
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
