//! A receipt as rows, and back.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use rusqlite::types::Null;
use rusqlite::{Connection, OptionalExtension, Row, Statement, ToSql};
use serde_json::{Map, Value};

use super::cases::has_own_cost;
use super::names::{Id, Person};
use crate::chat::Usage;
use crate::ops::shelf::Reader;
use crate::ops::story::{Attempt, Labels, Line, Story, Text};
use crate::routing::ceiling::Estimate;
use crate::units::{Cost, Tokens};

/// The statements that add rows, prepared once.
pub struct Rows<'c> {
    last: Statement<'c>,
    /// With the columns that nearly every request needs.
    plain: Statement<'c>,
    /// With all.
    full: Statement<'c>,
    attempt: Statement<'c>,
}

/// The columns of `request_rows` and `attempt_rows` that tell of an attempt.
const OF_ATTEMPT: &str = "upstream_request_id, attempt_latency, first_token, input_tokens, output_tokens, \
    attempt_cost, estimated_input_low, estimated_input, estimated_output, estimated_cost";
/// Those that few attempts need.
const SELDOM: &str = "cached_tokens, reasoning_tokens, cache_write_tokens, cache_write_1h_tokens, \
    input_audio_tokens, output_audio_tokens, web_searches, stated_cost, unreadable_events, dropped, attempt_more";
const LAST: &str = "SELECT max(coalesce((SELECT max(seq) FROM request_rows), 0), \
    coalesce((SELECT max(through) FROM tags), 0))";
const REQUESTS: &str = "SELECT * FROM request_rows JOIN cases USING (case_id)";
const ATTEMPTS: &str = "SELECT * FROM attempt_rows WHERE request = ? ORDER BY number";

impl<'c> Rows<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let insert = |table: &str, columns: &[&str]| {
            let columns = columns.join(", ");
            let places = vec!["?"; columns.split(',').count()].join(", ");
            connection.prepare(&format!("INSERT INTO {table} ({columns}) VALUES ({places})"))
        };
        let of_request = "seq, id, case_id, began_ms, latency, overhead, user, session";
        let seldom = "own_cost, cost_at_first, skips, more";
        let of_other = "request, number, target, target_index, attempt_outcome, attempt_status, current_model, \
            usage_is_estimate";
        Ok(Self {
            last: connection.prepare(LAST)?,
            plain: insert("request_rows", &[of_request, OF_ATTEMPT])?,
            full: insert("request_rows", &[of_request, OF_ATTEMPT, SELDOM, seldom])?,
            attempt: insert("attempt_rows", &[of_other, OF_ATTEMPT, SELDOM])?,
        })
    }

    /// The last number that is taken. Another process may write too: it must be asked for in each transaction.
    pub fn last(&mut self) -> rusqlite::Result<i64> {
        self.last.query_row([], |row| row.get(0))
    }

    /// Adds a request of this case under this number. Where it is simply the next one, SQLite finds that more quickly by
    /// itself.
    pub fn add(
        &mut self,
        (seq, is_next): (i64, bool),
        id: Id<'_>,
        case: i64,
        people: &People,
        story: &Story<'_>,
    ) -> rusqlite::Result<()> {
        let told = story.telling();
        let mut skips = Vec::new();
        for (place, line) in story.trail.iter().enumerate() {
            match line {
                Line::Attempt(attempt) if told.is_some_and(|told| told.number == attempt.number) => {}
                Line::Attempt(attempt) => self.add_attempt(seq, attempt)?,
                Line::Skip(skip) => skips.push((place, skip)),
            }
        }
        let own_cost = has_own_cost(story);
        let is_plain = !own_cost
            && story.cost_at_first.is_none()
            && skips.is_empty()
            && story.more.is_empty()
            && told.is_none_or(is_plain);
        let statement = if is_plain { &mut self.plain } else { &mut self.full };
        let mut bind = Binder { statement, place: 0 };
        bind.next((!is_next).then_some(seq))?;
        bind.next(id)?;
        bind.next(case)?;
        bind.next(integer(story.began_ms))?;
        bind.next(microseconds(story.latency))?;
        bind.next(story.overhead.map(microseconds))?;
        bind.next(&people.user)?;
        bind.next(&people.session)?;
        match told {
            Some(attempt) => bind.attempt(attempt)?,
            None => bind.nothing(OF_ATTEMPT_COUNT)?,
        }
        if !is_plain {
            match told {
                Some(attempt) => bind.seldom(attempt)?,
                None => bind.nothing(SELDOM_COUNT)?,
            }
            bind.next(story.cost.filter(|_| own_cost).map(pico_usd))?;
            bind.next(story.cost_at_first.map(pico_usd))?;
            bind.next((!skips.is_empty()).then(|| serde_json::to_string(&skips).unwrap_or_default()))?;
            bind.next(object(&story.more))?;
        }
        bind.insert()
    }

    /// One that does not stand in the request's row.
    fn add_attempt(&mut self, request: i64, attempt: &Attempt<'_>) -> rusqlite::Result<()> {
        let mut bind = Binder { statement: &mut self.attempt, place: 0 };
        bind.next(request)?;
        bind.next(attempt.number)?;
        bind.next(&*attempt.target)?;
        bind.next(integer(attempt.index))?;
        bind.next(&*attempt.outcome)?;
        bind.next(attempt.status)?;
        bind.next(attempt.current_model.as_deref())?;
        bind.next(attempt.usage_is_estimate)?;
        bind.attempt(attempt)?;
        bind.seldom(attempt)?;
        bind.insert()
    }
}

/// The two labels that are as many as there are people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    pub user: Option<Person>,
    pub session: Option<Person>,
}

impl Hash for People {
    fn hash<H: Hasher>(&self, state: &mut H) {
        [&self.user, &self.session].into_iter().flatten().for_each(|person| person.hash(state));
    }
}

impl People {
    /// Who asked.
    pub fn of(labels: &Labels<'_>) -> Self {
        let person = |name: &Option<Text<'_>>| name.as_deref().map(Person::of);
        Self { user: person(&labels.user), session: person(&labels.session) }
    }
}

/// Gives a statement its values, one after the other. It keeps them: each must be given each time.
struct Binder<'s, 'c> {
    statement: &'s mut Statement<'c>,
    place: usize,
}

/// The columns of [`OF_ATTEMPT`] and [`SELDOM`].
const OF_ATTEMPT_COUNT: usize = 10;
const SELDOM_COUNT: usize = 11;

impl Binder<'_, '_> {
    fn next(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.place += 1;
        self.statement.raw_bind_parameter(self.place, value)
    }

    fn nothing(&mut self, count: usize) -> rusqlite::Result<()> {
        (0..count).try_for_each(|_| self.next(Null))
    }

    fn attempt(&mut self, attempt: &Attempt<'_>) -> rusqlite::Result<()> {
        let Attempt { usage, estimate, .. } = attempt;
        self.next(attempt.upstream_request_id.as_deref())?;
        self.next(microseconds(attempt.latency))?;
        self.next(attempt.first_token.map(microseconds))?;
        self.next(tokens(usage.prompt))?;
        self.next(tokens(usage.completion))?;
        self.next(attempt.cost.map(pico_usd))?;
        self.next(tokens(estimate.input_low))?;
        self.next(tokens(estimate.input_high))?;
        self.next(tokens(estimate.output))?;
        self.next(estimate.cost.map(pico_usd))
    }

    fn seldom(&mut self, attempt: &Attempt<'_>) -> rusqlite::Result<()> {
        let Attempt { usage, dropped, .. } = attempt;
        self.next(tokens(usage.cached))?;
        self.next(tokens(usage.reasoning))?;
        self.next(tokens(usage.cache_write))?;
        self.next(tokens(usage.cache_write_1h))?;
        self.next(tokens(usage.audio_input))?;
        self.next(tokens(usage.audio_output))?;
        self.next(integer(usage.web_searches))?;
        self.next(usage.cost.map(pico_usd))?;
        self.next(attempt.unreadable_events)?;
        self.next((!dropped.is_empty()).then(|| serde_json::to_string(dropped).unwrap_or_default()))?;
        self.next(object(&attempt.more))
    }

    fn insert(self) -> rusqlite::Result<()> {
        self.statement.raw_execute().map(|_| ())
    }
}

/// Whether all that it tells stands in the columns that nearly every request needs.
fn is_plain(attempt: &Attempt<'_>) -> bool {
    let Usage { prompt, completion, .. } = attempt.usage;
    attempt.usage == Usage { prompt, completion, ..Usage::default() }
        && attempt.unreadable_events == 0
        && attempt.dropped.is_empty()
        && attempt.more.is_empty()
}

/// The newest request of this id that the reader may see. Requests are looked for from the newest on, by tags of four
/// bytes each: a million of them are passed over in a millisecond or two, and an index would cost every request more
/// than its row.
pub fn find(
    connection: &Connection,
    id: &str,
    reader: Reader<'_>,
) -> rusqlite::Result<Option<Story<'static>>> {
    let wanted = Id::of(id);
    let is_meant = |story: &Story<'_>| match reader {
        Reader::Admin => true,
        Reader::Key(key) => story.labels.key.as_deref() == Some(key),
    };
    // The last ones may not have been tagged.
    let since = "WHERE seq > (SELECT coalesce(max(through), 0) FROM tags) AND id = ? ORDER BY seq DESC";
    let mut newest = connection.prepare(&format!("{REQUESTS} {since}"))?;
    let mut rows = newest.query([wanted])?;
    while let Some(row) = rows.next()? {
        let story = story(connection, row)?;
        if is_meant(&story) {
            return Ok(Some(story));
        }
    }
    let tag = wanted.tag().to_le_bytes();
    let mut of_number = connection.prepare(&format!("{REQUESTS} WHERE seq = ? AND id = ?"))?;
    let mut all = connection.prepare("SELECT through, tags FROM tags ORDER BY through DESC")?;
    let mut all = all.query([])?;
    while let Some(row) = all.next()? {
        let through: i64 = row.get(0)?;
        let (tags, _) = row.get_ref(1)?.as_blob()?.as_chunks::<4>();
        for (back, _) in tags.iter().rev().enumerate().filter(|(_, other)| **other == tag) {
            let told = |row: &Row<'_>| story(connection, row);
            let found = of_number.query_row((through - integer(back), wanted), told).optional()?;
            if let Some(story) = found.filter(|story| is_meant(story)) {
                return Ok(Some(story));
            }
        }
    }
    Ok(None)
}

/// All requests behind this number, with theirs.
pub fn since(
    connection: &Connection,
    through: i64,
    mut tell: impl FnMut(i64, &Story<'_>),
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("{REQUESTS} WHERE seq > ? ORDER BY seq"))?;
    let mut rows = statement.query([through])?;
    while let Some(row) = rows.next()? {
        tell(row.get("seq")?, &story(connection, row)?);
    }
    Ok(())
}

/// A row of [`REQUESTS`] with everything that belongs to it.
fn story(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Story<'static>> {
    let mut story = request(row)?;
    let told = if row.get::<_, Option<i64>>("number")?.is_some() { Some(attempt(row)?) } else { None };
    let count: usize = integer_of(row, "attempts")?;
    let mut attempts = Vec::with_capacity(count);
    if count > usize::from(told.is_some()) {
        let mut others = connection.prepare(ATTEMPTS)?;
        let others = others.query_map([row.get::<_, i64>("seq")?], attempt)?;
        attempts = others.collect::<rusqlite::Result<_>>()?;
    }
    attempts.extend(told);
    attempts.sort_by_key(|attempt| attempt.number);
    story.trail = attempts.into_iter().map(Line::Attempt).collect();
    let skips: Option<String> = row.get("skips")?;
    let skips: Vec<(usize, Value)> =
        skips.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    for (place, told) in skips {
        story.trail.insert(place.min(story.trail.len()), Line::Skip(told));
    }
    Ok(story)
}

/// A request without its trail.
fn request(row: &Row<'_>) -> rusqlite::Result<Story<'static>> {
    let text = |name: &str| row.get::<_, Option<String>>(name).map(|text| text.map(owned));
    let person = |name: &str| {
        row.get::<_, Option<Person>>(name).map(|person| person.map(|person| owned(person.told())))
    };
    let cost_of = if row.get("has_own_cost")? { "own_cost" } else { "attempt_cost" };
    Ok(Story {
        id: owned(Id::read(row.get_ref("id")?).unwrap_or_default()),
        operation: text("operation")?.unwrap_or_default(),
        began_ms: natural(row.get("began_ms")?),
        chain: text("chain")?.unwrap_or_default(),
        config: text("config")?.unwrap_or_default(),
        outcome: text("outcome")?.unwrap_or_default(),
        status: row.get("status")?,
        streamed: row.get("streamed")?,
        served: row.get::<_, Option<i64>>("served")?.and_then(|index| index.try_into().ok()),
        fallback_reason: text("fallback_reason")?,
        latency: duration(row.get("latency")?),
        overhead: row.get::<_, Option<i64>>("overhead")?.map(duration),
        cost: row.get::<_, Option<i64>>(cost_of)?.map(cost),
        cost_at_first: row.get::<_, Option<i64>>("cost_at_first")?.map(cost),
        labels: Labels {
            key: text("key")?,
            user: person("user")?,
            session: person("session")?,
            task: text("task")?,
            tier: text("tier")?,
        },
        more: members(row.get("more")?),
        trail: Vec::new(),
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt<'static>> {
    let count = |name: &str| integer_of(row, name).map(Tokens::new);
    let text = |name: &str| row.get::<_, Option<String>>(name).map(|text| text.map(owned));
    let dropped: Option<String> = row.get("dropped")?;
    let dropped: Vec<String> = dropped.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(Attempt {
        target: text("target")?.unwrap_or_default(),
        index: integer_of(row, "target_index")?,
        number: integer_of(row, "number")?,
        outcome: text("attempt_outcome")?.unwrap_or_default(),
        status: row.get("attempt_status")?,
        current_model: text("current_model")?,
        upstream_request_id: text("upstream_request_id")?,
        latency: duration(row.get("attempt_latency")?),
        first_token: row.get::<_, Option<i64>>("first_token")?.map(duration),
        usage: Usage {
            prompt: count("input_tokens")?,
            completion: count("output_tokens")?,
            cached: count("cached_tokens")?,
            cache_write: count("cache_write_tokens")?,
            cache_write_1h: count("cache_write_1h_tokens")?,
            reasoning: count("reasoning_tokens")?,
            audio_input: count("input_audio_tokens")?,
            audio_output: count("output_audio_tokens")?,
            web_searches: integer_of(row, "web_searches")?,
            cost: row.get::<_, Option<i64>>("stated_cost")?.map(cost),
        },
        usage_is_estimate: row.get("usage_is_estimate")?,
        cost: row.get::<_, Option<i64>>("attempt_cost")?.map(cost),
        dropped: dropped.into_iter().map(Cow::Owned).collect(),
        unreadable_events: integer_of(row, "unreadable_events")?,
        estimate: Estimate {
            input_low: count("estimated_input_low")?,
            input_high: count("estimated_input")?,
            output: count("estimated_output")?,
            cost: row.get::<_, Option<i64>>("estimated_cost")?.map(cost),
            // It stands among the members that few attempts have.
            price: None,
        },
        more: members(row.get("attempt_more")?),
    })
}

/// A count, which is null where it is nothing.
fn integer_of<T: TryFrom<i64> + Default>(row: &Row<'_>, name: &str) -> rusqlite::Result<T> {
    let number: Option<i64> = row.get(name)?;
    Ok(number.and_then(|number| number.try_into().ok()).unwrap_or_default())
}

/// As SQLite's integers have it, which end at half of ours: nine million USD.
pub fn integer(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn tokens(tokens: Tokens) -> i64 {
    integer(tokens.get())
}

fn pico_usd(cost: Cost) -> i64 {
    integer(cost.pico_usd())
}

fn microseconds(time: Duration) -> i64 {
    integer(time.as_micros())
}

fn object(members: &Map<String, Value>) -> Option<String> {
    (!members.is_empty()).then(|| serde_json::to_string(members).unwrap_or_default())
}

fn members(text: Option<String>) -> Map<String, Value> {
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn owned(text: String) -> Text<'static> {
    Cow::Owned(text)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn duration(microseconds: i64) -> Duration {
    Duration::from_micros(natural(microseconds))
}

fn cost(pico_usd: i64) -> Cost {
    Cost::from_pico_usd(natural(pico_usd).into())
}
