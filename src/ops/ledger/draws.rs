//! What was drawn from budgets, minute by minute, kept up to date in the transaction that adds the rows: with it they are
//! filled again after a restart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use rusqlite::{Connection, OptionalExtension, Statement};

use super::fault::Fault;
use super::file;
use super::rows::integer;
use crate::routing::budget::{Amounts, Drawn};
use crate::units::{Cost, Tokens};

/// The sums of budgets.
pub struct Draws<'c> {
    upsert: Statement<'c>,
    /// What one batch adds, by budget, minute and bucket.
    pending: IndexMap<(Arc<str>, i64, Arc<str>), Amounts>,
}

/// Which draws are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    pub budget: &'a str,
    /// Since the Unix epoch.
    pub since: Duration,
    /// Draws of a bucket that lie in the same span of this length may be told as one, at the time of the last.
    pub grain: Duration,
}

/// Pico-USD in one micro-USD.
const PICO_PER_MICRO: u64 = 1_000_000;
const MINUTE: Duration = Duration::from_mins(1);
/// No budget is for a longer time.
pub const KEPT: Duration = Duration::from_hours(366 * 24);

const UPSERT: &str = "INSERT INTO draws (budget, minute, bucket, requests, tokens, cost_micro, cost_pico)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
    tokens = tokens + excluded.tokens, cost_micro = cost_micro + excluded.cost_micro,
    cost_pico = cost_pico + excluded.cost_pico";
const READ: &str =
    "SELECT bucket, MAX(minute), SUM(requests), SUM(tokens), SUM(cost_micro), SUM(cost_pico) FROM draws
    WHERE budget = ? AND minute >= ? GROUP BY bucket, minute / ?";

impl<'c> Draws<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self { upsert: connection.prepare(UPSERT)?, pending: IndexMap::new() })
    }

    /// Adds what a request drew.
    pub fn add(&mut self, drawn: &[Drawn]) {
        for Drawn { budget, bucket, at, amounts } in drawn {
            let key = (Arc::clone(budget), minute(*at), Arc::clone(bucket));
            let sum = self.pending.entry(key).or_default();
            *sum = sum.plus(*amounts);
        }
    }

    /// Writes what was added.
    pub fn write(&mut self) -> rusqlite::Result<()> {
        for ((budget, minute, bucket), Amounts { cost, tokens, requests }) in &self.pending {
            let pico = u128::from(PICO_PER_MICRO);
            let (micro, pico) = (cost.pico_usd() / pico, cost.pico_usd() % pico);
            let sums = (integer(*requests), integer(tokens.get()), integer(micro), integer(pico));
            let (requests, tokens, micro, pico) = sums;
            self.upsert.execute((budget, minute, bucket, requests, tokens, micro, pico))?;
        }
        self.pending.clear();
        Ok(())
    }

    /// Forgets what was added: its transaction came to nothing.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}

/// The minute, since the Unix epoch, in which a time lies.
pub fn minute(at: Duration) -> i64 {
    integer(at.as_secs() / MINUTE.as_secs())
}

/// Tells what was drawn in a span. A ledger that is not there, or that knew no budgets yet, has nothing to tell.
pub fn read(path: &Path, span: Span<'_>, mut tell: impl FnMut(Drawn)) -> Result<(), Fault> {
    if !path.exists() {
        return Ok(());
    }
    let connection = file::open_to_read(path)?;
    let known = "SELECT 1 FROM sqlite_schema WHERE name = 'draws'";
    if connection.query_row(known, [], |_| Ok(())).optional()?.is_none() {
        return Ok(());
    }
    let budget: Arc<str> = span.budget.into();
    let grain = integer(span.grain.as_secs() / MINUTE.as_secs()).max(1);
    let mut statement = connection.prepare(READ)?;
    let mut rows = statement.query((span.budget, minute(span.since), grain))?;
    while let Some(row) = rows.next()? {
        let whole =
            |column| row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or_default());
        let pico_usd = u128::from(whole(4)?) * u128::from(PICO_PER_MICRO) + u128::from(whole(5)?);
        tell(Drawn {
            budget: Arc::clone(&budget),
            bucket: row.get::<_, String>(0)?.into(),
            // At the end of its minute: sooner than it was drawn nothing is forgotten.
            at: Duration::from_secs(whole(1)?.saturating_mul(60).saturating_add(59)),
            amounts: Amounts {
                cost: Cost::from_pico_usd(pico_usd),
                tokens: Tokens::new(whole(3)?),
                requests: whole(2)?,
            },
        });
    }
    Ok(())
}
