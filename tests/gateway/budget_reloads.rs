//! What budgets remember of what was spent: through reloads, and through the end of the process.

use std::time::Duration;

use serde_json::json;

use crate::budgets::{CHAT, COST, ask, budget, config, is_usd, post_as, standing};
use crate::support::gateway::Gateway;
use crate::support::replies;
use crate::support::upstream::Upstream;

#[tokio::test]
async fn a_reload_keeps_what_was_spent_and_a_changed_limit_holds_at_once() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("usd = 0.00004"))).await;
    let reload = async |bound: &str| {
        gateway.rewrite_config(&config(&a, &a, &budget(bound)));
        assert_eq!(gateway.post_json("/piton/api/reload", &json!({})).await.status, 200);
    };
    let status = async || gateway.post_json(CHAT, &ask("main")).await.status;
    assert_eq!([status().await, status().await, status().await], [200, 200, 402]);
    reload("usd = 0.00006").await;
    assert_eq!([status().await, status().await], [200, 402]);
    reload("usd = 0.00005").await;
    assert_eq!(status().await, 402);
    assert!(is_usd(&standing(&gateway).await["buckets"][0]["used"]["usd"], 3.0 * COST));
}

#[tokio::test]
async fn no_reload_forgets_what_was_spent() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let gateway = Gateway::start(&config(&a, &a, &budget("requests = 3"))).await;
    let reload = async |more: &str| {
        gateway.rewrite_config(&config(&a, &a, more));
        gateway.post_json("/piton/api/reload", &json!({})).await.status
    };
    let status = async || gateway.post_json(CHAT, &ask("main")).await.status;
    assert_eq!(status().await, 200);
    let cut_otherwise = budget("requests = 3\neach = \"user\"");
    assert_eq!(reload(&format!("{cut_otherwise}[[budgets]]\nname = 7\n")).await, 422, "with a slip in it");
    assert_eq!(reload(&budget("requests = 2")).await, 200);
    assert_eq!([status().await, status().await], [200, 429], "the one that was refused left no trace");
    assert_eq!(reload("").await, 200);
    assert_eq!(status().await, 200, "nothing bounds it");
    assert_eq!(reload(&budget("requests = 3")).await, 200);
    assert_eq!([status().await, status().await], [200, 429], "what was taken out and put back knows of two");
    assert_eq!(reload("[[budgets]]\nname = \"daily\"\nper = \"24h\"\nrequests = 4\n").await, 200);
    assert_eq!([status().await, status().await], [200, 429], "and of three where it is for another time");
}

#[tokio::test]
async fn a_killed_process_remembers_what_was_spent_and_ledger_and_budget_agree() {
    let a = Upstream::always(replies::openai_json("a")).await;
    let several = format!(
        "{}[[budgets]]\nname = \"of-users\"\nper = \"1h\"\nrequests = 3\neach = \"user\"\n",
        budget("usd = 0.0001")
    );
    let gateway = Gateway::start(&config(&a, &a, &several)).await;
    let post = async |gateway: &Gateway, user: &str| {
        post_as(gateway, &[("x-piton-user", user)], &ask("main")).await.status
    };
    for user in ["ann", "ann", "bob"] {
        assert_eq!(post(&gateway, user).await, 200);
    }
    let used = async |gateway: &Gateway| gateway.get("/piton/api/status").await.json()["budgets"].clone();
    let before = used(&gateway).await;
    // What is lost at most.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let gateway = gateway.kill_and_start_again().await;
    let after = used(&gateway).await;
    assert_eq!(after, before);
    assert!(is_usd(&after[0]["buckets"][0]["used"]["usd"], 3.0 * COST), "{after}");
    let spend = gateway.get("/piton/api/spend?by=chain").await;
    assert!(spend.text().contains("0.00006"), "{}", spend.text());
    assert_eq!(
        [post(&gateway, "ann").await, post(&gateway, "ann").await],
        [200, 429],
        "three an hour for each"
    );
    assert_eq!([post(&gateway, "bob").await, post(&gateway, "bob").await], [200, 402], "five for all");
}
