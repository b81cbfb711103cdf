//! Adds up what a question names, from lines of labels and sums.

use indexmap::{IndexMap, IndexSet};
use smallvec::SmallVec;

use super::mix::Mix;
use super::spend::{Facet, Question};
use super::spent::Spent;
use crate::routing::chain::provider_of;
use crate::wire::timestamp;

/// The labels of a line: numbers of names. 0 is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels {
    pub chain: u32,
    pub target: u32,
    pub key: u32,
    pub user: u32,
    pub session: u32,
    pub task: u32,
    pub tier: u32,
}

/// The sums so far.
#[derive(Debug)]
pub struct Tally {
    by: Vec<Facet>,
    /// Only what has one of these names counts.
    only: Vec<(Facet, Vec<u32>)>,
    pub names: Names,
    /// The names of the stretches of time in which the lines to come lie.
    times: [u32; Facet::ALL.len()],
    sums: IndexMap<Key, Spent, Mix>,
    /// Where the last line was added: the next one often belongs there too.
    last: Option<usize>,
}

/// Names, and the numbers that stand for them.
#[derive(Debug)]
pub struct Names {
    names: IndexSet<Box<str>>,
    /// The providers of those that are targets, once they are known.
    providers: Vec<Option<u32>>,
}

type Key = SmallVec<[u32; 4]>;
/// What is added up by so many labels, and the sums.
pub type Row = (Vec<Option<String>>, Spent);

impl Tally {
    /// Begins a question's.
    pub fn new(question: &Question) -> Self {
        let mut names = Names { names: IndexSet::from(["".into()]), providers: Vec::new() };
        let numbers = |allowed: &Vec<String>| allowed.iter().map(|name| names.number(name)).collect();
        let only = question.only.iter().map(|(facet, allowed)| (*facet, allowed));
        let mut numbers = numbers;
        let only = only.map(|(facet, allowed)| (facet, numbers(allowed))).collect();
        Self {
            by: question.by.clone(),
            only,
            names,
            times: [0; Facet::ALL.len()],
            sums: IndexMap::default(),
            last: None,
        }
    }

    /// The lines to come begin at this hour, and belong to the same hour or the same day.
    pub fn at(&mut self, hour: i64) {
        for facet in self.by.iter().filter(|facet| facet.is_time()) {
            self.times[*facet as usize] = self.names.number(&stretch(*facet, hour));
        }
    }

    /// Adds a line.
    pub fn add(&mut self, labels: &Labels, spent: &Spent) {
        for (facet, allowed) in &self.only {
            let number = number(&mut self.names, &self.times, *facet, labels);
            if !allowed.contains(&number) {
                return;
            }
        }
        let Self { by, names, times, sums, last, .. } = self;
        let key: Key = by.iter().map(|facet| number(names, times, *facet, labels)).collect();
        let known = last.and_then(|last| sums.get_index_mut(last)).filter(|(known, _)| **known == key);
        if let Some((_, sum)) = known {
            *sum += spent;
            return;
        }
        let entry = sums.entry(key);
        *last = Some(entry.index());
        *entry.or_default() += spent;
    }

    /// The rows: in the order of time where the question begins with one, else the dearest first; at most so many.
    /// Then whether there are more, and the sum of all.
    pub fn finish(self, limit: usize) -> (Vec<Row>, bool, Spent) {
        let Self { by, names, sums, .. } = self;
        let mut total = Spent::default();
        sums.values().for_each(|spent| total += spent);
        if by.is_empty() {
            return (Vec::new(), false, total);
        }
        let in_time = by.first().is_some_and(|facet| facet.is_time());
        let told = |key: &Key| key.iter().map(|number| names.name(*number)).collect::<SmallVec<[&str; 4]>>();
        let by_names = |(one, _): &(&Key, &Spent), (other, _): &(&Key, &Spent)| told(one).cmp(&told(other));
        let dearest = |(_, one): &(&Key, &Spent), (_, other): &(&Key, &Spent)| {
            (other.cost, other.requests()).cmp(&(one.cost, one.requests()))
        };
        let mut rows: Vec<(&Key, &Spent)> = sums.iter().collect();
        let is_cut = rows.len() > limit;
        if is_cut {
            // Which of many equals are cut off, their numbers say: to look up names takes longer.
            let numbers = |one: &(&Key, &Spent), other: &(&Key, &Spent)| one.0.cmp(other.0);
            rows.select_nth_unstable_by(limit, |one, other| {
                if in_time {
                    by_names(one, other)
                } else {
                    dearest(one, other).then_with(|| numbers(one, other))
                }
            });
            rows.truncate(limit);
        }
        rows.sort_unstable_by(|one, other| {
            if in_time {
                by_names(one, other)
            } else {
                dearest(one, other).then_with(|| by_names(one, other))
            }
        });
        let label = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let rows = rows.into_iter().map(|(key, spent)| (told(key).into_iter().map(label).collect(), *spent));
        (rows.collect(), is_cut, total)
    }
}

impl Names {
    /// The number of a name.
    pub fn number(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let known = self.names.get_index_of(name);
        let number = known.unwrap_or_else(|| self.names.insert_full(name.into()).0);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn name(&self, number: u32) -> &str {
        self.names.get_index(number as usize).map(|name| &**name).unwrap_or_default()
    }

    /// The provider of a target.
    fn provider(&mut self, target: u32) -> u32 {
        let place = target as usize;
        if let Some(Some(provider)) = self.providers.get(place) {
            return *provider;
        }
        let provider = provider_of(self.name(target)).unwrap_or_default().to_owned();
        let provider = self.number(&provider);
        self.providers.resize(self.providers.len().max(place + 1), None);
        self.providers[place] = Some(provider);
        provider
    }
}

fn number(names: &mut Names, times: &[u32; Facet::ALL.len()], facet: Facet, labels: &Labels) -> u32 {
    match facet {
        Facet::Chain => labels.chain,
        Facet::Target => labels.target,
        Facet::Provider => names.provider(labels.target),
        Facet::Key => labels.key,
        Facet::User => labels.user,
        Facet::Session => labels.session,
        Facet::Task => labels.task,
        Facet::Tier => labels.tier,
        Facet::Hour | Facet::Day | Facet::Week | Facet::Month => times[facet as usize],
    }
}

/// As people read it, and so that the order of names is that of time.
fn stretch(facet: Facet, hour: i64) -> String {
    let hour = u64::try_from(hour).unwrap_or_default();
    let text = |hour: u64, length| {
        String::from_utf8_lossy(&timestamp::extended(hour * 3_600)[..length]).into_owned()
    };
    match facet {
        Facet::Hour => text(hour, 19) + "Z",
        Facet::Month => text(hour, 7),
        // The epoch was a Thursday; a week begins on Monday.
        Facet::Week => text((((hour / 24 + 3) / 7 * 7).saturating_sub(3)) * 24, 10),
        Facet::Day
        | Facet::Chain
        | Facet::Target
        | Facet::Provider
        | Facet::Key
        | Facet::User
        | Facet::Session
        | Facet::Task
        | Facet::Tier => text(hour, 10),
    }
}
