//! `piton mock`: the simulated providers, for users' own tests.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;

use super::{block_on, fail};
use crate::mock::{self, Options, fault};

const EXAMPLE: &str = "Example: piton mock --listen 127.0.0.1:4010\n\nGET /mock/requests tells how many requests each model received, and the last one (?model=NAME: of that model).";

/// Plays OpenAI, Anthropic and Gemini on one port, with faults chosen by the model's name.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", fault::help()))]
pub struct Mock {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// What its answers call it.
    #[arg(long, default_value = "mock")]
    name: String,
    /// The models that it lists.
    #[arg(long = "model")]
    models: Vec<String>,
}

impl Mock {
    /// Plays until it is interrupted.
    pub fn run(self) -> ExitCode {
        block_on(async move {
            let listener = match TcpListener::bind(self.listen).await {
                Ok(listener) => listener,
                Err(error) => return fail(format_args!("cannot listen at {}: {error}", self.listen)),
            };
            let options = Options { name: self.name, models: self.models, ..Options::default() };
            let mock = match mock::spawn(listener, options) {
                Ok(mock) => mock,
                Err(error) => return fail(error),
            };
            // Whoever started it may have closed standard output.
            let _ = writeln!(std::io::stdout(), "simulated providers at {}", mock.url());
            match tokio::signal::ctrl_c().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(error),
            }
        })
    }
}
