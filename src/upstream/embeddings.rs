//! Embeddings: as many calls as their number needs, a few at a time, and one answer.

use std::borrow::Cow;
use std::ops::Range;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::reply;
use super::service::{Upstream, keep, unsendable, with_head};
use crate::chat::embeddings::Batch;
use crate::chat::{ChatStream, EmbeddingsRequest, Event, Served};
use crate::memory::{Full, Held};
use crate::providers::embeddings::Embeddings;
use crate::reason::Skip;
use crate::routing::{Call, NotServed};

/// How many calls of one request run at a time.
const AT_ONCE: usize = 4;

/// What one call gave, and its place in the memory budget.
struct Part {
    batch: Batch,
    served: Served,
    held: Held,
}

impl Upstream {
    /// Asks for all vectors of a request. One call that fails fails them all.
    pub(super) async fn embed(
        &self,
        call: &Call,
        request: &EmbeddingsRequest,
    ) -> Result<ChatStream, NotServed> {
        let side = self.provider.embeddings();
        let side = side.ok_or(NotServed::Skipped(Skip::Capability("embeddings")))?;
        let most = side.most_inputs(&self.facts).max(1);
        let count = request.count();
        // What is sent is the inputs written anew, but for the client's own bytes in one piece.
        let is_copied = count > most || !self.provider.is_pass_through();
        let copied = if is_copied { request.body().len() } else { 0 };
        let _copies = self.memory.hold(copied).map_err(|Full| NotServed::Busy)?;
        let ranges = (0..count).step_by(most).map(|from| from..count.min(from + most));
        let calls: Vec<BoxFuture<'_, Result<Part, NotServed>>> =
            ranges.map(|range| Box::pin(self.embed_part(side, call, request, range)) as _).collect();
        let parts: Vec<Part> = stream::iter(calls).buffered(AT_ONCE).try_collect().await?;
        let mut served = Served::default();
        let mut batches = Vec::with_capacity(parts.len());
        let mut held = self.memory.hold(0).map_err(|Full| NotServed::Busy)?;
        let mut pieces = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            if at == 0 {
                served = part.served;
            }
            batches.push(part.batch);
            pieces.push(part.held);
        }
        // The answer may be the joined bodies, beside the bodies themselves.
        if pieces.len() > 1 || batches.iter().all(|batch| batch.verbatim.is_none()) {
            let bytes = pieces.iter().map(Held::bytes).sum();
            held.grow(bytes).map_err(|Full| NotServed::Busy)?;
        }
        let answer = request
            .answer(&batches, &self.facts.model)
            .map_err(|failure| NotServed::Failed(with_head(failure, &served)))?;
        Ok(ChatStream::new(served, keep(vec![Event::Answer(answer)], (held, pieces))))
    }

    async fn embed_part(
        &self,
        side: &dyn Embeddings,
        call: &Call,
        request: &EmbeddingsRequest,
        range: Range<usize>,
    ) -> Result<Part, NotServed> {
        let encoded = side.encode_part(request, range, &self.facts).map_err(unsendable)?;
        let dropped = encoded.dropped.iter().copied().map(Cow::Borrowed).collect();
        let served = Served { dropped, ..Served::default() };
        let (response, served) = self.send(encoded, call, served).await?;
        let (head, body) = response.into_parts();
        let whole = reply::whole(body, None, self.max_answer, &self.memory).await?;
        let batch = side.decode_part(&head.headers, whole.bytes, &self.facts);
        let batch = batch.map_err(|failure| NotServed::Failed(with_head(failure, &served)))?;
        Ok(Part { batch, served, held: whole.held })
    }
}
