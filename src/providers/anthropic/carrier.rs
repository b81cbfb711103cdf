//! What of an answer has no place in OpenAI's format and must return to the API unchanged: thinking with its
//! signature, and the blocks of the provider's own tools. Each travels as one entry of `reasoning_details`, in
//! OpenRouter's shape, which the client sends back with the assistant's message.
//!
//! * Thinking has the format `anthropic-claude-v1`: `reasoning.text` with its `signature`, or
//!   `reasoning.encrypted` with the redacted `data`.
//! * Every other block has the format `anthropic-messages-v1`: `reasoning.encrypted` with the block's JSON as
//!   its `data`.
//! * A block that did not stand first says where it stood: `after_text` characters of the message's text and
//!   `after_calls` of its tool calls.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::wire::Block;

/// Marks the entries that hold thinking.
pub const THINKING: &str = "anthropic-claude-v1";
/// Marks the entries that hold another block.
pub const BLOCK: &str = "anthropic-messages-v1";

/// Where a block stands in its message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// So many characters of text stand before it.
    pub after_text: usize,
    /// So many tool calls stand before it.
    pub after_calls: usize,
}

/// A block that came back, and its place.
#[derive(Debug)]
pub struct Carried<'a> {
    pub place: Place,
    pub block: Block<'a>,
}

/// Which of the carried blocks a request can take back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Takes {
    pub thinking: bool,
    /// Calls and results of the provider's own tools, some of which the request must offer.
    pub server_tools: bool,
    /// The same of MCP servers.
    pub mcp: bool,
    /// Summaries of what was left out of the context.
    pub compaction: bool,
}

/// The entry of a thinking block.
pub fn thinking(text: &str, signature: &str) -> Value {
    json!({ "type": "reasoning.text", "text": text, "signature": signature, "format": THINKING })
}

/// The entry of a redacted thinking block.
pub fn redacted(data: &str) -> Value {
    json!({ "type": "reasoning.encrypted", "data": data, "format": THINKING })
}

/// The entry of any other block, given as JSON.
pub fn other(block: &str) -> Value {
    json!({ "type": "reasoning.encrypted", "data": block, "format": BLOCK })
}

impl Place {
    /// Adds to an entry that it is the `index`-th of its message and stands here.
    pub fn mark(self, entry: &mut Value, index: u32) {
        entry["index"] = index.into();
        let marks = [("after_text", self.after_text), ("after_calls", self.after_calls)];
        for (name, count) in marks.into_iter().filter(|(_, count)| *count > 0) {
            entry[name] = count.into();
        }
    }

    fn of(entry: &Value) -> Self {
        let count = |name| entry.get(name).and_then(Value::as_u64).and_then(|count| count.try_into().ok());
        Self {
            after_text: count("after_text").unwrap_or_default(),
            after_calls: count("after_calls").unwrap_or_default(),
        }
    }
}

impl Takes {
    fn block(self, kind: &str) -> bool {
        match kind {
            "compaction" => self.compaction,
            kind if kind.starts_with("mcp_") => self.mcp,
            _ => self.server_tools,
        }
    }
}

/// The blocks among the entries that the request can take, in their order. Entries of other providers, and text
/// without a signature, would be refused.
pub fn read(entries: &[Value], takes: Takes) -> Vec<Carried<'_>> {
    let mut blocks = Vec::new();
    // A thinking block that goes on until its signature comes: the index and the place of its entry, its text.
    let mut open: Option<(Option<u64>, Place, String)> = None;
    for entry in entries {
        let place = Place::of(entry);
        let mut push = |place, block| blocks.push(Carried { place, block });
        match (text(entry, "format"), text(entry, "type")) {
            (Some(THINKING), Some("reasoning.text")) if takes.thinking => {
                let index = entry.get("index").and_then(Value::as_u64);
                let before = open.take().filter(|(other, ..)| *other == index);
                let (place, mut thinking) =
                    before.map_or_else(|| (place, String::new()), |(_, place, text)| (place, text));
                thinking.push_str(text(entry, "text").unwrap_or_default());
                match text(entry, "signature").filter(|signature| !signature.is_empty()) {
                    Some(signature) => push(place, Block::Thinking { thinking, signature }),
                    None => open = Some((index, place, thinking)),
                }
            }
            (Some(THINKING), Some("reasoning.encrypted")) if takes.thinking => {
                if let Some(data) = text(entry, "data") {
                    push(place, Block::RedactedThinking { data });
                }
            }
            (Some(BLOCK), Some("reasoning.encrypted")) => {
                let block = text(entry, "data").and_then(|data| raw_block(data, takes));
                if let Some(block) = block {
                    push(place, Block::Raw(block));
                }
            }
            _ => {}
        }
    }
    blocks
}

/// Whether what was carried leaves the message unfinished: its last block is one of the provider's own tools, so
/// the API is to go on from there.
pub fn is_paused(carried: &[Carried<'_>], text: usize, calls: usize) -> bool {
    carried.last().is_some_and(|last| {
        let is_last = last.place.after_text >= text && last.place.after_calls >= calls;
        is_last && matches!(last.block, Block::Raw(_))
    })
}

fn raw_block(data: &str, takes: Takes) -> Option<&RawValue> {
    let block: &RawValue = serde_json::from_str(data).ok()?;
    let members: Map<String, Value> = serde_json::from_str(data).ok()?;
    let kind = members.get("type")?.as_str()?;
    takes.block(kind).then_some(block)
}

fn text<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}
