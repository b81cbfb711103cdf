//! The configuration that serves now, and how the next one takes its place: only whole and only valid.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::diagnostic::{self, Diagnostic};
use super::file::File;
use super::watch::{self, Watch};
use super::{Gateway, Runtime, Source, Surroundings, load, parse};
use crate::ops::ledger::Place;
use crate::ops::ledger::draws::{self, Span};
use crate::routing::budget::Budget;

/// The current configuration and what it takes to read the next; clones are the same one.
#[derive(Clone)]
pub struct Live(Arc<Shared>);

struct Shared {
    current: ArcSwap<Gateway>,
    runtime: Arc<Runtime>,
    path: PathBuf,
    surroundings: Surroundings,
    /// The address that the file named at start; what else was said then weighs more.
    written: Option<SocketAddr>,
    overridden: bool,
    /// Where the ledger is.
    ledger: Place,
    /// Reloads come from a file, a signal and an HTTP route: one at a time.
    reloading: Mutex<()>,
    /// Tells the watch of reloads that it did not ask for.
    reread: Notify,
}

/// What a reload found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that changed in the file and need a restart to take effect.
    pub not_applied: Vec<String>,
    /// As text for people.
    pub warnings: Vec<String>,
}

/// The memory's bound until the file has said its own.
const NO_MEMORY: usize = 0;

impl Live {
    /// Reads the file at `path` for the first time, in this process's surroundings. The watch sees what changes from
    /// here on. The error is all diagnostics as text, secrets masked.
    pub fn start(path: PathBuf, listen: Option<SocketAddr>) -> Result<(Self, Watch), String> {
        Self::start_in(path, Surroundings::of_process(listen, true))
    }

    fn start_in(path: PathBuf, surroundings: Surroundings) -> Result<(Self, Watch), String> {
        let mut watch = watch::watch(vec![path.clone()]);
        watch.set_paths(files(&path));
        let runtime = Arc::new(Runtime::new(NO_MEMORY));
        let (gateway, file, warnings) = read(&path, &runtime, &surroundings)?;
        runtime.memory.set_limit(gateway.server.buffer_memory);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        refill(gateway.budgets(), &gateway.ledger.place);
        runtime.ledger.start(&gateway.ledger);
        let live = Self(Arc::new(Shared {
            ledger: gateway.ledger.place.clone(),
            runtime,
            path,
            written: written_address(&file),
            overridden: surroundings.listen.is_some(),
            // From now on this is the address, whatever the file says: what it demands must hold for it.
            surroundings: Surroundings { listen: Some(gateway.server.listen), ..surroundings },
            current: ArcSwap::from_pointee(gateway),
            reloading: Mutex::default(),
            reread: Notify::new(),
        }));
        Ok((live, watch))
    }

    /// The configuration for one request, from its beginning to its end.
    pub fn load(&self) -> Arc<Gateway> {
        self.0.current.load_full()
    }

    /// What outlives every configuration.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.0.runtime
    }

    /// Reads the file again. A valid one serves from now on. Of another one the log tells, the error is the same text,
    /// and the old one stays.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let reloaded = self.read_again();
        self.0.reread.notify_one();
        reloaded
    }

    fn read_again(&self) -> Result<Reloaded, String> {
        let _one_at_a_time = self.0.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.replace();
        let config = &*self.load().hash;
        match &reloaded {
            Ok(Reloaded { not_applied, warnings }) => {
                self.0.runtime.telemetry.reload("ok");
                tracing::info!(config, "the configuration was read again");
                warnings.iter().for_each(|warning| tracing::warn!(config, "{warning}"));
                for key in not_applied {
                    tracing::warn!(config, "`{key}` changed in the file; restart to apply it");
                }
            }
            Err(diagnostics) => {
                self.0.runtime.telemetry.reload("invalid");
                tracing::error!(config, "the new configuration is refused, the old one stays\n{diagnostics}");
            }
        }
        reloaded
    }

    fn replace(&self) -> Result<Reloaded, String> {
        let Shared { path, runtime, surroundings, .. } = &*self.0;
        let (gateway, file, warnings) = read(path, runtime, surroundings)?;
        let moved = !self.0.overridden && written_address(&file) != self.0.written;
        runtime.memory.set_limit(gateway.server.buffer_memory);
        runtime.ledger.set_keep(gateway.ledger.keep);
        let moved = [("server.listen", moved), ("ledger.path", gateway.ledger.place != self.0.ledger)];
        self.take_up(&gateway);
        self.0.current.store(Arc::new(gateway));
        let not_applied = moved.into_iter().filter(|(_, moved)| *moved).map(|(key, _)| key.to_owned());
        Ok(Reloaded { not_applied: not_applied.collect(), warnings })
    }

    /// Budgets that are new, or cut time or buckets otherwise than they do now, go on where the ledger has them. They
    /// must not serve empty in the meantime.
    fn take_up(&self, gateway: &Gateway) {
        let serving = self.load();
        let is_kept = |budget: &Budget| serving.budgets().any(|served| served.shares_book(budget));
        let mut others = gateway.budgets().filter(|budget| !is_kept(budget)).peekable();
        if others.peek().is_some() {
            self.0.runtime.ledger.flush();
            refill(others, &self.0.ledger);
        }
    }

    /// Reads the configuration again whenever a file of it changes and on `SIGHUP`, for ever.
    pub async fn follow(self, mut watch: Watch) {
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be received"))
            .ok();
        loop {
            tokio::select! {
                () = watch.changed() => {}
                // The file may have changed to what is read now and back before the watch looks.
                () = received(&mut hangup) => watch.forget(),
                () = self.0.reread.notified() => {
                    watch.forget();
                    continue;
                }
            }
            // Before the files are read, so that no change falls in between.
            watch.set_paths(files(&self.0.path));
            let live = self.clone();
            // What it found is in the log; a panic in it must not end this loop.
            if let Err(error) = tokio::task::spawn_blocking(move || live.read_again().is_ok()).await {
                tracing::error!(%error, "reading the configuration again failed");
            }
        }
    }
}

/// Budgets go on where the ledger has them.
fn refill<'a>(budgets: impl Iterator<Item = &'a Arc<Budget>>, ledger: &Place) {
    let Place::At(path) = ledger else { return };
    for budget in budgets {
        budget.clear();
        let (since, grain) = budget.counts_since();
        let span = Span { budget: &budget.rule.name, since, grain };
        if let Err(fault) = draws::read(path, span, |drawn| budget.refill(&drawn)) {
            let (budget, advice) = (&*budget.rule.name, fault.advice());
            tracing::warn!(budget, %fault, advice, "what a budget has spent is not known: it begins empty");
        }
    }
}

/// A valid configuration with its warnings, or everything that is wrong.
fn read(
    path: &Path,
    runtime: &Arc<Runtime>,
    surroundings: &Surroundings,
) -> Result<(Gateway, File, Vec<String>), String> {
    let source =
        Source::load(path).map_err(|error| format!("error: {} cannot be read: {error}\n", path.display()))?;
    let shown =
        |diagnostics: &[Diagnostic]| diagnostic::render(diagnostics, &source.name, &source.text, false);
    let loaded = load(&source, runtime, surroundings);
    match (loaded.gateway, loaded.file) {
        (Some(gateway), Some(file)) => Ok((gateway, file, loaded.diagnostics.chunks(1).map(shown).collect())),
        _ => Err(shown(&loaded.diagnostics)),
    }
}

async fn received(hangup: &mut Option<Signal>) {
    let told = match hangup {
        Some(hangup) => hangup.recv().await,
        None => None,
    };
    if told.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The configuration's file and those that it names, as far as it can be read.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    if let Ok(source) = Source::load(path) {
        files.extend(parse(&source).0.iter().flat_map(|file| file.named_files(source.base())));
    }
    files
}

fn written_address(file: &File) -> Option<SocketAddr> {
    file.server.listen.as_ref().map(|listen| listen.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::{sleep, timeout};

    use super::*;

    const CHAIN: &str = "[chains]\na = [\"ollama/one\"]\n";

    struct Place(TempDir);

    impl Place {
        fn new(text: &str) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            place.write("piton.toml", text);
            place
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn start(&self, listen: Option<&str>) -> (Live, Watch) {
            let surroundings = Surroundings {
                listen: listen.map(|address| address.parse().unwrap()),
                check_secrets: true,
                ..Surroundings::default()
            };
            Live::start_in(self.0.path().join("piton.toml"), surroundings).unwrap()
        }
    }

    fn target(live: &Live) -> String {
        live.load().chains["a"].targets[0].id.to_string()
    }

    async fn serves(live: &Live, wanted: &str) -> bool {
        let wait = async {
            while target(live) != wanted {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), wait).await.is_ok()
    }

    fn reloads(live: &Live, outcome: &str) -> bool {
        let text = live.runtime().telemetry.print(&[], &[], &live.runtime().memory, &live.runtime().ledger);
        text.contains(&format!("piton_config_reloads_total{{outcome=\"{outcome}\"}} 1"))
    }

    #[test]
    fn a_valid_file_takes_the_place_of_the_old_and_an_invalid_one_does_not() {
        let place = Place::new(CHAIN);
        let (live, _) = place.start(None);
        assert!(live.runtime().memory.hold(2048).is_ok());
        let running = live.load();
        place.write("piton.toml", "[server]\nbuffer_memory = \"1KiB\"\n[chains]\na = [\"ollama/two\"]\n");
        assert_eq!(live.reload(), Ok(Reloaded::default()));
        assert_eq!(target(&live), "ollama/two");
        let hash = live.load().hash.clone();
        assert_ne!(hash, running.hash);
        assert_eq!(&*running.chains["a"].targets[0].id, "ollama/one", "a running request keeps its own");
        assert!(live.runtime().memory.hold(2048).is_err(), "the memory's bound follows");
        assert!(reloads(&live, "ok") && !reloads(&live, "invalid"));
        place.write("piton.toml", "[chains]\na = [\"olama/three\"]\n[server]\nadmin_key = 3\n");
        let rejected = live.reload().unwrap_err();
        assert!(
            rejected.contains("did you mean `ollama`?") && rejected.contains("server.admin_key"),
            "{rejected}"
        );
        assert_eq!((target(&live), &live.load().hash), ("ollama/two".to_owned(), &hash));
        assert!(reloads(&live, "invalid"));
    }

    #[test]
    fn a_file_that_is_gone_or_was_never_there_is_a_problem_like_others() {
        let place = Place::new(CHAIN);
        let (live, _) = place.start(None);
        std::fs::remove_file(&live.0.path).unwrap();
        let rejected = live.reload().unwrap_err();
        assert!(
            rejected.starts_with("error: ") && rejected.contains("piton.toml cannot be read"),
            "{rejected}"
        );
        assert_eq!(target(&live), "ollama/one");
        assert!(Live::start(live.0.path.clone(), None).is_err());
    }

    #[test]
    fn the_address_stays_and_so_does_what_it_demands() {
        let place = Place::new(CHAIN);
        let (live, _) = place.start(None);
        place.write("piton.toml", &format!("[server]\nlisten = \"127.0.0.1:5\"\n{CHAIN}"));
        assert_eq!(live.reload().unwrap().not_applied, ["server.listen"]);
        assert_eq!(live.load().server.listen.port(), 4000);
        place.write("piton.toml", CHAIN);
        assert!(live.reload().unwrap().not_applied.is_empty());

        let keys =
            "[server]\nlisten = \"127.0.0.1:5\"\nadmin_key = \"a\"\n[[keys]]\nname = \"k\"\nsecret = \"k\"\n";
        let public = Place::new(&format!("{keys}{CHAIN}"));
        let (live, _) = public.start(Some("0.0.0.0:5"));
        assert!(live.reload().unwrap().not_applied.is_empty(), "the file does not say where");
        public.write("piton.toml", CHAIN);
        let rejected = live.reload().unwrap_err();
        assert!(rejected.contains("without [[keys]] anybody may call"), "{rejected}");
    }

    #[tokio::test]
    async fn changes_of_any_file_and_a_hangup_are_followed() {
        let place = Place::new(CHAIN);
        let (live, watch) = place.start(None);
        let following = tokio::spawn(live.clone().follow(watch));
        place.write("piton.toml", "[chains]\na = [\"ollama/two\"]\n");
        assert!(serves(&live, "ollama/two").await);
        // A file that only the new configuration names is watched too.
        place.write("key", "one");
        let text = "[providers.mistral]\napi_key = \"file:key\"\n[chains]\na = [\"mistral/x\"]\n";
        place.write("piton.toml", text);
        assert!(serves(&live, "mistral/x").await);
        let identity = || live.load().chains["a"].targets[0].credential.identity;
        let before = identity();
        place.write("key", "two");
        let changed = async {
            while identity() == before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(10), changed).await.is_ok());
        let before = live.load();
        let own = std::process::id();
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -HUP {own}")])
                .status()
                .unwrap()
                .success()
        );
        let replaced = async {
            while Arc::ptr_eq(&before, &live.load()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(10), replaced).await.is_ok());
        following.abort();
    }
}
