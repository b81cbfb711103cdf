//! Canonical events as OpenAI's chunks. Chunks that came in that format keep their bytes where they may; all
//! others are written so that nobody could tell them from OpenAI's own.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr_iter;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::chat::{Chunk, Delta, Event, FinishReason, Start, Usage};

/// Writes the chunks of one stream.
pub struct Encoder {
    id: String,
    created: u64,
    model: String,
    service_tier: Option<String>,
    /// The identity is fixed by the first chunk.
    is_identified: bool,
    /// What written chunks have in common, from the first of them on.
    frame: Option<Frame>,
    /// What the last chunk said that came with this identity: most others share it, and need no comparison.
    known: Option<Arc<Start>>,
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

/// How a chunk begins, up to the number of its choice, and how it ends after its choices.
struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// What the `delta` of a chunk says.
enum Says<'a> {
    Nothing,
    Piece(&'a Delta),
    List(&'static str, &'a [Value]),
}

/// Of a longer list nothing waits.
const MOST_HELD: usize = 1024;
const OBJECT: &str = "chat.completion.chunk";
/// Room for what of a chunk is not the same in all of them, unless it says much at once.
const AROUND_DELTA: usize = 160;

impl Encoder {
    /// An encoder that uses this identity unless the upstream gives its own.
    pub fn new(id: String, created: u64, model: String, include_usage: bool, wants_receipt: bool) -> Self {
        Self {
            id,
            created,
            model,
            service_tier: None,
            is_identified: false,
            frame: None,
            known: None,
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
                self.write(choice, &Says::Nothing, Some(&logprobs), None, out);
            }
            Event::Delta { choice, delta: Delta::ReasoningDetail(entry) } => {
                self.hold(choice, "reasoning_details", entry, out);
            }
            Event::Delta { choice, delta: Delta::Annotation(entry) } => {
                self.hold(choice, "annotations", entry, out);
            }
            Event::Delta { choice, delta } => {
                self.write(choice, &Says::Piece(&delta), None, None, out);
            }
            Event::Finish { choice, reason } => {
                self.release(choice, out);
                self.write(choice, &Says::Nothing, None, Some(reason), out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Chunk(chunk) => self.pass(&chunk, out),
            Event::Answer(answer) => {
                for event in answer.into_response().explode() {
                    self.event(event, out);
                }
            }
            Event::SoFar(_) | Event::Alive | Event::Unreadable => {}
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
            let chunk = UsageChunk {
                id: &self.id,
                object: OBJECT,
                created: self.created,
                model: &self.model,
                choices: [],
                service_tier: self.service_tier.as_deref(),
                usage: self.usage.unwrap_or(counted),
                piton: receipt.filter(|_| self.wants_receipt),
            };
            out.put_slice(b"data: ");
            put(out, &chunk);
            out.put_slice(b"\n\n");
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
            let (name, entries) = (list.name, std::mem::take(&mut list.entries));
            self.write(choice, &Says::List(name, &entries), None, None, out);
        }
    }

    /// Whether this is the choice's first delta, which tells the role.
    fn introduce(&mut self, choice: u32) -> bool {
        let is_first = !self.introduced.contains(&choice);
        if is_first {
            self.introduced.push(choice);
        }
        is_first
    }

    /// Appends a chunk of one choice.
    fn write(
        &mut self,
        choice: u32,
        says: &Says<'_>,
        logprobs: Option<&Value>,
        finish: Option<FinishReason>,
        out: &mut BytesMut,
    ) {
        self.is_identified = true;
        let is_first = self.introduce(choice);
        let frame = match self.frame.take() {
            Some(frame) => frame,
            None => self.frame(),
        };
        out.reserve(frame.head.len() + frame.tail.len() + AROUND_DELTA);
        out.put_slice(&frame.head);
        put(out, &choice);
        out.put_slice(br#","delta":{"#);
        if is_first {
            out.put_slice(br#""role":"assistant""#);
        }
        says.write(is_first, out);
        out.put_slice(br#"},"logprobs":"#);
        put(out, &logprobs);
        out.put_slice(br#","finish_reason":"#);
        put(out, &finish.map(FinishReason::code));
        out.put_slice(&frame.tail);
        self.frame = Some(frame);
    }

    /// What all chunks of the stream have in common. Their identity does not change any more.
    fn frame(&self) -> Frame {
        let mut head = BytesMut::from(r#"data: {"id":"#);
        put(&mut head, &self.id);
        head.put_slice(br#","object":"#);
        put(&mut head, &OBJECT);
        head.put_slice(br#","created":"#);
        put(&mut head, &self.created);
        head.put_slice(br#","model":"#);
        put(&mut head, &self.model);
        head.put_slice(br#","choices":[{"index":"#);
        let mut tail = BytesMut::from("}]");
        if let Some(tier) = &self.service_tier {
            tail.put_slice(br#","service_tier":"#);
            put(&mut tail, tier);
        }
        if self.include_usage {
            tail.put_slice(br#","usage":null"#);
        }
        tail.put_slice(b"}\n\n");
        Frame { head: head.to_vec(), tail: tail.to_vec() }
    }

    /// A chunk in OpenAI's own format: its bytes, unless something in it would contradict an earlier chunk.
    fn pass(&mut self, chunk: &Chunk, out: &mut BytesMut) {
        let facts = &chunk.facts;
        if let Some(usage) = facts.usage.as_deref() {
            self.usage = Some(*usage);
        }
        if facts.choices.is_empty() && facts.usage.is_some() {
            // Its own chunk: wanted as such, or asked for by Piton alone; with a receipt it is written anew.
            if !self.include_usage || self.wants_receipt {
                return;
            }
        }
        if !self.is_identified {
            self.identify(chunk.start());
        }
        self.usage_sent |= facts.usage.is_some();
        if self.is_consistent(chunk) {
            if facts.has_role {
                self.introduced.extend(facts.choices.iter().map(|touched| touched.choice));
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
    fn is_consistent(&mut self, chunk: &Chunk) -> bool {
        let facts = &chunk.facts;
        let is_introduced = |choice: u32| self.introduced.contains(&choice);
        let role = match &*facts.choices {
            [touched] => facts.has_role != is_introduced(touched.choice),
            choices => !facts.has_role && choices.iter().all(|touched| is_introduced(touched.choice)),
        };
        role && self.is_known(&facts.start)
    }

    /// Whether this is the stream's identity.
    fn is_known(&mut self, start: &Arc<Start>) -> bool {
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, start)) {
            return true;
        }
        let is_known = start.id.as_deref() == Some(&self.id)
            && start.model.as_deref() == Some(&self.model)
            && start.created == Some(self.created);
        if is_known {
            self.known = Some(Arc::clone(start));
        }
        is_known
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
            if self.introduce(index) {
                delta.shift_insert(0, "role".into(), json!("assistant"));
            }
        }
        Some(Value::Object(chunk).to_string())
    }
}

impl Says<'_> {
    /// Appends the members of the delta; `follows`: others stand before them.
    fn write(&self, follows: bool, out: &mut BytesMut) {
        let member = |name: &[u8], out: &mut BytesMut| {
            if follows {
                out.put_u8(b',');
            }
            out.put_u8(b'"');
            out.put_slice(name);
            out.put_slice(b"\":");
        };
        match self {
            // Of a delta's logprobs nothing stands in it.
            Self::Nothing | Self::Piece(Delta::Logprobs(_)) => {}
            Self::List(name, entries) => {
                member(name.as_bytes(), out);
                put(out, entries);
            }
            Self::Piece(Delta::Text(text)) => {
                member(b"content", out);
                put(out, text);
            }
            Self::Piece(Delta::Reasoning(text)) => {
                member(b"reasoning_content", out);
                put(out, text);
            }
            Self::Piece(Delta::Refusal(text)) => {
                member(b"refusal", out);
                put(out, text);
            }
            Self::Piece(Delta::ReasoningDetail(entry)) => {
                member(b"reasoning_details", out);
                put(out, &[entry]);
            }
            Self::Piece(Delta::Annotation(entry)) => {
                member(b"annotations", out);
                put(out, &[entry]);
            }
            Self::Piece(Delta::ToolCall { index, id, name, extra }) => {
                let function = Function { name: Some(name), arguments: "" };
                let kind = Some("function");
                let call =
                    Call { index: *index, id: Some(id), kind, function, extra_content: extra.as_ref() };
                member(b"tool_calls", out);
                put(out, &[call]);
            }
            Self::Piece(Delta::ToolArguments { index, piece }) => {
                let function = Function { name: None, arguments: piece };
                let call = Call { index: *index, id: None, kind: None, function, extra_content: None };
                member(b"tool_calls", out);
                put(out, &[call]);
            }
        }
    }
}

/// The last chunk, which tells the token counts.
#[derive(Serialize)]
struct UsageChunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    usage: Usage,
    /// The receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    piton: Option<&'a Value>,
}

/// A tool call in a delta: its first piece, or one with arguments alone.
#[derive(Serialize)]
struct Call<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'a Value>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// Appends a value as JSON. Memory takes every byte, and what is written here is JSON whatever it holds.
fn put<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    let _ = serde_json::to_writer(out.writer(), value);
}

/// Appends the error that ends a broken stream.
pub fn fail(error: &Value, out: &mut BytesMut) {
    data(out, error.to_string().as_bytes());
}

/// One event of the stream. A payload of several lines becomes several `data:` lines.
fn data(out: &mut BytesMut, payload: &[u8]) {
    out.reserve(payload.len() + b"data: \n\n".len());
    let mut start = 0;
    for end in memchr_iter(b'\n', payload).chain([payload.len()]) {
        out.put_slice(b"data: ");
        out.put_slice(&payload[start..end]);
        out.put_u8(b'\n');
        start = end + 1;
    }
    out.put_u8(b'\n');
}

/// A comment that keeps idle connections alive.
pub fn heartbeat() -> Bytes {
    Bytes::from_static(b": keep-alive\n\n")
}

#[cfg(test)]
mod tests;
