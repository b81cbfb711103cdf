//! Budgets: what the file says of them, and which targets each can concern.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file::budget::{self as written, BudgetName, Per};
use super::super::file::{self};
use super::super::name::Glob;
use super::target::Parts;
use super::{Chains, Compiler};
use crate::clock::window::Zone;
use crate::ops::identity::pseudonym;
use crate::routing::Chain;
use crate::routing::budget::{Budget, Counts, Each, Limits, OnExceeded, Pattern, Rule, Scope, Unit, Window};
use crate::units::Tokens;

/// The share at which the owner is warned.
const WARN_AT: f64 = 0.8;

impl Compiler<'_> {
    /// All budgets of the file.
    pub(super) fn budgets(&mut self) -> Vec<Arc<Budget>> {
        let file = self.file;
        let mut names = HashSet::new();
        let mut budgets = Vec::with_capacity(file.budgets.len());
        for budget in &file.budgets {
            if !names.insert(&budget.name.value) {
                let message = format!("two budgets are named {:?}", budget.name.value.0);
                let help = "errors, receipts and metrics tell them by it";
                self.report(Diagnostic::error(&budget.name.at, message).help(help));
                continue;
            }
            self.look_at_budget(budget);
            budgets.push(Arc::new(Budget::new(rule(budget), &self.runtime.books)));
        }
        Budget::sort(&mut budgets);
        budgets
    }

    fn look_at_budget(&mut self, budget: &Located<file::Budget>) {
        if budget.usd.is_none() && budget.tokens.is_none() && budget.requests.is_none() {
            let message = format!("the budget {:?} bounds nothing", budget.name.value.0);
            let problem =
                Diagnostic::error(&budget.at, message).label("neither `usd`, `tokens` nor `requests`");
            self.report(problem.help("for example usd = 50"));
        }
        if let (Some(zone), Per::Rolling(_)) = (&budget.time_zone, budget.per.value) {
            let message = "`time_zone` says nothing of a time that rolls: it has no midnight";
            self.report(Diagnostic::error(&zone.at, message).help("per = \"day\" has one"));
        }
        let Some(scope) = &budget.r#where else { return };
        let file = self.file;
        if let Some(chain) = &scope.chain {
            let direct = file.direct_globs().map(|glob| glob.value.as_str());
            let chains = file.chains.0.keys().map(|name| name.0.as_str()).chain(direct);
            self.look_for("chain", chain, chains);
        }
        if let Some(key) = &scope.key {
            self.look_for("key", key, file.keys.iter().map(|key| key.name.value.as_str()));
        }
    }

    /// Warns of a pattern that fits nothing.
    fn look_for<'n>(&mut self, what: &str, glob: &Located<Glob>, mut names: impl Iterator<Item = &'n str>) {
        if !names.any(|name| glob.matches(name)) {
            let message = format!("no {what} is named like {:?}", glob.value.as_str());
            self.report(Diagnostic::warning(&glob.at, message));
        }
    }

    /// Money can only be bounded where it is known what things cost.
    pub(super) fn hold_to_budgets(&mut self, chains: &Chains, parts: &Parts) {
        let file = self.file;
        for written in &file.budgets {
            let Some(budget) = parts.budget(&written.name.value) else { continue };
            let Some(usd) = &written.usd else { continue };
            let rule = &budget.rule;
            for chain in chains.values() {
                let Some((chain, target)) = unpriced(rule, chain) else { continue };
                let message = format!(
                    "the budget {:?} needs the price of `{target}` in the chain `{chain}`, and nobody knows it",
                    rule.name
                );
                self.report(Diagnostic::error(&usd.at, message).help(format!(
                    "[models.\"{target}\"] price = {{ input = 1, output = 2 }}   # USD per million tokens"
                )));
            }
        }
    }
}

/// A target whose price this budget must know in this chain, and nobody does; with the name of its chain.
fn unpriced<'a>(rule: &Rule, chain: &'a Chain) -> Option<(&'a Arc<str>, &'a Arc<str>)> {
    let concerned = |chain: &'a Chain| {
        let targets = chain.deployments().map(move |target| (chain, target));
        targets.filter(|(chain, target)| rule.scope.covers(&chain.name, &target.id, &target.provider))
    };
    let of_all = concerned(chain).filter(|_| rule.counts == Counts::All);
    // All of a last chain stand in for the first target of the chain that it ends.
    let own = concerned(chain).filter(|(_, target)| target.index > 0);
    let in_last = chain.last.as_deref().into_iter().flat_map(concerned);
    let mut fallbacks = own.chain(in_last).filter(|_| rule.counts == Counts::Fallbacks).peekable();
    // With that they are compared.
    let first = chain.targets.first().filter(|_| fallbacks.peek().is_some());
    let first = first.into_iter().flat_map(|first| first.deployments()).map(|target| (chain, target));
    let unpriced = of_all.chain(first).chain(fallbacks).find(|(_, target)| target.model.prices.is_none());
    unpriced.map(|(chain, target)| (&chain.name, &target.id))
}

impl Parts {
    /// The budgets that can concern a target of a chain.
    pub fn budgets_for(&self, chain: &str, target: &str, provider: &str) -> Arc<[Arc<Budget>]> {
        let concerned =
            self.budgets.iter().filter(|budget| budget.rule.scope.covers(chain, target, provider));
        concerned.cloned().collect()
    }

    fn budget(&self, name: &BudgetName) -> Option<&Arc<Budget>> {
        self.budgets.iter().find(|budget| budget.is_named(&name.0))
    }
}

fn rule(budget: &file::Budget) -> Rule {
    Rule {
        name: budget.name.value.0.as_str().into(),
        limits: Limits {
            cost: budget.usd.as_ref().map(|usd| usd.value.0),
            tokens: budget.tokens.as_ref().map(|tokens| Tokens::new(tokens.value.0)),
            requests: budget.requests.as_ref().map(|requests| requests.value.0),
        },
        window: window(budget),
        each: budget.each.as_ref().map(|each| told_apart_by(each.value)),
        scope: budget.r#where.as_ref().map(|scope| self::scope(&scope.value)).unwrap_or_default(),
        counts: match budget.counts.as_ref().map(|counts| counts.value) {
            None | Some(written::Counts::All) => Counts::All,
            Some(written::Counts::Fallbacks) => Counts::Fallbacks,
        },
        warn_at: budget.warn_at.as_ref().map_or(WARN_AT, |share| share.value.0),
        on_exceeded: match budget.on_exceeded.as_ref().map(|then| then.value) {
            None | Some(written::OnExceeded::Reject) => OnExceeded::Reject,
            Some(written::OnExceeded::Skip) => OnExceeded::Skip,
            Some(written::OnExceeded::Downshift) => OnExceeded::Downshift,
        },
    }
}

fn window(budget: &file::Budget) -> Window {
    let unit = match budget.per.value {
        Per::Hour => Unit::Hour,
        Per::Day => Unit::Day,
        Per::Week => Unit::Week,
        Per::Month => Unit::Month,
        Per::Rolling(time) => return Window::Rolling(time),
    };
    let zone = budget.time_zone.as_ref().map_or(Zone::UTC, |zone| zone.value.0.clone());
    Window::Calendar { unit, zone }
}

fn told_apart_by(each: written::Each) -> Each {
    match each {
        written::Each::User => Each::User,
        written::Each::Session => Each::Session,
        written::Each::Key => Each::Key,
        written::Each::Chain => Each::Chain,
        written::Each::Target => Each::Target,
        written::Each::Task => Each::Task,
        written::Each::Tier => Each::Tier,
    }
}

fn scope(scope: &file::Where) -> Scope {
    let pattern =
        |glob: &Option<Located<Glob>>| -> Option<Pattern> { Some(glob.as_ref()?.matcher().clone()) };
    Scope {
        chain: pattern(&scope.chain),
        target: pattern(&scope.target),
        provider: pattern(&scope.provider),
        key: pattern(&scope.key),
        user: scope.user.as_ref().map(|user| pseudonym(&user.value)),
        task: pattern(&scope.task),
        tier: pattern(&scope.tier),
    }
}
