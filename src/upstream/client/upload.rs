//! A request on its way out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;

use super::socket::Socket;

/// What of a request is still to be sent.
#[derive(Default)]
pub struct Upload {
    head: Bytes,
    /// None of the pieces is empty.
    body: VecDeque<Bytes>,
    /// The socket may hold back what it took.
    is_unflushed: bool,
}

/// So many pieces leave in one call at most.
const AT_ONCE: usize = 16;
/// A header's line without its name and its value.
const PUNCTUATION: usize = ": \r\n".len();

impl Upload {
    /// A POST.
    pub fn new(target: &PathAndQuery, headers: &HeaderMap, body: Vec<Bytes>) -> Self {
        let mut body = VecDeque::from(body);
        body.retain(|piece| !piece.is_empty());
        let length = body.iter().map(Bytes::len).sum();
        Self { head: head(target, headers, length), body, is_unflushed: true }
    }

    /// Whether all of it is sent.
    pub fn is_done(&self) -> bool {
        !self.is_unflushed
    }

    /// Sends what the socket takes. Ready when all of it is sent.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<io::Result<()>> {
        while !self.head.is_empty() || !self.body.is_empty() {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            let pieces = std::iter::once(&self.head).chain(&self.body).filter(|piece| !piece.is_empty());
            let count =
                slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            let sent = ready!(socket.poll_write(cx, &slices[..count]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(sent);
        }
        ready!(socket.poll_flush(cx))?;
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Leaves out what was sent.
    fn advance(&mut self, mut sent: usize) {
        let of_head = sent.min(self.head.len());
        self.head.advance(of_head);
        sent -= of_head;
        while let Some(piece) = self.body.front_mut().filter(|_| sent > 0) {
            let of_piece = sent.min(piece.len());
            piece.advance(of_piece);
            sent -= of_piece;
            if piece.is_empty() {
                self.body.pop_front();
            }
        }
    }
}

fn head(target: &PathAndQuery, headers: &HeaderMap, length: usize) -> Bytes {
    let mut digits = itoa::Buffer::new();
    let length = digits.format(length).as_bytes();
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + PUNCTUATION);
    let mut head = Vec::with_capacity(64 + target.as_str().len() + lines.sum::<usize>());
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    put(&[b"POST ", target.as_str().as_bytes(), b" HTTP/1.1\r\n"]);
    for (name, value) in headers {
        // How long the body is is told below, once.
        if name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
            put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    put(&[b"content-length: ", length, b"\r\n\r\n"]);
    head.into()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::HeaderValue;
    use http::header::HOST;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_request_arrives_whole_through_any_socket() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("h"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
        headers.append("x", HeaderValue::from_static("1"));
        headers.append("x", HeaderValue::from_static("2"));
        let pieces: Vec<Bytes> = (0..40).map(|size| Bytes::from("a".repeat(size % 5))).collect();
        let body = pieces.concat();
        let target = PathAndQuery::from_static("/v1/chat?a=b");
        let expected = "POST /v1/chat?a=b HTTP/1.1\r\nhost: h\r\nx: 1\r\nx: 2\r\ncontent-length: 80\r\n\r\n";
        let expected = [expected.as_bytes(), &body].concat();
        for size in [1, 7, 64, 1000] {
            let (near, mut far) = tokio::io::duplex(size);
            let mut socket = Socket::Layered(Box::new(near));
            let mut upload = Upload::new(&target, &headers, pieces.clone());
            assert!(!upload.is_done());
            let sent = async {
                poll_fn(|cx| upload.poll(cx, &mut socket)).await.unwrap();
                assert!(upload.is_done());
                drop(socket);
            };
            let mut arrived = Vec::new();
            let ((), read) = tokio::join!(sent, far.read_to_end(&mut arrived));
            read.unwrap();
            assert_eq!(String::from_utf8(arrived).unwrap().as_bytes(), expected, "{size}");
        }
    }
}
