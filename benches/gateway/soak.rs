//! Mixed load for a long time: answers, streams, a target that is down, clients that leave, reloads. Memory must stay
//! flat, and nothing may fail but what the mock makes fail.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::load::{Connection, Wire};
use crate::{Bench, CHAT, MIB};

/// Clients of each kind.
const CLIENTS: usize = 8;
/// Each client waits so long between its requests: the load is steady, not the most that there can be.
const PAUSE: Duration = Duration::from_millis(20);
/// Memory is looked at, and the configuration read again, this often.
const LOOK: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Tally {
    good: AtomicU64,
    left: AtomicU64,
    bad: AtomicU64,
}

/// What a client does over and over.
#[derive(Clone, Copy)]
enum Habit {
    Json,
    Stream,
    /// Goes away in the middle of a stream.
    Leave,
}

/// Runs the load for `time` and prints memory as it goes.
pub fn run(bench: &Bench, time: Duration) -> Result<()> {
    let piton = bench.piton()?;
    let address = piton.address;
    bench.runtime.block_on(async {
        let tally = Arc::new(Tally::default());
        for number in 0..CLIENTS {
            for (habit, model, size) in [
                (Habit::Json, "plain", 300 * (number + 1)),
                (Habit::Json, "anthropic", 20_000),
                (Habit::Json, "fallback", 300),
                (Habit::Json, "plain", 200_000),
                (Habit::Stream, "plain", 300),
                (Habit::Stream, "gemini", 300),
                (Habit::Leave, "anthropic", 300),
            ] {
                tokio::spawn(client(address, habit, model, size, Arc::clone(&tally)));
            }
        }
        let began = Instant::now();
        let mut out = std::io::stdout();
        while began.elapsed() < time {
            sleep(LOOK).await;
            piton.reload()?;
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "bytes for people")]
            let resident = piton.resident()? as f64 / MIB as f64;
            writeln!(
                out,
                "{:>5} s  {resident:>6.1} MiB  {} good, {} left, {} failed",
                began.elapsed().as_secs(),
                count(&tally.good),
                count(&tally.left),
                count(&tally.bad)
            )?;
        }
        Ok(())
    })
}

async fn client(address: SocketAddr, habit: Habit, model: &'static str, size: usize, tally: Arc<Tally>) {
    let wire = Wire::chat(CHAT, model, size, !matches!(habit, Habit::Json));
    loop {
        // A connection of its own for some requests, so that connections come and go too.
        if let Err(error) = session(address, habit, &wire, &tally).await {
            tally.bad.fetch_add(1, Ordering::Relaxed);
            let _ = writeln!(std::io::stderr(), "{model}: {error}");
            sleep(PAUSE).await;
        }
    }
}

async fn session(address: SocketAddr, habit: Habit, wire: &Wire, tally: &Tally) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    for _ in 0..50 {
        match habit {
            Habit::Json => {
                let status = connection.exchange(wire).await?;
                anyhow::ensure!(status == 200, "an answer of status {status}");
                tally.good.fetch_add(1, Ordering::Relaxed);
            }
            Habit::Stream => {
                connection.begin(wire).await?;
                connection.chunks().await?;
                tally.good.fetch_add(1, Ordering::Relaxed);
            }
            Habit::Leave => {
                connection.begin(wire).await?;
                tally.left.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
                return Ok(());
            }
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
