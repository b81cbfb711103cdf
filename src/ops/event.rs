//! One fact, one call: each method here writes a log line and counts its metrics from the same arguments.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::metrics::{
    ByChain, ByCost, ByFallback, ByOutcome, BySkip, ByTarget, Chain, CircuitGauge, Metrics, Operation,
    Target, TokenUsage,
};
use super::summary::Summary;
use crate::memory::Memory;
use crate::reason::Class;
use crate::routing::attempt::AttemptRecord;
use crate::routing::{Origin, Outcome, SkipRecord};
use crate::units::Cost;

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
    /// An upstream call is over.
    pub fn attempt(&self, origin: &Origin, record: &AttemptRecord, provider: &'static str, model: &str) {
        let outcome = record.outcome.map_or("running", Outcome::code);
        let usage = &record.usage;
        tracing::info!(
            request_id = origin.request_id,
            operation = origin.operation.name(),
            upstream_request_id = record.upstream_request_id,
            chain = &*origin.chain,
            target = &*record.target,
            provider = record.target.split_once('/').map(|(provider, _)| provider),
            current_model = record.served_model.as_deref().unwrap_or(model),
            attempt = record.number,
            outcome,
            fallback_reason = record.fallback_reason.map(Class::code),
            status = record.status,
            latency_ms = milliseconds(record.latency),
            first_token_ms = record.first_content.map(milliseconds),
            input_tokens = usage.prompt.get(),
            output_tokens = usage.completion.get(),
            cached_tokens = usage.cached.get(),
            cost_usd = record.cost.map(Cost::usd),
            streamed = origin.streamed,
            key = origin.key.as_deref(),
            user = origin.user,
            session = origin.session,
            task = origin.task,
            tier = origin.tier,
            "attempt"
        );
        self.count_attempt(origin, record, provider, outcome);
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
        outcome: &'static str,
    ) {
        let metrics = &self.metrics;
        let target = label(origin, &record.target);
        let error_type = (record.outcome != Some(Outcome::Ok)).then_some(outcome);
        let operation = Operation {
            gen_ai_operation_name: origin.operation.name(),
            gen_ai_provider_name: provider,
            gen_ai_request_model: target.clone(),
            error_type,
        };
        if let Some(first) = record.first_content {
            metrics.first_chunk.get_or_create(&operation).observe(first.as_secs_f64());
        }
        metrics.operation_duration.get_or_create(&operation).observe(record.latency.as_secs_f64());
        for (kind, tokens) in [("input", record.usage.prompt), ("output", record.usage.completion)] {
            if tokens.get() > 0 {
                let labels = TokenUsage {
                    gen_ai_operation_name: origin.operation.name(),
                    gen_ai_provider_name: provider,
                    gen_ai_request_model: target.clone(),
                    gen_ai_token_type: kind,
                };
                #[expect(clippy::cast_precision_loss, reason = "a histogram needs no exact count")]
                metrics.token_usage.get_or_create(&labels).observe(tokens.get() as f64);
            }
        }
        if let Some(cost) = record.cost.filter(|cost| *cost > Cost::ZERO) {
            let labels = ByCost { chain: origin.chain.to_string(), target: target.clone() };
            metrics.cost.get_or_create(&labels).inc_by(cost.usd());
        }
        if record.unreadable_events > 0 {
            let labels = Target { target: target.clone() };
            metrics.unreadable_events.get_or_create(&labels).inc_by(record.unreadable_events.into());
        }
        metrics.attempts.get_or_create(&ByTarget { target, class: outcome }).inc();
    }

    fn alarm(&self, origin: &Origin, record: &AttemptRecord, class: Class) {
        tracing::warn!(
            target = &*record.target,
            class = class.code(),
            status = record.status,
            "a person has to mend this target"
        );
        let labels = ByTarget { target: label(origin, &record.target), class: class.code() };
        self.metrics.alarms.get_or_create(&labels).inc();
    }

    /// A request is over: its answer, its error, or its client has gone.
    pub fn request(&self, summary: &Summary) {
        let Summary { origin, usage, .. } = summary;
        tracing::info!(
            request_id = origin.request_id,
            operation = origin.operation.name(),
            upstream_request_id = summary.upstream_request_id,
            chain = &*origin.chain,
            target = summary.target.as_deref(),
            provider = summary.provider.as_deref(),
            current_model = summary.served_model,
            attempt = summary.attempts,
            outcome = summary.outcome,
            fallback_reason = summary.fallback_reason,
            status = summary.status,
            latency_ms = milliseconds(summary.latency),
            first_token_ms = summary.first_content.map(milliseconds),
            input_tokens = usage.prompt.get(),
            output_tokens = usage.completion.get(),
            cached_tokens = usage.cached.get(),
            cost_usd = summary.cost.map(Cost::usd),
            streamed = origin.streamed,
            key = origin.key.as_deref(),
            user = origin.user,
            session = origin.session,
            task = origin.task,
            tier = origin.tier,
            "request"
        );
        self.count_request(summary);
    }

    fn count_request(&self, summary: &Summary) {
        let metrics = &self.metrics;
        let chain = summary.origin.chain.to_string();
        metrics.requests.get_or_create(&ByChain { chain: chain.clone(), outcome: summary.outcome }).inc();
        if let (Some(from), Some(to), Some(reason)) =
            (&summary.fallback_from, &summary.target, summary.fallback_reason)
        {
            let labels =
                ByFallback { chain: chain.clone(), from: from.to_string(), to: to.to_string(), reason };
            metrics.fallbacks.get_or_create(&labels).inc();
        }
        if let Some(at_first) = summary.cost_at_first {
            let labels = Chain { chain };
            let extra = summary.served_cost.saturating_sub(at_first);
            let saved = at_first.saturating_sub(summary.served_cost);
            metrics.failover_extra.get_or_create(&labels).inc_by(extra.usd());
            metrics.failover_saved.get_or_create(&labels).inc_by(saved.usd());
        }
        if let Some(overhead) = summary.overhead {
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

    /// The metrics as text, with the circuits and the memory as they are now.
    pub fn print(&self, circuits: &[(Arc<str>, CircuitGauge)], memory: &Memory) -> String {
        let _one_at_a_time = self.printing.lock().unwrap_or_else(PoisonError::into_inner);
        self.metrics.circuit_state.clear();
        for (target, circuit) in circuits {
            let labels = Target { target: target.to_string() };
            self.metrics.circuit_state.get_or_create(&labels).set(circuit.number());
        }
        self.metrics.held_bytes.set(i64::try_from(memory.used()).unwrap_or(i64::MAX));
        self.metrics.print()
    }
}

/// What metrics call a target. A client that names a model itself must not make up labels: its chain is called after
/// the pattern that let it in (which, unlike a chain's name, has a slash), and so is its target.
fn label(origin: &Origin, target: &str) -> String {
    if origin.chain.contains('/') { origin.chain.to_string() } else { target.to_owned() }
}

#[expect(clippy::cast_possible_truncation, reason = "no request lasts 500 million years")]
fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}
