//! Canonical events as OpenAI's chunks. Chunks that came in that format keep their bytes where they may; all
//! others are written so that nobody could tell them from OpenAI's own.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::chat::{Chunk, Delta, Event, Start, Usage};

/// Writes the chunks of one stream.
pub struct Encoder {
    id: String,
    created: u64,
    model: String,
    service_tier: Option<String>,
    /// The identity is fixed by the first chunk.
    is_identified: bool,
    /// Choices whose role was sent.
    introduced: Vec<u32>,
    /// What waits for the end of its choice.
    lists: Vec<List>,
    include_usage: bool,
    wants_receipt: bool,
    /// Usage that must not go out before the receipt is known, or that stood in no chunk of its own.
    usage: Option<Usage>,
    usage_sent: bool,
}

/// A list of a choice's message. OpenAI's own libraries join what a stream says of one in different ways: the Python one
/// by each entry's `index`, and it fails where there is none; the one for Node keeps what came last. Both understand a
/// list that comes whole.
struct List {
    choice: u32,
    name: &'static str,
    /// How many entries went out.
    sent: usize,
    entries: Vec<Value>,
}

/// Of a longer list nothing waits.
const MOST_HELD: usize = 1024;

impl Encoder {
    /// An encoder that uses this identity unless the upstream gives its own.
    pub fn new(id: String, created: u64, model: String, include_usage: bool, wants_receipt: bool) -> Self {
        Self {
            id,
            created,
            model,
            service_tier: None,
            is_identified: false,
            introduced: Vec::new(),
            lists: Vec::new(),
            include_usage,
            wants_receipt,
            usage: None,
            usage_sent: false,
        }
    }

    /// Appends what `event` looks like to the client.
    pub fn event(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::Start(start) => self.identify(start),
            Event::Delta { choice, delta: Delta::Logprobs(logprobs) } => {
                let delta = self.introduce(choice, Map::new());
                self.write(choice, &delta, &logprobs, &Value::Null, out);
            }
            Event::Delta { choice, delta: Delta::ReasoningDetail(entry) } => {
                self.hold(choice, "reasoning_details", entry, out);
            }
            Event::Delta { choice, delta: Delta::Annotation(entry) } => {
                self.hold(choice, "annotations", entry, out);
            }
            Event::Delta { choice, delta } => {
                let delta = self.introduce(choice, delta_json(delta));
                self.chunk(choice, &delta, &Value::Null, out);
            }
            Event::Finish { choice, reason } => {
                self.release(choice, out);
                let delta = self.introduce(choice, Map::new());
                self.chunk(choice, &delta, &json!(reason.code()), out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Chunk(chunk) => self.pass(&chunk, out),
            Event::Answer(answer) => {
                for event in answer.into_response().explode() {
                    self.event(event, out);
                }
            }
            Event::Alive | Event::Unreadable => {}
        }
    }

    /// Appends the end of a good stream: the usage chunk, where it is wanted and has not been sent, and `[DONE]`.
    /// `receipt` goes into the usage chunk; `counted` are the counts where the upstream gave none.
    pub fn finish(&mut self, receipt: Option<&Value>, counted: Usage, out: &mut BytesMut) {
        // What a provider told after it had finished.
        let late: Vec<_> = self.lists.iter().map(|list| list.choice).collect();
        late.into_iter().for_each(|choice| self.release(choice, out));
        let wanted = self.include_usage && !self.usage_sent || self.wants_receipt && receipt.is_some();
        if wanted {
            let usage = self.usage.unwrap_or(counted);
            let mut chunk = self.frame(json!([]));
            chunk.insert("usage".into(), usage.to_json());
            if let Some(receipt) = receipt.filter(|_| self.wants_receipt) {
                chunk.insert("piton".into(), receipt.clone());
            }
            data(out, Value::Object(chunk).to_string().as_bytes());
        }
        data(out, b"[DONE]");
    }

    /// Takes the upstream's identity, unless something has gone out under another.
    fn identify(&mut self, start: Start) {
        if std::mem::replace(&mut self.is_identified, true) {
            return;
        }
        self.id = start.id.unwrap_or_else(|| std::mem::take(&mut self.id));
        self.model = start.model.unwrap_or_else(|| std::mem::take(&mut self.model));
        self.created = start.created.unwrap_or(self.created);
        self.service_tier = start.service_tier;
    }

    /// Keeps an entry of a list until its choice ends.
    fn hold(&mut self, choice: u32, name: &'static str, mut entry: Value, out: &mut BytesMut) {
        let at = self.lists.iter().position(|list| list.choice == choice && list.name == name);
        let at = at.unwrap_or_else(|| {
            self.lists.push(List { choice, name, sent: 0, entries: Vec::new() });
            self.lists.len() - 1
        });
        let list = &mut self.lists[at];
        if let Some(entry) = entry.as_object_mut() {
            entry.entry("index").or_insert(json!(list.sent + list.entries.len()));
        }
        list.entries.push(entry);
        if list.entries.len() >= MOST_HELD {
            self.release(choice, out);
        }
    }

    /// Lets out what waited for the end of a choice.
    fn release(&mut self, choice: u32, out: &mut BytesMut) {
        for at in 0..self.lists.len() {
            let list = &mut self.lists[at];
            if list.choice != choice || list.entries.is_empty() {
                continue;
            }
            list.sent += list.entries.len();
            let entries = Value::Array(std::mem::take(&mut list.entries));
            let delta = Map::from_iter([(list.name.to_owned(), entries)]);
            let delta = self.introduce(choice, delta);
            self.chunk(choice, &delta, &Value::Null, out);
        }
    }

    /// Puts the role into the first delta of a choice.
    fn introduce(&mut self, choice: u32, mut delta: Map<String, Value>) -> Map<String, Value> {
        if self.introduced.contains(&choice) {
            return delta;
        }
        self.introduced.push(choice);
        let mut first = Map::new();
        first.insert("role".into(), json!("assistant"));
        first.append(&mut delta);
        first
    }

    fn chunk(&mut self, choice: u32, delta: &Map<String, Value>, finish: &Value, out: &mut BytesMut) {
        self.write(choice, delta, &Value::Null, finish, out);
    }

    fn write(
        &mut self,
        choice: u32,
        delta: &Map<String, Value>,
        logprobs: &Value,
        finish: &Value,
        out: &mut BytesMut,
    ) {
        self.is_identified = true;
        let choice =
            json!({ "index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish });
        let choices = json!([choice]);
        let mut chunk = self.frame(choices);
        if self.include_usage {
            chunk.insert("usage".into(), Value::Null);
        }
        data(out, Value::Object(chunk).to_string().as_bytes());
    }

    fn frame(&self, choices: Value) -> Map<String, Value> {
        let mut chunk = Map::new();
        chunk.insert("id".into(), json!(self.id));
        chunk.insert("object".into(), json!("chat.completion.chunk"));
        chunk.insert("created".into(), json!(self.created));
        chunk.insert("model".into(), json!(self.model));
        chunk.insert("choices".into(), choices);
        if let Some(tier) = &self.service_tier {
            chunk.insert("service_tier".into(), json!(tier));
        }
        chunk
    }

    /// A chunk in OpenAI's own format: its bytes, unless something in it would contradict an earlier chunk.
    fn pass(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        let facts = &chunk.facts;
        if facts.usage.is_some() {
            self.usage = facts.usage;
        }
        if !facts.has_choices && facts.usage.is_some() {
            // Its own chunk: wanted as such, or asked for by Piton alone; with a receipt it is written anew.
            if !self.include_usage || self.wants_receipt {
                return;
            }
        }
        self.identify(chunk.start());
        self.usage_sent |= facts.usage.is_some();
        if self.is_consistent(chunk) {
            if facts.has_role {
                self.introduced.extend(&facts.choices);
            }
            return data(out, &chunk.data);
        }
        match self.rewritten(&chunk.data) {
            Some(json) => data(out, json.as_bytes()),
            None => data(out, &chunk.data),
        }
    }

    /// Whether the chunk can go as it is: it has this stream's identity, and a role exactly where its choice has had
    /// none.
    fn is_consistent(&self, chunk: &Chunk) -> bool {
        let facts = &chunk.facts;
        let identity = facts.id.as_deref() == Some(&self.id)
            && facts.model.as_deref() == Some(&self.model)
            && facts.created == Some(self.created);
        let role = match facts.choices.as_slice() {
            [choice] => facts.has_role != self.introduced.contains(choice),
            choices => !facts.has_role && choices.iter().all(|choice| self.introduced.contains(choice)),
        };
        identity && role
    }

    /// The chunk with this stream's identity, and with a role in the first delta of each choice only.
    fn rewritten(&mut self, json: &[u8]) -> Option<String> {
        let mut chunk: Map<String, Value> = serde_json::from_slice(json).ok()?;
        chunk.insert("id".into(), json!(self.id));
        chunk.insert("created".into(), json!(self.created));
        chunk.insert("model".into(), json!(self.model));
        for choice in chunk.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
            let index = choice["index"].as_u64().and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
            let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else { continue };
            delta.shift_remove("role");
            *delta = self.introduce(index, std::mem::take(delta));
        }
        Some(Value::Object(chunk).to_string())
    }
}

/// OpenAI's `delta` for a piece of an answer.
fn delta_json(delta: Delta) -> Map<String, Value> {
    let (name, value) = match delta {
        Delta::Text(text) => ("content", json!(text)),
        Delta::Reasoning(text) => ("reasoning_content", json!(text)),
        Delta::ReasoningDetail(detail) => ("reasoning_details", json!([detail])),
        Delta::Refusal(text) => ("refusal", json!(text)),
        Delta::Annotation(annotation) => ("annotations", json!([annotation])),
        // They stand beside the delta, not in it.
        Delta::Logprobs(_) => return Map::new(),
        Delta::ToolCall { index, id, name, extra } => {
            let function = json!({ "name": name, "arguments": "" });
            let mut call = json!({ "index": index, "id": id, "type": "function", "function": function });
            if let Some(extra) = extra {
                call["extra_content"] = extra;
            }
            ("tool_calls", json!([call]))
        }
        Delta::ToolArguments { index, piece } => {
            ("tool_calls", json!([{ "index": index, "function": { "arguments": piece } }]))
        }
    };
    Map::from_iter([(name.to_owned(), value)])
}

/// Appends the error that ends a broken stream.
pub fn fail(error: &Value, out: &mut BytesMut) {
    data(out, error.to_string().as_bytes());
}

/// One event of the stream. A payload of several lines becomes several `data:` lines.
fn data(out: &mut BytesMut, payload: &[u8]) {
    for line in payload.split(|byte| *byte == b'\n') {
        out.put_slice(b"data: ");
        out.put_slice(line);
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
}

/// A comment that keeps idle connections alive.
pub fn heartbeat() -> Bytes {
    Bytes::from_static(b": keep-alive\n\n")
}

#[cfg(test)]
mod tests;
