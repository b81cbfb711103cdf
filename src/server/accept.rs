//! Takes connections in and, at the end, lets the running ones finish.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

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

/// Why a connection ended early.
type Broken = Box<dyn Error + Send + Sync>;

/// Serves until `stop` resolves, then finishes what runs, `drain` at most. Answers how many connections were cut.
pub async fn serve(app: App, listener: TcpListener, stop: impl Future<Output = ()>) -> usize {
    let front = Front::new(app.clone());
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
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = graceful.watch(front.connection(without_delay(stream, peer), peer));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, error, "a connection ended early");
            }
        });
    }
    drop(listener);
    app.drain();
    let drain = app.live().load().server.drain;
    tracing::info!(in_flight = app.in_flight(), "draining");
    match tokio::time::timeout(drain, graceful.shutdown()).await {
        Ok(()) => 0,
        Err(_) => app.in_flight() as usize,
    }
}

/// Serves one connection, of whatever kind, to its end.
#[cfg(feature = "bench-internals")]
pub async fn serve_one<I>(app: App, stream: I, peer: SocketAddr)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Front::new(app).connection(stream, peer);
    if let Err(error) = connection.await {
        tracing::debug!(%peer, error, "a connection ended early");
    }
}

/// What every connection is served with.
struct Front {
    http: Builder<TokioExecutor>,
    rooms: Arc<Rooms>,
}

impl Front {
    fn new(app: App) -> Self {
        Self { http: builder(), rooms: Arc::new(Rooms { router: router(app.clone()), app }) }
    }

    /// A connection, which is served as it is polled.
    fn connection<I>(
        &self,
        stream: I,
        peer: SocketAddr,
    ) -> impl GracefulConnection<Error = Broken> + Send + use<I>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.http.serve_connection(TokioIo::new(stream), Door::new(&self.rooms, peer)).into_owned()
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_HEAD as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD);
    server
}

/// Small events must not wait for each other.
fn without_delay(stream: TcpStream, peer: SocketAddr) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
    }
    stream
}
