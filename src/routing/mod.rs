//! Which target serves: a chain's plan, its run, and what is remembered of targets between requests.

pub mod attempt;
pub mod backoff;
pub mod blend;
pub mod branch;
pub mod breaker;
pub mod budget;
pub mod ceiling;
pub mod chain;
pub mod describe;
pub mod descriptions;
pub mod explain;
pub mod group;
pub mod health;
mod last_chain;
mod offline;
pub mod plan;
pub mod progress;
pub mod quota;
pub mod room;
pub mod run;
pub mod serve;
mod spread;
pub mod step;
pub mod terms;

pub use attempt::{AttemptRecord, Call, Entry, NotServed, Origin, Outcome, Place, SkipRecord, Trail};
pub use chain::{Chain, Commit, Target};
pub use progress::Progress;
pub use serve::Serve;
