//! What the gateway costs, end to end: the release binary against nginx as a plain reverse proxy, before the same mock
//! upstream, in one run. `cargo bench --bench gateway`, with `-- --quick` for a first look, `-- --only stream` for some
//! rows, `-- --soak 30` for so many minutes of mixed load. `PITON_BIN` measures another binary than `cargo build
//! --release` makes: what cargo builds beside a benchmark has the features that only tests need.
//!
//! What is measured runs on the first core, the mock and the load on the second. CPU time is the scheduler's own
//! count over all threads and children. Ratios are taken within one repetition, since the machine's speed may change
//! from one to the next; the table shows their median, least and greatest.

mod load;
mod mock;
mod report;
mod soak;
mod subject;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use load::{Connection, Latencies, Wire};
use report::Report;
use subject::{Subject, pin};

const CHAT: &str = "/v1/chat/completions";
const MIB: u64 = 1024 * 1024;

fn main() -> Result<()> {
    let options = Options::read()?;
    if let Some([_, other]) = subject::cores() {
        pin(other)?;
    }
    mock::now();
    let bench = Bench::set_up(options)?;
    match bench.options.soak {
        Some(time) => soak::run(&bench, time),
        None => bench.run(),
    }
}

/// What the command line asks for.
struct Options {
    repetitions: usize,
    /// A share of the requests of a full run.
    share: f64,
    only: Option<String>,
    soak: Option<Duration>,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self { repetitions: 7, share: 1.0, only: None, soak: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => (options.repetitions, options.share) = (3, 0.25),
                "--only" => options.only = Some(arguments.next().context("--only what?")?),
                "--soak" => {
                    let minutes: u64 = arguments.next().context("--soak how many minutes?")?.parse()?;
                    options.soak = Some(Duration::from_mins(minutes));
                }
                // Cargo says what it runs.
                "--bench" => {}
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        Ok(options)
    }
}

/// Everything that a measurement needs.
struct Bench {
    options: Options,
    binary: PathBuf,
    dir: tempfile::TempDir,
    mock: SocketAddr,
    runtime: Runtime,
}

impl Bench {
    fn set_up(options: Options) -> Result<Self> {
        let binary = match std::env::var_os("PITON_BIN") {
            Some(binary) => binary.into(),
            None => build()?,
        };
        Ok(Self {
            options,
            binary,
            dir: tempfile::tempdir()?,
            mock: mock::start()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    fn run(&self) -> Result<()> {
        let mut report = Report::new(&self.binary)?;
        let piton = self.piton()?;
        let nginx = self.nginx()?;
        self.requests(&mut report, &piton, nginx.as_ref())?;
        self.chunks(&mut report, &piton, nginx.as_ref())?;
        self.delays(&mut report, &piton, nginx.as_ref())?;
        drop((piton, nginx));
        self.start(&mut report)?;
        self.memory(&mut report)?;
        report.print()
    }

    /// CPU time per request, and throughput.
    fn requests(&self, report: &mut Report, piton: &Subject, nginx: Option<&Subject>) -> Result<()> {
        let plain = |size| Wire::chat(CHAT, "plain", size, false);
        let chain = |model| Wire::chat(CHAT, model, 300, false);
        // Name, request, nginx's request, connections, requests of a full run, bound.
        let rows = [
            ("JSON, pass-through, 300 B", plain(300), plain(300), 16, 20_000, 2.0),
            ("JSON, pass-through, 20 kB", plain(20_000), plain(20_000), 16, 8_000, 2.0),
            ("JSON, pass-through, 2 MB", plain(2_000_000), plain(2_000_000), 4, 200, 2.0),
            ("JSON, Anthropic, 300 B", chain("anthropic"), plain(300), 16, 15_000, 3.0),
            ("JSON, Gemini, 300 B", chain("gemini"), plain(300), 16, 15_000, 3.0),
        ];
        for (name, wire, of_nginx, connections, count, bound) in rows {
            if !self.wants(name) {
                continue;
            }
            let (mut costs, mut rates) = (Vec::new(), Vec::new());
            for _ in 0..self.options.repetitions {
                let theirs =
                    nginx.map(|nginx| self.cost(nginx, &of_nginx, connections, count)).transpose()?;
                let ours = self.cost(piton, &wire, connections, count)?;
                costs.push((theirs.map(|cost| cost.cpu_us), ours.cpu_us));
                rates.push((theirs.map(|cost| cost.per_second), ours.per_second));
            }
            report.row(&format!("{name}: CPU per request"), "us", &costs, Some(bound));
            report.row(&format!("{name}: requests per second"), "", &rates, None);
        }
        let name = "Fallback: the first target answers 503";
        if self.wants(name) {
            let (plain, fallback) = (chain("plain"), chain("fallback"));
            let mut costs = Vec::new();
            for _ in 0..self.options.repetitions {
                let without = self.cost(piton, &plain, 16, 10_000)?.cpu_us;
                costs.push((Some(without), self.cost(piton, &fallback, 16, 10_000)?.cpu_us));
            }
            report.row(&format!("{name}: CPU per request, against one without"), "us", &costs, Some(1.8));
        }
        Ok(())
    }

    /// CPU time per streamed chunk.
    fn chunks(&self, report: &mut Report, piton: &Subject, nginx: Option<&Subject>) -> Result<()> {
        let chain = |model| Wire::chat(CHAT, model, 300, true);
        let rows = [
            ("Stream, pass-through", chain("plain"), chain("plain"), 1.4),
            (
                "Stream, Anthropic",
                chain("anthropic"),
                Wire::chat("/v1/messages", "anthropic", 300, true),
                2.0,
            ),
            (
                "Stream, Gemini",
                chain("gemini"),
                Wire::chat("/v1beta/models/x:streamGenerateContent", "gemini", 300, true),
                2.0,
            ),
        ];
        for (name, wire, of_nginx, bound) in rows {
            if !self.wants(name) {
                continue;
            }
            let mut costs = Vec::new();
            for _ in 0..self.options.repetitions {
                let theirs = nginx.map(|nginx| self.chunk_cost(nginx, &of_nginx)).transpose()?;
                costs.push((theirs, self.chunk_cost(piton, &wire)?));
            }
            report.row(&format!("{name}, 200 at once: CPU per chunk"), "us", &costs, Some(bound));
        }
        Ok(())
    }

    /// What a gateway adds to the time that the mock takes by itself.
    fn delays(&self, report: &mut Report, piton: &Subject, nginx: Option<&Subject>) -> Result<()> {
        if self.wants("delay") {
            let wire = Wire::chat(CHAT, "plain", 300, false);
            let count = self.scaled(500);
            let measure = |to| load::open_loop(to, &wire, 50, u32::try_from(count)?);
            let rows = [("p50", 0.5, Some(1.7)), ("p99", 0.99, None)];
            self.added(report, piton, nginx, "JSON, 50 a second: delay added", &rows, |to| {
                Ok(vec![measure(to)?])
            })?;
        }
        if self.wants("first token delay") {
            let wire = Wire::chat(CHAT, "plain", 300, true);
            let count = self.scaled(24);
            let measure = |to| Ok(load::stream_delays(to, &wire, count)?.into());
            let rows = [("first token, p50", 0.5, Some(1.7)), ("chunk, p50", 0.5, None)];
            self.added(report, piton, nginx, "Stream: delay added", &rows, measure)?;
        }
        Ok(())
    }

    /// Where there is one list of latencies, each row takes another share of it; else each row has its own list.
    fn added(
        &self,
        report: &mut Report,
        piton: &Subject,
        nginx: Option<&Subject>,
        name: &str,
        rows: &[(&str, f64, Option<f64>)],
        measure: impl Fn(SocketAddr) -> Result<Vec<Latencies>>,
    ) -> Result<()> {
        let mut figures = vec![Vec::new(); rows.len()];
        for _ in 0..self.options.repetitions {
            let direct = measure(self.mock)?;
            let theirs = nginx.map(|nginx| measure(nginx.address)).transpose()?;
            let ours = measure(piton.address)?;
            for (at, (_, share, _)) in rows.iter().enumerate() {
                let of = |lists: &[Latencies]| {
                    lists.get(at).or(lists.first()).map_or(f64::NAN, |list| list.at(*share))
                };
                let base = of(&direct);
                figures[at].push((theirs.as_ref().map(|lists| of(lists) - base), of(&ours) - base));
            }
        }
        for ((row, _, bound), figures) in rows.iter().zip(&figures) {
            report.row(&format!("{name}, {row}"), "us", figures, *bound);
        }
        Ok(())
    }

    /// From the start of the process to its first good answer.
    fn start(&self, report: &mut Report) -> Result<()> {
        if !self.wants("start") {
            return Ok(());
        }
        let wire = Wire::chat(CHAT, "plain", 300, false);
        let mut times = Vec::new();
        for _ in 0..self.options.repetitions {
            let began = Instant::now();
            let piton = self.piton()?;
            self.runtime.block_on(async { Connection::open(piton.address).await?.exchange(&wire).await })?;
            times.push((None, began.elapsed().as_secs_f64() * 1e3));
        }
        report.limit("Start to the first answer", "ms", &times, 60.0);
        Ok(())
    }

    /// Resident memory, each figure of a fresh process.
    #[expect(clippy::cast_precision_loss, reason = "bytes for people")]
    fn memory(&self, report: &mut Report) -> Result<()> {
        if !self.wants("memory") {
            return Ok(());
        }
        let size = fs::metadata(&self.binary)?.len();
        report.limit("Binary", "MiB", &[(None, size as f64 / MIB as f64)], 16.0);
        let wire = Wire::chat(CHAT, "hold", 300, true);
        let descriptors =
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1024);
        let most = usize::try_from(descriptors.saturating_sub(200) / 2)?.min(10_000);
        for (streams, bound) in [(0, 16.0), (1_000, 48.0), (most, 256.0)] {
            let piton = self.piton()?;
            let held = self.runtime.block_on(load::hold_open(piton.address, &wire, streams))?;
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3)).await });
            let resident = piton.resident()? as f64 / MIB as f64;
            report.limit(&format!("Memory, {streams} open streams"), "MiB", &[(None, resident)], bound);
            drop(held);
        }
        Ok(())
    }

    fn cost(&self, subject: &Subject, wire: &Wire, connections: usize, count: usize) -> Result<Cost> {
        let count = self.scaled(count);
        self.runtime.block_on(async {
            load::closed_loop(subject.address, wire, connections, count / 20 + connections).await?;
            let before = subject.cpu()?;
            let time = load::closed_loop(subject.address, wire, connections, count).await?;
            let cpu = subject.cpu()? - before;
            Ok(Cost { cpu_us: micros(cpu, count), per_second: per_second(count, time) })
        })
    }

    fn chunk_cost(&self, subject: &Subject, wire: &Wire) -> Result<f64> {
        self.runtime.block_on(async {
            load::streams(subject.address, wire, 10).await?;
            let before = subject.cpu()?;
            let mut chunks = 0;
            for _ in 0..self.scaled(8) {
                chunks += load::streams(subject.address, wire, 200).await?;
            }
            Ok(micros(subject.cpu()? - before, chunks))
        })
    }

    fn piton(&self) -> Result<Subject> {
        let port = free_port()?;
        let config = self.write("piton.toml", include_str!("piton.toml"), port)?;
        Subject::gateway(&self.binary, &config, self.dir.path(), port)
    }

    fn nginx(&self) -> Result<Option<Subject>> {
        let port = free_port()?;
        let config = self.write("nginx.conf", include_str!("nginx.conf"), port)?;
        Subject::nginx(self.dir.path(), &config, port)
    }

    fn write(&self, name: &str, template: &str, port: u16) -> Result<PathBuf> {
        let dir = self.dir.path();
        let text = template
            .replace("@dir@", &dir.display().to_string())
            .replace("@mock@", &self.mock.port().to_string())
            .replace("@port@", &port.to_string());
        let path: &Path = &dir.join(name);
        fs::write(path, text)?;
        Ok(path.to_owned())
    }

    fn wants(&self, row: &str) -> bool {
        self.options.only.as_ref().is_none_or(|only| row.to_lowercase().contains(&only.to_lowercase()))
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rough number"
    )]
    fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.options.share) as usize).max(1)
    }
}

/// What a request costs.
#[derive(Clone, Copy)]
struct Cost {
    cpu_us: f64,
    per_second: f64,
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn micros(nanoseconds: u64, count: usize) -> f64 {
    nanoseconds as f64 / 1e3 / count as f64
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Builds the release binary.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--bin", "piton", "--target-dir"]).arg(root.join("target"));
    anyhow::ensure!(cargo.current_dir(root).status()?.success(), "the release binary cannot be built");
    Ok(root.join("target/release/piton"))
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
