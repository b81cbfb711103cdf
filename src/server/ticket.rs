//! One chat request from its arrival to its settlement. However it ends, it is settled once: in the log, in the
//! metrics, in its receipt.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::App;
use super::error::{CLIENT_CANCELLED, CLIENT_CLOSED_REQUEST, EXPLAINED};
use crate::chat::Usage;
use crate::clock;
use crate::config::gateway::Gateway;
use crate::memory::Held;
use crate::ops::{Receipt, Summary, bounds, drawn};
use crate::routing::blend::Traffic;
use crate::routing::quota::{Admitted, Quota};
use crate::routing::{Chain, Entry, Origin, Trail};
use crate::units::Cost;

/// A request under way.
pub struct Ticket {
    app: App,
    pub gateway: Arc<Gateway>,
    pub origin: Arc<Origin>,
    pub chain: Option<Arc<Chain>>,
    pub trail: Trail,
    /// The place of the target that serves.
    pub served: Option<usize>,
    /// The client's own cost ceiling.
    pub max_cost: Option<Cost>,
    /// Whether the client wants the receipt in its answer.
    pub wants_receipt: bool,
    /// The request body's place in the memory budget.
    pub held: Option<Held>,
    /// The caller's limits, where it has any.
    pub quota: Option<Arc<Quota>>,
    /// The request's place in them.
    pub admitted: Option<Admitted>,
    arrived: Instant,
    began_ms: u64,
    /// When the whole request was in hand.
    in_hand: Instant,
    overhead: Option<Duration>,
    settled: bool,
    /// Whether the caller may come in.
    pub is_admitted: bool,
}

impl Ticket {
    /// A request has arrived.
    pub fn new(app: &App, gateway: Arc<Gateway>, origin: Origin) -> Self {
        app.0.in_flight.fetch_add(1, Ordering::Relaxed);
        app.live().runtime().telemetry.in_flight(1);
        let now = Instant::now();
        Self {
            app: app.clone(),
            gateway,
            origin: Arc::new(origin),
            chain: None,
            trail: Trail::default(),
            served: None,
            max_cost: None,
            wants_receipt: false,
            held: None,
            quota: None,
            admitted: None,
            arrived: now,
            began_ms: u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX),
            in_hand: now,
            overhead: None,
            settled: false,
            is_admitted: false,
        }
    }

    /// Whether more requests run than the owner allows.
    pub fn is_one_too_many(&self) -> bool {
        self.app.in_flight() > self.gateway.server.max_in_flight
    }

    /// The whole request is here: from now on time is the gateway's or the upstream's.
    pub fn mark_in_hand(&mut self) {
        self.in_hand = Instant::now();
    }

    /// The first byte of the answer is ready: what the gateway itself took until now is known.
    pub fn mark_answered(&mut self) {
        let now = Instant::now();
        let time = |entry: &Entry| match entry {
            // Such attempts overlap: all of them together were measured as one wait.
            Entry::Attempt(record) if record.aside.is_some() => Duration::ZERO,
            Entry::Attempt(record) if record.outcome.is_some() => record.latency,
            // What serves has been waited for until now, be it that its answer was held back.
            Entry::Attempt(record) => now.duration_since(record.started),
            Entry::Skip(_) => Duration::ZERO,
        };
        let upstream: Duration = self.trail.read(|entries| entries.iter().map(time).sum());
        let elapsed = now.duration_since(self.in_hand);
        self.overhead = Some(elapsed.saturating_sub(upstream).saturating_sub(self.trail.waited()));
    }

    /// What the target that serves has used, counted or estimated.
    pub fn usage(&self) -> Usage {
        self.trail.read(|entries| Summary::of(entries, self.served, None).usage())
    }

    /// The tokens of all attempts together.
    fn tokens(&self) -> u64 {
        let tokens = |entry: &Entry| match entry {
            Entry::Attempt(record) => record.usage.total().get(),
            Entry::Skip(_) => 0,
        };
        self.trail.read(|entries| entries.iter().map(tokens).sum())
    }

    /// Writes the request down as over. Only the first call counts. Gives the receipt where the client wants it in its
    /// answer.
    pub fn settle(&mut self, outcome: &'static str, status: u16) -> Option<Value> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        // Before the answer's last byte: whoever has it may ask again at once.
        if let Some(admitted) = self.admitted.take() {
            admitted.settle(self.tokens());
        }
        let runtime = self.app.live().runtime();
        let receipt = self.trail.read(|entries| {
            let first = self.chain.as_ref().and_then(|chain| chain.targets.first());
            let summary = Summary::of(entries, self.served, first.map(|target| &**target));
            let receipt = self.receipt(outcome, status, entries, summary.cost_at_first);
            for entry in entries {
                if let Entry::Skip(record) = entry {
                    runtime.telemetry.skip(&self.origin, record);
                }
            }
            runtime.telemetry.request(&receipt, &summary);
            if let (Some(chain), Some(cost)) = (&self.chain, summary.cost) {
                let tokens = summary.usage().total();
                chain.blend.add(Duration::from_millis(self.began_ms), Traffic { cost, tokens });
            }
            receipt
        });
        // Whoever is not let in must not push out the receipts of those who are.
        if !self.is_admitted {
            return None;
        }
        let told = self.wants_receipt.then(|| receipt.to_json());
        if !runtime.ledger.enter(&receipt) {
            runtime.receipts.file(&receipt);
        }
        told
    }

    /// Writes the request down as explained: it had no answer that could count among those of its chain, nor is there
    /// anything to keep a receipt of.
    pub fn settle_explained(&mut self) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Some(admitted) = self.admitted.take() {
            admitted.settle(0);
        }
        let receipt = self.receipt(EXPLAINED, StatusCode::OK.as_u16(), &[], None);
        self.app.live().runtime().telemetry.explained(&receipt);
    }

    fn receipt(
        &self,
        outcome: &'static str,
        status: u16,
        entries: &[Entry],
        cost_at_first: Option<Cost>,
    ) -> Receipt {
        Receipt {
            origin: Arc::clone(&self.origin),
            trail: self.trail.clone(),
            config: Arc::clone(&self.gateway.hash),
            served: self.served,
            max_cost: self.max_cost,
            cost_at_first,
            bounds: self.chain.as_ref().map(|chain| bounds(entries, chain)).unwrap_or_default(),
            drawn: drawn(entries),
            outcome,
            status,
            latency: self.arrived.elapsed(),
            overhead: self.overhead,
            began_ms: self.began_ms,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(CLIENT_CANCELLED, CLIENT_CLOSED_REQUEST);
        self.app.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.app.live().runtime().telemetry.in_flight(-1);
    }
}

impl App {
    /// Chat requests being answered.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}
