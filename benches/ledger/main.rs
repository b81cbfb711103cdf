//! The ledger under load, by itself: `cargo bench --features bench-internals --bench ledger` writes a million requests
//! of the last 90 days and says what a request takes, and how long questions take then. A number as an argument
//! writes so many instead.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use piton::bench::Ledger;
use tokio::time::Instant;

// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REQUESTS: u64 = 1_000_000;
/// So many go in before the writer is waited for: less than its queue takes.
const AT_ONCE: u64 = 10_000;
const QUESTIONS: [&str; 14] = [
    "",
    "chain",
    "target",
    "key",
    "task",
    "tier",
    "hour",
    "day",
    "day,chain",
    "month,provider",
    "user",
    "session",
    "day,user",
    "user,target",
];
/// Each is asked so often; the fastest counts.
const ASKED: usize = 5;

fn main() -> Result<()> {
    let given = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let requests: u64 = given.unwrap_or(REQUESTS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ledger.sqlite");
    let ledger = Ledger::start(path.clone());
    runtime.block_on(fill(&ledger, requests, &path))?;
    runtime.block_on(ask(&ledger, requests))
}

async fn fill(ledger: &Ledger, requests: u64, path: &Path) -> Result<()> {
    let started = Instant::now();
    for number in 0..requests {
        ledger.enter(number, requests);
        if number % AT_ONCE == 0 {
            written(ledger).await;
        }
    }
    written(ledger).await;
    let time = started.elapsed();
    anyhow::ensure!(ledger.left_out() == 0, "{} requests were left out", ledger.left_out());
    let cpu = writer_cpu()?;
    let mut out = stdout().lock();
    let size = fs::metadata(path)?.len();
    writeln!(out, "requests written           {requests}")?;
    writeln!(out, "requests a second          {:.0}", ratio(requests, time.as_nanos()) * 1e9)?;
    writeln!(out, "writer's CPU per request   {:.2} us", ratio(cpu, requests.into()) / 1e3)?;
    writeln!(out, "bytes per request          {:.0}", ratio(size, requests.into()))?;
    Ok(())
}

async fn ask(ledger: &Ledger, requests: u64) -> Result<()> {
    for question in QUESTIONS {
        let (mut best, mut rows) = (Duration::MAX, 0);
        for _ in 0..ASKED {
            let started = Instant::now();
            rows = ledger.spend(question).await.map_err(Error::msg)?;
            best = best.min(started.elapsed());
        }
        let milliseconds = best.as_secs_f64() * 1e3;
        writeln!(stdout().lock(), "spend by {question:<17} {milliseconds:>8.2} ms, {rows} rows")?;
    }
    let started = Instant::now();
    anyhow::ensure!(ledger.has(requests / 2).await.map_err(Error::msg)?, "a request is missing");
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    writeln!(stdout().lock(), "one receipt                {milliseconds:>8.2} ms")?;
    Ok(())
}

/// Waits until nothing waits any more.
async fn written(ledger: &Ledger) {
    while ledger.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The scheduler's own count of the writer's time on a core, in nanoseconds.
fn writer_cpu() -> Result<u64> {
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        if fs::read_to_string(thread.join("comm"))?.trim() == "ledger" {
            let told = fs::read_to_string(thread.join("schedstat"))?;
            return Ok(told.split_whitespace().next().context("no schedstat")?.parse()?);
        }
    }
    anyhow::bail!("the writer does not run")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(sum: u64, count: u128) -> f64 {
    sum as f64 / count as f64
}
