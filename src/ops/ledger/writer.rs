//! The one thread that writes. What goes wrong with the file is said once, and tried again until it goes well.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior};
use tokio::time::Instant;

use super::cases::{Case, Cases};
use super::draws::{self, Draws, minute};
use super::fault::Fault;
use super::file;
use super::names::Id;
use super::queue::{Batch, Next};
use super::rows::{People, Rows, integer};
use super::sums::{HOUR_MS, Sums};
use super::{Keep, Shared, Standing};
use crate::clock;
use crate::ops::packed;

/// How long to wait before the file is tried again: from the first to the longest, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the sums are written, and what is too old is looked for.
const SWEEP: Duration = Duration::from_mins(1);
/// The same while more of it is there.
const SWEEP_ON: Duration = Duration::from_millis(250);
/// Requests that are taken out at once.
const SWEPT: i64 = 2_000;

/// Writes until no more will come.
pub fn run(shared: &Shared, path: &Path) {
    let mut pause = FIRST_PAUSE;
    let mut is_last = false;
    while let Err(fault) = write_while_well(shared, path, &mut pause) {
        if !fault.may_pass() {
            shared.queue.give_up();
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

/// Opens the file and writes. What could not be written stays in hand.
fn write_while_well(shared: &Shared, path: &Path, pause: &mut Duration) -> Result<(), Fault> {
    let queue = &shared.queue;
    let connection = file::open(path)?;
    let identity = file::identity(path);
    let mut writer = Writer::prepare(&connection)?;
    let mut sweep_at = Instant::now() + SWEEP_ON;
    // What another process, or this one before it was killed, has not added up.
    let mut is_due = true;
    loop {
        let batch = queue.in_hand();
        if !batch.is_empty() {
            if file::identity(path) != identity {
                return Err(Fault::Moved);
            }
            writer.write(&batch)?;
            queue.written(batch);
            *pause = FIRST_PAUSE;
        }
        if is_due || writer.sums.is_enough() {
            writer.add_up()?;
            queue.added_up();
        }
        shared.stand(Standing::Writing);
        let now = Instant::now();
        if sweep_at <= now {
            sweep_at = now + sweep(&mut writer, shared.keep())?;
        }
        match queue.take(sweep_at - now) {
            Next::Write { at_once } => is_due = at_once,
            Next::End => return writer.add_up(),
        }
    }
}

/// Takes out what is too old. Answers when to do so again. Where there is no room for that, a later time will do: if
/// there is none for what comes in either, that will be said.
fn sweep(writer: &mut Writer<'_>, keep: Keep) -> Result<Duration, Fault> {
    match writer.sweep(keep) {
        Ok(true) => Ok(SWEEP_ON),
        Ok(false) | Err(Fault::Full(_) | Fault::Disk(_) | Fault::Locked) => Ok(SWEEP),
        Err(fault) => Err(fault),
    }
}

/// A ledger that is open, with everything prepared that is done to it often.
pub struct Writer<'c> {
    connection: &'c Connection,
    rows: Rows<'c>,
    cases: Cases<'c>,
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
            cases: Cases::prepare(connection)?,
            sums: Sums::prepare(connection)?,
            draws: Draws::prepare(connection)?,
            oldest: connection
                .prepare("SELECT seq, began_ms, case_id FROM request_rows ORDER BY seq LIMIT ?")?,
        })
    }

    /// Writes all of it or, if it fails, nothing. The sums wait.
    pub fn write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let written = self.insert(batch);
        if written.is_err() {
            self.cases.clear();
            self.sums.clear();
        }
        written
    }

    fn insert(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let Self { connection, rows, cases, sums, draws, .. } = self;
        draws.clear();
        cases.begin();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let first = rows.last()? + 1;
        for (seq, story) in (first..).zip(batch.receipts().filter_map(packed::unpack)) {
            let (number, case) = cases.number(&Case::of(&story))?;
            let (id, people) = (Id::of(&story.id), People::of(&story.labels));
            rows.add((seq, seq != first), id, number, &people, &story)?;
            sums.add(seq, id, (number, &case), people, &story);
        }
        draws.add(&batch.drawn);
        draws.write()?;
        transaction.commit()
    }

    /// Brings the sums up to what is written.
    pub fn add_up(&mut self) -> Result<(), Fault> {
        let transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        let last = self.rows.last()?;
        self.sums.write(last)?;
        Ok(transaction.commit()?)
    }

    /// Takes out some of what is too old. Answers whether there may be more of it.
    pub fn sweep(&mut self, keep: Keep) -> Result<bool, Fault> {
        // Only what has been added up may go.
        self.add_up()?;
        let now = clock::since_epoch();
        let oldest_ms = integer(now.saturating_sub(keep.requests).as_millis());
        let hour = |kept: Duration| integer(now.saturating_sub(kept).as_millis() / u128::from(HOUR_MS));
        // They are numbered nearly in the order of their beginnings.
        let mut swept = (0, None);
        let mut rows = self.oldest.query([SWEPT])?;
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? >= oldest_ms {
                break;
            }
            swept = (swept.0 + 1, Some((row.get::<_, i64>(0)?, row.get::<_, i64>(2)?)));
        }
        drop(rows);
        let transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        if let (_, Some((last, case))) = swept {
            transaction.execute("DELETE FROM request_rows WHERE seq <= ?", [last])?;
            transaction.execute("DELETE FROM attempt_rows WHERE request <= ?", [last])?;
            // The last one says how far the sums go.
            let tags = "DELETE FROM tags WHERE through <= ? AND through < (SELECT max(through) FROM tags)";
            transaction.execute(tags, [last])?;
            // Every day has its own cases; another process's clock may be wrong by as much.
            let cases = "DELETE FROM cases WHERE case_id < ?1 \
                AND day < (SELECT day FROM cases WHERE case_id = ?1) - 1";
            transaction.execute(cases, [case])?;
        }
        transaction.execute("DELETE FROM session_hours WHERE start < ?", [hour(keep.requests)])?;
        let oldest_hour = hour(keep.sums);
        transaction.execute("DELETE FROM hours WHERE start < ?", [oldest_hour])?;
        transaction.execute("DELETE FROM days WHERE start < ?", [oldest_hour / 24])?;
        transaction.execute("DELETE FROM user_days WHERE start < ?", [oldest_hour / 24])?;
        transaction
            .execute("DELETE FROM draws WHERE minute < ?", [minute(now.saturating_sub(draws::KEPT))])?;
        transaction.commit()?;
        Ok(swept.0 == SWEPT)
    }
}
