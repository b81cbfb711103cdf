//! The sums of each hour, kept up to date in the transaction that adds the rows.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use indexmap::{Equivalent, IndexMap};
use rusqlite::{Connection, Statement, ToSql, params_from_iter};

use super::rows::integer;
use crate::ops::story::{Attempt, Labels, Story, Text};
use crate::units::Cost;

/// The columns that are added up, in the order of the tables.
pub const COLUMNS: [&str; 12] = [
    "requests",
    "failed",
    "fallbacks",
    "attempts",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cost_micro",
    "cost_pico",
    "first_micro",
    "first_pico",
];

/// Rows of one table that clients may bring about in one hour, or one day. What they make up beyond that shares a row.
const MOST: usize = 10_000;
/// The shared one's name.
const OTHERS: &str = "(others)";
/// Pico-USD in one micro-USD.
pub const PICO_PER_MICRO: i64 = 1_000_000;
pub const HOUR_MS: u64 = 3_600_000;

/// Everything that is added up by hour.
pub struct Sums<'c> {
    /// By chain, target, key, task and tier.
    hours: Table<'c, 5>,
    /// By user, chain and key, of each day.
    users: Table<'c, 3>,
}

/// What one batch adds to a table.
struct Table<'c, const N: usize> {
    upsert: Statement<'c>,
    pending: IndexMap<Key<Box<str>, N>, Measures>,
    known: Known,
}

/// A row: its hour or day, and its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key<S, const N: usize> {
    time: i64,
    labels: [S; N],
}

type Measures = [i64; COLUMNS.len()];

/// The rows of the latest hour or day.
#[derive(Debug, Default)]
struct Known {
    time: i64,
    rows: HashSet<u64>,
}

impl<'c> Sums<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            hours: Table::prepare(connection, "hours", "hour, chain, target, key, task, tier")?,
            users: Table::prepare(connection, "user_days", "day, user, chain, key")?,
        })
    }

    /// Adds a request.
    pub fn add(&mut self, story: &Story<'_>) {
        let hour = integer(story.began_ms / HOUR_MS);
        let Labels { key, user, task, tier, .. } = &story.labels;
        let (chain, key, task, tier) =
            (&*story.chain, text(key.as_ref()), text(task.as_ref()), text(tier.as_ref()));
        // A client that names a model itself makes up the target too.
        let target_others = |target| if chain.contains('/') { OTHERS } else { target };
        let user = text(user.as_ref());
        let mut add = |target, measures: &Measures| {
            let key_of = |target, task, tier| Key { time: hour, labels: [chain, target, key, task, tier] };
            let others = key_of(target_others(target), OTHERS, OTHERS);
            self.hours.add(key_of(target, task, tier), others, measures);
            let key_of = |user| Key { time: hour / 24, labels: [user, chain, key] };
            self.users.add(key_of(user), key_of(OTHERS), measures);
        };
        let target = story.serving().map(|serving| &*serving.target).unwrap_or_default();
        // Most requests have one attempt, at the target that served: that is one row, looked up once.
        let mut own = of_request(story);
        for attempt in story.attempts() {
            let measures = of_attempt(attempt);
            if *attempt.target == *target {
                add_up(&mut own, &measures);
            } else {
                add(&attempt.target, &measures);
            }
        }
        add(target, &own);
    }

    /// Writes what was added.
    pub fn write(&mut self) -> rusqlite::Result<()> {
        self.hours.write()?;
        self.users.write()
    }

    /// Forgets what was added: its transaction came to nothing.
    pub fn clear(&mut self) {
        self.hours.pending.clear();
        self.users.pending.clear();
    }
}

impl<'c, const N: usize> Table<'c, N> {
    fn prepare(connection: &'c Connection, table: &str, key: &str) -> rusqlite::Result<Self> {
        let columns = COLUMNS.join(", ");
        let places = vec!["?"; 1 + N + COLUMNS.len()].join(", ");
        let sums = COLUMNS.map(|column| format!("{column} = {column} + excluded.{column}")).join(", ");
        let upsert = format!(
            "INSERT INTO {table} ({key}, {columns}) VALUES ({places}) ON CONFLICT DO UPDATE SET {sums}"
        );
        Ok(Self { upsert: connection.prepare(&upsert)?, pending: IndexMap::new(), known: Known::default() })
    }

    fn add(&mut self, key: Key<&str, N>, others: Key<&str, N>, measures: &Measures) {
        if let Some(sums) = self.pending.get_mut(&key) {
            return add_up(sums, measures);
        }
        let key = if self.known.has_room_for(&key) { key } else { others };
        let owned = Key { time: key.time, labels: key.labels.map(Into::into) };
        add_up(self.pending.entry(owned).or_default(), measures);
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        for (Key { time, labels }, measures) in &self.pending {
            let labels = labels.iter().map(|label| label as &dyn ToSql);
            let measures = measures.iter().map(|measure| measure as &dyn ToSql);
            self.upsert.execute(params_from_iter(
                std::iter::once(time as &dyn ToSql).chain(labels).chain(measures),
            ))?;
        }
        self.pending.clear();
        Ok(())
    }
}

impl<const N: usize> Equivalent<Key<Box<str>, N>> for Key<&str, N> {
    fn equivalent(&self, key: &Key<Box<str>, N>) -> bool {
        self.time == key.time && self.labels.iter().zip(&key.labels).all(|(one, other)| *one == &**other)
    }
}

impl Known {
    /// Whether the row is there already, or may still be made. Of a time that is over only what still ran is added:
    /// that is not much.
    fn has_room_for<const N: usize>(&mut self, key: &Key<&str, N>) -> bool {
        if key.time > self.time {
            self.time = key.time;
            self.rows.clear();
        }
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let row = hasher.finish();
        if key.time < self.time || self.rows.contains(&row) {
            return true;
        }
        self.rows.len() < MOST && self.rows.insert(row)
    }
}

/// What an upstream call adds: what it took stands at its own target.
fn of_attempt(attempt: &Attempt<'_>) -> Measures {
    let usage = &attempt.usage;
    let (cost_micro, cost_pico) = halves(attempt.cost.unwrap_or_default());
    [
        0,
        0,
        0,
        1,
        i64::from(attempt.cost.is_none()),
        integer(usage.prompt.get()),
        integer(usage.completion.get()),
        integer(usage.cached.get()),
        cost_micro,
        cost_pico,
        0,
        0,
    ]
}

/// What the request itself adds: it stands at the target that served.
fn of_request(story: &Story<'_>) -> Measures {
    let serving = story.serving();
    // Where the first target served, or its price is not known, there is no difference.
    let first = story.cost_at_first.or_else(|| serving?.cost).unwrap_or_default();
    let (first_micro, first_pico) = halves(first);
    let is_fallback = serving.is_some() && story.fallback_reason.is_some();
    [
        1,
        i64::from(story.outcome != "ok"),
        i64::from(is_fallback),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        first_micro,
        first_pico,
    ]
}

fn text<'a>(label: Option<&'a Text<'_>>) -> &'a str {
    label.map(|label| &**label).unwrap_or_default()
}

/// Whole micro-USD, and the pico-USD that are left.
fn halves(cost: Cost) -> (i64, i64) {
    let pico_usd = integer(cost.pico_usd());
    (pico_usd / PICO_PER_MICRO, pico_usd % PICO_PER_MICRO)
}

fn add_up(sums: &mut Measures, measures: &Measures) {
    for (sum, measure) in sums.iter_mut().zip(measures) {
        *sum = sum.saturating_add(*measure);
    }
}
