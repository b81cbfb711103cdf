//! What stands around every upstream call. The whole order is [`stack`]; each layer is one named service.

use std::sync::Arc;

use tower::service_fn;
use tower::util::BoxCloneSyncService;

use crate::chat::ChatStream;
use crate::memory::Memory;
use crate::routing::breaker::BreakerRule;
use crate::routing::chain::Clocks;
use crate::routing::{Call, Commit, NotServed, Serve};

use breaker::{Breaker, Guarded};
use budget::Budgeted;
use ceiling::Ceiling;
use commit::{Hold, HoldRule};
use deadline::{ClockRule, Deadline};
use meter::Meter;
use record::Record;
use retry::Repeat;

mod breaker;
mod budget;
mod ceiling;
mod commit;
mod deadline;
mod meter;
mod record;
mod retry;
#[cfg(test)]
pub mod scripted;
#[cfg(test)]
mod tests;

pub use budget::BudgetRule;
pub use record::Subject;
pub use retry::RetryRule;

/// What the layers of one target go by.
pub struct Rules {
    pub subject: Subject,
    pub budgets: BudgetRule,
    pub retry: RetryRule,
    pub commit: Commit,
    /// What `commit` may hold of one answer, in bytes.
    pub max_answer: usize,
    pub memory: Memory,
    pub clocks: Clocks,
    /// `None`: no breaker.
    pub breaker: Option<BreakerRule>,
    /// The owner takes an answer without content for an answer.
    pub accept_empty: bool,
    /// The model thinks whatever the request says.
    pub always_reasons: bool,
    /// The target can stream.
    pub streams: bool,
}

/// Puts the layers around a target's upstream, innermost first.
pub fn stack(upstream: impl Serve, rules: Rules) -> BoxCloneSyncService<Call, ChatStream, NotServed> {
    let subject = Arc::new(rules.subject);
    let clocks = ClockRule {
        clocks: rules.clocks,
        accept_empty: rules.accept_empty,
        always_reasons: rules.always_reasons,
        streams: rules.streams,
    };
    let guarded = Guarded { health: Arc::clone(&subject.health), rule: rules.breaker };
    let hold = HoldRule { commit: rules.commit, max_answer: rules.max_answer, memory: rules.memory };
    // Innermost: what arrives is counted before anything can go wrong with it.
    let service = Meter { inner: upstream };
    // Waits for the first content under the clocks, so that all other layers see silence as a failure.
    let service = Deadline { inner: service, rule: clocks };
    // Outside the clocks, so that a timeout counts; inside the record, so that a refusal is no attempt.
    let service = Breaker { inner: service, guarded: Arc::new(guarded) };
    // Before the breaker is asked: a call that is not made for its price must not use up a probe.
    let service = Ceiling { inner: service, subject: Arc::clone(&subject) };
    // Inside the retry, so that every try leaves a line.
    let service = Record { inner: service, subject: Arc::clone(&subject) };
    // Outside the record: the wait for a budget is no time of the target's. What it sets aside, the record counts.
    let service = Budgeted { inner: service, rule: rules.budgets, subject };
    // Outside the record, which sees the answer break while it is still held back.
    let service = Hold { inner: service, rule: hold };
    // Outermost: repeats all of the above.
    let service = Arc::new(Repeat { inner: service, rule: rules.retry });
    // Every target is always ready: what limits it are its breaker and its clocks.
    BoxCloneSyncService::new(service_fn(move |call| {
        let service = Arc::clone(&service);
        async move { service.serve(&call).await }
    }))
}
