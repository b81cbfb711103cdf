//! The configuration that serves now, and how the next one takes its place: only whole and only valid.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::diagnostic::{self, Diagnostic};
use super::file::File;
use super::watch::{self, Watch};
use super::{Gateway, Runtime, Source, Surroundings, load, parse};

/// The current configuration and what it takes to read the next.
pub struct Live {
    current: ArcSwap<Gateway>,
    runtime: Arc<Runtime>,
    path: PathBuf,
    surroundings: Surroundings,
    /// What the file said of the address at start, if the address was the file's to say.
    listen: Option<Option<SocketAddr>>,
    /// Reloads come from a file, a signal and an HTTP route: one at a time.
    reloading: Mutex<()>,
}

/// A configuration that serves, and the watch over its files.
pub struct Opened {
    pub live: Live,
    pub watch: Watch,
    /// Warnings, as text for people.
    pub warnings: String,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The hash of the configuration that serves now.
    pub hash: String,
    /// Warnings, as text for people.
    pub warnings: String,
    /// What changed in the file and needs a restart to take effect.
    pub needs_restart: Vec<&'static str>,
}

/// A configuration that cannot be used.
pub struct Rejected {
    source: Source,
    pub diagnostics: Vec<Diagnostic>,
}

impl Live {
    /// Reads the file at `path` for the first time. Secrets that change at their `file:` are seen from here on.
    pub fn open(
        path: PathBuf,
        runtime: Arc<Runtime>,
        surroundings: Surroundings,
    ) -> Result<Opened, Rejected> {
        let mut watch = watch::watch(vec![path.clone()]);
        watch.set_paths(files(&path));
        let source = Source::read(path.clone())?;
        let loaded = load(&source, &runtime, &surroundings);
        let Some(gateway) = loaded.gateway else {
            return Err(Rejected { source, diagnostics: loaded.diagnostics });
        };
        let warnings = render(&loaded.diagnostics, &source);
        runtime.memory.set_limit(gateway.server.buffer_memory);
        let written = loaded.file.as_ref().and_then(written_address);
        let listen = surroundings.listen.is_none().then_some(written);
        // From now on this is the address, whatever the file says: what it demands must hold for it.
        let surroundings = Surroundings { listen: Some(gateway.server.listen), ..surroundings };
        let current = ArcSwap::from_pointee(gateway);
        let live = Self { current, runtime, path, surroundings, listen, reloading: Mutex::default() };
        Ok(Opened { live, watch, warnings })
    }

    /// The configuration for one request, from its beginning to its end.
    pub fn load_full(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// What outlives every configuration.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// Reads the file again. A valid one serves from now on; of another one the log tells, and the old one stays.
    pub fn reload(&self) -> Result<Reloaded, Rejected> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.replace();
        match &reloaded {
            Ok(Reloaded { hash, warnings, needs_restart }) => {
                self.runtime.telemetry.reload("ok");
                tracing::info!(config = hash, "the configuration was read again");
                if !warnings.is_empty() {
                    tracing::warn!(config = hash, "{warnings}");
                }
                for key in needs_restart {
                    tracing::warn!(
                        "{key} changed in the file, but cannot change at run time: restart to apply it"
                    );
                }
            }
            Err(rejected) => {
                self.runtime.telemetry.reload("invalid");
                let serving = &self.load_full().hash;
                tracing::error!(
                    config = serving,
                    "the new configuration was refused, the old one stays:\n{rejected}"
                );
            }
        }
        reloaded
    }

    fn replace(&self) -> Result<Reloaded, Rejected> {
        let source = Source::read(self.path.clone())?;
        let loaded = load(&source, &self.runtime, &self.surroundings);
        let Some(gateway) = loaded.gateway else {
            return Err(Rejected { source, diagnostics: loaded.diagnostics });
        };
        let written = loaded.file.as_ref().and_then(written_address);
        let moved = self.listen.is_some_and(|at_start| at_start != written);
        let reloaded = Reloaded {
            hash: gateway.hash.clone(),
            warnings: render(&loaded.diagnostics, &source),
            needs_restart: moved.then_some("server.listen").into_iter().collect(),
        };
        self.runtime.memory.set_limit(gateway.server.buffer_memory);
        self.current.store(Arc::new(gateway));
        Ok(reloaded)
    }
}

/// Reads the configuration again whenever a file of it changes and on `SIGHUP`, for ever.
pub async fn follow(live: Arc<Live>, mut watch: Watch) {
    let mut hangup = signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be received"))
        .ok();
    loop {
        tokio::select! {
            () = watch.changed() => {}
            () = received(&mut hangup) => {}
        }
        // Before the files are read, so that no change falls in between.
        watch.set_paths(files(&live.path));
        let live = Arc::clone(&live);
        // What it found is in the log; a panic in it must not end this loop.
        if let Err(error) = tokio::task::spawn_blocking(move || live.reload().is_ok()).await {
            tracing::error!(%error, "reading the configuration again failed");
        }
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
fn files(path: &std::path::Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    if let Ok(source) = Source::load(path) {
        files.extend(parse(&source).0.iter().flat_map(|file| file.named_files(source.base())));
    }
    files
}

fn written_address(file: &File) -> Option<SocketAddr> {
    file.server.listen.as_ref().map(|listen| listen.0)
}

fn render(diagnostics: &[Diagnostic], source: &Source) -> String {
    diagnostic::render(diagnostics, &source.name, &source.text, false)
}

impl Source {
    /// Reads the file at `path`, or says why not in the way of all other problems.
    pub fn read(path: PathBuf) -> Result<Self, Rejected> {
        Self::load(&path).map_err(|error| Rejected {
            diagnostics: vec![Diagnostic::nowhere(format!("{} cannot be read: {error}", path.display()))],
            source: Self { name: path, text: String::new() },
        })
    }
}

impl Rejected {
    /// Everything that is wrong, secrets masked.
    pub fn render(&self, colour: bool) -> String {
        diagnostic::render(&self.diagnostics, &self.source.name, &self.source.text, colour)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// As it is shown: the source itself may hold secrets.
impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Rejected {}

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

        fn open(&self, listen: Option<&str>) -> Opened {
            let surroundings = Surroundings {
                listen: listen.map(|address| address.parse().unwrap()),
                check_secrets: true,
                ..Surroundings::default()
            };
            let runtime = Arc::new(Runtime::new(1 << 20));
            Live::open(self.0.path().join("piton.toml"), runtime, surroundings).unwrap()
        }
    }

    fn target(live: &Live) -> String {
        live.load_full().chains["a"].targets[0].id.to_string()
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
        let text = live.runtime.telemetry.print(&[], &live.runtime.memory);
        text.contains(&format!("piton_config_reloads_total{{outcome=\"{outcome}\"}} 1"))
    }

    #[test]
    fn a_valid_file_takes_the_place_of_the_old_and_an_invalid_one_does_not() {
        let place = Place::new(CHAIN);
        let Opened { live, warnings, .. } = place.open(None);
        assert_eq!(warnings, "");
        let running = live.load_full();
        place.write("piton.toml", "[server]\nbuffer_memory = \"1KiB\"\n[chains]\na = [\"ollama/two\"]\n");
        let reloaded = live.reload().unwrap();
        assert_eq!(target(&live), "ollama/two");
        assert_ne!(reloaded.hash, running.hash);
        assert_eq!(&*running.chains["a"].targets[0].id, "ollama/one", "a running request keeps its own");
        assert!(live.runtime.memory.hold(2048).is_err(), "the memory's bound follows");
        assert!(reloads(&live, "ok") && !reloads(&live, "invalid"));
        place.write("piton.toml", "[chains]\na = [\"olama/three\"]\n[server]\nadmin_key = 3\n");
        let rejected = live.reload().unwrap_err().to_string();
        assert!(
            rejected.contains("did you mean `ollama`?") && rejected.contains("server.admin_key"),
            "{rejected}"
        );
        assert_eq!((target(&live), &live.load_full().hash), ("ollama/two".to_owned(), &reloaded.hash));
        assert!(reloads(&live, "invalid"));
    }

    #[test]
    fn a_file_that_is_gone_or_was_never_there_is_a_problem_like_others() {
        let place = Place::new(CHAIN);
        let Opened { live, .. } = place.open(None);
        std::fs::remove_file(&live.path).unwrap();
        let rejected = live.reload().unwrap_err().to_string();
        assert!(
            rejected.starts_with("error: ") && rejected.contains("piton.toml cannot be read"),
            "{rejected}"
        );
        assert_eq!(target(&live), "ollama/one");
        let surroundings = Surroundings::default();
        assert!(Live::open(live.path.clone(), Arc::new(Runtime::new(1)), surroundings).is_err());
    }

    #[test]
    fn the_address_stays_and_so_does_what_it_demands() {
        let place = Place::new(CHAIN);
        let Opened { live, .. } = place.open(None);
        place.write("piton.toml", &format!("[server]\nlisten = \"127.0.0.1:5\"\n{CHAIN}"));
        assert_eq!(live.reload().unwrap().needs_restart, ["server.listen"]);
        assert_eq!(live.load_full().server.listen.port(), 4000);
        place.write("piton.toml", CHAIN);
        assert!(live.reload().unwrap().needs_restart.is_empty());

        let keys =
            "[server]\nlisten = \"127.0.0.1:5\"\nadmin_key = \"a\"\n[[keys]]\nname = \"k\"\nsecret = \"k\"\n";
        let public = Place::new(&format!("{keys}{CHAIN}"));
        let Opened { live, .. } = public.open(Some("0.0.0.0:5"));
        assert!(live.reload().unwrap().needs_restart.is_empty(), "the file does not say where");
        public.write("piton.toml", CHAIN);
        let rejected = live.reload().unwrap_err().to_string();
        assert!(rejected.contains("without [[keys]] anybody may call"), "{rejected}");
    }

    #[tokio::test]
    async fn changes_of_any_file_and_a_hangup_are_followed() {
        let place = Place::new(CHAIN);
        let Opened { live, watch, .. } = place.open(None);
        let live = Arc::new(live);
        let following = tokio::spawn(follow(Arc::clone(&live), watch));
        place.write("piton.toml", "[chains]\na = [\"ollama/two\"]\n");
        assert!(serves(&live, "ollama/two").await);
        // A file that only the new configuration names is watched too.
        place.write("key", "one");
        let text = "[providers.mistral]\napi_key = \"file:key\"\n[chains]\na = [\"mistral/x\"]\n";
        place.write("piton.toml", text);
        assert!(serves(&live, "mistral/x").await);
        let identity = || live.load_full().chains["a"].targets[0].credential.identity;
        let before = identity();
        place.write("key", "two");
        let changed = async {
            while identity() == before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(10), changed).await.is_ok());
        let before = live.load_full();
        let own = std::process::id();
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &format!("kill -HUP {own}")])
                .status()
                .unwrap()
                .success()
        );
        let replaced = async {
            while Arc::ptr_eq(&before, &live.load_full()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(Duration::from_secs(10), replaced).await.is_ok());
        following.abort();
    }
}
