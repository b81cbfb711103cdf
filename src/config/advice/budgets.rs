//! Budgets that hold less than one request, or that must guess how long an answer may be.

use super::super::Gateway;
use super::super::diagnostic::{Diagnostic, Located};
use super::super::file::{self, File};
use super::request;
use crate::reason::Measure;
use crate::routing::Target;
use crate::routing::budget::{Amounts, Bounds, Budget, Counts, Need};
use crate::routing::ceiling::Estimate;

/// A request without a cap, as small as it can be.
const SMALL: &str = r#""messages":[{"role":"user","content":"Hi"}]"#;

/// Everything worth a warning about budgets: the first target of each that shows it.
pub fn of_budgets(file: &File, gateway: &Gateway) -> Vec<Diagnostic> {
    let mut advice = Vec::new();
    for written in &file.budgets {
        let Some(budget) = gateway.budgets().find(|budget| budget.is_named(&written.name.value.0)) else {
            continue;
        };
        let concerned: Vec<&Target> = concerned(budget, gateway).collect();
        if concerned.is_empty() && gateway.direct.names().is_empty() {
            advice.push(Diagnostic::warning(
                &written.at,
                format!("no target of any chain is in the budget {:?}", budget.rule.name),
            ));
        }
        advice.extend(concerned.iter().find_map(|target| too_small(written, budget, target)));
        advice.extend(concerned.iter().find_map(|target| guesses(written, budget, target)));
    }
    advice
}

fn concerned<'a>(budget: &'a Budget, gateway: &'a Gateway) -> impl Iterator<Item = &'a Target> {
    let targets =
        gateway.chains.values().flat_map(|chain| chain.deployments().map(move |target| (chain, target)));
    targets
        .filter(|(chain, target)| budget.rule.scope.covers(&chain.name, &target.id, &target.provider))
        .map(|(_, target)| target)
}

/// A budget that an answer of full length does not fit.
fn too_small(written: &Located<file::Budget>, budget: &Budget, target: &Target) -> Option<Diagnostic> {
    let rule = &budget.rule;
    // What a fallback costs above another target is not known before there is one.
    if rule.counts == Counts::Fallbacks {
        return None;
    }
    let request = request(SMALL)?;
    let bounds = Bounds::of(&target.model, &target.limits);
    let need = Need::of(&request, &Estimate::of(&request, target), &*target.fitness, bounds);
    let cost = target.model.prices.as_ref().map(|prices| need.cost(prices)).unwrap_or_default();
    let exceeded = rule.limits.exceeded_by(Amounts { cost, tokens: need.tokens(), requests: 1 })?;
    let (at, most) = match exceeded {
        Measure::Usd => (&written.usd.as_ref()?.at, format!("{cost} USD")),
        Measure::Tokens => (&written.tokens.as_ref()?.at, format!("{} tokens", need.tokens())),
        Measure::Requests => return None,
    };
    let message = format!(
        "one request to `{}` that sets no cap may take {most}: more than the budget {:?} ever holds",
        target.id, rule.name
    );
    let help = format!(
        "answers of it may have {} tokens; raise the budget, or let clients set `max_tokens`",
        need.output
    );
    Some(Diagnostic::warning(at, message).help(help))
}

/// Where nobody knows how long an answer may be, too little may be set aside for it.
fn guesses(written: &Located<file::Budget>, budget: &Budget, target: &Target) -> Option<Diagnostic> {
    let bounds_length = budget.rule.limits.cost.is_some() || budget.rule.limits.tokens.is_some();
    if !bounds_length || target.model.max_output.or(target.model.context).is_some() {
        return None;
    }
    let message = format!(
        "nobody knows how long an answer of `{}` may be: the budget {:?} sets {} tokens aside for it, and may be overdrawn",
        target.id, budget.rule.name, target.limits.expected_output
    );
    let help = format!("[models.\"{}\"] max_output = 4096", target.id);
    Some(Diagnostic::warning(&written.name.at, message).help(help))
}
