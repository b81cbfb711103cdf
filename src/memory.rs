//! The bound on everything that Piton holds in memory for its clients at one time: request bodies, whole answers,
//! answers held back until they are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget of bytes, shared by all requests.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: AtomicUsize,
    used: AtomicUsize,
}

/// A part of the budget; it goes back when this is dropped.
#[derive(Debug)]
pub struct Held {
    memory: Memory,
    bytes: usize,
}

/// The budget does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Memory {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0) }))
    }

    /// Changes the budget; what is held stays held.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes `bytes` of the budget.
    pub fn hold(&self, bytes: usize) -> Result<Held, Full> {
        let mut held = Held { memory: self.clone(), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    /// How many bytes are held now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Takes `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let Inner { limit, used } = &*self.memory.0;
        let limit = limit.load(Ordering::Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| Full)?;
        self.bytes += bytes;
        Ok(())
    }

    /// How many bytes this holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_up_to_its_limit_and_gives_back() {
        let memory = Memory::new(10);
        let mut first = memory.hold(6).unwrap();
        assert_eq!(memory.hold(5).unwrap_err(), Full);
        first.grow(4).unwrap();
        assert_eq!(first.grow(1), Err(Full));
        drop(first);
        assert_eq!(memory.used(), 0);
    }
}
