//! What other providers refuse that speak OpenAI's dialect.

use serde_json::Value;

use super::{DETAILS, FAMILY, rules};
use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{Departure, Problem, brackets};
use crate::mock::signature;

/// Keys of Groq's own, and those that it takes with values of its own.
pub const GROQ_KEYS: &[&str] = &[
    "citation_options",
    "compound_custom",
    "disable_tool_validation",
    "documents",
    "exclude_domains",
    "include_domains",
    "include_reasoning",
    "reasoning_effort",
    "reasoning_format",
    "search_settings",
    "service_tier",
];

const INVALID: &str = "invalid_request_error";

pub const GROQ: &[Rule] = &[
    rule("unsupported", groq_unsupported).kind(INVALID),
    rule("message_key", groq_message_key).kind(INVALID),
    rule("one_choice", groq_one_choice).kind(INVALID),
    rule("json_with_tools", groq_json_with_tools).kind(INVALID),
    rule("raw_reasoning", groq_raw_reasoning).kind(INVALID),
];

pub const DEEPSEEK: &[Rule] = &[
    rule("reasoning_back", deepseek_reasoning_back).kind(INVALID).code("invalid_request_error"),
    rule("json_schema", deepseek_json_schema).kind(INVALID).code("invalid_request_error"),
];

pub const MOONSHOT: &[Rule] = &[rule("reasoning_back", moonshot_reasoning_back).kind(INVALID)];

pub const OPENROUTER: &[Rule] = &[rule("format", openrouter_format), rule("signature", openrouter_signature)];

pub const XAI: &[Rule] = &[rule("fixed_sampling", xai_fixed_sampling)];

pub const PERPLEXITY: &[Rule] = &[
    rule("alternation", perplexity_alternation).kind("invalid_message"),
    rule("last_role", perplexity_last_role).kind("invalid_message"),
];

/// Groq names a property instead of a parameter.
pub fn refuse_groq(departure: &Departure) -> Rejection {
    match departure.problem {
        Problem::Unknown => {
            let path = brackets(&departure.path);
            Rejection::invalid(format!("property '{path}' is unsupported"))
        }
        _ => rules::refuse(departure),
    }
}

fn groq_unsupported(incoming: &Incoming<'_>) -> Option<Wrong> {
    let asked = |key: &&&str| incoming.get(key).is_some_and(|value| *value != false);
    let name = ["logprobs", "top_logprobs", "logit_bias"].iter().find(asked)?;
    Some(Wrong::at(*name, format!("`{name}` is not supported with this model")))
}

/// What other providers take on a message, and Groq does not.
const FOREIGN_KEYS: [&str; 4] = ["name", "reasoning_content", "reasoning_details", "cache_control"];

fn groq_message_key(incoming: &Incoming<'_>) -> Option<Wrong> {
    let messages = incoming.list("messages").iter().enumerate();
    let (index, role, key) = messages
        .filter_map(|(index, message)| Some((index, message["role"].as_str()?, message)))
        .find_map(|(index, role, message)| {
            let key =
                FOREIGN_KEYS.iter().find(|key| message.get(**key).is_some_and(|value| !value.is_null()))?;
            // A tool's message may name its tool.
            (role != "tool" || *key != "name").then_some((index, role, key))
        })?;
    let path = format!("messages.{index}");
    Some(Wrong::new(format!(
        "'{path}' : for 'role:{role}' the following must be satisfied[('{path}' : property '{key}' is unsupported)]"
    )))
}

fn groq_one_choice(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("n").filter(|n| **n != 1)?;
    Some(Wrong::at("n", "'n' : number must be at most 1"))
}

fn groq_json_with_tools(incoming: &Incoming<'_>) -> Option<Wrong> {
    let json = incoming.get("response_format").is_some_and(|format| format["type"] == "json_object");
    (json && !incoming.list("tools").is_empty())
        .then(|| Wrong::new("json mode cannot be combined with tool/function calling"))
}

fn groq_raw_reasoning(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("reasoning_format").filter(|format| **format == "raw")?;
    let json = incoming.get("response_format").is_some_and(|format| format["type"] != "text");
    (json || !incoming.list("tools").is_empty()).then(|| {
        Wrong::new(
            "'reasoning_format' must be one of 'parsed' or 'hidden' when using JSON mode or tool calling",
        )
    })
}

/// Whether the model thinks in this request: by its name, unless the request says otherwise.
fn thinks(incoming: &Incoming<'_>, by_name: impl Fn(&str) -> bool) -> bool {
    match incoming.get("thinking").and_then(|thinking| thinking["type"].as_str()) {
        Some(kind) => kind == "enabled",
        None => by_name(&incoming.model.to_lowercase()),
    }
}

/// The first message with calls and without the reasoning that led to them.
fn without_reasoning(incoming: &Incoming<'_>) -> Option<usize> {
    incoming.list("messages").iter().position(|message| {
        let calls = message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty());
        calls && !message["reasoning_content"].is_string()
    })
}

fn deepseek_reasoning_back(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !thinks(incoming, |model| model.contains("reasoner") || model.contains("-v4")) {
        return None;
    }
    without_reasoning(incoming)?;
    Some(Wrong::new("The `reasoning_content` in the thinking mode must be passed back to the API."))
}

fn deepseek_json_schema(incoming: &Incoming<'_>) -> Option<Wrong> {
    incoming.get("response_format").filter(|format| format["type"] == "json_schema")?;
    Some(Wrong::new("This response_format type is unavailable now"))
}

fn moonshot_reasoning_back(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !thinks(incoming, |model| model.contains("thinking") || model.starts_with("kimi-k2.")) {
        return None;
    }
    let index = without_reasoning(incoming)?;
    Some(Wrong::new(format!(
        "thinking is enabled but reasoning_content is missing in assistant tool call message at index {index}"
    )))
}

/// The forms of reasoning that a gateway knows.
const DETAIL_FORMATS: [&str; 6] = [
    "unknown",
    "openai-responses-v1",
    "azure-openai-responses-v1",
    "xai-responses-v1",
    DETAILS,
    "google-gemini-v1",
];

fn details<'r>(incoming: &'r Incoming<'_>) -> impl Iterator<Item = &'r Value> {
    let messages = incoming.list("messages").iter();
    messages.flat_map(|message| message["reasoning_details"].as_array().into_iter().flatten())
}

fn openrouter_format(incoming: &Incoming<'_>) -> Option<Wrong> {
    let is_known = |entry: &Value| match &entry["format"] {
        Value::Null => true,
        format => DETAIL_FORMATS.iter().any(|known| format == known),
    };
    details(incoming).any(|entry| !is_known(entry)).then(|| Wrong::new("Invalid reasoning_details format"))
}

/// The provider behind it gets its thoughts back as they were given out: whole, with the signature.
fn openrouter_signature(incoming: &Incoming<'_>) -> Option<Wrong> {
    let is_sound = |entry: &Value| match (entry["text"].as_str(), entry["signature"].as_str()) {
        (Some(text), Some(proof)) => !incoming.ours || signature::verify(FAMILY, text, proof),
        _ => false,
    };
    let mut own =
        details(incoming).filter(|entry| entry["type"] == "reasoning.text" && entry["format"] == DETAILS);
    own.any(|entry| !is_sound(entry))
        .then(|| Wrong::new("Provider returned error: Invalid `signature` in `thinking` block"))
}

fn xai_fixed_sampling(incoming: &Incoming<'_>) -> Option<Wrong> {
    let model = &incoming.model;
    let thinks = !model.contains("non-reasoning") && (model.starts_with("grok-4") || model.contains("mini"));
    let asked = |key: &str| thinks && incoming.get(key).is_some_and(|value| *value != 0);
    let keys = [
        ("stop", "stop"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
    ];
    let (_, name) = keys.into_iter().find(|(key, _)| asked(key))?;
    Some(Wrong::new(format!("Model {model} does not support parameter {name}.")))
}

fn perplexity_alternation(incoming: &Incoming<'_>) -> Option<Wrong> {
    let turns: Vec<_> = incoming
        .list("messages")
        .iter()
        .filter_map(|message| message["role"].as_str())
        .skip_while(|role| *role == "system")
        .collect();
    let starts = turns.first().is_none_or(|role| *role == "user" || *role == "tool");
    let side = |role: &Value| role == "assistant";
    let alternates =
        turns.windows(2).all(|pair| side(&pair[0].into()) != side(&pair[1].into()) && pair[1] != "system");
    (!starts || !alternates).then(|| {
        Wrong::new(
            "After the (optional) system message(s), user or tool message(s) should alternate with assistant \
             message(s).",
        )
    })
}

fn perplexity_last_role(incoming: &Incoming<'_>) -> Option<Wrong> {
    let last = incoming.list("messages").last()?;
    (last["role"] != "user" && last["role"] != "tool")
        .then(|| Wrong::new("Last message must have role `user` or `tool`."))
}
