//! What Anthropic refuses, beyond its schema and the order of turns.

use serde_json::{Map, Value};

use super::{FAMILY, Host};
use crate::mock::media;
use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{self, ANTHROPIC, Departure, Problem, Step};
use crate::mock::signature;

/// Anthropic's rules, in the order of its checks.
pub const RULES: &[Rule] = &[
    rule("cache_count", cache_count),
    rule("cache_order", cache_order),
    rule("media_type", media_type),
    rule("model_limit", model_limit),
    rule("one_sampling", one_sampling),
    rule("no_sampling", no_sampling),
    rule("thinking_sampling", thinking_sampling),
    rule("adaptive_only", adaptive_only),
    rule("no_prefill", no_prefill),
    rule("thinking_first", thinking_first),
    rule("signature", signatures),
    rule("call_twice", call_twice),
    rule("result_twice", result_twice),
];

/// Holds the body against the schema of this door.
pub fn schema(host: Host, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let root = match host {
        Host::Direct => "messages",
        Host::Vertex => "vertex",
        Host::Bedrock => "bedrock",
    };
    shape::check(&ANTHROPIC, root, incoming.body)
        .map_err(|departure| refuse(&departure, incoming.body).edit(|invalid| invalid.rule = "schema"))
}

/// Anthropic's words for a body that departs from its schema.
fn refuse(departure: &Departure, body: &Map<String, Value>) -> Rejection {
    let range = matches!(departure.key(), "temperature" | "top_p" | "top_k");
    let message = match &departure.problem {
        Problem::Unknown => "Extra inputs are not permitted".to_owned(),
        Problem::Missing => "Field required".to_owned(),
        Problem::Type { given: Value::Null, .. } => "Input should not be null".to_owned(),
        Problem::Type { expected, .. } => {
            let names = expected.split('|').filter(|name| *name != "null").map(|name| match name {
                "array" => "list",
                "object" | "struct" => "dictionary",
                other => other,
            });
            format!("Input should be a valid {}", names.collect::<Vec<_>>().join(" or "))
        }
        Problem::NotOneOf { known, given } if departure.key() == "type" && known.len() > 1 => {
            let known: Vec<_> = known.iter().map(|tag| tag.to_string().replace('"', "'")).collect();
            let given = given.as_str().unwrap_or_default();
            let text = format!(
                "Input tag '{given}' found using 'type' does not match any of the expected tags: {}",
                known.join(", ")
            );
            return Rejection::param(place(departure.parent(), body), text);
        }
        Problem::NotOneOf { known, .. } => {
            let known: Vec<_> = known.iter().map(|value| value.to_string().replace('"', "'")).collect();
            format!("Input should be {}", known.join(" or "))
        }
        Problem::Below { .. } | Problem::Above { .. } if range => "range: 0..1".to_owned(),
        Problem::Below { least, .. } => format!("Input should be greater than or equal to {least}"),
        Problem::Above { most, .. } => format!("Input should be less than or equal to {most}"),
        Problem::TooShort { .. } if departure.key() == "messages" => {
            "at least one message is required".to_owned()
        }
        Problem::TooShort { least, .. } => format!("String should have at least {least} characters"),
        Problem::TooLong { most, .. } => format!("String should have at most {most} characters"),
        Problem::Pattern { pattern, .. } => format!("String should match pattern '^{pattern}$'"),
        Problem::NotBase64 => "Input should be valid base64".to_owned(),
        Problem::Both(first, second) => format!("{first} and {second} exclude each other"),
        Problem::NoneOf(keys) => format!("one of {} is required", keys.join(", ")),
    };
    Rejection::param(place(&departure.path, body), message)
}

/// A path as Anthropic writes it: with the tag of every object that is one of several types.
fn place(path: &[Step], body: &Map<String, Value>) -> String {
    let body = Value::Object(body.clone());
    let mut value = &body;
    let mut steps = Vec::new();
    for (at, step) in path.iter().enumerate() {
        match step {
            Step::Key(key) => {
                steps.push(key.clone());
                value = &value[key.as_str()];
            }
            Step::Index(index) => {
                steps.push(index.to_string());
                value = &value[*index];
            }
        }
        let tagged = match step {
            Step::Key(key) => matches!(key.as_str(), "source" | "thinking" | "tool_choice"),
            Step::Index(_) => path[..at].last().is_some_and(|list| *list != Step::Key("messages".to_owned())),
        };
        let tools = path.first() == Some(&Step::Key("tools".to_owned()));
        let tag = value["type"].as_str().or(tools.then_some("custom"));
        if let Some(tag) = tag.filter(|_| tagged && at + 1 < path.len()) {
            steps.push(tag.to_owned());
        }
    }
    steps.join(".")
}

/// Every block of every message with its place; what stands inside results comes after them.
fn blocks<'r>(incoming: &Incoming<'r>) -> Vec<(String, &'r str, &'r Value)> {
    let mut found = Vec::new();
    let messages = incoming.body.get("messages").and_then(Value::as_array);
    for (index, message) in messages.into_iter().flatten().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        for (at, block) in message["content"].as_array().into_iter().flatten().enumerate() {
            let path = format!("messages.{index}.content.{at}");
            let inner = block["content"].as_array().into_iter().flatten().enumerate();
            found.extend(inner.map(|(inner, block)| (format!("{path}.{inner}"), role, block)));
            found.push((path, role, block));
        }
    }
    found
}

fn model_is(incoming: &Incoming<'_>, names: &[&str]) -> bool {
    // Other clouds put a prefix before the name.
    names.iter().any(|name| incoming.model.contains(name))
}

/// The kind of thinking that the request asks for.
fn thinking<'r>(incoming: &'r Incoming<'_>) -> Option<&'r str> {
    incoming.get("thinking")?["type"].as_str().filter(|kind| *kind != "disabled")
}

/// Every mark for the cache in the order in which the prompt is read, with its time to live.
fn marks<'r>(incoming: &Incoming<'r>) -> Vec<&'r str> {
    fn ttl(block: &Value) -> Option<&str> {
        let mark = block["cache_control"].as_object()?;
        Some(mark.get("ttl").and_then(Value::as_str).unwrap_or("5m"))
    }
    let list = |key: &str| incoming.body.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut marks: Vec<&'r str> = list("tools").chain(list("system")).filter_map(ttl).collect();
    marks.extend(blocks(incoming).iter().filter_map(|(_, _, block)| ttl(block)));
    marks
}

fn cache_count(incoming: &Incoming<'_>) -> Option<Wrong> {
    const MOST: usize = 4;
    let count = marks(incoming).len();
    (count > MOST).then(|| {
        Wrong::new(format!("A maximum of {MOST} blocks with cache_control may be provided. Found {count}."))
    })
}

fn cache_order(incoming: &Incoming<'_>) -> Option<Wrong> {
    let marks = marks(incoming);
    marks.windows(2).any(|pair| pair == ["5m", "1h"]).then(|| {
        Wrong::new(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are \
             processed in the following order: `tools`, `system`, `messages`.",
        )
    })
}

/// Models that were recorded when the service was less strict: it compared neither the ids of calls and results nor
/// the bytes of an image with its type.
const FIRST: [&str; 2] = ["claude-3-opus", "claude-3-5-sonnet-20240620"];

pub fn is_first(incoming: &Incoming<'_>) -> bool {
    model_is(incoming, &FIRST)
}

fn media_type(incoming: &Incoming<'_>) -> Option<Wrong> {
    if is_first(incoming) {
        return None;
    }
    blocks(incoming).into_iter().find_map(|(path, _, block)| {
        let source = &block["source"];
        let (named, data) = (source["media_type"].as_str()?, source["data"].as_str()?);
        let found = media::sniff(data).filter(|found| block["type"] == "image" && *found != named)?;
        let message = format!(
            "The image was specified using the {named} media type, but the image appears to be a {found} image"
        );
        Some(Wrong::at(format!("{path}.image.source.base64"), message))
    })
}

/// Models and the most that they write.
const LIMITS: [(&str, u64); 9] = [
    ("claude-3-opus", 4096),
    ("claude-3-sonnet", 4096),
    ("claude-3-haiku", 4096),
    ("claude-3-5", 8192),
    ("claude-opus-4-2025", 32_000),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-sonnet-4-5", 64_000),
    ("claude-haiku-4-5", 64_000),
];

fn model_limit(incoming: &Incoming<'_>) -> Option<Wrong> {
    let asked = incoming.get("max_tokens")?.as_u64()?;
    let (_, most) = LIMITS.iter().find(|(name, most)| model_is(incoming, &[name]) && asked > *most)?;
    let model = &incoming.model;
    let message =
        format!("{asked} > {most}, which is the maximum allowed number of output tokens for {model}");
    Some(Wrong::at("max_tokens", message))
}

/// Models that take a temperature or a nucleus, but not both.
const ONE_SAMPLING: [&str; 4] =
    ["claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"];
/// Models that take neither, decide themselves how to think, and continue no answer.
const NEWEST: [&str; 3] = ["claude-opus-4-7", "claude-opus-4-8", "claude-opus-5"];
/// Models that continue no answer.
const NO_PREFILL: [&str; 2] = ["claude-opus-4-6", "claude-sonnet-4-6"];

fn one_sampling(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("temperature").and(incoming.get("top_p")).filter(|_| model_is(incoming, &ONE_SAMPLING))?;
    Some(Wrong::new(
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    ))
}

fn no_sampling(incoming: &Incoming<'_>) -> Option<Wrong> {
    let default = |name: &str, value: &Value| name != "top_k" && value.as_f64() == Some(1.0);
    let names = ["temperature", "top_p", "top_k"].into_iter();
    let given = names.filter_map(|name| Some((name, incoming.get(name)?)));
    let (name, _) = given.into_iter().find(|(name, value)| !default(name, value))?;
    model_is(incoming, &NEWEST).then(|| Wrong::new(format!("`{name}` is deprecated for this model.")))
}

fn thinking_sampling(incoming: &Incoming<'_>) -> Option<Wrong> {
    thinking(incoming)?;
    if incoming.get("top_k").is_some() {
        return Some(Wrong::new("`top_k` must be unset when thinking is enabled."));
    }
    let nucleus = incoming.get("top_p").and_then(Value::as_f64)?;
    (nucleus < 0.95).then(|| {
        Wrong::new("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    })
}

fn adaptive_only(incoming: &Incoming<'_>) -> Option<Wrong> {
    let manual = thinking(incoming).is_some_and(|kind| kind == "enabled");
    (manual && model_is(incoming, &NEWEST)).then(|| {
        Wrong::new(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
             \"output_config.effort\" to control thinking behavior.",
        )
    })
}

fn no_prefill(incoming: &Incoming<'_>) -> Option<Wrong> {
    let last = incoming.list("messages").last()?;
    // A turn that stopped for a tool of the provider's own is continued by sending it back.
    let paused = last["content"].as_array().is_some_and(|blocks| {
        blocks.iter().any(|block| block["type"].as_str().is_some_and(|kind| kind.starts_with("server_tool")))
    });
    if last["role"] != "assistant" || paused {
        return None;
    }
    if model_is(incoming, &NEWEST) || model_is(incoming, &NO_PREFILL) {
        let message = "This model does not support assistant message prefill. The conversation must end with a user \
                       message.";
        return Some(Wrong::new(message));
    }
    thinking(incoming)
        .map(|_| Wrong::new("When `thinking` is enabled, the final message cannot be an assistant prefill."))
}

/// With manual thinking, the turn that called the tools now answered must begin with its thoughts.
fn thinking_first(incoming: &Incoming<'_>) -> Option<Wrong> {
    if thinking(incoming) != Some("enabled") {
        return None;
    }
    let messages = incoming.list("messages");
    let answered = messages.last().is_some_and(|last| {
        last["content"]
            .as_array()
            .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
    });
    let index = messages.iter().rposition(|message| message["role"] == "assistant").filter(|_| answered)?;
    let first = messages[index]["content"][0]["type"].as_str().unwrap_or("text");
    (!matches!(first, "thinking" | "redacted_thinking")).then(|| {
        let message = format!(
            "Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is enabled, a final \
             `assistant` message must start with a thinking block (preceding the lastmost set of `tool_use` and \
             `tool_result` blocks). To avoid this requirement, disable `thinking`."
        );
        Wrong::at(format!("messages.{index}.content.0.type"), message)
    })
}

/// Thoughts come back as they were given out.
fn signatures(incoming: &Incoming<'_>) -> Option<Wrong> {
    blocks(incoming).into_iter().find_map(|(path, _, block)| {
        if block["type"] != "thinking" {
            return None;
        }
        let (thought, proof) = (block["thinking"].as_str()?, block["signature"].as_str()?);
        let sound = if incoming.ours { signature::verify(FAMILY, thought, proof) } else { !proof.is_empty() };
        (!sound).then(|| Wrong::at(path, "Invalid `signature` in `thinking` block"))
    })
}

fn call_twice(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut seen = Vec::new();
    blocks(incoming).into_iter().find_map(|(path, _, block)| {
        let id = block["id"].as_str().filter(|_| block["type"] == "tool_use")?;
        let twice = seen.contains(&id);
        seen.push(id);
        twice.then(|| Wrong::at(path, "`tool_use` ids must be unique"))
    })
}

fn result_twice(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut seen = Vec::new();
    blocks(incoming).into_iter().find_map(|(path, _, block)| {
        let id = block["tool_use_id"].as_str().filter(|_| block["type"] == "tool_result")?;
        let twice = seen.contains(&id);
        seen.push(id);
        twice.then(|| {
            let message = format!(
                "each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
            );
            Wrong::at(path, message)
        })
    })
}
