//! Holds a stream back until the owner lets its first byte go: what breaks before that falls back unseen.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

use super::TargetService;
use crate::chat::{ChatStream, Event};
use crate::memory::{Full, Held, Memory};
use crate::reason::{Class, Failure};
use crate::routing::{Call, Commit, NotServed};

/// How long, and how much, to hold back.
#[derive(Debug)]
pub struct HoldRule {
    pub commit: Commit,
    /// Bytes of one answer.
    pub max_answer: usize,
    pub memory: Memory,
}

/// Gives the stream on once it is committed.
pub async fn commit<S: TargetService>(
    inner: S,
    call: Call,
    rule: Arc<HoldRule>,
) -> Result<ChatStream, NotServed> {
    let committed = call.committed.clone();
    let streamed = call.request.stream;
    let stream = inner.oneshot(call).await?;
    let stream = match rule.commit {
        // A JSON answer is whole already.
        _ if !streamed => stream,
        Commit::FirstContent => stream,
        Commit::Complete => hold(stream, &rule, Until::End).await?,
        Commit::Chars(chars) => hold(stream, &rule, Until::Content(chars)).await?,
        Commit::Time(time) => hold(stream, &rule, Until::Time(Instant::now() + time)).await?,
    };
    committed.set();
    Ok(stream)
}

#[derive(Clone, Copy)]
enum Until {
    End,
    Content(usize),
    Time(Instant),
}

async fn hold(mut stream: ChatStream, rule: &HoldRule, until: Until) -> Result<ChatStream, NotServed> {
    let mut events = VecDeque::new();
    let mut content = 0;
    let mut held = rule.memory.hold(0).map_err(|Full| NotServed::Busy)?;
    loop {
        let next = match until {
            Until::Content(enough) if content >= enough => break,
            Until::Time(instant) => match timeout_at(instant, stream.next()).await {
                Ok(next) => next,
                Err(_) => break,
            },
            Until::End | Until::Content(_) => stream.next().await,
        };
        match next {
            Some(Ok(event)) => {
                let size = size(&event);
                if held.bytes() + size > rule.max_answer {
                    let message = "The answer is larger than `max_answer` lets Piton hold back.";
                    return Err(NotServed::Failed(Failure::new(Class::Malformed, message)));
                }
                held.grow(size).map_err(|Full| NotServed::Busy)?;
                content += event.content_bytes();
                events.push_back(event);
            }
            Some(Err(failure)) => return Err(NotServed::Failed(failure)),
            None => break,
        }
    }
    Ok(keep(stream.with_held(events), held))
}

/// The memory stays counted until the held events are gone, and at the latest when the stream is dropped.
fn keep(stream: ChatStream, held: Held) -> ChatStream {
    stream.map_events(|events| {
        events
            .map(move |event| {
                let _ = &held;
                event
            })
            .boxed()
    })
}

/// What an event takes in memory, roughly.
fn size(event: &Event) -> usize {
    let bytes = match event {
        Event::Chunk(chunk) => chunk.data.len(),
        other => other.content_bytes(),
    };
    bytes + size_of::<Event>()
}
