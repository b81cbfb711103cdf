//! `on_exhausted`: the chain that stands in for an exhausted one. It exists, never leads back, has the tags that the one
//! requires, and whoever may call the one may call the other.

use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::ChainName;
use super::branches::reached;
use super::{Chains, Compiler};

impl Compiler<'_> {
    /// Gives the chains those that stand in for them.
    pub(super) fn last_chains(&mut self, chains: &mut Chains) {
        let file = self.file;
        for (name, chain) in &file.chains.0 {
            let Some(to) = last(chain) else { continue };
            if !file.chains.0.contains_key(&to.value) {
                self.refuse_dangling(to);
                continue;
            }
            if let Some(way) = self.way_back(name, to) {
                let message = format!("`on_exhausted` of `{}` leads in a circle: {way}", name.0);
                let problem = Diagnostic::error(&to.at, message);
                self.report(problem.help("a last chain has no way back to the chains that it stands in for"));
                continue;
            }
            self.hold_to_scopes(chains, name, to, "serve it");
            if let Some(last) = chains.get(to.value.0.as_str()).cloned()
                && let Some(chain) = chains.get_mut(name.0.as_str())
            {
                self.hold_to_require(chain, &last, to);
                if let Some(describe) = &last.describe {
                    self.hold_to_require(chain, &describe.chain, to);
                }
                Arc::make_mut(chain).last = Some(last);
            }
        }
    }

    /// The way from a chain back to itself, if its last chains lead there.
    fn way_back(&self, from: &ChainName, to: &Located<ChainName>) -> Option<String> {
        let mut way = vec![from.0.as_str()];
        let mut next = Some(to);
        while let Some(Located { value: name, .. }) = next {
            let is_known = way.contains(&name.0.as_str());
            way.push(&name.0);
            if is_known {
                // A circle that this chain is no part of is another chain's error.
                return (name == from).then(|| way.join(", "));
            }
            next = self.file.chains.0.get(name).and_then(last);
        }
        None
    }

    /// Who may not call a chain gets nothing from it by way of another, or of one whose branches lead to that other.
    /// `does`: what it would do for them.
    pub(super) fn hold_to_scopes(
        &mut self,
        chains: &Chains,
        name: &ChainName,
        to: &Located<ChainName>,
        does: &str,
    ) {
        let file = self.file;
        let leads_here =
            |from: &ChainName| reached(chains, &from.0).iter().any(|chain| *chain.name == name.0);
        let askers: Vec<&ChainName> = file.chains.0.keys().filter(|from| leads_here(from)).collect();
        for key in &file.keys {
            let Some(globs) = &key.chains else { continue };
            let may_call = |chain: &ChainName| globs.iter().any(|glob| glob.value.matches(&chain.0));
            let asker = askers.iter().find(|asker| may_call(asker)).filter(|_| !may_call(&to.value));
            if let Some(asker) = asker {
                let (key, last) = (&key.name.value, &to.value.0);
                let message =
                    format!("the key {key:?} may call `{}` and not `{last}`, which would {does}", asker.0);
                let help = format!("add {last:?} to the `chains` of the key {key:?}");
                self.report(Diagnostic::error(&to.at, message).help(help));
            }
        }
    }
}

fn last(chain: &Located<file::Chain>) -> Option<&Located<ChainName>> {
    chain.on_exhausted.as_ref().map(|last| &last.value.chain)
}
