//! Holds a stream back until the owner lets its first byte go: what breaks before that falls back unseen.

use std::collections::VecDeque;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::chat::{ChatStream, Event};
use crate::memory::{Full, Held, Memory};
use crate::reason::{Class, Failure};
use crate::routing::{Call, Commit, NotServed, Outcome, Progress, Serve};

/// How long, and how much, to hold back.
#[derive(Debug)]
pub struct HoldRule {
    pub commit: Commit,
    /// Bytes of one answer.
    pub max_answer: usize,
    pub memory: Memory,
}

/// Gives the stream on once it is committed.
pub struct Hold<S> {
    pub inner: S,
    pub rule: HoldRule,
}

impl<S: Serve> Serve for Hold<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let stream = self.inner.serve(call).await?;
        let until = match self.rule.commit {
            // A JSON answer is whole already.
            _ if !call.request.stream() => None,
            Commit::FirstContent => None,
            Commit::Complete => Some(Until::End),
            Commit::Chars(chars) => Some(Until::Content(chars)),
            Commit::Time(time) => Some(Until::Time(Instant::now() + time)),
        };
        let stream = match until {
            None => stream,
            // In a box: it is rarely needed, and large.
            Some(until) => Box::pin(hold(stream, &self.rule, until, &call.progress)).await?,
        };
        call.progress.commit();
        Ok(stream)
    }
}

#[derive(Clone, Copy)]
enum Until {
    End,
    /// So many characters.
    Content(usize),
    Time(Instant),
}

async fn hold(
    mut stream: ChatStream,
    rule: &HoldRule,
    until: Until,
    progress: &Progress,
) -> Result<ChatStream, NotServed> {
    let busy = |Full| {
        progress.give_up(Outcome::Busy);
        NotServed::Busy
    };
    let mut events = VecDeque::new();
    let mut content = 0;
    let mut held = rule.memory.hold(0).map_err(busy)?;
    loop {
        let next = match until {
            Until::Content(enough) if content >= enough => break,
            // Asked first: an upstream that always has more would never let the time run out.
            Until::Time(instant) if Instant::now() >= instant => break,
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
                    progress.give_up(Outcome::Failed(Class::Malformed));
                    let message = "The answer is larger than `max_answer` lets Piton hold back.";
                    return Err(NotServed::Failed(Failure::new(Class::Malformed, message)));
                }
                held.grow(size).map_err(busy)?;
                content += event.content_chars();
                events.push_back(event);
            }
            Some(Err(failure)) => return Err(NotServed::Failed(failure)),
            None => break,
        }
    }
    Ok(keep(stream, events, held))
}

/// Puts the held events in front of what is still to come. Their memory stays counted until the last of them is
/// handed on, or the stream is dropped.
fn keep(stream: ChatStream, held_events: VecDeque<Event>, held: Held) -> ChatStream {
    let mut left = held_events.len();
    let mut held = Some(held);
    stream.with_held(held_events).map_events(|events| {
        events
            .inspect(move |_| {
                left = left.saturating_sub(1);
                if left == 0 {
                    drop(held.take());
                }
            })
            .boxed()
    })
}

/// What an event takes in memory, roughly.
pub fn size(event: &Event) -> usize {
    let bytes = match event {
        Event::Chunk(chunk) => chunk.data.len(),
        other => other.content_bytes(),
    };
    bytes + size_of::<Event>()
}
