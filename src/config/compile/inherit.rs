//! What a target inherits: from itself, its chain, `[defaults]`, and last what is built in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file::policy::{Mode, OnBreak};
use super::super::file::{self, Breaker, BreakerSetting, Defaults};
use super::super::value::{UsdPerMillion, lasting};
use super::terms::{union, words};
use crate::reason::{Action, Class, Word};
use crate::routing::breaker::BreakerRule;
use crate::routing::ceiling::MaxPrice;
use crate::routing::chain::{Clocks, Commit, Limits, Policy};
use crate::units::{Cost, Price, Tokens};

/// Where a value comes from: the later, the closer to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    BuiltIn,
    Defaults,
    Chain,
    Target,
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub struct Setting<T> {
    pub value: T,
    pub level: Level,
    /// Where it was written; `None` if it is built in.
    pub at: Option<Location>,
}

/// The policy of a chain before its targets are known.
pub struct ChainSettings {
    pub deadline: Setting<Duration>,
    pub commit: Commit,
    pub on: BTreeMap<Class, Action>,
    pub max_attempts: Option<u32>,
    /// Tags that a target must have.
    pub require: Vec<Word>,
}

/// Everything that a target inherits or sets.
pub struct TargetSettings {
    pub clocks: Clocks,
    pub connect_timeout: Duration,
    pub limits: Limits,
    /// The ceilings that hold, by the name of their key.
    pub ceilings: Vec<(&'static str, Setting<()>)>,
}

/// The three places where a target's keys may stand.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    pub defaults: &'a file::Limits,
    pub chain: &'a file::Limits,
    pub target: &'a file::Limits,
}

const DEADLINE: Duration = Duration::from_mins(10);
const RETRIES: u32 = 1;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const STREAM_TIMEOUT: Duration = Duration::from_mins(10);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
const EXPECTED_OUTPUT: u64 = 1000;
/// Upstream calls beyond one for each target.
const SPARE_ATTEMPTS: u32 = 2;

impl Level {
    /// The end of a sentence about a value.
    pub const fn origin(self) -> &'static str {
        match self {
            Self::BuiltIn => " by default",
            Self::Defaults => " in [defaults]",
            Self::Chain => " in its chain",
            Self::Target => " here",
        }
    }
}

impl<T: PartialOrd + Clone> Setting<T> {
    /// This value, if it is not more than `bound`; else `bound`, where this one was inherited by a place that set
    /// the bound. Where it stands beside or below the bound, the two contradict each other: `say` words the
    /// message and the advice.
    pub fn at_most(
        &self,
        bound: &Self,
        problems: &mut Vec<Diagnostic>,
        say: impl FnOnce(&T, &T) -> (String, String),
    ) -> T {
        if self.value <= bound.value {
            return self.value.clone();
        }
        if let Some(at) = &self.at
            && self.level >= bound.level
        {
            let (message, help) = say(&self.value, &bound.value);
            problems.push(Diagnostic::error(at, message).help(help));
        }
        bound.value.clone()
    }
}

impl ChainSettings {
    /// What holds for a chain.
    pub fn new(
        defaults: &file::ChainPolicy,
        chain: &file::ChainPolicy,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        // There is one way each so far. A second one will have to be decided on here.
        for policy in [defaults, chain] {
            let (None | Some(Mode::Sequential)) = policy.mode.as_ref().map(|mode| mode.value);
            let (None | Some(OnBreak::Error)) = policy.on_break.as_ref().map(|on_break| on_break.value);
        }
        let levels = [(Level::Chain, &chain.deadline), (Level::Defaults, &defaults.deadline)];
        let deadline = pick(levels, |timeout| timeout.0).unwrap_or_else(|| built_in(DEADLINE));
        let mut on = BTreeMap::new();
        for said in [&defaults.on, &chain.on].into_iter().flatten() {
            on.extend(said.0.iter().map(|(class, action)| (*class, action.value)));
        }
        let max_attempts = chain.max_attempts.as_ref().or(defaults.max_attempts.as_ref());
        let require = words(&defaults.require).chain(words(&chain.require));
        Self {
            commit: commit(defaults, chain, &deadline, problems),
            on,
            max_attempts: max_attempts.map(|count| count.get()),
            require: union(require),
            deadline,
        }
    }

    /// The chain's policy, now that the number of its targets is known, each deployment and key counted.
    pub fn policy(&self, targets: usize) -> Policy {
        let targets = u32::try_from(targets).unwrap_or(u32::MAX);
        Policy {
            deadline: self.deadline.value,
            max_attempts: self.max_attempts.unwrap_or(targets.saturating_add(SPARE_ATTEMPTS)),
            commit: self.commit,
            on: self.on.clone(),
        }
    }
}

fn commit(
    defaults: &file::ChainPolicy,
    chain: &file::ChainPolicy,
    deadline: &Setting<Duration>,
    problems: &mut Vec<Diagnostic>,
) -> Commit {
    let levels = [(Level::Chain, &chain.commit), (Level::Defaults, &defaults.commit)];
    let Some(commit) = pick(levels, |commit| *commit) else { return Commit::FirstContent };
    match commit.value {
        file::Commit::FirstContent => Commit::FirstContent,
        file::Commit::Complete => Commit::Complete,
        file::Commit::Chars(count) => Commit::Chars(usize::try_from(count.get()).unwrap_or(usize::MAX)),
        file::Commit::Time(time) => {
            let time = Setting { value: time.0, level: commit.level, at: commit.at };
            Commit::Time(bounded("commit.time", &time, "deadline", deadline, problems))
        }
    }
}

impl TargetSettings {
    /// What holds for a target of a chain with this deadline.
    pub fn new(layers: Layers<'_>, deadline: &Setting<Duration>, problems: &mut Vec<Diagnostic>) -> Self {
        let clocks = ClockSettings::read(layers);
        let (clocks, connect_timeout) = clocks.bounded(deadline, problems);
        let mut ceilings = Vec::new();
        let mut ceiling = |name, setting: Option<Setting<()>>| {
            ceilings.extend(setting.map(|setting| (name, setting)));
        };
        let ratio = layers.pick(|limits| &limits.max_price_ratio, |ratio| ratio.0);
        ceiling("max_price_ratio", ratio.as_ref().map(Setting::place));
        let price = layers.max_price();
        ceiling("max_price", price.as_ref().map(Setting::place));
        let cost: Option<Setting<Cost>> = layers.pick(|limits| &limits.max_cost, |cost| cost.0);
        ceiling("max_cost", cost.as_ref().map(Setting::place));
        let expected = layers.pick(|limits| &limits.expected_output, |count| u64::from(count.get()));
        Self {
            clocks,
            connect_timeout,
            limits: Limits {
                max_price_ratio: ratio.map(|ratio| ratio.value),
                max_price: price.map(|price| price.value),
                max_cost: cost.map(|cost| cost.value),
                expected_output: Tokens::new(expected.map_or(EXPECTED_OUTPUT, |count| count.value)),
            },
            ceilings,
        }
    }
}

impl<'a> Layers<'a> {
    fn pick<T: 'a, U>(
        self,
        key: impl Fn(&'a file::Limits) -> &'a Option<Located<T>>,
        value: impl Fn(&T) -> U,
    ) -> Option<Setting<U>> {
        let levels = [
            (Level::Target, key(self.target)),
            (Level::Chain, key(self.chain)),
            (Level::Defaults, key(self.defaults)),
        ];
        pick(levels, value)
    }

    /// A partial table inherits its other key.
    fn max_price(self) -> Option<Setting<MaxPrice>> {
        let side = |of: fn(&file::PriceCeiling) -> &Option<Located<UsdPerMillion>>| -> Option<Price> {
            [self.target, self.chain, self.defaults]
                .into_iter()
                .filter_map(|limits| limits.max_price.as_ref())
                .find_map(|ceiling| of(ceiling).as_ref())
                .map(|price| price.0)
        };
        let price = MaxPrice { input: side(|price| &price.input), output: side(|price| &price.output) };
        let place = self.pick(|limits| &limits.max_price, |_| ())?;
        (price != MaxPrice::default()).then_some(Setting { value: price, level: place.level, at: place.at })
    }
}

impl<T> Setting<T> {
    fn place(&self) -> Setting<()> {
        Setting { value: (), level: self.level, at: self.at.clone() }
    }
}

/// A target's clocks before they were compared with each other.
struct ClockSettings {
    retries: u32,
    retry_after_max: Setting<Duration>,
    connect: Setting<Duration>,
    first_token: Option<Setting<Duration>>,
    idle: Setting<Duration>,
    stream: Setting<Duration>,
    answer: Setting<Duration>,
}

impl ClockSettings {
    fn read(layers: Layers<'_>) -> Self {
        let timeout = |key: fn(&file::Limits) -> &Option<Located<super::super::value::Timeout>>, usual| {
            layers.pick(key, |timeout| timeout.0).unwrap_or_else(|| built_in(usual))
        };
        let waits = layers.pick(|limits| &limits.retry_after_max, |wait| wait.0);
        Self {
            retries: layers.pick(|limits| &limits.retries, |count| *count).map_or(RETRIES, |it| it.value),
            retry_after_max: waits.unwrap_or_else(|| built_in(RETRY_AFTER_MAX)),
            connect: timeout(|limits| &limits.connect_timeout, CONNECT_TIMEOUT),
            first_token: layers.pick(|limits| &limits.first_token_timeout, |timeout| timeout.0),
            idle: timeout(|limits| &limits.idle_timeout, IDLE_TIMEOUT),
            stream: timeout(|limits| &limits.stream_timeout, STREAM_TIMEOUT),
            answer: timeout(|limits| &limits.answer_timeout, ANSWER_TIMEOUT),
        }
    }

    /// Each clock within the clocks that run around it. What is left of a deadline is the run's to watch.
    fn bounded(self, deadline: &Setting<Duration>, problems: &mut Vec<Diagnostic>) -> (Clocks, Duration) {
        let mut bound = |name: &str, inner: &Setting<Duration>, around: &str, outer: &Setting<Duration>| {
            bounded(name, inner, around, outer, problems)
        };
        let first_token = self.first_token.as_ref().map(|first| {
            let in_stream = bound("first_token_timeout", first, "stream_timeout", &self.stream);
            in_stream.min(bound("first_token_timeout", first, "deadline", deadline))
        });
        let clocks = Clocks {
            retries: self.retries,
            retry_after_max: bound("retry_after_max", &self.retry_after_max, "deadline", deadline),
            first_token,
            idle: bound("idle_timeout", &self.idle, "stream_timeout", &self.stream),
            stream: self.stream.value,
            answer: bound("answer_timeout", &self.answer, "deadline", deadline),
        };
        // Cutting it would change nothing, but split the pool of connections.
        bound("connect_timeout", &self.connect, "deadline", deadline);
        (clocks, self.connect.value)
    }
}

/// `inner` within `outer`: an inherited one is cut, an own one is an error.
fn bounded(
    name: &str,
    inner: &Setting<Duration>,
    around: &str,
    outer: &Setting<Duration>,
    problems: &mut Vec<Diagnostic>,
) -> Duration {
    inner.at_most(outer, problems, |value, bound| {
        let message = format!(
            "`{name}` of {} is longer than `{around}`, which is {}{}",
            lasting(*value),
            lasting(*bound),
            outer.level.origin()
        );
        (message, format!("shorten `{name}`, or set `{around}` to {} or more", lasting(*value)))
    })
}

/// The breaker of a provider; `None`: it has none.
pub fn breaker(defaults: &Defaults, provider: Option<&Located<BreakerSetting>>) -> Option<BreakerRule> {
    let inherited = match defaults.breaker.as_ref().map(|setting| &setting.value) {
        None => Some(BreakerRule::default()),
        Some(BreakerSetting::Off) => None,
        Some(BreakerSetting::On(breaker)) => Some(over(breaker, BreakerRule::default())),
    };
    match provider.map(|setting| &setting.value) {
        None => inherited,
        Some(BreakerSetting::Off) => None,
        Some(BreakerSetting::On(breaker)) => Some(over(breaker, inherited.unwrap_or_default())),
    }
}

fn over(breaker: &Breaker, base: BreakerRule) -> BreakerRule {
    BreakerRule {
        failures: breaker.failures.as_ref().map_or(base.failures, |count| count.get()),
        error_rate: breaker.error_rate.as_ref().map_or(base.error_rate, |share| share.0),
        min_requests: breaker.min_requests.as_ref().map_or(base.min_requests, |count| count.get()),
        window: breaker.window.as_ref().map_or(base.window, |window| window.0),
        cool_down: breaker.cool_down.as_ref().map_or(base.cool_down, |time| time.0),
    }
}

/// The first that is written, with where that was.
fn pick<T, U, const N: usize>(
    levels: [(Level, &Option<Located<T>>); N],
    value: impl Fn(&T) -> U,
) -> Option<Setting<U>> {
    levels.into_iter().find_map(|(level, written)| {
        let written = written.as_ref()?;
        Some(Setting { value: value(&written.value), level, at: Some(written.at.clone()) })
    })
}

fn built_in<T>(value: T) -> Setting<T> {
    Setting { value, level: Level::BuiltIn, at: None }
}
