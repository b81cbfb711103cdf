//! From the file as it was written to the [`Gateway`] that serves: defaults and inheritance applied, names
//! resolved, secrets fetched, every problem reported at once.

mod address;
mod branches;
mod budget;
mod chain;
mod describe;
pub mod inherit;
mod key_list;
mod keys;
mod last_chain;
mod login;
pub mod model;
mod offline;
mod provider;
mod target;
pub mod terms;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::diagnostic::{Diagnostic, Located};
use super::direct::{DirectAccess, WILD};
use super::file::{self, ChainPolicy, File, Limits, MetricsAccess};
use super::gateway::{Gateway, Server};
use super::machine;
use super::name::Glob;
use super::runtime::Runtime;
use super::value::{Size, sized};
use super::{Source, parse, state};
use crate::ops::identity::hex;
use crate::upstream::Fetcher;

pub use provider::{KeySource, Provider};
pub use target::{Deployment, Order, Parts};

use inherit::{ChainSettings, Layers, Level, Setting, TargetSettings};
use provider::unknown_provider;

/// What a configuration depends on besides its files.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The environment, read once at start.
    pub environment: HashMap<String, String>,
    /// `--listen` or `PITON_LISTEN`.
    pub listen: Option<SocketAddr>,
    /// Whether to look for secrets at all: `piton check --no-secrets` does not.
    pub check_secrets: bool,
}

/// A file, as far as it could be used.
pub struct Loaded {
    /// `None` where the file is not TOML.
    pub file: Option<File>,
    /// There if no diagnostic is an error.
    pub gateway: Option<Gateway>,
    /// In the order in which they were found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses and compiles: all problems of both, at once.
pub fn load(source: &Source, runtime: &Arc<Runtime>, surroundings: &Surroundings) -> Loaded {
    let (file, mut diagnostics) = parse(source);
    let Some(file) = file else { return Loaded { file: None, gateway: None, diagnostics } };
    let broken = diagnostics.iter().filter(|problem| problem.is_error()).map(|problem| problem.path.clone());
    let broken = broken.collect();
    let (gateway, problems) = Compiler::new(source, &file, runtime, surroundings, broken).run();
    diagnostics.extend(problems);
    let gateway = (!diagnostics.iter().any(Diagnostic::is_error)).then_some(gateway);
    Loaded { file: Some(file), gateway, diagnostics }
}

/// What every part of the compilation needs, and what it found.
struct Compiler<'a> {
    source: &'a Source,
    file: &'a File,
    runtime: &'a Arc<Runtime>,
    surroundings: &'a Surroundings,
    /// The paths of what could not be read: only seemingly is it missing.
    broken: Vec<String>,
    problems: Vec<Diagnostic>,
    /// Providers whose missing credential was reported.
    complained: HashSet<String>,
}

const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 4000);
const MAX_BODY: u64 = 32 << 20;
const MAX_ANSWER: u64 = 64 << 20;
const BUFFER_MEMORY: u64 = 512 << 20;
const MAX_IN_FLIGHT: u32 = 20_000;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(30);
/// How much of the configuration's hash is shown, in bytes.
const HASH: usize = 6;
/// What to write where no chain is.
const SMALLEST: &str = "the smallest useful file is: [chains] primary-chat = [\"openai/gpt-4o\"]";

impl Surroundings {
    /// Those of this process, as they are now.
    pub fn of_process(listen: Option<SocketAddr>, check_secrets: bool) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut environment = std::env::vars_os().filter_map(text).collect();
        machine::complete(&mut environment, Path::new(machine::FIRMWARE));
        Self { environment, listen, check_secrets }
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }
}

impl<'a> Compiler<'a> {
    fn new(
        source: &'a Source,
        file: &'a File,
        runtime: &'a Arc<Runtime>,
        surroundings: &'a Surroundings,
        broken: Vec<String>,
    ) -> Self {
        Self { source, file, runtime, surroundings, broken, problems: Vec::new(), complained: HashSet::new() }
    }

    fn run(mut self) -> (Gateway, Vec<Diagnostic>) {
        let server = self.server();
        let providers = self.providers();
        let models = self.models(&providers);
        let parts = Arc::new(Parts {
            runtime: Arc::clone(self.runtime),
            max_answer: server.max_answer,
            images: self.images(),
            providers,
            models,
            likes: self.likes(),
            model_tags: self.model_tags(),
            budgets: self.budgets(),
        });
        let mut chains = self.chains(&parts);
        self.describers(&mut chains);
        self.last_chains(&mut chains);
        self.look_at_branches(&chains);
        self.hold_to_budgets(&chains, &parts);
        self.offline();
        let (keys, admin_key) = self.keys(&server);
        let direct = self.direct(&parts);
        let mut seen: Vec<Diagnostic> = Vec::new();
        // What a section says wrongly shows once, though every target below it inherits it.
        self.problems.retain(|problem| {
            let first_time = !seen.contains(problem);
            seen.push(problem.clone());
            first_time
        });
        let hash = self.hash().into();
        let ledger = state::ledger(&self.file.ledger, &self.surroundings.environment);
        (Gateway { hash, server, chains, keys, admin_key, direct, ledger }, self.problems)
    }

    /// Whether what is not here was not written either: neither is this path broken, nor was a whole section lost to
    /// a slip in its name.
    fn is_unwritten(&self, path: &str) -> bool {
        !self.broken.iter().any(|broken| broken.starts_with(path) || !broken.contains('.'))
    }

    fn report(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    fn server(&mut self) -> Server {
        let written = &self.file.server;
        let listen = written.listen.as_ref().map_or(LISTEN.into(), |listen| listen.0);
        let buffer_memory = size(written.buffer_memory.as_ref(), BUFFER_MEMORY);
        let max_body = size(written.max_body.as_ref(), MAX_BODY);
        let max_answer = size(written.max_answer.as_ref(), MAX_ANSWER);
        let mut within_memory = |name: &str, most: Setting<u64>| {
            most.at_most(&buffer_memory, &mut self.problems, |most, memory| {
                let origin = if buffer_memory.at.is_some() { "" } else { " by default" };
                let memory = format!("raise `buffer_memory` too: it is {}{origin}", sized(*memory));
                let message = format!("`{name}` of {} is more than `buffer_memory`", sized(*most));
                (message, memory)
            })
        };
        let max_body = within_memory("max_body", max_body);
        let max_answer = within_memory("max_answer", max_answer);
        Server {
            listen: self.surroundings.listen.unwrap_or(listen),
            allow_anonymous: written.allow_anonymous.as_ref().is_some_and(|allowed| allowed.value),
            open_metrics: written.metrics.as_ref().is_some_and(|metrics| **metrics == MetricsAccess::Open),
            max_body: bytes(max_body),
            max_answer: bytes(max_answer),
            buffer_memory: bytes(buffer_memory.value),
            max_in_flight: written.max_in_flight.as_ref().map_or(MAX_IN_FLIGHT, |count| count.get()),
            body_timeout: written.body_timeout.as_ref().map_or(BODY_TIMEOUT, |timeout| timeout.0),
            drain: written.drain.as_ref().map_or(DRAIN, |drain| drain.0),
        }
    }

    /// What fetches images for targets that take only bytes, where the owner wants that.
    fn images(&mut self) -> Option<Arc<Fetcher>> {
        let file::Server { fetch_images, fetch_images_from, .. } = &self.file.server;
        let wanted = fetch_images.as_ref().filter(|wanted| wanted.value)?;
        let trusted =
            fetch_images_from.iter().flat_map(|hosts| &hosts.value).map(|host| host.value.0.clone());
        match Fetcher::new(trusted) {
            Ok(fetcher) => Some(Arc::new(fetcher)),
            Err(error) => {
                let message = format!("images cannot be fetched: {error}");
                self.problems.push(Diagnostic::error(&wanted.at, message));
                None
            }
        }
    }

    fn direct(&mut self, parts: &Arc<Parts>) -> DirectAccess {
        let file = self.file;
        let defaults = &file.defaults;
        let globs: Vec<Glob> = file.direct_globs().map(|glob| glob.value.clone()).collect();
        file.direct_globs().for_each(|glob| self.look_at_direct(glob, parts));
        if !globs.is_empty() {
            let policy = ChainSettings::new(&defaults.policy, &ChainPolicy::default(), &mut self.problems);
            let none = Limits::default();
            let layers = Layers { defaults: &defaults.limits, chain: &none, target: &none };
            TargetSettings::new(layers, &policy.deadline, &mut self.problems);
        }
        DirectAccess::new(globs, Arc::clone(parts), defaults.clone())
    }

    /// A pattern that names its provider names one that can be called.
    fn look_at_direct(&mut self, glob: &Located<Glob>, parts: &Parts) {
        let text = glob.value.as_str();
        match text.split_once('/') {
            Some((provider, _)) if provider.contains(WILD) => {}
            Some((provider, _)) => match parts.providers.get(provider) {
                Some(provider) => self.complain(provider, &glob.at),
                None if self.is_unwritten(&format!("providers.{provider}")) => {
                    self.report(unknown_provider(provider, &glob.at, &parts.providers));
                }
                None => {}
            },
            None if text.contains(WILD) => {}
            None => {
                let message =
                    format!("{text:?} lets nothing through: direct names are written provider/model");
                self.report(Diagnostic::warning(&glob.at, message));
            }
        }
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.source.text);
        for path in self.file.named_files(self.source.base()) {
            let content = std::fs::read(&path).unwrap_or_default();
            hash.update(content.len().to_be_bytes());
            hash.update(content);
        }
        hex(&hash.finalize()[..HASH])
    }
}

fn size(written: Option<&Located<Size>>, built_in: u64) -> Setting<u64> {
    match written {
        Some(size) => Setting { value: size.0, level: Level::Defaults, at: Some(size.at.clone()) },
        None => Setting { value: built_in, level: Level::BuiltIn, at: None },
    }
}

fn bytes(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

type Chains = IndexMap<Arc<str>, Arc<crate::routing::Chain>>;
