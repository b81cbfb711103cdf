//! One HTTP/1.1 connection, driven by the request that it serves: no task of its own, and no buffer while nothing is
//! in it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::body::Lost;
use super::decoder::Decoder;
use super::head::{Head, Malformed};
use super::socket::Socket;
use super::upload::Upload;

/// A connection.
pub struct Line {
    socket: Socket,
    upload: Upload,
    /// What was read and is still to be taken.
    input: Bytes,
    /// Room for the next read.
    room: usize,
    /// Of the answer's body.
    decoder: Decoder,
    /// It stays open after this exchange.
    stays_open: bool,
    /// It has carried an answer, and has said nothing of the next.
    pub is_proven: bool,
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("connection closed before message completed")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Room for a read: an event or two of a stream.
const LEAST_ROOM: usize = 4 * 1024;
/// Room for a read of much.
const MOST_ROOM: usize = 64 * 1024;
/// More room than is needed: a read that does not fill it shows that nothing follows.
const SPARE: u64 = 64;

impl Line {
    /// A fresh one.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            upload: Upload::default(),
            input: Bytes::new(),
            room: LEAST_ROOM,
            decoder: Decoder::EMPTY,
            stays_open: true,
            is_proven: false,
        }
    }

    /// Whether the last exchange on it is over in both directions, and another may follow.
    pub fn is_free(&self) -> bool {
        self.stays_open && self.upload.is_done() && self.decoder.is_done() && self.input.is_empty()
    }

    /// Whether it can take a request: it is free, was not closed and did not speak unasked.
    pub fn is_good(&mut self, cx: &mut Context<'_>) -> bool {
        self.stays_open = self.is_free() && self.socket.is_quiet(cx);
        self.stays_open
    }

    /// Sends a request and waits for the head of its answer, which may come before all of the request is sent.
    pub async fn exchange(&mut self, request: Upload) -> Result<http::Response<()>, Unanswered> {
        self.upload = request;
        // It has not ended before its head is here.
        self.decoder = Decoder::UNTIL_CLOSE;
        let (mut read, mut interim) = (BytesMut::new(), 0);
        poll_fn(|cx| self.poll_head(cx, &mut read, &mut interim)).await
    }

    /// The next piece of the answer's body; `None`: it has ended.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Lost>>> {
        loop {
            match self.decoder.next(&mut self.input) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.decoder.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(_) => return Poll::Ready(Some(Err(Lost))),
            }
            self.upload(cx);
            let Ok(read) = ready!(self.poll_fill(cx)) else { return Poll::Ready(Some(Err(Lost))) };
            if read == 0 {
                self.stays_open = false;
                if self.decoder.close().is_err() {
                    return Poll::Ready(Some(Err(Lost)));
                }
            }
        }
    }

    /// Whether the answer's body has ended.
    pub fn is_at_end(&self) -> bool {
        self.decoder.is_done()
    }

    /// How many bytes of the answer's body are still to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        self.decoder.length()
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        read: &mut BytesMut,
        interim: &mut u8,
    ) -> Poll<Result<http::Response<()>, Unanswered>> {
        self.upload(cx);
        loop {
            ready!(self.socket.poll_readable(cx))?;
            read.reserve(LEAST_ROOM.max(read.len()));
            let Poll::Ready(count) = self.socket.poll_read(cx, read) else {
                // The wait may be long.
                if read.is_empty() {
                    *read = BytesMut::new();
                }
                return Poll::Pending;
            };
            if count? == 0 {
                return Poll::Ready(Err(Unanswered::Closed));
            }
            // What breaks after a first word was no stale connection: the request has been taken.
            self.is_proven = false;
            if let Some(Head { response, decoder, stays_open }) = Head::take(read, interim)? {
                self.decoder = decoder;
                self.stays_open &= stays_open;
                if !read.is_empty() {
                    self.input = std::mem::take(read).freeze();
                }
                return Poll::Ready(Ok(response));
            }
        }
    }

    /// Sends what can be sent of the request. Where that fails, the answer may be here already.
    fn upload(&mut self, cx: &mut Context<'_>) {
        if !self.upload.is_done()
            && let Poll::Ready(Err(_)) = self.upload.poll(cx, &mut self.socket)
        {
            self.upload = Upload::default();
            self.stays_open = false;
        }
    }

    /// Reads once; the input is empty before.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let announced = usize::try_from(self.decoder.at_least().saturating_add(SPARE)).unwrap_or(MOST_ROOM);
        let room = announced.clamp(self.room, MOST_ROOM);
        ready!(self.socket.poll_readable(cx))?;
        let mut buffer = BytesMut::with_capacity(room);
        let read = ready!(self.socket.poll_read(cx, &mut buffer))?;
        self.room = if read >= self.room { (self.room * 4).min(MOST_ROOM) } else { LEAST_ROOM };
        if read > 0 {
            self.input = buffer.freeze();
        }
        Poll::Ready(Ok(read))
    }
}

/// Looks once at what needs the task's context.
pub async fn at_once<T>(mut look: impl FnMut(&mut Context<'_>) -> T) -> T {
    poll_fn(|cx| Poll::Ready(look(cx))).await
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::uri::PathAndQuery;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn request(body: usize) -> Upload {
        let body = vec![Bytes::from(vec![b'a'; body])];
        Upload::new(&PathAndQuery::from_static("/"), &HeaderMap::new(), body)
    }

    /// A connection and its other end, with so much room between them.
    fn line(room: usize) -> (Line, DuplexStream) {
        let (near, far) = duplex(room);
        (Line::new(Socket::Layered(Box::new(near))), far)
    }

    async fn body(line: &mut Line) -> Result<Vec<u8>, Lost> {
        let mut body = Vec::new();
        while let Some(piece) = poll_fn(|cx| line.poll_piece(cx)).await {
            body.extend_from_slice(&piece?);
        }
        Ok(body)
    }

    /// Asks; the other side answers with this text, in parts of so many bytes, and closes if it is to.
    async fn ask(
        answer: &str,
        size: usize,
        closes: bool,
    ) -> (Line, Option<DuplexStream>, Result<Vec<u8>, Lost>) {
        let (mut line, mut far) = line(64 * 1024);
        let near = async {
            line.exchange(request(10)).await.unwrap();
            let body = body(&mut line).await;
            (line, body)
        };
        let far = async {
            for part in answer.as_bytes().chunks(size) {
                far.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            (!closes).then_some(far)
        };
        let ((line, body), far) = tokio::join!(near, far);
        (line, far, body)
    }

    const CHUNKED: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                           5\r\nHello\r\n6;a\r\n world\r\n0\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nHello world";

    #[tokio::test]
    async fn an_answer_in_parts_of_any_size_leaves_its_connection_free() {
        for answer in [CHUNKED, SIZED] {
            for size in 1..=answer.len() {
                let (mut line, _far, body) = ask(answer, size, false).await;
                assert_eq!(body.as_deref(), Ok(&b"Hello world"[..]), "{size}");
                assert!(line.is_free() && at_once(|cx| line.is_good(cx)).await, "{size}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_is_not_free_after_what_was_not_an_exchange_from_end_to_end() {
        for (answer, closes) in [
            (format!("{SIZED}more"), false),
            (format!("{CHUNKED}HTTP/1.1 200 OK\r\n\r\n"), false),
            (SIZED.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"), false),
            (SIZED.replace("HTTP/1.1", "HTTP/1.0"), false),
            ("HTTP/1.1 200 OK\r\n\r\nHello world".to_owned(), true),
        ] {
            let (line, _far, body) = ask(&answer, answer.len(), closes).await;
            assert_eq!(body.as_deref(), Ok(&b"Hello world"[..]), "{answer:?}");
            assert!(!line.is_free(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_lost() {
        for answer in [CHUNKED, SIZED] {
            let (_, _, body) = ask(&answer[..answer.len() - 1], 7, true).await;
            assert_eq!(body, Err(Lost));
        }
        let (_, _, body) = ask(&CHUNKED.replace("0\r\n\r\n", "x\r\n"), 7, false).await;
        assert_eq!(body, Err(Lost));
    }

    #[tokio::test]
    async fn a_resting_connection_that_is_closed_or_speaks_is_not_good() {
        for speaks in [true, false] {
            let (mut line, far, _) = ask(SIZED, 7, false).await;
            let mut far = far.unwrap();
            assert!(at_once(|cx| line.is_good(cx)).await);
            if speaks {
                far.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
            } else {
                drop(far);
            }
            assert!(line.is_free() && !at_once(|cx| line.is_good(cx)).await, "{speaks}");
            assert!(!line.is_free());
        }
    }

    #[tokio::test]
    async fn an_answer_before_the_end_of_its_request_is_read_and_the_connection_not_used_again() {
        let (mut line, mut far) = line(64);
        far.write_all(b"HTTP/1.1 413 Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        let answer = line.exchange(request(1000)).await.unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(body(&mut line).await.as_deref(), Ok(&b"no"[..]));
        assert!(line.is_at_end() && !line.is_free());
    }

    #[tokio::test]
    async fn a_request_goes_on_while_its_answer_comes() {
        let (mut line, mut far) = line(64);
        let near = async {
            line.exchange(request(1000)).await.unwrap();
            assert!(!line.upload.is_done());
            body(&mut line).await.unwrap();
            line
        };
        let far = async {
            far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(&[b'a'; 1000]) {
                assert!(far.read_buf(&mut request).await.unwrap() > 0);
                far.write_all(b"1\r\nx\r\n").await.unwrap();
            }
            far.write_all(b"0\r\n\r\n").await.unwrap();
            far
        };
        let (line, _far) = tokio::join!(near, far);
        assert!(line.is_free());
    }

    #[tokio::test]
    async fn an_answer_that_was_sent_before_the_close_is_read_though_the_request_cannot_be_sent() {
        let (mut line, mut far) = line(64);
        far.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        drop(far);
        assert_eq!(line.exchange(request(1000)).await.unwrap().status(), 401);
        assert_eq!(body(&mut line).await.as_deref(), Ok(&b"no"[..]));
        assert!(!line.is_free());
    }

    #[tokio::test]
    async fn no_answer_is_an_error_that_says_why() {
        let (mut closed, far) = line(4096);
        drop(far);
        assert!(matches!(closed.exchange(request(1)).await, Err(Unanswered::Closed)));
        let (mut line, mut far) = line(4096);
        far.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
        assert!(matches!(line.exchange(request(1)).await, Err(Unanswered::Malformed(_))));
        assert!(!line.is_free());
    }

    #[tokio::test]
    async fn who_sends_nothing_but_interim_answers_is_not_heard_for_ever() {
        let (mut line, mut far) = line(64 * 1024);
        far.write_all("HTTP/1.1 100 Continue\r\n\r\n".repeat(100).as_bytes()).await.unwrap();
        far.write_all(SIZED.as_bytes()).await.unwrap();
        let answer = line.exchange(request(1)).await;
        assert!(matches!(answer, Err(Unanswered::Malformed(Malformed::TooManyInterim))));
        assert!(!line.is_free());
    }

    #[tokio::test]
    async fn a_connection_at_rest_holds_no_buffer() {
        let (mut line, mut far) = line(64 * 1024);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        far.write_all(head).await.unwrap();
        line.exchange(request(1)).await.unwrap();
        for _ in 0..3 {
            far.write_all(b"2\r\nab\r\n").await.unwrap();
            let piece = poll_fn(|cx| line.poll_piece(cx)).await.unwrap().unwrap();
            assert_eq!(piece, "ab");
            assert!(at_once(|cx| line.poll_piece(cx)).await.is_pending());
            assert!(piece.is_unique(), "nobody else holds what it was read into");
        }
        assert!(line.upload.is_done());
        assert!(size_of::<Line>() <= 256, "{}", size_of::<Line>());
    }

    #[tokio::test]
    async fn there_is_much_room_for_much_and_little_for_little() {
        let (mut line, mut far) = line(1 << 20);
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        line.exchange(request(1)).await.unwrap();
        far.write_all(&vec![b'a'; 300_000]).await.unwrap();
        let mut sizes = Vec::new();
        while let Poll::Ready(piece) = at_once(|cx| line.poll_piece(cx)).await {
            sizes.push(piece.unwrap().unwrap().len());
        }
        assert_eq!(sizes[..4], [LEAST_ROOM, 4 * LEAST_ROOM, MOST_ROOM, MOST_ROOM]);
        assert_eq!(line.room, LEAST_ROOM);
    }
}
