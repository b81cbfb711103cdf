//! The content blocks of an answer, whole or in pieces, and what they are in OpenAI's terms.
//!
//! A whole answer is read as a stream of which every block comes in one piece, so both ways give the same.

use std::collections::BTreeMap;
use std::mem;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::family::Family;
use super::usage::Counts;
use super::{REASONING_FORMAT, error};
use crate::chat::{Answer, Delta, Event, FinishReason, Fold, Start, TargetFacts};
use crate::providers::ReplyContext;
use crate::providers::anthropic::carrier::THINKING as CLAUDE_FORMAT;
use crate::reason::{Class, Failure};

/// Reads an answer of status 200.
pub fn decode(body: &[u8], facts: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            Failure::new(Class::Truncated, "The upstream's answer ends in the middle.")
        } else {
            malformed(&error)
        }
    })?;
    let Some(output) = reply.output else {
        let body: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        let is_error = ["message", "Message", "__type"].iter().any(|name| body.get(name).is_some());
        return Err(if is_error { error::of_body(&body) } else { malformed(&"it has no output") });
    };
    let mut reader = BlockReader::new(facts, context);
    let mut events = vec![Event::Start(Start::default())];
    for block in output.message.unwrap_or_default().content.unwrap_or_default() {
        let block = serde_json::from_str(block.get()).map_err(|error| malformed(&error))?;
        reader.whole(block, &mut events);
    }
    reader.finish(reply.stop_reason.as_deref(), &mut events)?;
    events.extend(reply.usage.unwrap_or_default().usage().map(Event::Usage));
    Ok(Answer::Composed(Fold::of(events)))
}

/// The failure of an answer that is not in this format.
pub fn malformed(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Class::Malformed, format!("The upstream's answer is not one of the Converse API: {why}."))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
}

/// A whole block: one of these members, or one that has no meaning for an OpenAI client.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<ReasoningContent>,
    citations_content: Option<CitationsContent>,
}

/// A call, whole or as a stream begins one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse<'a> {
    tool_use_id: String,
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningContent {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: Option<String>,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct CitationsContent {
    content: Option<Vec<CitedText>>,
    citations: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct CitedText {
    text: Option<String>,
}

/// A piece of a block: one of these members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Piece {
    text: Option<String>,
    tool_use: Option<InputPiece>,
    reasoning_content: Option<ReasoningPiece>,
    citation: Option<Value>,
}

#[derive(Deserialize)]
struct InputPiece {
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningPiece {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

/// Reads the blocks of one answer and keeps the counts that run through it.
#[derive(Debug)]
pub struct BlockReader {
    answer_tool: Option<String>,
    renamed_tools: BTreeMap<String, String>,
    /// The format of signed text.
    text_format: &'static str,
    calls: u32,
    reasonings: u32,
    /// The characters of text so far: citations speak of positions in the whole text.
    characters: usize,
    /// Where the last text that was not empty began and ended: sources may come in a block after theirs.
    last_text: (usize, usize),
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
    Reasoning {
        text: String,
        signature: String,
        redacted: Vec<String>,
    },
    /// A call of the client's tool. `whole` is the input that did not come in pieces.
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
    /// What has no meaning for an OpenAI client: the provider's own tools, and kinds that came later.
    Other,
}

impl BlockReader {
    /// A reader of one answer.
    pub fn new(facts: &TargetFacts, context: &ReplyContext) -> Self {
        let text_format = match Family::of(facts) {
            Family::Claude | Family::Opaque => CLAUDE_FORMAT,
            Family::Nova
            | Family::Nova2
            | Family::GptOss
            | Family::Qwen
            | Family::Mistral
            | Family::Cohere
            | Family::Other => REASONING_FORMAT,
        };
        Self {
            answer_tool: context.answer_tool.clone(),
            renamed_tools: context.renamed_tools.clone(),
            text_format,
            calls: 0,
            reasonings: 0,
            characters: 0,
            last_text: (0, 0),
            answered: false,
            beside: String::new(),
        }
    }

    /// A block that came in one piece.
    pub fn whole(&mut self, block: Block<'_>, out: &mut Vec<Event>) {
        let mut open = OpenBlock::Other;
        if let Some(text) = block.text {
            open = self.open_text();
            self.text(text, out);
        } else if let Some(call) = block.tool_use {
            open = self.open_call(call, out);
        } else if let Some(content) = block.citations_content {
            let citations = content.citations.unwrap_or_default();
            open = OpenBlock::Text { from: self.characters, citations };
            let texts = content.content.into_iter().flatten().filter_map(|cited| cited.text);
            texts.for_each(|text| self.text(text, out));
        } else if let Some(content) = block.reasoning_content {
            let (text, signature) = content
                .reasoning_text
                .map_or((None, None), |reasoning| (reasoning.text, reasoning.signature));
            let piece = ReasoningPiece { text, signature, redacted_content: content.redacted_content };
            open = open_reasoning();
            reasoning(&mut open, piece, out);
        }
        self.close(open, out);
    }

    /// A call begins.
    pub fn open_call(&mut self, call: ToolUse<'_>, out: &mut Vec<Event>) -> OpenBlock {
        if call.kind.as_deref() == Some("server_tool_use") {
            return OpenBlock::Other;
        }
        let whole = call.input.map(|input| input.get().to_owned()).filter(|input| input != "null");
        if self.answer_tool.as_deref() == Some(call.name.as_str()) {
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
        let name = self.renamed_tools.get(&call.name).cloned().unwrap_or(call.name);
        out.push(delta(Delta::ToolCall { index, id: call.tool_use_id, name, extra: None }));
        OpenBlock::Call { index, whole, has_arguments: false }
    }

    /// A piece of a block. A block that has not begun begins with it; `None` if it cannot.
    pub fn add(&mut self, open: &mut Option<OpenBlock>, piece: Piece, out: &mut Vec<Event>) -> Option<()> {
        if let Some(InputPiece { input }) = piece.tool_use {
            let input = input.unwrap_or_default();
            match open.as_mut()? {
                OpenBlock::Call { index, has_arguments, .. } => {
                    *has_arguments |= !input.is_empty();
                    push_arguments(*index, input, out);
                }
                OpenBlock::Answer { has_arguments, .. } => {
                    *has_arguments |= !input.is_empty();
                    push_text(input, out);
                }
                OpenBlock::Other => {}
                OpenBlock::Text { .. } | OpenBlock::Reasoning { .. } => return None,
            }
        } else if let Some(piece) = piece.reasoning_content {
            let block = self.expect(open, |block| matches!(block, OpenBlock::Reasoning { .. }), out);
            reasoning(block.get_or_insert_with(open_reasoning), piece, out);
        } else if piece.text.is_some() || piece.citation.is_some() {
            let text = self.open_text();
            let block = self.expect(open, |block| matches!(block, OpenBlock::Text { .. }), out);
            if let OpenBlock::Text { citations, .. } = block.get_or_insert(text) {
                citations.extend(piece.citation);
            }
            self.text(piece.text.unwrap_or_default(), out);
        } else {
            // A kind that came later, or the result of the provider's own tool.
            open.get_or_insert(OpenBlock::Other);
        }
        Some(())
    }

    /// A block has ended. Its input, if none came in pieces, is the one it began with, or an empty one.
    pub fn close(&mut self, open: OpenBlock, out: &mut Vec<Event>) {
        match open {
            OpenBlock::Text { from, citations } => {
                if from < self.characters {
                    self.last_text = (from, self.characters);
                }
                let annotations = citations.iter().filter_map(|cited| annotation(cited, self.last_text));
                out.extend(annotations.map(|annotation| delta(Delta::Annotation(annotation))));
            }
            OpenBlock::Reasoning { text, signature, redacted } => {
                if !signature.is_empty() {
                    let detail = json!({ "type": "reasoning.text", "text": text, "signature": signature });
                    self.detail(detail, self.text_format, out);
                }
                if let Some(data) = joined(&redacted) {
                    let detail = json!({ "type": "reasoning.encrypted", "data": data });
                    self.detail(detail, REASONING_FORMAT, out);
                }
            }
            OpenBlock::Call { index, whole, has_arguments: false } => {
                push_arguments(index, whole.unwrap_or_else(empty), out);
            }
            OpenBlock::Answer { whole, has_arguments: false } => {
                push_text(whole.unwrap_or_else(empty), out);
            }
            OpenBlock::Call { .. } | OpenBlock::Answer { .. } | OpenBlock::Other => {}
        }
    }

    /// The answer has ended.
    pub fn finish(&mut self, stop_reason: Option<&str>, out: &mut Vec<Event>) -> Result<(), Failure> {
        let reason = match stop_reason {
            Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
            Some("guardrail_intervened" | "content_filtered") => FinishReason::ContentFilter,
            Some(reason @ ("malformed_model_output" | "malformed_tool_use")) => {
                let words = format!("The model's answer is broken: {reason}.");
                return Err(Failure::new(Class::ServerError, words));
            }
            // Whatever the word is: the calls tell whether tools were called.
            _ if self.calls > 0 => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        if !self.answered {
            push_text(mem::take(&mut self.beside), out);
        }
        out.push(Event::Finish { choice: 0, reason });
        Ok(())
    }

    fn open_text(&self) -> OpenBlock {
        OpenBlock::Text { from: self.characters, citations: Vec::new() }
    }

    /// Closes a block of another kind under the same index: it never ended.
    fn expect<'a>(
        &mut self,
        open: &'a mut Option<OpenBlock>,
        is_expected: impl Fn(&OpenBlock) -> bool,
        out: &mut Vec<Event>,
    ) -> &'a mut Option<OpenBlock> {
        if let Some(other) = open.take_if(|block| !is_expected(block)) {
            self.close(other, out);
        }
        open
    }

    fn text(&mut self, text: String, out: &mut Vec<Event>) {
        if self.answer_tool.is_some() {
            self.beside.push_str(&text);
        } else {
            self.characters += text.chars().count();
            push_text(text, out);
        }
    }

    fn detail(&mut self, mut detail: Value, format: &str, out: &mut Vec<Event>) {
        detail["format"] = format.into();
        detail["index"] = self.reasonings.into();
        self.reasonings += 1;
        out.push(delta(Delta::ReasoningDetail(detail)));
    }
}

fn open_reasoning() -> OpenBlock {
    OpenBlock::Reasoning { text: String::new(), signature: String::new(), redacted: Vec::new() }
}

fn reasoning(open: &mut OpenBlock, piece: ReasoningPiece, out: &mut Vec<Event>) {
    let OpenBlock::Reasoning { text, signature, redacted } = open else { return };
    let more = piece.text.unwrap_or_default();
    text.push_str(&more);
    signature.push_str(&piece.signature.unwrap_or_default());
    redacted.extend(piece.redacted_content);
    if !more.is_empty() {
        out.push(delta(Delta::Reasoning(more)));
    }
}

/// One blob of several in base64. A single one keeps its spelling.
fn joined(pieces: &[String]) -> Option<String> {
    match pieces {
        [] => None,
        [piece] => Some(piece.clone()),
        pieces => {
            let bytes = pieces.iter().map(|piece| STANDARD.decode(piece)).collect::<Result<Vec<_>, _>>();
            Some(bytes.map_or_else(|_| pieces.concat(), |bytes| STANDARD.encode(bytes.concat())))
        }
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

fn push_arguments(index: u32, piece: String, out: &mut Vec<Event>) {
    if !piece.is_empty() {
        out.push(delta(Delta::ToolArguments { index, piece }));
    }
}

fn empty() -> String {
    "{}".to_owned()
}

/// OpenAI knows citations of web pages only.
fn annotation(cited: &Value, (start_index, end_index): (usize, usize)) -> Option<Value> {
    let web = cited.pointer("/location/web/url").and_then(Value::as_str);
    let source = cited.get("source").and_then(Value::as_str);
    let is_web = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    let url = web.filter(|url| !url.is_empty()).or_else(|| source.filter(is_web))?;
    let title = cited.get("title").or_else(|| cited.pointer("/location/web/domain"));
    let title = title.and_then(Value::as_str).unwrap_or(url);
    Some(json!({
        "type": "url_citation",
        "url_citation": { "start_index": start_index, "end_index": end_index, "url": url, "title": title },
    }))
}
