//! What was spent, added up by whatever the question names.

use std::collections::HashMap;

use rusqlite::Connection;

use super::cases::Case;
use super::chunk;
use super::fault::Fault;
use super::names::Person;
use super::rows::integer;
use super::spent::{Money, Spent};
use super::sums::{HOUR_MS, damaged};
use super::tally::{Labels, Local, Names, Row, Tally};

/// What to add up.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// What the sums are by, in this order; nothing: all in one.
    pub by: Vec<Facet>,
    /// Hours since the Unix epoch: the first that counts.
    pub from: Option<i64>,
    /// The first that counts no more.
    pub to: Option<i64>,
    /// Only what is called so.
    pub only: Vec<(Facet, Vec<String>)>,
    /// The most rows.
    pub limit: u32,
}

/// A way to tell requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    Chain,
    Target,
    Provider,
    Key,
    User,
    Session,
    Task,
    Tier,
    Hour,
    Day,
    /// From Monday to Sunday.
    Week,
    Month,
}

/// The sums.
#[derive(Debug, Clone)]
pub struct Answer {
    /// In the order of time where the question begins with one, else the dearest first.
    pub rows: Vec<Row>,
    /// Of all, be there more rows than the limit or not.
    pub total: Spent,
    pub is_cut: bool,
    pub source: Source,
}

/// What knows the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The sums by chain, target, key, task and tier: of whole days, and of hours where a day is cut.
    Hours,
    /// The sums by user, chain and key of whole days, and those of sessions where a day is cut.
    UserDays,
    /// The sums by session, user, chain and key.
    Sessions,
    /// The requests themselves, which are not kept as long.
    Requests,
}

/// From one hour to before another.
type Span = std::ops::Range<i64>;

const REQUESTS: &str = "SELECT case_id, began_ms, user, session, input_tokens, output_tokens, cached_tokens, \
    attempt_cost, cost_at_first FROM request_rows WHERE began_ms >= ? AND began_ms < ?";
const ATTEMPTS: &str = "SELECT case_id, began_ms, user, session, a.input_tokens, a.output_tokens, a.cached_tokens, \
    a.attempt_cost, a.target FROM attempt_rows AS a JOIN request_rows AS r ON r.seq = a.request \
    WHERE began_ms >= ? AND began_ms < ?";

/// Answers from this ledger.
pub fn answer(connection: &Connection, question: &Question) -> Result<Answer, Fault> {
    let source = question.source();
    let mut tally = Tally::new(question);
    let span = question.from.unwrap_or(0).max(0)..question.to.unwrap_or(FOR_EVER).min(FOR_EVER);
    // All of it as it was at one time.
    let snapshot = connection.unchecked_transaction()?;
    match source {
        Source::Hours => {
            let labels = |[chain, target, key, task, tier]: [u32; 5]| Labels {
                chain,
                target,
                key,
                task,
                tier,
                ..Labels::default()
            };
            let (days, edges) =
                if question.names(Facet::Hour) { (0..0, vec![span]) } else { whole_days(span) };
            add(&snapshot, &mut tally, ("days", 24), days, labels)?;
            for span in edges {
                add(&snapshot, &mut tally, ("hours", 1), span, labels)?;
            }
        }
        Source::UserDays => {
            let (days, edges) = whole_days(span);
            let labels = |[user, chain, key]: [u32; 3]| Labels { chain, key, user, ..Labels::default() };
            add(&snapshot, &mut tally, ("user_days", 24), days, labels)?;
            for span in edges {
                add(&snapshot, &mut tally, ("session_hours", 1), span, of_session)?;
            }
        }
        Source::Sessions => add(&snapshot, &mut tally, ("session_hours", 1), span, of_session)?,
        Source::Requests => add_requests(&snapshot, &mut tally, &span)?,
    }
    let limit = usize::try_from(question.limit).unwrap_or(usize::MAX);
    let (rows, is_cut, total) = tally.finish(limit);
    Ok(Answer { rows, total, is_cut, source })
}

/// No hour is later.
const FOR_EVER: i64 = 24 * 3_650_000;

fn of_session([session, user, chain, key]: [u32; 4]) -> Labels {
    Labels { chain, key, user, session, ..Labels::default() }
}

/// The whole days of a span, in hours, and what is cut off before and behind them.
fn whole_days(span: Span) -> (Span, Vec<Span>) {
    let days = (span.start + 23) / 24 * 24..span.end / 24 * 24;
    if days.is_empty() {
        return (0..0, vec![span]);
    }
    let edges = [span.start..days.start, days.end..span.end];
    (days, edges.into_iter().filter(|edge| !edge.is_empty()).collect())
}

/// Adds packed sums, each of so many hours.
fn add<const LABELS: usize>(
    connection: &Connection,
    tally: &mut Tally,
    (table, hours): (&str, i64),
    span: Span,
    labels: impl Fn([u32; LABELS]) -> Labels,
) -> Result<(), Fault> {
    let sql = format!("SELECT start, sums FROM {table} WHERE start >= ? AND start < ? ORDER BY start");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query((span.start / hours, span.end / hours))?;
    while let Some(row) = rows.next()? {
        let start: i64 = row.get(0)?;
        let packed = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        tally.at(start * hours);
        let (names, lines) = chunk::names(packed).ok_or_else(damaged)?;
        let count = names.len();
        let mut local = Local::new(names);
        let add = |line, spent: &Spent| {
            tally.add(&labels(line), |names, place| local.number(names, place), spent);
        };
        chunk::lines(lines, count, add).ok_or_else(damaged)?;
    }
    Ok(())
}

/// Adds the requests one by one.
fn add_requests(connection: &Connection, tally: &mut Tally, span: &Span) -> Result<(), Fault> {
    let mut cases = HashMap::new();
    let mut statement = connection.prepare(&format!("SELECT case_id, {} FROM cases", Case::columns()))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let case = Case::read(row, 1)?;
        let [chain, key, task, tier] = case.labels().map(|label| tally.names.number(label));
        let target = tally.names.number(case.target());
        let labels = Labels { chain, target, key, task, tier, ..Labels::default() };
        cases.insert(row.get::<_, i64>(0)?, (case, labels));
    }
    let mut hour = None;
    for (sql, is_request) in [(REQUESTS, true), (ATTEMPTS, false)] {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([span.start, span.end].map(|hour| hour * integer(HOUR_MS)))?;
        while let Some(row) = rows.next()? {
            let Some((case, labels)) = cases.get(&row.get::<_, i64>(0)?) else { continue };
            let mut labels = *labels;
            let began = row.get::<_, i64>(1)? / integer(HOUR_MS);
            if hour.replace(began) != Some(began) {
                tally.at(began);
            }
            for (label, column) in [(&mut labels.user, 2), (&mut labels.session, 3)] {
                if let Some(person) = row.get::<_, Option<Person>>(column)? {
                    *label = tally.names.number(&person.told());
                }
            }
            let attempt = of_attempt(row)?;
            if is_request {
                let at_first: Option<i64> = row.get(8)?;
                add_request(tally, case, labels, attempt, at_first);
            } else {
                labels.target = tally.names.number(row.get_ref(8)?.as_str().map_err(rusqlite::Error::from)?);
                tally.add(&labels, as_it_is, &attempt);
            }
        }
    }
    Ok(())
}

/// Adds a request and the attempt that stands in its row: what that took stands at its own target, the request at the one
/// that served.
fn add_request(
    tally: &mut Tally,
    case: &Case<Box<str>>,
    labels: Labels,
    attempt: Spent,
    at_first: Option<i64>,
) {
    let served = if case.is_served() { attempt.cost } else { Money::default() };
    let at_first = at_first.map_or(served, money);
    let counts = [1, u64::from(!case.is_ok()), u64::from(case.is_fallback()), 0, 0, 0, 0, 0];
    let mut request = Spent { counts, cost: Money::default(), at_first };
    if case.is_served() {
        request += &attempt;
    } else if case.has_attempt() {
        tally.add(&labels, as_it_is, &attempt);
    }
    let target = if case.is_served() { labels.target } else { 0 };
    tally.add(&Labels { target, ..labels }, as_it_is, &request);
}

/// What an attempt took, from the columns that both statements have.
fn of_attempt(row: &rusqlite::Row<'_>) -> rusqlite::Result<Spent> {
    let count = |column| row.get(column).map(|count: Option<i64>| count.unwrap_or_default().unsigned_abs());
    let cost: Option<i64> = row.get(7)?;
    Ok(Spent {
        counts: [0, 0, 0, 1, u64::from(cost.is_none()), count(4)?, count(5)?, count(6)?],
        cost: cost.map(money).unwrap_or_default(),
        at_first: Money::default(),
    })
}

/// Labels of rows have their numbers already.
fn as_it_is(_: &mut Names, number: u32) -> u32 {
    number
}

fn money(pico_usd: i64) -> Money {
    Money::from_pico_usd(pico_usd.unsigned_abs().into())
}

impl Question {
    /// The smallest source that knows the answer.
    fn source(&self) -> Source {
        let knows = |source: &Source| {
            let asked = self.by.iter().chain(self.only.iter().map(|(facet, _)| facet));
            asked.copied().all(|facet| facet.is_in(*source))
        };
        let sources = [Source::Hours, Source::UserDays, Source::Sessions];
        sources.into_iter().find(knows).unwrap_or(Source::Requests)
    }

    fn names(&self, facet: Facet) -> bool {
        self.by.contains(&facet) || self.only.iter().any(|(other, _)| *other == facet)
    }
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Chain,
        Self::Target,
        Self::Provider,
        Self::Key,
        Self::User,
        Self::Session,
        Self::Task,
        Self::Tier,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Target => "target",
            Self::Provider => "provider",
            Self::Key => "key",
            Self::User => "user",
            Self::Session => "session",
            Self::Task => "task",
            Self::Tier => "tier",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The one of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|facet| facet.name() == name)
    }

    /// Whether it is a stretch of time.
    pub const fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Week | Self::Month)
    }

    const fn is_in(self, source: Source) -> bool {
        match (self, source) {
            (_, Source::Requests) => true,
            (Self::Chain | Self::Key | Self::Day | Self::Week | Self::Month, _) => true,
            (Self::Hour, Source::Hours | Source::Sessions) => true,
            (Self::Hour, Source::UserDays) => false,
            (Self::Target | Self::Provider | Self::Task | Self::Tier, Source::Hours) => true,
            (Self::Target | Self::Provider | Self::Task | Self::Tier, _) => false,
            (Self::User, Source::UserDays | Source::Sessions) => true,
            (Self::Session, Source::Sessions) => true,
            (Self::User, Source::Hours) | (Self::Session, Source::Hours | Source::UserDays) => false,
        }
    }
}

impl Source {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hours => "hours",
            Self::UserDays => "user_days",
            Self::Sessions => "sessions",
            Self::Requests => "requests",
        }
    }
}
