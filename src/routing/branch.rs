//! Requests of some tasks and tiers that another chain than the one asked for serves.

use std::fmt;
use std::sync::Arc;

/// The branches of one chain. A request's task is looked at before its tier.
#[derive(Debug, Clone, Default)]
pub struct Branches {
    /// Task, and the chain for it.
    pub by_task: Vec<(Arc<str>, Arc<str>)>,
    /// Tier, and the chain for it.
    pub by_tier: Vec<(Arc<str>, Arc<str>)>,
}

/// One branch that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The chain whose owner wrote it.
    pub of: Arc<str>,
    pub key: BranchKey,
    /// The task or tier.
    pub value: Arc<str>,
    /// The chain that it leads to.
    pub to: Arc<str>,
}

/// By which of a request's labels a branch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchKey {
    Task,
    Tier,
}

/// How a request came from the chain that the client named to the one that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detour {
    /// The chain that the client named.
    pub asked: Arc<str>,
    /// In order; never empty.
    pub taken: Vec<Branch>,
}

impl Branches {
    /// The branch that a request of this task and tier takes from the chain `of`.
    pub fn take(&self, of: &Arc<str>, task: Option<&str>, tier: Option<&str>) -> Option<Branch> {
        let find = |branches: &[(Arc<str>, Arc<str>)], key, label: Option<&str>| {
            let (value, to) = branches.iter().find(|(value, _)| label == Some(value))?;
            Some(Branch { of: Arc::clone(of), key, value: Arc::clone(value), to: Arc::clone(to) })
        };
        find(&self.by_task, BranchKey::Task, task).or_else(|| find(&self.by_tier, BranchKey::Tier, tier))
    }
}

/// As the configuration has it: `primary.by_task.code`.
impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.of, self.key.code(), self.value)
    }
}

impl BranchKey {
    /// The key of the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Task => "by_task",
            Self::Tier => "by_tier",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_goes_before_the_tier() {
        let pair = |value: &str, to: &str| (Arc::from(value), Arc::from(to));
        let branches = Branches {
            by_task: vec![pair("code", "deep"), pair("chat", "fast")],
            by_tier: vec![pair("gold", "premium")],
        };
        let of = Arc::from("main");
        let take = |task, tier| branches.take(&of, task, tier).map(|branch| (branch.to_string(), branch.to));
        let expected = |rule: &str, to: &str| Some((rule.to_owned(), Arc::from(to)));
        assert_eq!(take(Some("code"), Some("gold")), expected("main.by_task.code", "deep"));
        assert_eq!(take(Some("else"), Some("gold")), expected("main.by_tier.gold", "premium"));
        assert_eq!(take(None, Some("silver")), None);
        assert_eq!(take(None, None), None);
    }
}
