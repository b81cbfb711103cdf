//! The processes that are measured: the gateway and nginx, on a core of their own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::time::Instant;

/// Nothing takes longer to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running process with a front door.
pub struct Subject {
    pub address: SocketAddr,
    child: Child,
}

/// CPU time in nanoseconds.
pub type Nanoseconds = u64;

/// The cores: the first for what is measured, the second for everything else. `None` where there is only one. The
/// first call decides, since a pinned thread sees only its own.
pub fn cores() -> Option<[usize; 2]> {
    static CORES: LazyLock<Option<[usize; 2]>> = LazyLock::new(|| {
        let mask = rustix::thread::sched_getaffinity(None).ok()?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| mask.is_set(*core));
        Some([allowed.next()?, allowed.next()?])
    });
    *CORES
}

/// Moves the calling thread, and what it will start, to this core.
pub fn pin(core: usize) -> Result<()> {
    let mut mask = CpuSet::new();
    mask.set(core);
    sched_setaffinity(None, &mask).context("cannot choose a core")
}

impl Subject {
    /// The gateway, with its JSON log and its ledger in `dir`.
    pub fn gateway(binary: &Path, config: &Path, dir: &Path, port: u16) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(config).env("BENCH_KEY", "sk-bench");
        command.env("PITON_STATE_DIR", dir.join("state"));
        command.stdout(Stdio::null()).stderr(File::create(dir.join("piton.log"))?);
        Self::start("piton", command, port)
    }

    /// nginx, if it is installed.
    pub fn nginx(dir: &Path, config: &Path, port: u16) -> Result<Option<Self>> {
        let Some(binary) = find("nginx") else { return Ok(None) };
        let mut command = Command::new(binary);
        command.arg("-p").arg(dir).arg("-c").arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self::start("nginx", command, port).map(Some)
    }

    fn start(name: &'static str, mut command: Command, port: u16) -> Result<Self> {
        if let Some([measured, _]) = cores() {
            pin(measured)?;
        }
        let child = command.spawn();
        if let Some([_, other]) = cores() {
            pin(other)?;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut subject = Self { address, child: child.with_context(|| format!("cannot start {name}"))? };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = subject.child.try_wait()? {
                bail!("{name} ended at once: {status}");
            }
            if Instant::now() > until {
                bail!("{name} did not come up");
            }
            pause(Duration::from_micros(500));
        }
        Ok(subject)
    }

    /// The CPU time of all its threads and children so far.
    pub fn cpu(&self) -> Result<Nanoseconds> {
        self.processes().iter().map(|process| cpu_of(*process)).sum()
    }

    /// Resident memory of all its processes, in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.processes().iter().map(|process| resident_of(*process)).sum()
    }

    /// Asks it to read its configuration again.
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no such process")?;
        Ok(kill_process(id, signal)?)
    }

    fn processes(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        std::iter::once(id)
            .chain(children.split_whitespace().filter_map(|child| child.parse().ok()))
            .collect()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if self.signal(Signal::TERM).is_err() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(Duration::from_millis(5));
        }
        // It would outlive the harness.
        let _ = self.child.kill();
    }
}

/// The scheduler's own count: nanoseconds on a core, of every thread.
fn cpu_of(process: u32) -> Result<Nanoseconds> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while this is read.
        let Ok(line) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += line.split_whitespace().next().context("no schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

fn resident_of(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let also = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(also).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Blocks the harness's own thread, which serves nobody meanwhile.
#[expect(clippy::disallowed_methods, reason = "this thread runs no tasks")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
