//! Counts what arrives of an answer, right where it arrives: an answer that is given up before its first content,
//! or that nobody reads to its end, was paid for all the same.

use std::sync::Arc;

use futures_util::StreamExt;
use tower::ServiceExt;

use super::TargetService;
use crate::chat::ChatStream;
use crate::routing::{Call, NotServed};

/// Shows every event of the answer to the attempt's progress.
pub async fn meter<S: TargetService>(inner: S, call: Call, _: Arc<()>) -> Result<ChatStream, NotServed> {
    let progress = call.progress.clone();
    let stream = inner.oneshot(call).await?;
    Ok(stream.map_events(|events| {
        // An answer whose end was already seen is handed on all the same: it must not be asked for more.
        let events = events.fuse();
        events.inspect(move |event| event.iter().for_each(|event| progress.see(event))).boxed()
    }))
}
