//! The sums of hours and days, and what finds requests by their ids. Both are gathered in memory and written now and then: what
//! the rows know and the sums do not yet, is added up again from the rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Statement};

use super::cases::{Case, Kept};
use super::chunk::Chunk;
use super::fault::Fault;
use super::mix::Mix;
use super::names::{Id, Person};
use super::rows::{self, People, integer};
use super::spent::{Money, Spent};
use crate::ops::story::{Attempt, Story};
use crate::units::Tokens;

/// Requests that are gathered before they are written without waiting for more.
pub const ENOUGH: usize = 20_000;
/// Lines of one hour, or day, that clients may bring about. What they make up beyond that shares a line.
const MOST: usize = 10_000;
/// The same where there is a line for each session.
const MOST_SESSIONS: usize = 100_000;
/// The shared one's name.
pub const OTHERS: &str = "(others)";
pub const HOUR_MS: u64 = 3_600_000;

/// The sums, and how they are written.
pub struct Sums<'c> {
    connection: &'c Connection,
    hours: Table<'c, 5>,
    days: Table<'c, 5>,
    user_days: Table<'c, 3>,
    session_hours: Table<'c, 4>,
    tag: Statement<'c>,
    through: Statement<'c>,
    pending: Pending,
}

/// One table of packed sums.
struct Table<'c, const LABELS: usize> {
    read: Statement<'c>,
    write: Statement<'c>,
}

/// What is gathered, of requests whose numbers follow each other.
#[derive(Debug, Default)]
struct Pending {
    /// The number of the last request.
    last: i64,
    /// One for each request.
    tags: Vec<u8>,
    /// Requests with the attempts that served them, by hour and case.
    cases: HashMap<(i64, i64), (Kept, Spent), Mix>,
    /// The other attempts, which may have another target.
    others: HashMap<(i64, i64, Box<str>), (Kept, Spent)>,
    /// Everything, by hour, case and who asked.
    people: HashMap<(i64, i64, People), (Kept, Spent)>,
}

impl<'c> Sums<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            hours: Table::prepare(connection, "hours")?,
            days: Table::prepare(connection, "days")?,
            user_days: Table::prepare(connection, "user_days")?,
            session_hours: Table::prepare(connection, "session_hours")?,
            tag: connection.prepare("INSERT INTO tags VALUES (?, ?)")?,
            through: connection.prepare("SELECT coalesce(max(through), 0) FROM tags")?,
            pending: Pending::default(),
        })
    }

    /// Adds a request with this number, of this case.
    pub fn add(&mut self, seq: i64, id: Id<'_>, case: (i64, &Kept), people: People, story: &Story<'_>) {
        if self.pending.last + 1 != seq {
            // Another process has written in between: both will be read again.
            self.pending = Pending::default();
        }
        self.pending.add(seq, id, case, people, story);
    }

    /// Whether much is gathered.
    pub fn is_enough(&self) -> bool {
        self.pending.count() >= ENOUGH
    }

    /// Writes what was gathered, or what the rows have beyond the sums if that is more. `last` is the number of the
    /// last row.
    pub fn write(&mut self, last: i64) -> Result<(), Fault> {
        let through: i64 = self.through.query_row([], |row| row.get(0))?;
        if through >= last {
            self.pending = Pending::default();
            return Ok(());
        }
        if self.pending.last != last || integer(self.pending.count()) != last - through {
            self.pending = Pending::default();
            self.gather(through)?;
        }
        let pending = &mut self.pending;
        self.hours.add(by_target(pending, 1), MOST)?;
        self.days.add(by_target(pending, 24), MOST)?;
        self.session_hours.add(by_session(pending), MOST_SESSIONS)?;
        self.user_days.add(by_user(pending), MOST)?;
        self.tag.execute((pending.last, &pending.tags))?;
        self.pending = Pending::default();
        Ok(())
    }

    /// Forgets what was gathered: its transaction came to nothing.
    pub fn clear(&mut self) {
        self.pending = Pending::default();
    }

    fn gather(&mut self, through: i64) -> Result<(), Fault> {
        let pending = &mut self.pending;
        pending.last = through;
        let mut known: HashMap<Kept, i64> = HashMap::new();
        rows::since(self.connection, through, |seq, story| {
            let case = Case::of(story).keep();
            let next = integer(known.len());
            let number = *known.entry(Arc::clone(&case)).or_insert(next);
            // Somebody may have taken rows out by hand.
            pending.pass_over(seq);
            pending.add(seq, Id::of(&story.id), (number, &case), People::of(&story.labels), story);
        })?;
        Ok(())
    }
}

impl Pending {
    fn count(&self) -> usize {
        self.tags.len() / size_of::<u32>()
    }

    /// Goes on with this number, whatever is missing before it.
    fn pass_over(&mut self, seq: i64) {
        let missing = usize::try_from(seq - 1 - self.last).unwrap_or_default();
        self.tags.resize(self.tags.len() + missing * size_of::<u32>(), 0);
    }

    fn add(&mut self, seq: i64, id: Id<'_>, (number, case): (i64, &Kept), people: People, story: &Story<'_>) {
        self.last = seq;
        self.tags.extend(id.tag().to_le_bytes());
        let hour = integer(story.began_ms / HOUR_MS);
        let served = story.serving();
        let mut own = of_request(story);
        let mut all = own;
        for attempt in story.attempts() {
            let spent = of_attempt(attempt);
            all += &spent;
            // Most requests have one attempt, which served: that is one line.
            if served.is_some_and(|served| served.number == attempt.number) {
                own += &spent;
            } else {
                let key = (hour, number, (*attempt.target).into());
                self.others.entry(key).or_insert_with(|| (Arc::clone(case), Spent::default())).1 += &spent;
            }
        }
        self.cases.entry((hour, number)).or_insert_with(|| (Arc::clone(case), Spent::default())).1 += &own;
        let key = (hour, number, people);
        self.people.entry(key).or_insert_with(|| (Arc::clone(case), Spent::default())).1 += &all;
    }
}

/// A line to add: its time, its labels, those of the line that it shares if there are too many, and its sums.
type Line<'a, const LABELS: usize> = (i64, [Cow<'a, str>; LABELS], [Cow<'a, str>; LABELS], Spent);

impl<'c, const LABELS: usize> Table<'c, LABELS> {
    fn prepare(connection: &'c Connection, name: &str) -> rusqlite::Result<Self> {
        let read = connection.prepare(&format!("SELECT sums FROM {name} WHERE start = ?"))?;
        Ok(Self { read, write: connection.prepare(&format!("INSERT OR REPLACE INTO {name} VALUES (?, ?)"))? })
    }

    fn add<'a>(&mut self, lines: impl Iterator<Item = Line<'a, LABELS>>, most: usize) -> Result<(), Fault> {
        let mut chunks: HashMap<i64, Chunk<LABELS>> = HashMap::new();
        for (start, labels, others, spent) in lines {
            let chunk = match chunks.entry(start) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(read_chunk(&mut self.read, start)?),
            };
            let [labels, others] = [&labels, &others].map(|labels| labels.each_ref().map(|label| &**label));
            chunk.add(labels, others, most, &spent);
        }
        for (start, chunk) in chunks {
            self.write.execute((start, chunk.pack()))?;
        }
        Ok(())
    }
}

fn read_chunk<const LABELS: usize>(read: &mut Statement<'_>, start: i64) -> Result<Chunk<LABELS>, Fault> {
    let packed: Option<Vec<u8>> = read.query_row([start], |row| row.get(0)).optional()?;
    let Some(packed) = packed else { return Ok(Chunk::default()) };
    Chunk::unpack(&packed).ok_or_else(damaged)
}

/// Packed sums that cannot be read.
pub fn damaged() -> Fault {
    Fault::Corrupt("its sums cannot be read".to_owned())
}

/// By chain, target, key, task and tier, in stretches of so many hours.
fn by_target(pending: &Pending, hours: i64) -> impl Iterator<Item = Line<'_, 5>> {
    let own = pending.cases.iter().map(|((hour, _), (case, spent))| {
        (hour, case, if case.is_served() { case.target() } else { "" }, spent)
    });
    let others =
        pending.others.iter().map(|((hour, _, target), (case, spent))| (hour, case, &**target, spent));
    own.chain(others).map(move |(hour, case, target, spent)| {
        let [chain, key, task, tier] = case.labels();
        // A client that names a model itself makes up the target too.
        let shared = if chain.contains('/') { OTHERS } else { target };
        let labels = [chain, target, key, task, tier].map(Cow::Borrowed);
        (hour / hours, labels, [chain, shared, key, OTHERS, OTHERS].map(Cow::Borrowed), *spent)
    })
}

/// By session, user, chain and key, of each hour.
fn by_session(pending: &Pending) -> impl Iterator<Item = Line<'_, 4>> {
    pending.people.iter().map(|((hour, _, people), (case, spent))| {
        let [chain, key, ..] = case.labels().map(Cow::Borrowed);
        let shared = [OTHERS.into(), OTHERS.into(), chain.clone(), key.clone()];
        (*hour, [told(people.session.as_ref()), told(people.user.as_ref()), chain, key], shared, *spent)
    })
}

/// By user, chain and key, of each day.
fn by_user(pending: &Pending) -> impl Iterator<Item = Line<'_, 3>> {
    pending.people.iter().map(|((hour, _, people), (case, spent))| {
        let [chain, key, ..] = case.labels().map(Cow::Borrowed);
        let shared = [OTHERS.into(), chain.clone(), key.clone()];
        (hour / 24, [told(people.user.as_ref()), chain, key], shared, *spent)
    })
}

fn told(person: Option<&Person>) -> Cow<'static, str> {
    person.map(Person::told).unwrap_or_default().into()
}

/// What an upstream call adds: what it took stands at its own target.
fn of_attempt(attempt: &Attempt<'_>) -> Spent {
    let usage = &attempt.usage;
    let unpriced = u64::from(attempt.cost.is_none());
    let tokens = [usage.prompt, usage.completion, usage.cached].map(Tokens::get);
    Spent {
        counts: [0, 0, 0, 1, unpriced, tokens[0], tokens[1], tokens[2]],
        cost: Money::of(attempt.cost.unwrap_or_default()),
        at_first: Money::default(),
    }
}

/// What the request itself adds: it stands at the target that served.
fn of_request(story: &Story<'_>) -> Spent {
    let serving = story.serving();
    // Where the first target served, or its price is not known, there is no difference.
    let first = story.cost_at_first.or_else(|| serving?.cost).unwrap_or_default();
    let is_fallback = serving.is_some() && story.fallback_reason.is_some();
    Spent {
        counts: [1, u64::from(story.outcome != "ok"), u64::from(is_fallback), 0, 0, 0, 0, 0],
        cost: Money::default(),
        at_first: Money::of(first),
    }
}
