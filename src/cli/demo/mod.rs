//! `piton demo`: what Piton does when providers fail, shown on this machine alone.
//!
//! [`stage`] sets up simulated providers and a gateway in front of them, [`scenes`] says what is asked and what is
//! broken meanwhile, [`client`] asks through the front door as any application would, [`claim`] holds what happened
//! to what was promised, and [`report`] shows it.

mod claim;
mod client;
mod report;
mod scenes;
mod stage;

use std::fs::{self, DirBuilder, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use uuid::Uuid;

use self::client::Client;
use self::report::{Report, Row};
use self::scenes::{AFTERWARDS, SCENES, Scene};
use self::stage::Stage;
use super::serve::stop_signal;
use super::{block_on, fail};
use crate::ops::log;

/// Shows Piton at work with simulated providers: no key, no network.
///
/// Providers are simulated on loopback and fail on cue; a gateway stands in front of them. Each scene says what is
/// asked, what is broken and what came of it, and is checked: exit code 1 if one does not go as it should.
#[derive(Debug, Args)]
#[command(after_help = "Example: piton demo --once")]
pub struct Demo {
    /// End after the last scene, instead of staying up for requests of your own.
    #[arg(long)]
    once: bool,
}

/// A temporary directory for the demo's configuration and log; it goes when the demo ends.
struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Demo {
    /// Plays every scene.
    pub fn run(self) -> ExitCode {
        block_on(async move {
            match self.play().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(format_args!("{error:#}")),
            }
        })
    }

    async fn play(&self) -> anyhow::Result<()> {
        let mut stop = pin!(stop_signal().context("cannot wait for signals")?);
        let mut directory = Directory::create().context("cannot create a temporary directory")?;
        let log = start_log(&directory.path).context("cannot write the log")?;
        let stage = Stage::set(&directory.path).await?;
        let colour =
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let mut report = Report::new(io::stdout(), colour);
        report.introduction(&stage)?;
        let failed = tokio::select! {
            failed = play_all(&stage, &mut report) => failed?,
            () = &mut stop => bail!("interrupted"),
        };
        if failed > 0 {
            // What happened is in the log.
            directory.keep = true;
            let place = directory.path.display();
            bail!("{failed} of {} scenes did not go as they should; see {place}", SCENES.len());
        }
        if !self.once {
            let (target, fault) = AFTERWARDS;
            stage.inflict(target, fault)?;
            report.invitation(&stage, log.as_deref(), target)?;
            stop.await;
        }
        stage.close().await;
        Ok(())
    }
}

impl Directory {
    fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("piton-demo-{}", Uuid::now_v7().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, keep: false })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed is left to the system, as all temporary files are.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Plays every scene; how many did not go as they should.
async fn play_all<W: Write>(stage: &Stage, report: &mut Report<W>) -> anyhow::Result<usize> {
    let client = Client::new(&stage.url)?;
    let mut rows = Vec::new();
    let mut failed = 0;
    for (number, scene) in (1..).zip(SCENES) {
        let (row, is_as_told) = play_scene(number, scene, stage, &client, report)
            .await
            .with_context(|| format!("scene {number}, \"{}\"", scene.title))?;
        rows.push(row);
        failed += usize::from(!is_as_told);
    }
    report.table(&rows)?;
    Ok(failed)
}

async fn play_scene<W: Write>(
    number: usize,
    scene: &'static Scene,
    stage: &Stage,
    client: &Client,
    report: &mut Report<W>,
) -> anyhow::Result<(Row, bool)> {
    report.announce(number, scene)?;
    let before = stage.calls();
    for (target, fault) in scene.faults {
        stage.inflict(target, fault)?;
    }
    let reply = client.ask(scene).await?;
    for (target, _) in scene.faults {
        stage.mend(target);
    }
    let surprises = claim::surprises(scene, &reply, &stage.calls_since(&before));
    report.outcome(&reply, &surprises)?;
    Ok((Row::of(number, scene, &reply), surprises.is_empty()))
}

/// Where a person watches the scenes, the log goes to a file, unless `PITON_LOG` asks for it on standard error.
fn start_log(directory: &Path) -> io::Result<Option<PathBuf>> {
    if let Ok(filter) = std::env::var("PITON_LOG") {
        log::start(Some(&filter))?;
        return Ok(None);
    }
    let path = directory.join("piton.log");
    let file = Arc::new(File::create(&path)?);
    let log = tracing_subscriber::fmt().with_writer(file).with_target(false);
    // Nobody else starts a log in this process.
    let _ = log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init();
    Ok(Some(path))
}
