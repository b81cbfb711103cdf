//! Before any call: which targets of a chain may serve this request, in which order, and why not the others.

use std::sync::Arc;

use super::chain::{Chain, Target};
use super::describe::Words;
use super::step::Step;
use crate::chat::Request;
use crate::chat::request::{FallbackChoice, Invalid};
use crate::units::{Cost, Tokens};

/// What the request itself says about how its chain is walked.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The client's cost ceiling.
    pub max_cost: Option<Cost>,
    /// `x-piton-fallback: off`: the first eligible target or none.
    pub no_fallback: bool,
    /// The caller's key does not reach this chain.
    pub out_of_scope: bool,
    /// What the request is for, and whose it is.
    pub task: Option<Arc<str>>,
    pub tier: Option<Arc<str>>,
}

/// A chain as one request walks it. Each target is judged when it is asked for: most requests need only the first.
#[derive(Debug)]
pub struct Plan {
    pub chain: Arc<Chain>,
    pub(super) request: Request,
    pub(super) wishes: Wishes,
    /// The targets in another order than the chain's own, or others.
    pub(super) chosen: Option<Vec<Chosen>>,
    /// The request names its targets itself.
    pub(super) is_clients_choice: bool,
    /// The exhausted chain that this one stands in for.
    pub asking: Option<Arc<Chain>>,
    /// The request in words, for targets that cannot see.
    pub(super) words: Option<Arc<Words>>,
}

/// A target at another place than its own.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    target: Arc<Target>,
    /// The client's request with the parameters that it set for this target.
    request: Option<Request>,
}

/// Puts the chain's targets in the order for this request.
pub fn plan(chain: &Arc<Chain>, request: &Request, wishes: &Wishes) -> Result<Arc<Plan>, Invalid> {
    if let Request::Embeddings(_) = request {
        hold_to_one_model(chain)?;
    }
    let chosen = choose(chain, request)?;
    let words = Words::of(chain, request);
    let (chain, request, wishes) = (Arc::clone(chain), request.clone(), wishes.clone());
    let is_clients_choice = chosen.is_some();
    Ok(Arc::new(Plan { chain, request, wishes, chosen, is_clients_choice, asking: None, words }))
}

impl Plan {
    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.chain.targets.len(), Vec::len)
    }

    /// The target at this place, judged.
    pub fn step(&self, at: usize) -> Step<'_> {
        self.step_of(at, self.target(at))
    }

    /// A deployment of the target at this place, judged.
    pub fn step_of<'a>(&'a self, at: usize, deployment: &'a Arc<Target>) -> Step<'a> {
        let chosen = self.chosen.as_ref().map(|chosen| &chosen[at]);
        let own = chosen.and_then(|chosen| chosen.request.as_ref());
        let judge = |request| Step::judge(&self.chain, deployment, request, &self.wishes);
        let step = judge(own.unwrap_or(&self.request));
        match &self.words {
            // A client that sets parameters for one target means that request.
            Some(words) if own.is_none() && step.cannot_see() => words.judge(&self.request, step, judge),
            Some(_) | None => step,
        }
    }

    /// The most tokens that it may take by the estimates: only where the request has parameters of their own for some
    /// targets does it matter much which one is asked.
    pub fn most_tokens(&self) -> Tokens {
        let has_own = |at: &usize| self.chosen.as_ref().is_some_and(|chosen| chosen[*at].request.is_some());
        let estimates = (0..self.len()).filter(has_own).chain([0]).map(|at| self.step(at).estimate);
        estimates.map(|estimate| estimate.input_high + estimate.output).max().unwrap_or_default()
    }

    /// Every deployment of the target at this place, each judged as it comes.
    pub fn steps_at(&self, at: usize) -> impl Iterator<Item = Step<'_>> {
        let target = self.target(at);
        let members = target.group.iter().flat_map(|group| group.members()).map(|member| &member.target);
        let deployments = target.group.is_none().then_some(target).into_iter().chain(members);
        deployments.map(move |deployment| self.step_of(at, deployment))
    }

    /// The same plan with the targets from this place on in the order of what they are expected to cost.
    #[must_use]
    pub fn cheapest_first(&self, from: usize) -> Arc<Self> {
        let chosen = |at: usize| match &self.chosen {
            Some(chosen) => chosen[at].clone(),
            None => Chosen { target: Arc::clone(self.target(at)), request: None },
        };
        let mut order: Vec<usize> = (0..self.len()).collect();
        self.sort_by_cost(&mut order[from.min(self.len())..]);
        let chosen = order.into_iter().map(chosen).collect();
        Arc::new(Self {
            chain: Arc::clone(&self.chain),
            request: self.request.clone(),
            wishes: self.wishes.clone(),
            chosen: Some(chosen),
            is_clients_choice: self.is_clients_choice,
            asking: self.asking.clone(),
            words: self.words.clone(),
        })
    }

    /// Puts places in the order of what they are expected to cost. What nobody knows the price of comes last.
    pub(super) fn sort_by_cost(&self, places: &mut [usize]) {
        places.sort_by_cached_key(|at| {
            let cost = self.step(*at).estimate.cost;
            (cost.is_none(), cost)
        });
    }

    /// The target at this place.
    pub fn target(&self, at: usize) -> &Arc<Target> {
        self.chosen.as_ref().map_or_else(|| &self.chain.targets[at], |chosen| &chosen[at].target)
    }
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

type Parameters = serde_json::Map<String, serde_json::Value>;

/// The client's request with the parameters that it set for one target.
fn with_parameters(request: &Request, target: &Target, parameters: &Parameters) -> Result<Request, Invalid> {
    let own = request.with_parameters(parameters)?;
    // Whichever target serves, the client waits for one kind of answer.
    if own.stream() != request.stream() {
        let message =
            format!("`stream` cannot be another for the fallback `{}` than for the request.", target.id);
        return Err(Invalid::at("fallbacks", message));
    }
    Ok(own)
}

/// The chain's targets as the request's `models` and `fallbacks` narrow and order them; `None`: they do not.
fn choose(chain: &Chain, request: &Request) -> Result<Option<Vec<Chosen>>, Invalid> {
    let own = request.own();
    if own.models.is_none() && own.fallbacks.is_none() {
        return Ok(None);
    }
    let mut named: Vec<(Arc<Target>, Option<&Parameters>)> = match &own.models {
        Some(models) => {
            let found = (0..).zip(models).map(|(at, name)| find(chain, "models", at, name));
            found.map(|target| Ok((target?, None))).collect::<Result<_, Invalid>>()?
        }
        None => chain.targets.iter().map(|target| (Arc::clone(target), None)).collect(),
    };
    if let Some(fallbacks) = &own.fallbacks {
        named.truncate(1);
        for (at, FallbackChoice { model, parameters }) in (0..).zip(fallbacks) {
            let target = find(chain, "fallbacks", at, model)?;
            named.push((target, (!parameters.is_empty()).then_some(parameters)));
        }
    }
    let mut seen = Vec::new();
    named.retain(|(target, _)| {
        let first_time = !seen.contains(&target.index);
        seen.push(target.index);
        first_time
    });
    if named.is_empty() {
        return Err(Invalid::at(
            "models",
            "`models` is empty: it must name at least one target of the chain.",
        ));
    }
    let chosen = named.into_iter().map(|(target, parameters)| {
        let own = parameters.map(|parameters| with_parameters(request, &target, parameters));
        Ok(Chosen { request: own.transpose()?, target })
    });
    chosen.collect::<Result<_, Invalid>>().map(Some)
}

/// A target by its full name, or by its model's name alone.
fn find(chain: &Chain, field: &str, at: usize, name: &str) -> Result<Arc<Target>, Invalid> {
    let has_id = |target: &Target| target.deployments().any(|deployment| &*deployment.id == name);
    let by_id = chain.targets.iter().find(|target| has_id(target));
    let by_model = || chain.targets.iter().find(|target| target.model_id() == name);
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
