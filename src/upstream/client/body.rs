//! Bodies: what is sent, in pieces, and what is read, whichever client reads it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body as _, Frame, SizeHint};
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
    /// `None` once the body has ended, well or not.
    line: Option<Box<Line>>,
    pool: Arc<Pool>,
}

/// A request body in pieces, of known length, sent without joining them.
pub struct Pieces(VecDeque<Bytes>);

impl Body {
    /// How many bytes are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Direct(body) => body.length(),
            Self::Packed(_) => None,
            Self::General(body) => body.size_hint().exact(),
        }
    }

    /// The same answer with its body as it was before somebody compressed it.
    pub async fn unpacked(response: http::Response<Leased>) -> Result<http::Response<Self>, Lost> {
        let mut response = Some(response);
        let answer =
            tower::service_fn(move |_: http::Request<()>| std::future::ready(response.take().ok_or(Lost)));
        let unpacked = Decompression::new(answer).oneshot(http::Request::new(()));
        unpacked.await.map(|response| response.map(|body| Self::Packed(Box::pin(body))))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let frame = match &mut *self {
                Self::Direct(body) => return body.poll_piece(cx),
                Self::Packed(body) => {
                    ready!(body.as_mut().poll_frame(cx)).map(|frame| frame.map_err(|_| Lost))
                }
                Self::General(body) => {
                    ready!(Pin::new(body).poll_frame(cx)).map(|frame| frame.map_err(|_| Lost))
                }
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => return Poll::Ready(Some(Ok(bytes))),
                // Trailers say nothing that is needed.
                Some(Ok(Err(_))) => {}
                Some(Err(lost)) => return Poll::Ready(Some(Err(lost))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Leased {
    /// `pool`: where the connection goes back.
    pub fn new(line: Box<Line>, pool: Arc<Pool>) -> Self {
        let mut body = Self { line: Some(line), pool };
        body.return_at_end();
        body
    }

    fn return_at_end(&mut self) {
        if let Some(line) = self.line.take_if(|line| line.is_at_end()) {
            self.pool.put(line);
        }
    }

    fn length(&self) -> Option<u64> {
        self.line.as_ref().map_or(Some(0), |line| line.length())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Lost>>> {
        let Some(line) = &mut self.line else { return Poll::Ready(None) };
        let piece = ready!(line.poll_piece(cx));
        if let Some(Err(Lost)) = piece {
            self.line = None;
        } else {
            self.return_at_end();
        }
        Poll::Ready(piece)
    }
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = Lost;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Lost>>> {
        self.poll_piece(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.line.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
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
