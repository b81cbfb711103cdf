//! Upstreams that follow a script, and real chains of real layers around them: what policy tests stand on. On a
//! paused clock every wait is exact to the millisecond.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BudgetRule, RetryRule, Rules, Subject, stack};
use crate::catalog::{Model, Overrides};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, Delta, Event, Request};
use crate::memory::Memory;
use crate::ops::{Counters, Telemetry};
use crate::reason::{Action, Class};
use crate::routing::breaker::BreakerRule;
use crate::routing::budget::{Bounds, Budget};
use crate::routing::chain::{Clocks, Credential, Fitness, Limits, Policy};
use crate::routing::group::{Balance, Group};
use crate::routing::health::TargetHealth;
use crate::routing::plan::{Wishes, plan};
use crate::routing::run::{Errand, Exhausted, Won};
use crate::routing::terms::Terms;
use crate::routing::{Chain, Commit, Entry, Origin, Outcome, Target, Trail};
use crate::units::Tokens;

mod upstream;

pub use upstream::{Beat, Reply, Scripted, Then, ms, response, usage};

/// A target in the making: everything may be set before it becomes one.
#[derive(Debug, Clone)]
pub struct Rung {
    pub id: String,
    pub upstream: Scripted,
    pub model: Model,
    pub limits: Limits,
    pub terms: Option<Terms>,
    pub clocks: Clocks,
    pub breaker: Option<BreakerRule>,
    pub credential: Credential,
    pub is_pass_through: bool,
    pub is_offline: bool,
    pub always_reasons: bool,
    /// What its dialect cannot do.
    pub lacks: Option<&'static str>,
    pub health: Arc<TargetHealth>,
    /// Of a provider that has several.
    pub key_number: Option<u32>,
    pub budgets: Vec<Arc<Budget>>,
}

impl Rung {
    /// A pass-through target `mock/<name>` of an unknown model, under the default clocks.
    pub fn new(name: &str, script: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            id: format!("mock/{name}"),
            upstream: Scripted::new(script),
            model: Model::unknown(),
            limits: Limits { expected_output: Tokens::new(1000), ..Limits::default() },
            terms: None,
            clocks: Clocks {
                retries: 1,
                retry_after_max: ms(3000),
                first_token: None,
                idle: ms(30_000),
                stream: ms(600_000),
                answer: ms(600_000),
            },
            breaker: Some(BreakerRule::default()),
            credential: Credential::default(),
            is_pass_through: true,
            is_offline: false,
            always_reasons: false,
            lacks: None,
            health: Arc::default(),
            key_number: None,
            budgets: Vec::new(),
        }
    }

    /// The same with other clocks.
    #[must_use]
    pub fn clocked(mut self, set: impl FnOnce(&mut Clocks)) -> Self {
        set(&mut self.clocks);
        self
    }

    /// The same with what `[models]` may say: prices, window, capabilities.
    #[must_use]
    pub fn model(mut self, toml: &str) -> Self {
        let overrides: Overrides = toml::from_str(toml).unwrap();
        self.model = self.model.with(&overrides).unwrap();
        self
    }

    /// The same, called with this key of its provider.
    #[must_use]
    pub fn key(mut self, number: u32) -> Self {
        self.key_number = Some(number);
        self.credential.identity = Some(number.into());
        self
    }

    /// The same with a past in which it took so many milliseconds.
    #[must_use]
    pub fn usually(self, milliseconds: u64) -> Self {
        for _ in 0..5 {
            self.health.first_content.add(ms(milliseconds), Instant::now());
            self.health.whole_answer.add(ms(milliseconds), Instant::now());
        }
        self
    }

    fn target(&self, index: usize, stand: &Stand) -> Target {
        let id: Arc<str> = self.id.as_str().into();
        let (provider, model) = self.id.split_once('/').unwrap();
        let rules = Rules {
            subject: Subject {
                index,
                target: Arc::clone(&id),
                key_number: self.key_number,
                is_offline: self.is_offline,
                provider: "mock",
                model: model.into(),
                prices: self.model.prices.clone(),
                health: Arc::clone(&self.health),
                telemetry: Arc::new(Telemetry::default()),
                counters: Counters::default(),
            },
            budgets: BudgetRule {
                budgets: self.budgets.clone().into(),
                fitness: Arc::new(Ability(self.lacks)),
                bounds: Bounds::of(&self.model, &self.limits),
            },
            retry: RetryRule {
                retries: self.clocks.retries,
                retry_after_max: self.clocks.retry_after_max,
                on: stand.policy.on.clone(),
            },
            commit: stand.policy.commit,
            max_answer: stand.max_answer,
            memory: stand.memory.clone(),
            streams: true,
            clocks: self.clocks,
            breaker: self.breaker,
            accept_empty: stand.policy.on.get(&Class::Empty) == Some(&Action::Accept),
            always_reasons: self.always_reasons,
        };
        Target {
            id,
            index,
            provider: provider.into(),
            model_name: model.into(),
            why: None,
            model: self.model.clone(),
            limits: Arc::new(self.limits.clone()),
            tags: Vec::new(),
            terms: self.terms.clone().map(Box::new),
            clocks: self.clocks,
            credential: self.credential.clone(),
            health: Arc::clone(&self.health),
            has_breaker: self.breaker.is_some(),
            is_pass_through: self.is_pass_through,
            is_offline: self.is_offline,
            fitness: Arc::new(Ability(self.lacks)),
            service: stack(self.upstream.clone(), rules),
            url: format!("http://{model}/v1"),
            key_number: self.key_number,
            group: None,
        }
    }
}

struct Ability(Option<&'static str>);

/// What thinking adds to a cap.
const THOUGHTS: u64 = 20;

impl Fitness for Ability {
    fn lacks(&self, request: &Request) -> Option<&'static str> {
        // Only a request with images can have one of a wrong format.
        self.0.filter(|what| *what != "image_format" || !request.size().images.is_empty())
    }

    fn image_tokens(&self, _: &Image) -> (Tokens, Tokens) {
        (Tokens::ZERO, Tokens::ZERO)
    }

    fn most_output(&self, request: &ChatRequest) -> Option<Tokens> {
        let cap = request.output_cap?;
        Some(Tokens::new(if request.needs.effort.is_some() { cap + THOUGHTS } else { cap }))
    }
}

/// What a chain needs beside its rungs.
#[derive(Debug, Clone)]
pub struct Stand {
    pub policy: Policy,
    pub max_answer: usize,
    pub memory: Memory,
}

impl Stand {
    /// The defaults for a chain of so many targets, but for a deadline of a minute.
    pub fn of(targets: u32) -> Self {
        let policy = Policy {
            deadline: ms(60_000),
            max_attempts: targets + 2,
            commit: Commit::FirstContent,
            on: BTreeMap::new(),
        };
        Self { policy, max_answer: 1 << 20, memory: Memory::new(1 << 30) }
    }

    pub fn chain(&self, rungs: &[Rung]) -> Arc<Chain> {
        let targets = rungs.iter().enumerate().map(|(index, rung)| Arc::new(rung.target(index, self)));
        self.of_targets(targets.collect())
    }

    fn of_targets(&self, targets: Vec<Arc<Target>>) -> Arc<Chain> {
        Arc::new(Chain {
            name: "chat".into(),
            why: None,
            policy: self.policy.clone(),
            targets,
            require: Vec::new(),
            branches: None,
            blend: Arc::default(),
            last: None,
            describe: None,
        })
    }
}

/// A chain whose first place is shared by deployments of these weights; those behind it stand alone.
pub fn shared(stand: &Stand, balance: Balance, group: &[(&Rung, u64)], behind: &[Rung]) -> Arc<Chain> {
    let members: Vec<(Arc<Target>, u64)> =
        group.iter().map(|(rung, weight)| (Arc::new(rung.target(0, stand)), *weight)).collect();
    let first = Target::clone(&members[0].0);
    let first = Target { group: Some(Arc::new(Group::new(balance, members))), ..first };
    let behind = behind.iter().enumerate().map(|(at, rung)| rung.target(at + 1, stand));
    let targets = std::iter::once(first).chain(behind).map(Arc::new).collect();
    stand.of_targets(targets)
}

/// A chain of these rungs under the default policy.
pub fn chain(rungs: &[Rung]) -> Arc<Chain> {
    Stand::of(u32::try_from(rungs.len()).unwrap()).chain(rungs)
}

/// A short request.
pub fn ask(stream: bool) -> Arc<ChatRequest> {
    ask_with(stream, json!({}))
}

/// A short request with more members.
pub fn ask_with(stream: bool, more: Value) -> Arc<ChatRequest> {
    let mut body =
        json!({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream});
    let Value::Object(more) = more else { panic!("members of an object") };
    body.as_object_mut().unwrap().extend(more);
    Arc::new(ChatRequest::parse(body.to_string().into()).unwrap())
}

/// One request from its plan to the last event of its answer.
#[derive(Debug)]
pub struct Played {
    /// The place of the target that served.
    pub served: Option<usize>,
    /// The texts of the answer.
    pub text: String,
    /// What broke the answer after its commit.
    pub broke: Option<Class>,
    pub exhausted: Option<Exhausted>,
    pub trail: Trail,
    /// Until the chain was committed to an answer or gave up.
    pub took: Duration,
}

impl Played {
    /// The trail: `name=outcome` or `name=skip:reason`, in order.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.trail)
    }

    /// The class that stopped the chain.
    pub fn stopped_by(&self) -> Option<Class> {
        self.exhausted.as_ref()?.stopped_by.as_ref().map(|(_, failure)| failure.class)
    }
}

/// What a trail says, without times.
pub fn lines(trail: &Trail) -> Vec<String> {
    let name = |id: &str| id.split_once('/').unwrap().1.to_owned();
    let line = |entry: &Entry| match entry {
        Entry::Skip(record) => format!("{}=skip:{}", name(&record.target), record.skip),
        Entry::Attempt(record) => {
            format!("{}={}", name(&record.target), record.outcome.map_or("running", Outcome::code))
        }
    };
    trail.entries().iter().map(line).collect()
}

/// What a request without special wishes brings.
pub fn errand(chain: &Chain, wishes: Wishes) -> Errand {
    let began = Instant::now();
    let deadline = began + chain.policy.deadline;
    Errand { origin: Arc::new(Origin::default()), trail: Trail::default(), began, deadline, wishes }
}

/// Plays a request without special wishes.
pub async fn play(chain: &Arc<Chain>, request: &Arc<ChatRequest>) -> Played {
    play_as(chain, request, errand(chain, Wishes::default())).await
}

/// Plays a request and reads its answer to the end.
pub async fn play_as(chain: &Arc<Chain>, request: &Arc<ChatRequest>, errand: Errand) -> Played {
    let began = Instant::now();
    let plan = plan(chain, &Arc::clone(request).into(), &errand.wishes).unwrap();
    let outcome = plan.run(&errand).await;
    let took = began.elapsed();
    let trail = errand.trail;
    match outcome {
        Ok(Won { target, mut stream }) => {
            let (mut text, mut broke) = (String::new(), None);
            while let Some(event) = stream.next().await {
                match event {
                    Ok(event) => text.push_str(&words(&event)),
                    Err(failure) => broke = Some(failure.class),
                }
            }
            Played { served: Some(target.index), text, broke, exhausted: None, trail, took }
        }
        Err(exhausted) => {
            Played { served: None, text: String::new(), broke: None, exhausted: Some(exhausted), trail, took }
        }
    }
}

/// The answer's text in an event.
pub fn words(event: &Event) -> String {
    match event {
        Event::Delta { delta: Delta::Text(text), .. } => text.clone(),
        Event::Answer(Answer::Composed(response)) => {
            response.choices.iter().filter_map(|choice| choice.message.content.as_deref()).collect()
        }
        _ => String::new(),
    }
}
