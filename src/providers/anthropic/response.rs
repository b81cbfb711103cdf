//! The content blocks of an answer, whole or in pieces, and what they are in OpenAI's terms.
//!
//! A whole answer is read as a stream of which every block comes in one piece, so both ways give the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::carrier::{self, Place};
use super::citations;
use super::error;
use super::received::{
    CitationPiece, CompactionPiece, Kind, Opening, Piece, RedactedBlock, ThinkingBlock, ToolBlock, owned,
    said,
};
use super::usage::{Counts, Told};
use crate::chat::{Answer, Delta, Event, FinishReason, Fold, Start};
use crate::providers::{ReplyContext, USUAL_EVENTS};
use crate::reason::{Class, Failure};
use crate::wire::few::Few;
use crate::wire::openai::Text;

/// Reads an answer of status 200.
pub fn decode(body: &[u8], context: &ReplyContext) -> Result<Answer, Failure> {
    // What is known to be text as a whole need not be looked through string by string.
    let read = std::str::from_utf8(body).map_or_else(|_| serde_json::from_slice(body), serde_json::from_str);
    let mut message: Message<'_> = read.map_err(|error| {
        if error.is_eof() {
            Failure::new(Class::Truncated, "The upstream's answer ends in the middle.")
        } else {
            malformed(&error)
        }
    })?;
    if message.kind == "error" || (message.content.is_none() && message.error.is_some()) {
        return Err(error::reported(body));
    }
    let blocks = message.content.take().ok_or_else(|| malformed(&"it has no content"))?;
    let mut reader = BlockReader::new(context);
    let mut events = Vec::with_capacity(USUAL_EVENTS);
    events.push(Event::Start(message.start()));
    reader.heed(message.stop_details.as_ref());
    for block in blocks {
        let mut open = reader.open(block, &mut events).map_err(|error| malformed(&error))?;
        reader.close(&mut open, &mut events);
    }
    reader.finish(message.stop_reason.as_ref().map(|reason| &*reason.0), &mut events);
    let mut counts = Counts::default();
    message.usage.iter().for_each(|told| counts.update(told));
    events.extend(counts.usage().map(Event::Usage));
    Ok(Answer::Composed(Fold::of(events)))
}

/// The failure of an answer that is not in this format.
pub fn malformed(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Class::Malformed, format!("The upstream's answer is not one of the Messages API: {why}."))
}

/// The message object, whole or as a stream begins with it.
#[derive(Deserialize)]
pub struct Message<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    id: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    pub content: Option<Few<&'a RawValue>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    stop_details: Option<Value>,
    #[serde(borrow)]
    pub usage: Option<Told<'a>>,
    error: Option<IgnoredAny>,
}

impl Message<'_> {
    /// The identity of the answer, which is taken out of it.
    pub fn start(&mut self) -> Start {
        let tier = self.usage.as_mut().and_then(|usage| usage.service_tier.take());
        let service_tier = tier.map(|tier| match tier.as_ref() {
            "standard" => "default".to_owned(),
            _ => tier.into_owned(),
        });
        Start { id: self.id.take(), model: self.model.take(), service_tier, ..Start::default() }
    }
}

/// Reads the blocks of one answer and keeps the counts that run through it.
#[derive(Debug, Default)]
pub struct BlockReader {
    answer_tool: Option<String>,
    renamed_tools: BTreeMap<String, String>,
    calls: u32,
    /// Those of them that code of the provider's sandbox made.
    calls_of_code: u32,
    reasonings: u32,
    /// The characters of text so far: citations and carried blocks speak of positions in the whole text.
    characters: usize,
    /// Why the model refused, in its provider's words.
    refusal: Option<String>,
    /// The answer tool was called.
    answered: bool,
    /// Text beside an answer that comes as a tool's input. It counts only if that tool is never called.
    beside: String,
}

/// A block whose end has not come.
#[derive(Debug)]
pub enum OpenBlock {
    Text {
        from: usize,
        citations: Vec<Value>,
    },
    Thinking {
        place: Place,
        text: String,
        signature: String,
    },
    /// A block that has no meaning for an OpenAI client and is carried: the provider's own tools, and kinds that
    /// came later.
    Carried {
        place: Place,
        block: CarriedBlock,
    },
    /// A call of the client's tool. `whole` is the input that came with the block's start.
    Call {
        index: u32,
        whole: Option<String>,
        has_arguments: bool,
    },
    /// The call that is the answer.
    Answer {
        whole: Option<String>,
        has_arguments: bool,
    },
    /// What is dealt with.
    Other,
}

/// A carried block, and what of it comes in pieces.
#[derive(Debug)]
pub struct CarriedBlock {
    whole: String,
    input: String,
    content: Option<String>,
}

impl BlockReader {
    /// A reader of one answer.
    pub fn new(context: &ReplyContext) -> Self {
        Self {
            answer_tool: context.answer_tool.clone(),
            renamed_tools: context.renamed_tools.clone(),
            ..Self::default()
        }
    }

    /// A block begins; in a whole answer it ends with this as well.
    pub fn open(&mut self, block: &RawValue, out: &mut Vec<Event>) -> serde_json::Result<OpenBlock> {
        let Opening { kind, text, citations } = Opening::read(block)?;
        Ok(match kind.as_ref() {
            "text" => {
                let open =
                    OpenBlock::Text { from: self.characters, citations: citations.unwrap_or_default() };
                self.text(owned(text), out);
                open
            }
            "thinking" => {
                let ThinkingBlock { thinking, signature } = serde_json::from_str(block.get())?;
                let text = owned(thinking);
                push_reasoning(&text, out);
                OpenBlock::Thinking { place: self.place(), text, signature: signature.unwrap_or_default() }
            }
            "redacted_thinking" => {
                let block: RedactedBlock = serde_json::from_str(block.get())?;
                self.detail(carrier::redacted(&block.data), self.place(), out);
                OpenBlock::Other
            }
            "tool_use" => self.call(serde_json::from_str(block.get())?, out),
            // It only says which model serves.
            "fallback" => OpenBlock::Other,
            _ => OpenBlock::Carried {
                place: self.place(),
                block: CarriedBlock { whole: block.get().to_owned(), input: String::new(), content: None },
            },
        })
    }

    /// The block that a piece belongs to whose block never began.
    pub fn begun_by(&self, piece: &RawValue) -> serde_json::Result<Option<OpenBlock>> {
        let Kind { kind } = serde_json::from_str(piece.get())?;
        Ok(match kind.as_ref() {
            "text_delta" => Some(OpenBlock::Text { from: self.characters, citations: Vec::new() }),
            "thinking_delta" => Some(OpenBlock::Thinking {
                place: self.place(),
                text: String::new(),
                signature: String::new(),
            }),
            _ => None,
        })
    }

    /// A piece of a block.
    pub fn add(
        &mut self,
        open: &mut OpenBlock,
        piece: &RawValue,
        out: &mut Vec<Event>,
    ) -> serde_json::Result<()> {
        let Piece { kind, text, thinking, signature: signed, partial_json } = Piece::read(piece)?;
        match (kind.as_ref(), open) {
            ("text_delta", OpenBlock::Text { .. }) => self.text(owned(text), out),
            ("citations_delta", OpenBlock::Text { citations, .. }) => {
                let CitationPiece { citation } = serde_json::from_str(piece.get())?;
                citations.push(citation);
            }
            ("thinking_delta", OpenBlock::Thinking { text, .. }) => {
                push_reasoning(said(thinking.as_ref()), out);
                text.push_str(said(thinking.as_ref()));
            }
            ("signature_delta", OpenBlock::Thinking { signature, .. }) => {
                signature.push_str(said(signed.as_ref()));
            }
            ("input_json_delta", OpenBlock::Call { index, has_arguments, .. }) => {
                *has_arguments |= !said(partial_json.as_ref()).is_empty();
                push_arguments(*index, owned(partial_json), out);
            }
            ("input_json_delta", OpenBlock::Answer { has_arguments, .. }) => {
                *has_arguments |= !said(partial_json.as_ref()).is_empty();
                push_text(owned(partial_json), out);
            }
            ("input_json_delta", OpenBlock::Carried { block, .. }) => {
                block.input.push_str(said(partial_json.as_ref()));
            }
            ("compaction_delta", OpenBlock::Carried { block, .. }) => {
                let CompactionPiece { content } = serde_json::from_str(piece.get())?;
                block.content.get_or_insert_default().push_str(&content.unwrap_or_default());
            }
            // Pieces of blocks without meaning here, and kinds that came later.
            _ => {}
        }
        Ok(())
    }

    /// A block has ended. Its input, if none came in pieces, is the one it began with, or an empty one.
    pub fn close(&mut self, open: &mut OpenBlock, out: &mut Vec<Event>) {
        match mem::replace(open, OpenBlock::Other) {
            OpenBlock::Text { from, citations } => {
                let annotations =
                    citations.iter().filter_map(|cited| citations::annotation(cited, from..self.characters));
                out.extend(annotations.map(|annotation| delta(Delta::Annotation(annotation))));
            }
            OpenBlock::Thinking { place, text, signature } if !signature.is_empty() => {
                self.detail(carrier::thinking(&text, &signature), place, out);
            }
            OpenBlock::Carried { place, block } => {
                self.detail(carrier::other(&block.json()), place, out);
            }
            OpenBlock::Call { index, whole, has_arguments: false } => {
                push_arguments(index, whole.unwrap_or_else(empty), out);
            }
            OpenBlock::Answer { whole, has_arguments: false } => {
                push_text(whole.unwrap_or_else(empty), out);
            }
            OpenBlock::Thinking { .. }
            | OpenBlock::Call { .. }
            | OpenBlock::Answer { .. }
            | OpenBlock::Other => {}
        }
    }

    /// The answer has ended.
    pub fn finish(&mut self, stop_reason: Option<&str>, out: &mut Vec<Event>) {
        if !self.answered {
            push_text(mem::take(&mut self.beside), out);
        }
        let reason = self.finish_reason(stop_reason);
        out.extend(self.refusal.take().map(|words| delta(Delta::Refusal(words))));
        out.push(Event::Finish { choice: 0, reason });
    }

    /// Why the model stopped, beyond the word for it: a refusal is explained.
    pub fn heed(&mut self, stop_details: Option<&Value>) {
        let words = stop_details.and_then(|details| details.get("explanation")?.as_str());
        let words = words.filter(|words| !words.is_empty()).map(str::to_owned);
        self.refusal = words.or_else(|| self.refusal.take());
    }

    fn finish_reason(&self, stop_reason: Option<&str>) -> FinishReason {
        match stop_reason {
            // A paused turn is unfinished: the client has it continued by sending the message back.
            Some("max_tokens" | "model_context_window_exceeded" | "pause_turn" | "compaction") => {
                FinishReason::Length
            }
            Some("refusal") => FinishReason::ContentFilter,
            // Whatever the word is: the calls tell whether tools were called. Calls that code of the provider's sandbox
            // made are answered by the time that the model ends its turn.
            Some("tool_use") if self.calls > 0 => FinishReason::ToolCalls,
            _ if self.calls > self.calls_of_code => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        }
    }

    fn call(&mut self, block: ToolBlock<'_>, out: &mut Vec<Event>) -> OpenBlock {
        let whole = block.input.map(|input| input.get().to_owned()).filter(|input| is_filled(input));
        if self.answer_tool.as_deref() == Some(block.name.as_ref()) {
            // A second answer would run into the first.
            let is_second = mem::replace(&mut self.answered, true);
            return if is_second {
                OpenBlock::Other
            } else {
                OpenBlock::Answer { whole, has_arguments: false }
            };
        }
        let index = self.calls;
        self.calls += 1;
        let name = self.renamed_tools.get(&block.name).cloned().unwrap_or(block.name);
        // A call that code of the provider's sandbox made is bound to that code.
        let caller = block.caller.filter(|caller| caller.get("type").is_some_and(|kind| kind != "direct"));
        self.calls_of_code += u32::from(caller.is_some());
        let extra = caller.map(|caller| json!({ "anthropic": { "caller": caller } }));
        out.push(delta(Delta::ToolCall { index, id: block.id, name, extra }));
        OpenBlock::Call { index, whole, has_arguments: false }
    }

    fn text(&mut self, text: String, out: &mut Vec<Event>) {
        if self.answer_tool.is_some() {
            self.beside.push_str(&text);
        } else {
            self.characters += text.chars().count();
            push_text(text, out);
        }
    }

    fn place(&self) -> Place {
        Place { after_text: self.characters, after_calls: self.calls as usize }
    }

    fn detail(&mut self, mut detail: Value, place: Place, out: &mut Vec<Event>) {
        place.mark(&mut detail, self.reasonings);
        self.reasonings += 1;
        out.push(delta(Delta::ReasoningDetail(detail)));
    }
}

fn delta(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

fn push_text(text: String, out: &mut Vec<Event>) {
    if !text.is_empty() {
        out.push(delta(Delta::Text(text)));
    }
}

fn push_reasoning(text: &str, out: &mut Vec<Event>) {
    if !text.is_empty() {
        out.push(delta(Delta::Reasoning(text.to_owned())));
    }
}

fn push_arguments(index: u32, piece: String, out: &mut Vec<Event>) {
    if !piece.is_empty() {
        out.push(delta(Delta::ToolArguments { index, piece }));
    }
}

fn empty() -> String {
    "{}".to_owned()
}

/// Whether an input says anything: streams begin a call with an empty one.
fn is_filled(input: &str) -> bool {
    input != "null" && input.chars().filter(|c| !c.is_whitespace()).ne("{}".chars())
}

impl CarriedBlock {
    /// The block as the API would have sent it in one piece.
    fn json(self) -> String {
        if self.input.is_empty() && self.content.is_none() {
            return self.whole;
        }
        let Ok(mut block) = serde_json::from_str::<Map<String, Value>>(&self.whole) else {
            return self.whole;
        };
        if let Ok(input) = serde_json::from_str(&self.input) {
            block.insert("input".to_owned(), input);
        }
        if let Some(content) = self.content {
            block.insert("content".to_owned(), content.into());
        }
        Value::Object(block).to_string()
    }
}
