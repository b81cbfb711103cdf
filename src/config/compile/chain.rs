//! Chains: their targets resolved, and held to the rules that need more than one line of the file.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file;
use super::super::name::{ChainName, ModelName};
use super::branches::branches;
use super::inherit::{ChainSettings, Layers, Level, TargetSettings};
use super::provider::{Provider, unknown_provider};
use super::target::{Deployment, Order, Parts};
use super::{Chains, Compiler, SMALLEST};
use crate::catalog;
use crate::routing::chain::{Chain, Target};

/// A target of the file, resolved so far.
struct Rung<'a> {
    written: &'a Located<file::Target>,
    members: Vec<Member<'a>>,
    settings: TargetSettings,
}

/// The model that a target names, or one of several.
struct Member<'a> {
    model: &'a Located<ModelName>,
    weight: u32,
    provider: Arc<Provider>,
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
        let require = settings.require.clone();
        let rungs: Vec<Option<Rung<'_>>> =
            written.iter().map(|target| self.rung(chain, target, &settings, parts)).collect();
        let policy = settings.policy(rungs.iter().flatten().map(Rung::deployments).sum());
        self.hold_to_ceilings(&rungs);
        let mut targets = Vec::with_capacity(rungs.len());
        for (index, rung) in rungs.into_iter().enumerate() {
            let Some(rung) = rung else { continue };
            self.look_at_group(&rung, parts);
            let Rung { written, members, settings } = &rung;
            let deployments = members.iter().map(|member| Deployment {
                name: &member.model.value,
                id: member.model.to_string().into(),
                provider: &member.provider,
                weight: member.weight,
            });
            let order = Order {
                deployments: deployments.collect(),
                balance: written.balance.as_ref().map(|balance| balance.value.into()).unwrap_or_default(),
                index,
                chain: &name.0,
                why: written.why.as_ref().map(|why| why.value.clone()),
                settings,
                policy: &policy,
                own: self.terms(written),
                offline: written.offline.as_ref().map(|offline| offline.value),
                require: &require,
            };
            match parts.target(&order) {
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
        let name: Arc<str> = name.0.as_str().into();
        Some(Chain {
            blend: parts.runtime.blend(&name),
            name,
            why,
            policy,
            targets,
            require,
            branches: branches(chain),
            last: None,
            describe: None,
        })
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
        let models = target.models();
        let members: Vec<Option<Member<'_>>> =
            models.into_iter().map(|(model, weight)| self.member(model, weight, parts)).collect();
        let members = members.into_iter().collect::<Option<Vec<Member<'_>>>>()?;
        Some(Rung { written: target, members, settings })
    }

    fn member<'t>(
        &mut self,
        model: &'t Located<ModelName>,
        weight: u32,
        parts: &Parts,
    ) -> Option<Member<'t>> {
        let name = &model.value;
        let Some(provider) = parts.providers.get(&name.provider) else {
            // One that the file has, but wrongly, was already reported.
            if !self.file.providers.0.keys().any(|known| known.0 == name.provider) {
                self.report(unknown_provider(&name.provider, &model.at, &parts.providers));
            }
            return None;
        };
        self.complain(provider, &model.at);
        let has_price = parts.known(provider, name).is_some_and(|model| model.prices.is_some());
        Some(Member { model, weight, provider: Arc::clone(provider), has_price })
    }

    /// Requests are spread over one and the same model only.
    fn look_at_group(&mut self, rung: &Rung<'_>, parts: &Parts) {
        if let Some(balance) = &rung.written.balance
            && rung.deployments() < 2
        {
            let message = "there is nothing to balance: this target is one deployment with one key";
            self.report(Diagnostic::warning(&balance.at, message));
        }
        let Some((first, others)) = rung.members.split_first() else { return };
        let own_name = parts.own_name(&first.model.value);
        for other in others.iter().filter(|other| parts.own_name(&other.model.value) != own_name) {
            let (model, of) = (&other.model.value, &first.model.value);
            let message =
                format!("`{model}` is another model than `{of}`, with which it would share requests");
            let problem = Diagnostic::error(&other.model.at, message);
            let known = parts.likes.get(&of.to_string()).unwrap_or(of);
            self.report(
                problem
                    .help(format!("if they are one and the same: [models.\"{model}\"] like = \"{known}\""))
                    .help("if they are not, make them targets of their own"),
            );
        }
    }

    /// Warns once of a provider that cannot be called.
    pub(super) fn complain(&mut self, provider: &Provider, user: &Location) {
        if provider.complaints.is_empty() || !self.complained.insert(provider.name.to_string()) {
            return;
        }
        for complaint in &provider.complaints {
            let at = complaint.at.as_ref().unwrap_or(user);
            self.report(Diagnostic::warning(at, complaint.message.clone()).help(complaint.help.clone()));
        }
    }

    fn refuse_duplicates(&mut self, targets: &[Located<file::Target>]) {
        let models = targets.iter().flat_map(|target| target.models());
        let models: Vec<&Located<ModelName>> = models.map(|(model, _)| model).collect();
        for (index, model) in models.iter().enumerate() {
            if let Some(first) = models[..index].iter().find(|first| first.value == model.value) {
                let message = format!("`{}` stands twice in this chain", model.value);
                let problem = Diagnostic::error(&model.at, message).label("tried before");
                let path = first.at.path.trim_end_matches(".model");
                self.report(problem.help(format!("it is already at {path}")));
            }
        }
    }

    /// A ceiling says nothing about a target whose price nobody knows.
    fn hold_to_ceilings(&mut self, rungs: &[Option<Rung<'_>>]) {
        let first = rungs.first().and_then(Option::as_ref).and_then(|rung| rung.members.first());
        for (rung, member) in rungs.iter().flatten().flat_map(Rung::each) {
            let Some((key, place)) = rung.settings.ceilings.first() else { continue };
            let at = match (place.level, &place.at) {
                (Level::Target, Some(at)) => at,
                _ => &member.model.at,
            };
            let model = &member.model.value;
            let set = place.level.origin();
            if !member.has_price {
                let message = format!("`{key}` (set{set}) needs a price, and nobody knows that of `{model}`");
                self.report(with_near(Diagnostic::error(at, message), &member.provider, &model.model).help(
                    format!(
                        "[models.\"{model}\"] price = {{ input = 1, output = 2 }}   # USD per million tokens"
                    ),
                ));
            } else if *key == "max_price_ratio"
                && let Some(first) = first.filter(|first| !first.has_price)
            {
                let of = &first.model.value;
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
        let lacks = |target: &Arc<Target>| target.terms.as_ref().and_then(|terms| terms.lacks);
        let open: Vec<&Arc<Target>> = targets.iter().filter(|target| lacks(target).is_none()).collect();
        if open.is_empty() {
            let message = format!("the chain `{}` has no target with the tags that it requires", name.0);
            let lines = targets.iter().filter_map(|target| Some((&target.id, lacks(target)?)));
            let lines: Vec<String> = lines.map(|(id, tag)| format!("`{id}` lacks `{tag}`")).collect();
            let help = format!("{}; give tags to targets, models or providers", lines.join(", "));
            self.report(Diagnostic::error(&chain.at, message).label("nothing is left").help(help));
            return;
        }
        let missing: Option<Vec<&str>> =
            open.iter().map(|target| target.credential.missing.as_deref()).collect();
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

impl<'t> Rung<'t> {
    /// Each of its models with the whole of it.
    fn each(&self) -> impl Iterator<Item = (&Self, &Member<'t>)> {
        self.members.iter().map(move |member| (self, member))
    }

    /// How many deployments and keys it may be called at and with.
    fn deployments(&self) -> usize {
        self.members.iter().map(|member| member.provider.keys()).sum()
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
