//! The upstream that follows a script: what it does with each call, and what it saw.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::chat::response::{AnswerMessage, Choice};
use crate::chat::{
    Answer, ChatRequest, ChatResponse, ChatStream, Delta, Event, FinishReason, Request, Served, Start, Usage,
};
use crate::reason::{Class, Failure};
use crate::routing::{Call, NotServed, Serve};
use crate::units::Tokens;

/// What an upstream does with one call.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Before anything comes of it.
    pub wait: Duration,
    pub then: Then,
}

/// What comes of a call.
#[derive(Debug, Clone)]
pub enum Then {
    NotServed(NotServed),
    /// A good answer: a stream or a body, as the call asks.
    Answer(ChatResponse),
    /// A stream, beat by beat.
    Stream(Vec<Beat>),
    /// Nothing, ever.
    Silence,
}

/// One step of a stream.
#[derive(Debug, Clone)]
pub enum Beat {
    Wait(Duration),
    Say(Event),
    Break(Failure),
    /// Nothing more, ever.
    Hang,
}

impl Reply {
    /// A failure before any answer.
    pub fn fails(class: Class) -> Self {
        Self::refuses(scripted(class))
    }

    /// The same with details.
    pub fn refuses(failure: Failure) -> Self {
        Self::with(Then::NotServed(NotServed::Failed(failure)))
    }

    /// An answer of this text, with token counts.
    pub fn says(text: &str) -> Self {
        Self::with(Then::Answer(response(text, Some(usage(100, 20)))))
    }

    /// A stream of these beats.
    pub fn streams(beats: impl IntoIterator<Item = Beat>) -> Self {
        Self::with(Then::Stream(beats.into_iter().collect()))
    }

    pub fn silence() -> Self {
        Self::with(Then::Silence)
    }

    pub fn with(then: Then) -> Self {
        Self { wait: Duration::ZERO, then }
    }

    /// The same, so many milliseconds later.
    #[must_use]
    pub fn after(self, milliseconds: u64) -> Self {
        Self { wait: self.wait + ms(milliseconds), ..self }
    }
}

impl Beat {
    pub fn wait(milliseconds: u64) -> Self {
        Self::Wait(ms(milliseconds))
    }

    pub fn text(text: &str) -> Self {
        Self::Say(Event::Delta { choice: 0, delta: Delta::Text(text.into()) })
    }

    pub fn finish(reason: FinishReason) -> Self {
        Self::Say(Event::Finish { choice: 0, reason })
    }

    pub fn breaks(class: Class) -> Self {
        Self::Break(scripted(class))
    }

    /// The head of a stream: a sign of life, no content.
    pub fn start() -> Self {
        Self::Say(Event::Start(Start { model: Some("served".into()), ..Start::default() }))
    }
}

/// So many milliseconds.
pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A whole answer of this text.
pub fn response(text: &str, usage: Option<Usage>) -> ChatResponse {
    let content = (!text.is_empty()).then(|| text.to_owned());
    let message = AnswerMessage { content, ..AnswerMessage::default() };
    let start = Start { model: Some("served".into()), ..Start::default() };
    ChatResponse {
        start,
        choices: vec![Choice { index: 0, message, logprobs: None, finish_reason: FinishReason::Stop }],
        usage,
    }
}

pub fn usage(prompt: u64, completion: u64) -> Usage {
    Usage { prompt: Tokens::new(prompt), completion: Tokens::new(completion), ..Usage::default() }
}

/// An upstream that answers its first call with the first reply, and so on; the last reply goes on for ever.
#[derive(Debug, Clone)]
pub struct Scripted {
    script: Arc<[Reply]>,
    seen: Arc<Seen>,
}

/// What an upstream saw.
#[derive(Debug)]
struct Seen {
    since: Instant,
    calls: Mutex<Vec<(Instant, Arc<ChatRequest>)>>,
    abandoned: AtomicUsize,
}

impl Scripted {
    pub fn new(script: impl IntoIterator<Item = Reply>) -> Self {
        let seen = Seen { since: Instant::now(), calls: Mutex::default(), abandoned: AtomicUsize::default() };
        Self { script: script.into_iter().collect(), seen: Arc::new(seen) }
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.seen.calls.lock().unwrap().len()
    }

    /// When it was called, in milliseconds since it was made.
    pub fn times(&self) -> Vec<u128> {
        let calls = self.seen.calls.lock().unwrap();
        calls.iter().map(|(at, _)| (*at - self.seen.since).as_millis()).collect()
    }

    /// What it was asked, call by call.
    pub fn requests(&self) -> Vec<Arc<ChatRequest>> {
        self.seen.calls.lock().unwrap().iter().map(|(_, request)| Arc::clone(request)).collect()
    }

    /// How many calls were dropped before they were over.
    pub fn abandoned(&self) -> usize {
        self.seen.abandoned.load(Ordering::Relaxed)
    }
}

impl Serve for Scripted {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let Request::Chat(request) = &call.request else { panic!("only chats are scripted") };
        let reply = {
            let mut calls = self.seen.calls.lock().unwrap();
            calls.push((Instant::now(), Arc::clone(request)));
            self.script[calls.len().min(self.script.len()) - 1].clone()
        };
        perform(reply, call, Watch { seen: Arc::clone(&self.seen), over: false }).await
    }
}

async fn perform(reply: Reply, call: &Call, mut watch: Watch) -> Result<ChatStream, NotServed> {
    sleep(reply.wait).await;
    let beats: VecDeque<Beat> = match reply.then {
        Then::NotServed(error) => {
            watch.end();
            return Err(error);
        }
        Then::Silence => std::future::pending().await,
        Then::Stream(beats) => beats.into(),
        Then::Answer(response) if call.request.stream() => {
            response.explode().into_iter().map(Beat::Say).collect()
        }
        Then::Answer(response) => VecDeque::from([Beat::Say(Event::Answer(Answer::Composed(response)))]),
    };
    let events = stream::unfold((beats, watch), |(mut beats, mut watch)| async move {
        loop {
            match beats.pop_front() {
                Some(Beat::Wait(time)) => sleep(time).await,
                Some(Beat::Say(event)) => return Some((Ok(event), (beats, watch))),
                Some(Beat::Break(failure)) => {
                    watch.end();
                    return Some((Err(failure), (VecDeque::new(), watch)));
                }
                Some(Beat::Hang) => std::future::pending().await,
                None => {
                    watch.end();
                    return None;
                }
            }
        }
    });
    Ok(ChatStream::new(Served { status: 200, ..Served::default() }, events.boxed()))
}

/// Notices a call that is dropped too early.
struct Watch {
    seen: Arc<Seen>,
    over: bool,
}

impl Watch {
    fn end(&mut self) {
        self.over = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.over {
            self.seen.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Only what answered can have refused the request.
fn scripted(class: Class) -> Failure {
    let status = (class == Class::InvalidRequest).then_some(400);
    Failure { status, ..Failure::new(class, "as the script says") }
}
