//! Entry points for `benches/`: the gateway without its sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::live::Live;
use crate::ops::log;
use crate::server::{self, App};

/// Where its clients seem to be.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

/// The gateway as `piton serve` runs it, on connections that the caller makes.
pub struct Gateway(App);

impl Gateway {
    /// Starts the log and reads the configuration. The error is all that is wrong with it, as text.
    pub fn start(config: PathBuf) -> Result<Self, String> {
        log::start(None);
        let (live, _) = Live::start(config, None)?;
        Ok(Self(App::new(live)))
    }

    /// Serves one connection to its end.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        server::serve_one(self.0.clone(), stream, PEER).await;
    }
}
