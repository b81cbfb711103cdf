//! The gateway's configuration for a replay: one provider for each folder of the corpus, all of them at the replaying
//! upstream, each below a path of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use super::dialect;
use super::exchange::Exchange;
use crate::support::gateway::Gateway;

/// The folders whose API this build of the gateway can speak to.
pub struct Providers(BTreeMap<String, String>);

/// An account file whose tokens come from the replaying upstream.
const ACCOUNT: &str = "account.json";

impl Providers {
    /// The providers of these exchanges, by the kinds that the gateway says it has.
    pub fn of(exchanges: &[Exchange]) -> Self {
        let built = kinds();
        let folders: BTreeSet<&str> = exchanges.iter().map(|exchange| exchange.provider.as_str()).collect();
        let kind = |folder: &str| {
            dialect::kinds(folder).into_iter().find(|kind| built.contains(*kind)).map(str::to_owned)
        };
        Self(folders.into_iter().filter_map(|folder| Some((folder.to_owned(), kind(folder)?))).collect())
    }

    /// Whether the folder's API can be spoken to.
    pub fn has(&self, folder: &str) -> bool {
        self.0.contains_key(folder)
    }

    /// A gateway whose providers are all at `upstream`.
    pub async fn gateway(&self, upstream: &str) -> Gateway {
        let account = serde_json::json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
            "token_uri": format!("{upstream}/token"),
        });
        let config = self.config(upstream);
        Gateway::with(&config).env("KEY", "upstream-key").file(ACCOUNT, &account.to_string()).start().await
    }

    fn config(&self, upstream: &str) -> String {
        // One try for each exchange, however many before it failed.
        let mut text =
            String::from("[server]\nallow_direct = [\"*\"]\n[defaults]\nretries = 0\nbreaker = false\n");
        for (folder, kind) in &self.0 {
            let _ = writeln!(text, "[providers.\"{folder}\"]\nkind = \"{kind}\"");
            let _ = writeln!(text, "base_url = \"{upstream}/{folder}{}\"", prefix(kind));
            text += match (kind.as_str(), folder.as_str()) {
                ("vertex", _) => {
                    "project = \"PROJECT\"\nlocation = \"us-central1\"\ncredentials = \"file:account.json\"\n"
                }
                ("bedrock", "bedrock-invoke") => {
                    "api_key = \"env:KEY\"\nregion = \"us-east-1\"\napi = \"invoke\"\n"
                }
                ("bedrock", _) => "api_key = \"env:KEY\"\nregion = \"us-east-1\"\n",
                _ => "api_key = \"env:KEY\"\n",
            };
        }
        text
    }
}

/// A path that says which of a kind's APIs is meant.
fn prefix(kind: &str) -> &'static str {
    match kind {
        "gemini" => "/v1beta",
        "cohere" => "/v2",
        "azure" => "/openai/v1",
        "bedrock" => "",
        _ => "/v1",
    }
}

/// The kinds of provider that the gateway knows.
fn kinds() -> BTreeSet<String> {
    let output =
        Command::new(crate::support::piton()).args(["check", "--kinds"]).output().expect("piton runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
