//! What outlives a configuration: connections, tokens, circuits, what was learned of targets, receipts, metrics, what
//! was spent under budgets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Memory;
use crate::ops::{Ledger, Receipts, Telemetry};
use crate::routing::blend::Blend;
use crate::routing::budget::Books;
use crate::routing::descriptions::Descriptions;
use crate::routing::health::TargetHealth;
use crate::routing::quota::Taken;
use crate::upstream::{Clients, Logins};

/// Beyond this many targets, callers or chains the memory of one that nobody uses any more is dropped.
const REMEMBERED: usize = 4096;

/// State that a reload keeps.
#[derive(Debug)]
pub struct Runtime {
    pub clients: Clients,
    pub logins: Logins,
    pub telemetry: Arc<Telemetry>,
    pub memory: Memory,
    pub receipts: Receipts,
    /// Started by whoever serves.
    pub ledger: Ledger,
    pub descriptions: Arc<Descriptions>,
    /// What was spent under budgets.
    pub books: Books,
    health: Mutex<HashMap<HealthKey, Arc<TargetHealth>>>,
    /// By the names of the callers' keys.
    taken: Mutex<HashMap<Arc<str>, Arc<Taken>>>,
    blends: Mutex<HashMap<Arc<str>, Arc<Blend>>>,
}

/// Whose health it is. With another key or another place a target starts clean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HealthKey {
    pub target: Arc<str>,
    pub base_url: String,
    /// The credential's identity.
    pub credential: Option<u64>,
}

impl Runtime {
    /// A fresh one; `buffer_memory` in bytes.
    pub fn new(buffer_memory: usize) -> Self {
        Self {
            clients: Clients::default(),
            logins: Logins::default(),
            telemetry: Arc::default(),
            memory: Memory::new(buffer_memory),
            receipts: Receipts::default(),
            ledger: Ledger::default(),
            descriptions: Arc::default(),
            books: Books::default(),
            health: Mutex::default(),
            taken: Mutex::default(),
            blends: Mutex::default(),
        }
    }

    /// The memory of a target, the same for every chain that uses it.
    pub fn health(&self, key: HealthKey) -> Arc<TargetHealth> {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if health.len() >= REMEMBERED {
            health.retain(|_, health| Arc::strong_count(health) > 1);
        }
        Arc::clone(health.entry(key).or_default())
    }

    /// What the caller with this key has taken of its limits.
    pub fn taken(&self, key: &Arc<str>) -> Arc<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED {
            taken.retain(|_, taken| Arc::strong_count(taken) > 1);
        }
        Arc::clone(taken.entry(Arc::clone(key)).or_default())
    }

    /// What the traffic of a chain costs.
    pub fn blend(&self, chain: &Arc<str>) -> Arc<Blend> {
        let mut blends = self.blends.lock().unwrap_or_else(PoisonError::into_inner);
        if blends.len() >= REMEMBERED {
            blends.retain(|_, blend| Arc::strong_count(blend) > 1);
        }
        Arc::clone(blends.entry(Arc::clone(chain)).or_default())
    }
}
