//! What survives the process, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_clean_end_writes_everything_down() {
    let upstream = upstream().await;
    let mut gateway = builder(&upstream, "").start().await;
    ask(&gateway, "r", 7).await;
    gateway.terminate();
    assert_eq!(gateway.exited().await.code(), Some(0));
    let ledger = open(&file(&gateway));
    assert_eq!(count(&ledger, "SELECT count(*) FROM requests WHERE outcome = 'ok' AND cost = 3700000000"), 7);
    assert_eq!(count(&ledger, "SELECT count(*) FROM attempts WHERE input_tokens = 1000"), 7);
    assert_eq!(count(&ledger, "SELECT count(*) FROM requests WHERE target = 'p0/m0'"), 7);
    // Added up to the last one.
    assert_eq!(count(&ledger, "SELECT max(through) FROM tags"), 7);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file(&gateway)), mode(file(&gateway).parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_killed_process_loses_the_last_second_at_most_and_breaks_nothing() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").start().await;
    ask(&gateway, "early", 20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = async {
        loop {
            ask(&gateway, "late", 1).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(700), during).await;
    let gateway = gateway.kill_and_start_again().await;
    let ledger = open(&file(&gateway));
    assert_eq!(count(&ledger, "SELECT count(*) FROM requests WHERE id LIKE 'early-%'"), 20);
    let sound: String = ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    // What is told agrees with what is there, sums and rows alike.
    let rows = count(&ledger, "SELECT count(*) FROM requests");
    assert_eq!(spent(&gateway, "?by=chain").await["total"]["requests"], rows);
    ask(&gateway, "again", 1).await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], rows + 1);
}

#[tokio::test]
async fn a_receipt_is_told_alike_from_memory_and_from_the_ledger() {
    let failing = Upstream::always(replies::openai_error(503, "overloaded", None, "busy")).await;
    let serving = upstream().await;
    let more = "[models.\"p2/m2\"]\nprice = { input = 3, output = 7 }\n\
        [models.\"p1/m1\"]\nprice = { input = 1, output = 1 }\n\
        [models.\"p0/m0\"]\nprice = { input = 1000000, output = 1 }\n";
    let targets = "targets = [\"p0/m0\", \"p1/m1\", { model = \"p2/m2\", max_cost = 5 }]";
    let targets_of = [("openai", failing.url()), ("openai", failing.url()), ("openai", serving.url())];
    let config = chain::config(&targets_of, "max_attempts = 5")
        .replace("targets = [\"p0/m0\", \"p1/m1\", \"p2/m2\"]", targets);
    let config = config + more + "[defaults]\nretries = 0\nmax_cost = 50\n";
    let gateway = Gateway::with(&config).env("KEY", "k").start().await;
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "told"),
        ("x-piton-user", "alice"),
        ("x-piton-session", "s1"),
        ("x-piton-max-cost", "0.5"),
    ];
    let answer = gateway.request("POST", chain::PATH, &headers, chain::ask().to_string().as_bytes()).await;
    assert_eq!(answer.header("x-piton-target"), Some("p2/m2"), "{}", answer.text());
    let receipt = gateway.get("/piton/api/requests/told").await.json();
    assert_eq!(receipt["trail"].as_array().unwrap().len(), 3, "{receipt:#}");
    assert_eq!(receipt["trail"][0]["skip"], "max_cost");
    assert_eq!(receipt["trail"][2]["bounds"], json!({ "max_cost_usd": 5.0 }));
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 1);

    let gateway = gateway.kill_and_start_again().await;
    let kept = gateway.get("/piton/api/requests/told").await;
    assert_eq!((kept.status, kept.json()), (200, receipt));
    assert_eq!(gateway.get("/piton/api/requests/untold").await.status, 404);
}

#[tokio::test]
async fn callers_find_their_own_receipts_only() {
    let upstream = upstream().await;
    let keys = "[[keys]]\nname = \"a\"\nsecret = \"env:A\"\n[[keys]]\nname = \"b\"\nsecret = \"env:B\"\n";
    let gateway = builder(&upstream, keys).env("A", "key-a").env("B", "key-b").start().await;
    let call = async |gateway: &Gateway, key: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("content-type", "application/json"),
            ("authorization", bearer.as_str()),
            ("x-request-id", "same"),
        ];
        let body = if method == "POST" { chain::ask().to_string() } else { String::new() };
        gateway.request(method, path, &headers, body.as_bytes()).await
    };
    assert_eq!(call(&gateway, "key-a", "POST", chain::PATH).await.status, 200);
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 1);
    let gateway = gateway.kill_and_start_again().await;
    let path = "/piton/api/requests/same";
    assert_eq!(call(&gateway, "key-a", "GET", path).await.json()["key"], "a");
    assert_eq!(call(&gateway, "key-b", "GET", path).await.status, 404);
    let total =
        async |key| call(&gateway, key, "GET", "/piton/api/spend").await.json()["total"]["requests"].clone();
    assert_eq!((total("key-a").await, total("key-b").await), (json!(1), json!(0)));
    let others = call(&gateway, "key-b", "GET", "/piton/api/spend?key=a").await.json();
    assert_eq!(others["total"]["requests"], 0);
}

#[tokio::test]
async fn what_is_too_old_goes() {
    let upstream = upstream().await;
    let gateway =
        builder(&upstream, "[ledger]\nretention = \"1s\"\nrollup_retention = \"30d\"\n").start().await;
    ask(&gateway, "old", 3).await;
    assert_eq!(spent(&gateway, "?by=user,target").await["total"]["requests"], 3);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let gateway = gateway.kill_and_start_again().await;
    crate::support::in_time("the old to be taken out", async {
        while spent(&gateway, "?by=user,target").await["total"]["requests"] != 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let sums = spent(&gateway, "?by=chain").await;
    assert_eq!((&sums["source"], &sums["total"]["requests"]), (&json!("hours"), &json!(3)));
    assert_eq!(count(&open(&file(&gateway)), "SELECT count(*) FROM attempts"), 0);
}

#[tokio::test]
async fn its_place_stays_as_it_was_at_the_start_and_off_is_off() {
    let upstream = upstream().await;
    let gateway = builder(&upstream, "").start().await;
    gateway.rewrite_config(&config(&upstream, "[ledger]\npath = \"other.sqlite\"\nretention = \"5d\"\n"));
    let reload = gateway.post_json("/piton/api/reload", &json!({})).await.json();
    assert_eq!(reload["not_applied"], json!(["ledger.path"]));
    ask(&gateway, "r", 1).await;
    assert_eq!(spent(&gateway, "").await["total"]["requests"], 1);
    assert!(file(&gateway).exists() && !gateway.directory().join("state/other.sqlite").exists());

    let gateway = builder(&upstream, "[ledger]\npath = \"off\"\n").start().await;
    ask(&gateway, "r", 1).await;
    assert_eq!(gateway.get("/piton/api/requests/r-0").await.status, 200);
    assert_eq!(gateway.get("/piton/api/requests/r-1").await.status, 404);
    assert_eq!(gateway.get("/piton/api/spend").await.status, 404);
    assert_eq!(status(&gateway).await["state"], "off");
    assert!(!gateway.directory().join("state").exists());
}
