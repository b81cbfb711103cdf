//! The ledger: what is written down of requests, what survives, and what is told of it.

mod faults;
mod kept;
mod spend;

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::chain;
use crate::support::gateway::{Builder, Gateway};
use crate::support::replies;
use crate::support::upstream::Upstream;

/// An upstream whose answers take 1,000 input tokens and 100 output tokens: 0.0037 USD.
async fn upstream() -> Upstream {
    let mut body = replies::openai_body("hello");
    body["usage"] = json!({
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    Upstream::always(replies::json_reply(200, &body)).await
}

/// A chain over it, with more of the file.
fn config(upstream: &Upstream, more: &str) -> String {
    let price = "[models.\"p0/m0\"]\nprice = { input = 3, output = 7 }\n";
    chain::config(&[("openai", upstream.url())], "") + price + more
}

fn builder(upstream: &Upstream, more: &str) -> Builder {
    Gateway::with(&config(upstream, more)).env("KEY", "upstream-key")
}

/// Sends so many requests, named `prefix-0` and so on.
async fn ask(gateway: &Gateway, prefix: &str, count: usize) {
    for number in 0..count {
        let id = format!("{prefix}-{number}");
        let headers = [("content-type", "application/json"), ("x-request-id", id.as_str())];
        let answer =
            gateway.request("POST", chain::PATH, &headers, chain::ask().to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.directory().join("state/ledger.sqlite")
}

/// Looks into a file as anybody may.
fn open(path: &std::path::Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a readable file")
}

fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).expect("a number")
}

async fn spent(gateway: &Gateway, query: &str) -> Value {
    let answer = gateway.get(&format!("/piton/api/spend{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The ledger as the status tells of it.
async fn status(gateway: &Gateway) -> Value {
    gateway.get("/piton/api/status").await.json()["ledger"].clone()
}

/// Waits until the status says that the ledger is in this state.
async fn wait_for(gateway: &Gateway, state: &str) -> Value {
    crate::support::in_time(state, async {
        loop {
            let ledger = status(gateway).await;
            if ledger["state"] == state {
                return ledger;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}
