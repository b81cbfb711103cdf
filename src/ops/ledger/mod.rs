//! The ledger: every request and attempt in one SQLite file, and the sums of each hour and day beside them.
//!
//! Requests leave their receipts in a bounded [`queue`] and go on; one thread ([`writer`]) puts them into the [`mod@file`]
//! in batches, as [`rows`] that name [`cases`], and takes out what is too old. Now and then it adds them up to [`sums`], which are
//! packed into a [`chunk`] for each hour and day. What is wrong with the file is a [`fault`]: it is said once, the receipts
//! wait in memory as long as there is room, and the file is tried again. Whoever reads opens a connection of his own,
//! which cannot write. [`schema`] has the tables, [`spend`] answers from them with a [`tally`].

mod cases;
mod chunk;
pub mod draws;
mod fault;
mod file;
mod mix;
mod names;
mod queue;
mod rows;
mod schema;
pub mod spend;
mod spent;
mod sums;
mod tally;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::receipt::Receipt;
use super::shelf::Reader;
use queue::Queue;
use spend::{Answer, Question};

pub use fault::Fault;
pub use spent::{COUNTS, Money, Spent};

/// The ledger, once it is started; without that, none is kept.
#[derive(Debug, Default)]
pub struct Ledger(OnceLock<Running>);

/// Where it is and what stays in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub place: Place,
    pub keep: Keep,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The owner wants none.
    Off,
    /// In a state directory of which nothing says where it is.
    Unknown,
    At(PathBuf),
}

/// How long things stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Requests and attempts.
    pub requests: Duration,
    /// The sums of each hour and day.
    pub sums: Duration,
}

/// How it is with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None is kept.
    Off,
    /// It has not been looked at yet.
    Starting,
    Writing,
    Faulty(Fault),
}

/// Why nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("no ledger is kept")]
    Off,
    #[error("the ledger cannot be read: {0}")]
    Faulty(#[from] Fault),
    #[error("the ledger took too long")]
    TooLong,
}

#[derive(Debug)]
struct Running {
    path: Arc<Path>,
    shared: Arc<Shared>,
    /// Those who read at the same time.
    readers: Semaphore,
}

/// What requests, readers and the writer share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    standing: watch::Sender<Standing>,
    keep: Mutex<Keep>,
    /// Whether it was said already that receipts are left out.
    is_overflowing: AtomicBool,
    path: Arc<Path>,
}

/// So many read at the same time; others wait for their turn.
const READERS: usize = 2;
/// How long who reads waits for the last batch.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// How long a question may take.
const LONGEST_LOOK: Duration = Duration::from_mins(1);
/// How long the end of the process may be held up.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Ledger {
    /// Begins to write. Only the first call counts.
    pub fn start(&self, settings: &Settings) {
        let path = match &settings.place {
            Place::Off => return,
            Place::Unknown => {
                tracing::warn!("no ledger is kept: set PITON_STATE_DIR, or [ledger] path to a whole path");
                return;
            }
            Place::At(path) => path,
        };
        let running = self.0.get_or_init(|| Running::new(path, settings.keep));
        let (shared, path) = (Arc::clone(&running.shared), Arc::clone(&running.path));
        let started = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            let work = AssertUnwindSafe(|| writer::run(&shared, &path));
            if catch_unwind(work).is_err() {
                shared.stand(Standing::Faulty(Fault::Failed("its writer panicked".to_owned())));
                shared.queue.end();
            }
        });
        if let Err(error) = started {
            running.shared.stand(Standing::Faulty(Fault::Failed(error.to_string())));
            running.shared.queue.end();
        }
    }

    /// Enters a request that is over. Answers whether it is taken.
    pub fn enter(&self, receipt: &Receipt) -> bool {
        let Some(Running { shared, .. }) = self.0.get() else { return false };
        let is_taken = shared.queue.push(receipt);
        if !is_taken && !shared.is_overflowing.swap(true, Ordering::Relaxed) {
            tracing::warn!(path = %shared.path.display(), "requests are left out of the ledger: too many wait to be written");
        }
        is_taken
    }

    /// The newest receipt of this id that waits to be written and that the reader may see, as callers read it.
    pub fn waiting(&self, id: &str, reader: Reader<'_>) -> Option<Value> {
        self.0.get()?.shared.queue.find(id, reader)
    }

    /// Changes how long things stay.
    pub fn set_keep(&self, keep: Keep) {
        if let Some(Running { shared, .. }) = self.0.get() {
            *shared.keep.lock().unwrap_or_else(PoisonError::into_inner) = keep;
        }
    }

    /// How it is with the file.
    pub fn standing(&self) -> Standing {
        self.0.get().map_or(Standing::Off, |running| running.shared.standing())
    }

    /// How many receipts wait to be written, and how many never were.
    pub fn counts(&self) -> (u64, u64) {
        self.0.get().map_or((0, 0), |running| running.shared.queue.counts())
    }

    /// For the status.
    pub fn to_json(&self) -> Value {
        let (waiting, left_out) = self.counts();
        let standing = self.standing();
        let mut told = json!({ "state": standing.code(), "waiting": waiting, "left_out": left_out });
        if let Some(running) = self.0.get() {
            told["path"] = json!(running.path.display().to_string());
        }
        if let Standing::Faulty(fault) = standing {
            told["error"] = json!(fault.to_string());
            told["advice"] = json!(fault.advice());
        }
        told
    }

    /// The newest receipt of this id that the reader may see, as callers read it.
    pub async fn find(&self, id: &str, reader: Reader<'_>) -> Result<Option<Value>, Unreadable> {
        let id = id.to_owned();
        let key = match reader {
            Reader::Admin => None,
            Reader::Key(key) => Some(key.to_owned()),
        };
        let found = self.read(move |connection| {
            let reader = key.as_deref().map_or(Reader::Admin, Reader::Key);
            Ok(rows::find(connection, &id, reader)?)
        });
        Ok(found.await?.map(|story| story.to_json()))
    }

    /// What was spent.
    pub async fn spend(&self, question: Question) -> Result<Answer, Unreadable> {
        self.read(move |connection| spend::answer(connection, &question)).await
    }

    /// Has what came in so far written, and waits for that, but not for ever.
    pub fn flush(&self) {
        if let Some(Running { shared, .. }) = self.0.get()
            && shared.standing() == Standing::Writing
        {
            shared.queue.flush_within(LAST_BATCH);
        }
    }

    /// Writes what is there and ends, but does not take for ever. What comes later is left out.
    pub fn close(&self) {
        if let Some(Running { shared, .. }) = self.0.get() {
            shared.queue.close(LAST_WORDS);
        }
    }

    /// Looks at the file, with everything in it that came in so far.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unreadable> {
        let running = self.0.get().ok_or(Unreadable::Off)?;
        let _turn = running.readers.acquire().await;
        // If it takes longer, what is there must do.
        let _ = tokio::time::timeout(LAST_BATCH, running.shared.last_batch()).await;
        let path = Arc::clone(&running.path);
        let connection = blocking(move || file::open_to_read(&path)).await?;
        let _stop = Stop(connection.get_interrupt_handle());
        let looked = blocking(move || look(&connection));
        tokio::time::timeout(LONGEST_LOOK, looked).await.map_err(|_| Unreadable::TooLong)?.map_err(Into::into)
    }
}

/// Ends a question that nobody waits for any more.
struct Stop(InterruptHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Fault::Failed(error.to_string())))
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.close();
    }
}

impl Running {
    fn new(path: &Path, keep: Keep) -> Self {
        let path: Arc<Path> = path.into();
        let shared = Shared {
            queue: Queue::default(),
            standing: watch::Sender::new(Standing::Starting),
            keep: Mutex::new(keep),
            is_overflowing: AtomicBool::new(false),
            path: Arc::clone(&path),
        };
        Self { path, shared: Arc::new(shared), readers: Semaphore::new(READERS) }
    }
}

impl Shared {
    fn keep(&self) -> Keep {
        *self.keep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Resolves when everything that came in so far is written, or cannot be.
    async fn last_batch(&self) {
        // The sender lives as long as this.
        let _ = self.standing.subscribe().wait_for(|standing| *standing != Standing::Starting).await;
        if self.standing() == Standing::Writing {
            self.queue.flush().await;
        }
    }

    /// Says what is new about the file: once, not each time that it is tried.
    fn stand(&self, standing: Standing) {
        if self.standing.borrow().code() == standing.code() {
            return;
        }
        let before = self.standing.send_replace(standing.clone());
        let path = self.path.display();
        match (standing, before) {
            (Standing::Faulty(fault), _) => {
                let (state, advice) = (fault.code(), fault.advice());
                tracing::warn!(%path, state, "the ledger is not written: {fault}; {advice}");
            }
            (Standing::Writing, Standing::Faulty(_)) => {
                self.is_overflowing.store(false, Ordering::Relaxed);
                let (_, left_out) = self.queue.counts();
                tracing::info!(%path, left_out, "the ledger is written again");
            }
            (Standing::Off | Standing::Starting | Standing::Writing, _) => {}
        }
    }
}

impl Standing {
    /// Every stable name.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        ["off", "starting", "ok"].into_iter().chain(Fault::CODES)
    }

    /// The stable name, in metrics and in the status.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Writing => "ok",
            Self::Faulty(fault) => fault.code(),
        }
    }
}

#[cfg(test)]
mod tests;
