//! What the cases cost when somebody last looked at it, and how far they may be from there.

use std::fmt;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};

use super::callgrind::Counts;
use super::cases::CASES;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.toml");
const PREFACE: &str = "\
# Instructions per request, by `cargo bench --profile profiling --features bench-internals --bench instructions -- --bless`.
# A change that makes a case 5 % dearer must say why; one that makes it 5 % cheaper renews this file too.
";
/// Parts of a thousand that a case may differ.
const BOUND: u64 = 50;

/// Counts that are held to.
pub struct Baseline(Counts);

/// How counts and baseline compare.
pub struct Verdict {
    rows: Vec<(String, u32, Option<u32>)>,
    complaints: Vec<String>,
}

impl Baseline {
    pub fn read() -> Result<Self> {
        match fs::read_to_string(PATH) {
            Ok(text) => Ok(Self(toml::from_str(&text).context(PATH)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self(Counts::new())),
            Err(error) => Err(error).context(PATH),
        }
    }

    pub fn compare(&self, counted: &Counts) -> Verdict {
        let mut verdict = Verdict { rows: Vec::new(), complaints: Vec::new() };
        for case in CASES {
            let Some(count) = counted.get(case.name).copied() else { continue };
            let held = self.0.get(case.name).copied();
            verdict.rows.push((case.name.to_owned(), count, held));
            match held {
                None => verdict.complain(case.name, "is not in the baseline: renew it with `-- --bless`"),
                Some(held) if is_over(count, held) => verdict.complain(case.name, "costs over 5 % more"),
                Some(held) if is_over(held, count) => {
                    verdict.complain(case.name, "costs over 5 % less: renew the baseline with `-- --bless`");
                }
                Some(_) => {}
            }
            if let Some(other) = case.same_as
                && counted.get(other).is_some_and(|other| is_over(count, *other))
            {
                verdict.complain(case.name, &format!("costs over 5 % more than {other}"));
            }
        }
        verdict
    }

    /// Takes these in, and writes all down.
    pub fn renew(&mut self, counted: Counts) -> Result<()> {
        self.0.extend(counted);
        self.0.retain(|name, _| CASES.iter().any(|case| case.name == name));
        fs::write(PATH, format!("{PREFACE}\n{}", toml::to_string(&self.0)?)).context(PATH)
    }
}

impl Verdict {
    pub fn has_complaints(&self) -> bool {
        !self.complaints.is_empty()
    }

    fn complain(&mut self, case: &str, what: &str) {
        self.complaints.push(format!("{case} {what}"));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:>12} {:>12} {:>8}", "instructions per request", "now", "baseline", "")?;
        for (name, count, held) in &self.rows {
            let (held, difference) = held.map_or_else(Default::default, |held| {
                let ratio = f64::from(*count) / f64::from(held);
                (held.to_string(), format!("{:+.1} %", (ratio - 1.0) * 100.0))
            });
            writeln!(f, "{name:<28} {count:>12} {held:>12} {difference:>8}")?;
        }
        self.complaints.iter().try_for_each(|complaint| writeln!(f, "error: {complaint}"))
    }
}

fn is_over(count: u32, other: u32) -> bool {
    u64::from(count) * 1000 > u64::from(other) * (1000 + BOUND)
}
