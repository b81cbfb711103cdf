//! `by_task` and `by_tier`: which chain serves what is asked of another. They lead to chains that exist, never in a
//! circle, and never to a target without the tags that the asking chain requires.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::{ChainName, Label};
use super::super::reader::Named;
use super::super::section::nearest;
use super::terms::lacking;
use super::{Chains, Compiler};
use crate::routing::Chain;
use crate::routing::branch::{BranchKey, Branches};

/// A branch as it was written.
struct Written<'a> {
    key: BranchKey,
    value: &'a Label,
    to: &'a Located<ChainName>,
}

/// A chain's branches as the file has them.
pub fn branches(chain: &file::Chain) -> Option<Box<Branches>> {
    let mut branches = Branches::default();
    for Written { key, value, to } in written(chain) {
        let pair = (Arc::from(value.0.as_str()), Arc::from(to.value.0.as_str()));
        match key {
            BranchKey::Task => branches.by_task.push(pair),
            BranchKey::Tier => branches.by_tier.push(pair),
        }
    }
    let are_none = branches.by_task.is_empty() && branches.by_tier.is_empty();
    (!are_none).then(|| Box::new(branches))
}

fn written(chain: &file::Chain) -> impl Iterator<Item = Written<'_>> {
    fn of(
        key: BranchKey,
        named: Option<&Located<Named<Label, ChainName>>>,
    ) -> impl Iterator<Item = Written<'_>> {
        let pairs = named.into_iter().flat_map(|named| &named.value.0);
        pairs.map(move |(value, to)| Written { key, value, to })
    }
    of(BranchKey::Task, chain.by_task.as_ref()).chain(of(BranchKey::Tier, chain.by_tier.as_ref()))
}

impl Compiler<'_> {
    /// Looks where the chains' branches lead.
    pub(super) fn look_at_branches(&mut self, chains: &Chains) {
        let file = self.file;
        for (name, chain) in &file.chains.0 {
            for branch in written(chain) {
                let to = branch.to;
                if !file.chains.0.contains_key(&to.value) {
                    self.refuse_dangling(to);
                } else if let Some(way) = way_back(&file.chains.0, &to.value, name) {
                    let message =
                        format!("`{}` of `{}` leads in a circle: {}", branch.key.code(), name.0, way);
                    self.report(
                        Diagnostic::error(&to.at, message).help("each chain must end at targets of its own"),
                    );
                } else if let Some(asking) = chains.get(name.0.as_str()) {
                    self.hold_branch_to_require(asking, to, chains);
                }
            }
        }
    }

    /// There is no chain of this name.
    pub(super) fn refuse_dangling(&mut self, to: &Located<ChainName>) {
        let name = &to.value.0;
        if !self.is_unwritten(&format!("chains.{name}")) {
            return;
        }
        let problem = Diagnostic::error(&to.at, format!("there is no chain `{name}`"));
        let file = self.file;
        let names = || file.chains.0.keys().map(|name| name.0.as_str());
        self.report(match nearest(name, names()) {
            Some(near) => problem.label(format!("did you mean `{near}`?")),
            None => problem.help(format!("the chains are {}", names().collect::<Vec<_>>().join(", "))),
        });
    }

    /// Everything that the branch may lead to is marked as the asking chain requires.
    fn hold_branch_to_require(&mut self, asking: &Chain, to: &Located<ChainName>, chains: &Chains) {
        for serving in with_helpers(chains, &to.value.0) {
            self.hold_to_require(asking, serving, to);
        }
    }

    /// A chain that serves what another was asked for meets what that one requires.
    pub(super) fn hold_to_require(&mut self, asking: &Chain, serving: &Chain, at: &Located<ChainName>) {
        for target in serving.deployments() {
            let is_shut_out = target.terms.as_ref().is_some_and(|terms| terms.lacks.is_some());
            let missing = lacking(&asking.require, &target.tags).filter(|_| !is_shut_out);
            let Some(tag) = missing else { continue };
            let message = format!(
                "`{}` requires the tag `{tag}`, and `{}` of the chain `{}` does not have it",
                asking.name, target.id, serving.name
            );
            let help = format!(
                "tag the target, its model or its provider, or let `{}` require it too",
                serving.name
            );
            self.report(Diagnostic::error(&at.at, message).help(help));
            return;
        }
    }
}

/// The way from one chain to another, if its branches lead there.
fn way_back(
    chains: &IndexMap<ChainName, Located<file::Chain>>,
    from: &ChainName,
    to: &ChainName,
) -> Option<String> {
    // Each chain, and the one from which it was first reached.
    let mut reached: IndexMap<&ChainName, Option<&ChainName>> = IndexMap::from([(from, None)]);
    let mut at = 0;
    while let Some((name, _)) = reached.get_index(at).map(|(name, before)| (*name, *before)) {
        if name == to {
            let mut way = vec![to.0.as_str()];
            let mut last = Some(name);
            while let Some(name) = last {
                way.push(&name.0);
                last = reached.get(name).copied().flatten();
            }
            way[1..].reverse();
            return Some(way.join(", "));
        }
        for branch in chains.get(name).into_iter().flat_map(|chain| written(chain)) {
            reached.entry(&branch.to.value).or_insert(Some(name));
        }
        at += 1;
    }
    None
}

/// Every chain that this one's branches lead to, itself first.
pub(super) fn reached<'a>(chains: &'a Chains, name: &str) -> Vec<&'a Chain> {
    let mut reached: Vec<&Chain> = Vec::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        let is_new = |chain: &&Arc<Chain>| reached.iter().all(|seen| seen.name != chain.name);
        let Some(chain) = chains.get(name).filter(is_new) else { continue };
        reached.push(chain);
        let branches = chain.branches.iter().flat_map(|all| all.by_task.iter().chain(&all.by_tier));
        next.extend(branches.map(|(_, to)| &**to));
    }
    reached
}

/// The same with those that stand in for them and those that describe images for them.
fn with_helpers<'a>(chains: &'a Chains, name: &str) -> Vec<&'a Chain> {
    let mut all = Vec::new();
    for chain in reached(chains, name) {
        let stand_ins = [Some(chain), chain.last.as_deref()];
        let described = stand_ins.into_iter().flatten();
        all.extend(described.flat_map(|chain| {
            [Some(chain), chain.describe.as_ref().map(|describe| &*describe.chain)].into_iter().flatten()
        }));
    }
    all
}
