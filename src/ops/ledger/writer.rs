//! The one thread that writes. What goes wrong with the file is said once, and tried again until it goes well.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior};
use tokio::time::Instant;

use super::draws::{self, Draws, minute};
use super::fault::Fault;
use super::file;
use super::rows::{Rows, integer};
use super::sums::{HOUR_MS, Sums};
use super::{Keep, Shared, Standing};
use crate::clock;
use crate::ops::Receipt;

/// How long to wait before the file is tried again: from the first to the longest, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often to look for what is too old.
const SWEEP: Duration = Duration::from_mins(1);
/// The same while more of it is there.
const SWEEP_ON: Duration = Duration::from_millis(250);
/// Requests that are taken out at once.
const SWEPT: i64 = 2_000;

/// Writes until no more will come.
pub fn run(shared: &Shared, path: &Path) {
    let mut batch = Vec::new();
    let mut pause = FIRST_PAUSE;
    let mut is_last = false;
    while let Err(fault) = write_while_well(shared, path, &mut batch, &mut pause) {
        if !fault.may_pass() {
            batch.clear();
            shared.queue.finish(false);
        }
        shared.stand(Standing::Faulty(fault));
        if is_last {
            break;
        }
        is_last = !shared.queue.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    shared.queue.end();
}

/// Opens the file and writes. What could not be written stays in the batch.
fn write_while_well(
    shared: &Shared,
    path: &Path,
    batch: &mut Vec<Arc<Receipt>>,
    pause: &mut Duration,
) -> Result<(), Fault> {
    let connection = file::open(path)?;
    let identity = file::identity(path);
    let mut writer = Writer::prepare(&connection)?;
    let mut sweep_at = Instant::now() + SWEEP_ON;
    loop {
        if !batch.is_empty() {
            if file::identity(path) != identity {
                return Err(Fault::Moved);
            }
            writer.write(batch)?;
            batch.clear();
            shared.queue.finish(true);
            *pause = FIRST_PAUSE;
        }
        shared.stand(Standing::Writing);
        let now = Instant::now();
        if sweep_at <= now {
            sweep_at = now + sweep(&mut writer, shared.keep())?;
        }
        if !shared.queue.take(batch, sweep_at - now) {
            return Ok(());
        }
    }
}

/// Takes out what is too old. Answers when to do so again. Where there is no room for that, a later time will do: if
/// there is none for what comes in either, that will be said.
fn sweep(writer: &mut Writer<'_>, keep: Keep) -> Result<Duration, Fault> {
    match writer.sweep(keep).map_err(Fault::from) {
        Ok(true) => Ok(SWEEP_ON),
        Ok(false) | Err(Fault::Full(_) | Fault::Disk(_) | Fault::Locked) => Ok(SWEEP),
        Err(fault) => Err(fault),
    }
}

/// A ledger that is open, with everything prepared that is done to it often.
pub struct Writer<'c> {
    connection: &'c Connection,
    rows: Rows<'c>,
    sums: Sums<'c>,
    draws: Draws<'c>,
    oldest: Statement<'c>,
}

impl<'c> Writer<'c> {
    /// For this ledger.
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            rows: Rows::prepare(connection)?,
            sums: Sums::prepare(connection)?,
            draws: Draws::prepare(connection)?,
            oldest: connection
                .prepare("SELECT seq + attempts, began_ms FROM requests ORDER BY seq LIMIT ?")?,
        })
    }

    /// Writes all of it or, if it fails, nothing.
    pub fn write(&mut self, batch: &[Arc<Receipt>]) -> rusqlite::Result<()> {
        let Self { connection, rows, sums, draws, .. } = self;
        sums.clear();
        draws.clear();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut last = rows.last()?;
        for receipt in batch {
            last = receipt.read(|story| {
                sums.add(story);
                rows.add(last, story)
            })?;
            draws.add(&receipt.drawn);
        }
        sums.write()?;
        draws.write()?;
        transaction.commit()
    }

    /// Takes out some of what is too old. Answers whether there may be more of it.
    pub fn sweep(&mut self, keep: Keep) -> rusqlite::Result<bool> {
        let now = clock::since_epoch();
        let oldest_ms = integer(now.saturating_sub(keep.requests).as_millis());
        let oldest_hour = integer(now.saturating_sub(keep.sums).as_millis() / u128::from(HOUR_MS));
        // They are numbered nearly in the order of their beginnings.
        let mut swept = (0, None);
        let mut rows = self.oldest.query([SWEPT])?;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? >= oldest_ms {
                break;
            }
            swept = (swept.0 + 1, Some(row.get::<_, i64>(0)?));
        }
        drop(rows);
        let transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        if let (_, Some(last)) = swept {
            transaction.execute("DELETE FROM requests WHERE seq <= ?", [last])?;
            transaction.execute("DELETE FROM attempts WHERE seq <= ?", [last])?;
        }
        transaction.execute("DELETE FROM hours WHERE hour < ?", [oldest_hour])?;
        transaction
            .execute("DELETE FROM draws WHERE minute < ?", [minute(now.saturating_sub(draws::KEPT))])?;
        transaction.execute("DELETE FROM user_days WHERE day < ?", [oldest_hour / 24])?;
        transaction.commit()?;
        Ok(swept.0 == SWEPT)
    }
}
