//! A receipt as rows, and back.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use serde_json::{Map, Value};

use crate::chat::Usage;
use crate::ops::shelf::Reader;
use crate::ops::story::{Attempt, Labels, Line, Story, Text};
use crate::routing::ceiling::Estimate;
use crate::units::{Cost, Tokens};

/// The statements that add rows, prepared once.
pub struct Rows<'c> {
    last: Statement<'c>,
    request: Statement<'c>,
    attempt: Statement<'c>,
}

const LAST: &str = "SELECT seq + attempts FROM requests ORDER BY seq DESC LIMIT 1";
const REQUEST: &str = "INSERT INTO requests VALUES \
    (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
const ATTEMPT: &str = "INSERT INTO attempts VALUES \
    (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
const OF_ANYBODY: &str = "SELECT * FROM requests WHERE id = ?1 ORDER BY seq DESC LIMIT 1";
const OF_A_KEY: &str = "SELECT * FROM requests WHERE id = ?1 AND key = ?2 ORDER BY seq DESC LIMIT 1";
const ATTEMPTS: &str = "SELECT * FROM attempts WHERE seq > ?1 AND seq <= ?2 ORDER BY seq";

impl<'c> Rows<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            last: connection.prepare(LAST)?,
            request: connection.prepare(REQUEST)?,
            attempt: connection.prepare(ATTEMPT)?,
        })
    }

    /// The last number that is taken. Another process may write too: it must be asked for in each transaction.
    pub fn last(&mut self) -> rusqlite::Result<i64> {
        Ok(self.last.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// Adds a request after the number `last`. Answers the last number that is taken now.
    pub fn add(&mut self, last: i64, story: &Story<'_>) -> rusqlite::Result<i64> {
        let seq = last + 1;
        let (mut count, mut skips) = (0, Vec::new());
        for (place, line) in story.trail.iter().enumerate() {
            match line {
                Line::Attempt(attempt) => {
                    count += 1;
                    self.add_attempt(seq + count, attempt)?;
                }
                Line::Skip(told) => skips.push((place, told)),
            }
        }
        let skips = (!skips.is_empty()).then(|| serde_json::to_string(&skips).unwrap_or_default());
        let serving = story.serving();
        let usage = serving.map(|serving| serving.usage).unwrap_or_default();
        let Labels { key, user, session, task, tier } = &story.labels;
        self.request.execute(params![
            seq,
            story.id,
            story.operation,
            integer(story.began_ms),
            story.chain,
            story.config,
            story.outcome,
            story.status,
            story.streamed,
            serving.map(|serving| &serving.target),
            story.served.map(integer),
            count,
            story.fallback_reason,
            microseconds(story.latency),
            story.overhead.map(microseconds),
            tokens(usage.prompt),
            tokens(usage.completion),
            tokens(usage.cached),
            story.cost.map(pico_usd),
            serving.and_then(|serving| serving.cost).map(pico_usd),
            story.cost_at_first.map(pico_usd),
            key,
            user,
            session,
            task,
            tier,
            skips,
            object(&story.more),
        ])?;
        Ok(seq + count)
    }

    fn add_attempt(&mut self, seq: i64, attempt: &Attempt<'_>) -> rusqlite::Result<()> {
        let Attempt { usage, estimate, dropped, .. } = attempt;
        let dropped = (!dropped.is_empty()).then(|| serde_json::to_string(dropped).unwrap_or_default());
        self.attempt.execute(params![
            seq,
            attempt.target,
            integer(attempt.index),
            attempt.outcome,
            attempt.status,
            attempt.current_model,
            attempt.upstream_request_id,
            microseconds(attempt.latency),
            attempt.first_token.map(microseconds),
            tokens(usage.prompt),
            tokens(usage.completion),
            tokens(usage.cached),
            tokens(usage.cache_write),
            tokens(usage.cache_write_1h),
            tokens(usage.reasoning),
            tokens(usage.audio_input),
            tokens(usage.audio_output),
            integer(usage.web_searches),
            attempt.usage_is_estimate,
            usage.cost.map(pico_usd),
            attempt.cost.map(pico_usd),
            attempt.unreadable_events,
            tokens(estimate.input_low),
            tokens(estimate.input_high),
            tokens(estimate.output),
            estimate.cost.map(pico_usd),
            dropped,
            object(&attempt.more),
        ])?;
        Ok(())
    }
}

/// The newest request of this id that the reader may see.
pub fn find(
    connection: &Connection,
    id: &str,
    reader: Reader<'_>,
) -> rusqlite::Result<Option<Story<'static>>> {
    let found = match reader {
        Reader::Admin => connection.query_row(OF_ANYBODY, [id], request).optional()?,
        Reader::Key(key) => connection.query_row(OF_A_KEY, [id, key], request).optional()?,
    };
    let Some((seq, count, skips, mut story)) = found else { return Ok(None) };
    let mut attempts = connection.prepare(ATTEMPTS)?;
    let attempts = attempts.query_map([seq, seq + count], |row| attempt(row, seq))?;
    story.trail = attempts.map(|attempt| attempt.map(Line::Attempt)).collect::<rusqlite::Result<_>>()?;
    for (place, told) in skips {
        story.trail.insert(place.min(story.trail.len()), Line::Skip(told));
    }
    Ok(Some(story))
}

/// Places in the trail, and what is told there.
type Skips = Vec<(usize, Value)>;

/// A request without its attempts: its number, how many they are, and its skips.
fn request(row: &Row<'_>) -> rusqlite::Result<(i64, i64, Skips, Story<'static>)> {
    let skips: Option<String> = row.get("skips")?;
    let skips = skips.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let story = Story {
        id: owned(row.get("id")?),
        operation: owned(row.get("operation")?),
        began_ms: natural(row.get("began_ms")?),
        chain: owned(row.get("chain")?),
        config: owned(row.get("config")?),
        outcome: owned(row.get("outcome")?),
        status: row.get("status")?,
        streamed: row.get("streamed")?,
        served: row.get::<_, Option<i64>>("target_index")?.and_then(|index| index.try_into().ok()),
        fallback_reason: row.get::<_, Option<String>>("fallback_reason")?.map(owned),
        latency: duration(row.get("latency")?),
        overhead: row.get::<_, Option<i64>>("overhead")?.map(duration),
        cost: row.get::<_, Option<i64>>("cost")?.map(cost),
        cost_at_first: row.get::<_, Option<i64>>("cost_at_first")?.map(cost),
        labels: Labels {
            key: row.get::<_, Option<String>>("key")?.map(owned),
            user: row.get::<_, Option<String>>("user")?.map(owned),
            session: row.get::<_, Option<String>>("session")?.map(owned),
            task: row.get::<_, Option<String>>("task")?.map(owned),
            tier: row.get::<_, Option<String>>("tier")?.map(owned),
        },
        more: members(row.get("more")?),
        trail: Vec::new(),
    };
    Ok((row.get("seq")?, row.get("attempts")?, skips, story))
}

fn attempt(row: &Row<'_>, request: i64) -> rusqlite::Result<Attempt<'static>> {
    let number: i64 = row.get("seq")?;
    let count = |name: &str| row.get(name).map(|count: i64| Tokens::new(natural(count)));
    let dropped: Option<String> = row.get("dropped")?;
    let dropped: Vec<String> = dropped.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(Attempt {
        target: owned(row.get("target")?),
        index: usize::try_from(row.get::<_, i64>("target_index")?).unwrap_or_default(),
        number: u32::try_from(number - request).unwrap_or_default(),
        outcome: owned(row.get("outcome")?),
        status: row.get("status")?,
        current_model: row.get::<_, Option<String>>("current_model")?.map(owned),
        upstream_request_id: row.get::<_, Option<String>>("upstream_request_id")?.map(owned),
        latency: duration(row.get("latency")?),
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
            web_searches: natural(row.get("web_searches")?),
            cost: row.get::<_, Option<i64>>("stated_cost")?.map(cost),
        },
        usage_is_estimate: row.get("usage_is_estimate")?,
        cost: row.get::<_, Option<i64>>("cost")?.map(cost),
        dropped: dropped.into_iter().map(Cow::Owned).collect(),
        unreadable_events: row.get("unreadable_events")?,
        estimate: Estimate {
            input_low: count("estimated_input_low")?,
            input_high: count("estimated_input")?,
            output: count("estimated_output")?,
            cost: row.get::<_, Option<i64>>("estimated_cost")?.map(cost),
            // It stands among the members that few attempts have.
            price: None,
        },
        more: members(row.get("more")?),
    })
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
