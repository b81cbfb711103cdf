//! What Piton tells of itself: log lines, metrics, receipts and the ledger, all from the same facts.

mod event;
pub mod identity;
pub mod ledger;
pub mod log;
mod metrics;
mod number;
mod packed;
mod receipt;
pub mod shelf;
mod story;
mod summary;

pub use event::Telemetry;
pub use ledger::Ledger;
pub use metrics::{CircuitGauge, Counters};
#[cfg(any(test, feature = "bench-internals"))]
pub use receipt::sample;
pub use receipt::{Receipt, bounds, ceilings, drawn};
pub use shelf::Receipts;
pub use story::estimate;
pub use summary::{Summary, trail_header};

/// As log lines and receipts tell a time.
#[expect(clippy::cast_possible_truncation, reason = "no request lasts 500 million years")]
fn milliseconds(time: std::time::Duration) -> u64 {
    time.as_millis() as u64
}
