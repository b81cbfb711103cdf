//! A chain as it serves: ranked targets and one policy.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::util::BoxCloneSyncService;

use super::attempt::{Call, NotServed};
use super::blend::Blend;
use super::branch::Branches;
use super::ceiling::MaxPrice;
use super::describe::Describe;
use super::group::Group;
use super::health::TargetHealth;
use super::terms::Terms;
use crate::catalog;
use crate::chat::request::Image;
use crate::chat::{ChatRequest, ChatStream, Request};
use crate::reason::{Action, Class, Word};
use crate::units::{Cost, Tokens};

/// A logical model.
#[derive(Debug, Clone)]
pub struct Chain {
    pub name: Arc<str>,
    pub why: Option<String>,
    pub policy: Policy,
    /// In order of preference; never empty.
    pub targets: Vec<Arc<Target>>,
    /// The tags that a target must have to be called.
    pub require: Vec<Word>,
    /// The chains that serve some of its requests instead.
    pub branches: Option<Box<Branches>>,
    /// What its traffic costs.
    pub blend: Arc<Blend>,
    /// The chain that is walked when this one is exhausted. Its own last chain is not.
    pub last: Option<Arc<Chain>>,
    /// How images are put into words for those of its targets that cannot see.
    pub describe: Option<Arc<Describe>>,
}

/// The rules of one chain.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Time to commit, retries and fallbacks included.
    pub deadline: Duration,
    /// Upstream calls per request.
    pub max_attempts: u32,
    pub commit: Commit,
    /// What the owner wants done instead of the default, by class.
    pub on: BTreeMap<Class, Action>,
}

/// When the first byte of an answer goes to the client; until then a fallback is invisible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// At the first text, reasoning, refusal or tool call.
    FirstContent,
    /// Only when the whole answer is there.
    Complete,
    /// After this many characters of answer.
    Chars(usize),
    /// This long after the first content.
    Time(Duration),
}

/// One rung of a chain.
#[derive(Clone)]
pub struct Target {
    /// `provider/model`, as configured.
    pub id: Arc<str>,
    /// The place in the chain, from 0.
    pub index: usize,
    pub provider: Arc<str>,
    /// The model's own name, whoever serves it: vectors of one name can be compared.
    pub model_name: Arc<str>,
    pub why: Option<String>,
    /// Prices, windows and abilities, overrides applied.
    pub model: catalog::Model,
    pub limits: Arc<Limits>,
    /// What it and its model and provider are marked with.
    pub tags: Vec<Word>,
    /// Whom it serves and when; `None`: anybody, always.
    pub terms: Option<Box<Terms>>,
    pub clocks: Clocks,
    pub credential: Credential,
    pub health: Arc<TargetHealth>,
    /// Whether it has a circuit breaker at all.
    pub has_breaker: bool,
    /// Whether the client's own bytes go upstream.
    pub is_pass_through: bool,
    /// Whether it needs no network but this machine's own.
    pub is_offline: bool,
    pub fitness: Arc<dyn Fitness>,
    pub service: BoxCloneSyncService<Call, ChatStream, NotServed>,
    /// Where its calls go, for people to read: no credential in it.
    pub url: String,
    /// Which of its provider's keys it is called with, from 1; `None` where there is one at most.
    pub key_number: Option<u32>,
    /// The equal deployments that share this place, where there are several: all else here is then that of one that
    /// stands for them all.
    pub group: Option<Arc<Group>>,
}

/// What a target's dialect says of a request before any call.
pub trait Fitness: Send + Sync {
    /// What the request needs and the target lacks.
    fn lacks(&self, request: &Request) -> Option<&'static str>;

    /// The tokens that an image costs: at least, and at most.
    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens);

    /// The most tokens that one answer may have by what is sent; `None` where no cap is sent.
    fn most_output(&self, request: &ChatRequest) -> Option<Tokens>;
}

/// What a target may cost.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The request's estimated cost here, over that at the chain's first target.
    pub max_price_ratio: Option<f64>,
    pub max_price: Option<MaxPrice>,
    /// USD for one request.
    pub max_cost: Option<Cost>,
    /// The output assumed where the request sets no cap.
    pub expected_output: Tokens,
}

/// The provider's name in a target's id.
pub fn provider_of(id: &str) -> Option<&str> {
    id.split_once('/').map(|(provider, _)| provider)
}

impl Target {
    /// The model's name at its provider: what stands in the id behind the provider's.
    pub fn model_id(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(_, model)| model)
    }

    /// Whether it has the tags that its chain requires: one without is never called.
    pub fn is_allowed(&self) -> bool {
        self.terms.as_ref().is_none_or(|terms| terms.lacks.is_none())
    }

    /// Scheme, host and port of where its calls go.
    pub fn origin(&self) -> &str {
        let host = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[host..].find('/').map_or(self.url.len(), |at| host + at);
        &self.url[..end]
    }
}

impl Limits {
    /// Whether the owner set any ceiling.
    pub fn is_bounded(&self) -> bool {
        self.max_cost.is_some() || self.max_price.is_some() || self.max_price_ratio.is_some()
    }
}

/// The clocks of one attempt, and how often it is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Attempts after the first, for the classes that allow it.
    pub retries: u32,
    /// The longest `Retry-After` that is waited out.
    pub retry_after_max: Duration,
    /// Streams: to the first content. `None`: by the size of the input, and longer where the model thinks.
    pub first_token: Option<Duration>,
    /// Streams: the longest silence.
    pub idle: Duration,
    /// Streams: one attempt, whole.
    pub stream: Duration,
    /// JSON calls: one attempt, to the whole answer.
    pub answer: Duration,
}

/// A target's credential, without the secret.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    /// Equal for targets that use the same secret at the same place; `None` where none is needed.
    pub identity: Option<u64>,
    /// What is missing: the name of the environment variable or file.
    pub missing: Option<String>,
}

impl Chain {
    /// Everything that calls may go to: each target, or each deployment of its group.
    pub fn deployments(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().flat_map(|target| target.deployments())
    }
}

impl Target {
    /// The deployments of its group; itself where it has none.
    pub fn deployments(&self) -> impl Iterator<Item = &Self> {
        let members = self.group.iter().flat_map(|group| group.members()).map(|member| &*member.target);
        self.group.is_none().then_some(self).into_iter().chain(members)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("id", &self.id).field("index", &self.index).finish_non_exhaustive()
    }
}
