//! What Piton tells of itself: log lines, metrics and receipts, all from the same facts.

mod event;
pub mod identity;
pub mod log;
mod metrics;
pub mod receipt;
mod summary;

pub use event::Telemetry;
pub use metrics::CircuitGauge;
pub use receipt::Receipts;
pub use summary::{Finished, Summary, fallback, total_cost, trail_header};
