//! `piton serve`: the gateway.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, fail};
use crate::config::live::{Live, Opened, follow};
use crate::config::locate::locate;
use crate::config::{Runtime, Surroundings};
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
            let surroundings = Surroundings {
                environment: std::env::vars_os().filter_map(text).collect(),
                listen: self.listen,
                check_secrets: true,
            };
            // The configuration sets the real budget as it opens.
            let runtime = Arc::new(Runtime::new(usize::MAX));
            match Live::open(path, runtime, surroundings) {
                Ok(opened) => listen(opened).await,
                Err(rejected) => fail(format_args!("the configuration cannot be used\n\n{rejected}")),
            }
        })
    }
}

async fn listen(opened: Opened) -> ExitCode {
    let Opened { live, watch, warnings } = opened;
    if !warnings.is_empty() {
        tracing::warn!("{warnings}");
    }
    let live = Arc::new(live);
    let gateway = live.load_full();
    let address = gateway.server.listen;
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return fail(format_args!("cannot listen at {address}: {error}")),
    };
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(format_args!("cannot wait for signals: {error}")),
    };
    let following = tokio::spawn(follow(Arc::clone(&live), watch));
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, chains = gateway.chains.len(), config = gateway.hash, "listening");
    drop(gateway);
    let cut = server::serve(App::new(live), listener, stop).await;
    following.abort();
    if cut > 0 {
        tracing::warn!(requests = cut, "`drain` passed before all requests were finished");
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// An environment variable that is text; no key is anything else.
fn text((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
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
