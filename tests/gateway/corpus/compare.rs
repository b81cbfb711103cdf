//! What the client was told against what it must be told; what reached the upstream against what was recorded.

use std::fmt::Debug;

use serde_json::Value;

use super::answer::{Answer, Call, Choice, Fault};

/// The longest piece of a value that a difference shows.
const SHOWN: usize = 160;

/// How two answers differ; empty: not at all.
pub fn answers(expected: &Answer, told: &Answer) -> Vec<String> {
    let mut differences = told.oddities.clone();
    differences.retain(|oddity| !expected.oddities.contains(oddity));
    unequal("number of choices", &expected.choices.len(), &told.choices.len(), &mut differences);
    for (at, (expected, told)) in expected.choices.iter().zip(&told.choices).enumerate() {
        choice(&format!("choice {at}: "), expected, told, &mut differences);
    }
    unequal("vectors", &expected.vectors, &told.vectors, &mut differences);
    if let Some(usage) = &expected.usage {
        unequal("usage", &Some(usage), &told.usage.as_ref(), &mut differences);
    }
    differences
}

/// How two faults differ.
pub fn faults(expected: &Fault, told: &Fault) -> Vec<String> {
    let mut differences = Vec::new();
    // After the first byte nobody can be told a status or a class any more.
    if expected.class.is_some() && told.class.is_some() {
        unequal("class", &expected.class, &told.class, &mut differences);
    }
    if expected.status.is_some() && told.status.is_some() {
        unequal("status", &expected.status, &told.status, &mut differences);
    }
    // In the middle of a stream the class may speak as the code.
    let class_speaks = told.status.is_none() && expected.class.clone().map(Value::from) == told.code;
    if expected.code.is_some() && !class_speaks {
        unequal("code", &expected.code, &told.code, &mut differences);
    }
    differences
}

/// How two values differ: the paths at which they do, and what stands there.
pub fn values(recorded: &Value, sent: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    walk("", recorded, sent, &mut differences);
    differences
}

fn choice(at: &str, expected: &Choice, told: &Choice, differences: &mut Vec<String>) {
    let name = |what: &str| format!("{at}{what}");
    unequal(&name("text"), &expected.text, &told.text, differences);
    unequal(&name("reasoning"), &expected.reasoning, &told.reasoning, differences);
    if expected.refusal.is_some() {
        unequal(&name("refusal"), &expected.refusal, &told.refusal, differences);
    }
    if expected.finish.is_some() {
        unequal(&name("finish"), &expected.finish, &told.finish, differences);
    }
    unequal(&name("audio"), &expected.audio, &told.audio, differences);
    if !expected.logprobs.is_null() {
        unequal(&name("logprobs"), &expected.logprobs, &told.logprobs, differences);
    }
    let mut seals = told.seals.clone();
    for (expected, told) in expected.seals.iter().zip(&mut seals) {
        told.text = told.text.take().filter(|_| expected.text.is_some());
    }
    unequal(&name("seals"), &expected.seals, &seals, differences);
    unequal(&name("number of calls"), &expected.calls.len(), &told.calls.len(), differences);
    for (nth, (expected, told)) in expected.calls.iter().zip(&told.calls).enumerate() {
        call(&name(&format!("call {nth}: ")), expected, told, differences);
    }
    let mut told_annotations = told.annotations.clone();
    for (expected, told) in expected.annotations.iter().zip(&mut told_annotations) {
        // What the provider left out may be filled in.
        told.url = told.url.take().filter(|_| expected.url.is_some());
        told.title = told.title.take().filter(|_| expected.title.is_some());
        told.span = told.span.filter(|_| expected.span.is_some());
    }
    unequal(&name("annotations"), &expected.annotations, &told_annotations, differences);
}

fn call(at: &str, expected: &Call, told: &Call, differences: &mut Vec<String>) {
    unequal(&format!("{at}name"), &expected.name, &told.name, differences);
    if let Some(id) = &expected.id {
        unequal(&format!("{at}id"), &Some(id), &told.id.as_ref(), differences);
    }
    unequal(&format!("{at}signature"), &expected.signature, &told.signature, differences);
    let parsed = |text: &str| {
        // None at all may be said in two ways.
        let text = if text.trim().is_empty() { "{}" } else { text };
        serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into())
    };
    unequal(&format!("{at}arguments"), &parsed(&expected.arguments), &parsed(&told.arguments), differences);
}

fn walk(path: &str, recorded: &Value, sent: &Value, differences: &mut Vec<String>) {
    match (recorded, sent) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            for name in names {
                let path = format!("{path}.{name}");
                match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => walk(&path, one, other, differences),
                    (Some(one), None) => differences.push(format!("{path}: {} is lost", shown(one))),
                    (None, Some(other)) => differences.push(format!("{path}: {} is new", shown(other))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}[{at}]"), one, other, differences);
            }
        }
        // 1 and 1.0 are one number to every parser but ours.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ => unequal(path, recorded, sent, differences),
    }
}

fn unequal<T: Debug + PartialEq>(what: &str, expected: &T, told: &T, differences: &mut Vec<String>) {
    if expected != told {
        let (expected, told) = (format!("{expected:?}"), format!("{told:?}"));
        let same = expected.chars().zip(told.chars()).take_while(|(one, other)| one == other).count();
        let from = same.saturating_sub(40);
        let cut = |text: &str| text.chars().skip(from).take(SHOWN).collect::<String>();
        let lead = if from > 0 { "…" } else { "" };
        differences.push(format!("{what}: {lead}{} became {lead}{}", cut(&expected), cut(&told)));
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(SHOWN).collect()
}
