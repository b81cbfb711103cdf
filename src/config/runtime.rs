//! What outlives a configuration: connections, tokens, circuits, what was learned of targets, receipts, metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Memory;
use crate::ops::{Receipts, Telemetry};
use crate::routing::health::TargetHealth;
use crate::upstream::{Clients, Logins};

/// Beyond this many targets the memory of one that nobody uses any more is dropped.
const REMEMBERED: usize = 4096;

/// State that a reload keeps.
#[derive(Debug)]
pub struct Runtime {
    pub clients: Clients,
    pub logins: Logins,
    pub telemetry: Arc<Telemetry>,
    pub memory: Memory,
    pub receipts: Receipts,
    health: Mutex<HashMap<HealthKey, Arc<TargetHealth>>>,
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
            health: Mutex::default(),
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
}
