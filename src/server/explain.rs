//! `x-piton-explain`: what a request would come to, instead of its answer; and the same for the command line.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::branch;
use super::error::ApiError;
use super::exchange::{find_chain, label, parse, time_for, wishes};
use super::ops::{amounts, circuit, median_first_token};
use super::settings::Settings;
use super::verdict::verdict;
use crate::chat::{Operation, Request};
use crate::config::gateway::{CallerKey, Gateway};
use crate::ops::{ceilings, estimate};
use crate::routing::budget::{Budget, Left, Purse, Share};
use crate::routing::describe::Outlook as Description;
use crate::routing::explain::{Explanation, First, Judged, Place, View};
use crate::routing::plan::{Plan, plan};
use crate::routing::run::Exhausted;
use crate::routing::{Origin, Target, Trail};
use crate::units::Cost;

/// A request that was understood and planned, but not sent anywhere.
pub struct Outlook {
    pub plan: Arc<Plan>,
    /// For the chain that stands in for an exhausted one.
    last: Option<Arc<Plan>>,
    /// What the client named.
    pub asked: String,
    /// How it came from there to the chain that serves it.
    pub branches: Vec<String>,
    pub streamed: bool,
    /// Time to the first byte of the answer.
    pub time: Duration,
    pub no_fallback: bool,
    pub max_cost: Option<Cost>,
    /// The configuration that decides: its short hash.
    pub config: Arc<str>,
    origin: Origin,
    /// All that there are.
    budgets: Vec<Arc<Budget>>,
}

/// How a plan stands now.
pub struct Look<'o> {
    pub own: Explanation<'o>,
    /// The chain that stands in for an exhausted one.
    pub last: Option<Explanation<'o>>,
}

impl Outlook {
    /// Takes in what a client would send: the same checks as for a real request.
    pub fn of(
        gateway: &Gateway,
        caller: Option<&CallerKey>,
        operation: Operation,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, ApiError> {
        let request = parse(operation, body)?;
        let settings = Settings::read(headers, request.own())?;
        let key = caller.map(|key| Arc::clone(&key.name));
        let mut origin = Origin { operation, key, ..Origin::default() };
        label(&mut origin, &settings, &request, caller, headers)?;
        let asked = find_chain(gateway, request.model(), caller)?;
        let chain = branch::follow(gateway, asked, &request, &mut origin)?;
        let wishes = wishes(&settings, &request, caller, &origin);
        let plan = plan(&chain, &request, &wishes)?;
        Self::new(gateway, &origin, plan, &request, &settings).within_scope(wishes.out_of_scope)
    }

    /// The outlook of a request that was planned.
    pub fn new(
        gateway: &Gateway,
        origin: &Origin,
        plan: Arc<Plan>,
        request: &Request,
        settings: &Settings,
    ) -> Self {
        Self {
            branches: origin
                .detour
                .iter()
                .flat_map(|detour| &detour.taken)
                .map(ToString::to_string)
                .collect(),
            asked: request.model().to_owned(),
            streamed: request.stream(),
            time: time_for(&plan.chain, settings),
            no_fallback: settings.no_fallback,
            max_cost: settings.max_cost,
            config: Arc::clone(&gateway.hash),
            origin: Origin { chain: Arc::clone(&plan.chain.name), ..origin.clone() },
            budgets: gateway.budgets().cloned().collect(),
            last: plan.last(),
            plan,
        }
    }

    /// Whom a chain is closed to, that one is not told of it.
    pub fn within_scope(self, out_of_scope: bool) -> Result<Self, ApiError> {
        let refusal = if out_of_scope { self.look().refusal() } else { None };
        refusal.map_or(Ok(self), Err)
    }

    /// The plan, looked through as it is now.
    pub fn look(&self) -> Look<'_> {
        let now = Instant::now();
        let purse = Purse { budgets: &self.budgets, origin: &self.origin };
        let deadline = |plan: &Plan| now + self.time.min(plan.chain.policy.deadline);
        let view = View { now, deadline: deadline(&self.plan), purse, first_eligible: None };
        let own = self.plan.explain(view);
        // What a budget refuses is the request, not a target.
        let last = self.last.as_ref().filter(|_| own.refused.is_none()).map(|last| {
            let first_eligible = own.first_eligible.as_ref();
            last.explain(View { deadline: deadline(last), first_eligible, ..view })
        });
        Look { own, last }
    }

    /// As callers read it.
    pub fn to_json(&self) -> Value {
        let look = self.look();
        let refusal = look.refusal();
        let mut told = json!({
            "object": "piton.plan",
            "operation": self.origin.operation.name(),
            "asked": self.asked,
            "config": &*self.config,
            "streamed": self.streamed,
            "fallback": !self.no_fallback,
            "status": refusal.as_ref().map_or(200, |error| error.status.as_u16()),
        });
        if let Some(error) = &refusal {
            told["error"] = error.body()["error"].take();
            told["retry_after_s"] = json!(error.retry_after.map(|wait| wait.as_secs_f64().ceil()));
        }
        if !self.branches.is_empty() {
            told["branches"] = json!(self.branches);
        }
        if let Some(ceiling) = self.max_cost {
            told["max_cost_usd"] = json!(ceiling);
        }
        extend(&mut told, self.walk(&look.own, self.time));
        if let Some(last) = &look.last {
            told["on_exhausted"] = self.walk(last, self.time.min(last.plan.chain.policy.deadline));
        }
        told
    }

    /// A chain, its targets in order, and what the budgets leave this request there.
    fn walk(&self, explanation: &Explanation<'_>, time: Duration) -> Value {
        let mut told = walk(explanation, time);
        let budgets = self.budgets_at(explanation);
        if !budgets.is_empty() {
            told["budgets"] = Value::Array(budgets);
        }
        told
    }

    /// Each budget that applies, at the first of the chain's targets that it is for.
    fn budgets_at(&self, explanation: &Explanation<'_>) -> Vec<Value> {
        let chain = &explanation.plan.chain;
        let first = |budget: &Budget| {
            let is_for =
                |target: &&Target| budget.rule.scope.covers(&chain.name, &target.id, &target.provider);
            chain.deployments().find(is_for)
        };
        let applying = self.budgets.iter().filter(|budget| budget.rule.scope.admits(&self.origin));
        applying.filter_map(|budget| Some(left(budget, &self.origin, first(budget)?))).collect()
    }
}

impl Look<'_> {
    /// Whether some target would be asked.
    pub fn is_served(&self) -> bool {
        self.own.first.is_some() || self.last.as_ref().is_some_and(|last| last.first.is_some())
    }

    /// The error that the client would get, where no target would be asked.
    pub fn refusal(&self) -> Option<ApiError> {
        if self.is_served() {
            return None;
        }
        let trail = Trail::default();
        self.own.pass_over(&trail);
        if let Some(last) = &self.last {
            last.pass_over(&trail);
        }
        let chain = &self.own.plan.chain.name;
        let looks = || [Some(&self.own), self.last.as_ref()].into_iter().flatten();
        let over_budget = looks().find_map(|told| told.refused.clone());
        let undescribed = looks().rev().find_map(|told| told.described.as_ref()?.undescribed.clone());
        let exhausted = Exhausted { over_budget, undescribed, ..Exhausted::default() };
        Some(trail.read(|entries| verdict(chain, entries, &exhausted)))
    }
}

/// What a budget leaves the request at a target.
fn left(budget: &Budget, origin: &Origin, target: &Target) -> Value {
    let Left { bucket, left, reserved } = budget.left(origin, &target.id);
    json!({
        "budget": budget.rule.name,
        "bucket": bucket,
        "target": target.id,
        "left": { "usd": left.cost, "tokens": left.tokens, "requests": left.requests },
        "reserved": amounts(reserved),
        "on_exceeded": budget.rule.on_exceeded.code(),
    })
}

/// A chain and its targets in order.
fn walk(explanation: &Explanation<'_>, time: Duration) -> Value {
    let Explanation { plan, places, first, described, .. } = explanation;
    let targets = places.iter().map(|place| told(plan.target(place.at), place));
    let mut told = json!({
        "chain": &*plan.chain.name,
        "deadline_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "max_attempts": plan.chain.policy.max_attempts,
        "first": first.map(|First { place, .. }| &*plan.target(place).id),
        "last_resort": first.is_some_and(|first| first.last_resort),
        "targets": targets.collect::<Vec<_>>(),
    });
    if let Some(Description { chain, images, known, cost, .. }) = described {
        told["image_fallback"] = json!({
            "chain": &**chain,
            "images": images,
            "cached": known,
            "cost_usd": cost,
        });
    }
    told
}

fn told(target: &Target, place: &Place<'_>) -> Value {
    let skip = place.skip();
    // Of a group the one that would be asked, as far as that is known.
    let open = place.deployments.iter().find(|judged| judged.skip.is_none());
    let Some(shown) = open.or(place.deployments.first()) else { return Value::Null };
    let mut told = json!({
        "target": target.id,
        "index": target.index,
        "eligible": skip.is_none(),
        "skip": skip.map(|skip| skip.to_string()),
        "reached": place.is_reached,
    });
    extend(&mut told, facts(shown));
    let limits = &target.limits;
    if limits.is_bounded() {
        told["bounds"] = Value::Object(ceilings(limits));
    }
    if let Some(group) = &target.group {
        told["balance"] = json!(group.balance.code());
        let deployments = group.members().iter().zip(&place.deployments).map(|(member, judged)| {
            let mut told = json!({
                "target": member.target.id,
                "key_number": member.target.key_number,
                "share": group.rounded_share(member),
                "eligible": judged.skip.is_none(),
                "skip": judged.skip.as_ref().map(ToString::to_string),
            });
            extend(&mut told, facts(judged));
            told
        });
        told["deployments"] = deployments.collect();
    }
    told
}

/// What is known of a target, or of one of its deployments, for this request.
fn facts(judged: &Judged<'_>) -> Value {
    let target = judged.step.target;
    let rates = target.model.prices_now().map(|prices| prices.rates(judged.step.estimate.input_high));
    let mut told = json!({
        "estimate": estimate(&judged.step.estimate),
        "price_usd_per_million": rates.map(|rates| json!({
            "input": rates.input.usd_per_million(),
            "output": rates.output.usd_per_million(),
        })),
        "context_length": target.model.context,
        "offline": target.is_offline,
        "circuit": circuit(target),
        "median_first_token_ms": median_first_token(target),
    });
    if judged.step.in_words {
        told["images_described"] = json!(true);
    }
    let shares = &judged.prospect.shares;
    if !shares.is_empty() {
        told["budgets"] = shares.iter().map(share).collect();
    }
    told
}

/// What a budget would say to a call.
fn share(share: &Share) -> Value {
    json!({
        "budget": share.budget,
        "bucket": share.bucket,
        "takes_at_most": amounts(share.amounts),
        "decision": share.decision.code(),
    })
}

fn extend(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
