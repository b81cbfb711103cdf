//! From the requests to the one thread that writes: nobody waits for the disk but that thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::ops::Receipt;

/// The most that waits, be it for its turn or for a disk with room. What does not fit is left out, and counted.
pub const LIMIT: usize = 20_000;
/// So many go into one transaction: then it is written without waiting for more.
const ENOUGH: usize = 2_000;
/// What came in is written as often as this.
const GATHER: Duration = Duration::from_millis(250);

/// Receipts that wait to be written.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    due: Condvar,
    /// Wakes who waits for the writer's end.
    ended: Condvar,
    /// How many receipts were dealt with since the start.
    done: watch::Sender<u64>,
    /// Receipts that were never written.
    left_out: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    receipts: Vec<Arc<Receipt>>,
    /// How many the writer has taken and not yet written.
    in_hand: usize,
    /// How many came in since the start.
    entered: u64,
    /// They must not wait any longer.
    is_due: bool,
    /// No more will come.
    is_closing: bool,
    /// The writer has ended.
    is_over: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            due: Condvar::new(),
            ended: Condvar::new(),
            done: watch::Sender::new(0),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Adds a receipt. Answers whether there was room.
    pub fn push(&self, receipt: Arc<Receipt>) -> bool {
        let mut waiting = self.lock();
        if waiting.is_over || waiting.receipts.len() + waiting.in_hand >= LIMIT {
            drop(waiting);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        waiting.receipts.push(receipt);
        waiting.entered += 1;
        // The writer sleeps until the first comes, and then only until the rest of its time is over.
        let wakes = waiting.receipts.len() == 1 || waiting.receipts.len() == ENOUGH;
        drop(waiting);
        if wakes {
            self.due.notify_one();
        }
        true
    }

    /// Waits for receipts, at most so long, and moves them into the empty `batch`. Answers whether more may come.
    pub fn take(&self, batch: &mut Vec<Arc<Receipt>>, patience: Duration) -> bool {
        let nothing_is_here = |waiting: &mut Waiting| {
            if waiting.receipts.is_empty() {
                waiting.is_due = false;
            }
            waiting.receipts.is_empty() && !waiting.is_closing
        };
        let waited = self.due.wait_timeout_while(self.lock(), patience, nothing_is_here);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let may_wait = |waiting: &mut Waiting| {
            let some_are_here = (1..ENOUGH).contains(&waiting.receipts.len());
            some_are_here && !waiting.is_due && !waiting.is_closing
        };
        let gathered = self.due.wait_timeout_while(waiting, GATHER, may_wait);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        let count = waiting.receipts.len().min(ENOUGH);
        batch.extend(waiting.receipts.drain(..count));
        waiting.in_hand = count;
        if waiting.receipts.is_empty() {
            // What a burst needed is not kept.
            waiting.receipts.shrink_to(ENOUGH);
        }
        count > 0 || !waiting.is_closing
    }

    /// The batch is written, or given up.
    pub fn finish(&self, is_written: bool) {
        let mut waiting = self.lock();
        let count = std::mem::take(&mut waiting.in_hand) as u64;
        drop(waiting);
        if !is_written {
            self.left_out.fetch_add(count, Ordering::Relaxed);
        }
        self.done.send_modify(|done| *done += count);
    }

    /// Waits so long, or until no more will come. Answers whether more may come.
    pub fn pause(&self, time: Duration) -> bool {
        let waiting = self.lock();
        let paused = self.due.wait_timeout_while(waiting, time, |waiting| !waiting.is_closing);
        !paused.unwrap_or_else(PoisonError::into_inner).0.is_closing
    }

    /// The writer ends: what still waits is left out.
    pub fn end(&self) {
        let mut waiting = self.lock();
        let count = (std::mem::take(&mut waiting.receipts).len() + waiting.in_hand) as u64;
        waiting.in_hand = 0;
        waiting.is_over = true;
        drop(waiting);
        self.left_out.fetch_add(count, Ordering::Relaxed);
        self.done.send_modify(|done| *done += count);
        self.ended.notify_all();
    }

    /// Asks for what came in so far to be written at once. What resolves does so when it is.
    pub async fn flush(&self) {
        let wanted = {
            let mut waiting = self.lock();
            waiting.is_due = true;
            waiting.entered
        };
        self.due.notify_one();
        // The sender lives as long as this.
        let _ = self.done.subscribe().wait_for(|done| *done >= wanted).await;
    }

    /// Has the writer write what is there and end, and waits for that, but not for ever.
    pub fn close(&self, within: Duration) {
        let mut waiting = self.lock();
        waiting.is_closing = true;
        self.due.notify_one();
        // Whether it was in time makes no difference to anybody.
        let _ = self.ended.wait_timeout_while(waiting, within, |waiting| !waiting.is_over);
    }

    /// How many receipts wait, and how many were left out so far.
    pub fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        let count = (waiting.receipts.len() + waiting.in_hand) as u64;
        (count, self.left_out.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
