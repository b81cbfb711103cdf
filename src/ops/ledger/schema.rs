//! The tables. What was released is never changed: a new version adds a step.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;

/// "PITO": tells Piton's files from those of other programs.
const APPLICATION_ID: i64 = 0x5049_544F;

/// Each step leads from the version of its place to the next. `PRAGMA user_version` counts the steps that were made.
const STEPS: [&str; 2] = [FIRST, DRAWS];

/// A request's `seq` is followed by those of its attempts: they are `seq + 1` to `seq + attempts` of the other table,
/// so that neither needs an index to find the other. Money is in pico-USD, times in microseconds where the name says
/// nothing else. `skips` are the lines of the trail that are no attempts, each with its place; `more` is what few
/// receipts tell. The sums hold money in two columns, whole micro-USD and the pico-USD that are left, so that no sum
/// can overflow; absent labels are empty there. Users are many, so their sums are of days.
const FIRST: &str = "
CREATE TABLE requests (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    operation TEXT NOT NULL,
    began_ms INTEGER NOT NULL,
    chain TEXT NOT NULL,
    config TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    target TEXT,
    target_index INTEGER,
    attempts INTEGER NOT NULL,
    fallback_reason TEXT,
    latency INTEGER NOT NULL,
    overhead INTEGER,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost INTEGER,
    served_cost INTEGER,
    cost_at_first INTEGER,
    key TEXT,
    user TEXT,
    session TEXT,
    task TEXT,
    tier TEXT,
    skips TEXT,
    more TEXT
);
CREATE INDEX requests_by_id ON requests (id);
CREATE INDEX requests_by_session ON requests (session) WHERE session IS NOT NULL;
CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    target_index INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    current_model TEXT,
    upstream_request_id TEXT,
    latency INTEGER NOT NULL,
    first_token INTEGER,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_write_1h_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    input_audio_tokens INTEGER NOT NULL,
    output_audio_tokens INTEGER NOT NULL,
    web_searches INTEGER NOT NULL,
    usage_is_estimate INTEGER NOT NULL,
    stated_cost INTEGER,
    cost INTEGER,
    unreadable_events INTEGER NOT NULL,
    estimated_input_low INTEGER NOT NULL,
    estimated_input INTEGER NOT NULL,
    estimated_output INTEGER NOT NULL,
    estimated_cost INTEGER,
    dropped TEXT,
    more TEXT
);
CREATE TABLE hours (
    hour INTEGER NOT NULL,
    chain TEXT NOT NULL,
    target TEXT NOT NULL,
    key TEXT NOT NULL,
    task TEXT NOT NULL,
    tier TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    fallbacks INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost_micro INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    first_micro INTEGER NOT NULL,
    first_pico INTEGER NOT NULL,
    PRIMARY KEY (hour, chain, target, key, task, tier)
) WITHOUT ROWID;
CREATE TABLE user_days (
    day INTEGER NOT NULL,
    user TEXT NOT NULL,
    chain TEXT NOT NULL,
    key TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    fallbacks INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    cost_micro INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    first_micro INTEGER NOT NULL,
    first_pico INTEGER NOT NULL,
    PRIMARY KEY (day, user, chain, key)
) WITHOUT ROWID;
";

/// What was drawn from budgets. Money is in two columns here too.
const DRAWS: &str = "
CREATE TABLE draws (
    budget TEXT NOT NULL,
    minute INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost_micro INTEGER NOT NULL,
    cost_pico INTEGER NOT NULL,
    PRIMARY KEY (budget, minute, bucket)
) WITHOUT ROWID;
";

/// Whether the file is one that this version can write: a fresh one, or a ledger that is not newer. Only looks.
pub fn recognise(connection: &Connection) -> Result<(), Fault> {
    let id: i64 = pragma(connection, "application_id")?;
    let version: i64 = pragma(connection, "user_version")?;
    if id != APPLICATION_ID {
        let tables: i64 = connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let is_fresh = id == 0 && version == 0 && tables == 0;
        return if is_fresh { Ok(()) } else { Err(Fault::Foreign) };
    }
    let known = known();
    if version > known { Err(Fault::Newer { version, known }) } else { Ok(()) }
}

/// Makes the steps that are still to be made.
pub fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    if pragma(connection, "user_version")? >= known() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    recognise(&transaction)?;
    let version = usize::try_from(pragma(&transaction, "user_version")?).unwrap_or_default();
    for step in STEPS.iter().skip(version) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known())?;
    Ok(transaction.commit()?)
}

fn known() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_known_again() {
        let mut connection = Connection::open_in_memory().unwrap();
        recognise(&connection).unwrap();
        migrate(&mut connection).unwrap();
        recognise(&connection).unwrap();
        assert_eq!(pragma(&connection, "user_version").unwrap(), known());
        migrate(&mut connection).unwrap();
        connection.pragma_update(None, "user_version", known() + 3).unwrap();
        let newer = Fault::Newer { version: known() + 3, known: known() };
        assert_eq!(recognise(&connection), Err(newer));
    }

    #[test]
    fn files_of_other_programs_are_left_alone() {
        for sql in ["CREATE TABLE theirs (x)", "PRAGMA user_version = 7", "PRAGMA application_id = 7"] {
            let mut connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(sql).unwrap();
            assert_eq!(recognise(&connection), Err(Fault::Foreign), "{sql}");
            if !sql.contains("user_version") {
                assert_eq!(migrate(&mut connection), Err(Fault::Foreign), "{sql}");
            }
        }
    }
}
