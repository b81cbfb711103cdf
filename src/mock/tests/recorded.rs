//! Requests that real providers took, or refused: the mock must do the same.
//!
//! `recorded.jsonl` has one request a line, with its source and licence. `PITON_RECORDED=FILE` names another file of
//! that form.

use std::fs;

use serde::Deserialize;

use super::*;
use crate::mock::verdict;

/// One recorded request.
#[derive(Deserialize)]
struct Recorded {
    source: String,
    licence: String,
    /// Where the mock plays the provider.
    path: String,
    /// What the provider answered.
    status: u16,
    body: Value,
}

#[test]
fn what_providers_took_is_taken_and_what_they_refused_is_refused() {
    let path = std::env::var("PITON_RECORDED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/src/mock/tests/recorded.jsonl").to_owned());
    let lines = fs::read_to_string(path).unwrap();
    let recorded: Vec<Recorded> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(recorded.iter().any(|one| one.status == 200) && recorded.iter().any(|one| one.status != 200));
    let mut wrong = Vec::new();
    for Recorded { source, licence, path, status, body } in &recorded {
        assert!(!licence.is_empty(), "{source}");
        match (verdict(path, body), *status) {
            (Ok(()), 200) => {}
            (Err(refusal), 200) => wrong.push(format!("{path} took {source}: {refusal:?}")),
            (Ok(()), status) => wrong.push(format!("{path} refused {source} with {status}")),
            (Err(refusal), status) if refusal.status != status => {
                wrong.push(format!("{path} refused {source} with {status}: {refusal:?}"));
            }
            (Err(_), _) => {}
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), recorded.len(), wrong.join("\n"));
}
