//! Chains: their targets resolved, and held to the rules that need more than one line of the file.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file;
use super::super::name::ChainName;
use super::inherit::{ChainSettings, Layers, Level, TargetSettings};
use super::provider::{Provider, unknown_provider};
use super::target::{Order, Parts};
use super::{Chains, Compiler, SMALLEST};
use crate::catalog;
use crate::routing::chain::{Chain, Target};

/// A target of the file, resolved so far.
struct Rung<'a> {
    written: &'a Located<file::Target>,
    provider: Arc<Provider>,
    settings: TargetSettings,
    has_price: bool,
}

impl Compiler<'_> {
    /// All chains that could be built.
    pub(super) fn chains(&mut self, parts: &Parts) -> Chains {
        let file = self.file;
        let mut chains = IndexMap::new();
        for (name, chain) in &file.chains.0 {
            let built = self.chain(name, chain, parts);
            chains.extend(built.map(|chain| (Arc::clone(&chain.name), Arc::new(chain))));
        }
        if file.chains.0.is_empty() && file.direct_globs().next().is_none() && self.is_unwritten("chains") {
            let name = self.source.name.display();
            let problem =
                Diagnostic::nowhere(format!("{name} has no chain, so nothing could ever be called"));
            self.report(problem.help(SMALLEST));
        }
        chains
    }

    fn chain(&mut self, name: &ChainName, chain: &Located<file::Chain>, parts: &Parts) -> Option<Chain> {
        let written = &chain.targets.0;
        self.refuse_duplicates(written);
        let settings = ChainSettings::new(&self.file.defaults.policy, &chain.policy, &mut self.problems);
        let policy = settings.policy(written.len());
        let rungs: Vec<Option<Rung<'_>>> =
            written.iter().map(|target| self.rung(chain, target, &settings, parts)).collect();
        self.hold_to_ceilings(&rungs);
        let mut targets = Vec::with_capacity(rungs.len());
        for (index, rung) in rungs.into_iter().enumerate() {
            let Some(Rung { written, provider, settings, .. }) = rung else { continue };
            let order = Order {
                name: &written.model.value,
                id: written.model.to_string().into(),
                index,
                why: written.why.as_ref().map(|why| why.value.clone()),
                provider: &provider,
                settings,
                policy: &policy,
            };
            match parts.target(order) {
                Ok(target) => targets.push(Arc::new(target)),
                Err(error) => {
                    let message =
                        format!("no HTTP client can be made for `{}`: {error}", written.model.value);
                    self.report(Diagnostic::error(&written.at, message));
                }
            }
        }
        if targets.is_empty() || targets.len() < written.len() {
            return None;
        }
        self.refuse_unusable(name, chain, &targets);
        let why = chain.why.as_ref().map(|why| why.value.clone());
        Some(Chain { name: name.0.as_str().into(), why, policy, targets })
    }

    fn rung<'t>(
        &mut self,
        chain: &file::Chain,
        target: &'t Located<file::Target>,
        settings: &ChainSettings,
        parts: &Parts,
    ) -> Option<Rung<'t>> {
        let layers =
            Layers { defaults: &self.file.defaults.limits, chain: &chain.limits, target: &target.limits };
        let settings = TargetSettings::new(layers, &settings.deadline, &mut self.problems);
        let name = &target.model.value;
        let Some(provider) = parts.providers.get(&name.provider) else {
            // One that the file has, but wrongly, was already reported.
            if !self.file.providers.0.keys().any(|known| known.0 == name.provider) {
                self.report(unknown_provider(&name.provider, &target.model.at, &parts.providers));
            }
            return None;
        };
        self.complain(provider, &target.model.at);
        let has_price = parts.known(provider, name).is_some_and(|model| model.prices.is_some());
        Some(Rung { written: target, provider: Arc::clone(provider), settings, has_price })
    }

    /// Warns once of a provider that cannot be called.
    pub(super) fn complain(&mut self, provider: &Provider, user: &Location) {
        if let Some(complaint) = &provider.complaint
            && self.complained.insert(provider.name.to_string())
        {
            let at = complaint.at.as_ref().unwrap_or(user);
            self.report(Diagnostic::warning(at, complaint.message.clone()).help(complaint.help.clone()));
        }
    }

    fn refuse_duplicates(&mut self, targets: &[Located<file::Target>]) {
        for (index, target) in targets.iter().enumerate() {
            let model = &target.model;
            if let Some(first) = targets[..index].iter().find(|first| first.model.value == model.value) {
                let message = format!("`{}` stands twice in this chain", model.value);
                let problem = Diagnostic::error(&model.at, message).label("tried before");
                self.report(problem.help(format!("it is already at {}", first.at.path)));
            }
        }
    }

    /// A ceiling says nothing about a target whose price nobody knows.
    fn hold_to_ceilings(&mut self, rungs: &[Option<Rung<'_>>]) {
        let first = rungs.first().and_then(Option::as_ref);
        for rung in rungs.iter().flatten() {
            let Some((key, place)) = rung.settings.ceilings.first() else { continue };
            let at = match (place.level, &place.at) {
                (Level::Target, Some(at)) => at,
                _ => &rung.written.model.at,
            };
            let model = &rung.written.model.value;
            let set = place.level.origin();
            if !rung.has_price {
                let message = format!("`{key}` (set{set}) needs a price, and nobody knows that of `{model}`");
                self.report(with_near(Diagnostic::error(at, message), &rung.provider, &model.model).help(
                    format!(
                        "[models.\"{model}\"] price = {{ input = 1, output = 2 }}   # USD per million tokens"
                    ),
                ));
            } else if *key == "max_price_ratio"
                && let Some(first) = first.filter(|first| !first.has_price)
            {
                let of = &first.written.model.value;
                let message = format!(
                    "`max_price_ratio` compares with the first target, `{of}`, whose price nobody knows"
                );
                self.report(Diagnostic::error(at, message).help(format!(
                    "[models.\"{of}\"] price = {{ input = 1, output = 2 }}   # USD per million tokens"
                )));
            }
        }
    }

    fn refuse_unusable(&mut self, name: &ChainName, chain: &Located<file::Chain>, targets: &[Arc<Target>]) {
        let missing: Option<Vec<&str>> =
            targets.iter().map(|target| target.credential.missing.as_deref()).collect();
        if let Some(mut missing) = missing {
            missing.dedup();
            let message = format!("the chain `{}` has no target that could be called", name.0);
            let help = format!("missing: {}", missing.join(", "));
            self.report(
                Diagnostic::error(&chain.at, message).label("every credential is missing").help(help),
            );
        }
    }
}

/// Points out names of the catalog that are much like this one.
pub fn with_near(problem: Diagnostic, provider: &Provider, model: &str) -> Diagnostic {
    let near = catalog::near(provider.kind.catalog, model);
    if near.is_empty() || near.iter().any(|name| name == model) {
        return problem;
    }
    let near: Vec<String> = near.iter().map(|name| format!("`{}/{name}`", provider.name)).collect();
    problem.label(format!("did you mean {}?", near.join(" or ")))
}
