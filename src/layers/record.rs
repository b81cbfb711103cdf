//! Writes every attempt down: in the trail, in the log, in the metrics, in the target's memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use crate::catalog::Prices;
use crate::chat::stream::Events;
use crate::chat::{ChatStream, Event, Operation, Served, Usage};
use crate::ops::{Counters, Telemetry};
use crate::reason::Failure;
use crate::routing::attempt::AttemptId;
use crate::routing::budget::{Drawn, Reservation, Taken};
use crate::routing::ceiling::Estimate;
use crate::routing::health::TargetHealth;
use crate::routing::progress::{Arrived, Progress};
use crate::routing::{Call, NotServed, Origin, Outcome, Serve, Trail};
use crate::units::{Cost, Tokens};

/// Whose attempts these are.
#[derive(Debug)]
pub struct Subject {
    /// The target's place in its chain.
    pub index: usize,
    /// `provider/model`, as configured.
    pub target: Arc<str>,
    /// Which of its provider's keys it is called with, where there are several.
    pub key_number: Option<u32>,
    /// It needs no network.
    pub is_offline: bool,
    /// OpenTelemetry's name of the provider.
    pub provider: &'static str,
    /// The model's name at the provider.
    pub model: Arc<str>,
    pub prices: Option<Prices>,
    pub health: Arc<TargetHealth>,
    pub telemetry: Arc<Telemetry>,
    pub counters: Counters,
}

/// Calls the inner service and follows its answer to the end.
pub struct Record<S> {
    pub inner: S,
    pub subject: Arc<Subject>,
}

impl<S: Serve> Serve for Record<S> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        let mut attempt = Attempt::begin(call, Arc::clone(&self.subject));
        let mut answered = self.inner.serve(call).await;
        match &mut answered {
            Ok(stream) => attempt.answered(&mut stream.served),
            Err(NotServed::Failed(failure)) => attempt.failed(failure),
            Err(NotServed::Busy) => attempt.busy(),
            Err(NotServed::Skipped(_) | NotServed::OverBudget(_)) => attempt.withdraw(),
        }
        answered.map(|stream| stream.map_events(|events| Recorded { events, attempt }.boxed()))
    }
}

/// An attempt under way. However it ends, and be it that everything around it is dropped, it leaves one line. It does
/// not keep the request: its body may be large, and the answer long.
struct Attempt {
    id: AttemptId,
    /// The price of this moment holds to the end.
    began: Instant,
    trail: Trail,
    origin: Arc<Origin>,
    progress: Progress,
    /// What is set aside for it in budgets.
    reserved: Option<Arc<Reservation>>,
    estimate: Estimate,
    streamed: bool,
    /// How many bytes of text the input has, where it is nothing but text.
    text_bytes: Option<u64>,
    subject: Arc<Subject>,
    over: bool,
}

impl Attempt {
    fn begin(call: &Call, subject: Arc<Subject>) -> Self {
        // Read here: what it took to come this far is the gateway's own time, not the target's.
        let began = Instant::now();
        let estimate = call.estimate.at(began, subject.prices.as_ref());
        let id = call.trail.begin(subject.index, &subject.target, began, estimate);
        if subject.key_number.is_some() || subject.is_offline || call.in_words {
            call.trail.update(id, |record| {
                record.key_number = subject.key_number;
                record.is_offline = subject.is_offline;
                record.in_words = call.in_words;
            });
        }
        Self {
            id,
            began,
            trail: call.trail.clone(),
            origin: Arc::clone(&call.origin),
            progress: call.progress.clone(),
            reserved: call.reserved.clone(),
            estimate,
            streamed: call.request.stream(),
            text_bytes: call.request.all_text(),
            subject,
            over: false,
        }
    }

    /// The first content is in hand. What is known of the answer before its events goes to the record.
    fn answered(&self, served: &mut Served) {
        let streamed = self.streamed;
        let now = Instant::now();
        let Served { status, upstream_request_id, dropped } = std::mem::take(served);
        let health = &self.subject.health;
        let samples = if streamed { &health.first_content } else { &health.whole_answer };
        self.trail.update(self.id, |record| {
            record.latency = now.duration_since(record.started);
            record.first_content = streamed.then_some(record.latency);
            record.status = Some(status);
            record.upstream_request_id = upstream_request_id;
            record.dropped = dropped;
            samples.add(record.latency, now);
        });
    }

    fn failed(&mut self, failure: &Failure) {
        self.end(Outcome::Failed(failure.class), Some(failure));
    }

    fn busy(&mut self) {
        self.end(Outcome::Busy, None);
    }

    fn withdraw(&mut self) {
        self.over = true;
        self.trail.withdraw(self.id);
    }

    fn end(&mut self, outcome: Outcome, failure: Option<&Failure>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let arrived = self.progress.take_arrived();
        let (usage, is_estimate) = self.settle_usage(&arrived, outcome);
        let cost = usage.cost.or_else(|| self.cost_of(&usage));
        let drawn = self.draw(outcome, usage, cost);
        let Subject { provider, model, telemetry, counters, .. } = &*self.subject;
        self.trail.update(self.id, |record| {
            record.outcome = Some(outcome);
            record.latency = record.started.elapsed();
            record.usage = usage;
            record.usage_is_estimate = is_estimate;
            record.cost = cost;
            record.drawn = drawn;
            record.served_model = arrived.model;
            record.unreadable_events = arrived.unreadable_events;
            if let Some(failure) = failure {
                record.status = failure.status.or(record.status);
                record.upstream_request_id =
                    failure.upstream_request_id.clone().or(record.upstream_request_id.take());
            }
            telemetry.attempt(&self.origin, record, provider, model, counters);
        });
    }

    /// The upstream's own counts; or, where content arrived without them, counts made from the bytes.
    fn settle_usage(&self, arrived: &Arrived, outcome: Outcome) -> (Usage, bool) {
        let written = match self.origin.operation {
            Operation::Chat => Tokens::new((arrived.content_bytes as u64).div_ceil(4)),
            Operation::Embeddings => Tokens::ZERO,
        };
        let stated = arrived.usage.filter(Usage::is_plausible);
        // Before an answer broke off, some count what was to come as nothing.
        let is_whole =
            |usage: &Usage| outcome == Outcome::Ok || written <= usage.completion + usage.completion;
        if let Some(usage) = stated.filter(is_whole) {
            if let Some(text_bytes) = self.text_bytes {
                self.subject.health.bytes_per_token.learn(text_bytes, usage.prompt.get());
            }
            return (usage, false);
        }
        if let Some(so_far) = stated.or(arrived.so_far.filter(Usage::is_plausible)) {
            let spoken = so_far.completion.saturating_sub(so_far.reasoning).max(written);
            return (Usage { completion: so_far.reasoning + spoken, ..so_far }, true);
        }
        if arrived.content_bytes == 0 {
            return (Usage::default(), false);
        }
        let estimate = &self.estimate;
        let prompt = Tokens::new((estimate.input_low + estimate.input_high).get() / 2);
        (Usage { prompt, completion: written, ..Usage::default() }, true)
    }

    /// Counts in every budget what was taken, and gives the rest back.
    fn draw(&self, outcome: Outcome, usage: Usage, cost: Option<Cost>) -> Vec<Drawn> {
        let Some(reserved) = &self.reserved else { return Vec::new() };
        let has_served = outcome == Outcome::Ok || self.progress.is_committed();
        let settled = reserved.settle(&Taken { usage, cost, has_served });
        settled.alerts.iter().for_each(|alert| self.subject.telemetry.budget(alert));
        settled.drawn
    }

    /// What the tokens cost at this target. An attempt that used none cost nothing, known price or not.
    fn cost_of(&self, usage: &Usage) -> Option<Cost> {
        if usage.total() == Tokens::ZERO {
            return Some(Cost::ZERO);
        }
        self.subject.prices.as_ref().map(|prices| prices.at(self.began).cost(&(*usage).into()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(self.progress.given_up().unwrap_or(Outcome::ClientCancelled), None);
    }
}

/// The answer's events on their way through the record.
struct Recorded {
    events: Events,
    attempt: Attempt,
}

impl Stream for Recorded {
    type Item = Result<Event, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.events.poll_next_unpin(cx));
        match &next {
            Some(Ok(_)) => {}
            Some(Err(failure)) => self.attempt.end(Outcome::Failed(failure.class), Some(failure)),
            None => self.attempt.end(Outcome::Ok, None),
        }
        Poll::Ready(next)
    }
}
