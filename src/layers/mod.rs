//! What stands around every upstream call. The whole order is [`stack`]; each layer is one named function.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::chat::ChatStream;
use crate::memory::Memory;
use crate::routing::breaker::BreakerRule;
use crate::routing::chain::Clocks;
use crate::routing::{Call, Commit, NotServed};

mod breaker;
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

pub use record::Subject;
pub use retry::RetryRule;

/// What the layers of one target go by.
#[derive(Debug)]
pub struct Rules {
    pub subject: Subject,
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

/// A service as the layers see it.
pub trait TargetService:
    Service<Call, Response = ChatStream, Error = NotServed, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> TargetService for S where
    S: Service<Call, Response = ChatStream, Error = NotServed, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Puts the layers around a target's upstream, innermost first.
pub fn stack(upstream: impl TargetService, rules: Rules) -> BoxCloneSyncService<Call, ChatStream, NotServed> {
    let subject = rules.subject;
    let health = Arc::clone(&subject.health);
    let clocks = deadline::ClockRule {
        clocks: rules.clocks,
        accept_empty: rules.accept_empty,
        always_reasons: rules.always_reasons,
        streams: rules.streams,
    };
    // Innermost: what arrives is counted before anything can go wrong with it.
    let service = Around::new(upstream, (), meter::meter);
    // Waits for the first content under the clocks, so that all other layers see silence as a failure.
    let service = Around::new(service, clocks, deadline::deadline);
    // Outside the clocks, so that a timeout counts; inside the record, so that a refusal is no attempt.
    let breaker = breaker::Guarded { health, rule: rules.breaker };
    let service = Around::new(service, breaker, breaker::breaker);
    // Before the breaker is asked: a call that is not made for its price must not use up a probe.
    let service = Around::new(service, (), ceiling::ceiling);
    // Inside the retry, so that every try leaves a line.
    let service = Around::new(service, subject, record::record);
    // Outside the record, which sees the answer break while it is still held back.
    let hold = commit::HoldRule { commit: rules.commit, max_answer: rules.max_answer, memory: rules.memory };
    let service = Around::new(service, hold, commit::commit);
    // Outermost: repeats all of the above.
    BoxCloneSyncService::new(Around::new(service, rules.retry, retry::retry))
}

/// A layer: an async function around an inner service, with the rule that it goes by.
struct Around<S, R, F> {
    inner: S,
    rule: Arc<R>,
    work: F,
}

impl<S: Clone, R, F: Clone> Clone for Around<S, R, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rule: Arc::clone(&self.rule), work: self.work.clone() }
    }
}

impl<S, R, F> Around<S, R, F> {
    fn new(inner: S, rule: R, work: F) -> Self {
        Self { inner, rule: Arc::new(rule), work }
    }
}

impl<S, R, F, Fut> Service<Call> for Around<S, R, F>
where
    S: Clone,
    F: Fn(S, Call, Arc<R>) -> Fut,
    Fut: Future<Output = Result<ChatStream, NotServed>> + Send + 'static,
{
    type Response = ChatStream;
    type Error = NotServed;
    type Future = BoxFuture<'static, Result<ChatStream, NotServed>>;

    // Every target is always ready: what limits it are its breaker and its clocks.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotServed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        Box::pin((self.work)(self.inner.clone(), call, Arc::clone(&self.rule)))
    }
}
