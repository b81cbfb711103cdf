//! `piton check`: everything that is wrong with a configuration, and what its chains will do.

mod budgets;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::catalog::{Model, Prices};
use crate::config::compile::{KeySource, Parts};
use crate::config::locate::locate;
use crate::config::value::lasting;
use crate::config::{
    Diagnostic, File, FromText, Gateway, Runtime, Source, Surroundings, advice, diagnostic, json_schema,
    load, name::Listen,
};
use crate::ops::ledger::{Keep, Place};
use crate::providers::compatible::KINDS;
use crate::reason::Word;
use crate::routing::branch::BranchKey;
use crate::routing::{Chain, Commit, Target};
use crate::units::{Price, Tokens};

mod shares;

use shares::{distinct, limits, spread};

/// Looks through the configuration: shows every problem at once, then the chains and what is worth a warning.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  piton check --config piton.toml --no-secrets")]
pub struct Check {
    /// The configuration [default: ./piton.toml, then /etc/piton/piton.toml]
    #[arg(long, value_name = "PATH", env = "PITON_CONFIG")]
    config: Option<PathBuf>,
    /// The address that `piton serve` would be told to listen at
    #[arg(long, value_name = "ADDRESS", env = "PITON_LISTEN", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Look at everything but whether credentials are there
    #[arg(long)]
    no_secrets: bool,
    /// List the vendors and wire formats that a provider's `kind` may name
    #[arg(long)]
    kinds: bool,
    /// Print the JSON Schema of the configuration file, for editors
    #[arg(long)]
    schema: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        if self.kinds {
            print(&kinds());
            return ExitCode::SUCCESS;
        }
        if self.schema {
            print(&format!("{:#}\n", json_schema()));
            return ExitCode::SUCCESS;
        }
        match self.look() {
            Ok((chains, warnings)) => {
                complain(&warnings);
                print(&chains);
                ExitCode::SUCCESS
            }
            Err(problems) => {
                complain(&problems);
                ExitCode::FAILURE
            }
        }
    }

    /// The chains and the warnings, or the problems.
    fn look(self) -> Result<(String, String), String> {
        let path = locate(self.config).map_err(|error| format!("error: {error}\n"))?;
        let source = Source::load(&path)
            .map_err(|error| format!("error: {} cannot be read: {error}\n", path.display()))?;
        let runtime = Arc::new(Runtime::new(0));
        let loaded = load(&source, &runtime, &Surroundings::of_process(self.listen, !self.no_secrets));
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let shown =
            |diagnostics: &[Diagnostic]| diagnostic::render(diagnostics, &source.name, &source.text, colour);
        let (Some(gateway), Some(file)) = (loaded.gateway, loaded.file) else {
            return Err(shown(&loaded.diagnostics));
        };
        let mut warnings = loaded.diagnostics;
        warnings.extend(advice::advise(&file, &gateway, advice::today()));
        Ok((report(&source, &file, &gateway, warnings.len(), self.no_secrets), shown(&warnings)))
    }
}

/// What the file amounts to.
fn report(source: &Source, file: &File, gateway: &Gateway, warnings: usize, no_secrets: bool) -> String {
    let mut text = format!(
        "{}: no errors, {}; configuration {}, {}, {} at {}\n",
        source.name.display(),
        counted(warnings, "warning"),
        gateway.hash,
        counted(gateway.chains.len(), "chain"),
        counted(gateway.keys.len().max(file.keys.len()), "key"),
        gateway.server.listen,
    );
    if let Place::At(path) = &gateway.ledger.place {
        let Keep { requests, sums } = gateway.ledger.keep;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "ledger: {}, requests for {}, sums of each hour for {}",
            path.display(),
            lasting(requests),
            lasting(sums)
        );
    }
    for chain in gateway.chains.values() {
        text.push('\n');
        text.push_str(&chain_table(chain, gateway.direct.parts(), no_secrets));
    }
    for key in &file.keys {
        text.push_str(&limits(key));
    }
    text.push_str(&budgets::lines(file, gateway));
    let direct = gateway.direct.names().len();
    if file.direct_globs().next().is_some() {
        let globs: Vec<&str> = file.direct_globs().map(|glob| glob.value.as_str()).collect();
        let _ = writeln!(text, "\ndirect names: {} ({} known)", globs.join(", "), direct);
    }
    text
}

fn chain_table(chain: &Chain, parts: &Parts, no_secrets: bool) -> String {
    let policy = &chain.policy;
    let mut text = format!(
        "{}: {} within {}, {}\n",
        chain.name,
        counted(usize::try_from(policy.max_attempts).unwrap_or(usize::MAX), "attempt"),
        lasting(policy.deadline),
        committed(policy.commit),
    );
    for (class, action) in &policy.on {
        let _ = writeln!(text, "  on {class}: {}", action.code());
    }
    if let Some(last) = &chain.last {
        let _ = writeln!(text, "  when exhausted: the chain {}", last.name);
    }
    if let Some(describe) = &chain.describe {
        let _ = writeln!(
            text,
            "  images, where a target cannot see: described by the chain {}, {} tokens at most each",
            describe.chain.name,
            grouped(describe.max_tokens.into()),
        );
    }
    if let Some(why) = &chain.why {
        let _ = writeln!(text, "  {why}");
    }
    if !chain.require.is_empty() {
        let _ = writeln!(text, "  requires the tags {}", listed(&chain.require));
    }
    if let Some(branches) = &chain.branches {
        let by_task = branches.by_task.iter().map(|branch| (BranchKey::Task, branch));
        for (key, (value, to)) in by_task.chain(branches.by_tier.iter().map(|it| (BranchKey::Tier, it))) {
            let _ = writeln!(text, "  {} {value}: the chain {to}", key.code());
        }
    }
    let mut rows =
        vec![["", "target", "in $/M", "out $/M", "window", "max output", "credential"].map(str::to_owned)];
    let mut all_notes = vec![Vec::new()];
    for target in &chain.targets {
        let deployments = distinct(target);
        for (at, deployment) in deployments.iter().enumerate() {
            let number = if at == 0 { target.index.to_string() } else { String::new() };
            rows.push(row(number, deployment, parts, no_secrets));
            let mut lines = vec![deployment.url.clone()];
            lines.extend(marks(deployment));
            if at + 1 == deployments.len() {
                lines.extend(target.group.as_deref().map(spread));
                lines.extend(notes(target));
            }
            all_notes.push(lines);
        }
    }
    let lines = aligned(&rows);
    for (line, notes) in lines.iter().zip(all_notes) {
        let _ = writeln!(text, "  {line}");
        for note in notes {
            let _ = writeln!(text, "       {note}");
        }
    }
    text
}

fn row(number: String, target: &Target, parts: &Parts, no_secrets: bool) -> [String; 7] {
    let Model { prices, context, max_output, .. } = &target.model;
    let price = |price: Option<Price>| price.map_or_else(unknown, |price| usd(price.usd_per_million()));
    let tokens = |tokens: &Option<Tokens>| tokens.map_or_else(unknown, |tokens| grouped(tokens.get()));
    [
        number,
        target.id.to_string(),
        price(prices.as_ref().map(Prices::input)),
        price(prices.as_ref().map(Prices::output)),
        tokens(context),
        tokens(max_output),
        credential(target, parts, no_secrets),
    ]
}

fn credential(target: &Target, parts: &Parts, no_secrets: bool) -> String {
    let source = parts.providers.get(&*target.provider).map(|provider| &provider.key_source);
    match (&target.credential.missing, source) {
        (Some(missing), _) => format!("missing: {missing}"),
        (None, Some(KeySource::Named(source))) if no_secrets => format!("{source} (not looked at)"),
        (None, Some(KeySource::Named(source))) => source.clone(),
        (None, Some(KeySource::None) | None) => "none".to_owned(),
    }
}

/// What is worth knowing of a target beside the table.
fn notes(target: &Target) -> Vec<String> {
    let mut notes = Vec::from_iter(target.why.clone());
    notes.extend(terms(target));
    for (window, held) in target.model.prices.iter().flat_map(Prices::windows) {
        let usd = |price: Price| usd(price.usd_per_million());
        notes.push(format!("{window}: in {} $/M, out {} $/M", usd(held.input()), usd(held.output())));
    }
    let limits = &target.limits;
    let mut ceilings = Vec::new();
    ceilings.extend(limits.max_price_ratio.map(|ratio| format!("max_price_ratio {ratio}")));
    let side = |name: &str, price: Option<Price>| {
        price.map(|price| format!("max_price {name} {}", usd(price.usd_per_million())))
    };
    if let Some(price) = &limits.max_price {
        ceilings.extend(side("input", price.input).into_iter().chain(side("output", price.output)));
    }
    ceilings.extend(limits.max_cost.map(|cost| format!("max_cost {} USD", usd(cost.usd()))));
    if !ceilings.is_empty() {
        notes.push(format!("ceilings: {}", ceilings.join(", ")));
    }
    let clocks = &target.clocks;
    let first = clocks.first_token.map_or_else(|| "by its size".to_owned(), lasting);
    let breaker = if target.has_breaker { "" } else { ", no breaker" };
    notes.push(format!(
        "clocks: first token {first}, idle {}, stream {}, answer {}; {}{breaker}",
        lasting(clocks.idle),
        lasting(clocks.stream),
        lasting(clocks.answer),
        match clocks.retries {
            1 => "1 retry".to_owned(),
            retries => format!("{retries} retries"),
        },
    ));
    let missing: Vec<&str> = target.model.capabilities.missing().collect();
    if !missing.is_empty() {
        notes.push(format!("cannot: {}", missing.join(", ")));
    }
    notes
}

/// What a deployment is marked with, and whether that is enough.
fn marks(deployment: &Target) -> Vec<String> {
    let mut notes = Vec::new();
    if !deployment.tags.is_empty() {
        notes.push(format!("tags: {}", listed(&deployment.tags)));
    }
    let lacks = deployment.terms.as_ref().and_then(|terms| terms.lacks);
    notes.extend(lacks.map(|tag| format!("never asked: it lacks the tag {tag}")));
    notes
}

/// Whom it serves and when.
fn terms(target: &Target) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(terms) = &target.terms {
        notes.extend(terms.tasks.as_ref().map(|names| format!("only for the tasks {names}")));
        notes.extend(terms.tiers.as_ref().map(|names| format!("only for the tiers {names}")));
        notes.extend(terms.when.as_ref().map(|when| format!("only {when}")));
    }
    notes
}

fn listed(tags: &[Word]) -> String {
    tags.iter().map(Word::as_str).collect::<Vec<_>>().join(", ")
}

fn kinds() -> String {
    let mut rows = vec![["kind", "dialect", "usual address", "usual key"].map(str::to_owned)];
    rows.extend(KINDS.iter().map(|kind| {
        let keys =
            if kind.key_variables.is_empty() { "none".to_owned() } else { kind.key_variables.join(", ") };
        let is_own = kind.base_url.is_empty() || kind.base_url.starts_with('/');
        let address = format!("{}{}", if is_own { "your own" } else { "" }, kind.base_url);
        [kind.name.to_owned(), kind.dialect.name().to_owned(), address, keys]
    }));
    let mut text = aligned(&rows).join("\n");
    text.push_str("\n\nkind = \"openai\" is for every other server that speaks OpenAI's API.\n");
    text
}

/// Rows as lines with their columns aligned: numbers to the right, text to the left.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let is_number = |text: &String| text == "?" || text.starts_with(|c: char| c.is_ascii_digit());
    let numeric: [bool; N] =
        std::array::from_fn(|column| rows.iter().skip(1).all(|row| is_number(&row[column])));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(numeric).map(|((cell, width), numeric)| {
            if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn committed(commit: Commit) -> String {
    match commit {
        Commit::FirstContent => "commits at the first content".to_owned(),
        Commit::Complete => "commits when complete".to_owned(),
        Commit::Chars(chars) => format!("commits after {chars} characters"),
        Commit::Time(time) => format!("commits {} after the first content", lasting(time)),
    }
}

pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

pub(super) fn unknown() -> String {
    "?".to_owned()
}

/// Two decimals, and more only where they say something.
pub(super) fn usd(amount: f64) -> String {
    let short = format!("{amount:.2}");
    if short.parse() == Ok(amount) { short } else { format!("{amount}") }
}

/// `128,000`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn address(text: &str) -> Result<SocketAddr, crate::config::Refusal> {
    Listen::from_text(text).map(|listen| listen.0)
}

// Whoever reads may close the pipe early; then nobody is left to tell.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

pub(super) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn shown(text: &str, check_secrets: bool) -> String {
        let environment = [("OPENAI_API_KEY".to_owned(), "sk-none".to_owned())].into();
        shown_with(text, &Surroundings { environment, listen: None, check_secrets })
    }

    fn shown_with(text: &str, surroundings: &Surroundings) -> String {
        let source = Source { name: "piton.toml".into(), text: text.to_owned() };
        let loaded = load(&source, &Arc::new(Runtime::new(0)), surroundings);
        let (gateway, file) = (loaded.gateway.unwrap(), loaded.file.unwrap());
        // The hash is of no interest here.
        let gateway = Gateway { hash: "abc".into(), ..gateway };
        report(&source, &file, &gateway, loaded.diagnostics.len(), !surroundings.check_secrets)
    }

    const FILE: &str = r#"
[server]
allow_direct = ["local/*"]
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:11434"
breaker = false
[chains.support]
why = "Cheap first."
deadline = "30s"
commit = { chars = 200 }
on = { empty = "accept" }
[[chains.support.targets]]
model = "openai/gpt-4o-mini"
max_price_ratio = 1.5
max_cost = 0.01
max_price = { output = 2 }
[[chains.support.targets]]
model = "groq/llama-3.3-70b-versatile"
why = "Fast."
first_token_timeout = "4s"
retries = 0
[[chains.support.targets]]
model = "local/llama"
"#;

    #[test]
    fn chains_are_shown_as_tables() {
        insta::assert_snapshot!(shown(FILE, true), @r#"
        piton.toml: no errors, 1 warning; configuration abc, 1 chain, 0 keys at 127.0.0.1:4000

        support: 5 attempts within 30s, commits after 200 characters
          on empty: accept
          Cheap first.
             target                        in $/M  out $/M   window  max output  credential
          0  openai/gpt-4o-mini              0.15     0.60  128,000      16,384  env:OPENAI_API_KEY
               https://api.openai.com/v1/chat/completions
               ceilings: max_price_ratio 1.5, max_price output 2.00, max_cost 0.01 USD
               clocks: first token by its size, idle 30s, stream 10m, answer 30s; 1 retry
               cannot: audio, reasoning
          1  groq/llama-3.3-70b-versatile    0.59     0.79  131,072      32,768  missing: GROQ_API_KEY
               https://api.groq.com/openai/v1/chat/completions
               Fast.
               clocks: first token 4s, idle 30s, stream 10m, answer 30s; 0 retries
               cannot: vision, audio, documents, json_schema, reasoning, logprobs, n
          2  local/llama                        ?        ?        ?           ?  none
               http://127.0.0.1:11434/v1/chat/completions
               clocks: first token by its size, idle 30s, stream 10m, answer 30s; 1 retry, no breaker

        direct names: local/* (0 known)
        "#);
    }

    #[test]
    fn credentials_need_not_be_looked_at() {
        let text = shown(FILE, false);
        assert!(text.contains("env:GROQ_API_KEY (not looked at)") && !text.contains("missing"), "{text}");
    }

    #[test]
    fn clouds_show_their_final_addresses_and_where_their_credentials_come_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("credentials"), "[work]\naws_access_key_id = A\naws_secret_access_key = s\n")
            .unwrap();
        let text = r#"
[providers.foundry]
kind = "azure"
base_url = "https://r.services.ai.azure.com"
api_version = "2024-05-01-preview"
[chains]
c = ["azure/prod-4o", "foundry/grok", "vertex/claude-x", "vertex/gemini-x", "bedrock/m:0"]
"#;
        let environment = [
            ("AZURE_OPENAI_ENDPOINT", "https://my.openai.azure.com"),
            ("AZURE_OPENAI_API_KEY", "key"),
            ("GOOGLE_CLOUD_PROJECT", "pro"),
            ("GCE_METADATA_HOST", "metadata.google.internal"),
            ("AWS_SHARED_CREDENTIALS_FILE", &path("credentials")),
            ("AWS_PROFILE", "work"),
            ("AWS_DEFAULT_REGION", "eu-west-3"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let surroundings = Surroundings { environment, listen: None, check_secrets: true };
        let text = shown_with(text, &surroundings);
        let after = |mark: &str| {
            let line = text.lines().skip_while(|line| !line.contains(mark)).take(2).collect::<Vec<_>>();
            let credential = line[0].rsplit("  ").next().unwrap().trim();
            format!("{credential} at {}", line[1].trim())
        };
        assert_eq!(
            ["azure/prod-4o", "foundry/grok", "vertex/claude-x", "vertex/gemini-x", "bedrock/m:0"].map(after),
            [
                "env:AZURE_OPENAI_API_KEY at https://my.openai.azure.com/openai/v1/chat/completions",
                "env:AZURE_OPENAI_API_KEY at https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
                "metadata server at https://aiplatform.googleapis.com/v1/projects/pro/locations/global/publishers/anthropic/models/claude-x:rawPredict",
                "metadata server at https://aiplatform.googleapis.com/v1/projects/pro/locations/global/publishers/google/models/gemini-x:generateContent",
                "AWS profile work at https://bedrock-runtime.eu-west-3.amazonaws.com/model/m%3A0/converse",
            ]
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1_048_576].map(grouped), ["0", "999", "1,000", "1,048,576"]);
        assert_eq!([0.0, 2.5, 0.075, 15.0].map(usd), ["0.00", "2.50", "0.075", "15.00"]);
    }

    #[test]
    fn every_kind_has_its_line() {
        let text = kinds();
        assert!(KINDS.iter().all(|kind| text.contains(kind.name) && text.contains(kind.base_url)));
        assert!(text.lines().any(|line| line.starts_with("ollama") && line.ends_with("none")));
    }
}
