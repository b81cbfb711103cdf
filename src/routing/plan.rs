//! Before any call: which targets of a chain may serve this request, and why not the others.

use std::sync::Arc;

use super::attempt::SkipRecord;
use super::ceiling::{self, Estimate};
use super::chain::{Chain, Target};
use crate::chat::Request;
use crate::chat::request::{FallbackChoice, Invalid};
use crate::reason::Skip;
use crate::units::Cost;

/// What the request itself says about how its chain is walked.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The client's cost ceiling.
    pub max_cost: Option<Cost>,
    /// `x-piton-fallback: off`: the first eligible target or none.
    pub no_fallback: bool,
    /// The caller's key does not reach this chain.
    pub out_of_scope: bool,
}

/// One target of the plan.
#[derive(Debug)]
pub struct Step {
    pub target: Arc<Target>,
    /// The client's request, or with the parameters that it set for this target.
    pub request: Request,
    pub estimate: Estimate,
    /// Why it will not be asked, if that is certain already.
    pub skip: Option<Skip>,
}

impl Step {
    /// The trail's line for passing this target over.
    pub fn skipped(&self, skip: Skip) -> SkipRecord {
        SkipRecord {
            index: self.target.index,
            target: Arc::clone(&self.target.id),
            skip,
            ready_at: None,
            cause: None,
            estimate: self.estimate,
        }
    }
}

/// Puts the chain's targets in the order for this request and judges each.
pub fn plan(chain: &Chain, request: &Request, wishes: &Wishes) -> Result<Vec<Step>, Invalid> {
    if let Request::Embeddings(_) = request {
        hold_to_one_model(chain)?;
    }
    let chosen = choose(chain, request)?;
    let mut steps = Vec::with_capacity(chosen.len());
    for (target, parameters) in chosen {
        let request = match parameters {
            Some(parameters) => with_parameters(request, &target, parameters)?,
            None => request.clone(),
        };
        let estimate = Estimate::of(&request, &target);
        let skip = judge(chain, &target, &request, &estimate, wishes);
        steps.push(Step { target, request, estimate, skip });
    }
    Ok(steps)
}

/// Vectors of two models do not mix: whichever target serves, they must come from the same one.
fn hold_to_one_model(chain: &Chain) -> Result<(), Invalid> {
    let Some(first) = chain.targets.first() else { return Ok(()) };
    let Some(other) = chain.targets.iter().find(|target| target.model_name != first.model_name) else {
        return Ok(());
    };
    let message = format!(
        "The chain `{}` cannot embed: its targets `{}` and `{}` are different models, and vectors of two models do \
         not mix. If they are one and the same, say so with `like` under [models].",
        chain.name, first.id, other.id
    );
    Err(Invalid::at("model", message))
}

/// The first reason, in the order in which an owner would want to hear them, not to ask this target.
fn judge(
    chain: &Chain,
    target: &Target,
    request: &Request,
    estimate: &Estimate,
    wishes: &Wishes,
) -> Option<Skip> {
    if wishes.out_of_scope {
        return Some(Skip::KeyScope);
    }
    if target.credential.missing.is_some() {
        return Some(Skip::NoCredential);
    }
    if let Some(what) = target.fitness.lacks(request) {
        return Some(Skip::Capability(what));
    }
    if estimate.overflows(request, target) {
        return Some(Skip::ContextWindow);
    }
    let first = chain.targets.first()?;
    ceiling::money(target, estimate, first, wishes.max_cost)
}

/// The client's request with the parameters that it set for one target.
fn with_parameters(
    request: &Request,
    target: &Target,
    parameters: &serde_json::Map<String, serde_json::Value>,
) -> Result<Request, Invalid> {
    let own = request.with_parameters(parameters)?;
    // Whichever target serves, the client waits for one kind of answer.
    if own.stream() != request.stream() {
        let message =
            format!("`stream` cannot be another for the fallback `{}` than for the request.", target.id);
        return Err(Invalid::at("fallbacks", message));
    }
    Ok(own)
}

type Chosen<'a> = (Arc<Target>, Option<&'a serde_json::Map<String, serde_json::Value>>);

/// The chain's targets as the request's `models` and `fallbacks` narrow and order them.
fn choose<'a>(chain: &Chain, request: &'a Request) -> Result<Vec<Chosen<'a>>, Invalid> {
    let mut chosen: Vec<Chosen<'a>> = match &request.own().models {
        Some(models) => {
            let found = (0..).zip(models).map(|(at, name)| find(chain, "models", at, name));
            found.map(|target| Ok((target?, None))).collect::<Result<_, Invalid>>()?
        }
        None => chain.targets.iter().map(|target| (Arc::clone(target), None)).collect(),
    };
    if let Some(fallbacks) = &request.own().fallbacks {
        chosen.truncate(1);
        for (at, FallbackChoice { model, parameters }) in (0..).zip(fallbacks) {
            let target = find(chain, "fallbacks", at, model)?;
            chosen.push((target, (!parameters.is_empty()).then_some(parameters)));
        }
    }
    let mut seen = Vec::new();
    chosen.retain(|(target, _)| {
        let first_time = !seen.contains(&target.index);
        seen.push(target.index);
        first_time
    });
    if chosen.is_empty() {
        return Err(Invalid::at(
            "models",
            "`models` is empty: it must name at least one target of the chain.",
        ));
    }
    Ok(chosen)
}

/// A target by its full name, or by its model's name alone.
fn find(chain: &Chain, field: &str, at: usize, name: &str) -> Result<Arc<Target>, Invalid> {
    let by_id = chain.targets.iter().find(|target| &*target.id == name);
    let model_of = |target: &Target| target.id.split_once('/').map(|(_, model)| model.to_owned());
    let by_model = || chain.targets.iter().find(|target| model_of(target).as_deref() == Some(name));
    by_id.or_else(by_model).cloned().ok_or_else(|| {
        let names: Vec<&str> = chain.targets.iter().map(|target| &*target.id).collect();
        Invalid::at(
            format!("{field}[{at}]"),
            format!(
                "`{name}` is not a target of the chain `{}`. Chains are closed; its targets are: {}.",
                chain.name,
                names.join(", ")
            ),
        )
    })
}
