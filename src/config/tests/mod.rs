//! Whole files: what is read from them.

mod addresses;
mod advice;
mod broken;
mod budgets;
mod compiled;
mod describe;
mod direct;
mod fitness;
mod last_chain;
mod offline;
mod reach;
mod shown;

use std::sync::Arc;
use std::time::Duration;

use super::file::{BreakerSetting, Commit};
use super::name::ProviderName;
use super::*;
use crate::reason::{Action, Class};
use crate::routing::Target;

const DAY: Duration = Duration::from_hours(24);

pub const EXAMPLE: &str = include_str!("../../../config/piton.toml");

fn source(text: &str) -> Source {
    Source { name: PathBuf::from("piton.toml"), text: text.to_owned() }
}

fn read(text: &str) -> File {
    let (file, problems) = parse(&source(text));
    assert!(problems.is_empty(), "{}", shown(text, &problems));
    file.unwrap()
}

fn shown(text: &str, problems: &[Diagnostic]) -> String {
    diagnostic::render(problems, Path::new("piton.toml"), text, false)
}

/// A line for each of these, with its label and its advice.
fn told(problems: &[Diagnostic]) -> String {
    let line = |problem: &Diagnostic| {
        let more: String =
            problem.label.iter().chain(&problem.help).map(|text| [" [", text, "]"].concat()).collect();
        format!("{}: {}{more}", problem.path, problem.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is found in a file where many credentials are there.
fn found(text: &str) -> compile::Loaded {
    load(&source(text), &Arc::new(Runtime::new(1 << 20)), &compiled::surroundings())
}

/// The example file with its example lines (`#key`, not `# words`) in force.
pub fn example_in_full() -> String {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.starts_with(":schema") => rest,
        _ => line,
    };
    // The continued lines of the list are indented.
    EXAMPLE
        .lines()
        .map(|text| text.strip_prefix("#  ").unwrap_or_else(|| line(text)))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_smallest_file() {
    let file = read("[chains]\nprimary-chat = [\"openai/gpt-4o\", \"together/meta/llama\"]\n");
    let (name, chain) = file.chains.0.first().unwrap();
    assert_eq!((name.0.as_str(), chain.at.path.as_str()), ("primary-chat", "chains.primary-chat"));
    let targets: Vec<String> = chain.targets.0.iter().map(|target| target.model.to_string()).collect();
    assert_eq!(targets, ["openai/gpt-4o", "together/meta/llama"]);
    assert_eq!(chain.targets.0[1].at.path, "chains.primary-chat[1]");
    assert_eq!(chain.targets.0[1].model.value.provider, "together");
}

#[test]
fn an_empty_file_is_read() {
    assert!(read("").chains.0.is_empty());
}

#[test]
fn the_example_works_as_it_is_and_with_every_line_in_force() {
    assert_eq!(read(EXAMPLE).chains.0.len(), 1);
    let full = example_in_full();
    let file = read(&full);
    assert_eq!(file.chains.0.len(), 3);
    let server = &file.server;
    assert_eq!(server.max_body.as_ref().unwrap().0, 32 << 20);
    assert_eq!(server.listen.as_ref().unwrap().0.port(), 4000);
    let support = &file.chains.0[1];
    assert_eq!(support.policy.commit.as_ref().unwrap().value, Commit::FirstContent);
    assert_eq!(support.policy.on.as_ref().unwrap().0[&Class::Empty].value, Action::Accept);
    assert!((support.targets.0[1].limits.max_price_ratio.as_ref().unwrap().0 - 1.5).abs() < f64::EPSILON);
    let bulk = &file.chains.0[2].targets.0;
    assert_eq!(bulk.len(), 3);
    let weights: Vec<u32> = bulk[2].models().into_iter().map(|(_, weight)| weight).collect();
    assert_eq!((weights, bulk[2].model.to_string()), (vec![3, 1], "azure/east-4o-mini".to_owned()));
    assert!(matches!(file.defaults.breaker.as_ref().unwrap().value, BreakerSetting::On(_)));
    assert_eq!(file.defaults.limits.idle_timeout.as_ref().unwrap().0, Duration::from_secs(30));
    let local = &file.providers.0[&ProviderName("local".to_owned())];
    assert!(matches!(local.breaker.as_ref().unwrap().value, BreakerSetting::Off));
    assert_eq!(file.models.0[0].price.as_ref().unwrap().tiers.as_ref().unwrap()[0].above.value.get(), 4096);
    assert_eq!(file.keys[0].name.value, "checkout");
    assert_eq!(file.ledger.retention.as_ref().unwrap().0, 90 * DAY);
    assert_eq!(file.ledger.rollup_retention.as_ref().unwrap().0, 730 * DAY);
}

#[test]
fn the_example_shows_every_key() {
    let full = example_in_full();
    for (place, keys) in file::places() {
        for key in keys {
            let shown = full.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == key);
            assert!(shown, "`{key}` of {place} is not in config/piton.toml");
        }
    }
}

#[test]
fn files_to_watch_are_those_that_secrets_name() {
    let file = read(
        "[server]\nadmin_key = \"file:admin\"\n[[keys]]\nname = \"a\"\nsecret = \"file:/run/a\"\n\
         [providers.x]\napi_key = \"file:keys/x\"\nheaders = { x-a = \"file:h\", x-b = \"b\" }\nproxy = \"env:P\"\n",
    );
    let files = file.named_files(Path::new("/etc/piton"));
    let expected = ["/etc/piton/admin", "/run/a", "/etc/piton/keys/x", "/etc/piton/h"];
    assert_eq!(files, expected.map(PathBuf::from));
}

#[test]
fn one_broken_value_hides_nothing_that_was_read() {
    let (file, problems) =
        parse(&source("[chains]\na = [\"x\", \"y/z\"]\nb = [\"x/y\"]\n[server]\ndrain = 3\n"));
    assert_eq!(problems.len(), 2);
    let file = file.unwrap();
    assert_eq!(file.chains.0.len(), 2);
    assert_eq!(file.chains.0[0].targets.0.len(), 1);
}

#[test]
fn paths_quote_what_is_no_bare_key() {
    let (_, problems) = parse(&source("[models.\"x/y\"]\ncontext = 0\n"));
    assert_eq!(problems[0].path, "models.\"x/y\".context");
}

#[test]
fn a_source_knows_its_directory() {
    assert_eq!(source("").base(), Path::new("."));
    let source = Source { name: PathBuf::from("/etc/piton/piton.toml"), text: String::new() };
    assert_eq!(source.base(), Path::new("/etc/piton"));
}
