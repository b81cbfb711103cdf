//! What a snapshot shows, and the comparison with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::case::{Case, sorted};
use crate::chat::event::{Chunk, ChunkFacts};
use crate::chat::{Answer, ChatResponse, Delta, Event, Start};
use crate::providers::laws::Streamed;
use crate::reason::Failure;

/// Compares with the snapshots, or writes them, and finds those that belong to nothing.
pub fn snapshots(cases: &[Case], render: impl Fn(&Case) -> String) {
    let bless = std::env::var_os("PITON_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases {
        let path = case.path.with_extension("snap");
        let found = render(case);
        if bless {
            fs::write(&path, found).unwrap();
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&found) {
            wrong.push(format!("--- {}, found:\n{found}", case.name()));
        }
    }
    let fixtures: BTreeSet<PathBuf> = cases.iter().map(|case| case.path.with_extension("")).collect();
    let folders: BTreeSet<&Path> = cases.iter().filter_map(|case| case.path.parent()).collect();
    for path in folders.into_iter().flat_map(sorted) {
        let name = path.to_str().unwrap();
        let stem = name.strip_suffix(".target.json").map_or_else(|| path.with_extension(""), PathBuf::from);
        if !fixtures.contains(&stem) {
            wrong.push(format!("--- {} belongs to no fixture", path.display()));
        }
    }
    assert!(wrong.is_empty(), "PITON_BLESS=1 rewrites the snapshots.\n{}", wrong.join("\n"));
}

pub fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

impl Streamed {
    /// One event per line, and the failure if there is one.
    pub fn snapshot(&self) -> String {
        let mut lines: Vec<String> = self.events.iter().map(|event| event_line(event).to_string()).collect();
        if let Err(failure) = &self.end {
            lines.push(json!({ "failure": failure_json(failure) }).to_string());
        }
        lines.join("\n") + "\n"
    }
}

fn event_line(event: &Event) -> Value {
    match event {
        Event::Start(start) => {
            let mut shown = json!({ "id": start.id, "model": start.model, "created": start.created });
            if let Some(tier) = &start.service_tier {
                shown["service_tier"] = json!(tier);
            }
            json!({ "start": shown })
        }
        Event::Delta { choice, delta } => {
            let delta = match delta {
                Delta::Text(text) => json!({ "text": text }),
                Delta::Reasoning(text) => json!({ "reasoning": text }),
                Delta::ReasoningDetail(detail) => json!({ "reasoning_detail": detail }),
                Delta::Refusal(text) => json!({ "refusal": text }),
                Delta::ToolCall { index, id, name, extra } => {
                    json!({ "call": index, "id": id, "name": name, "extra": extra })
                }
                Delta::ToolArguments { index, piece } => json!({ "call": index, "arguments": piece }),
                Delta::Annotation(annotation) => json!({ "annotation": annotation }),
                Delta::Logprobs(logprobs) => json!({ "logprobs": logprobs }),
            };
            if *choice == 0 { delta } else { json!({ "choice": choice, "delta": delta }) }
        }
        Event::Finish { choice, reason } => json!({ "finish": reason.code(), "choice": choice }),
        Event::SoFar(usage) => json!({ "so_far": usage.to_json() }),
        Event::Usage(usage) => json!({ "usage": usage.to_json() }),
        Event::Chunk(Chunk { data, facts }) => {
            json!({ "chunk": String::from_utf8_lossy(data), "facts": facts_text(facts) })
        }
        Event::Answer(answer) => answer_json(answer),
        Event::Alive => json!("alive"),
        Event::Unreadable => json!("unreadable"),
    }
}

fn facts_text(facts: &ChunkFacts) -> String {
    let ChunkFacts { start, choices, has_content, has_role, content_bytes, content_chars, usage } = facts;
    let Start { id, model, created, service_tier: _ } = &**start;
    let has_choices = !choices.is_empty();
    let numbers: Vec<_> = choices.iter().map(|touched| touched.choice).collect();
    let finished: Vec<_> = facts.finished().collect();
    format!(
        "ChunkFacts {{ id: {id:?}, model: {model:?}, created: {created:?}, has_choices: {has_choices}, \
         choices: {numbers:?}, has_content: {has_content}, has_role: {has_role}, content_bytes: {content_bytes}, \
         content_chars: {content_chars}, finished: {finished:?}, usage: {usage:?} }}"
    )
}

pub fn answer_json(answer: &Answer) -> Value {
    match answer {
        Answer::Verbatim { body, facts } => {
            json!({ "verbatim": String::from_utf8_lossy(body), "facts": format!("{facts:?}") })
        }
        Answer::Composed(response) => sent(response),
    }
}

/// An answer as the client gets it.
pub fn sent(response: &ChatResponse) -> Value {
    serde_json::from_slice(&response.to_json("id-1", 0, "model-1")).unwrap()
}

pub fn failure_json(failure: &Failure) -> Value {
    json!({
        "class": failure.class.code(),
        "credential": failure.credential,
        "retry_after_ms": failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap()),
        "message": failure.message,
        "type": failure.kind,
        "code": failure.code,
        "param": failure.param,
        "upstream_request_id": failure.upstream_request_id,
    })
}
