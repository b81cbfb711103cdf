//! Adds up what a question names, from lines of labels and sums.

use std::cmp::Reverse;
use std::collections::HashMap;

use indexmap::IndexSet;
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
    /// What has more than one label, from the second on.
    levels: Vec<Level>,
    /// By the number of the name, or that of the last level.
    sums: Vec<Spent>,
}

/// Gives a number to whatever has one label more than on the level before.
#[derive(Debug, Default)]
struct Level {
    numbers: HashMap<(u32, u32), u32, Mix>,
    /// The number before, and the name's.
    parents: Vec<(u32, u32)>,
}

/// Names, and the numbers that stand for them.
#[derive(Debug)]
pub struct Names {
    names: IndexSet<Box<str>>,
    /// The providers of those that are targets, once they are known.
    providers: Vec<Option<u32>>,
}

/// Names of one chunk, which get their numbers when they are needed.
#[derive(Debug)]
pub struct Local<'a> {
    names: Vec<&'a str>,
    numbers: Vec<Option<u32>>,
}

/// What is added up by so many labels, and the sums.
pub type Row = (Vec<Option<String>>, Spent);
/// The numbers of a row's names.
type Numbers = SmallVec<[u32; 4]>;

impl<'a> Local<'a> {
    /// Of these names.
    pub fn new(names: Vec<&'a str>) -> Self {
        Self { numbers: vec![None; names.len()], names }
    }

    /// The number of the name at this place.
    pub fn number(&mut self, names: &mut Names, place: u32) -> u32 {
        let place = place as usize;
        match self.numbers.get(place) {
            Some(Some(number)) => *number,
            Some(None) => {
                let number = names.number(self.names[place]);
                self.numbers[place] = Some(number);
                number
            }
            None => 0,
        }
    }
}

impl Tally {
    /// Begins a question's.
    pub fn new(question: &Question) -> Self {
        let mut names = Names { names: IndexSet::from(["".into()]), providers: Vec::new() };
        let mut numbers = |allowed: &[String]| allowed.iter().map(|name| names.number(name)).collect();
        let only = question.only.iter().map(|(facet, allowed)| (*facet, numbers(allowed))).collect();
        let levels = question.by.iter().skip(1).map(|_| Level::default()).collect();
        let times = [0; Facet::ALL.len()];
        Self { by: question.by.clone(), only, names, times, levels, sums: Vec::new() }
    }

    /// The lines to come begin at this hour, and belong to the same hour or the same day.
    pub fn at(&mut self, hour: i64) {
        for facet in self.by.iter().filter(|facet| facet.is_time()) {
            self.times[*facet as usize] = self.names.number(&stretch(*facet, hour));
        }
    }

    /// Adds a line. `number` knows the numbers that its labels have here.
    pub fn add(&mut self, labels: &Labels, mut number: impl FnMut(&mut Names, u32) -> u32, spent: &Spent) {
        let Self { by, only, names, times, levels, sums } = self;
        let mut of = |facet| match label(facet, labels) {
            Some(label) => {
                let number = number(names, label);
                if facet == Facet::Provider { names.provider(number) } else { number }
            }
            None => times[facet as usize],
        };
        for (facet, allowed) in only {
            if !allowed.contains(&of(*facet)) {
                return;
            }
        }
        let mut facets = by.iter().copied();
        let mut place = facets.next().map_or(0, &mut of);
        for (facet, level) in facets.zip(levels) {
            place = level.number(place, of(facet));
        }
        let place = place as usize;
        if place >= sums.len() {
            sums.resize(place + 1, Spent::default());
        }
        sums[place] += spent;
    }

    /// The rows: in the order of time where the question begins with one, else the dearest first; at most so many.
    /// Then whether there are more, and the sum of all.
    pub fn finish(self, limit: usize) -> (Vec<Row>, bool, Spent) {
        let mut total = Spent::default();
        self.sums.iter().for_each(|spent| total += spent);
        if self.by.is_empty() {
            return (Vec::new(), false, total);
        }
        let in_time = self.by.first().is_some_and(|facet| facet.is_time());
        let (places, is_cut) = if in_time { self.in_time(limit) } else { self.dearest(limit) };
        let label = |number| Some(self.names.name(number)).filter(|name| !name.is_empty()).map(str::to_owned);
        let row =
            |place: u32| (self.numbers(place).into_iter().map(label).collect(), self.sums[place as usize]);
        (places.into_iter().map(row).collect(), is_cut, total)
    }

    /// Where something was added.
    fn places(&self) -> impl Iterator<Item = (u32, &Spent)> {
        (0..).zip(&self.sums).filter(|(_, spent)| **spent != Spent::default())
    }

    fn dearest(&self, limit: usize) -> (Vec<u32>, bool) {
        // Which of many equals are cut off, their numbers say: to look up their names takes longer.
        let rank = |(place, spent): (u32, &Spent)| (Reverse((spent.cost, spent.requests())), place);
        let mut ranks: Vec<_> = self.places().map(rank).collect();
        let is_cut = ranks.len() > limit;
        if is_cut {
            ranks.select_nth_unstable(limit);
            ranks.truncate(limit);
        }
        ranks.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| self.told(one.1).cmp(self.told(other.1)))
        });
        (ranks.into_iter().map(|(_, place)| place).collect(), is_cut)
    }

    fn in_time(&self, limit: usize) -> (Vec<u32>, bool) {
        let mut order: Vec<u32> = (0..self.names.len()).collect();
        order.sort_unstable_by_key(|number| self.names.name(*number));
        let mut ranks = vec![0; order.len()];
        (0..).zip(order).for_each(|(rank, number)| ranks[number as usize] = rank);
        let rank = |(place, _)| {
            let numbers = self.numbers(place).into_iter();
            (numbers.map(|number| ranks[number as usize]).collect::<Numbers>(), place)
        };
        let mut ranked: Vec<(Numbers, u32)> = self.places().map(rank).collect();
        ranked.sort_unstable();
        let is_cut = ranked.len() > limit;
        ranked.truncate(limit);
        (ranked.into_iter().map(|(_, place)| place).collect(), is_cut)
    }

    fn told(&self, place: u32) -> impl Iterator<Item = &str> {
        self.numbers(place).into_iter().map(|number| self.names.name(number))
    }

    fn numbers(&self, mut place: u32) -> Numbers {
        let mut numbers: Numbers = self
            .levels
            .iter()
            .rev()
            .filter_map(|level| {
                let (before, name) = level.parents.get(place as usize)?;
                place = *before;
                Some(*name)
            })
            .collect();
        numbers.push(place);
        numbers.reverse();
        numbers
    }
}

impl Level {
    fn number(&mut self, before: u32, name: u32) -> u32 {
        let Self { numbers, parents } = self;
        *numbers.entry((before, name)).or_insert_with(|| {
            parents.push((before, name));
            u32::try_from(parents.len() - 1).unwrap_or(u32::MAX)
        })
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

    fn len(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
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

/// The label that it is about, unless it is about time.
const fn label(facet: Facet, labels: &Labels) -> Option<u32> {
    Some(match facet {
        Facet::Chain => labels.chain,
        Facet::Target | Facet::Provider => labels.target,
        Facet::Key => labels.key,
        Facet::User => labels.user,
        Facet::Session => labels.session,
        Facet::Task => labels.task,
        Facet::Tier => labels.tier,
        Facet::Hour | Facet::Day | Facet::Week | Facet::Month => return None,
    })
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
