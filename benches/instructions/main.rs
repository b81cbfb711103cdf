//! Counts the instructions of a request on its whole way through the gateway, under callgrind, and holds them to
//! `benches/instructions.toml`. Unlike times they hardly vary from run to run.
//!
//! `cargo bench --profile profiling --features bench-internals --bench instructions` compares; with `-- --bless` it
//! writes what it counted down as the new baseline; with names of cases it counts those only. What callgrind wrote
//! stays in `target/instructions`, for `callgrind_annotate`.

mod answers;
mod baseline;
mod callgrind;
mod cases;
#[path = "../exchanges/mod.rs"]
mod exchanges;
mod round;
mod traffic;

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use baseline::Baseline;
use cases::{CASES, Case};

/// The option with which the program calls itself under callgrind.
const ONE_CASE: &str = "--case";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, name] = &arguments[..]
        && option == ONE_CASE
    {
        round::play(Case::find(name).context("no such case")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let bless = arguments.iter().any(|argument| argument == "--bless");
    let names: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |case: &&Case| names.is_empty() || names.contains(&case.name);
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
    ensure!(!cases.is_empty(), "no such case; the cases are {:?}", CASES.map(|case| case.name));
    let counted = callgrind::count(&cases)?;
    let mut baseline = Baseline::read()?;
    let mut out = stdout().lock();
    let verdict = baseline.compare(&counted);
    write!(out, "{verdict}")?;
    if bless {
        baseline.renew(counted)?;
        writeln!(out, "\nThat is the baseline from now on.")?;
    } else if verdict.has_complaints() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
