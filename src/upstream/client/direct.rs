//! The short way: straight to one origin over its own connections.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::CONTENT_ENCODING;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::body::{Body, Leased};
use super::line::{Line, at_once};
use super::pool::Pool;
use super::socket::Socket;
use super::upload::Upload;
use super::{Outgoing, Response, STALE, broken, unconnected};
use crate::reason::Failure;

/// A client for one origin.
pub struct Direct {
    origin: Uri,
    tcp: HttpConnector,
    /// `None`: the origin speaks without.
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    pool: Arc<Pool>,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// An idle connection is asked for a sign of life so often.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// Bytes that nobody acknowledges for so long end a connection.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

impl Direct {
    /// A client without connections.
    pub fn new(origin: Uri, tls: Option<Arc<ClientConfig>>, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        // Shared among the addresses of a host, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(connect_timeout));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        Self { origin, tcp, tls, connect_timeout, pool: Arc::default() }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&self, call: Outgoing<'_>) -> Result<Response, Failure> {
        let mut line = match at_once(|cx| self.pool.take(cx)).await {
            Some(line) => line,
            None => self.connect().await?,
        };
        let request = Upload::new(&call.target, &call.headers, call.body);
        let sent = Instant::now();
        let answered = line.exchange(request).await;
        let response = answered.map_err(|error| broken(&error, line.is_proven && sent.elapsed() < STALE))?;
        line.is_proven = true;
        let response = response.map(|()| Leased::new(line, Arc::clone(&self.pool)));
        if response.headers().contains_key(CONTENT_ENCODING) {
            return Body::unpacked(response).await.map_err(|lost| broken(&lost, false));
        }
        Ok(response.map(Body::Direct))
    }

    async fn connect(&self) -> Result<Box<Line>, Failure> {
        let connected = timeout(self.connect_timeout, self.open()).await;
        let socket = connected.unwrap_or_else(|_| Err(io::Error::other("operation timed out").into()));
        let socket = socket.map_err(|error| unconnected(&*error))?;
        Ok(Box::new(Line::new(socket)))
    }

    async fn open(&self) -> Result<Socket, AnyError> {
        let (tcp, origin) = (self.tcp.clone(), self.origin.clone());
        Ok(match &self.tls {
            Some(tls) => HttpsConnector::from((tcp, Arc::clone(tls))).oneshot(origin).await?.into(),
            None => Socket::Plain(tcp.oneshot(origin).await?.into_inner()),
        })
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("origin", &self.origin).finish_non_exhaustive()
    }
}
