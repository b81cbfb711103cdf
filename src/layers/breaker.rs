//! Asks the target's circuit for leave, and tells it how the call went.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::chat::ChatStream;
use crate::reason::{Class, Failure, Skip};
use crate::routing::breaker::BreakerRule;
use crate::routing::health::TargetHealth;
use crate::routing::{Call, NotServed, Serve};

/// A target's circuit and its rule.
#[derive(Debug)]
pub struct Guarded {
    pub health: Arc<TargetHealth>,
    /// `None`: the circuit never opens.
    pub rule: Option<BreakerRule>,
}

/// Calls the inner service if the circuit lets it.
pub struct Breaker<S> {
    pub inner: S,
    pub guarded: Arc<Guarded>,
}

impl<S: Serve> Serve for Breaker<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let Some(rule) = self.guarded.rule else { return self.inner.serve(call).await };
        let breaker = &self.guarded.health.breaker;
        let now = call.began;
        let admitted = if call.last_resort { breaker.admit_last_resort(now) } else { breaker.admit(now) };
        let permit = admitted.map_err(|_| NotServed::Skipped(Skip::CircuitOpen))?;
        let answered = self.inner.serve(call).await;
        match &answered {
            Ok(_) => permit.answered(),
            // It could not even be written: that says nothing of the target, and a probe is given back.
            Err(NotServed::Failed(failure))
                if failure.class == Class::InvalidRequest && failure.status.is_none() => {}
            Err(NotServed::Failed(failure)) => {
                permit.failed(&rule, failure.class, failure.retry_after, Instant::now());
            }
            // Not asked after all: a probe is given back as it is dropped.
            Err(NotServed::Skipped(_) | NotServed::OverBudget(_) | NotServed::Busy) => {}
        }
        answered.map(|stream| watch(stream, Arc::clone(&self.guarded), rule))
    }
}

/// Counts how the answer ends. A client that goes away is no sign of the target's health.
fn watch(stream: ChatStream, guarded: Arc<Guarded>, rule: BreakerRule) -> ChatStream {
    stream.map_events(|mut events| {
        let mut ended = false;
        futures_util::stream::poll_fn(move |cx| {
            let next = events.poll_next_unpin(cx);
            if let std::task::Poll::Ready(item) = &next
                && !ended
            {
                let breaker = &guarded.health.breaker;
                match item {
                    Some(Ok(_)) => {}
                    Some(Err(Failure { class, retry_after, .. })) => {
                        ended = true;
                        breaker.failed(&rule, *class, *retry_after, Instant::now());
                    }
                    None => {
                        ended = true;
                        breaker.succeeded(&rule, Instant::now());
                    }
                }
            }
            next
        })
        .boxed()
    })
}
