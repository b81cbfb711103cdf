//! What an OpenAI client says in the API's own words: members that OpenAI's format has no name for, and that
//! users of gateways add to the body. What the API knows is passed on as it is.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::wire::Native;
use crate::chat::ChatRequest;
use crate::chat::conversation::Effort;
use crate::chat::request::Invalid;

/// The members that are passed on, mapped, or listed as dropped here.
pub const MEMBERS: &[&str] = &[
    "thinking",
    "output_config",
    "anthropic_beta",
    "metadata",
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
];

/// The features that need to be announced, by what of a request shows them: a part of a tool's type, or of a
/// member.
const BETAS: [(&str, &str); 11] = [
    ("code_execution_20250522", "code-execution-2025-05-22"),
    ("code_execution_20250825", "code-execution-2025-08-25"),
    ("compact_20260112", "compact-2026-01-12"),
    ("clear_thinking_20251015", "context-management-2025-06-27"),
    ("clear_tool_uses_20250919", "context-management-2025-06-27"),
    ("computer_20241022", "computer-use-2024-10-22"),
    ("computer_20250124", "computer-use-2025-01-24"),
    ("computer_20251124", "computer-use-2025-11-24"),
    ("mcp_toolset", "mcp-client-2025-11-20"),
    ("memory_20250818", "context-management-2025-06-27"),
    ("web_fetch_20250910", "web-fetch-2025-09-10"),
];

/// `thinking`, as the API has it, or as other vendors do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Asked {
    Enabled { budget_tokens: Option<u64>, display: Option<String> },
    Adaptive { display: Option<String> },
    Disabled,
}

/// `output_config`.
#[derive(Debug, Default, Deserialize)]
pub struct Output {
    pub effort: Option<Effort>,
    /// What else is in it, such as a budget for a task.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The members that go upstream as they came.
pub fn members(request: &ChatRequest) -> Native<'_> {
    Native {
        cache_control: raw(request, "cache_control"),
        container: raw(request, "container"),
        context_management: raw(request, "context_management"),
        inference_geo: raw(request, "inference_geo"),
        mcp_servers: raw(request, "mcp_servers"),
        speed: raw(request, "speed"),
    }
}

/// The client's `thinking`.
pub fn thinking(request: &ChatRequest) -> Result<Option<Asked>, Invalid> {
    let fault = "`thinking` must be an object of type enabled, adaptive or disabled.";
    read(request, "thinking", fault)
}

/// The client's `output_config`.
pub fn output(request: &ChatRequest) -> Result<Output, Invalid> {
    let fault = "`output_config` must be an object, its `effort` one of the efforts.";
    Ok(read(request, "output_config", fault)?.unwrap_or_default())
}

/// `metadata.user_id`: of the metadata the API takes nothing else. And whether it holds anything else.
pub fn user_id(request: &ChatRequest) -> (Option<String>, bool) {
    let metadata = request.member("metadata").filter(|_| !request.own.is_whole_metadata);
    let metadata = metadata.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let Some(metadata) = metadata else { return (None, false) };
    let user_id = metadata.get("user_id").and_then(Value::as_str).map(str::to_owned);
    let is_other = |name: &String| name != "user_id" && crate::chat::request::own_metadata(name).is_none();
    (user_id, metadata.keys().any(is_other))
}

/// What the request must announce: what the client says, and what its members and the types of its tools show.
pub fn betas(request: &ChatRequest, tool_kinds: &[&str], has_files: bool) -> Result<Vec<String>, Invalid> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let fault = "`anthropic_beta` must be a string or a list of strings.";
    let mut betas = match read(request, "anthropic_beta", fault)? {
        None => Vec::new(),
        Some(OneOrMany::One(names)) => names.split(',').map(|name| name.trim().to_owned()).collect(),
        Some(OneOrMany::Many(names)) => names,
    };
    let management = request.member("context_management").unwrap_or_default();
    let has = |sign: &str| tool_kinds.contains(&sign) || management.contains(sign);
    let known: &[_] = if tool_kinds.is_empty() && management.is_empty() { &[] } else { &BETAS };
    let shown = known.iter().filter(|(sign, _)| has(sign)).map(|(_, beta)| *beta);
    let files = has_files.then_some("files-api-2025-04-14");
    let has_servers = raw(request, "mcp_servers").is_some() && !tool_kinds.contains(&"mcp_toolset");
    let servers = has_servers.then_some("mcp-client-2025-04-04");
    let fast =
        request.member("speed").is_some_and(|speed| speed == "\"fast\"").then_some("fast-mode-2026-02-01");
    for beta in shown.chain(files).chain(servers).chain(fast) {
        // An older or a newer date of the same, which the client names, is the client's choice.
        let family = beta.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        if !betas.iter().any(|other| other.starts_with(family)) {
            betas.push(beta.to_owned());
        }
    }
    Ok(betas)
}

fn raw<'a>(request: &'a ChatRequest, name: &str) -> Option<&'a RawValue> {
    let value = request.member(name).filter(|value| *value != "null")?;
    serde_json::from_str(value).ok()
}

fn read<'a, T: Deserialize<'a>>(
    request: &'a ChatRequest,
    name: &str,
    fault: &str,
) -> Result<Option<T>, Invalid> {
    let Some(value) = request.member(name).filter(|value| *value != "null") else { return Ok(None) };
    serde_json::from_str(value).map(Some).map_err(|_| Invalid::at(name, fault))
}
