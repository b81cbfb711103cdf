//! `piton health`: for container images that have no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{block_on, fail};

/// How long a healthy gateway may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks a running gateway whether it is well; exit code 0 if so.
#[derive(Debug, Args)]
#[command(after_help = "Example: piton health --listen 127.0.0.1:4000")]
pub struct Health {
    /// Where the gateway listens; an address of all interfaces means this machine.
    #[arg(long, env = "PITON_LISTEN", default_value = "127.0.0.1:4000")]
    listen: SocketAddr,
}

impl Health {
    /// Asks.
    pub fn run(self) -> ExitCode {
        let address = reachable(self.listen);
        block_on(async move {
            match tokio::time::timeout(PATIENCE, ask(address)).await {
                Ok(Ok(true)) => ExitCode::SUCCESS,
                Ok(Ok(false)) => fail(format_args!("{address} is not well")),
                Ok(Err(error)) => fail(format_args!("{address} does not answer: {error}")),
                Err(_) => fail(format_args!("{address} did not answer within {PATIENCE:?}")),
            }
        })
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

/// An address of all interfaces as one that can be connected to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
