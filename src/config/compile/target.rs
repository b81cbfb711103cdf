//! Targets: everything that was found out about one put together, with its service.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::name::ModelName;
use super::super::runtime::{HealthKey, Runtime};
use super::inherit::TargetSettings;
use super::key_list::OtherKey;
use super::model::{Models, facts, known};
use super::provider::Provider;
use super::terms::{OwnTerms, lacking, union};
use crate::catalog::{Model, Reasoning};
use crate::chat::{ChatRequest, TargetFacts};
use crate::layers::{BudgetRule, RetryRule, Rules, Subject, stack};
use crate::ops::Counters;
use crate::providers::Provider as Dialect;
use crate::reason::{Action, Class, Word};
use crate::routing::budget::{Bounds, Budget};
use crate::routing::chain::{Credential, Policy, Target};
use crate::routing::group::{Balance, Group};
use crate::routing::terms::Terms;
use crate::upstream::{Access, By, Endpoint, Fetcher, NoClient, Settings, Upstream};

/// What targets are made of: the same for every chain of a configuration.
#[derive(Debug)]
pub struct Parts {
    pub runtime: Arc<Runtime>,
    /// Bytes.
    pub max_answer: usize,
    pub images: Option<Arc<Fetcher>>,
    pub providers: HashMap<String, Arc<Provider>>,
    /// The models of the file by their full name.
    pub models: Models,
    /// The known models that models of the file are like.
    pub likes: HashMap<String, ModelName>,
    /// The tags of the file's models by their full name.
    pub model_tags: HashMap<String, Vec<Word>>,
    /// In the order of [`Budget::sort`].
    pub budgets: Vec<Arc<Budget>>,
}

/// One target that is wanted.
pub struct Order<'a> {
    /// The deployment that it is, or those of its group.
    pub deployments: Vec<Deployment<'a>>,
    pub balance: Balance,
    pub index: usize,
    /// The chain's name.
    pub chain: &'a str,
    pub why: Option<String>,
    pub settings: &'a TargetSettings,
    pub policy: &'a Policy,
    pub own: OwnTerms,
    /// Whether it needs no network, by its own word.
    pub offline: Option<bool>,
    /// The tags that its chain requires.
    pub require: &'a [Word],
}

/// A model at a provider.
pub struct Deployment<'a> {
    pub name: &'a ModelName,
    /// What it is called in metrics, headers and logs.
    pub id: Arc<str>,
    pub provider: &'a Provider,
    /// Its share among the deployments of its group.
    pub weight: u32,
}

/// How a target is reached.
struct Way {
    connect_timeout: Duration,
    is_offline: bool,
}

/// The tag of targets that need no network.
const OFFLINE: &str = "offline";

/// One of a provider's keys.
struct Key<'a> {
    number: Option<u32>,
    access: &'a Access,
    credential: &'a Credential,
}

impl Parts {
    /// The facts of a model, overrides applied; `None` if neither file nor catalog knows it.
    pub fn known(&self, provider: &Provider, name: &ModelName) -> Option<Model> {
        self.models.get(&name.to_string()).cloned().or_else(|| known(provider, &name.model))
    }

    /// Which model this is, whoever serves it: its own name without the publisher that some vendors put before it.
    pub fn own_name(&self, name: &ModelName) -> Arc<str> {
        let model = self.likes.get(&name.to_string()).map_or(&name.model, |like| &like.model);
        model.rsplit_once('/').map_or(model.as_str(), |(_, name)| name).into()
    }

    /// Builds a target. Fails if no HTTP client can be made for it.
    pub fn target(&self, order: &Order<'_>) -> Result<Target, NoClient> {
        let counts: Vec<u64> = order.deployments.iter().map(|one| one.provider.keys() as u64).collect();
        let shares = counts.iter().copied().fold(1, least_common_multiple);
        let mut built = Vec::new();
        for (deployment, keys) in order.deployments.iter().zip(counts) {
            // A deployment's keys share its weight.
            let weight = u64::from(deployment.weight) * (shares / keys);
            for key in keys_of(deployment.provider) {
                built.push((Arc::new(self.deployment(order, deployment, &key)?), weight));
            }
        }
        // One that could be called stands for all, if there is one; else one that it is allowed to call.
        let usable = built.iter().position(|(one, _)| one.is_allowed() && one.credential.missing.is_none());
        let usable = usable.or_else(|| built.iter().position(|(one, _)| one.is_allowed()));
        let target = Target::clone(&built[usable.unwrap_or(0)].0);
        let is_group = built.len() > 1;
        let group = is_group.then(|| Arc::new(Group::new(order.balance, built)));
        Ok(Target { group, ..target })
    }

    /// Builds one deployment, called with one key.
    fn deployment(
        &self,
        order: &Order<'_>,
        deployment: &Deployment<'_>,
        key: &Key<'_>,
    ) -> Result<Target, NoClient> {
        let Order { index, chain, settings, policy, .. } = *order;
        let Deployment { name, provider, .. } = *deployment;
        let id = Arc::clone(&deployment.id);
        let of_model = self.model_tags.get(&name.to_string()).into_iter().flatten();
        let is_offline = order.offline.unwrap_or(provider.is_offline);
        let of_place = is_offline.then_some(OFFLINE).and_then(Word::new);
        let given = order.own.tags.iter().chain(of_model).chain(&provider.tags).copied();
        let tags = union(given.chain(of_place));
        let terms = Terms { lacks: lacking(order.require, &tags), ..order.own.terms.clone() };
        let model = self.known(provider, name).unwrap_or_else(Model::unknown);
        let facts = Arc::new(facts(provider, &name.model, &model));
        let like = self.likes.get(&name.to_string());
        let dialect = provider.dialect(like.map_or(&name.model, |like| &like.model));
        let url = url(provider, &*dialect, &facts);
        let health = self.runtime.health(HealthKey {
            target: name.to_string().into(),
            base_url: provider.base_url.clone(),
            credential: key.credential.identity,
        });
        let way = Way { connect_timeout: settings.connect_timeout, is_offline };
        let upstream = self.upstream(provider, key.access, &dialect, &facts, &way)?;
        let rules = Rules {
            subject: Subject {
                index,
                target: Arc::clone(&id),
                key_number: key.number,
                is_offline,
                provider: dialect.name(),
                model: Arc::clone(&facts.model),
                prices: model.prices.clone(),
                health: Arc::clone(&health),
                telemetry: Arc::clone(&self.runtime.telemetry),
                counters: Counters::default(),
            },
            budgets: BudgetRule {
                budgets: self.budgets_for(chain, &id, &provider.name),
                fitness: Arc::<Upstream>::clone(&upstream),
                bounds: Bounds::of(&model, &settings.limits),
            },
            retry: RetryRule {
                retries: settings.clocks.retries,
                retry_after_max: settings.clocks.retry_after_max,
                on: policy.on.clone(),
            },
            commit: policy.commit,
            max_answer: self.max_answer,
            memory: self.runtime.memory.clone(),
            clocks: settings.clocks,
            breaker: provider.breaker,
            accept_empty: policy.on.get(&Class::Empty) == Some(&Action::Accept),
            always_reasons: matches!(model.reasoning, Reasoning::Always(_)),
            streams: facts.able.streaming,
        };
        Ok(Target {
            id,
            index,
            provider: Arc::clone(&provider.name),
            model_name: self.own_name(name),
            why: order.why.clone(),
            model,
            limits: Arc::new(settings.limits.clone()),
            tags,
            terms: (!terms.are_none()).then(|| Box::new(terms)),
            clocks: settings.clocks,
            credential: key.credential.clone(),
            health,
            has_breaker: provider.breaker.is_some(),
            is_pass_through: dialect.is_pass_through(),
            is_offline,
            fitness: Arc::<Upstream>::clone(&upstream),
            service: stack(upstream, rules),
            url,
            key_number: key.number,
            group: None,
        })
    }

    fn upstream(
        &self,
        provider: &Provider,
        access: &Access,
        dialect: &Arc<dyn Dialect>,
        facts: &Arc<TargetFacts>,
        way: &Way,
    ) -> Result<Arc<Upstream>, NoClient> {
        let settings = Settings {
            base_url: &provider.base_url,
            by: match &provider.proxy {
                _ if way.is_offline => By::Itself,
                Some(proxy) => By::Proxy(proxy),
                None => By::Environment,
            },
            connect_timeout: way.connect_timeout,
            access: access.clone(),
            headers: provider.headers.clone(),
            patterns: provider.patterns.clone(),
        };
        let endpoint = Endpoint::new(settings, &**dialect, &self.runtime.clients)?;
        Ok(Arc::new(Upstream {
            provider: Arc::clone(dialect),
            endpoint,
            facts: Arc::clone(facts),
            images: self.images.clone(),
            max_answer: self.max_answer,
            memory: self.runtime.memory.clone(),
        }))
    }
}

/// The keys that a provider is called with; its one way to be called where there is no list.
fn keys_of(provider: &Provider) -> impl Iterator<Item = Key<'_>> {
    let Provider { key_number, access, credential, other_keys, .. } = provider;
    let others = other_keys.iter().map(|OtherKey { number, access, credential }| Key {
        number: Some(*number),
        access,
        credential,
    });
    std::iter::once(Key { number: *key_number, access, credential }).chain(others)
}

fn least_common_multiple(one: u64, other: u64) -> u64 {
    let (mut divisor, mut rest) = (one, other);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    one / divisor.max(1) * other
}

/// Where a plain request goes.
fn url(provider: &Provider, dialect: &dyn Dialect, facts: &TargetFacts) -> String {
    const PLAIN: &[u8] = br#"{"model":"x","messages":[{"role":"user","content":"Hello"}]}"#;
    let request = ChatRequest::parse(Bytes::from_static(PLAIN));
    let encoded = request.ok().and_then(|request| dialect.encode(&request, facts).ok());
    format!("{}{}", provider.base_url, encoded.map(|encoded| encoded.path).unwrap_or_default())
}
