//! Targets: everything that was found out about one put together, with its service.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::name::ModelName;
use super::super::runtime::{HealthKey, Runtime};
use super::inherit::TargetSettings;
use super::model::{Models, facts, known};
use super::provider::Provider;
use crate::catalog::{Model, Reasoning};
use crate::chat::{ChatRequest, TargetFacts};
use crate::layers::{RetryRule, Rules, Subject, stack};
use crate::ops::Counters;
use crate::providers::Provider as Dialect;
use crate::reason::{Action, Class};
use crate::routing::chain::{Policy, Target};
use crate::upstream::{Endpoint, Fetcher, NoClient, Settings, Upstream};

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
}

/// One target that is wanted.
pub struct Order<'a> {
    pub name: &'a ModelName,
    /// What it is called in metrics, headers and logs.
    pub id: Arc<str>,
    pub index: usize,
    pub why: Option<String>,
    pub provider: &'a Arc<Provider>,
    pub settings: TargetSettings,
    pub policy: &'a Policy,
}

impl Parts {
    /// The facts of a model, overrides applied; `None` if neither file nor catalog knows it.
    pub fn known(&self, provider: &Provider, name: &ModelName) -> Option<Model> {
        self.models.get(&name.to_string()).cloned().or_else(|| known(provider, &name.model))
    }

    /// Builds a target. Fails if no HTTP client can be made for it.
    pub fn target(&self, order: Order<'_>) -> Result<Target, NoClient> {
        let Order { name, id, index, why, provider, settings, policy } = order;
        let model = self.known(provider, name).unwrap_or_else(Model::unknown);
        let facts = Arc::new(facts(provider, &name.model, &model));
        let like = self.likes.get(&name.to_string());
        let dialect = provider.dialect(like.map_or(&name.model, |like| &like.model));
        let url = url(provider, &*dialect, &facts);
        let health = self.runtime.health(HealthKey {
            target: name.to_string().into(),
            base_url: provider.base_url.clone(),
            credential: provider.credential.identity,
        });
        let upstream = self.upstream(provider, &dialect, &facts, settings.connect_timeout)?;
        let rules = Rules {
            subject: Subject {
                index,
                target: Arc::clone(&id),
                provider: dialect.name(),
                model: Arc::clone(&facts.model),
                prices: model.prices.clone(),
                health: Arc::clone(&health),
                telemetry: Arc::clone(&self.runtime.telemetry),
                counters: Counters::default(),
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
            model_name: own_name(like.map_or(&name.model, |like| &like.model)),
            why,
            model,
            limits: Arc::new(settings.limits),
            clocks: settings.clocks,
            credential: provider.credential.clone(),
            health,
            has_breaker: provider.breaker.is_some(),
            is_pass_through: dialect.is_pass_through(),
            fitness: Arc::<Upstream>::clone(&upstream),
            service: stack(upstream, rules),
            url,
        })
    }

    fn upstream(
        &self,
        provider: &Provider,
        dialect: &Arc<dyn Dialect>,
        facts: &Arc<TargetFacts>,
        connect_timeout: Duration,
    ) -> Result<Arc<Upstream>, NoClient> {
        let settings = Settings {
            base_url: &provider.base_url,
            proxy: provider.proxy.as_deref(),
            connect_timeout,
            access: provider.access.clone(),
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

/// A model's name without the publisher that some vendors put before it.
fn own_name(model: &str) -> Arc<str> {
    model.rsplit_once('/').map_or(model, |(_, name)| name).into()
}

/// Where a plain request goes.
fn url(provider: &Provider, dialect: &dyn Dialect, facts: &TargetFacts) -> String {
    const PLAIN: &[u8] = br#"{"model":"x","messages":[{"role":"user","content":"Hello"}]}"#;
    let request = ChatRequest::parse(Bytes::from_static(PLAIN));
    let encoded = request.ok().and_then(|request| dialect.encode(&request, facts).ok());
    format!("{}{}", provider.base_url, encoded.map(|encoded| encoded.path).unwrap_or_default())
}
