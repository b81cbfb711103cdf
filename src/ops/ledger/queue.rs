//! From the requests to the one thread that writes: nobody waits for the disk but that thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::ops::Receipt;
use crate::ops::shelf::Reader;

/// The most that waits, be it for its turn or for a disk with room. What does not fit is left out, and counted.
pub const LIMIT: usize = 20_000;
/// So many go into one transaction: then it is written without waiting for more.
const ENOUGH: usize = 2_000;
/// What came in is written as often as this.
const GATHER: Duration = Duration::from_millis(500);

/// Receipts that wait to be written.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    due: Condvar,
    /// Wakes who waits for the writer's end.
    ended: Condvar,
    /// Of how many receipts, since the start, the sums are written or given up.
    added_up: watch::Sender<u64>,
    /// Receipts that were never written.
    left_out: AtomicU64,
}

/// What the writer is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// To write what it has in hand, if anything; and the sums too, if somebody waits for them.
    Write { at_once: bool },
    /// Nothing is left, and no more will come.
    End,
}

#[derive(Debug, Default)]
struct Waiting {
    receipts: Vec<Receipt>,
    /// What the writer has taken and not yet written.
    in_hand: Arc<Vec<Receipt>>,
    /// Room for the next: that of what is written.
    spare: Vec<Receipt>,
    /// How many came in since the start, and with how many of them the writer is done.
    entered: u64,
    done: u64,
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
            added_up: watch::Sender::new(0),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Adds a receipt. Gives it back where there is no room.
    pub fn push(&self, receipt: Receipt) -> Result<(), Receipt> {
        let mut waiting = self.lock();
        if waiting.is_over || waiting.receipts.len() + waiting.in_hand.len() >= LIMIT {
            drop(waiting);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return Err(receipt);
        }
        waiting.receipts.push(receipt);
        waiting.entered += 1;
        // The writer sleeps until the first comes, and then only until the rest of its time is over.
        let wakes = waiting.receipts.len() == 1 || waiting.receipts.len() == ENOUGH;
        drop(waiting);
        if wakes {
            self.due.notify_one();
        }
        Ok(())
    }

    /// The newest receipt of this id that waits and that the reader may see.
    pub fn find(&self, id: &str, reader: Reader<'_>) -> Option<Receipt> {
        let waiting = self.lock();
        let mut newest_first = waiting.receipts.iter().rev().chain(waiting.in_hand.iter().rev());
        newest_first.find(|receipt| reader.may_see(receipt, id)).cloned()
    }

    /// Waits for receipts, at most so long, and takes them in hand unless there are some already.
    pub fn take(&self, patience: Duration) -> Next {
        let nothing_to_do =
            |waiting: &mut Waiting| waiting.receipts.is_empty() && !waiting.is_due && !waiting.is_closing;
        let waited = self.due.wait_timeout_while(self.lock(), patience, nothing_to_do);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let may_wait = |waiting: &mut Waiting| {
            let some_are_here = (1..ENOUGH).contains(&waiting.receipts.len());
            some_are_here && !waiting.is_due && !waiting.is_closing
        };
        let gathered = self.due.wait_timeout_while(waiting, GATHER, may_wait);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        if waiting.receipts.is_empty() && waiting.is_closing {
            return Next::End;
        }
        let count = waiting.receipts.len().min(ENOUGH);
        let mut rest = std::mem::take(&mut waiting.spare);
        rest.extend(waiting.receipts.drain(count..));
        let taken = std::mem::replace(&mut waiting.receipts, rest);
        waiting.in_hand = Arc::new(taken);
        // The sums are of use only when all are in them.
        let at_once = waiting.is_due && waiting.receipts.is_empty();
        if at_once {
            waiting.is_due = false;
        }
        Next::Write { at_once }
    }

    /// What the writer has taken.
    pub fn in_hand(&self) -> Arc<Vec<Receipt>> {
        Arc::clone(&self.lock().in_hand)
    }

    /// This, which was in hand, is written.
    pub fn written(&self, batch: Arc<Vec<Receipt>>) {
        let mut waiting = self.lock();
        waiting.in_hand = Arc::default();
        waiting.done += batch.len() as u64;
        drop(waiting);
        // It is taken apart here, where nobody waits for it. What a burst needed is not kept.
        if let Some(mut room) = Arc::into_inner(batch).filter(|room| room.capacity() <= 2 * ENOUGH) {
            room.clear();
            self.lock().spare = room;
        }
    }

    /// What is in hand will never be written.
    pub fn give_up(&self) {
        let batch = self.in_hand();
        self.left_out.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.written(batch);
    }

    /// What is written is in the sums.
    pub fn added_up(&self) {
        let done = self.lock().done;
        self.added_up.send_replace(done);
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
        let rest = std::mem::take(&mut waiting.receipts);
        let in_hand = std::mem::take(&mut waiting.in_hand);
        waiting.done = waiting.entered;
        waiting.is_over = true;
        drop(waiting);
        self.left_out.fetch_add((rest.len() + in_hand.len()) as u64, Ordering::Relaxed);
        self.added_up();
        self.ended.notify_all();
    }

    /// Asks for what came in so far to be written and added up at once. What resolves does so when it is.
    pub async fn flush(&self) {
        let wanted = {
            let mut waiting = self.lock();
            if *self.added_up.borrow() >= waiting.entered {
                return;
            }
            waiting.is_due = true;
            waiting.entered
        };
        self.due.notify_one();
        // The sender lives as long as this.
        let _ = self.added_up.subscribe().wait_for(|done| *done >= wanted).await;
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
        let count = (waiting.receipts.len() + waiting.in_hand.len()) as u64;
        (count, self.left_out.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
