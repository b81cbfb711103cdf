//! What many requests have in common: it stands in a row of its own, which theirs name.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};
use rusqlite::{Connection, Row, Statement, ToSql, params_from_iter};

use super::rows::integer;
use crate::clock;
use crate::ops::story::{Attempt, Story};

/// What requests have in common, with text that is borrowed from a request or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case<S> {
    texts: [Option<S>; TEXTS.len()],
    numbers: [Option<i64>; NUMBERS.len()],
}

/// A case that is kept.
pub type Kept = Arc<Case<Box<str>>>;

/// The cases of today, and how a new one is written down.
pub struct Cases<'c> {
    insert: Statement<'c>,
    day: u64,
    known: IndexMap<Kept, i64>,
}

const TEXTS: [&str; 11] = [
    "operation",
    "chain",
    "config",
    "outcome",
    "key",
    "task",
    "tier",
    "fallback_reason",
    "target",
    "attempt_outcome",
    "current_model",
];
const NUMBERS: [&str; 9] = [
    "status",
    "streamed",
    "served",
    "attempts",
    "number",
    "target_index",
    "attempt_status",
    "usage_is_estimate",
    "has_own_cost",
];
/// Clients can make up cases: beyond so many, those that are known are forgotten, and written once more if they come
/// again.
const MOST: usize = 10_000;
const DAY: u64 = 86_400;

impl<'a> Case<&'a str> {
    /// What this request may have in common with others, itself and its most telling attempt.
    pub fn of(story: &'a Story<'_>) -> Self {
        let labels = &story.labels;
        let told = story.telling();
        let texts = [
            Some(&story.operation),
            Some(&story.chain),
            Some(&story.config),
            Some(&story.outcome),
            labels.key.as_ref(),
            labels.task.as_ref(),
            labels.tier.as_ref(),
            story.fallback_reason.as_ref(),
            told.map(|attempt| &attempt.target),
            told.map(|attempt| &attempt.outcome),
            told.and_then(|attempt| attempt.current_model.as_ref()),
        ];
        let of_attempt = |number: fn(&Attempt<'_>) -> i64| told.map(number);
        let numbers = [
            Some(story.status.into()),
            Some(story.streamed.into()),
            story.served.map(integer),
            Some(integer(story.attempts().count())),
            of_attempt(|attempt| attempt.number.into()),
            of_attempt(|attempt| integer(attempt.index)),
            told.and_then(|attempt| attempt.status).map(Into::into),
            of_attempt(|attempt| attempt.usage_is_estimate.into()),
            Some(has_own_cost(story).into()),
        ];
        Self { texts: texts.map(|text| text.map(|text| &**text)), numbers }
    }

    /// The same for as long as it is needed.
    pub fn keep(&self) -> Kept {
        Arc::new(Case { texts: self.texts.map(|text| text.map(Into::into)), numbers: self.numbers })
    }
}

impl Case<Box<str>> {
    /// A row of this table, whose columns begin at this one.
    pub fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let (mut texts, mut numbers) = ([const { None }; TEXTS.len()], [None; NUMBERS.len()]);
        for (place, text) in texts.iter_mut().enumerate() {
            *text = row.get::<_, Option<String>>(first + place)?.map(String::into_boxed_str);
        }
        for (place, number) in numbers.iter_mut().enumerate() {
            *number = row.get(first + TEXTS.len() + place)?;
        }
        Ok(Self { texts, numbers })
    }

    /// The columns that [`Self::read`] wants.
    pub fn columns() -> String {
        [&TEXTS[..], &NUMBERS].concat().join(", ")
    }
}

impl<S: AsRef<str>> Case<S> {
    /// The chain, the caller's key, the task and the tier, as far as there are any.
    pub fn labels(&self) -> [&str; 4] {
        [self.text(1), self.text(4), self.text(5), self.text(6)]
    }

    /// The target of the attempt that stands in the request's row.
    pub fn target(&self) -> &str {
        self.text(8)
    }

    /// Whether that one served.
    pub const fn is_served(&self) -> bool {
        self.numbers[2].is_some()
    }

    /// Whether there is such an attempt at all.
    pub const fn has_attempt(&self) -> bool {
        self.numbers[4].is_some()
    }

    /// Whether the request went well.
    pub fn is_ok(&self) -> bool {
        self.text(3) == "ok"
    }

    /// Whether another target than the first served.
    pub fn is_fallback(&self) -> bool {
        self.is_served() && self.texts[7].is_some()
    }

    fn text(&self, place: usize) -> &str {
        self.texts[place].as_ref().map(AsRef::as_ref).unwrap_or_default()
    }
}

/// By what tells most of them apart: there are few that differ in nothing of it.
impl<S: AsRef<str>> Hash for Case<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.labels().iter().for_each(|label| state.write(label.as_bytes()));
        state.write(self.target().as_bytes());
        let numbers = self.numbers.iter().map(|number| number.unwrap_or(-1));
        state.write_i64(numbers.fold(0, |all, number| all.wrapping_mul(31).wrapping_add(number)));
    }
}

impl Equivalent<Kept> for Case<&str> {
    fn equivalent(&self, kept: &Kept) -> bool {
        let mut texts = self.texts.iter().zip(&kept.texts);
        self.numbers == kept.numbers && texts.all(|(one, other)| *one == other.as_deref())
    }
}

impl<'c> Cases<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let places = vec!["?"; 1 + TEXTS.len() + NUMBERS.len()].join(", ");
        let columns = Case::columns();
        let insert = format!("INSERT INTO cases (day, {columns}) VALUES ({places})");
        Ok(Self { insert: connection.prepare(&insert)?, day: today(), known: IndexMap::new() })
    }

    /// A new day begins anew, so that cases can be taken out with the requests that name them.
    pub fn begin(&mut self) {
        let day = today();
        if self.day != day {
            self.day = day;
            self.known.clear();
        }
    }

    /// The number of a case.
    pub fn number(&mut self, case: &Case<&str>) -> rusqlite::Result<(i64, Kept)> {
        if let Some((kept, number)) = self.known.get_key_value(case) {
            return Ok((*number, Arc::clone(kept)));
        }
        let day = integer(self.day);
        let texts = case.texts.iter().map(|text| text as &dyn ToSql);
        let numbers = case.numbers.iter().map(|number| number as &dyn ToSql);
        let values = std::iter::once(&day as &dyn ToSql).chain(texts).chain(numbers);
        let number = self.insert.insert(params_from_iter(values))?;
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let kept = case.keep();
        self.known.insert(Arc::clone(&kept), number);
        Ok((number, kept))
    }

    /// Forgets what is known: its transaction came to nothing.
    pub fn clear(&mut self) {
        self.known.clear();
    }
}

/// Whether what the request cost is not simply what that one attempt cost.
pub fn has_own_cost(story: &Story<'_>) -> bool {
    story.telling().map(|attempt| attempt.cost) != Some(story.cost)
}

fn today() -> u64 {
    clock::unix_seconds() / DAY
}
