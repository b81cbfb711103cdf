//! The client's bytes on their way upstream: only `model`, Piton's own fields and what the vendor's row says are
//! touched.

use indexmap::IndexMap;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{effort, history};
use crate::chat::conversation::ToolChoice;
use crate::chat::edit::BodyEdit;
use crate::chat::request::own_metadata;
use crate::chat::target::{Quirks, Thinking};
use crate::chat::{ChatRequest, TargetFacts};
use crate::providers::{Encoded, ReplyContext};

/// Parameters that models without free sampling answer with 400, and the value that they do take.
const SAMPLING: [(&str, f64); 4] =
    [("temperature", 1.0), ("top_p", 1.0), ("presence_penalty", 0.0), ("frequency_penalty", 0.0)];

/// The older name of the output cap, and the only one that models which reason take at OpenAI.
const OLD_CAP: &str = "max_tokens";
const NEW_CAP: &str = "max_completion_tokens";

/// Writes the upstream request.
pub fn encode(request: &ChatRequest, facts: &TargetFacts) -> Encoded {
    let quirks = &facts.quirks;
    let mut edit = request.edit();
    edit.set_text("model", &facts.model);
    for own in ["models", "fallbacks", "task_type"] {
        edit.remove(own);
    }
    clean_metadata(request.member("metadata"), &mut edit);
    if quirks.new_cap_for_reasoning && reasons(facts) {
        rename(request, &mut edit, OLD_CAP, NEW_CAP);
    }
    for (ours, theirs) in quirks.renames {
        rename(request, &mut edit, ours, theirs);
    }
    if quirks.required != "required" && request.member("tool_choice") == Some("\"required\"") {
        edit.set("tool_choice", json!(quirks.required).to_string());
    }
    if !quirks.allowed_tools {
        narrow_tools(request, quirks, &mut edit);
    }
    effort::write(request, facts, &mut edit);
    let mut dropped = history::write(request, facts, &mut edit);
    if history::unmark_tools(request, facts, &mut edit) && !dropped.contains(&"cache_control") {
        dropped.push("cache_control");
    }
    for field in unwelcome(request, facts) {
        edit.remove(field);
        // What only Piton asked for, or was told, is no loss.
        let is_pitons = field == "stream_options" || field == "metadata" && request.own.is_whole_metadata;
        if !is_pitons {
            dropped.push(field);
        }
    }
    if request.stream && facts.able.streaming {
        ask_for_usage(request, quirks, &mut edit);
    } else if request.stream {
        edit.set("stream", "false".into());
        edit.remove("stream_options");
    }
    Encoded {
        path: "/chat/completions".into(),
        body: edit.finish(),
        dropped,
        context: ReplyContext { choices: request.answers, ..ReplyContext::default() },
        ..Encoded::default()
    }
}

/// Offers only the tools that the choice allows, to a vendor that knows no such choice.
fn narrow_tools(request: &ChatRequest, quirks: &Quirks, edit: &mut BodyEdit<'_>) {
    let choice = request.member("tool_choice").and_then(|choice| serde_json::from_str(choice).ok());
    let Some(ToolChoice::Allowed { names, required }) = choice else { return };
    let tools = request.member("tools").and_then(|tools| serde_json::from_str::<Vec<&RawValue>>(tools).ok());
    let mut tools = tools.unwrap_or_default();
    tools.retain(|tool| {
        let name = serde_json::from_str::<Value>(tool.get()).unwrap_or_default()["function"]["name"].take();
        names.iter().any(|allowed| name == allowed.as_str())
    });
    if let Ok(tools) = serde_json::to_string(&tools) {
        edit.set("tools", tools);
        edit.set("tool_choice", json!(if required { quirks.required } else { "auto" }).to_string());
    }
}

/// Where the client sent both, the vendor's own name stands.
fn rename(request: &ChatRequest, edit: &mut BodyEdit<'_>, ours: &str, theirs: &str) {
    let has = |name: &str| request.member(name).is_some_and(|json| json != "null");
    if has(theirs) { edit.remove(ours) } else { edit.rename(ours, theirs) }
}

/// Whether the model is one of OpenAI's that reason. A name that the catalog does not have tells by its family.
fn reasons(facts: &TargetFacts) -> bool {
    match facts.thinking {
        Thinking::Never => false,
        Thinking::Controlled(_) => true,
        Thinking::Unknown => {
            let name = facts.model.rsplit('/').next().unwrap_or_default();
            let family = name.split('-').next().unwrap_or_default();
            let is_o_series = family.strip_prefix('o').is_some_and(|number| number.parse::<u8>().is_ok());
            is_o_series || name.starts_with("gpt-5")
        }
    }
}

/// Fields that this target would refuse and that only hint at something.
fn unwelcome(request: &ChatRequest, facts: &TargetFacts) -> Vec<&'static str> {
    let mut fields: Vec<&'static str> = Vec::new();
    let present = |field: &str| request.member(field).is_some_and(|json| json != "null");
    fields.extend(facts.quirks.refuses.iter().copied().filter(|field| present(field)));
    if !facts.sampling {
        let differs = |(field, default): &(&str, f64)| {
            let value = request.member(field).and_then(|json| json.parse::<f64>().ok());
            value.is_some_and(|value| (value - default).abs() > f64::EPSILON)
        };
        fields.extend(SAMPLING.iter().filter(|entry| differs(entry)).map(|(field, _)| *field));
    }
    if facts.thinking == Thinking::Never && request.needs.effort.is_some() {
        fields.push("reasoning_effort");
    }
    fields
}

/// Usage is always asked for: without it nobody knows what a stream cost.
fn ask_for_usage(request: &ChatRequest, quirks: &Quirks, edit: &mut BodyEdit<'_>) {
    if !quirks.stream_options || request.include_usage {
        return;
    }
    let given = request.member("stream_options").and_then(|json| serde_json::from_str::<Value>(json).ok());
    let Some(mut options) = given.filter(Value::is_object) else {
        edit.set("stream_options", r#"{"include_usage":true}"#.to_owned());
        return;
    };
    options["include_usage"] = json!(true);
    edit.set("stream_options", options.to_string());
}

/// Takes Piton's own entries out of the metadata; raw values keep the spelling of what stays.
pub fn clean_metadata(metadata: Option<&str>, edit: &mut BodyEdit<'_>) {
    let parsed = metadata.map(serde_json::from_str::<IndexMap<String, &RawValue>>);
    let Some(Ok(mut metadata)) = parsed else { return };
    let before = metadata.len();
    metadata.retain(|key, _| own_metadata(key).is_none());
    match serde_json::to_string(&metadata) {
        _ if metadata.len() == before => {}
        Ok(rest) if !metadata.is_empty() => edit.set("metadata", rest),
        _ => edit.remove("metadata"),
    }
}
