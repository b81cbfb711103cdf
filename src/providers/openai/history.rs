//! The messages as a vendor takes them. They are read and written anew only where something may have to change.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::{Map, Value, json};

use super::ids;
use super::mend::THOUGHT_PART;
use crate::chat::conversation::Effort;
use crate::chat::edit::BodyEdit;
use crate::chat::target::{History, Order, ReasoningBack, Thinking};
use crate::chat::{ChatRequest, TargetFacts};
use crate::providers::{anthropic, bedrock, cohere};

static CACHE_CONTROL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"cache_control\""));

/// Marks what the provider shall cache.
const CACHE_MARK: &str = "cache_control";

type Message = Map<String, Value>;

/// What the assistant says where a vendor wants it to speak and it has not.
const FILLER: &str = "OK";

/// Writes the messages as the vendor takes them; the fields that had to be left out.
pub fn write(request: &ChatRequest, facts: &TargetFacts, edit: &mut BodyEdit<'_>) -> Vec<&'static str> {
    let rules = &facts.quirks.history;
    if !may_change(request, rules) {
        return Vec::new();
    }
    let Some(raw) = request.member("messages") else { return Vec::new() };
    let Ok(before) = serde_json::from_str::<Vec<Message>>(raw) else { return Vec::new() };
    let mut dropped = Vec::new();
    let mut messages = before.clone();
    let thinks = may_think(request, facts);
    for message in &mut messages {
        if !rules.developer && message.get("role").is_some_and(|role| role == "developer") {
            message.insert("role".into(), json!("system"));
        }
        if !rules.refusal {
            say_refusal(message);
        }
        give_back(message, rules.reasoning, thinks);
        if rules.reasoning == ReasoningBack::Parts {
            parts_as_mistral_has_them(message);
        }
        if !rules.cache_marks {
            forget_marks(message, &mut dropped);
        }
        if !rules.members.is_empty() {
            keep_known(message, rules.members, &mut dropped);
        }
        if rules.short_ids {
            shorten_ids(message);
        }
    }
    if let (Some(mark), Some(last)) = (rules.prefill, messages.last_mut())
        && request.needs.prefill
    {
        last.entry(mark).or_insert(json!(true));
    }
    let messages = match rules.order {
        Order::Free => messages,
        Order::AssistantAfterTool => with_fillers(messages),
        Order::Alternating => with_fillers(merged(messages)),
    };
    if messages != before {
        edit.set("messages", json!(messages).to_string());
    }
    dropped
}

/// Takes the marks of what to cache from the tools; whether there were any.
pub fn unmark_tools(request: &ChatRequest, facts: &TargetFacts, edit: &mut BodyEdit<'_>) -> bool {
    let is_marked = |raw: &&str| CACHE_CONTROL.find(raw.as_bytes()).is_some();
    let Some(raw) = request.member("tools").filter(|_| !facts.quirks.history.cache_marks).filter(is_marked)
    else {
        return false;
    };
    let Ok(mut tools) = serde_json::from_str::<Vec<Message>>(raw) else { return false };
    let mut had_any = false;
    for tool in &mut tools {
        had_any |= tool.shift_remove(CACHE_MARK).is_some();
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            had_any |= function.shift_remove(CACHE_MARK).is_some();
        }
    }
    if had_any {
        edit.set("tools", json!(tools).to_string());
    }
    had_any
}

/// Whether the messages may hold something that the vendor takes otherwise.
fn may_change(request: &ChatRequest, rules: &History) -> bool {
    let marks = &request.marks;
    let reasoning = match rules.reasoning {
        ReasoningBack::AsSent => false,
        ReasoningBack::Details => marks.reasoning,
        ReasoningBack::Refused | ReasoningBack::Text => marks.reasoning || marks.extra_content,
        ReasoningBack::TextWithCalls | ReasoningBack::Parts => true,
    };
    reasoning
        || !rules.members.is_empty()
        || !rules.cache_marks && marks.cache_control
        || !rules.developer && marks.developer
        || !rules.refusal && marks.refusal
        || rules.prefill.is_some() && request.needs.prefill
        || rules.short_ids && marks.tools
        || rules.order != Order::Free
}

/// Whether the model may think in this turn.
fn may_think(request: &ChatRequest, facts: &TargetFacts) -> bool {
    let switch = request.member("thinking").and_then(|json| serde_json::from_str::<Value>(json).ok());
    let is_off = switch.is_some_and(|switch| switch["type"] == "disabled");
    facts.thinking != Thinking::Never && !is_off && request.needs.effort != Some(Effort::None)
}

/// Makes an earlier refusal what the assistant said, where it said nothing else.
fn say_refusal(message: &mut Message) {
    if !message.get("refusal").is_some_and(Value::is_string) {
        return;
    }
    let refusal = message.shift_remove("refusal").unwrap_or_default();
    let is_empty = |content: &Value| content.is_null() || content == "";
    if message.get("content").is_none_or(is_empty) && !message.contains_key("tool_calls") {
        message.insert("content".into(), refusal);
    }
}

/// Leaves of an earlier turn's reasoning what the vendor takes back.
fn give_back(message: &mut Message, rule: ReasoningBack, thinks: bool) {
    match rule {
        ReasoningBack::AsSent => {}
        ReasoningBack::Details => join_details(message),
        ReasoningBack::Text => forget(message, &["reasoning_details"]),
        ReasoningBack::Refused => forget(message, &["reasoning", "reasoning_content", "reasoning_details"]),
        ReasoningBack::TextWithCalls => {
            forget(message, &["reasoning_details"]);
            let has_calls =
                message.get("tool_calls").and_then(Value::as_array).is_some_and(|it| !it.is_empty());
            let has_text = message.get("reasoning_content").is_some_and(Value::is_string);
            if thinks && has_calls && !has_text {
                let text = message.get("reasoning").and_then(Value::as_str).unwrap_or_default().to_owned();
                message.insert("reasoning_content".into(), text.into());
            }
        }
        ReasoningBack::Parts => {
            restore_thoughts(message);
            forget(message, &["reasoning", "reasoning_content", "reasoning_details"]);
        }
    }
}

fn forget(message: &mut Message, members: &[&str]) {
    for member in members {
        message.shift_remove(*member);
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
    for call in calls.filter_map(Value::as_object_mut) {
        call.shift_remove("extra_content");
    }
}

/// The formats that are Piton's own. Other gateways do not know them, and refuse what they do not know.
const OWN_FORMATS: [&str; 4] =
    [THOUGHT_PART, anthropic::carrier::BLOCK, bedrock::REASONING_FORMAT, cohere::REASONING_FORMAT];

/// Makes whole entries of the pieces that a stream gave, and leaves out those that only Piton understands.
fn join_details(message: &mut Message) {
    let Some(Value::Array(details)) = message.get_mut("reasoning_details") else { return };
    let mut whole: Vec<Value> = Vec::new();
    for mut detail in std::mem::take(details) {
        say_once(&mut detail);
        if OWN_FORMATS.iter().any(|own| detail["format"] == *own) {
            continue;
        }
        match whole.last_mut() {
            Some(last) if continues(last, &detail) => append(last, detail),
            _ => whole.push(detail),
        }
    }
    *details = whole;
    if details.is_empty() {
        message.shift_remove("reasoning_details");
    }
}

/// OpenAI's own library for Python joins every text of a list's entry that came in pieces, and so repeats those that
/// each piece had: the entry's format and id.
fn say_once(detail: &mut Value) {
    let times = detail["format"].as_str().map_or(1, repetitions);
    if times < 2 {
        return;
    }
    for member in ["format", "id"] {
        if let Some(Value::String(text)) = detail.get_mut(member)
            && repetitions(text).is_multiple_of(times)
        {
            text.truncate(text.len() / times);
        }
    }
}

/// How often a text says the same. The first place after its start at which it occurs in its own double is where it
/// begins anew.
fn repetitions(text: &str) -> usize {
    if !text.is_ascii() || text.is_empty() {
        return 1;
    }
    let double = text.repeat(2);
    let period = double[1..].find(text).map_or(text.len(), |at| at + 1);
    text.len() / period
}

/// Whether the second entry is the next piece of the first.
fn continues(last: &Value, next: &Value) -> bool {
    let same = |member: &str| last[member] == next[member];
    next["index"].is_u64()
        && same("index")
        && same("type")
        && matches!(next["type"].as_str(), Some("reasoning.text" | "reasoning.summary"))
        && last["signature"].is_null()
}

fn append(last: &mut Value, next: Value) {
    let (Some(last), Value::Object(next)) = (last.as_object_mut(), next) else { return };
    for (member, value) in next {
        match (last.get_mut(&member), &value) {
            (Some(Value::String(text)), Value::String(more)) if member == "text" || member == "summary" => {
                text.push_str(more);
            }
            (Some(known), _) if !known.is_null() => {}
            _ => drop(last.insert(member, value)),
        }
    }
}

/// Puts Mistral's own thoughts back where they stood in `content`.
fn restore_thoughts(message: &mut Message) {
    let details = message.get("reasoning_details").and_then(Value::as_array);
    let own = details.into_iter().flatten().filter(|detail| detail["format"] == THOUGHT_PART);
    let mut thoughts: Vec<(Value, usize, String)> = Vec::new();
    for detail in own {
        let text = detail["text"].as_str().unwrap_or_default();
        match thoughts.last_mut() {
            Some((index, _, thought)) if *index == detail["index"] => thought.push_str(text),
            _ => {
                let offset = detail["offset"].as_u64().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
                thoughts.push((detail["index"].clone(), offset, text.to_owned()));
            }
        }
    }
    let text = match message.get("content") {
        _ if thoughts.is_empty() => return,
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(_) => return,
    };
    let mut parts = Vec::new();
    let mut rest = text.chars();
    let mut spoken = 0;
    for (_, offset, thought) in thoughts {
        let before: String = rest.by_ref().take(offset.saturating_sub(spoken)).collect();
        spoken = spoken.max(offset);
        if !before.is_empty() {
            parts.push(json!({ "type": "text", "text": before }));
        }
        parts.push(json!({ "type": "thinking", "thinking": [{ "type": "text", "text": thought }] }));
    }
    let rest = rest.as_str();
    if !rest.is_empty() {
        parts.push(json!({ "type": "text", "text": rest }));
    }
    message.insert("content".into(), parts.into());
}

/// Documents in Mistral's form.
fn parts_as_mistral_has_them(message: &mut Message) {
    let parts = message.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten();
    for part in parts {
        let replaced = match part["type"].as_str() {
            Some("file") => part["file"]["file_data"].as_str().map(|url| {
                let mut document = json!({ "type": "document_url", "document_url": url });
                if let Some(name) = part["file"]["filename"].as_str() {
                    document["document_name"] = json!(name);
                }
                document
            }),
            _ => None,
        };
        if let Some(replaced) = replaced {
            *part = replaced;
        }
    }
}

/// Takes the marks of what to cache from a message, its parts and its calls.
fn forget_marks(message: &mut Message, dropped: &mut Vec<&'static str>) {
    let mut is_marked = message.shift_remove(CACHE_MARK).is_some();
    for list in ["content", "tool_calls"] {
        let entries = message.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for entry in entries.filter_map(Value::as_object_mut) {
            is_marked |= entry.shift_remove(CACHE_MARK).is_some();
        }
    }
    if is_marked && !dropped.contains(&CACHE_MARK) {
        dropped.push(CACHE_MARK);
    }
}

/// Leaves out the members that the vendor would refuse. A tool's result may say whose it is.
fn keep_known(message: &mut Message, members: &[&str], dropped: &mut Vec<&'static str>) {
    let is_result = message.get("role").is_some_and(|role| role == "tool");
    message.retain(|member, value| {
        let is_kept = members.contains(&member.as_str()) || is_result && member == "name";
        if !is_kept && member == "name" && !value.is_null() && !dropped.contains(&"name") {
            dropped.push("name");
        }
        is_kept
    });
}

fn shorten_ids(message: &mut Message) {
    let shorten = |id: &mut Value| {
        if let Some(text) = id.as_str() {
            *id = json!(ids::short(text));
        }
    };
    message.get_mut("tool_call_id").into_iter().for_each(shorten);
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
    calls.filter_map(|call| call.get_mut("id")).for_each(shorten);
}

fn role(message: &Message) -> &str {
    message.get("role").and_then(Value::as_str).unwrap_or_default()
}

/// Lets the assistant speak between a tool's result and the user.
fn with_fillers(messages: Vec<Message>) -> Vec<Message> {
    let mut whole: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let after_tool = whole.last().is_some_and(|last| role(last) == "tool");
        if after_tool && !matches!(role(&message), "assistant" | "tool") {
            let filler = [("role", "assistant"), ("content", FILLER)];
            whole.push(filler.into_iter().map(|(member, text)| (member.into(), text.into())).collect());
        }
        whole.push(message);
    }
    whole
}

/// Makes one message of several that one side said in a row.
fn merged(messages: Vec<Message>) -> Vec<Message> {
    let mut whole: Vec<Message> = Vec::with_capacity(messages.len());
    for mut message in messages {
        let is_plain = |message: &Message| {
            matches!(role(message), "user" | "assistant") && !message.contains_key("tool_calls")
        };
        match whole.last_mut() {
            Some(last) if role(last) == role(&message) && is_plain(last) && is_plain(&message) => {
                let (before, after) = (last.get_mut("content"), message.get_mut("content"));
                if let (Some(before), Some(after)) = (before, after) {
                    join_content(before, after.take());
                }
            }
            _ => whole.push(message),
        }
    }
    whole
}

fn join_content(before: &mut Value, after: Value) {
    let parts = |content: Value| match content {
        Value::Array(parts) => parts,
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        _ => Vec::new(),
    };
    *before = match (before.take(), after) {
        (Value::String(before), Value::String(after)) => json!(format!("{before}\n\n{after}")),
        (before, after) => parts(before).into_iter().chain(parts(after)).collect(),
    };
}
