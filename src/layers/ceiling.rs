//! Money once more, right before the call: what earlier attempts of this request cost counts too.

use std::sync::Arc;

use tower::ServiceExt;

use super::TargetService;
use crate::chat::ChatStream;
use crate::reason::Skip;
use crate::routing::{Call, NotServed};

/// Refuses a call that would, with what was spent before it, go over the request's ceiling.
pub async fn ceiling<S: TargetService>(inner: S, call: Call, _: Arc<()>) -> Result<ChatStream, NotServed> {
    if let Some(ceiling) = call.max_cost {
        let cost = call.estimate.cost.ok_or(NotServed::Skipped(Skip::NoPrice))?;
        if call.trail.spent() + cost > ceiling {
            return Err(NotServed::Skipped(Skip::MaxCost));
        }
    }
    inner.oneshot(call).await
}
