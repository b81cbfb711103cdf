//! The body of an upstream's answer: read whole, or event by event at the reader's pace.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};

use super::client::{Body, Lost};
use crate::chat::Event;
use crate::chat::stream::Events;
use crate::memory::{Full, Held, Memory};
use crate::providers::{EventDecoder, Progress};
use crate::reason::{Class, Failure};
use crate::routing::NotServed;
use crate::wire::Frame;
use crate::wire::framing::{self, Framing};

/// How long to wait for what only adds: token counts and `[DONE]` after the finish reason, the words of an error.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait for the end of a body whose last word was said, to keep its connection.
const DRAIN: Duration = Duration::from_secs(1);

/// A body read whole, with its place in the memory budget.
pub struct Whole {
    pub bytes: Bytes,
    pub held: Held,
}

/// Reads a body of at most `max` bytes. `first` is what was read of it already.
pub async fn whole(
    mut body: Body,
    first: Option<Bytes>,
    max: usize,
    memory: &Memory,
) -> Result<Whole, NotServed> {
    let read = first.as_ref().map_or(0, Bytes::len);
    let to_come = body.length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let announced = read.saturating_add(to_come);
    if announced > max {
        return Err(too_large(max));
    }
    let mut held = memory.hold(announced).map_err(|Full| NotServed::Busy)?;
    let mut joined = BytesMut::new();
    let mut next = first;
    loop {
        if let Some(chunk) = next {
            let size = joined.len() + chunk.len();
            if size > max {
                return Err(too_large(max));
            }
            if size > held.bytes() {
                // As a growing buffer does.
                held.grow(size.next_power_of_two().min(max) - held.bytes())
                    .map_err(|Full| NotServed::Busy)?;
            }
            if joined.is_empty() && body.length() == Some(0) {
                return Ok(Whole { bytes: chunk, held });
            }
            joined.reserve(announced.saturating_sub(joined.len()).max(chunk.len()));
            joined.extend_from_slice(&chunk);
        }
        next = body.next().await.transpose().map_err(|Lost| NotServed::Failed(broken()))?;
        if next.is_none() {
            return Ok(Whole { bytes: joined.freeze(), held });
        }
    }
}

/// Reads at most `max` bytes of an error's body, for a moment; what does not come is left out: the status says most.
pub async fn head_of(mut body: Body, max: usize) -> Bytes {
    let end = Instant::now() + GRACE;
    let mut head = BytesMut::new();
    while let Ok(Some(Ok(chunk))) = timeout_at(end, body.next()).await {
        let room = max - head.len();
        head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if head.len() >= max {
            break;
        }
    }
    head.freeze()
}

/// The canonical events of a whole body that is a stream.
pub fn events_of(
    body: Bytes,
    framing: Framing,
    mut decoder: Box<dyn EventDecoder>,
) -> Result<Vec<Event>, Failure> {
    let mut frames = framing.decoder();
    let mut events = Vec::new();
    frames.push(body);
    while let Some(frame) = frames.next().map_err(unreadable)? {
        if decoder.decode(&frame, &mut events)? == Progress::Done {
            return Ok(events);
        }
    }
    if let Some(frame) = frames.finish().map_err(unreadable)?
        && decoder.decode(&frame, &mut events)? == Progress::Done
    {
        return Ok(events);
    }
    decoder.finish(&mut events)?;
    Ok(events)
}

/// The canonical events of a streamed body. Nothing is read ahead of the reader.
pub fn events(
    body: Body,
    first: Option<Bytes>,
    framing: Framing,
    decoder: Box<dyn EventDecoder>,
    choices: u32,
) -> Events {
    let mut frames = framing.decoder();
    frames.push(first.unwrap_or_default());
    let reply = Reply {
        body: Some(body),
        frames,
        decoder,
        decoded: Vec::new(),
        ready: Vec::new(),
        failure: None,
        ended: Vec::new(),
        choices: choices.max(1),
        grace: None,
        timer: None,
    };
    reply.boxed()
}

/// A streamed body in the middle of being read.
struct Reply {
    /// `None` once the last word was said.
    body: Option<Body>,
    frames: framing::Decoder,
    decoder: Box<dyn EventDecoder>,
    /// In their order; they come after what is ready.
    decoded: Vec<Event>,
    /// The next one at the end.
    ready: Vec<Event>,
    /// Comes after all events.
    failure: Option<Failure>,
    /// Choices that have their finish reason, of `choices` in all.
    ended: Vec<u32>,
    choices: u32,
    /// When the wait for what may follow the finish reason is over.
    grace: Option<Instant>,
    /// Set only where something is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stream for Reply {
    type Item = Result<Event, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let reply = self.get_mut();
        loop {
            if let Some(event) = reply.next_ready() {
                return Poll::Ready(Some(Ok(event)));
            }
            if let Some(failure) = reply.failure.take() {
                reply.body = None;
                return Poll::Ready(Some(Err(failure)));
            }
            if reply.body.is_none() {
                return Poll::Ready(None);
            }
            match reply.frames.next() {
                Ok(Some(frame)) => reply.decode(&frame),
                Ok(None) => ready!(reply.poll_read(cx)),
                Err(error) => reply.failure = Some(unreadable(error)),
            }
        }
    }
}

impl Reply {
    fn next_ready(&mut self) -> Option<Event> {
        if self.ready.is_empty() {
            std::mem::swap(&mut self.ready, &mut self.decoded);
            self.ready.reverse();
        }
        self.ready.pop()
    }

    /// Waits for the next bytes.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(body) = &mut self.body else { return Poll::Ready(()) };
        let Poll::Ready(chunk) = body.poll_next_unpin(cx) else {
            ready!(self.poll_grace(cx));
            self.end();
            return Poll::Ready(());
        };
        match chunk {
            Some(Ok(bytes)) => {
                self.frames.push(bytes);
                match self.frames.next() {
                    Ok(Some(frame)) => self.decode(&frame),
                    // A comment, or a part of an event: a sign of life.
                    Ok(None) => self.decoded.push(Event::Alive),
                    Err(error) => self.failure = Some(unreadable(error)),
                }
            }
            None => {
                match self.frames.finish() {
                    Ok(Some(frame)) => self.decode(&frame),
                    Ok(None) => {}
                    Err(error) => self.failure = Some(unreadable(error)),
                }
                if self.body.is_some() && self.failure.is_none() {
                    self.end();
                }
            }
            // The answer was complete; only its epilogue is missing.
            Some(Err(Lost)) if self.grace.is_some() => self.end(),
            Some(Err(Lost)) => self.failure = Some(broken()),
        }
        Poll::Ready(())
    }

    /// Ready when nothing more is waited for.
    fn poll_grace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(grace) = self.grace else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(grace)));
        if timer.deadline() != grace {
            timer.as_mut().reset(grace);
        }
        timer.as_mut().poll(cx)
    }

    fn decode(&mut self, frame: &Frame) {
        let before = self.decoded.len();
        let progress = self.decoder.decode(frame, &mut self.decoded);
        self.note(before);
        match progress {
            Ok(Progress::More) => self.wait_for_more(),
            Ok(Progress::Done) => {
                if let Some(body) = self.body.take() {
                    drain(body);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Notes which choices end with the events decoded from `first` on.
    fn note(&mut self, first: usize) {
        for (choice, _) in self.decoded[first..].iter().flat_map(Event::finished) {
            if !self.ended.contains(&choice) {
                self.ended.push(choice);
            }
        }
        if self.ended.len() >= self.choices as usize && self.grace.is_none() {
            self.grace = Some(Instant::now() + GRACE);
        }
    }

    /// A format that holds its finish reasons back may take any of them back.
    fn wait_for_more(&mut self) {
        let is_over = self.ended.len() >= self.choices as usize;
        if self.decoder.is_complete() {
            self.grace = Some(Instant::now() + GRACE);
        } else if !is_over {
            self.grace = None;
        }
    }

    /// The bytes have ended, or nothing more is waited for.
    fn end(&mut self) {
        if let Err(failure) = self.decoder.finish(&mut self.decoded) {
            self.failure = Some(failure);
        } else {
            self.body = None;
        }
    }
}

/// Reads the few bytes after the last word, so that the connection can be used again.
fn drain(mut body: Body) {
    if matches!(body.next().now_or_never(), Some(None | Some(Err(Lost)))) {
        return;
    }
    tokio::spawn(async move {
        let _ = timeout(DRAIN, async { while let Some(Ok(_)) = body.next().await {} }).await;
    });
}

fn too_large(max: usize) -> NotServed {
    let message = format!("The upstream's answer is larger than `max_answer` ({max} bytes).");
    NotServed::Failed(Failure::new(Class::Malformed, message))
}

fn broken() -> Failure {
    Failure::new(Class::Truncated, "The connection broke in the middle of the upstream's answer.")
}

fn unreadable(error: framing::Broken) -> Failure {
    Failure::new(Class::Malformed, format!("The upstream's stream cannot be read: {error}."))
}
