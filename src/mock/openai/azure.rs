//! What Azure refuses on its three doors: by deployment and version, the v1 path, and Foundry's models path.

use crate::mock::prompt::Incoming;
use crate::mock::rule::{Rule, Wrong, rule};

/// Azure's own rules; OpenAI's come after them.
pub const RULES: &[Rule] = &[
    rule("no_version", no_version).status(404).code("404"),
    rule("old_version", old_version).kind("invalid_request_error"),
];

/// The first versions that know a key.
const SINCE: [(&str, &str); 2] = [("stream_options", "2024-09-01"), ("max_completion_tokens", "2024-09-01")];

fn no_version(incoming: &Incoming<'_>) -> Option<Wrong> {
    (incoming.needs_version && version(incoming).is_none()).then(|| Wrong::new("Resource not found"))
}

fn old_version(incoming: &Incoming<'_>) -> Option<Wrong> {
    let version = version(incoming).filter(|version| version.starts_with("20"))?;
    // Foundry counts its versions in its own way.
    if !incoming.of_deployment {
        return None;
    }
    let (key, _) = SINCE.iter().find(|(key, since)| incoming.get(key).is_some() && version < *since)?;
    Some(Wrong::new(format!("Unrecognized request argument supplied: {key}")))
}

/// The version in the query; the v1 path needs none.
fn version<'r>(incoming: &Incoming<'r>) -> Option<&'r str> {
    incoming.query.split('&').find_map(|pair| pair.strip_prefix("api-version="))
}
