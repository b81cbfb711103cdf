//! The tables. What was released is never changed: a new version adds a step.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;

/// "PITO": tells Piton's files from those of other programs.
const APPLICATION_ID: i64 = 0x5049_544F;

/// Each step leads from the version of its place to the next. `PRAGMA user_version` counts the steps that were made.
const STEPS: [&str; 1] = [FIRST];

/// What a request tells stands in one row, together with its most telling attempt: the one that served, else the last.
/// The others, if there are any, have a table. What many requests have in common is a row of `cases`, written once a
/// day. Ids and pseudonyms are as short as they can be: see `names`. The views `requests` and `attempts` put all that
/// together again, for people. Money is in pico-USD, times in microseconds where the name says nothing else. `skips`
/// are the lines of the trail that are no attempts, each with its place; `more` is what few receipts tell. `tags` finds
/// requests by their ids; the rows up to the last `through` stand in the sums. These are packed: see `chunk`. Draws hold
/// money in two columns, whole micro-USD and the pico-USD that are left, so that no sum can overflow.
const FIRST: &str = "
CREATE TABLE cases (
    case_id INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    operation TEXT,
    chain TEXT,
    config TEXT,
    outcome TEXT,
    key TEXT,
    task TEXT,
    tier TEXT,
    fallback_reason TEXT,
    target TEXT,
    attempt_outcome TEXT,
    current_model TEXT,
    status INTEGER,
    streamed INTEGER,
    served INTEGER,
    attempts INTEGER,
    number INTEGER,
    target_index INTEGER,
    attempt_status INTEGER,
    usage_is_estimate INTEGER,
    has_own_cost INTEGER
);
CREATE TABLE request_rows (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    case_id INTEGER NOT NULL,
    began_ms INTEGER NOT NULL,
    latency INTEGER NOT NULL,
    overhead INTEGER,
    user BLOB,
    session BLOB,
    upstream_request_id TEXT,
    attempt_latency INTEGER,
    first_token INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    attempt_cost INTEGER,
    estimated_input_low INTEGER,
    estimated_input INTEGER,
    estimated_output INTEGER,
    estimated_cost INTEGER,
    cached_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    input_audio_tokens INTEGER,
    output_audio_tokens INTEGER,
    web_searches INTEGER,
    stated_cost INTEGER,
    unreadable_events INTEGER,
    own_cost INTEGER,
    cost_at_first INTEGER,
    dropped TEXT,
    attempt_more TEXT,
    skips TEXT,
    more TEXT
);
CREATE TABLE attempt_rows (
    request INTEGER NOT NULL,
    number INTEGER NOT NULL,
    target TEXT NOT NULL,
    target_index INTEGER NOT NULL,
    attempt_outcome TEXT NOT NULL,
    attempt_status INTEGER,
    current_model TEXT,
    usage_is_estimate INTEGER NOT NULL,
    upstream_request_id TEXT,
    attempt_latency INTEGER,
    first_token INTEGER,
    input_tokens INTEGER,
    output_tokens INTEGER,
    attempt_cost INTEGER,
    estimated_input_low INTEGER,
    estimated_input INTEGER,
    estimated_output INTEGER,
    estimated_cost INTEGER,
    cached_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    input_audio_tokens INTEGER,
    output_audio_tokens INTEGER,
    web_searches INTEGER,
    stated_cost INTEGER,
    unreadable_events INTEGER,
    dropped TEXT,
    attempt_more TEXT,
    PRIMARY KEY (request, number)
) WITHOUT ROWID;
CREATE VIEW requests AS SELECT
    seq,
    CASE typeof(id) WHEN 'blob' THEN lower(hex(substr(id, 1, 4)) || '-' || hex(substr(id, 5, 2)) || '-' ||
        hex(substr(id, 7, 2)) || '-' || hex(substr(id, 9, 2)) || '-' || hex(substr(id, 11))) ELSE id END AS id,
    operation, began_ms, datetime(began_ms / 1000, 'unixepoch') AS began, chain, config, outcome, status, streamed,
    CASE WHEN served IS NOT NULL THEN target END AS target, served AS target_index, attempts, fallback_reason,
    latency, overhead,
    CASE WHEN served IS NULL THEN 0 ELSE coalesce(input_tokens, 0) END AS input_tokens,
    CASE WHEN served IS NULL THEN 0 ELSE coalesce(output_tokens, 0) END AS output_tokens,
    CASE WHEN served IS NULL THEN 0 ELSE coalesce(cached_tokens, 0) END AS cached_tokens,
    CASE WHEN has_own_cost THEN own_cost ELSE attempt_cost END AS cost,
    CASE WHEN served IS NOT NULL THEN attempt_cost END AS served_cost,
    cost_at_first, key,
    CASE typeof(user) WHEN 'integer' THEN printf('%016x', user) ELSE user END AS user,
    CASE typeof(session) WHEN 'integer' THEN printf('%016x', session) ELSE session END AS session,
    task, tier, skips, more
FROM request_rows JOIN cases USING (case_id);
CREATE VIEW attempts AS SELECT
    seq AS request, number, target, target_index, attempt_outcome AS outcome, attempt_status AS status, current_model,
    upstream_request_id, attempt_latency AS latency, first_token, coalesce(input_tokens, 0) AS input_tokens,
    coalesce(output_tokens, 0) AS output_tokens, coalesce(cached_tokens, 0) AS cached_tokens,
    coalesce(reasoning_tokens, 0) AS reasoning_tokens, coalesce(cache_write_tokens, 0) AS cache_write_tokens,
    coalesce(cache_write_1h_tokens, 0) AS cache_write_1h_tokens, coalesce(input_audio_tokens, 0) AS input_audio_tokens,
    coalesce(output_audio_tokens, 0) AS output_audio_tokens, coalesce(web_searches, 0) AS web_searches,
    usage_is_estimate, stated_cost, attempt_cost AS cost, coalesce(unreadable_events, 0) AS unreadable_events,
    dropped, attempt_more AS more
FROM request_rows JOIN cases USING (case_id) WHERE number IS NOT NULL
UNION ALL SELECT
    request, number, target, target_index, attempt_outcome, attempt_status, current_model, upstream_request_id,
    attempt_latency, first_token, coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cached_tokens, 0),
    coalesce(reasoning_tokens, 0), coalesce(cache_write_tokens, 0), coalesce(cache_write_1h_tokens, 0),
    coalesce(input_audio_tokens, 0), coalesce(output_audio_tokens, 0), coalesce(web_searches, 0), usage_is_estimate,
    stated_cost, attempt_cost, coalesce(unreadable_events, 0), dropped, attempt_more
FROM attempt_rows;
CREATE TABLE tags (through INTEGER PRIMARY KEY, tags BLOB NOT NULL);
CREATE TABLE hours (start INTEGER PRIMARY KEY, sums BLOB NOT NULL);
CREATE TABLE days (start INTEGER PRIMARY KEY, sums BLOB NOT NULL);
CREATE TABLE user_days (start INTEGER PRIMARY KEY, sums BLOB NOT NULL);
CREATE TABLE session_hours (start INTEGER PRIMARY KEY, sums BLOB NOT NULL);
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
