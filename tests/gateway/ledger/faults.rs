//! What can be wrong with the file: said once, no request fails for it, nothing is overwritten, and Piton goes on by
//! itself when it is mended.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::*;
use crate::support::exposition::Exposition;
use crate::support::in_time;

const WARNING: &str = "the ledger is not written";

/// How often the log has said what is wrong.
fn warnings(gateway: &Gateway) -> Vec<String> {
    let messages = gateway.logs().into_iter().filter_map(|line| line["message"].as_str().map(str::to_owned));
    messages.filter(|message| message.starts_with(WARNING)).collect()
}

/// A gateway whose ledger is at this path answers, and says what is wrong. Then `mend` is called, and the ledger must
/// have all of it.
async fn goes_on(path: &Path, state: &str, words: &str, mend: impl FnOnce()) {
    let upstream = upstream().await;
    let more = format!("[ledger]\npath = \"{}\"\n", path.display());
    let gateway = builder(&upstream, &more).start().await;
    ask(&gateway, "during", 3).await;
    let ledger = wait_for(&gateway, state).await;
    assert!(ledger["error"].as_str().unwrap().contains(words), "{ledger:#}");
    assert!(ledger["advice"].is_string() && ledger["path"] == path.to_str().unwrap());
    let metrics = Exposition::of(&gateway).await;
    let states = metrics.with("piton_ledger_state", &[]).filter(|sample| sample.value > 0.5);
    let states: Vec<&str> = states.map(|sample| sample.labels["state"].as_str()).collect();
    assert_eq!(states, [state]);
    assert_eq!(gateway.get("/piton/api/requests/during-0").await.status, 200, "it is still in memory");
    // Tried again, and still wrong: not said again.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let said = warnings(&gateway);
    assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
    mend();
    wait_for(&gateway, "ok").await;
    ask(&gateway, "after", 2).await;
    let total = spent(&gateway, "").await["total"].clone();
    assert_eq!((&total["requests"], &total["failed"]), (&json!(5), &json!(0)));
    assert_eq!(gateway.events("the ledger is written again").len(), 1);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let newer = Connection::open(&path).unwrap();
    newer
        .execute_batch(
            "PRAGMA application_id = 0x5049544F; PRAGMA user_version = 4711; CREATE TABLE later (x)",
        )
        .unwrap();
    newer.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    goes_on(&path, "newer", "version 4711", || {
        assert!(before == std::fs::read(&path).unwrap(), "the file has changed");
        std::fs::rename(&path, folder.path().join("kept")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let garbage = b"This was a ledger once. ".repeat(1000);
    std::fs::write(&path, &garbage).unwrap();
    goes_on(&path, "corrupt", "damaged", || {
        assert!(garbage == std::fs::read(&path).unwrap(), "the file has changed");
        std::fs::remove_file(&path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_of_another_program_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    theirs.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    goes_on(&path, "foreign", "another program", || {
        assert!(before == std::fs::read(&path).unwrap(), "the file has changed");
        std::fs::remove_file(&path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_directory_in_its_place_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    std::fs::create_dir(&path).unwrap();
    goes_on(&path, "directory", "a directory", || std::fs::remove_dir(&path).unwrap()).await;
}

#[tokio::test]
async fn a_file_that_another_process_locks_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    goes_on(&path, "locked", "locked", || drop(other)).await;
}

/// A place where nobody may make a file, whoever he is.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_state_directory_that_may_only_be_read_costs_no_request() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").env("PITON_STATE_DIR", "/sys/piton").start().await;
    ask(&gateway, "r", 3).await;
    let ledger = wait_for(&gateway, "unwritable").await;
    assert_eq!(ledger["path"], "/sys/piton/ledger.sqlite");
    assert_eq!(ledger["waiting"], 3);
    assert_eq!(gateway.get("/piton/api/requests/r-2").await.status, 200);
    let answer = gateway.get("/piton/api/spend").await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("ledger_unreadable")));
    assert_eq!(warnings(&gateway).len(), 1);
}

/// The limit on the size of files stands for a disk without room: it can be lifted while the process runs.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_costs_no_request_and_is_gone_on_with_when_it_has_room() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").outliving_file_limits().start().await;
    ask(&gateway, "before", 2).await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 2);
    let pid = Pid::from_raw(gateway.pid().try_into().unwrap());
    let limit = Rlimit { current: Some(4096), maximum: None };
    let unlimited = prlimit(pid, Resource::Fsize, limit).unwrap();
    ask(&gateway, "during", 40).await;
    wait_for(&gateway, "disk").await;
    assert_eq!(gateway.get("/piton/api/requests/during-39").await.status, 200);
    assert_eq!(warnings(&gateway).len(), 1);
    prlimit(pid, Resource::Fsize, unlimited).unwrap();
    wait_for(&gateway, "ok").await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 42);
    let sound: String =
        open(&file(&gateway)).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test]
async fn a_page_that_rots_later_is_told_and_answers_go_on() {
    let upstream = upstream().await;
    let mut gateway = builder(&upstream, "").start().await;
    ask(&gateway, "early", 50).await;
    gateway.terminate();
    gateway.exited().await;
    let path = file(&gateway);
    let mut bytes = std::fs::read(&path).unwrap();
    // The head stays whole: everything behind it is garbage.
    bytes[4096..].iter_mut().for_each(|byte| *byte = 0x5a);
    std::fs::write(&path, &bytes).unwrap();
    let gateway = gateway.kill_and_start_again().await;
    ask(&gateway, "late", 2).await;
    wait_for(&gateway, "corrupt").await;
    in_time("an answer", ask(&gateway, "later", 2)).await;
    assert_eq!(gateway.get("/piton/api/spend").await.status, 503);
    std::fs::rename(&path, gateway.directory().join("kept")).unwrap();
    wait_for(&gateway, "ok").await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 4);
}

#[tokio::test]
async fn a_file_that_is_moved_away_meanwhile_is_followed_by_a_new_one() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").start().await;
    ask(&gateway, "before", 2).await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 2);
    let kept = gateway.directory().join("kept");
    std::fs::rename(file(&gateway).parent().unwrap(), &kept).unwrap();
    ask(&gateway, "after", 3).await;
    gateway.wait_for_log("the new one", |line| line["message"] == "the ledger is written again").await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 3);
    assert_eq!(count(&open(&file(&gateway)), "SELECT count(*) FROM requests WHERE id LIKE 'after-%'"), 3);
    assert_eq!(count(&open(&kept.join("ledger.sqlite")), "SELECT count(*) FROM requests"), 2);
    let said = warnings(&gateway);
    assert!(said.len() == 1 && said[0].contains("moved"), "{said:?}");
}
