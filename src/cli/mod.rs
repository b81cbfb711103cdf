//! The command line: one file per command, each of which calls the library and prints.

mod check;
mod demo;
mod explain;
mod health;
mod mock;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use crate::ops::log;

/// Version, and the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PITON_COMMIT"), ")");

/// An OpenAI-compatible gateway that walks a ranked chain of models, and says what it did.
#[derive(Debug, Parser)]
#[command(name = "piton", version = VERSION, after_help = "Example: piton serve --config piton.toml\n\nWithout a command, piton serves.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers requests (the default).
    Serve(serve::Serve),
    /// Shows Piton at work with simulated providers: no key, no network.
    Demo(demo::Demo),
    /// Looks through the configuration and shows its chains.
    Check(check::Check),
    /// Says what a request would do, and why, without a call.
    Explain(Box<explain::Explain>),
    /// Plays simulated providers for tests of your own.
    Mock(mock::Mock),
    /// Asks a running gateway whether it is well: for container health checks.
    Health(health::Health),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match arguments.command {
        None => arguments.serve.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Demo(demo)) => demo.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Explain(explain)) => explain.run(),
        Some(Command::Mock(mock)) => mock.run(),
        Some(Command::Health(health)) => health.run(),
    };
    log::flush();
    code
}

/// Runs a command's work on the usual runtime. On one core a second thread would only hand work to the first.
fn block_on(work: impl Future<Output = ExitCode>) -> ExitCode {
    let has_one_core = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut runtime = if has_one_core { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => fail(format_args!("the runtime cannot start: {error}")),
    }
}

/// Says on standard error why the command failed.
fn fail(why: impl std::fmt::Display) -> ExitCode {
    use std::io::Write;
    // What led to this comes first.
    log::flush();
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "piton: {why}");
    ExitCode::FAILURE
}
