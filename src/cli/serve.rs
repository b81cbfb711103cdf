//! `piton serve`: the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{block_on, fail};
use crate::config::live::Live;
use crate::config::locate::locate;
use crate::config::watch::Watch;
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
        if let Err(error) = log::start(std::env::var("PITON_LOG").ok().as_deref()) {
            return fail(format_args!("the log cannot be started: {error}"));
        }
        raise_descriptor_limit();
        let path = match locate(self.config) {
            Ok(path) => path,
            Err(error) => return fail(error),
        };
        block_on(async move {
            match Live::start(path, self.listen) {
                Ok((live, watch)) => listen(live, watch).await,
                Err(problems) => fail(format_args!("the configuration cannot be used\n\n{problems}")),
            }
        })
    }
}

/// Lets the process open as many sockets as it may: each request takes two, and a shell's usual limit is 1,024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, limit = limit.current, "the limit on open files stays as it is");
    }
}

async fn listen(live: Live, watch: Watch) -> ExitCode {
    let gateway = live.load();
    let address = gateway.server.listen;
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return fail(format_args!("cannot listen at {address}: {error}")),
    };
    let stop = match stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(format_args!("cannot wait for signals: {error}")),
    };
    let following = tokio::spawn(live.clone().follow(watch));
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, chains = gateway.chains.len(), config = &*gateway.hash, "listening");
    // Whoever waits for that waits no longer than he must.
    log::flush();
    drop(gateway);
    let cut = server::serve(App::new(live), listener, stop).await;
    following.abort();
    if cut > 0 {
        tracing::warn!(requests = cut, "`drain` passed before all requests were finished");
    }
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Resolves at SIGTERM or an interrupt, which from now on do not end the process by themselves.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
