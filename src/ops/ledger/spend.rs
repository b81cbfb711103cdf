//! What was spent, added up by whatever the question names.

use std::fmt;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use super::sums::{COLUMNS, PICO_PER_MICRO};
use crate::wire::timestamp;

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
    pub rows: Vec<(Vec<Option<String>>, Spent)>,
    /// Of all, be there more rows than the limit or not.
    pub total: Spent,
    pub is_cut: bool,
    pub source: Source,
}

/// The table that knows the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The sums by chain, target, key, task and tier.
    Hours,
    /// The sums by user, chain and key, of whole days.
    UserDays,
    /// The requests themselves, which are not kept as long.
    Requests,
}

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    pub requests: i64,
    /// Requests whose outcome was not `ok`.
    pub failed: i64,
    /// Requests that another target than the first served.
    pub fallbacks: i64,
    pub attempts: i64,
    /// Attempts whose price is not known: they count as free.
    pub unpriced: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cached_tokens: i64,
    pub cost: Money,
    /// What the answers would have cost at the first target of their chains.
    pub at_first: Money,
}

/// Pico-USD, which may also be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(i128);

/// The requests and attempts in the columns of the sums.
const REQUESTS: &str = "(
    SELECT began_ms / 3600000 AS hour, chain, coalesce(target, '') AS target, coalesce(key, '') AS key,
        coalesce(task, '') AS task, coalesce(tier, '') AS tier, coalesce(user, '') AS user, session,
        1 AS requests, outcome <> 'ok' AS failed,
        target IS NOT NULL AND fallback_reason IS NOT NULL AS fallbacks, 0 AS attempts, 0 AS unpriced,
        0 AS input_tokens, 0 AS output_tokens, 0 AS cached_tokens, 0 AS cost_micro, 0 AS cost_pico,
        coalesce(cost_at_first, served_cost, 0) / 1000000 AS first_micro,
        coalesce(cost_at_first, served_cost, 0) % 1000000 AS first_pico
    FROM requests
    UNION ALL
    SELECT r.began_ms / 3600000, r.chain, a.target, coalesce(r.key, ''), coalesce(r.task, ''),
        coalesce(r.tier, ''), coalesce(r.user, ''), r.session,
        0, 0, 0, 1, a.cost IS NULL, a.input_tokens, a.output_tokens, a.cached_tokens,
        coalesce(a.cost, 0) / 1000000, coalesce(a.cost, 0) % 1000000, 0, 0
    FROM requests AS r CROSS JOIN attempts AS a ON a.seq > r.seq AND a.seq <= r.seq + r.attempts
)";

/// Answers from this ledger.
pub fn answer(connection: &Connection, question: &Question) -> rusqlite::Result<Answer> {
    let source = question.source();
    let (wheres, values) = question.conditions(source);
    let sums = COLUMNS.map(|column| format!("sum({column})")).join(", ");
    let from = format!("FROM {} WHERE {wheres}", source.table());
    let total = format!("SELECT {sums} {from}");
    let total = connection.query_row(&total, params_from_iter(&values), |row| spent(row, 0))?;
    if question.by.is_empty() {
        return Ok(Answer { rows: Vec::new(), total, is_cut: false, source });
    }
    let facets = question.by.iter().map(|facet| facet.expression(source));
    let facets = facets.collect::<Vec<_>>().join(", ");
    let places = (1..=question.by.len()).map(|place| place.to_string()).collect::<Vec<_>>().join(", ");
    let in_time = question.by.first().is_some_and(|facet| facet.is_time());
    let order = if in_time { "" } else { "sum(cost_micro) DESC, sum(cost_pico) DESC, sum(requests) DESC, " };
    let limit = usize::try_from(question.limit).unwrap_or(usize::MAX);
    let rows = format!(
        "SELECT {facets}, {sums} {from} GROUP BY {places} ORDER BY {order}{places} LIMIT {}",
        limit.saturating_add(1)
    );
    let mut statement = connection.prepare(&rows)?;
    let row = |row: &Row<'_>| {
        let labels =
            question.by.iter().enumerate().map(|(place, facet)| Ok(facet.label(row.get_ref(place)?)));
        Ok((labels.collect::<rusqlite::Result<_>>()?, spent(row, question.by.len())?))
    };
    let rows = statement.query_map(params_from_iter(&values), row)?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    Ok(Answer { rows, total, is_cut, source })
}

impl Question {
    /// The smallest table that knows the answer.
    fn source(&self) -> Source {
        let asked = self.by.iter().copied().chain(self.only.iter().map(|(facet, _)| *facet));
        let asked: Vec<Facet> = asked.collect();
        let is_of_days = [self.from, self.to].into_iter().flatten().all(|hour| hour % 24 == 0);
        let knows = |table: &Source| {
            (is_of_days || *table != Source::UserDays) && asked.iter().all(|facet| facet.is_in(*table))
        };
        let tables = [Source::Hours, Source::UserDays];
        tables.into_iter().find(knows).unwrap_or(Source::Requests)
    }

    fn conditions(&self, source: Source) -> (String, Vec<Value>) {
        let mut wheres = vec!["1".to_owned()];
        let mut values = Vec::new();
        for (limit, operator) in [(self.from, ">="), (self.to, "<")] {
            if let Some(hour) = limit {
                let (time, hours) = source.time();
                wheres.push(format!("{time} {operator} ?"));
                values.push(Value::Integer(hour / hours));
            }
        }
        for (facet, names) in &self.only {
            let places = vec!["?"; names.len()].join(", ");
            wheres.push(format!("{} IN ({places})", facet.expression(source)));
            values.extend(names.iter().cloned().map(Value::Text));
        }
        (wheres.join(" AND "), values)
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
            (Self::Target | Self::Provider | Self::Task | Self::Tier | Self::Hour, Source::Hours) => true,
            (Self::Target | Self::Provider | Self::Task | Self::Tier | Self::Hour, Source::UserDays) => false,
            (Self::User, Source::UserDays) => true,
            (Self::User, Source::Hours) | (Self::Session, _) => false,
        }
    }

    const fn expression(self, source: Source) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Target => "target",
            Self::Provider => "substr(target, 1, instr(target, '/') - 1)",
            Self::Key => "key",
            Self::User => "user",
            Self::Session => "session",
            Self::Task => "task",
            Self::Tier => "tier",
            Self::Hour => "hour",
            Self::Day => match source {
                Source::Hours | Source::Requests => "hour / 24",
                Source::UserDays => "day",
            },
            // The epoch was a Thursday.
            Self::Week => match source {
                Source::Hours | Source::Requests => "(hour / 24 + 3) / 7",
                Source::UserDays => "(day + 3) / 7",
            },
            Self::Month => match source {
                Source::Hours | Source::Requests => "strftime('%Y-%m', hour * 3600, 'unixepoch')",
                Source::UserDays => "strftime('%Y-%m', day * 86400, 'unixepoch')",
            },
        }
    }

    /// As people read it; nothing where there is none.
    fn label(self, value: ValueRef<'_>) -> Option<String> {
        let number = || u64::try_from(value.as_i64().ok()?).ok();
        let date = |day: u64| text(&timestamp::extended(day * 86_400)[..10]);
        match self {
            Self::Hour => Some(text(&timestamp::extended(number()? * 3_600)) + "Z"),
            Self::Day => Some(date(number()?)),
            Self::Week => Some(date((number()? * 7).saturating_sub(3))),
            Self::Chain
            | Self::Target
            | Self::Provider
            | Self::Key
            | Self::User
            | Self::Session
            | Self::Task
            | Self::Tier
            | Self::Month => value.as_str().ok().filter(|name| !name.is_empty()).map(str::to_owned),
        }
    }
}

impl Source {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hours => "hours",
            Self::UserDays => "user_days",
            Self::Requests => "requests",
        }
    }

    /// The column that has the time, and the hours that are one of it.
    const fn time(self) -> (&'static str, i64) {
        match self {
            Self::Hours | Self::Requests => ("hour", 1),
            Self::UserDays => ("day", 24),
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Self::Hours => "hours",
            Self::UserDays => "user_days",
            Self::Requests => REQUESTS,
        }
    }
}

impl Spent {
    /// What fallbacks and failed attempts cost above the first targets; less than nothing where they were cheaper.
    pub const fn difference(&self) -> Money {
        Money(self.cost.0 - self.at_first.0)
    }
}

impl Money {
    fn of_halves(micro: i64, pico: i64) -> Self {
        Self(i128::from(micro) * i128::from(PICO_PER_MICRO) + i128::from(pico))
    }
}

/// USD with all twelve decimals.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let pico = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000)
    }
}

/// The sums of a row, which begin at this column. There are none where nothing was found.
fn spent(row: &Row<'_>, first: usize) -> rusqlite::Result<Spent> {
    let mut sums = [0; COLUMNS.len()];
    for (place, sum) in sums.iter_mut().enumerate() {
        *sum = row.get::<_, Option<i64>>(first + place)?.unwrap_or_default();
    }
    let [
        requests,
        failed,
        fallbacks,
        attempts,
        unpriced,
        input_tokens,
        output_tokens,
        cached_tokens,
        cost_micro,
        cost_pico,
        first_micro,
        first_pico,
    ] = sums;
    Ok(Spent {
        requests,
        failed,
        fallbacks,
        attempts,
        unpriced,
        input_tokens,
        output_tokens,
        cached_tokens,
        cost: Money::of_halves(cost_micro, cost_pico),
        at_first: Money::of_halves(first_micro, first_pico),
    })
}

fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}
