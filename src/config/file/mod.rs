//! The file as it is written: every key is what the user said or absent; defaults and inheritance come later.

pub mod budget;
mod chain;
mod key;
mod ledger;
mod model;
pub mod policy;
mod provider;
mod server;
mod when;

use std::path::{Path, PathBuf};

pub use budget::{Budget, Where};
pub use chain::{Chain, Deployment, Describe, ImageFallback, Target};
pub use key::Key;
pub use ledger::{Ledger, LedgerPath};
pub use model::{Capabilities, Model, Price, PriceTier, PriceWindow, Rates};
pub use policy::{Breaker, BreakerSetting, ChainPolicy, Commit, Defaults, Limits, PriceCeiling};
pub use provider::Provider;
pub use server::{MetricsAccess, Server};
pub use when::TimeWindow;

use super::diagnostic::Located;
use super::name::{ChainName, Glob, ModelName, ProviderName};
use super::reader::Named;
use super::section::{Section, section};

section! {
    /// The configuration of Piton, an OpenAI-compatible gateway. The smallest useful file is a `[chains]` table
    /// with one list of targets.
    pub struct File in "the file's top level" {
        nested {
            /// Where Piton listens and how much it takes.
            server: Server,
            /// What every chain and target inherits.
            defaults: Defaults,
            /// Upstreams by the name that stands before the `/` of a target. A provider that is not listed is
            /// the vendor of that name, with the key from its usual environment variable.
            providers: Named<ProviderName, Provider>,
            /// The ledger: every request and attempt with what it cost, in one SQLite file.
            ledger: Ledger,
            /// Who may call. Without keys Piton answers on loopback only.
            keys: Vec<Located<Key>>,
            /// Adds to the built-in catalog, or overrides it, key by key. Named by "provider/model".
            models: Named<ModelName, Model>,
            /// What may be spent in a time: money, tokens, requests.
            budgets: Vec<Located<Budget>>,
            /// Chains by the name that clients use as `model`: ranked targets and one policy.
            chains: Named<ChainName, Chain>,
        }
        later ["cache", "log", "webhooks"]
    }
}

impl File {
    /// The patterns of `[server] allow_direct`.
    pub fn direct_globs(&self) -> impl Iterator<Item = &Located<Glob>> {
        self.server.allow_direct.iter().flat_map(|globs| &globs.value)
    }

    /// Every file that the configuration names, to be watched. `base` is the configuration file's directory.
    pub fn named_files(&self, base: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        files.extend(self.server.admin_key.iter().filter_map(|secret| secret.file(base)));
        files.extend(self.keys.iter().filter_map(|key| key.secret.file(base)));
        for provider in self.providers.0.values() {
            let keys = provider.api_key.iter().flat_map(|keys| &keys.value.0);
            files.extend(keys.filter_map(|secret| secret.file(base)));
            files.extend(provider.credentials.iter().map(|file| base.join(&file.0)));
            files.extend(provider.proxy.iter().filter_map(|proxy| proxy.0.file(base)));
            let headers = provider.headers.iter().flat_map(|headers| headers.0.values());
            files.extend(headers.filter_map(|header| header.0.file(base)));
        }
        files
    }
}

/// Every section's place and keys.
pub fn places() -> Vec<(&'static str, Vec<&'static str>)> {
    fn place<T: Section>() -> (&'static str, Vec<&'static str>) {
        let mut keys = Vec::new();
        T::keys(&mut keys);
        (T::PLACE, keys)
    }
    vec![
        place::<File>(),
        place::<Server>(),
        place::<Defaults>(),
        place::<Provider>(),
        place::<Ledger>(),
        place::<Key>(),
        place::<Model>(),
        place::<Chain>(),
        place::<Target>(),
        place::<Deployment>(),
        place::<TimeWindow>(),
        place::<Breaker>(),
        place::<Price>(),
        place::<PriceWindow>(),
        place::<Budget>(),
        place::<Capabilities>(),
    ]
}
