//! `offline`: what needs no network has no proxy either.

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file;
use super::Compiler;

impl Compiler<'_> {
    /// Nothing can be called by way of a proxy and without a network.
    pub(super) fn offline(&mut self) {
        let providers = &self.file.providers.0;
        let mut both: Vec<(&Location, &str)> = Vec::new();
        for (name, provider) in providers {
            let offline =
                provider.offline.as_ref().filter(|offline| offline.value && provider.proxy.is_some());
            both.extend(offline.map(|offline| (&offline.at, name.0.as_str())));
        }
        for chain in self.file.chains.0.values() {
            for target in &chain.targets.0 {
                both.extend(targets(target).filter(|(_, name)| {
                    providers.iter().any(|(known, provider)| known.0 == *name && provider.proxy.is_some())
                }));
            }
        }
        for (at, provider) in both {
            let problem = Diagnostic::error(
                at,
                format!("`{provider}` cannot need no network and be called by way of a proxy"),
            );
            self.problems.push(problem.help("take out its `proxy`, or `offline`"));
        }
    }
}

/// The providers of a target that needs no network by its own word.
fn targets(target: &file::Target) -> impl Iterator<Item = (&Location, &str)> {
    let offline = target.offline.as_ref().filter(|Located { value, .. }| *value);
    let models = target.models().into_iter().map(|(model, _)| model.value.provider.as_str());
    offline.into_iter().flat_map(move |offline| models.clone().map(|name| (&offline.at, name)))
}
