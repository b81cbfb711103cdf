//! What became of every exchange: a table by provider and by feature, and what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::exchange::Exchange;

/// What became of one side of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// With the differences.
    Failed(Vec<String>),
    /// For this reason.
    NotApplicable(String),
}

/// Which way was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Request,
    Response,
}

/// Both sides of one exchange.
#[derive(Debug)]
pub struct Verdict {
    pub file: String,
    pub provider: String,
    pub features: Vec<String>,
    pub request: Outcome,
    pub response: Outcome,
}

/// A recording that is known to be no measure, with the reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disputed {
    pub file: String,
    pub side: Side,
    pub reason: String,
}

#[derive(Debug, Default, Deserialize)]
struct Expectations {
    #[serde(default)]
    disputed: Vec<Disputed>,
}

/// All verdicts.
#[derive(Debug, Default)]
pub struct Report {
    verdicts: Vec<Verdict>,
    disputed: Vec<Disputed>,
}

/// Passed, failed, not applicable.
type Counts = [usize; 3];

impl Verdict {
    pub fn of(exchange: &Exchange, request: Outcome, response: Outcome) -> Self {
        let (file, provider) = (exchange.file.clone(), exchange.provider.clone());
        Self { file, provider, features: exchange.features.clone(), request, response }
    }

    fn sides(&self) -> [(Side, &Outcome); 2] {
        [(Side::Request, &self.request), (Side::Response, &self.response)]
    }
}

impl Outcome {
    /// Passed if there are no differences.
    pub fn of(differences: Vec<String>) -> Self {
        if differences.is_empty() { Self::Passed } else { Self::Failed(differences) }
    }

    fn column(&self) -> usize {
        match self {
            Self::Passed => 0,
            Self::Failed(_) => 1,
            Self::NotApplicable(_) => 2,
        }
    }
}

impl Report {
    /// A report that takes what this file disputes for explained.
    pub fn new(mut verdicts: Vec<Verdict>, expectations: &Path) -> Self {
        let text = std::fs::read_to_string(expectations).expect("the file of expectations");
        let read: Expectations = toml::from_str(&text).expect("a file of expectations");
        assert!(read.disputed.iter().all(|disputed| disputed.reason.len() > 20), "a reason is missing");
        verdicts.sort_by(|one, other| one.file.cmp(&other.file));
        Self { verdicts, disputed: read.disputed }
    }

    /// The failures that nobody has explained, each in a few lines; and the disputes that are over.
    pub fn unexplained(&self) -> Vec<String> {
        let mut unexplained = Vec::new();
        for verdict in &self.verdicts {
            for (side, outcome) in verdict.sides() {
                let disputed = self
                    .disputed
                    .iter()
                    .any(|disputed| disputed.file == verdict.file && disputed.side == side);
                match outcome {
                    Outcome::Failed(differences) if !disputed => {
                        let shown = differences
                            .iter()
                            .take(6)
                            .fold(String::new(), |text, difference| text + "\n    " + difference);
                        unexplained.push(format!("{} ({side:?}){shown}", verdict.file));
                    }
                    Outcome::Passed if disputed => {
                        unexplained.push(format!("{} ({side:?}) is disputed, but passes", verdict.file));
                    }
                    Outcome::Failed(_) | Outcome::Passed | Outcome::NotApplicable(_) => {}
                }
            }
        }
        unexplained
    }

    /// The tables.
    pub fn tables(&self) -> String {
        let mut text = String::from("# Replayed recordings\n\nPassed / failed / not applicable.\n\n");
        text += &self.table("provider", |verdict| vec![verdict.provider.clone()]);
        text += "\n";
        text += &self.table("feature", |verdict| verdict.features.clone());
        text + "\n" + &self.reasons()
    }

    /// The tables and every failure.
    pub fn whole(&self) -> String {
        let failures = self.unexplained().join("\n- ");
        let disputed = self.disputed.iter().fold(String::new(), |text, disputed| {
            text + &format!("- {} ({:?}): {}\n", disputed.file, disputed.side, disputed.reason)
        });
        format!("{}\n## Disputed\n\n{disputed}\n## Failures\n\n- {failures}\n", self.tables())
    }

    fn table(&self, what: &str, of: impl Fn(&Verdict) -> Vec<String>) -> String {
        let mut rows: BTreeMap<String, [Counts; 2]> = BTreeMap::new();
        let mut total = [Counts::default(); 2];
        for verdict in &self.verdicts {
            let names: BTreeSet<String> = of(verdict).into_iter().collect();
            for (at, (_, outcome)) in verdict.sides().into_iter().enumerate() {
                total[at][outcome.column()] += 1;
                for name in &names {
                    rows.entry(name.clone()).or_default()[at][outcome.column()] += 1;
                }
            }
        }
        let cell = |[passed, failed, not]: Counts| format!("{passed} / {failed} / {not}");
        let line = |name: &str, [request, response]: [Counts; 2]| {
            format!("| {name:<26} | {:>18} | {:>18} |\n", cell(request), cell(response))
        };
        let mut text = format!("| {what:<26} | {:>18} | {:>18} |\n|---|---|---|\n", "request", "response");
        for (name, counts) in rows {
            text += &line(&name, counts);
        }
        text + &line("all exchanges", total)
    }

    fn reasons(&self) -> String {
        let mut reasons: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for verdict in &self.verdicts {
            for (at, (_, outcome)) in verdict.sides().into_iter().enumerate() {
                if let Outcome::NotApplicable(reason) = outcome {
                    reasons.entry(reason).or_default()[at] += 1;
                }
            }
        }
        let mut text = format!("| {:<60} | request | response |\n|---|---|---|\n", "not applicable because");
        for (reason, [request, response]) in reasons {
            let _ = writeln!(text, "| {reason:<60} | {request:>7} | {response:>8} |");
        }
        text
    }
}
