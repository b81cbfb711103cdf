//! The transport of a connection: bytes in and out, with or without TLS.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;

/// A connected socket.
pub enum Socket {
    Plain(TcpStream),
    /// Something on top of one: TLS. It is much larger, and called for what costs more than the call.
    Layered(Box<dyn Transport>),
}

/// What TLS gives.
pub trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Transport for T {}

impl Socket {
    /// Ready when a read is worth its buffer.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            // It may hold what it has read itself.
            Self::Layered(_) => Poll::Ready(Ok(())),
        }
    }

    /// Reads into what `buffer` has room for; 0: the other side has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => pin!(tcp.read_buf(buffer)).poll(cx),
            Self::Layered(transport) => pin!(transport.read_buf(buffer)).poll(cx),
        }
    }

    /// Writes as much of the slices as it takes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Layered(transport) => Pin::new(transport).poll_write_vectored(cx, slices),
        }
    }

    /// Sends what it only took so far.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Layered(transport) => Pin::new(transport).poll_flush(cx),
        }
    }

    /// Whether it is open and the other side says nothing. If it does, a byte of it is lost.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let look = poll_fn(|cx| {
            let mut byte = [0];
            let mut byte = ReadBuf::new(&mut byte);
            let read = match self {
                Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut byte),
                Self::Layered(transport) => Pin::new(transport).poll_read(cx, &mut byte),
            };
            Poll::Ready(read.is_pending())
        });
        // A task that has done as much as it may at a time would find every socket quiet.
        pin!(unconstrained(look)).poll(cx) == Poll::Ready(true)
    }
}

impl From<MaybeHttpsStream<TokioIo<TcpStream>>> for Socket {
    fn from(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        match stream {
            MaybeHttpsStream::Http(tcp) => Self::Plain(tcp.into_inner()),
            MaybeHttpsStream::Https(tls) => Self::Layered(Box::new(tls.into_inner())),
        }
    }
}
