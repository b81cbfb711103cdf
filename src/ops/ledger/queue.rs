//! From the requests to the one thread that writes: nobody waits for the disk but that thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::ops::shelf::Reader;
use crate::ops::{Receipt, packed};
use crate::routing::budget::Drawn;

/// The most that waits, be it for its turn or for a disk with room. What does not fit is left out, and counted.
const LIMIT: usize = 20_000;
/// The same in bytes, of which hardly any receipt has a thousand.
const LIMIT_BYTES: usize = 64 << 20;
/// So many are written without waiting for more.
const ENOUGH: usize = 2_000;
/// Bytes that a batch may leave behind for the next.
const ROOM_KEPT: usize = 2 << 20;
/// What came in is written as often as this.
const GATHER: Duration = Duration::from_millis(500);

/// Receipts that wait to be written.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    due: Condvar,
    /// Wakes who waits for a batch to be written, or for the writer's end.
    settled: Condvar,
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

/// Receipts, packed one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    packed: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// What they drew from budgets.
    pub drawn: Vec<Drawn>,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// What the writer has taken and not yet written.
    in_hand: Arc<Batch>,
    /// Room for the next: that of what is written.
    spare: Batch,
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

impl Waiting {
    fn len(&self) -> usize {
        self.batch.len() + self.in_hand.len()
    }
}

impl Batch {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One after the other.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let start = |place: usize| if place == 0 { 0 } else { self.ends[place - 1] };
        self.ends.iter().enumerate().map(move |(place, end)| &self.packed[start(place)..*end])
    }

    /// Adds one.
    pub fn push(&mut self, packed: &[u8], drawn: &[Drawn]) {
        self.packed.extend_from_slice(packed);
        self.ends.push(self.packed.len());
        self.drawn.extend_from_slice(drawn);
    }

    fn clear(&mut self) {
        self.packed.clear();
        self.ends.clear();
        self.drawn.clear();
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            due: Condvar::new(),
            settled: Condvar::new(),
            added_up: watch::Sender::new(0),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Queue {
    /// Adds a receipt. Answers whether there was room.
    pub fn push(&self, receipt: &Receipt) -> bool {
        packed::pack(receipt, |packed| self.enter(packed, &receipt.drawn))
    }

    fn enter(&self, packed: &[u8], drawn: &[Drawn]) -> bool {
        let mut waiting = self.lock();
        let has_room = waiting.len() < LIMIT && waiting.batch.packed.len() < LIMIT_BYTES;
        if waiting.is_over || !has_room {
            drop(waiting);
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        waiting.batch.push(packed, drawn);
        waiting.entered += 1;
        // The writer sleeps until the first comes, and then only until the rest of its time is over.
        let wakes = matches!(waiting.batch.len(), 1 | ENOUGH);
        drop(waiting);
        if wakes {
            self.due.notify_one();
        }
        true
    }

    /// The newest receipt of this id that waits and that the reader may see, as callers read it.
    pub fn find(&self, id: &str, reader: Reader<'_>) -> Option<Value> {
        let waiting = self.lock();
        let newest_first = waiting.batch.receipts().rev().chain(waiting.in_hand.receipts().rev());
        let mut of_this_id = newest_first.filter(|packed| packed::id(packed) == id);
        of_this_id.find_map(|packed| packed::told(packed, id, reader))
    }

    /// Waits for receipts, at most so long, and takes them in hand unless there are some already.
    pub fn take(&self, patience: Duration) -> Next {
        let nothing_to_do =
            |waiting: &mut Waiting| waiting.batch.is_empty() && !waiting.is_due && !waiting.is_closing;
        let waited = self.due.wait_timeout_while(self.lock(), patience, nothing_to_do);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let may_wait = |waiting: &mut Waiting| {
            let some_are_here = (1..ENOUGH).contains(&waiting.batch.len());
            some_are_here && !waiting.is_due && !waiting.is_closing
        };
        let gathered = self.due.wait_timeout_while(waiting, GATHER, may_wait);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        if waiting.batch.is_empty() && waiting.is_closing {
            return Next::End;
        }
        let room = std::mem::take(&mut waiting.spare);
        waiting.in_hand = Arc::new(std::mem::replace(&mut waiting.batch, room));
        Next::Write { at_once: std::mem::take(&mut waiting.is_due) }
    }

    /// What the writer has taken.
    pub fn in_hand(&self) -> Arc<Batch> {
        Arc::clone(&self.lock().in_hand)
    }

    /// This, which was in hand, is written.
    pub fn written(&self, batch: Arc<Batch>) {
        let mut waiting = self.lock();
        waiting.in_hand = Arc::default();
        waiting.done += batch.len() as u64;
        // What a burst needed is not kept.
        if let Some(mut room) = Arc::into_inner(batch).filter(|room| room.packed.capacity() <= ROOM_KEPT) {
            room.clear();
            waiting.spare = room;
        }
        drop(waiting);
        self.settled.notify_all();
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
        let left_out = waiting.len() as u64;
        (waiting.batch, waiting.in_hand, waiting.spare) = Default::default();
        waiting.done = waiting.entered;
        waiting.is_over = true;
        drop(waiting);
        self.left_out.fetch_add(left_out, Ordering::Relaxed);
        self.added_up();
        self.settled.notify_all();
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

    /// Asks for what came in so far to be written at once, and waits for that, but not for ever. Only for a thread that
    /// may wait.
    pub fn flush_within(&self, time: Duration) {
        let mut waiting = self.lock();
        waiting.is_due = true;
        let wanted = waiting.entered;
        self.due.notify_one();
        let is_missing = |waiting: &mut Waiting| waiting.done < wanted && !waiting.is_over;
        // If it takes longer, what is there must do.
        let _ = self.settled.wait_timeout_while(waiting, time, is_missing);
    }

    /// Has the writer write what is there and end, and waits for that, but not for ever.
    pub fn close(&self, within: Duration) {
        let mut waiting = self.lock();
        waiting.is_closing = true;
        self.due.notify_one();
        // Whether it was in time makes no difference to anybody.
        let _ = self.settled.wait_timeout_while(waiting, within, |waiting| !waiting.is_over);
    }

    /// How many receipts wait, and how many were left out so far.
    pub fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.len() as u64, self.left_out.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
