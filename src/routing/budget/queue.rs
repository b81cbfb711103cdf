//! Who waits at a bucket: one after the other, in the order in which they came. Those who came under other limits, before
//! or after a reload, stand in a line of their own: what holds them up says nothing of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::Limits;

/// A place among all who wait anywhere: the lower, the earlier.
#[derive(Debug, Clone)]
pub struct Turn {
    number: u64,
    called: Arc<Notify>,
}

/// Those who wait at one bucket: no line is empty.
#[derive(Debug, Default)]
pub struct Queue(SmallVec<[Line; 1]>);

/// Those who wait under the same limits.
#[derive(Debug)]
struct Line {
    limits: Limits,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

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
    pub fn join(&mut self, limits: &Limits, turn: &Turn) {
        let called = Arc::clone(&turn.called);
        if let Some(line) = self.0.iter_mut().find(|line| line.limits == *limits) {
            line.waiting.insert(turn.number, called);
        } else {
            self.0.push(Line { limits: *limits, waiting: BTreeMap::from([(turn.number, called)]) });
        }
    }

    /// Waits here no longer: whoever is first now may have waited for that.
    pub fn leave(&mut self, limits: &Limits, turn: &Turn) {
        let Some(at) = self.0.iter().position(|line| line.limits == *limits) else { return };
        let line = &mut self.0[at];
        if line.waiting.remove(&turn.number).is_none() {
            return;
        }
        if line.waiting.is_empty() {
            self.0.swap_remove(at);
        }
        self.call_first();
    }

    /// Something has changed that the first may have waited for.
    pub fn call_first(&self) {
        for called in self.0.iter().filter_map(|line| line.waiting.values().next()) {
            called.notify_one();
        }
    }

    /// Whether somebody waits under these limits who came before `turn`; without one: whether anybody does.
    pub fn is_ahead_of(&self, limits: &Limits, turn: Option<&Turn>) -> bool {
        let line = self.0.iter().find(|line| line.limits == *limits);
        let first = line.and_then(|line| line.waiting.keys().next());
        first.is_some_and(|first| turn.is_none_or(|turn| *first < turn.number))
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
