//! What an answer is made of, whole or in pieces, in OpenAI's terms. A whole answer is read as a stream of which
//! everything comes in one piece, so both ways give the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::messages::REASONING_FORMAT;
use super::{citations, error, usage};
use crate::chat::{Answer, Delta, Event, FinishReason, Fold, Start};
use crate::providers::ReplyContext;
use crate::reason::{Class, Failure};

/// Reads an answer of status 200.
pub fn decode(body: &[u8], context: &ReplyContext) -> Result<Answer, Failure> {
    let reply: Value = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            Failure::new(Class::Truncated, "The upstream's answer ends in the middle.")
        } else {
            malformed(&error)
        }
    })?;
    if !reply["message"].is_object() {
        return Err(if reply["message"].is_string() || reply["error"].is_string() {
            error::in_answer(&reply)
        } else {
            malformed(&"it has no message")
        });
    }
    let mut reader = Reader::new(context);
    let mut events = Vec::new();
    reader.start(&reply, &mut events);
    reader.message(&reply["message"], &mut events);
    logprobs(&reply["logprobs"], &mut events);
    reader.end(&reply, &mut events)?;
    Ok(Answer::Composed(Fold::of(events)))
}

/// The failure of an answer that is not in this format.
pub fn malformed(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Class::Malformed, format!("The upstream's answer is not one of the Chat API: {why}."))
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct Reader {
    renamed: BTreeMap<String, String>,
    has_started: bool,
    /// The characters of text so far: citations speak of positions in one block of it.
    characters: usize,
    /// Where the text of each content block begins.
    texts: BTreeMap<u64, usize>,
    /// Where the plan begins.
    plan: Option<usize>,
    /// The thoughts of the blocks that have not ended.
    thoughts: BTreeMap<u64, String>,
    /// How many blocks of thoughts have ended.
    thought: u32,
    /// The calls that have not ended, by the API's own index.
    open: BTreeMap<u64, OpenCall>,
    calls: u32,
}

/// A call whose arguments may go on.
#[derive(Debug)]
struct OpenCall {
    index: u32,
    /// Arguments that may turn out to be `null`, which stands for none.
    held: Option<String>,
}

impl Reader {
    /// A reader of one answer.
    pub fn new(context: &ReplyContext) -> Self {
        Self { renamed: context.renamed_tools.clone(), ..Self::default() }
    }

    /// The answer begins, unless it has.
    pub fn start(&mut self, reply: &Value, out: &mut Vec<Event>) {
        if !self.has_started {
            self.has_started = true;
            let id = reply["id"].as_str().map(str::to_owned);
            out.push(Event::Start(Start { id, ..Start::default() }));
        }
    }

    /// A message as far as it is there: all of it, or what a stream begins with.
    pub fn message(&mut self, message: &Value, out: &mut Vec<Event>) {
        self.plan(&message["tool_plan"], out);
        // As OpenAI has it.
        self.text(&message["content"], out);
        for (index, block) in (0..).zip(entries(&message["content"])) {
            self.content(index, block, out);
            self.end_content(index, out);
        }
        for (index, call) in (0..).zip(entries(&message["tool_calls"])) {
            self.call(index, call, out);
            self.end_call(index, out);
        }
        for citation in entries(&message["citations"]) {
            self.cite(citation, out);
        }
    }

    /// A piece of the plan.
    pub fn plan(&mut self, piece: &Value, out: &mut Vec<Event>) {
        self.plan.get_or_insert(self.characters);
        self.text(piece, out);
    }

    /// A piece of a content block.
    pub fn content(&mut self, index: u64, piece: &Value, out: &mut Vec<Event>) {
        if let Some(thought) = piece["thinking"].as_str() {
            self.thoughts.entry(index).or_default().push_str(thought);
            if !thought.is_empty() {
                out.push(delta(Delta::Reasoning(thought.to_owned())));
            }
        }
        if piece["text"].is_string() {
            self.texts.entry(index).or_insert(self.characters);
            self.text(&piece["text"], out);
        }
    }

    /// A content block has ended.
    pub fn end_content(&mut self, index: u64, out: &mut Vec<Event>) {
        if let Some(text) = self.thoughts.remove(&index).filter(|text| !text.is_empty()) {
            let index = self.thought;
            self.thought += 1;
            out.push(delta(Delta::ReasoningDetail(json!({
                "type": "reasoning.text",
                "text": text,
                "format": REASONING_FORMAT,
                "index": index,
            }))));
        }
    }

    /// A call begins.
    pub fn call(&mut self, index: u64, call: &Value, out: &mut Vec<Event>) {
        self.end_call(index, out);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, sent) = (text(&call["id"]), text(&call["function"]["name"]));
        let name = self.renamed.get(&sent).cloned().unwrap_or(sent);
        let open = OpenCall { index: self.calls, held: Some(String::new()) };
        out.push(delta(Delta::ToolCall { index: open.index, id, name, extra: None }));
        self.calls += 1;
        self.open.insert(index, open);
        self.arguments(index, call, out);
    }

    /// A piece of a call's arguments; whether there is such a call.
    pub fn arguments(&mut self, index: u64, call: &Value, out: &mut Vec<Event>) -> bool {
        let Some(open) = self.open.get_mut(&index) else { return false };
        let mut piece = call["function"]["arguments"].as_str().unwrap_or_default().to_owned();
        if let Some(held) = &mut open.held {
            held.push_str(&piece);
            if "null".starts_with(held.trim()) {
                return true;
            }
            piece = open.held.take().unwrap_or_default();
        }
        if !piece.is_empty() {
            out.push(delta(Delta::ToolArguments { index: open.index, piece }));
        }
        true
    }

    /// A call has ended. One without arguments has empty ones.
    pub fn end_call(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(open) = self.open.remove(&index) else { return };
        if let Some(held) = open.held {
            let piece = if matches!(held.trim(), "" | "null") { "{}".to_owned() } else { held };
            out.push(delta(Delta::ToolArguments { index: open.index, piece }));
        }
    }

    /// A citation.
    pub fn cite(&mut self, citation: &Value, out: &mut Vec<Event>) {
        let from = match citation["type"].as_str() {
            Some("PLAN") => self.plan.unwrap_or_default(),
            // Thoughts are not part of the text.
            Some("THINKING_CONTENT") => return,
            _ => {
                let block = citation["content_index"].as_u64();
                let named = block.and_then(|block| self.texts.get(&block));
                named.or_else(|| self.texts.values().next()).copied().unwrap_or_default()
            }
        };
        let annotations = citations::annotations(citation, from);
        out.extend(annotations.into_iter().map(|annotation| delta(Delta::Annotation(annotation))));
    }

    /// The answer has ended.
    pub fn end(&mut self, told: &Value, out: &mut Vec<Event>) -> Result<(), Failure> {
        let reason = match told["finish_reason"].as_str() {
            Some("ERROR" | "TIMEOUT") => return Err(error::in_answer(told)),
            Some("ERROR_TOXIC") => FinishReason::ContentFilter,
            Some("MAX_TOKENS" | "ERROR_LIMIT") => FinishReason::Length,
            // Whatever the word is: the calls tell whether tools were called.
            _ if self.calls > 0 => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        self.start(&Value::Null, out);
        while let Some((&index, _)) = self.thoughts.first_key_value() {
            self.end_content(index, out);
        }
        while let Some((&index, _)) = self.open.first_key_value() {
            self.end_call(index, out);
        }
        out.push(Event::Finish { choice: 0, reason });
        out.extend(usage::read(&told["usage"]).map(Event::Usage));
        Ok(())
    }

    fn text(&mut self, piece: &Value, out: &mut Vec<Event>) {
        let Some(text) = piece.as_str().filter(|text| !text.is_empty()) else { return };
        self.characters += text.chars().count();
        out.push(delta(Delta::Text(text.to_owned())));
    }
}

/// The log probabilities of the chosen tokens, where there are any.
pub fn logprobs(told: &Value, out: &mut Vec<Event>) {
    let content: Vec<Value> = entries(told).iter().filter_map(logprob).collect();
    if !content.is_empty() {
        out.push(delta(Delta::Logprobs(json!({ "content": content, "refusal": null }))));
    }
}

/// That of one piece of text, which may be more than one token: then theirs add up.
fn logprob(item: &Value) -> Option<Value> {
    let text = item["text"].as_str()?;
    let logprob: f64 = item["logprobs"].as_array()?.iter().filter_map(Value::as_f64).sum();
    Some(json!({ "token": text, "logprob": logprob, "bytes": text.as_bytes(), "top_logprobs": [] }))
}

/// The entries of a list. Streams send a single one without its list.
pub fn entries(value: &Value) -> &[Value] {
    match value {
        Value::Array(entries) => entries,
        Value::Object(_) => std::slice::from_ref(value),
        _ => &[],
    }
}

fn delta(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}
