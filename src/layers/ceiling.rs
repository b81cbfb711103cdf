//! Money once more, right before the call: what earlier attempts of this request cost counts too.

use std::sync::Arc;

use tokio::time::Instant;

use super::record::Subject;
use crate::chat::ChatStream;
use crate::reason::Skip;
use crate::routing::{Call, NotServed, Serve};

/// Refuses a call that would, with what was spent before it, go over the request's ceiling.
pub struct Ceiling<S> {
    pub inner: S,
    pub subject: Arc<Subject>,
}

impl<S: Serve> Serve for Ceiling<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        if let Some(ceiling) = call.max_cost {
            // A retry may come at another hour, and at another price, than the first attempt.
            let estimate = call.estimate.at(Instant::now(), self.subject.prices.as_ref());
            let cost = estimate.cost.ok_or(NotServed::Skipped(Skip::NoPrice))?;
            if call.trail.spent() + cost > ceiling {
                return Err(NotServed::Skipped(Skip::MaxCost));
            }
        }
        self.inner.serve(call).await
    }
}
