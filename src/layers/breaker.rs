//! Asks the target's circuit for leave, and tells it how the call went.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::Instant;
use tower::ServiceExt;

use super::TargetService;
use crate::chat::ChatStream;
use crate::reason::{Class, Failure, Skip};
use crate::routing::breaker::BreakerRule;
use crate::routing::health::TargetHealth;
use crate::routing::{Call, NotServed};

/// A target's circuit and its rule.
#[derive(Debug)]
pub struct Guarded {
    pub health: Arc<TargetHealth>,
    /// `None`: the circuit never opens.
    pub rule: Option<BreakerRule>,
}

/// Calls the inner service if the circuit lets it.
pub async fn breaker<S: TargetService>(
    inner: S,
    call: Call,
    guarded: Arc<Guarded>,
) -> Result<ChatStream, NotServed> {
    let Some(rule) = guarded.rule else { return inner.oneshot(call).await };
    let breaker = &guarded.health.breaker;
    let now = Instant::now();
    let admitted = if call.last_resort { breaker.admit_last_resort(now) } else { breaker.admit(now) };
    let permit = admitted.map_err(|_| NotServed::Skipped(Skip::CircuitOpen))?;
    match inner.oneshot(call).await {
        Ok(stream) => {
            permit.answered();
            Ok(watch(stream, guarded, rule))
        }
        // It could not even be written: that says nothing of the target, and a probe is given back.
        Err(NotServed::Failed(failure))
            if failure.class == Class::InvalidRequest && failure.status.is_none() =>
        {
            Err(NotServed::Failed(failure))
        }
        Err(NotServed::Failed(failure)) => {
            permit.failed(&rule, failure.class, failure.retry_after, Instant::now());
            Err(NotServed::Failed(failure))
        }
        // Not asked after all: a probe is given back as it is dropped.
        Err(other @ (NotServed::Skipped(_) | NotServed::Busy)) => Err(other),
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
