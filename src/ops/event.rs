//! One fact, one call: each method here writes a log line and counts its metrics from the same arguments.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::ledger::{Ledger, Standing};
use super::log::{self, Line, Message};
use super::metrics::{
    Budget, ByChain, ByCost, ByFallback, ByNews, ByOutcome, BySkip, ByTarget, ByWeek, Chain, CircuitGauge,
    Counters, Metrics, Operation, Ready, State, Target, TokenUsage,
};
use super::receipt::Receipt;
use super::summary::Summary;
use crate::memory::Memory;
use crate::reason::Class;
use crate::routing::attempt::AttemptRecord;
use crate::routing::budget::{Alert, News};
use crate::routing::{Origin, Outcome, SkipRecord};
use crate::units::{Cost, Tokens};

/// Where all facts go.
pub struct Telemetry {
    metrics: Metrics,
    /// The circuits are set anew for each print: one at a time.
    printing: Mutex<()>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { metrics: Metrics::new(), printing: Mutex::default() }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// An upstream call is over. `model` is its name at the provider, `counters` are the target's own.
    pub fn attempt(
        &self,
        origin: &Origin,
        record: &AttemptRecord,
        provider: &'static str,
        model: &str,
        counters: &Counters,
    ) {
        let line = Line {
            origin,
            upstream_request_id: record.upstream_request_id.as_deref(),
            target: Some(&record.target),
            current_model: Some(record.served_model.as_deref().unwrap_or(model)),
            attempt: record.number,
            describes: record.aside.is_some(),
            outcome: record.outcome.map_or("running", Outcome::code),
            fallback_reason: record.fallback_reason.map(Class::code),
            status: record.status,
            latency: record.latency,
            first_token: record.first_content,
            usage: &record.usage,
            cost: record.cost,
        };
        line.log(Message::Attempt);
        self.count_attempt(origin, record, provider, counters);
        if let Some(Outcome::Failed(class)) = record.outcome
            && class.consequences().alarm
        {
            self.alarm(origin, record, class);
        }
    }

    fn count_attempt(
        &self,
        origin: &Origin,
        record: &AttemptRecord,
        provider: &'static str,
        counters: &Counters,
    ) {
        let metrics = &self.metrics;
        let outcome = record.outcome.map_or("running", Outcome::code);
        let is_ok = record.outcome == Some(Outcome::Ok);
        // What went wrong is rare enough to be looked up each time.
        let rare = Ready::default();
        let ready = if is_ok { counters.of(origin.operation) } else { &rare };
        let target = || label(origin, &record.target);
        let operation = || Operation {
            gen_ai_operation_name: origin.operation.name(),
            gen_ai_provider_name: provider,
            gen_ai_request_model: target(),
            error_type: (!is_ok).then_some(outcome),
        };
        if let Some(first) = record.first_content {
            ready.first_chunk.get(&metrics.first_chunk, operation).observe(first.as_secs_f64());
        }
        ready.duration.get(&metrics.operation_duration, operation).observe(record.latency.as_secs_f64());
        let tokens = [
            (&ready.input_tokens, "input", record.usage.prompt),
            (&ready.output_tokens, "output", record.usage.completion),
        ];
        for (slot, kind, tokens) in tokens.into_iter().filter(|(.., tokens)| *tokens > Tokens::ZERO) {
            let labels = || TokenUsage {
                gen_ai_operation_name: origin.operation.name(),
                gen_ai_provider_name: provider,
                gen_ai_request_model: target(),
                gen_ai_token_type: kind,
            };
            #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact count")]
            slot.get(&metrics.token_usage, labels).observe(tokens.get() as f64);
        }
        if let Some(cost) = record.cost.filter(|cost| *cost > Cost::ZERO) {
            let labels = || ByCost { chain: Arc::clone(&origin.chain), target: target() };
            ready.cost.get(&metrics.cost, labels).inc_by(cost);
        }
        if record.unreadable_events > 0 {
            let labels = Target { target: target() };
            metrics.unreadable_events.get_or_create(&labels).inc_by(record.unreadable_events.into());
        }
        ready.attempts.get(&metrics.attempts, || ByTarget { target: target(), class: outcome }).inc();
    }

    fn alarm(&self, origin: &Origin, record: &AttemptRecord, class: Class) {
        tracing::warn!(
            target = &*record.target,
            key_number = record.key_number,
            class = class.code(),
            status = record.status,
            "a person has to mend this target"
        );
        let labels = ByTarget { target: label(origin, &record.target), class: class.code() };
        self.metrics.alarms.get_or_create(&labels).inc();
    }

    /// A budget's owner should know this.
    pub fn budget(&self, alert: &Alert) {
        let Alert { budget, bucket, news, used_ratio } = alert;
        let (budget, bucket) = (&**budget, &**bucket);
        match news {
            News::NearlyUsedUp => tracing::warn!(budget, bucket, used_ratio, "a budget is nearly used up"),
            News::Exceeded => tracing::warn!(budget, bucket, used_ratio, "a budget did not hold a call"),
        }
        let labels = ByNews { budget: Arc::clone(&alert.budget), news: news.code() };
        self.metrics.budget_alerts.get_or_create(&labels).inc();
    }

    /// A request is over: its answer, its error, or its client has gone.
    pub fn request(&self, receipt: &Receipt, summary: &Summary<'_>) {
        Self::log_request(receipt, summary);
        self.count_request(receipt, summary);
    }

    /// A request had its plan told, and no answer: it counts for itself, not among the answers of its chain.
    pub fn explained(&self, receipt: &Receipt) {
        Self::log_request(receipt, &Summary::of(&[], None, None));
        self.metrics.plans.get_or_create(&Chain { chain: Arc::clone(&receipt.origin.chain) }).inc();
    }

    fn log_request(receipt: &Receipt, summary: &Summary<'_>) {
        let served = summary.served;
        let line = Line {
            origin: &receipt.origin,
            upstream_request_id: served.and_then(|served| served.upstream_request_id.as_deref()),
            target: served.map(|served| &*served.target),
            current_model: served.and_then(|served| served.served_model.as_deref()),
            attempt: summary.attempts,
            describes: false,
            outcome: receipt.outcome,
            fallback_reason: summary.fallback.map(|(_, reason)| reason),
            status: Some(receipt.status),
            latency: receipt.latency,
            first_token: served.and_then(|served| served.first_content),
            usage: &summary.usage(),
            cost: summary.cost,
        };
        line.log(Message::Request);
    }

    fn count_request(&self, receipt: &Receipt, summary: &Summary<'_>) {
        let metrics = &self.metrics;
        let chain = || Arc::clone(&receipt.origin.chain);
        metrics.requests.get_or_create(&ByChain { chain: chain(), outcome: receipt.outcome }).inc();
        if let (Some((from, reason)), Some(served)) = (summary.fallback, summary.served) {
            let (from, to) = (Arc::clone(from), Arc::clone(&served.target));
            metrics.fallbacks.get_or_create(&ByFallback { chain: chain(), from, to, reason }).inc();
        }
        if let Some(at_first) = summary.cost_at_first {
            let labels = Chain { chain: chain() };
            let served = summary.served_cost();
            metrics.failover_extra.get_or_create(&labels).inc_by(served.saturating_sub(at_first));
            metrics.failover_saved.get_or_create(&labels).inc_by(at_first.saturating_sub(served));
        }
        if let Some(overhead) = receipt.overhead {
            metrics.overhead.observe(overhead.as_secs_f64());
        }
    }

    /// A target was passed over.
    pub fn skip(&self, origin: &Origin, record: &SkipRecord) {
        let labels = BySkip { target: label(origin, &record.target), reason: record.skip.to_string() };
        self.metrics.skips.get_or_create(&labels).inc();
    }

    /// A request came in, or went.
    pub fn in_flight(&self, change: i64) {
        self.metrics.in_flight.inc_by(change);
    }

    /// The configuration was read again.
    pub fn reload(&self, outcome: &'static str) {
        self.metrics.reloads.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// What chains' traffic really cost, this week and last.
    pub fn blended<'a>(&self, chains: impl Iterator<Item = (&'a Arc<str>, [Option<f64>; 2])>) {
        let _one_at_a_time = self.printing.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.blended.clear();
        for (chain, weeks) in chains {
            for (week, price) in ["this", "last"].into_iter().zip(weeks) {
                let Some(price) = price else { continue };
                let labels = ByWeek { chain: Arc::clone(chain), week };
                self.metrics.blended.get_or_create(&labels).set(price);
            }
        }
    }

    /// The metrics as text, with the circuits, the used shares of the budgets, the memory and the ledger as they are now.
    pub fn print(
        &self,
        circuits: &[(Arc<str>, CircuitGauge)],
        budgets: &[(Arc<str>, f64)],
        memory: &Memory,
        ledger: &Ledger,
    ) -> String {
        let _one_at_a_time = self.printing.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.circuit_state.clear();
        for (target, circuit) in circuits {
            let labels = Target { target: Arc::clone(target) };
            self.metrics.circuit_state.get_or_create(&labels).set(circuit.number());
        }
        self.metrics.budget_used_ratio.clear();
        for (budget, used_ratio) in budgets {
            let labels = Budget { budget: Arc::clone(budget) };
            self.metrics.budget_used_ratio.get_or_create(&labels).set(*used_ratio);
        }
        self.metrics.log_lines_dropped.inner().store(log::lost(), Ordering::Relaxed);
        self.metrics.held_bytes.set(i64::try_from(memory.used()).unwrap_or(i64::MAX));
        self.set_ledger(ledger);
        self.metrics.print()
    }

    fn set_ledger(&self, ledger: &Ledger) {
        let standing = ledger.standing().code();
        for state in Standing::codes() {
            self.metrics.ledger_state.get_or_create(&State { state }).set(i64::from(state == standing));
        }
        let (waiting, left_out) = ledger.counts();
        self.metrics.ledger_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.metrics.ledger_left_out.inner().store(left_out, Ordering::Relaxed);
    }
}

/// What metrics call a target. A client that names a model itself must not make up labels: its chain is called after
/// the pattern that let it in (which, unlike a chain's name, has a slash), and so is its target.
fn label(origin: &Origin, target: &Arc<str>) -> Arc<str> {
    Arc::clone(if origin.chain.contains('/') { &origin.chain } else { target })
}
