//! The simulated providers and the gateway in front of them, all on loopback.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::live::Live;
use crate::mock::{self, Mock, Options};
use crate::server::{self, App};

/// Everything that runs. Dropping it stops the providers.
pub struct Stage {
    /// The gateway's, without a slash at its end.
    pub url: String,
    /// The gateway's configuration.
    pub config: PathBuf,
    providers: Vec<(&'static str, Mock)>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<usize>,
}

/// Requests that reached each target's provider.
pub type Calls = BTreeMap<String, u64>;

const PROVIDERS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// The chains, as the file has them.
pub const CHAINS: &str = r#"[chains]
primary-chat = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash"]
pictures = ["openai/gpt-3.5-turbo", "anthropic/claude-haiku-4-5"]
batch = ["openai/gpt-4.1", "anthropic/claude-opus-4-1", "gemini/gemini-2.5-pro"]

[chains.thrifty]
targets = [
  "openai/gpt-4o-mini",
  { model = "anthropic/claude-haiku-4-5", max_price_ratio = 1.5 },
  "gemini/gemini-2.5-flash-lite",
]
"#;

/// Variables that would send the gateway's calls through a proxy, which cannot reach this machine's loopback.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

impl Stage {
    /// Starts it all, with the configuration in this directory.
    pub async fn set(directory: &Path) -> anyhow::Result<Self> {
        let mut providers = Vec::new();
        for name in PROVIDERS {
            let options = Options { name: "piton demo".to_owned(), ..Options::default() };
            let provider = mock::spawn(loopback().await?, options);
            providers.push((name, provider.context("a simulated provider cannot start")?));
        }
        let config = directory.join("piton.toml");
        fs::write(&config, configuration(directory, &providers))
            .context("the configuration cannot be written")?;
        let listener = loopback().await?;
        let address = listener.local_addr()?;
        let (live, _) = Live::start(config.clone(), Some(address))
            .map_err(|diagnostics| anyhow!("the configuration cannot be used\n\n{diagnostics}"))?;
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server::serve(App::new(live), listener, async move {
            // A dropped sender means the same.
            let _ = stopped.await;
        }));
        Ok(Self { url: format!("http://{address}"), config, providers, stop, serving })
    }

    /// Breaks a target; `fault` is in the words of [`mock::fault`].
    pub fn inflict(&self, target: &str, fault: &str) -> anyhow::Result<()> {
        let fault = fault.parse().with_context(|| format!("the fault of {target}"))?;
        if let Some((provider, model)) = self.find(target) {
            provider.set_fault(model, Some(fault));
        }
        Ok(())
    }

    /// Makes a target well again.
    pub fn mend(&self, target: &str) {
        if let Some((provider, model)) = self.find(target) {
            provider.set_fault(model, None);
        }
    }

    /// How many requests each target has received, as its provider counts.
    pub fn calls(&self) -> Calls {
        let mut calls = Calls::new();
        for (name, provider) in &self.providers {
            let of_provider = provider.requests_by_model();
            calls.extend(of_provider.into_iter().map(|(model, count)| (format!("{name}/{model}"), count)));
        }
        calls
    }

    /// The same since then, without the targets that received none.
    pub fn calls_since(&self, before: &Calls) -> Calls {
        let mut calls = self.calls();
        for (target, count) in &mut calls {
            *count -= before.get(target).copied().unwrap_or_default();
        }
        calls.retain(|_, count| *count > 0);
        calls
    }

    /// Lets running answers finish, and stops.
    pub async fn close(self) {
        // If it has stopped already, there is nothing to wait for.
        let _ = self.stop.send(());
        let _ = self.serving.await;
    }

    fn find<'t>(&self, target: &'t str) -> Option<(&Mock, &'t str)> {
        let (name, model) = target.split_once('/')?;
        let (_, provider) = self.providers.iter().find(|(provider, _)| *provider == name)?;
        Some((provider, model))
    }
}

async fn loopback() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")
}

/// The ledger is as short-lived as the rest.
fn configuration(directory: &Path, providers: &[(&str, Mock)]) -> String {
    let behind_proxy = PROXY_VARIABLES.iter().any(|name| std::env::var_os(name).is_some());
    let sections = providers.iter().map(|(name, provider)| {
        let url = provider.url();
        // A provider takes requests as a proxy does; so it can be its own.
        let proxy = if behind_proxy { format!("proxy = \"{url}\"\n") } else { String::new() };
        format!("[providers.{name}]\nbase_url = \"{url}\"\napi_key = \"demo\"\n{proxy}\n")
    });
    let sections: Vec<String> = sections.collect();
    format!(
        "[server]\ndrain = \"2s\"\nallow_direct = [\"*/mock-*\"]\n\n[ledger]\npath = {:?}\n\n{}{CHAINS}",
        directory.join("ledger.sqlite").display().to_string(),
        sections.concat()
    )
}
