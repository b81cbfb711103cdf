//! One request on its way through a chain: what every attempt is given ([`Call`]), and what is written down of it
//! ([`Trail`]).

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::branch::Detour;
use super::budget::{Drawn, Exceeded, Reservation};
use super::ceiling::Estimate;
use super::group::Stead;
use super::progress::Progress;
use super::room::Later;
use crate::chat::{Operation, Request, Usage};
use crate::reason::{Class, Failure, Skip};
use crate::units::Cost;

/// What an attempt is given.
#[derive(Debug, Clone)]
pub struct Call {
    pub request: Request,
    /// Words stand in it where the client's request has images.
    pub in_words: bool,
    pub origin: Arc<Origin>,
    pub trail: Trail,
    /// When this attempt began.
    pub began: Instant,
    /// The time by which the answer must be committed, retries and fallbacks included.
    pub deadline: Instant,
    /// The targets still to come.
    pub later: Later,
    /// The equal deployments that could be asked instead.
    pub stead: Stead,
    /// What this target was expected to take.
    pub estimate: Estimate,
    /// What all attempts of this request together may cost, by the target's and the client's word.
    pub max_cost: Option<Cost>,
    /// What is set aside for this attempt in the budgets that apply to it.
    pub reserved: Option<Arc<Reservation>>,
    /// The circuit is open, but nothing else is left: one request at a time may try.
    pub last_resort: bool,
    /// Shared by the layers of one attempt; each attempt has its own.
    pub progress: Progress,
}

/// Who asked, and what for: labels of logs and receipts, and what is passed on to providers.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub request_id: String,
    pub operation: Operation,
    pub chain: Arc<str>,
    /// How the request came to this chain, where the client named another.
    pub detour: Option<Arc<Detour>>,
    /// The name of the caller's key.
    pub key: Option<Arc<str>>,
    pub user: Option<String>,
    pub session: Option<String>,
    pub task: Option<String>,
    pub tier: Option<String>,
    pub streamed: bool,
    /// Client headers that go upstream.
    pub forward: Vec<(&'static str, String)>,
}

/// Why a target's service gave no answer.
#[derive(Debug, Clone)]
pub enum NotServed {
    /// It was asked, and failed.
    Failed(Failure),
    /// It was not asked.
    Skipped(Skip),
    /// It was not asked, since a budget does not hold what it may take.
    OverBudget(Exceeded),
    /// Piton itself has no memory left to hold its answer.
    Busy,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Failed(Class),
    /// The client went away.
    ClientCancelled,
    /// Piton had no memory left to hold the answer.
    Busy,
}

impl Outcome {
    /// The stable name, in logs, metrics and receipts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(class) => class.code(),
            Self::ClientCancelled => "client_cancelled",
            Self::Busy => "busy",
        }
    }
}

/// One upstream call.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    pub id: AttemptId,
    /// What it was made for, if not to answer the request itself.
    pub aside: Option<Arc<Aside>>,
    /// The target's place in its chain, and its name.
    pub index: usize,
    pub target: Arc<str>,
    /// It is a target of the chain that stands in for the exhausted one.
    pub in_last: bool,
    /// It got words in place of images.
    pub in_words: bool,
    /// Which of its provider's keys was shown, where it has several.
    pub key_number: Option<u32>,
    /// It needs no network.
    pub is_offline: bool,
    /// 1 for the request's first upstream call.
    pub number: u32,
    /// Why the attempt before this one was left.
    pub fallback_reason: Option<Class>,
    pub started: Instant,
    /// `None` while it runs.
    pub outcome: Option<Outcome>,
    /// The upstream's HTTP status.
    pub status: Option<u16>,
    /// To its end, or to the first content while it still streams.
    pub latency: Duration,
    /// Of a stream: a JSON answer has no first content.
    pub first_content: Option<Duration>,
    pub usage: Usage,
    /// The upstream sent no usage: the counts are computed from the bytes.
    pub usage_is_estimate: bool,
    /// `None` where no price is known.
    pub cost: Option<Cost>,
    /// What it took from budgets.
    pub drawn: Vec<Drawn>,
    pub upstream_request_id: Option<String>,
    /// The model that the upstream says it used.
    pub served_model: Option<String>,
    pub unreadable_events: u32,
    pub dropped: Vec<Cow<'static, str>>,
    pub estimate: Estimate,
}

/// A target that was passed over.
#[derive(Debug, Clone)]
pub struct SkipRecord {
    /// What it would have been asked for, if not to answer the request itself.
    pub aside: Option<Arc<Aside>>,
    pub index: usize,
    pub target: Arc<str>,
    /// It is a target of the chain that stands in for the exhausted one; its trail says so.
    pub in_last: bool,
    /// Which of its provider's keys it is about, where it has several.
    pub key_number: Option<u32>,
    pub skip: Skip,
    /// When it may be worth asking again, where that is known.
    pub ready_at: Option<Instant>,
    /// The class that opened its circuit, where that is the reason.
    pub cause: Option<Class>,
    /// What it would have taken.
    pub estimate: Estimate,
}

/// One line of the trail.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly every entry is an attempt")]
pub enum Entry {
    Skip(SkipRecord),
    Attempt(AttemptRecord),
}

impl Entry {
    /// The target's name.
    pub fn target(&self) -> &Arc<str> {
        match self {
            Self::Skip(skip) => &skip.target,
            Self::Attempt(attempt) => &attempt.target,
        }
    }

    /// What it was for, if not to answer the request itself.
    pub fn aside(&self) -> Option<&Arc<Aside>> {
        match self {
            Self::Skip(skip) => skip.aside.as_ref(),
            Self::Attempt(attempt) => attempt.aside.as_ref(),
        }
    }

    /// Whether it is of the walk that answers the request.
    pub fn is_own(&self) -> bool {
        self.aside().is_none()
    }

    fn attempt_mut(&mut self) -> Option<&mut AttemptRecord> {
        match self {
            Self::Skip(_) => None,
            Self::Attempt(attempt) => Some(attempt),
        }
    }

    /// Which target it is about.
    pub fn place(&self) -> Place {
        match self {
            Self::Skip(SkipRecord { in_last, index, .. }) => Place { in_last: *in_last, index: *index },
            Self::Attempt(attempt) => attempt.place(),
        }
    }
}

impl AttemptRecord {
    /// Which target was asked.
    pub fn place(&self) -> Place {
        Place { in_last: self.in_last, index: self.index }
    }
}

/// A target's place in the one or two chains that a request walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether it is in the chain that stands in for the exhausted one.
    pub in_last: bool,
    pub index: usize,
}

/// A walk down another chain that serves this one: it puts one image into words.
#[derive(Debug, PartialEq, Eq)]
pub struct Aside {
    /// The chain that is walked.
    pub chain: Arc<str>,
    /// The image, by its hash.
    pub image: Arc<str>,
}

/// Images that were to be put into words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The chain that was to do so.
    pub chain: Arc<str>,
    /// Each image by its hash, and what came of it.
    pub images: Vec<(Arc<str>, Sight)>,
}

/// What came of putting an image into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It was described for this request.
    Described,
    /// Its words were known.
    Cached,
    Failed,
}

impl Sight {
    /// The stable name, in receipts.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Described => "described",
            Self::Cached => "cached",
            Self::Failed => "failed",
        }
    }
}

/// What happened to one request so far, in order; shared by all that handle it.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    shared: Arc<Shared>,
    /// Whose entries are written through this handle.
    aside: Option<Arc<Aside>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Most requests need one attempt.
    entries: Mutex<SmallVec<[Entry; 1]>>,
    /// Microseconds spent waiting.
    waited: AtomicU64,
    /// The chain that stands in for the exhausted one, once it is walked.
    last_chain: OnceLock<Arc<str>>,
    /// Attempts that were begun, be it that they were withdrawn.
    begun: AtomicU32,
    described: Mutex<Vec<Described>>,
}

/// Names an attempt of a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptId(u32);

impl Trail {
    /// The same trail for a walk beside the request's own: its attempts do not count among those of that one, and what
    /// they cost does.
    #[must_use]
    pub fn aside(&self, aside: Arc<Aside>) -> Self {
        Self { shared: Arc::clone(&self.shared), aside: Some(aside) }
    }

    /// Writes down that an attempt has started.
    pub fn begin(&self, index: usize, target: &Arc<str>, started: Instant, estimate: Estimate) -> AttemptId {
        let mut entries = self.lock();
        let id = AttemptId(self.shared.begun.fetch_add(1, Ordering::Relaxed));
        let number = 1 + count(entries.iter());
        let fallback_reason =
            entries.iter().rev().filter(|entry| self.is_own(entry)).find_map(|entry| match entry {
                Entry::Attempt(AttemptRecord { outcome: Some(Outcome::Failed(class)), .. }) => Some(*class),
                _ => None,
            });
        entries.push(Entry::Attempt(AttemptRecord {
            id,
            aside: self.aside.clone(),
            index,
            target: Arc::clone(target),
            in_last: self.is_in_last(),
            in_words: false,
            key_number: None,
            is_offline: false,
            number,
            fallback_reason,
            started,
            outcome: None,
            status: None,
            latency: Duration::ZERO,
            first_content: None,
            usage: Usage::default(),
            usage_is_estimate: false,
            cost: None,
            drawn: Vec::new(),
            upstream_request_id: None,
            served_model: None,
            unreadable_events: 0,
            dropped: Vec::new(),
            estimate,
        }));
        id
    }

    /// Takes back an attempt that was not made after all.
    pub fn withdraw(&self, id: AttemptId) {
        let mut entries = self.lock();
        let mut attempts = entries.iter_mut().filter_map(Entry::attempt_mut);
        if attempts.any(|attempt| attempt.id == id) {
            attempts.for_each(|later| later.number -= 1);
        }
        entries.retain(|entry| entry.attempt_mut().is_none_or(|attempt| attempt.id != id));
    }

    /// Changes an attempt's record.
    pub fn update(&self, id: AttemptId, change: impl FnOnce(&mut AttemptRecord)) {
        let mut entries = self.lock();
        let mut latest_first = entries.iter_mut().rev().filter_map(Entry::attempt_mut);
        if let Some(record) = latest_first.find(|record| record.id == id) {
            change(record);
        }
    }

    /// Writes down that a target was passed over.
    pub fn skip(&self, record: SkipRecord) {
        let (aside, in_last) = (self.aside.clone(), self.is_in_last());
        self.lock().push(Entry::Skip(SkipRecord { aside, in_last, ..record }));
    }

    /// The chain is exhausted: all that follows is about the one that stands in for it.
    pub fn enter_last_chain(&self, name: &Arc<str>) {
        // Nothing stands in for that one.
        let _ = self.shared.last_chain.set(Arc::clone(name));
    }

    /// The chain that stands in for the exhausted one, if it was walked.
    pub fn last_chain(&self) -> Option<&Arc<str>> {
        self.shared.last_chain.get()
    }

    /// Whether the walk has come to the chain that stands in for the exhausted one.
    fn is_in_last(&self) -> bool {
        self.aside.is_none() && self.last_chain().is_some()
    }

    /// Whether an entry is of the walk that this handle is for.
    pub fn is_own(&self, entry: &Entry) -> bool {
        entry.aside() == self.aside.as_ref()
    }

    /// How many upstream calls this walk made.
    pub fn attempts(&self) -> u32 {
        count(self.lock().iter().filter(|entry| self.is_own(entry)))
    }

    /// What all attempts cost so far.
    pub fn spent(&self) -> Cost {
        let entries = self.lock();
        let costs = entries.iter().filter_map(|entry| match entry {
            Entry::Attempt(attempt) => attempt.cost,
            Entry::Skip(_) => None,
        });
        costs.sum()
    }

    /// Adds to the time spent waiting: before retries, for what had to be done first.
    pub fn add_wait(&self, wait: Duration) {
        // A walk beside this one was waited for as a whole.
        if self.aside.is_none() {
            self.shared.add_wait(wait);
        }
    }

    /// The time spent waiting.
    pub fn waited(&self) -> Duration {
        Duration::from_micros(self.shared.waited.load(Ordering::Relaxed))
    }

    /// Writes down what came of putting images into words.
    pub fn describe(&self, described: Described) {
        self.shared.described.lock().unwrap_or_else(PoisonError::into_inner).push(described);
    }

    /// What came of putting images into words, as often as that was tried.
    pub fn described(&self) -> Vec<Described> {
        self.shared.described.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at everything so far.
    pub fn read<T>(&self, look: impl FnOnce(&[Entry]) -> T) -> T {
        look(&self.lock())
    }

    /// A copy of everything so far.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, SmallVec<[Entry; 1]>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn add_wait(&self, wait: Duration) {
        self.waited.fetch_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn count<'a>(entries: impl Iterator<Item = &'a Entry>) -> u32 {
    let attempts = entries.filter(|entry| matches!(entry, Entry::Attempt(_))).count();
    u32::try_from(attempts).unwrap_or(u32::MAX)
}
