//! What compatible servers say otherwise than OpenAI, and how OpenAI says it. An answer, or a chunk, that departs
//! nowhere is never written anew.
//!
//! What a vendor says itself stays where it says it; what clients of OpenAI look for is added beside it. Only what
//! would mislead them is taken out: names and ids that a later piece of a call repeats, members that are written
//! out although they hold nothing.

use serde_json::{Map, Value, json};

use crate::wire::openai::{Call, Choice, Completion, Measure, Piece, Shape};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole answer, with its `message`s.
    Answer,
    /// A chunk of a stream, with its `delta`s.
    Chunk,
}

/// Marks the entries of `reasoning_details` that are Mistral's thoughts: they go back as parts of `content`.
pub const THOUGHT_PART: &str = "mistral-content";

/// Where in an answer its thoughts stood, as far as it has come.
#[derive(Debug, Default)]
pub struct Thoughts {
    /// How many there were.
    count: u32,
    /// Characters of text before the next one.
    spoken: usize,
    /// The last part was a thought: the next piece continues it.
    is_open: bool,
    /// The entries of a stream's thoughts. They go out whole and together at its end: clients that join the pieces
    /// of a list do so in ways of their own, and some keep only what came last.
    held: Vec<Value>,
}

impl Thoughts {
    /// Takes note of text that came as a plain string.
    pub fn spoke(&mut self, chars: usize) {
        if chars > 0 {
            self.spoken += chars;
            self.is_open = false;
        }
    }

    /// Whether entries wait for the end.
    pub fn are_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// The entries that waited for the end.
    pub fn take(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.held)
    }

    fn hold(&mut self, text: &str) {
        let is_next = self.is_open;
        let entry = self.entry(text);
        match self.held.last_mut().filter(|_| is_next).and_then(|last| last.get_mut("text")) {
            Some(Value::String(before)) => before.push_str(text),
            _ => self.held.push(entry),
        }
    }

    fn entry(&mut self, text: &str) -> Value {
        if !std::mem::replace(&mut self.is_open, true) {
            self.count += 1;
        }
        let index = self.count - 1;
        let mut entry =
            json!({ "type": "reasoning.text", "text": text, "format": THOUGHT_PART, "index": index });
        if self.spoken > 0 {
            entry["offset"] = json!(self.spoken);
        }
        entry
    }
}

/// Whether anything but calls and counts must be put right.
pub fn departs(peek: &Completion<'_>, form: Form) -> bool {
    let object = peek.object.as_ref().map(|object| object.0.as_ref());
    object.is_some_and(|object| object != form.object())
        || peek.created.is_some_and(|created| !created.is_whole)
        || peek
            .choices
            .as_ref()
            .is_none_or(|choices| choices.iter().any(|choice| choice_departs(choice, form)))
}

/// Whether a call, or the first piece of one, lacks something that clients look for.
pub fn is_loose(call: &Call<'_>, form: Form) -> bool {
    let arguments = call.function.as_ref().and_then(|function| function.arguments);
    let is_custom = call.custom.as_ref().is_some_and(|custom| !custom.is_zero());
    let must_be_there = form == Form::Answer && !is_custom;
    call.kind.is_none()
        || arguments.map_or(must_be_there, |arguments| arguments.kind != Shape::Text)
        || call.custom.as_ref().is_some_and(crate::wire::openai::Custom::is_zero)
}

/// Puts the members of the whole right.
pub fn head(answer: &mut Map<String, Value>, form: Form) {
    answer.insert("object".into(), json!(form.object()));
    if let Some(created) = answer.get_mut("created")
        && !created.is_u64()
    {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let seconds = created.as_f64().map(|seconds| seconds as u64);
        *created = json!(seconds.unwrap_or(0));
    }
    let choices = answer.entry("choices").or_insert_with(|| json!([]));
    if !choices.is_array() {
        *choices = json!([]);
    }
}

/// Puts a message, or a delta, right but for its calls.
pub fn piece(piece: &mut Map<String, Value>, form: Form, thoughts: &mut Thoughts) {
    match piece.get("content") {
        Some(Value::Array(_)) => flatten(piece, form, thoughts),
        Some(Value::String(text)) => thoughts.spoke(text.chars().count()),
        Some(_) => {}
        None if form == Form::Answer => drop(piece.insert("content".into(), Value::Null)),
        None => {}
    }
    let said = |name: &str| piece.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if said("reasoning_content").is_none() {
        let text = said("reasoning").map_or_else(|| told(piece), str::to_owned);
        if !text.is_empty() {
            piece.insert("reasoning_content".into(), text.into());
        }
    }
    if piece.get("refusal").and_then(Value::as_str) == Some("") {
        piece.insert("refusal".into(), Value::Null);
    }
    let is_zero = |name: &str, members: &[&str]| {
        let empty = |member: &&str| piece[name][*member].as_str().is_none_or(str::is_empty);
        piece.get(name).is_some_and(Value::is_object) && members.iter().all(empty)
    };
    let called = piece.get("function_call").is_some_and(|call| call["name"].is_string());
    let zero_call = called && is_zero("function_call", &["name", "arguments"]);
    let zero_audio = is_zero("audio", &["id", "data", "transcript"]);
    if zero_call {
        piece.shift_remove("function_call");
    }
    if zero_audio {
        piece.shift_remove("audio");
    }
    if form == Form::Answer && piece.get("role").and_then(Value::as_str).is_none_or(str::is_empty) {
        piece.insert("role".into(), json!("assistant"));
    }
}

/// Puts a call, or the first piece of one, right but for its id.
pub fn call(call: &mut Value, form: Form) {
    let Some(call) = call.as_object_mut() else { return };
    let zero_custom = call.get("custom").is_some_and(|custom| {
        ["name", "input"].iter().all(|member| custom[*member].as_str().is_none_or(str::is_empty))
    });
    if zero_custom {
        call.shift_remove("custom");
    }
    let kind = if call.contains_key("custom") { "custom" } else { "function" };
    if !call.get("type").is_some_and(Value::is_string) {
        call.insert("type".into(), json!(kind));
    }
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else { return };
    match function.get("arguments") {
        Some(Value::String(_)) => {}
        Some(Value::Null) | None if form == Form::Answer => {
            function.insert("arguments".into(), json!("{}"));
        }
        Some(Value::Null) => drop(function.insert("arguments".into(), json!(""))),
        Some(object) => {
            let text = object.to_string();
            function.insert("arguments".into(), text.into());
        }
        None => {}
    }
}

/// Puts the finish reason of a choice into OpenAI's words.
pub fn finish_reason(choice: &mut Map<String, Value>, has_calls: bool) {
    let Some(Value::String(reason)) = choice.get("finish_reason") else { return };
    let word = match reason.as_str() {
        known if is_known(known) => return,
        "max_tokens" | "model_length" => "length",
        "tool_call" | "tool_use" | "function" => "tool_calls",
        _ if has_calls => "tool_calls",
        _ => "stop",
    };
    choice.insert("finish_reason".into(), json!(word));
}

impl Form {
    fn object(self) -> &'static str {
        match self {
            Self::Answer => "chat.completion",
            Self::Chunk => "chat.completion.chunk",
        }
    }
}

fn choice_departs(choice: &Choice<'_>, form: Form) -> bool {
    let (delta, message) = (choice.delta.as_ref(), choice.message.as_deref());
    let (piece, other) = match form {
        Form::Answer => (message, delta),
        Form::Chunk => (delta, message),
    };
    let reason = choice.finish_reason.as_ref().map(|reason| reason.0.as_ref());
    choice.index.is_none()
        || other.is_some()
        || reason.is_some_and(|reason| !is_known(reason))
        || piece.is_none_or(|piece| piece_departs(piece, form))
}

fn piece_departs(piece: &Piece<'_>, form: Form) -> bool {
    let says = |measure: &Option<Measure>| measure.is_some_and(|measure| measure.bytes > 0);
    let hidden =
        !says(&piece.reasoning_content) && (says(&piece.reasoning) || says(&piece.reasoning_details));
    let incomplete = form == Form::Answer && (piece.content.is_none() || piece.role.is_none());
    hidden
        || incomplete
        || piece.content.is_some_and(|content| content.kind == Shape::List)
        || piece.refusal.is_some_and(|refusal| refusal.bytes == 0)
        || piece.function_call.as_deref().is_some_and(crate::wire::openai::Function::is_zero)
        || piece.audio.as_deref().is_some_and(crate::wire::openai::Audio::is_zero)
}

/// OpenAI's own words, the older one among them.
fn is_known(reason: &str) -> bool {
    matches!(reason, "stop" | "length" | "tool_calls" | "content_filter" | "function_call")
}

/// The reasoning that stands in `reasoning_details` alone.
fn told(piece: &Map<String, Value>) -> String {
    let details = piece.get("reasoning_details").and_then(Value::as_array).into_iter().flatten();
    details.filter_map(|detail| detail["text"].as_str().or(detail["summary"].as_str())).collect()
}

/// Content that came as parts: its text as text, its thoughts as reasoning, with what brings them back in place.
fn flatten(piece: &mut Map<String, Value>, form: Form, thoughts: &mut Thoughts) {
    let parts = piece.get_mut("content").map(Value::take);
    let (mut text, mut refusal, mut thought, mut details) =
        (String::new(), String::new(), String::new(), Vec::new());
    for part in parts.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let kind = part["type"].as_str().unwrap_or_default();
        match (kind, part) {
            ("thinking", part) => {
                let said = thought_of(part);
                match form {
                    Form::Answer => details.push(thoughts.entry(&said)),
                    Form::Chunk => thoughts.hold(&said),
                }
                thought.push_str(&said);
            }
            ("refusal", part) => refusal.push_str(part["refusal"].as_str().unwrap_or_default()),
            (_, Value::String(said)) => {
                thoughts.spoke(said.chars().count());
                text.push_str(said);
            }
            (_, part) => {
                let said = part["text"].as_str().unwrap_or_default();
                thoughts.spoke(said.chars().count());
                text.push_str(said);
            }
        }
    }
    match (text.is_empty(), form) {
        (false, _) => drop(piece.insert("content".into(), text.into())),
        (true, Form::Answer) => drop(piece.insert("content".into(), Value::Null)),
        (true, Form::Chunk) => drop(piece.shift_remove("content")),
    }
    if !refusal.is_empty() {
        piece.insert("refusal".into(), refusal.into());
    }
    if !thought.is_empty() {
        piece.insert("reasoning_content".into(), thought.into());
    }
    if !details.is_empty() {
        piece.insert("reasoning_details".into(), details.into());
    }
}

fn thought_of(part: &Value) -> String {
    match &part["thinking"] {
        Value::String(text) => text.clone(),
        pieces => {
            pieces.as_array().into_iter().flatten().filter_map(|piece| piece["text"].as_str()).collect()
        }
    }
}
