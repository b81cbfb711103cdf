//! One case, played from start to end: gateway, client and providers on one thread.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use memchr::memmem::find;
use piton::bench::Gateway;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::cases::Case;
use super::traffic::{Client, Providers};

// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests before the counting, so that connections are open and buffers have their size.
const WARM_UP: u64 = 130;
/// Requests that are counted. Up to their end no table grows that holds something of every request.
pub const COUNTED: u64 = 90;
/// Room between client and gateway: a whole request.
const PIPE: usize = 256 * 1024;

/// Plays it; callgrind watches [`counted`].
pub fn play(case: &Case) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let mut client = runtime.block_on(start(case, &directory))?;
    let request = case.request();
    for _ in 0..WARM_UP {
        let answer = runtime.block_on(client.ask(&request))?;
        let is_as_expected = find(answer, case.expected.as_bytes()).is_some();
        ensure!(is_as_expected, "not as expected: {}", String::from_utf8_lossy(answer));
    }
    counted(&runtime, &mut client, &request)
}

/// The requests that are counted: callgrind knows this function by its name.
#[inline(never)]
fn counted(runtime: &Runtime, client: &mut Client, request: &[u8]) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..COUNTED {
            client.ask(request).await?;
        }
        Ok(())
    })
}

async fn start(case: &Case, directory: &TempDir) -> Result<Client> {
    let providers = Providers::new(case.answers()).await?;
    let path = directory.path().join("piton.toml");
    std::fs::write(directory.path().join("key"), "unused")?;
    std::fs::write(&path, case.configuration(providers.port()?))?;
    let gateway = Gateway::start(path).map_err(anyhow::Error::msg).context("the configuration")?;
    let (ours, theirs) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let failed = providers.answer().await;
        let _ = writeln!(std::io::stderr(), "the providers stopped: {failed:?}");
    });
    tokio::spawn(async move { gateway.serve(theirs).await });
    Ok(Client::new(ours))
}
