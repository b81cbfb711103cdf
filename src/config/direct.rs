//! Models that clients name themselves: what `[server] allow_direct` lets through, built when first asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::compile::inherit::{ChainSettings, Layers, TargetSettings};
use super::compile::terms::OwnTerms;
use super::compile::{Deployment, Order, Parts, Provider};
use super::file::{self, Defaults};
use super::name::{Glob, ModelName};
use super::reader::FromText;
use crate::catalog::{self, Model};
use crate::routing::Chain;
use crate::routing::group::Balance;
use crate::units::Tokens;

/// The direct names of one configuration.
#[derive(Debug)]
pub struct DirectAccess {
    globs: Vec<Glob>,
    parts: Arc<Parts>,
    defaults: Defaults,
    built: Mutex<HashMap<String, Arc<Chain>>>,
}

/// A model that clients may name, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectName {
    /// `provider/model`
    pub name: String,
    pub context: Option<Tokens>,
    pub max_output: Option<Tokens>,
}

/// How many built chains are kept.
const KEPT: usize = 256;
/// How many names are listed.
const LISTED: usize = 1000;
/// Longer names are none.
const LONGEST: usize = 256;

impl DirectAccess {
    /// Access by these patterns, under the policy and the ceilings of `[defaults]`.
    pub fn new(globs: Vec<Glob>, parts: Arc<Parts>, defaults: Defaults) -> Self {
        Self { globs, parts, defaults, built: Mutex::default() }
    }

    /// What its targets, and all others of the configuration, are made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The chain with this one target, if clients may name it. Metrics know it by the pattern that let it in, since
    /// a client could make up any number of names.
    pub fn chain(&self, name: &str) -> Option<Arc<Chain>> {
        if name.len() > LONGEST {
            return None;
        }
        let glob = self.globs.iter().find(|glob| glob.matches(name))?;
        if let Some(chain) = self.built.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(Arc::clone(chain));
        }
        let chain = Arc::new(self.build(name, glob)?);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if built.len() >= KEPT {
            built.clear();
        }
        built.insert(name.to_owned(), Arc::clone(&chain));
        Some(chain)
    }

    /// The names that can be listed: those that a pattern spells out, and those of the file and the catalog that
    /// fit one. Sorted, and not without end.
    pub fn names(&self) -> Vec<DirectName> {
        if self.globs.is_empty() {
            return Vec::new();
        }
        let mut names = BTreeMap::new();
        let spelt = self.globs.iter().map(Glob::as_str).chain(self.parts.models.keys().map(String::as_str));
        let spelt =
            spelt.filter(|text| !text.contains(WILD)).filter_map(|text| ModelName::from_text(text).ok());
        let meant =
            self.parts.providers.values().filter(|provider| provider.is_meant() && provider.is_vendor());
        let known = meant.flat_map(|provider| {
            catalog::names(provider.kind.catalog)
                .map(|model| ModelName { provider: provider.name.to_string(), model: model.to_owned() })
        });
        for name in spelt.chain(known) {
            let text = name.to_string();
            let Some(provider) = self.provider(&name) else { continue };
            if self.globs.iter().any(|glob| glob.matches(&text)) {
                let model = self.parts.known(provider, &name).unwrap_or_else(Model::unknown);
                names.insert(text, (model.context, model.max_output));
            }
        }
        let listed = names.into_iter().take(LISTED);
        listed.map(|(name, (context, max_output))| DirectName { name, context, max_output }).collect()
    }

    fn provider(&self, name: &ModelName) -> Option<&Arc<Provider>> {
        self.parts.providers.get(&name.provider).filter(|provider| provider.is_meant())
    }

    fn build(&self, name: &str, glob: &Glob) -> Option<Chain> {
        let model = ModelName::from_text(name).ok()?;
        let provider = self.provider(&model)?;
        // What contradicts itself in [defaults] was reported when the file was compiled.
        let mut ignored = Vec::new();
        let settings = ChainSettings::new(&self.defaults.policy, &file::ChainPolicy::default(), &mut ignored);
        let policy = settings.policy(provider.keys());
        let none = file::Limits::default();
        let layers = Layers { defaults: &self.defaults.limits, chain: &none, target: &none };
        let order = Order {
            deployments: vec![Deployment { name: &model, id: name.into(), provider, weight: 1 }],
            balance: Balance::default(),
            index: 0,
            chain: glob.as_str(),
            why: None,
            settings: &TargetSettings::new(layers, &settings.deadline, &mut ignored),
            policy: &policy,
            own: OwnTerms::default(),
            offline: None,
            // Those of [defaults]: what no chain may do, nobody may do without one.
            require: &settings.require,
        };
        let target = self.parts.target(&order).ok()?;
        // A name without a slash would be a chain's.
        let pattern = glob.as_str();
        let name: Arc<str> =
            if pattern.contains('/') { pattern.into() } else { format!("{pattern}/*").into() };
        Some(Chain {
            blend: self.parts.runtime.blend(&name),
            name,
            why: None,
            policy,
            targets: vec![Arc::new(target)],
            require: settings.require,
            branches: None,
            last: None,
            describe: None,
        })
    }
}

/// What makes a pattern match more than itself.
pub const WILD: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
