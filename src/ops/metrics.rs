//! The metrics, by the names of the contract. Labels come from the configuration, never from clients.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{CounterValueEncoder, EncodeCounterValue, EncodeLabelSet, text};
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::units::Cost;

/// Money as it adds up: exactly, and up to 18 million USD before it begins anew, as counters may.
pub type Money = Counter<Cost, PicoUsd>;

/// Pico-USD.
#[derive(Debug, Default)]
pub struct PicoUsd(AtomicU64);

/// OpenTelemetry's bucket bounds for durations, in seconds.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// OpenTelemetry's bucket bounds for token counts.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// The gateway's own time is a matter of microseconds.
const OVERHEAD: [f64; 10] = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0];

/// All metrics and the registry that prints them.
pub struct Metrics {
    registry: Registry,
    pub operation_duration: Family<Operation, Histogram>,
    pub first_chunk: Family<Operation, Histogram>,
    pub token_usage: Family<TokenUsage, Histogram>,
    pub requests: Family<ByChain, Counter>,
    pub attempts: Family<ByTarget, Counter>,
    pub fallbacks: Family<ByFallback, Counter>,
    pub skips: Family<BySkip, Counter>,
    pub cost: Family<ByCost, Money>,
    pub failover_extra: Family<Chain, Money>,
    pub failover_saved: Family<Chain, Money>,
    pub blended: Family<ByWeek, Gauge<f64, AtomicU64>>,
    pub alarms: Family<ByTarget, Counter>,
    pub unreadable_events: Family<Target, Counter>,
    pub overhead: Histogram,
    pub circuit_state: Family<Target, Gauge>,
    pub budget_used_ratio: Family<Budget, Gauge<f64, AtomicU64>>,
    pub budget_alerts: Family<ByNews, Counter>,
    pub in_flight: Gauge,
    pub log_lines_dropped: Counter,
    pub held_bytes: Gauge,
    pub ledger_state: Family<State, Gauge>,
    pub ledger_waiting: Gauge,
    pub ledger_left_out: Counter,
    pub reloads: Family<ByOutcome, Counter>,
    pub plans: Family<Chain, Counter>,
}

/// One target's circuit for `piton_circuit_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitGauge {
    Closed,
    Probing,
    Open,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Operation {
    pub gen_ai_operation_name: &'static str,
    pub gen_ai_provider_name: &'static str,
    /// The target as configured.
    pub gen_ai_request_model: Arc<str>,
    /// The class of a failure.
    pub error_type: Option<&'static str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TokenUsage {
    pub gen_ai_operation_name: &'static str,
    pub gen_ai_provider_name: &'static str,
    pub gen_ai_request_model: Arc<str>,
    /// `input` or `output`.
    pub gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByChain {
    pub chain: Arc<str>,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByTarget {
    pub target: Arc<str>,
    pub class: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByFallback {
    pub chain: Arc<str>,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct BySkip {
    pub target: Arc<str>,
    pub reason: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByCost {
    pub chain: Arc<str>,
    pub target: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Chain {
    pub chain: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByWeek {
    pub chain: Arc<str>,
    /// `this` or `last`.
    pub week: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Target {
    pub target: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct State {
    pub state: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Budget {
    pub budget: Arc<str>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByNews {
    pub budget: Arc<str>,
    pub news: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByOutcome {
    pub outcome: &'static str,
}

/// The metrics that one target's good answers count, by operation.
#[derive(Debug, Default)]
pub struct Counters {
    chat: Ready,
    embeddings: Ready,
}

impl Counters {
    /// Those of this operation.
    pub fn of(&self, operation: crate::chat::Operation) -> &Ready {
        match operation {
            crate::chat::Operation::Chat => &self.chat,
            crate::chat::Operation::Embeddings => &self.embeddings,
        }
    }
}

/// The metrics of one target and operation, each looked up once: none appears before there is something to count.
#[derive(Debug, Default)]
pub struct Ready {
    pub attempts: Slot<Counter>,
    pub duration: Slot<Histogram>,
    pub first_chunk: Slot<Histogram>,
    pub input_tokens: Slot<Histogram>,
    pub output_tokens: Slot<Histogram>,
    pub cost: Slot<Money>,
}

/// A metric that may not have been looked up yet.
#[derive(Debug)]
pub struct Slot<M>(OnceLock<M>);

impl<M> Default for Slot<M> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<M: Clone> Slot<M> {
    /// The metric of these labels, which are always the same for one slot.
    pub fn get<S, C>(&self, family: &Family<S, M, C>, labels: impl FnOnce() -> S) -> &M
    where
        S: Clone + Hash + Eq,
        C: MetricConstructor<M>,
    {
        self.0.get_or_init(|| family.get_or_create_owned(&labels()))
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            operation_duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            first_chunk: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            token_usage: Family::new_with_constructor(|| Histogram::new(TOKENS)),
            requests: Family::default(),
            attempts: Family::default(),
            fallbacks: Family::default(),
            skips: Family::default(),
            cost: Family::default(),
            failover_extra: Family::default(),
            failover_saved: Family::default(),
            blended: Family::default(),
            alarms: Family::default(),
            unreadable_events: Family::default(),
            overhead: Histogram::new(OVERHEAD),
            circuit_state: Family::default(),
            budget_used_ratio: Family::default(),
            budget_alerts: Family::default(),
            in_flight: Gauge::default(),
            log_lines_dropped: Counter::default(),
            held_bytes: Gauge::default(),
            ledger_state: Family::default(),
            ledger_waiting: Gauge::default(),
            ledger_left_out: Counter::default(),
            reloads: Family::default(),
            plans: Family::default(),
        };
        metrics.register();
        metrics
    }

    // The registry adds `_total` to counters.
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "gen_ai_client_operation_duration_seconds",
            "Duration of one upstream call",
            self.operation_duration.clone(),
        );
        r.register(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Time to the first content of one upstream call",
            self.first_chunk.clone(),
        );
        r.register("gen_ai_client_token_usage", "Tokens of one upstream call", self.token_usage.clone());
        r.register("piton_requests", "Requests by chain and outcome", self.requests.clone());
        r.register("piton_plans", "Requests that asked for their plan only", self.plans.clone());
        r.register("piton_attempts", "Upstream calls by target and class", self.attempts.clone());
        r.register("piton_fallbacks", "Answers that another target gave", self.fallbacks.clone());
        r.register("piton_skips", "Targets passed over", self.skips.clone());
        r.register("piton_cost_usd", "What upstream calls cost, in USD", self.cost.clone());
        r.register(
            "piton_failover_extra_usd",
            "What fallbacks cost beyond the first target's price, in USD",
            self.failover_extra.clone(),
        );
        r.register(
            "piton_failover_saved_usd",
            "What fallbacks saved against the first target's price, in USD",
            self.failover_saved.clone(),
        );
        r.register(
            "piton_blended_usd_per_million_tokens",
            "What a chain's traffic cost, all attempts over the tokens served, in the last 7 days and the 7 before",
            self.blended.clone(),
        );
        r.register("piton_alarms", "Failures that a person has to mend", self.alarms.clone());
        r.register(
            "piton_unreadable_events",
            "Events left out of otherwise good streams",
            self.unreadable_events.clone(),
        );
        r.register("piton_overhead_seconds", "Gateway time without upstream time", self.overhead.clone());
        r.register("piton_circuit_state", "0 closed, 1 probing, 2 open", self.circuit_state.clone());
        r.register(
            "piton_budget_used_ratio",
            "Used share of a budget's limit, of its fullest bucket",
            self.budget_used_ratio.clone(),
        );
        r.register(
            "piton_budget_alerts",
            "Buckets nearly used up or exceeded, once a period",
            self.budget_alerts.clone(),
        );
        r.register("piton_in_flight", "Requests being answered", self.in_flight.clone());
        r.register(
            "piton_log_lines_dropped",
            "Log lines that standard error did not take in time",
            self.log_lines_dropped.clone(),
        );
        r.register("piton_held_bytes", "Bytes held of buffer_memory", self.held_bytes.clone());
        r.register("piton_ledger_state", "1 for the state that the ledger is in", self.ledger_state.clone());
        r.register(
            "piton_ledger_waiting",
            "Requests that wait to be written to the ledger",
            self.ledger_waiting.clone(),
        );
        r.register(
            "piton_ledger_left_out",
            "Requests that were never written to the ledger",
            self.ledger_left_out.clone(),
        );
        r.register("piton_config_reloads", "Reloads by outcome", self.reloads.clone());
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    pub fn print(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl CircuitGauge {
    /// The gauge's number.
    pub const fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::Probing => 1,
            Self::Open => 2,
        }
    }
}

impl Atomic<Cost> for PicoUsd {
    fn inc(&self) -> Cost {
        self.inc_by(Cost::from_pico_usd(1))
    }

    fn inc_by(&self, cost: Cost) -> Cost {
        let pico_usd = u64::try_from(cost.pico_usd()).unwrap_or(u64::MAX);
        Cost::from_pico_usd(self.0.fetch_add(pico_usd, Ordering::Relaxed).into())
    }

    fn get(&self) -> Cost {
        Cost::from_pico_usd(self.0.load(Ordering::Relaxed).into())
    }
}

/// In USD.
impl EncodeCounterValue for Cost {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> std::fmt::Result {
        self.usd().encode(encoder)
    }
}
