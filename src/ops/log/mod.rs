//! The log: JSON lines on standard error, or a readable form where a person looks on.

mod line;
mod queue;

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

pub use line::{Line, Message};
use queue::Queue;

/// One process has one standard error, and so one queue to it.
static QUEUE: Queue = Queue::new();
/// Whether lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// How long a reader who does not read may hold up the end of the process.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Starts the log. `filter` is `PITON_LOG`'s value; one that cannot be read counts as `info`. Fails if the thread that
/// writes cannot be started.
pub fn start(filter: Option<&str>) -> io::Result<()> {
    let filter =
        filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Entrance).with_target(false);
    let is_terminal = io::stderr().is_terminal();
    let started = if is_terminal {
        builder.compact().try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    // A second start (tests in one process) keeps the first log.
    if started.is_ok() {
        IS_JSON.store(!is_terminal, Ordering::Relaxed);
        std::thread::Builder::new().name("log".into()).spawn(|| QUEUE.write_to(io::stderr(), report_lost))?;
        // The usual hook writes to standard error itself, and would wait where nobody reads it.
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!(at = panic.location().map(ToString::to_string), "a part of the program panicked");
        }));
    }
    Ok(())
}

/// Waits until everything said so far is written, but not for ever.
pub fn flush() {
    QUEUE.flush(LAST_WORDS);
}

/// How many lines were lost so far, because nobody took them in time.
pub fn lost() -> u64 {
    QUEUE.lost()
}

fn report_lost(lines: u64) {
    tracing::warn!(lines, "log lines were dropped: standard error did not take them in time");
}

/// Where tracing's events join the queue.
struct Entrance;

/// Takes one event's line, which tracing writes in one piece.
struct Taker {
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for Entrance {
    type Writer = Taker;

    fn make_writer(&'a self) -> Taker {
        Taker { is_urgent: false }
    }

    fn make_writer_for(&'a self, event: &tracing::Metadata<'_>) -> Taker {
        Taker { is_urgent: *event.level() <= tracing::Level::WARN }
    }
}

impl io::Write for Taker {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        QUEUE.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
