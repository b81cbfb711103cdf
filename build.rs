//! Puts the commit that is built into `piton --version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PITON_COMMIT");
    // A commit moves a branch, not HEAD itself; the log of HEAD grows with both.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        // A file that is not there would make cargo build anew each time.
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let given = std::env::var("PITON_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(of_checkout).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo::rustc-env=PITON_COMMIT={commit}");
}

/// The checkout's commit, if this is one.
fn of_checkout() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
