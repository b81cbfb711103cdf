//! The gateway's configuration for a replay: a provider for each API that the corpus has, all of them at the replaying
//! upstream.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use super::dialect;
use super::exchange::Exchange;
use crate::support::gateway::Gateway;

/// The providers, by name: their sections.
pub struct Providers(BTreeMap<String, String>);

impl Providers {
    /// The providers of these exchanges, by the kinds that the gateway says it has.
    pub fn of(exchanges: &[Exchange], upstream: &str) -> Self {
        let built = kinds();
        let mut providers = BTreeMap::new();
        for exchange in exchanges {
            let kind = dialect::kinds(&exchange.provider).into_iter().find(|kind| built.contains(*kind));
            if let Some(kind) = kind {
                providers.entry(name(exchange)).or_insert_with(|| section(exchange, kind, upstream));
            }
        }
        Self(providers)
    }

    /// The provider that an exchange is asked of, if this build of the gateway can speak to it.
    pub fn name(&self, exchange: &Exchange) -> Option<String> {
        Some(name(exchange)).filter(|name| self.0.contains_key(name))
    }

    /// A gateway with these providers.
    pub async fn gateway(&self) -> Gateway {
        // One try for each exchange, however many before it failed.
        let mut config =
            String::from("[server]\nallow_direct = [\"*\"]\n[defaults]\nretries = 0\nbreaker = false\n");
        for (name, section) in &self.0 {
            let _ = writeln!(config, "[providers.\"{name}\"]\napi_key = \"env:KEY\"\n{section}");
        }
        Gateway::with(&config).env("KEY", "upstream-key").start().await
    }
}

/// The folder; where it has several APIs, with the one that was called.
fn name(exchange: &Exchange) -> String {
    let folder = &exchange.provider;
    match (folder.as_str(), surface(exchange)) {
        ("azure", Some((surface, version))) => format!("azure-{surface}-{version}"),
        _ => folder.clone(),
    }
}

/// Azure's older addresses, with their version.
fn surface(exchange: &Exchange) -> Option<(&'static str, String)> {
    let asked = exchange.request.as_ref()?;
    let version = asked.query["api-version"].as_str().unwrap_or("2024-10-21").to_owned();
    if asked.path.contains("/deployments/") {
        Some(("openai", version))
    } else {
        asked.path.starts_with("/models").then_some(("models", version))
    }
}

fn section(exchange: &Exchange, kind: &str, upstream: &str) -> String {
    let (prefix, more) = match (kind, surface(exchange)) {
        ("azure", Some((surface, version))) => {
            (format!("/{surface}"), format!("api_version = \"{version}\""))
        }
        ("azure", None) => ("/openai/v1".to_owned(), String::new()),
        ("vertex", _) => ("/v1".to_owned(), "project = \"PROJECT\"\nlocation = \"us-central1\"".to_owned()),
        ("bedrock", _) if exchange.provider == "bedrock-invoke" => {
            (String::new(), "region = \"us-east-1\"\napi = \"invoke\"".to_owned())
        }
        ("bedrock", _) => (String::new(), "region = \"us-east-1\"".to_owned()),
        ("gemini", _) => ("/v1beta".to_owned(), String::new()),
        ("cohere", _) => ("/v2".to_owned(), String::new()),
        _ => ("/v1".to_owned(), String::new()),
    };
    format!("kind = \"{kind}\"\nbase_url = \"{upstream}{prefix}\"\n{more}")
}

/// The kinds of provider that the gateway knows.
fn kinds() -> BTreeSet<String> {
    let output =
        Command::new(crate::support::piton()).args(["check", "--kinds"]).output().expect("piton runs");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
