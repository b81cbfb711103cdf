//! The ledger without its thread: what goes in, what comes out, what happens when it does not fit.

use rusqlite::Connection;
use tokio::time::Instant;

use super::queue::Batch;
use super::rows::find;
use super::spend::{Answer, Facet, Question};
use super::writer::Writer;
use super::*;
use crate::ops::{packed, sample};
use crate::reason::{Class, Skip};
use crate::routing::ceiling::Estimate;
use crate::routing::{Origin, Outcome, SkipRecord, Trail};
use crate::units::{Cost, Tokens};

/// Writes an attempt down that ended so and cost so much.
fn attempt(trail: &Trail, (index, target): (usize, &str), outcome: Outcome, pico_usd: Option<u128>) {
    let attempt = trail.begin(index, &target.into(), Instant::now(), Estimate::default());
    trail.update(attempt, |record| {
        record.outcome = Some(outcome);
        record.cost = pico_usd.map(Cost::from_pico_usd);
        record.usage.prompt = Tokens::new(10);
    });
}

/// A request that began so many hours after the epoch and whose one attempt cost so much.
fn receipt(id: &str, hour: u64, pico_usd: u128) -> Receipt {
    let trail = Trail::default();
    attempt(&trail, (0, "a/m"), Outcome::Ok, Some(pico_usd));
    let origin = Origin { request_id: id.into(), chain: "chain".into(), ..Origin::default() };
    sample(origin, trail, hour * 3_600_000)
}

/// One whose first target fails, and whose second serves at a price that nobody knows.
fn failed_over(id: &str, hour: u64) -> Receipt {
    let trail = Trail::default();
    attempt(&trail, (0, "a/m"), Outcome::Failed(Class::RateLimited), Some(1));
    attempt(&trail, (1, "b/m"), Outcome::Ok, None);
    Receipt { trail, served: Some(1), ..receipt(id, hour, 0) }
}

/// The same with other labels.
fn labelled(receipt: Receipt, label: impl FnOnce(&mut Origin)) -> Receipt {
    let mut origin = (*receipt.origin).clone();
    label(&mut origin);
    Receipt { origin: Arc::new(origin), ..receipt }
}

fn batch<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Batch {
    let mut batch = Batch::default();
    receipts
        .into_iter()
        .for_each(|receipt| packed::pack(receipt, |packed| batch.push(packed, &receipt.drawn)));
    batch
}

fn opened() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let connection = file::open(&folder.path().join("ledger.sqlite")).unwrap();
    (folder, connection)
}

fn spent(connection: &Connection, by: &[Facet]) -> Answer {
    let question = Question { by: by.to_vec(), limit: 100, ..Question::default() };
    spend::answer(connection, &question).unwrap()
}

/// The total, which must be the same whatever it comes from.
fn total(writer: &mut Writer<'_>, connection: &Connection) -> Spent {
    writer.add_up().unwrap();
    let all = [vec![Facet::Chain], vec![Facet::Hour], vec![Facet::User], vec![Facet::Session]];
    let all = all.into_iter().chain([vec![Facet::User, Facet::Task]]);
    let totals: Vec<Answer> = all.map(|by| spent(connection, &by)).collect();
    let sources: Vec<&str> = totals.iter().map(|answer| answer.source.name()).collect();
    assert_eq!(sources, ["hours", "hours", "user_days", "sessions", "requests"]);
    totals.iter().for_each(|answer| assert_eq!(answer.total, totals[0].total, "{:?}", answer.source));
    totals[0].total
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn sums_lose_no_pico_usd_and_do_not_overflow() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    // Nine million USD each: three of them are more than SQLite's integers hold in pico-USD.
    let most = u128::try_from(i64::MAX).unwrap();
    for id in ["a", "b", "c"] {
        writer.write(&batch(&[receipt(id, 1, most), receipt(id, 2, 1)])).unwrap();
    }
    let sums = total(&mut writer, &connection);
    assert_eq!(sums.requests(), 6);
    let expected = 3 * (most + 1);
    assert_eq!(
        sums.cost.to_string(),
        format!("{}.{:012}", expected / 10_u128.pow(12), expected % 10_u128.pow(12))
    );
    assert_eq!((sums.cost, sums.difference().to_string().as_str()), (sums.at_first, "0.000000000000"));
}

#[test]
fn what_does_not_fit_leaves_nothing_behind_and_goes_in_later() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    writer.write(&batch(&[receipt("first", 1, 5)])).unwrap();
    assert_eq!(total(&mut writer, &connection).requests(), 1);
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(pages);
    let all: Vec<_> = (0..200).map(|id| receipt(&format!("more-{id}"), 1, 7)).collect();
    let fault = Fault::from(writer.write(&batch(&all)).unwrap_err());
    assert!(matches!(fault, Fault::Full(_)) && fault.may_pass(), "{fault:?}");
    assert_eq!(total(&mut writer, &connection).requests(), 1);
    limit(1_000_000);
    writer.write(&batch(&all)).unwrap();
    let sums = total(&mut writer, &connection);
    assert_eq!(sums.counts, [201, 0, 0, 201, 0, 2010, 0, 0]);
    assert_eq!(sums.cost.to_string(), "0.000000001405");
}

#[test]
fn what_was_not_added_up_is_added_up_by_whoever_comes_next() {
    let (folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let ann = |receipt| labelled(receipt, |origin| origin.user = Some("ann".into()));
    writer.write(&batch(&[receipt("a", 1, 1), ann(failed_over("b", 2))])).unwrap();
    assert_eq!(spent(&connection, &[Facet::Chain]).total, Spent::default());
    // Two processes write at the same time, and one of them ends without a word.
    let other = file::open(&folder.path().join("ledger.sqlite")).unwrap();
    let mut other = Writer::prepare(&other).unwrap();
    other.write(&batch(&[receipt("c", 1, 100)])).unwrap();
    other.add_up().unwrap();
    writer.write(&batch(&[ann(receipt("d", 1, 1000))])).unwrap();
    other.write(&batch(&[receipt("e", 30, 10_000)])).unwrap();
    drop(writer);
    let sums = total(&mut other, &connection);
    assert_eq!(sums.counts, [5, 0, 1, 6, 1, 60, 0, 0]);
    assert_eq!(sums.cost.to_string(), "0.000000011102");
    let only = Question { only: vec![(Facet::User, vec!["ann".into()])], ..Question::default() };
    assert_eq!(spend::answer(&connection, &only).unwrap().total.requests(), 2);
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(find(&connection, id, Reader::Admin).unwrap().unwrap().id, id);
    }
    // Added up once more, nothing is added twice.
    assert_eq!(total(&mut other, &connection), sums);
}

#[test]
fn a_stretch_of_time_may_cut_days_and_hours_are_told_apart() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let all: Vec<_> = (0..96).map(|hour| receipt("x", hour, 1)).collect();
    writer.write(&batch(&all)).unwrap();
    writer.add_up().unwrap();
    for by in [Facet::Chain, Facet::User, Facet::Session, Facet::Hour] {
        for (from, to) in [(0, 96), (24, 48), (5, 96), (5, 60), (50, 60), (23, 25), (95, 2000)] {
            let question =
                Question { by: vec![by], from: Some(from), to: Some(to), limit: 100, ..Question::default() };
            let found = spend::answer(&connection, &question).unwrap();
            assert_eq!(i64::try_from(found.total.requests()), Ok(to.min(96) - from), "{by:?} {from} {to}");
        }
    }
    let days = spent(&connection, &[Facet::Day, Facet::Hour]);
    assert_eq!(days.rows[25].0, ["1970-01-02", "1970-01-02T01:00:00Z"].map(|time| Some(time.to_owned())));
    assert_eq!(spent(&connection, &[Facet::Week]).rows[0].0, [Some("1970-01-01".to_owned())]);
}

#[test]
fn names_that_clients_make_up_share_a_line_beyond_a_limit() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let made_up = |number: usize| {
        labelled(receipt("x", 1, 1), |origin| {
            origin.task = Some(format!("task-{number}"));
            origin.user = Some(format!("user-{number}"));
        })
    };
    let batches: Vec<_> = (0..12_000).map(made_up).collect();
    for all in batches.chunks(2_000) {
        writer.write(&batch(all)).unwrap();
        writer.add_up().unwrap();
    }
    let lines = |by: Facet, from: Option<i64>| {
        let question = Question { by: vec![by], from, limit: 20_000, ..Question::default() };
        spend::answer(&connection, &question).unwrap().rows.len()
    };
    assert_eq!((lines(Facet::Task, None), lines(Facet::User, None)), (10_001, 10_001));
    let only = Question { only: vec![(Facet::User, vec!["(others)".into()])], ..Question::default() };
    assert_eq!(spend::answer(&connection, &only).unwrap().total.requests(), 2_000);
    // The next day has room again.
    writer
        .write(&batch(&[labelled(receipt("y", 30, 1), |origin| origin.user = Some("user-11999".into()))]))
        .unwrap();
    assert_eq!(total(&mut writer, &connection).requests(), 12_001);
    assert_eq!(lines(Facet::User, Some(24)), 1);
}

#[test]
fn a_receipt_comes_out_as_it_went_in() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let (other, receipt) = (receipt("other", 1, 1), receipt("r", 1, 42));
    let skip = SkipRecord {
        aside: None,
        index: 1,
        target: "b/m".into(),
        key_number: None,
        in_last: false,
        skip: Skip::Capability("vision"),
        ready_at: None,
        cause: None,
        estimate: Estimate { input_low: Tokens::new(3), ..Estimate::default() },
    };
    receipt.trail.skip(skip);
    let failed = receipt.trail.begin(2, &"c/m".into(), Instant::now(), Estimate::default());
    receipt.trail.update(failed, |record| {
        record.outcome = Some(Outcome::Failed(Class::RateLimited));
        record.usage.cache_write_1h = Tokens::new(5);
        record.usage.web_searches = 2;
        record.usage_is_estimate = true;
        record.dropped = vec!["seed".into()];
        record.unreadable_events = 4;
        record.first_content = Some(Duration::from_millis(7));
        record.upstream_request_id = Some("up-1".into());
    });
    let receipt = labelled(receipt, |origin| {
        origin.key = Some("k".into());
        origin.session = Some("s".into());
        origin.streamed = true;
    });
    writer.write(&batch([&receipt, &other])).unwrap();
    let kept = |reader| find(&connection, "r", reader).unwrap();
    assert_eq!(kept(Reader::Admin).unwrap().to_json(), receipt.to_json());
    receipt.read(|story| assert_eq!(kept(Reader::Key("k")).as_ref(), Some(story)));
    assert!(kept(Reader::Key("other")).is_none());
}

#[test]
fn what_is_too_old_is_taken_out_piece_by_piece() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let old: Vec<_> = (0..2_500).map(|id| failed_over(&format!("old-{id}"), 1)).collect();
    writer.write(&batch(&old)).unwrap();
    connection.execute("UPDATE cases SET day = day - 2", []).unwrap();
    drop(writer);
    let mut writer = Writer::prepare(&connection).unwrap();
    let this_hour = crate::clock::unix_seconds() / 3600;
    writer.write(&batch(&[receipt("new", this_hour, 1)])).unwrap();
    let keep = Keep { requests: Duration::from_hours(24), sums: Duration::from_hours(48) };
    assert!(writer.sweep(keep).unwrap(), "there is more");
    let counts = || ["requests", "attempts", "hours", "session_hours"].map(|table| count(&connection, table));
    assert_eq!(counts(), [501, 1001, 1, 1]);
    assert!(!writer.sweep(keep).unwrap());
    assert_eq!(counts(), [1, 1, 1, 1]);
    assert!(find(&connection, "new", Reader::Admin).unwrap().is_some());
    // Numbers are not given twice, even when nothing is left.
    connection.execute("DELETE FROM request_rows", []).unwrap();
    writer.write(&batch(&[receipt("newest", this_hour, 1)])).unwrap();
    writer.add_up().unwrap();
    assert_eq!(spent(&connection, &[Facet::Chain]).total.requests(), 2);
}
