//! For whom a target serves, and when, by its owner's word.

use std::fmt;

use globset::GlobMatcher;
use tokio::time::Instant;

use crate::clock;
use crate::clock::window::Schedule;
use crate::reason::{Skip, Word};

/// The terms of one target. By default it serves everybody, always.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// A tag that its chain requires and that it lacks.
    pub lacks: Option<Word>,
    /// The tasks that it is for; `None`: any, and requests without one.
    pub tasks: Option<Names>,
    /// The tiers that it is for; `None`: any, and requests without one.
    pub tiers: Option<Names>,
    /// When it serves; `None`: always.
    pub when: Option<Schedule>,
}

/// Names, or patterns of them.
#[derive(Debug, Clone)]
pub struct Names(pub Vec<GlobMatcher>);

impl Terms {
    /// Whether there are any.
    pub fn are_none(&self) -> bool {
        let Self { lacks, tasks, tiers, when } = self;
        lacks.is_none() && tasks.is_none() && tiers.is_none() && when.is_none()
    }

    /// Why a request of this task and tier is not for this target.
    pub fn refuse(&self, task: Option<&str>, tier: Option<&str>) -> Option<Skip> {
        if let Some(tag) = self.lacks {
            return Some(Skip::Tag(tag));
        }
        if self.tasks.as_ref().is_some_and(|names| !names.have(task)) {
            return Some(Skip::Task);
        }
        self.tiers.as_ref().is_some_and(|names| !names.have(tier)).then_some(Skip::Tier)
    }

    /// Whether it is out of its hours.
    pub fn is_closed(&self) -> bool {
        self.when.as_ref().is_some_and(|when| !when.is_open(clock::wall()))
    }

    /// When its hours begin; `None` if it has none, or they have begun.
    pub fn opens_at(&self) -> Option<Instant> {
        let when = self.when.as_ref()?;
        let now = Instant::now();
        Some(now + when.opens_in(clock::wall_at(now))?)
    }
}

impl Names {
    /// Whether this name is among them.
    pub fn have(&self, name: Option<&str>) -> bool {
        name.is_some_and(|name| self.0.iter().any(|pattern| pattern.is_match(name)))
    }

    /// As they were written.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| pattern.glob().glob())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written().collect::<Vec<_>>().join(", "))
    }
}
