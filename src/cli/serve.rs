//! `piton serve`: the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, fail};
use crate::config::live::Live;
use crate::config::locate::locate;
use crate::ops::log;
use crate::server::{self, App};

/// Answers requests until SIGTERM or an interrupt.
#[derive(Debug, Args)]
#[command(after_help = "Example: OPENAI_API_KEY=sk-... piton serve --config piton.toml")]
pub struct Serve {
    /// The configuration file. Default: ./piton.toml, then /etc/piton/piton.toml.
    #[arg(long, env = "PITON_CONFIG")]
    config: Option<PathBuf>,
    /// Where to listen instead of where the file says.
    #[arg(long, env = "PITON_LISTEN")]
    listen: Option<SocketAddr>,
}

impl Serve {
    /// Serves.
    pub fn run(self) -> ExitCode {
        log::start(std::env::var("PITON_LOG").ok().as_deref());
        let path = match locate(self.config) {
            Ok(path) => path,
            Err(error) => return fail(error),
        };
        block_on(async move {
            let live = match Live::start(path, self.listen) {
                Ok(live) => live,
                Err(diagnostics) => {
                    return fail(format_args!("the configuration cannot be used\n\n{diagnostics}"));
                }
            };
            let listen = live.load().server.listen;
            match TcpListener::bind(listen).await {
                Ok(listener) => serve(live, listener).await,
                Err(error) => fail(format_args!("cannot listen at {listen}: {error}")),
            }
        })
    }
}

async fn serve(live: Live, listener: TcpListener) -> ExitCode {
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(format_args!("cannot wait for signals: {error}")),
    };
    let following = tokio::spawn(live.clone().follow());
    if let Ok(address) = listener.local_addr() {
        let gateway = live.load();
        tracing::info!(%address, chains = gateway.chains.len(), config = gateway.hash, "listening");
    }
    let cut = server::serve(App::new(live), listener, stop).await;
    following.abort();
    if cut > 0 {
        tracing::warn!(requests = cut, "`drain` passed before all requests were finished");
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Resolves at SIGTERM or an interrupt.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
