//! Which requests and targets a budget is for.

use globset::GlobMatcher;

use crate::routing::Origin;

/// A pattern of names, in which `*` matches anything.
pub type Pattern = GlobMatcher;

/// What must fit; what is absent fits everything.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub chain: Option<Pattern>,
    pub target: Option<Pattern>,
    pub provider: Option<Pattern>,
    pub key: Option<Pattern>,
    /// As logs call the user.
    pub user: Option<String>,
    pub task: Option<Pattern>,
    pub tier: Option<Pattern>,
}

impl Scope {
    /// Whether it can concern a target of a chain at all.
    pub fn covers(&self, chain: &str, target: &str, provider: &str) -> bool {
        fits(self.chain.as_ref(), Some(chain))
            && fits(self.target.as_ref(), Some(target))
            && fits(self.provider.as_ref(), Some(provider))
    }

    /// Whether it concerns this caller's requests.
    pub fn admits(&self, origin: &Origin) -> bool {
        fits(self.key.as_ref(), origin.key.as_deref())
            && (self.user.is_none() || self.user == origin.user)
            && fits(self.task.as_ref(), origin.task.as_deref())
            && fits(self.tier.as_ref(), origin.tier.as_deref())
    }
}

fn fits(pattern: Option<&Pattern>, name: Option<&str>) -> bool {
    pattern.is_none_or(|pattern| name.is_some_and(|name| pattern.is_match(name)))
}
