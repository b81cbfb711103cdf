//! Runs cases under callgrind and reads what it counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use super::cases::Case;
use super::{ONE_CASE, round};

/// Where callgrind writes.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/instructions");
/// The function that it watches: what it did is what is written between its beginning and its end.
const WATCHED: &str = "*::round::counted";
/// The piece of callgrind's output that this is: the one before is the start.
const PIECE: &str = "2";

/// Instructions per request, by case.
pub type Counts = BTreeMap<String, u32>;

/// Counts these cases, as many at a time as there are cores.
pub fn count(cases: &[&Case]) -> Result<Counts> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    ensure!(
        version.is_ok_and(|status| status.success()),
        "valgrind is not installed: apt-get install valgrind"
    );
    fs::create_dir_all(DIRECTORY)?;
    let waiting = Mutex::new(cases.iter());
    let next = || waiting.lock().map_or(None, |mut waiting| waiting.next().copied());
    let work = || {
        let mut counts = Counts::new();
        while let Some(case) = next() {
            counts.insert(case.name.to_owned(), count_one(case).with_context(|| case.name)?);
        }
        Ok(counts)
    };
    let cores = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let results =
            workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?);
        Ok(results.collect::<Result<Vec<Counts>>>()?.into_iter().flatten().collect())
    })
}

fn count_one(case: &Case) -> Result<u32> {
    let out = Path::new(DIRECTORY).join(case.name);
    let said = out.with_extension("said");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--error-exitcode=99"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--log-file={}.log", out.display()))
        .arg(format!("--dump-before={WATCHED}"))
        .arg(format!("--dump-after={WATCHED}"))
        .arg(std::env::current_exe()?)
        .args([ONE_CASE, case.name])
        // The gateway's log and, if the case fails, why.
        .stderr(File::create(&said)?)
        .status()?;
    ensure!(
        status.success(),
        "{}",
        fs::read_to_string(&said)?.lines().last().unwrap_or("it failed silently")
    );
    let written = PathBuf::from(format!("{}.{PIECE}", out.display()));
    let text = fs::read_to_string(&written).with_context(|| written.display().to_string())?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.context("callgrind wrote no total")?.trim().parse()?;
    Ok(u32::try_from(total / round::COUNTED)?)
}
