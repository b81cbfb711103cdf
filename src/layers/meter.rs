//! Counts what arrives of an answer, right where it arrives: an answer that is given up before its first content,
//! or that nobody reads to its end, was paid for all the same.

use futures_util::StreamExt;

use crate::chat::ChatStream;
use crate::routing::{Call, NotServed, Serve};

/// Shows every event of the answer to the attempt's progress.
pub struct Meter<S> {
    pub inner: S,
}

impl<S: Serve> Serve for Meter<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let stream = self.inner.serve(call).await?;
        let progress = call.progress.clone();
        Ok(stream.map_events(|events| {
            // An answer whose end was already seen is handed on all the same: it must not be asked for more.
            let events = events.fuse();
            events.inspect(move |event| event.iter().for_each(|event| progress.see(event))).boxed()
        }))
    }
}
