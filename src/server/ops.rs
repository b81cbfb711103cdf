//! What Piton tells of itself over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::ApiError;
use super::{App, access};
use crate::config::gateway::Gateway;
use crate::config::live::Reloaded;
use crate::ops::{CircuitGauge, shelf};
use crate::reason::Word;
use crate::routing::blend::Traffic;
use crate::routing::breaker::Standing as Circuit;
use crate::routing::budget::{Amounts, Budget, Each};
use crate::routing::group::{Group, Member};
use crate::routing::quota::Standing;
use crate::routing::terms::{Names, Terms};
use crate::routing::{Chain, Target};

/// How many buckets of a budget are shown: those that are used up most.
const SHOWN_BUCKETS: usize = 100;

/// The process is alive.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// It wants traffic.
pub async fn readyz(State(app): State<App>) -> (StatusCode, Json<Value>) {
    if app.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "draining" })));
    }
    (StatusCode::OK, Json(json!({ "status": "ready" })))
}

/// The metrics as Prometheus reads them.
pub async fn metrics(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let gateway = app.live().load();
    if !gateway.server.open_metrics {
        access::admin(&gateway, &headers, &uri, peer)?;
    }
    let now = Instant::now();
    let mut circuits: BTreeMap<Arc<str>, CircuitGauge> = BTreeMap::new();
    for target in gateway.chains.values().flat_map(|chain| chain.deployments()) {
        let gauge = gauge(&target.health.breaker.standing(now));
        // With several keys a deployment is as well as the best of them.
        let best = circuits.entry(Arc::clone(&target.id)).or_insert(gauge);
        *best = if gauge.number() < best.number() { gauge } else { *best };
    }
    let circuits: Vec<_> = circuits.into_iter().collect();
    let runtime = app.live().runtime();
    let time = crate::clock::since_epoch();
    let blended = gateway
        .chains
        .values()
        .map(|chain| (&chain.name, chain.blend.weeks(time).map(|week| week.usd_per_million())));
    runtime.telemetry.blended(blended);
    let budgets: Vec<_> = gateway
        .budgets()
        .map(|budget| (Arc::clone(&budget.rule.name), budget.standing(0).used_ratio))
        .collect();
    let text = runtime.telemetry.print(&circuits, &budgets, &runtime.memory, &runtime.ledger);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

/// Chains, targets and circuits as they are now.
pub async fn status(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let gateway = app.live().load();
    access::admin(&gateway, &headers, &uri, peer)?;
    let chains: Vec<Value> = gateway.chains.values().map(|chain| chain_status(chain)).collect();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": &*gateway.hash,
        "uptime_s": app.0.started.elapsed().as_secs(),
        "draining": app.is_draining(),
        "in_flight": app.in_flight(),
        "held_bytes": app.live().runtime().memory.used(),
        "ledger": app.live().runtime().ledger.to_json(),
        "chains": chains,
        "keys": limited_keys(&gateway),
        "budgets": gateway.budgets().map(|budget| budget_status(budget)).collect::<Vec<_>>(),
    })))
}

/// The receipt of one request.
pub async fn receipt(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let gateway = app.live().load();
    let reader = match access::reader(&gateway, &headers, &uri, peer)? {
        access::Reader::Admin => shelf::Reader::Admin,
        access::Reader::Caller(key) => shelf::Reader::Key(&key.name),
    };
    let runtime = app.live().runtime();
    let in_memory = runtime.ledger.waiting(&id, reader).or_else(|| runtime.receipts.find(&id, reader));
    if let Some(receipt) = in_memory {
        return Ok(Json(receipt).into_response());
    }
    match runtime.ledger.find(&id, reader).await {
        Ok(Some(receipt)) => Ok(Json(receipt).into_response()),
        Ok(None) => Err(ApiError::not_found(format!("There is no receipt `{id}`."))),
        Err(unreadable) => Err(ApiError::not_found(format!(
            "There is no receipt `{id}` among the last 10,000, and {unreadable}."
        ))),
    }
}

/// Reads the configuration again.
pub async fn reload(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    access::admin(&app.live().load(), &headers, &uri, peer)?;
    let live = app.live().clone();
    // It reads files.
    let reloaded = tokio::task::spawn_blocking(move || live.reload()).await;
    let failed =
        || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, Some("internal_error"), "The reload failed.");
    match reloaded.map_err(|_| failed())? {
        Ok(Reloaded { not_applied, warnings }) => Ok(Json(json!({
            "reloaded": true,
            "config": &*app.live().load().hash,
            "not_applied": not_applied,
            "warnings": warnings,
        }))),
        Err(problems) => {
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, Some("invalid_config"), problems))
        }
    }
}

/// The callers that have limits, and how these stand.
fn limited_keys(gateway: &Gateway) -> Vec<Value> {
    let now = Instant::now();
    let rate = |standing: Option<Standing>| {
        standing.map(|Standing { limit, remaining, .. }| json!({ "limit": limit, "remaining": remaining }))
    };
    let limited = gateway.keys.values().filter_map(|key| Some((&key.name, key.quota.as_ref()?)));
    let mut limited: Vec<_> = limited.collect();
    limited.sort_by_key(|(name, _)| Arc::clone(name));
    let told = limited.into_iter().map(|(name, quota)| {
        json!({
            "key": name,
            "requests_per_minute": rate(quota.requests(now)),
            "tokens_per_minute": rate(quota.tokens(now)),
            "concurrency": quota.limits.concurrency,
            "in_flight": quota.running(),
        })
    });
    told.collect()
}

fn chain_status(chain: &Chain) -> Value {
    json!({
        "name": chain.name,
        "why": chain.why,
        "deadline_ms": u64::try_from(chain.policy.deadline.as_millis()).unwrap_or(u64::MAX),
        "max_attempts": chain.policy.max_attempts,
        "blended_price": blended(chain),
        "require": words(&chain.require),
        "by_task": chain.branches.as_ref().map(|branches| pairs(&branches.by_task)),
        "by_tier": chain.branches.as_ref().map(|branches| pairs(&branches.by_tier)),
        "on_exhausted": chain.last.as_ref().map(|last| &last.name),
        "describe": chain.describe.as_ref().map(|describe| &describe.chain.name),
        "targets": chain.targets.iter().map(|target| target_status(target)).collect::<Vec<_>>(),
    })
}

fn target_status(target: &Target) -> Value {
    let prices = target.model.prices_now();
    let mut status = json!({
        "target": target.id,
        "index": target.index,
        "provider": target.provider,
        "why": target.why,
        "url": target.url,
        "circuit": circuit(target),
        "tags": words(&target.tags),
        "offline": target.is_offline,
        "terms": target.terms.as_ref().map(|terms| self::terms(terms)),
        "missing_credential": target.credential.missing,
        "context_length": target.model.context,
        "max_output_tokens": target.model.max_output,
        "price_usd_per_million": prices.map(|prices| json!({
            "input": prices.input().usd_per_million(),
            "output": prices.output().usd_per_million(),
        })),
        "median_first_token_ms": median_first_token(target),
    });
    if let Some(group) = &target.group {
        let best = target
            .deployments()
            .min_by_key(|one| gauge(&one.health.breaker.standing(Instant::now())).number());
        status["circuit"] = best.map(circuit).unwrap_or_default();
        status["balance"] = json!(group.balance.code());
        let deployments = group.members().iter().map(|member| deployment_status(group, member));
        status["deployments"] = deployments.collect();
    }
    status
}

/// One of a target's equal deployments, or one of the keys that it is called with: by its number, never itself.
fn deployment_status(group: &Group, member: &Member) -> Value {
    let target = &member.target;
    json!({
        "target": target.id,
        "key_number": target.key_number,
        "url": target.url,
        "share": group.rounded_share(member),
        "in_flight": target.health.load.load(Ordering::Relaxed),
        "circuit": circuit(target),
        "missing_credential": target.credential.missing,
        "median_first_token_ms": median_first_token(target),
    })
}

/// How long it usually takes to its first content.
pub fn median_first_token(target: &Target) -> Option<u64> {
    let median = target.health.first_content.median(Instant::now())?;
    Some(u64::try_from(median.as_millis()).unwrap_or(u64::MAX))
}

fn budget_status(budget: &Budget) -> Value {
    let rule = &budget.rule;
    let standing = budget.standing(SHOWN_BUCKETS);
    let since_epoch_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let buckets = standing.buckets.iter().map(|bucket| {
        json!({
            "bucket": bucket.name,
            "used": amounts(bucket.spent),
            "reserved": amounts(bucket.reserved),
            "used_ratio": bucket.used_ratio,
        })
    });
    json!({
        "name": rule.name,
        "limits": {
            "usd": rule.limits.cost,
            "tokens": rule.limits.tokens,
            "requests": rule.limits.requests,
        },
        "per": rule.window.to_string(),
        "each": rule.each.map(Each::code),
        "counts": rule.counts.code(),
        "on_exceeded": rule.on_exceeded.code(),
        "used_ratio": standing.used_ratio,
        "resets_at_unix_ms": standing.resets_at.map(since_epoch_ms),
        "live_buckets": standing.live_buckets,
        "has_surplus": standing.has_surplus,
        "buckets": buckets.collect::<Vec<_>>(),
    })
}

/// Amounts as they are told.
pub fn amounts(amounts: Amounts) -> Value {
    json!({ "usd": amounts.cost, "tokens": amounts.tokens, "requests": amounts.requests })
}

/// What the chain's traffic really cost.
fn blended(chain: &Chain) -> Value {
    let week = |week: Traffic| {
        let price = week.usd_per_million();
        json!({ "usd_per_million_tokens": price, "cost_usd": week.cost, "tokens": week.tokens })
    };
    let [this, last] = chain.blend.weeks(crate::clock::since_epoch()).map(week);
    json!({ "this_week": this, "last_week": last })
}

/// Whom a target serves and when, and whether it does now.
fn terms(terms: &Terms) -> Value {
    let names =
        |names: &Option<Names>| names.as_ref().map(|names| json!(names.written().collect::<Vec<_>>()));
    json!({
        "lacks_tag": terms.lacks.as_ref().map(Word::as_str),
        "tasks": names(&terms.tasks),
        "tiers": names(&terms.tiers),
        "when": terms.when.as_ref().map(ToString::to_string),
        "open": !terms.is_closed(),
    })
}

fn words(words: &[Word]) -> Vec<&str> {
    words.iter().map(Word::as_str).collect()
}

fn pairs(pairs: &[(Arc<str>, Arc<str>)]) -> Value {
    pairs.iter().map(|(value, chain)| (value.to_string(), json!(&**chain))).collect()
}

/// How its circuit stands.
pub fn circuit(target: &Target) -> Value {
    let now = Instant::now();
    match target.health.breaker.standing(now) {
        Circuit::Ready => json!({ "state": "closed" }),
        Circuit::Probing { cause } => json!({ "state": "half_open", "reason": cause.code() }),
        Circuit::Open { until, cause } => {
            let left = until.saturating_duration_since(now);
            let until_unix_ms = (crate::clock::since_epoch() + left).as_millis();
            json!({
                "state": "open",
                "reason": cause.code(),
                "for_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                "until_unix_ms": u64::try_from(until_unix_ms).unwrap_or(u64::MAX),
            })
        }
    }
}

fn gauge(standing: &Circuit) -> CircuitGauge {
    match standing {
        Circuit::Ready => CircuitGauge::Closed,
        Circuit::Probing { .. } => CircuitGauge::Probing,
        Circuit::Open { .. } => CircuitGauge::Open,
    }
}
