//! The table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

/// What was measured.
pub struct Report {
    text: String,
}

/// One repetition's figures: what it is compared with (nginx, unless the row says otherwise), and the gateway.
type Pair = (Option<f64>, f64);

impl Report {
    /// A table that says first what was measured, and on what.
    pub fn new(binary: &Path) -> Result<Self> {
        let version = Command::new(binary).arg("--version").output()?.stdout;
        let version = String::from_utf8_lossy(&version).trim().to_owned();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let mut text = format!("{version}, {cores} cores{model}\n\n", model = model.replace(['\t'], ""));
        text.push_str("| what | compared with | Piton | ratio (least to greatest) | bound |\n| --- | --- | --- | --- | --- |\n");
        Ok(Self { text })
    }

    /// A row whose bound is a ratio.
    pub fn row(&mut self, name: &str, unit: &str, figures: &[Pair], bound: Option<f64>) {
        let theirs = spread(figures.iter().filter_map(|(theirs, _)| *theirs));
        let ours = spread(figures.iter().map(|(_, ours)| *ours));
        let ratio = spread(figures.iter().filter_map(|(theirs, ours)| Some(ours / (*theirs)?)));
        let verdict = match (bound, &ratio) {
            (Some(bound), Some(ratio)) if ratio.median > bound => format!("{bound}x: OVER"),
            (Some(bound), _) => format!("{bound}x"),
            (None, _) => String::new(),
        };
        let median = |spread: &Option<Spread>| {
            spread.as_ref().map_or("-".into(), |spread| format!("{:.1} {unit}", spread.median))
        };
        let ratio = ratio.map_or("-".into(), |ratio| {
            format!("{:.2}x ({:.2} to {:.2})", ratio.median, ratio.least, ratio.greatest)
        });
        self.line(&[name, median(&theirs).trim_end(), median(&ours).trim_end(), &ratio, &verdict]);
    }

    /// A row whose bound is a figure.
    pub fn limit(&mut self, name: &str, unit: &str, figures: &[Pair], bound: f64) {
        let Some(ours) = spread(figures.iter().map(|(_, ours)| *ours)) else { return };
        let verdict =
            if ours.median > bound { format!("{bound} {unit}: OVER") } else { format!("{bound} {unit}") };
        let shown = format!("{:.1} {unit} ({:.1} to {:.1})", ours.median, ours.least, ours.greatest);
        self.line(&[name, "-", &shown, "-", &verdict]);
    }

    fn line(&mut self, cells: &[&str]) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
        let _ = writeln!(std::io::stderr(), "{}", cells.join("  "));
    }

    /// Prints it.
    pub fn print(&self) -> Result<()> {
        Ok(std::io::stdout().write_all(self.text.as_bytes())?)
    }
}

struct Spread {
    median: f64,
    least: f64,
    greatest: f64,
}

fn spread(figures: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    Some(Spread {
        median: *figures.get(figures.len() / 2)?,
        least: *figures.first()?,
        greatest: *figures.last()?,
    })
}
