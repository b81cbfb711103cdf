//! The error of a chain of which no target served: one status for all that happened.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::Instant;

use super::error::{ApiError, INVALID_REQUEST, SERVER_ERROR, quotable};
use crate::clock;
use crate::reason::{Class, Failure, Measure, Skip};
use crate::routing::budget::Exceeded;
use crate::routing::describe::Undescribed;
use crate::routing::run::Exhausted;
use crate::routing::{Entry, Outcome, Place, SkipRecord};
use crate::wire::timestamp;

/// What finally became of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Failed(Class),
    Skipped(Skip),
    /// Passed over because of an earlier rate limit.
    Parked,
}

/// The answer to a request that no target of `chain` served.
pub fn verdict(chain: &str, entries: &[Entry], exhausted: &Exhausted) -> ApiError {
    // What happened beside the walk, in the service of some target, is not what became of the chain.
    if entries.iter().any(|entry| !entry.is_own()) {
        let own: Vec<Entry> = entries.iter().filter(|entry| entry.is_own()).cloned().collect();
        return of_walk(chain, &own, exhausted);
    }
    of_walk(chain, entries, exhausted)
}

fn of_walk(chain: &str, entries: &[Entry], exhausted: &Exhausted) -> ApiError {
    if exhausted.busy {
        return ApiError::busy("Piton's `buffer_memory` is used up; try again.");
    }
    let error = match (&exhausted.over_budget, &exhausted.stopped_by) {
        (Some(exceeded), _) => over_budget(exceeded),
        (None, Some((_, failure))) => stopped(failure),
        (None, None) => by_fates(entries, exhausted),
    };
    let told_by = exhausted.undescribed.as_deref().filter(|_| is_undescribed(entries));
    if error.is_untold() || told_by.is_some() {
        let mut message = tale(chain, entries, exhausted);
        if let Some(undescribed) = told_by {
            message.push_str("\nFor want of a description of its images. ");
            message.push_str(&of_description(undescribed).message);
        }
        return ApiError { message, ..error };
    }
    error
}

/// Whether some target was passed over since nobody could describe the images for it.
fn is_undescribed(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::Skip(record) if record.skip == Skip::Undescribed))
}

/// What became of the chain that was to describe an image.
fn of_description(undescribed: &Undescribed) -> ApiError {
    if let Some((entries, exhausted)) = &undescribed.exhausted {
        return of_walk(&undescribed.chain, entries, exhausted);
    }
    let code = Skip::Undescribed.code();
    let message = format!("The chain `{}` answered without a word.", undescribed.chain);
    ApiError {
        kind: SERVER_ERROR.into(),
        outcome: code,
        ..ApiError::new(StatusCode::BAD_GATEWAY, Some(code), message)
    }
}

impl ApiError {
    /// Whether the message is still to be told from the trail.
    fn is_untold(&self) -> bool {
        self.message.is_empty()
    }
}

/// A class that stops the chain speaks for it.
fn stopped(failure: &Failure) -> ApiError {
    match failure.class {
        Class::InvalidRequest => {
            let status = if failure.status == Some(422) { 422 } else { 400 };
            of_request(status, failure)
        }
        Class::ContentFilter => ApiError { code: Some("content_filter".into()), ..of_request(400, failure) },
        Class::ContextLength => {
            ApiError { code: Some("context_length_exceeded".into()), ..of_request(400, failure) }
        }
        Class::TooLarge => of_request(413, failure),
        Class::DeadlineExceeded => ApiError {
            outcome: failure.class.code(),
            ..ApiError::new(StatusCode::GATEWAY_TIMEOUT, Some(failure.class.code()), "")
        },
        class => ApiError {
            kind: kind_of(class).into(),
            outcome: class.code(),
            retry_after: failure.retry_after,
            ..ApiError::new(own_status(class, failure.status), Some(code_of(class)), "")
        },
    }
}

/// The status of one class alone, where the chain's owner made it stop.
fn own_status(class: Class, upstream: Option<u16>) -> StatusCode {
    match class {
        Class::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        _ => upstream.and_then(relayed).unwrap_or(StatusCode::BAD_GATEWAY),
    }
}

/// An upstream's status that may be the gateway's own.
fn relayed(status: u16) -> Option<StatusCode> {
    matches!(status, 404 | 408 | 500..=599).then(|| StatusCode::from_u16(status).ok()).flatten()
}

/// The upstream's own words about the client's own request.
fn of_request(status: u16, failure: &Failure) -> ApiError {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    ApiError {
        kind: failure.kind.as_deref().map_or_else(|| INVALID_REQUEST.into(), quotable),
        param: failure.param.as_deref().map(quotable),
        code: failure.code.as_deref().map(quotable),
        outcome: failure.class.code(),
        ..ApiError::new(status, None, quotable(&failure.message))
    }
}

fn by_fates(entries: &[Entry], exhausted: &Exhausted) -> ApiError {
    let fates = fates(entries, exhausted);
    // A target that was passed over by design was never going to serve: it says nothing of what is wrong, unless
    // there is nothing else.
    let live: Vec<&Fate> = fates.iter().filter(|fate| !is_by_design(fate)).collect();
    if live.is_empty() {
        return by_design(&fates, entries, exhausted);
    }
    let all = |test: fn(&Fate) -> bool| live.iter().copied().all(test);
    // Nothing but the other chain stood in the way: what became of that speaks for this one.
    if let Some(undescribed) = &exhausted.undescribed
        && all(|fate| *fate == Fate::Skipped(Skip::Undescribed))
    {
        return of_description(undescribed);
    }
    if all(is_the_requests_fault) {
        return requests_fault(exhausted);
    }
    if live.iter().any(|fate| matches!(fate, Fate::Skipped(Skip::Deadline))) {
        let class = Class::DeadlineExceeded;
        let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, Some(class.code()), "");
        return ApiError { outcome: class.code(), ..error };
    }
    if all(is_rate_limit) {
        let class = Class::RateLimited;
        return ApiError {
            kind: kind_of(class).into(),
            outcome: class.code(),
            retry_after: soonest(entries, exhausted),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, Some(code_of(class)), "")
        };
    }
    if all(is_unavailable) {
        return ApiError {
            outcome: "unavailable",
            retry_after: soonest(entries, exhausted),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Some("no_target_available"), "")
        };
    }
    let code = one_class(&live).map_or("all_targets_failed", code_of);
    let status = one_status(entries).unwrap_or(StatusCode::BAD_GATEWAY);
    let outcome = one_class(&live).map_or("exhausted", Class::code);
    ApiError { kind: SERVER_ERROR.into(), outcome, ..ApiError::new(status, Some(code), "") }
}

/// Every target was passed over by what its owner or the key's wrote down.
fn by_design(fates: &[Fate], entries: &[Entry], exhausted: &Exhausted) -> ApiError {
    let any = |wanted: fn(&Skip) -> bool| {
        fates.iter().any(|fate| matches!(fate, Fate::Skipped(skip) if wanted(skip)))
    };
    if any(|skip| *skip == Skip::KeyScope) {
        let error = ApiError::forbidden("chain_not_allowed", "");
        return ApiError { outcome: Skip::KeyScope.code(), ..error };
    }
    if let Some(error) = by_budget(entries) {
        return error;
    }
    // What a closed target lacks besides stands in its place: this one would serve later.
    if any(|skip| *skip == Skip::Schedule) {
        return ApiError {
            outcome: Skip::Schedule.code(),
            retry_after: soonest(entries, exhausted),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Some("no_target_available"), "")
        };
    }
    if any(is_money) {
        let error = ApiError::new(StatusCode::PAYMENT_REQUIRED, Some("cost_ceiling"), "");
        return ApiError { kind: "insufficient_quota".into(), outcome: "cost_ceiling", ..error };
    }
    if any(|skip| *skip == Skip::ContextWindow) {
        let code = "context_length_exceeded";
        return ApiError {
            outcome: "context_window",
            ..ApiError::new(StatusCode::BAD_REQUEST, Some(code), "")
        };
    }
    // A request that fits no target's task is at fault only where nothing else was.
    let is_task = !any(|skip| matches!(skip, Skip::Capability(_)))
        && any(|skip| matches!(skip, Skip::Task | Skip::Tier));
    let code = if is_task { Skip::Task.code() } else { "capability" };
    ApiError { outcome: code, ..ApiError::new(StatusCode::BAD_REQUEST, Some(code), "") }
}

/// A budget refuses the request: for lack of money, or until there may be more.
fn over_budget(exceeded: &Exceeded) -> ApiError {
    budget_error(&exceeded.budget, exceeded.measure, exceeded.resets_in)
}

/// Targets were passed over for budgets: the one that resets first speaks for all. A budget of requests or tokens goes
/// before one of money, since waiting helps with it.
fn by_budget(entries: &[Entry]) -> Option<ApiError> {
    let now = Instant::now();
    let skips = entries.iter().filter_map(|entry| match entry {
        Entry::Skip(SkipRecord { skip: Skip::Budget { name, measure }, ready_at, .. }) => {
            Some((name, *measure, ready_at.map(|ready| ready.saturating_duration_since(now))))
        }
        Entry::Skip(_) | Entry::Attempt(_) => None,
    });
    let first = skips.min_by_key(|(_, measure, wait)| (*measure == Measure::Usd, wait.is_none(), *wait));
    first.map(|(name, measure, wait)| budget_error(name, measure, wait))
}

fn budget_error(name: &str, measure: Measure, resets_in: Option<Duration>) -> ApiError {
    let what = match measure {
        Measure::Usd => "what this request may cost",
        Measure::Tokens => "the tokens that this request may take",
        Measure::Requests => "another request",
    };
    let when = match resets_in {
        Some(wait) => {
            let second = (clock::since_epoch() + wait).as_millis().div_ceil(1000);
            let at = timestamp::extended(u64::try_from(second).unwrap_or(u64::MAX));
            format!("it resets at {}Z", String::from_utf8_lossy(&at))
        }
        None => "it never will: one request may take more than the whole budget".to_owned(),
    };
    let message = format!("The budget `{name}` does not hold {what}; {when}.");
    let outcome = "budget_exceeded";
    match measure {
        Measure::Usd => ApiError {
            kind: "insufficient_quota".into(),
            outcome,
            ..ApiError::new(StatusCode::PAYMENT_REQUIRED, Some(outcome), message)
        },
        Measure::Tokens | Measure::Requests => ApiError {
            kind: kind_of(Class::RateLimited).into(),
            outcome,
            retry_after: resets_in,
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, Some(outcome), message)
        },
    }
}

/// Every target refused because of the request itself: the one that says most is passed on.
fn requests_fault(exhausted: &Exhausted) -> ApiError {
    let of = |class: Class| {
        exhausted.failures.iter().map(|(_, failure)| failure).find(|failure| failure.class == class)
    };
    if let Some(failure) = of(Class::ContextLength) {
        return ApiError { code: Some("context_length_exceeded".into()), ..of_request(400, failure) };
    }
    if let Some(failure) = of(Class::InvalidRequest) {
        let status = if failure.status == Some(422) { 422 } else { 400 };
        return of_request(status, failure);
    }
    match of(Class::ContentFilter) {
        Some(failure) => ApiError { code: Some("content_filter".into()), ..of_request(400, failure) },
        None => match of(Class::TooLarge) {
            Some(failure) => {
                let code = failure.code.clone().or_else(|| Some("request_too_large".into()));
                ApiError { code, ..of_request(413, failure) }
            }
            None => ApiError::new(StatusCode::BAD_REQUEST, None, ""),
        },
    }
}

/// What became of each target in the end, in order.
fn fates(entries: &[Entry], exhausted: &Exhausted) -> Vec<Fate> {
    let mut fates: Vec<(Place, Fate)> = Vec::new();
    for entry in entries {
        let fate = match entry {
            Entry::Skip(record) if record.cause == Some(Class::RateLimited) => Fate::Parked,
            Entry::Skip(record) => Fate::Skipped(record.skip.clone()),
            Entry::Attempt(record) => match record.outcome {
                Some(Outcome::Failed(class)) => Fate::Failed(class),
                Some(Outcome::Ok | Outcome::Busy | Outcome::ClientCancelled) | None => continue,
            },
        };
        match fates.iter_mut().find(|(place, _)| *place == entry.place()) {
            // One of several equal deployments that was never meant to serve says nothing of the others.
            Some((_, known)) if is_by_design(&fate) && !is_by_design(known) => {}
            Some((_, of_target)) => *of_target = fate,
            None => fates.push((entry.place(), fate)),
        }
    }
    // A retry that was ended for the sake of later targets says less than the failure before it.
    for (place, failure) in exhausted.places() {
        if let Some((_, fate)) = fates.iter_mut().find(|(known, _)| *known == place) {
            *fate = Fate::Failed(failure.class);
        }
    }
    fates.into_iter().map(|(_, fate)| fate).collect()
}

fn is_by_design(fate: &Fate) -> bool {
    matches!(fate, Fate::Skipped(skip) if !skip.is_health())
}

fn is_money(skip: &Skip) -> bool {
    matches!(skip, Skip::MaxCost | Skip::PriceRatio | Skip::NoPrice)
}

fn is_the_requests_fault(fate: &Fate) -> bool {
    matches!(fate, Fate::Failed(class) if class.is_the_requests_fault())
}

fn is_rate_limit(fate: &Fate) -> bool {
    matches!(fate, Fate::Failed(Class::RateLimited) | Fate::Parked)
}

fn is_unavailable(fate: &Fate) -> bool {
    matches!(fate, Fate::Skipped(Skip::CircuitOpen | Skip::NoCredential | Skip::Undescribed) | Fate::Parked)
}

fn one_class(fates: &[&Fate]) -> Option<Class> {
    let Some(Fate::Failed(class)) = fates.first() else { return None };
    fates.iter().all(|fate| **fate == Fate::Failed(*class)).then_some(*class)
}

/// The one upstream status that every attempt got, if it may be passed on.
fn one_status(entries: &[Entry]) -> Option<StatusCode> {
    let mut statuses = entries.iter().filter_map(|entry| match entry {
        Entry::Attempt(record) => Some(record.status),
        Entry::Skip(_) => None,
    });
    let first = statuses.next()??;
    let is_one = statuses.all(|status| status == Some(first));
    is_one.then(|| relayed(first)).flatten()
}

/// The soonest time at which a target may be worth asking again.
fn soonest(entries: &[Entry], exhausted: &Exhausted) -> Option<Duration> {
    let now = Instant::now();
    let circuits = entries.iter().filter_map(|entry| match entry {
        Entry::Skip(record) => record.ready_at.map(|ready| ready.saturating_duration_since(now)),
        Entry::Attempt(_) => None,
    });
    let asked = exhausted.failures.iter().filter_map(|(_, failure)| failure.retry_after);
    circuits.chain(asked).min()
}

/// OpenAI's code where it has one for this class.
fn code_of(class: Class) -> &'static str {
    match class {
        Class::RateLimited => "rate_limit_exceeded",
        Class::QuotaExhausted => "insufficient_quota",
        Class::ContextLength => "context_length_exceeded",
        other => other.code(),
    }
}

/// OpenAI's `type` of an error that is no fault of the client's.
fn kind_of(class: Class) -> &'static str {
    if class == Class::RateLimited { "rate_limit_error" } else { SERVER_ERROR }
}

/// Each target and its fate in a line, then the last upstream's own words.
fn tale(chain: &str, entries: &[Entry], exhausted: &Exhausted) -> String {
    let mut text = format!("No target of the chain `{chain}` served this request.");
    let mut told: Vec<(Place, Arc<str>, String)> = Vec::new();
    for entry in entries {
        let (target, fate) = match entry {
            Entry::Skip(record) => (&record.target, format!("skipped ({})", record.skip)),
            Entry::Attempt(record) => {
                (&record.target, record.outcome.map_or("running", Outcome::code).to_owned())
            }
        };
        let is_told =
            |(place, name, _): &&mut (Place, Arc<str>, String)| *place == entry.place() && name == target;
        match told.iter_mut().find(is_told) {
            Some((_, _, fates)) if *fates == fate => {}
            Some((_, _, fates)) => {
                let _ = write!(fates, ", {fate}");
            }
            None => told.push((entry.place(), Arc::clone(target), fate)),
        }
    }
    for (_, target, fates) in told {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{target}: {fates}");
    }
    if let Some((target, failure)) = exhausted.failures.last() {
        let _ = write!(text, "\n{} said: {}", target.id, quotable(&failure.message));
    }
    text
}
