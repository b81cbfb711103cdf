//! The ledger without its thread: what goes in, what comes out, what happens when it does not fit.

use tokio::time::Instant;

use super::rows::find;
use super::spend::{Facet, Spent};
use super::writer::Writer;
use super::*;
use crate::reason::{Class, Skip};
use crate::routing::ceiling::Estimate;
use crate::routing::{Origin, Outcome, SkipRecord, Trail};
use crate::units::{Cost, Tokens};

/// A request that began so many hours after the epoch and whose one attempt cost so much.
fn receipt(id: &str, hour: u64, pico_usd: u128) -> Receipt {
    let trail = Trail::default();
    let attempt = trail.begin(0, &"a/m".into(), Instant::now(), Estimate::default());
    trail.update(attempt, |record| {
        record.outcome = Some(Outcome::Ok);
        record.cost = Some(Cost::from_pico_usd(pico_usd));
        record.usage.prompt = Tokens::new(10);
    });
    let origin = Origin { request_id: id.into(), chain: "chain".into(), ..Origin::default() };
    Receipt {
        origin: Arc::new(origin),
        trail,
        config: "c0ffee".into(),
        served: Some(0),
        max_cost: None,
        cost_at_first: None,
        bounds: Vec::new(),
        drawn: Vec::new(),
        outcome: "ok",
        status: 200,
        latency: Duration::from_micros(1234),
        overhead: None,
        began_ms: hour * 3_600_000,
    }
}

/// The same with other labels.
fn labelled(receipt: Receipt, label: impl FnOnce(&mut Origin)) -> Arc<Receipt> {
    let mut origin = (*receipt.origin).clone();
    label(&mut origin);
    Arc::new(Receipt { origin: Arc::new(origin), ..receipt })
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

/// The total, which must be the same whatever table it comes from.
fn total(connection: &Connection) -> Spent {
    let totals = [Facet::Chain, Facet::User, Facet::Session].map(|by| spent(connection, &[by]).total);
    assert_eq!(totals[0], totals[1]);
    assert_eq!(totals[0], totals[2]);
    totals[0]
}

#[test]
fn sums_lose_no_pico_usd_and_do_not_overflow() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    // Nine million USD each: three of them are more than SQLite's integers hold in pico-USD.
    let most = u128::try_from(i64::MAX).unwrap();
    for id in ["a", "b", "c"] {
        writer.write(&[Arc::new(receipt(id, 1, most)), Arc::new(receipt(id, 2, 1))]).unwrap();
    }
    let sums = total(&connection);
    assert_eq!(sums.requests, 6);
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
    writer.write(&[Arc::new(receipt("first", 1, 5))]).unwrap();
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(pages);
    let batch: Vec<_> = (0..200).map(|id| Arc::new(receipt(&format!("more-{id}"), 1, 7))).collect();
    let fault = Fault::from(writer.write(&batch).unwrap_err());
    assert!(matches!(fault, Fault::Full(_)) && fault.may_pass(), "{fault:?}");
    assert_eq!(total(&connection).requests, 1);
    limit(1_000_000);
    writer.write(&batch).unwrap();
    let sums = total(&connection);
    assert_eq!((sums.requests, sums.attempts, sums.input_tokens), (201, 201, 2010));
    assert_eq!(sums.cost.to_string(), "0.000000001405");
}

#[test]
fn names_that_clients_make_up_share_a_row_beyond_a_limit() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let made_up = |number: usize| {
        labelled(receipt("x", 1, 1), |origin| {
            origin.task = Some(format!("task-{number}"));
            origin.user = Some(format!("user-{number}"));
        })
    };
    let batches: Vec<_> = (0..12_000).map(made_up).collect();
    batches.chunks(2_000).for_each(|batch| writer.write(batch).unwrap());
    let rows = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((rows("hours"), rows("user_days")), (10_001, 10_001));
    assert_eq!(total(&connection).requests, 12_000);
    let only = Question { only: vec![(Facet::User, vec!["(others)".into()])], ..Question::default() };
    assert_eq!(spend::answer(&connection, &only).unwrap().total.requests, 2_000);
    // The next day has room again.
    writer.write(&[labelled(receipt("y", 30, 1), |origin| origin.user = Some("user-11999".into()))]).unwrap();
    assert_eq!(rows("user_days"), 10_002);
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
    writer.write(&[Arc::clone(&receipt), Arc::new(other)]).unwrap();
    let kept = |reader| find(&connection, "r", reader).unwrap();
    assert_eq!(kept(Reader::Admin).unwrap().to_json(), receipt.to_json());
    receipt.read(|story| assert_eq!(kept(Reader::Key("k")).as_ref(), Some(story)));
    assert!(kept(Reader::Key("other")).is_none());
}

#[test]
fn what_is_too_old_is_taken_out_piece_by_piece() {
    let (_folder, connection) = opened();
    let mut writer = Writer::prepare(&connection).unwrap();
    let old: Vec<_> = (0..2_500).map(|id| Arc::new(receipt(&format!("old-{id}"), 1, 1))).collect();
    writer.write(&old).unwrap();
    let this_hour = crate::clock::unix_seconds() / 3600;
    writer.write(&[Arc::new(receipt("new", this_hour, 1))]).unwrap();
    let keep = Keep { requests: Duration::from_hours(24), sums: Duration::from_hours(48) };
    assert!(writer.sweep(keep).unwrap(), "there is more");
    let count = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("requests"), count("attempts"), count("hours")), (501, 501, 1));
    assert!(!writer.sweep(keep).unwrap());
    assert_eq!((count("requests"), count("attempts")), (1, 1));
    assert!(find(&connection, "new", Reader::Admin).unwrap().is_some());
}
