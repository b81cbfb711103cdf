//! The body of an upstream's answer: read whole, or event by event at the reader's pace.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

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
    response: &mut Response,
    first: Option<Bytes>,
    max: usize,
    memory: &Memory,
) -> Result<Whole, NotServed> {
    let too_large = || {
        let message = format!("The upstream's answer is larger than `max_answer` ({max} bytes).");
        NotServed::Failed(Failure::new(Class::Malformed, message))
    };
    let announced =
        response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > max {
        return Err(too_large());
    }
    let mut held = memory.hold(announced).map_err(|Full| NotServed::Busy)?;
    let mut body = BytesMut::with_capacity(announced);
    let mut next = first;
    loop {
        if let Some(chunk) = next {
            let size = body.len() + chunk.len();
            if size > max {
                return Err(too_large());
            }
            if size > held.bytes() {
                // As a growing buffer does.
                held.grow(size.next_power_of_two().min(max) - held.bytes())
                    .map_err(|Full| NotServed::Busy)?;
            }
            body.extend_from_slice(&chunk);
        }
        next = response.chunk().await.map_err(|_| NotServed::Failed(broken()))?;
        if next.is_none() {
            return Ok(Whole { bytes: body.freeze(), held });
        }
    }
}

/// Reads at most `max` bytes of an error's body, for a moment; what does not come is left out: the status says most.
pub async fn head_of(response: &mut Response, max: usize) -> Bytes {
    let end = Instant::now() + GRACE;
    let mut body = BytesMut::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(end, response.chunk()).await {
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() >= max {
            break;
        }
    }
    body.freeze()
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
    response: Response,
    first: Option<Bytes>,
    framing: Framing,
    decoder: Box<dyn EventDecoder>,
    choices: u32,
) -> Events {
    let mut frames = framing.decoder();
    frames.push(first.unwrap_or_default());
    let reply = Reply {
        response: Some(response),
        frames,
        decoder,
        ready: VecDeque::new(),
        failure: None,
        ended: Vec::new(),
        choices: choices.max(1),
        grace: None,
    };
    futures_util::stream::unfold(reply, |mut reply| async move {
        let next = reply.next().await?;
        Some((next, reply))
    })
    .boxed()
}

/// A streamed body in the middle of being read.
struct Reply {
    /// `None` once the last word was said.
    response: Option<Response>,
    frames: framing::Decoder,
    decoder: Box<dyn EventDecoder>,
    ready: VecDeque<Event>,
    /// Comes after what is ready.
    failure: Option<Failure>,
    /// Choices that have their finish reason, of `choices` in all.
    ended: Vec<u32>,
    choices: u32,
    /// When the wait for what may follow the finish reason is over.
    grace: Option<Instant>,
}

impl Reply {
    async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if let Some(failure) = self.failure.take() {
                self.response = None;
                return Some(Err(failure));
            }
            self.response.as_ref()?;
            match self.frames.next() {
                Ok(Some(frame)) => self.decode(&frame),
                Ok(None) => self.read().await,
                Err(error) => self.failure = Some(unreadable(error)),
            }
        }
    }

    /// Waits for the next bytes.
    async fn read(&mut self) {
        let Some(response) = &mut self.response else { return };
        let chunk = match self.grace {
            Some(grace) => timeout_at(grace, response.chunk()).await,
            None => Ok(response.chunk().await),
        };
        match chunk {
            Ok(Ok(Some(bytes))) => {
                self.frames.push(bytes);
                match self.frames.next() {
                    Ok(Some(frame)) => self.decode(&frame),
                    // A comment, or a part of an event: a sign of life.
                    Ok(None) => self.ready.push_back(Event::Alive),
                    Err(error) => self.failure = Some(unreadable(error)),
                }
            }
            Ok(Ok(None)) => {
                match self.frames.finish() {
                    Ok(Some(frame)) => self.decode(&frame),
                    Ok(None) => {}
                    Err(error) => self.failure = Some(unreadable(error)),
                }
                if self.response.is_some() && self.failure.is_none() {
                    self.end();
                }
            }
            // The answer was complete; only its epilogue is missing.
            Ok(Err(_)) if self.grace.is_some() => self.end(),
            Ok(Err(_)) => self.failure = Some(broken()),
            Err(_) => self.end(),
        }
    }

    fn decode(&mut self, frame: &Frame) {
        let mut events = Vec::new();
        let progress = self.decoder.decode(frame, &mut events);
        events.iter().for_each(|event| self.note(event));
        self.ready.extend(events);
        match progress {
            Ok(Progress::More) => self.wait_for_more(),
            Ok(Progress::Done) => {
                if let Some(response) = self.response.take() {
                    drain(response);
                }
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    fn note(&mut self, event: &Event) {
        for (choice, _) in event.finished() {
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
        let mut events = Vec::new();
        if let Err(failure) = self.decoder.finish(&mut events) {
            self.failure = Some(failure);
        } else {
            self.response = None;
        }
        self.ready.extend(events);
    }
}

/// Reads the few bytes after the last word, so that the connection can be used again.
fn drain(mut response: Response) {
    if matches!(response.chunk().now_or_never(), Some(Ok(None) | Err(_))) {
        return;
    }
    tokio::spawn(async move {
        let _ = timeout(DRAIN, async { while let Ok(Some(_)) = response.chunk().await {} }).await;
    });
}

fn broken() -> Failure {
    Failure::new(Class::Truncated, "The connection broke in the middle of the upstream's answer.")
}

fn unreadable(error: framing::Broken) -> Failure {
    Failure::new(Class::Malformed, format!("The upstream's stream cannot be read: {error}."))
}
