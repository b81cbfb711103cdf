//! How far one attempt has come: what the layers around it tell each other while it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::attempt::Outcome;
use crate::chat::{Event, Usage};

/// The state that the layers of one attempt share.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    committed: AtomicBool,
    given_up: OnceLock<Outcome>,
    arrived: Mutex<Arrived>,
}

/// What has arrived of the answer, handed on or not.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    /// The latest token counts.
    pub usage: Option<Usage>,
    /// What was counted before the end.
    pub so_far: Option<Usage>,
    /// The model that the upstream says it uses.
    pub model: Option<String>,
    /// How many bytes of answer.
    pub content_bytes: usize,
    /// Events that could not be read.
    pub unreadable_events: u32,
}

impl Progress {
    /// The first byte of the answer may go to the client: from now on the chain's deadline is over.
    pub fn commit(&self) {
        self.0.committed.store(true, Ordering::Release);
    }

    /// Whether it may have gone.
    pub fn is_committed(&self) -> bool {
        self.0.committed.load(Ordering::Acquire)
    }

    /// Piton itself drops the answer, and this is why. Only the first reason counts.
    pub fn give_up(&self, outcome: Outcome) {
        let _ = self.0.given_up.set(outcome);
    }

    /// Why Piton dropped the answer, if it did.
    pub fn given_up(&self) -> Option<Outcome> {
        self.0.given_up.get().copied()
    }

    /// Counts an event as it arrives.
    pub fn see(&self, event: &Event) {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.content_bytes += event.content_bytes();
        if let Some(usage) = event.usage() {
            arrived.usage = Some(usage);
        }
        if let Event::SoFar(usage) = event {
            arrived.so_far = Some(*usage);
        }
        if let (None, Some(model)) = (&arrived.model, event.model()) {
            arrived.model = Some(model.to_owned());
        }
        if matches!(event, Event::Unreadable) {
            arrived.unreadable_events += 1;
        }
    }

    /// What has arrived so far; what arrives from now on is counted anew.
    pub fn take_arrived(&self) -> Arrived {
        std::mem::take(&mut *self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
