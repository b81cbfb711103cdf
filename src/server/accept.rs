//! Takes connections in and, at the end, lets the running ones finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::door::{Door, Rooms};
use super::{App, router};

/// How long a client may take to send a request's head. It runs between requests too, so it is also how long an idle
/// connection is kept: longer than the pools of common clients keep theirs.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How many bytes of head are read at all; what is over the smaller limit of [`door`](super::door) gets a proper
/// answer. Of headers hyper reads 100: room for more would be made anew for every request.
const MAX_HEAD: u32 = 256 * 1024;
/// Streams at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 1024;

/// What a client says first that speaks HTTP/2, and no other does.
const PREFACE: &[u8] = b"PRI";
/// Between two looks at a first word that is not whole.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Serves until `stop` resolves, then finishes what runs, `drain` at most. Answers how many connections were cut.
pub async fn serve(app: App, listener: TcpListener, stop: impl Future<Output = ()>) -> usize {
    let front = Arc::new(Front::new(app.clone()));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: a pause lets some come back.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (front, watcher) = (Arc::clone(&front), graceful.watcher());
        tokio::spawn(async move { front.serve(without_delay(stream, peer), peer, watcher).await });
    }
    drop(listener);
    app.drain();
    let drain = app.live().load().server.drain;
    tracing::info!(in_flight = app.in_flight(), "draining");
    match timeout(drain, graceful.shutdown()).await {
        Ok(()) => 0,
        Err(_) => app.in_flight() as usize,
    }
}

/// Serves one connection that speaks HTTP/1.1, of whatever kind, to its end.
#[cfg(feature = "bench-internals")]
pub async fn serve_one<I>(app: App, stream: I, peer: SocketAddr)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let front = Front::new(app);
    let connection = front.http1.serve_connection(TokioIo::new(stream), Door::new(&front.rooms, peer));
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// What every connection is served with.
struct Front {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    rooms: Arc<Rooms>,
}

impl Front {
    fn new(app: App) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_buf_size(MAX_HEAD as usize);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEAD);
        Self { http1, http2, rooms: Arc::new(Rooms { router: router(app.clone()), app }) }
    }

    /// Serves a connection to its end.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let first_words = timeout(HEADER_READ_TIMEOUT, speaks_http2(&stream));
        let speaks_http2 = tokio::select! {
            first_words = first_words => first_words,
            // Who has said nothing yet need not be waited for.
            () = self.rooms.app.until_draining() => return,
        };
        let Ok(Ok(speaks_http2)) = speaks_http2 else { return };
        let (stream, door) = (TokioIo::new(stream), Door::new(&self.rooms, peer));
        let served = if speaks_http2 {
            // It is large and rare: the task of every other connection need not have room for it.
            Box::pin(watcher.watch(self.http2.serve_connection(stream, door))).await
        } else {
            watcher.watch(self.http1.serve_connection(stream, door)).await
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}

/// Looks at the first bytes without taking them: hyper reads a whole head at once, into a buffer of its size.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let mut pause = Duration::from_millis(1);
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == first.len() || !PREFACE.starts_with(&first[..seen]) || seen == 0 {
            return Ok(first == PREFACE);
        }
        // So few bytes are a rarity, and what is there already says nothing of when the next will come. Who leaves it
        // at that must not keep anybody busy.
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Small events must not wait for each other.
fn without_delay(stream: TcpStream, peer: SocketAddr) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    stream
}
