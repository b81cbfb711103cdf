//! One HTTP/1.1 connection, driven by the request that it serves: no task of its own, so nothing is handed from task
//! to task on the way.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use http::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Pieces;

/// The socket, with or without TLS.
pub type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection.
pub struct Line {
    sender: SendRequest<Pieces>,
    /// `None` once it is closed.
    connection: Option<Connection<Io, Pieces>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    /// It has carried an answer.
    pub is_proven: bool,
}

/// Wakes whoever drives the connection, but not for what he does himself if he looks again anyway: each piece of a
/// body that is taken makes the connection want to be driven, which would be a wake-up per piece.
#[derive(Default)]
struct Bell {
    driver: AtomicWaker,
    /// [`OPEN`], [`MUTED`] or [`MISSED`].
    state: AtomicU8,
}

/// The driver is woken.
const OPEN: u8 = 0;
/// He is not.
const MUTED: u8 = 1;
/// He would have been.
const MISSED: u8 = 2;

impl Line {
    /// A fresh one.
    pub async fn new(io: Io) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new().handshake(io).await?;
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Ok(Self { sender, connection: Some(connection), bell, waker, is_proven: false })
    }

    /// Whether it can take a request: it is open, and the last exchange on it is over in both directions.
    pub fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Moves bytes both ways as far as they go. The task of `cx` is woken when they go further.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else { return };
        self.bell.driver.register(cx.waker());
        if Pin::new(connection).poll(&mut Context::from_waker(&self.waker)).is_ready() {
            self.connection = None;
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn exchange(&mut self, request: Request<Pieces>) -> hyper::Result<http::Response<Incoming>> {
        self.bell.mute();
        let mut answer = pin!(self.sender.send_request(request));
        // It is driven at once, so nothing is missed.
        self.bell.unmute();
        poll_fn(|cx| {
            self.drive(cx);
            // It comes from the connection, which was just driven.
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
    }

    /// What has come of the answer's body, by `poll`. Whoever gets a piece must ask again before he sleeps.
    pub fn poll_body<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.drive(cx);
        self.bell.mute();
        let polled = poll(&mut Context::from_waker(Waker::noop()));
        if self.bell.unmute() == MISSED && polled.is_pending() {
            self.bell.driver.wake();
        }
        polled
    }

    /// Nobody drives it for a while.
    pub fn rest(&self) {
        self.bell.driver.take();
    }
}

impl Bell {
    fn mute(&self) {
        self.state.store(MUTED, Ordering::Release);
    }

    /// Returns what it was.
    fn unmute(&self) -> u8 {
        self.state.swap(OPEN, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let noted = self.state.compare_exchange(MUTED, MISSED, Ordering::AcqRel, Ordering::Acquire);
        if noted == Err(OPEN) {
            self.driver.wake();
        }
    }
}

/// Looks once at what needs the task's context.
pub async fn at_once<T>(mut look: impl FnMut(&mut Context<'_>) -> T) -> T {
    poll_fn(|cx| Poll::Ready(look(cx))).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::net::TcpListener;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn its_driver_sleeps_through_what_he_did_himself_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut line = Line::new(MaybeHttpsStream::Http(TokioIo::new(near))).await.unwrap();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let bell = line.waker.clone();
        let woken = || count.0.load(Ordering::Relaxed);
        let before = woken();
        let took = |_: &mut Context<'_>| {
            bell.wake_by_ref();
            Poll::Ready(())
        };
        assert!(line.poll_body(&mut cx, took).is_ready());
        assert_eq!(woken(), before, "he has something and asks again");
        let came_meanwhile = |_: &mut Context<'_>| {
            bell.wake_by_ref();
            Poll::<()>::Pending
        };
        assert!(line.poll_body(&mut cx, came_meanwhile).is_pending());
        assert_eq!(woken(), before + 1, "he would sleep on it");
        line.drive(&mut cx);
        bell.wake_by_ref();
        assert_eq!(woken(), before + 2);
        line.drive(&mut cx);
        line.rest();
        bell.wake_by_ref();
        assert_eq!(woken(), before + 2, "nobody is there");
    }
}
