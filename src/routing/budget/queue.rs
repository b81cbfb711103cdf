//! Who waits at a bucket: one after the other, in the order in which they came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A place among all who wait anywhere: the lower, the earlier.
#[derive(Debug, Clone)]
pub struct Turn {
    number: u64,
    called: Arc<Notify>,
}

/// Those who wait at one bucket.
#[derive(Debug, Default)]
pub struct Queue(BTreeMap<u64, Arc<Notify>>);

impl Turn {
    /// Behind everybody.
    pub fn last() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), called: Arc::default() }
    }

    /// Waits until it is worth trying again.
    pub async fn called(&self) {
        self.called.notified().await;
    }
}

impl Queue {
    /// Waits here from now on, if it does not already.
    pub fn join(&mut self, turn: &Turn) {
        self.0.insert(turn.number, Arc::clone(&turn.called));
    }

    /// Waits here no longer: whoever is first now may have waited for that.
    pub fn leave(&mut self, turn: &Turn) {
        if self.0.remove(&turn.number).is_some() {
            self.call_first();
        }
    }

    /// Something has changed that the first may have waited for.
    pub fn call_first(&self) {
        if let Some(called) = self.0.values().next() {
            called.notify_one();
        }
    }

    /// Whether somebody waits who came before `turn`; without one: whether anybody does.
    pub fn is_ahead_of(&self, turn: Option<&Turn>) -> bool {
        let first = self.0.keys().next();
        first.is_some_and(|first| turn.is_none_or(|turn| *first < turn.number))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
