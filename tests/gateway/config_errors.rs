//! `piton check`: what it says of broken files and of good ones, and how it exits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/config_errors");

/// Runs `piton check` in this directory with one key in the environment.
fn check(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(crate::support::piton())
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("OPENAI_API_KEY", "sk-none")
        .output()
        .expect("a program that starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn a_broken_file_is_explained_and_fails() {
    let files = std::fs::read_dir(PLACE).expect("a directory");
    let files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    let mut tried = 0;
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        let output = check(Path::new(PLACE), &["--config", &format!("{name}.toml")]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert_eq!(text(&output.stdout), "", "{name}");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(PLACE);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text(&output.stderr)));
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
}

#[test]
fn a_good_file_is_shown_with_its_warnings() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("piton.toml"), "[chains]\na = [\"openai/gpt-4o\", \"groq/x\"]\n")
        .expect("a file");
    let output = check(directory.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    let (table, warnings) = (text(&output.stdout), text(&output.stderr));
    assert!(
        table.contains("https://api.openai.com/v1/chat/completions") && table.contains("128,000"),
        "{table}"
    );
    assert!(table.contains("missing: GROQ_API_KEY"), "{table}");
    assert!(warnings.contains("warning: environment variable GROQ_API_KEY is not set"), "{warnings}");
    let output = check(directory.path(), &["--no-secrets"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(!text(&output.stderr).contains("GROQ_API_KEY"), "credentials are not looked at");
    assert!(text(&output.stdout).contains("env:GROQ_API_KEY (not looked at)"));
}

#[test]
fn one_forgotten_bracket_is_not_a_fault_of_every_line_after_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let more = "[defaults]\nidle_timeout = \"30s\"\n".repeat(30);
    std::fs::write(directory.path().join("piton.toml"), format!("[chains]\na = [\"openai/gpt-4o\"\n{more}"))
        .expect("a file");
    let output = check(directory.path(), &["--no-secrets"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert_eq!(told.matches("error: ").count(), 5, "{told}");
    assert!(told.contains("more lines cannot be read"), "{told}");
}

#[test]
fn without_a_file_it_says_where_it_looked() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = check(directory.path(), &[]);
    // Where the machine has a configuration of its own, that one is checked.
    if !Path::new("/etc/piton/piton.toml").exists() {
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("/etc/piton/piton.toml"), "{}", text(&output.stderr));
    }
    let output = check(directory.path(), &["--config", "none.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none.toml cannot be read"), "{}", text(&output.stderr));
}

#[test]
fn the_kinds_are_listed_without_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = check(directory.path(), &["--kinds"]);
    assert_eq!(output.status.code(), Some(0));
    let kinds = text(&output.stdout);
    for kind in ["openai", "anthropic", "gemini", "deepseek", "ollama"] {
        assert!(kinds.lines().any(|line| line.starts_with(kind)), "{kinds}");
    }
}
