//! What the integration tests stand on.
//!
//! - [`upstream`]: a provider on raw TCP that does exactly what a [`script`] says, and records what it received;
//! - [`replies`]: well-formed answers of the three dialects, whole or cut where a test wants it;
//! - [`exposition`]: the text of `/metrics`, read;
//! - [`chain`]: a chain over such upstreams, what is asked of it and what it must answer;
//! - [`gateway`]: the real binary in a directory of its own;
//! - [`client`]: HTTP/1.1 by hand, with the time at which each line arrived.

pub mod chain;
pub mod client;
pub mod exposition;
pub mod gateway;
pub mod replies;
pub mod script;
#[cfg(test)]
mod selftest;
pub mod upstream;

use std::future::Future;
use std::time::Duration;

/// How long anything that must happen may take, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test: what cargo built for these tests, or what `PITON_BIN` names (the release binary, say).
pub fn piton() -> std::path::PathBuf {
    std::env::var_os("PITON_BIN").map_or_else(|| env!("CARGO_BIN_EXE_piton").into(), Into::into)
}

/// The future's result, or a failed test that says what did not happen.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(PATIENCE, future).await;
    in_time.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
