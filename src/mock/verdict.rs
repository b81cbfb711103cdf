//! Whether a provider would take a request, for tests that have no socket.

use http::HeaderMap;
use serde_json::Value;

use super::openai::vendor::named;
use super::prompt::{Incoming, Rejection};
use super::{route, server};

/// A provider's no.
#[derive(Debug)]
pub struct Refusal {
    /// The name of the rule that the request breaks, where it has one.
    pub rule: &'static str,
    pub status: u16,
    pub body: Value,
}

/// What the provider of this path would say to this body. The path is one of the mock's own, with its query: a prefix
/// such as `/mistral` chooses among those that share a dialect. Credentials are not asked for, and a signature is sound
/// if it has the form of one, since other models made it than the simulated ones.
pub fn verdict(path: &str, body: &Value) -> Result<(), Refusal> {
    judge(path, body, false)
}

/// Whether this vendor's own rules are known, behind a path that begins with its name.
pub fn plays(vendor: &str) -> bool {
    named(vendor).is_some()
}

/// The same with the question whether the conversation was held with simulated models, whose signatures are known.
pub fn judge(path: &str, body: &Value, ours: bool) -> Result<(), Refusal> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let headers = HeaderMap::new();
    let Some(call) = route::call(path, &headers) else {
        return Err(Refusal { rule: "route", status: 404, body: Value::Null });
    };
    let Value::Object(fields) = body else {
        return Err(Refusal { rule: "json", status: 400, body: Value::Null });
    };
    let named = call.model.as_deref().or(fields.get("model").and_then(Value::as_str));
    let incoming = Incoming {
        headers: &headers,
        query,
        model: named.unwrap_or_default().to_owned(),
        needs_version: call.needs_version,
        of_deployment: call.needs_version && call.model.is_some(),
        stream: call.stream,
        body: fields,
        ours,
    };
    server::read(&call, &incoming).map(drop).map_err(|rejection| {
        let (status, body) = call.dialect.rejection(&rejection);
        let rule = if let Rejection::Invalid(invalid) = &rejection { invalid.rule } else { "" };
        Refusal { rule, status, body }
    })
}
