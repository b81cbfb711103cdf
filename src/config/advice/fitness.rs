//! Targets that never serve by their owner's own word: for a tag, for their task, for the hours of the week.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::Subject;
use crate::clock::window::{self, Schedule};
use crate::config::diagnostic::{Diagnostic, Location};
use crate::config::direct::WILD;
use crate::config::file::{self, File};
use crate::config::name::Glob;
use crate::routing::Target;
use crate::routing::branch::Branches;
use crate::routing::terms::Names;

/// Labels, each with the chain that serves it.
type Pairs = Vec<(Arc<str>, Arc<str>)>;

/// The chain requires a tag that the target does not have.
pub(super) fn shut_out(target: &Target, at: &Location) -> Option<Diagnostic> {
    let tag = target.terms.as_ref()?.lacks?;
    let message =
        format!("`{}` is never asked: the chain requires the tag `{tag}`, which it lacks", target.id);
    let help = format!("tags = [\"{tag}\"] for the target, its model or its provider, if that is so");
    Some(Diagnostic::warning(at, message).help(help))
}

impl Subject<'_> {
    /// Nobody can come here with a task that the target is for.
    pub(super) fn unasked_task(&self, file: &File, target: &Target, at: &Location) -> Option<Diagnostic> {
        let names = target.terms.as_ref()?.tasks.as_ref()?;
        if let Some(chain) = self.all_leave(names, |branches| &branches.by_task) {
            let message = format!(
                "`{}` is never asked: requests of its tasks ({names}) go to the chain `{chain}`",
                target.id
            );
            return Some(Diagnostic::warning(at, message));
        }
        let keys = &file.keys;
        let can_ask = |key: &file::Key| {
            key.tasks.as_ref().is_none_or(|globs| globs.iter().any(|glob| may_meet(&glob.value, names)))
        };
        let nobody = !keys.is_empty() && !keys.iter().any(|key| can_ask(key));
        nobody.then(|| {
            let message = format!("`{}` is never asked: no key may claim its tasks ({names})", target.id);
            Diagnostic::warning(at, message)
        })
    }

    /// Nobody can come here with a tier that the target is for.
    pub(super) fn unasked_tier(&self, file: &File, target: &Target, at: &Location) -> Option<Diagnostic> {
        let names = target.terms.as_ref()?.tiers.as_ref()?;
        if let Some(chain) = self.all_leave(names, |branches| &branches.by_tier) {
            let message = format!(
                "`{}` is never asked: requests of its tiers ({names}) go to the chain `{chain}`",
                target.id
            );
            return Some(Diagnostic::warning(at, message));
        }
        let can_ask =
            |key: &file::Key| key.tier.as_ref().is_none_or(|tier| names.have(Some(tier.value.as_str())));
        let nobody = !file.keys.is_empty() && !file.keys.iter().any(|key| can_ask(key));
        nobody.then(|| {
            let message = format!("`{}` is never asked: no key has its tiers ({names})", target.id);
            Diagnostic::warning(at, message)
        })
    }

    /// The chain to which all requests of these names branch off, if they do.
    fn all_leave(&self, names: &Names, branches: fn(&Branches) -> &Pairs) -> Option<String> {
        let branches = branches(self.chain.branches.as_ref()?);
        let target = |name: &str| {
            let found = branches.iter().find(|(value, _)| !name.contains(WILD) && **value == *name);
            found.map(|(_, to)| to.to_string())
        };
        names.written().map(target).collect::<Option<Vec<_>>>()?.into_iter().next()
    }

    /// Hours of the week in which the chain has no target at all.
    pub(super) fn unattended(&self, today: i64) -> Option<Diagnostic> {
        let open = self.chain.targets.iter().filter(|target| target.is_allowed());
        let schedules: Option<Vec<&Schedule>> =
            open.map(|target| target.terms.as_ref()?.when.as_ref()).collect();
        let days = u64::try_from(today).unwrap_or_default();
        let gap = Schedule::first_gap(&schedules?, UNIX_EPOCH + Duration::from_hours(24 * days))?;
        let message = format!(
            "there are hours in which no target of `{}` serves: {}, for example",
            self.chain.name,
            window::told(gap)
        );
        Some(Diagnostic::warning(&self.written.targets.at, message))
    }
}

/// Whether a task may match a key's pattern and one of a target's: certain only where one of two is a plain name.
fn may_meet(glob: &Glob, names: &Names) -> bool {
    let is_plain = |name: &str| !name.contains(WILD);
    names.written().any(|name| match (is_plain(glob.as_str()), is_plain(name)) {
        (_, true) => glob.matches(name),
        (true, false) => names.have(Some(glob.as_str())),
        (false, false) => true,
    })
}
