//! The history: from OpenAI's messages to the API's system blocks and turns.
//!
//! * System and developer messages before everything else become the system prompt, a block for each text. Later
//!   ones become user text between `<system_message>` tags where they stand.
//! * Roles must alternate, so consecutive messages of one role become one turn. Tool results stand first in their
//!   user turn. Where a model takes no more in a turn of results, a filler of the assistant's parts the two.
//! * Blank text, which the API refuses, is left out. Where that, or the client, leaves no user turn at a place
//!   that needs one, or a document without the text that it needs, a placeholder stands in.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::documents::Names;
use super::family::Family;
use super::wire::{Block, CachePoint, Reasoning, Role, SystemBlock, ToolResult, ToolUse, Turn};
use super::{REASONING_FORMAT, media};
use crate::chat::conversation::{AssistantMessage, Content, Message, Part, ToolMessage};
use crate::providers::Unsendable;
use crate::providers::anthropic::blocks as anthropic;
use crate::providers::anthropic::carrier::THINKING as CLAUDE_FORMAT;
use crate::providers::anthropic::messages::Replay;
use crate::providers::anthropic::naming::Naming;
use crate::providers::reasoning_details::{self, Signed};

/// Stands before an assistant's turn that opens the conversation: the first turn must be the user's.
const OPENING: &str = "(start of conversation)";
/// Stands where something must stand and there is nothing to say.
const NOTHING: &str = ".";

/// The history as it is sent.
#[derive(Debug, Default)]
pub struct History<'a> {
    pub system: Vec<SystemBlock<'a>>,
    pub turns: Vec<Turn<'a>>,
    /// The names of the tools called in it, each once.
    pub called: Vec<Cow<'a, str>>,
    /// Marks of what to cache were left out: the model takes none.
    pub dropped_marks: bool,
}

/// Writes the history.
pub fn write<'a>(
    messages: &'a [Message],
    replay: Replay,
    family: Family,
    naming: &mut Naming,
) -> Result<History<'a>, Unsendable> {
    let mut writer = Writer { history: History::default(), replay, family, naming, names: Names::default() };
    let leading = messages.iter().take_while(|message| matches!(message, Message::System(_))).count();
    let (system, rest) = messages.split_at(leading);
    for message in system {
        let Message::System(content) = message else { continue };
        writer.system(content, rest.is_empty())?;
    }
    for (at, message) in (leading..).zip(rest) {
        writer.message(at, message)?;
    }
    writer.close(matches!(messages.last(), Some(Message::Assistant(_))));
    Ok(writer.history)
}

/// The block that follows what is marked for caching.
pub fn cache_point(mark: &Value) -> CachePoint {
    let ttl = match mark.get("ttl").and_then(Value::as_str) {
        Some("1h") => Some("1h"),
        Some("5m") => Some("5m"),
        _ => None,
    };
    CachePoint { kind: "default", ttl }
}

struct Writer<'a, 'n> {
    history: History<'a>,
    replay: Replay,
    family: Family,
    naming: &'n mut Naming,
    names: Names,
}

impl<'a> Writer<'a, '_> {
    /// Instructions alone are the question.
    fn system(&mut self, content: &'a Content, is_question: bool) -> Result<(), Unsendable> {
        for (text, mark) in anthropic::texts(content)?.into_iter().filter(|(text, _)| !text.trim().is_empty())
        {
            let point = self.mark(mark);
            if is_question {
                let blocks = std::iter::once(Block::Text(text.into())).chain(point.map(Block::CachePoint));
                self.push(Role::User, blocks.collect());
            } else {
                self.history.system.push(SystemBlock::Text(text));
                self.history.system.extend(point.map(SystemBlock::CachePoint));
            }
        }
        Ok(())
    }

    fn message(&mut self, at: usize, message: &'a Message) -> Result<(), Unsendable> {
        match message {
            Message::System(content) => {
                let mark = anthropic::texts(content)?.into_iter().find_map(|(_, mark)| mark);
                let text = content.text();
                if !text.trim().is_empty() {
                    let text = format!("<system_message>\n{text}\n</system_message>");
                    let point = self.mark(mark).map(Block::CachePoint);
                    self.push(Role::User, std::iter::once(Block::Text(text.into())).chain(point).collect());
                }
            }
            Message::User(content) => {
                let blocks = self.user_blocks(content, at, false)?;
                self.part_from_results(&blocks);
                self.push(Role::User, blocks);
            }
            Message::Assistant(assistant) => {
                let blocks = self.assistant(at, assistant)?;
                self.push(Role::Assistant, blocks);
            }
            Message::Tool(result) => self.tool_result(at, result)?,
        }
        Ok(())
    }

    fn mark(&mut self, mark: Option<&Value>) -> Option<CachePoint> {
        let point = mark.map(cache_point);
        self.history.dropped_marks |= point.is_some() && !self.family.caches();
        point.filter(|_| self.family.caches())
    }

    fn push(&mut self, role: Role, blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        match self.history.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(blocks),
            _ => self.history.turns.push(Turn { role, content: blocks }),
        }
    }

    /// Mistral's models take nothing but an answer after results, and Claude no documents in their turn.
    fn part_from_results(&mut self, blocks: &[Block<'a>]) {
        let is_document = |block: &Block<'_>| matches!(block, Block::Document(_));
        let is_parted = match self.family {
            Family::Mistral => !blocks.is_empty(),
            Family::Claude | Family::Opaque => blocks.iter().any(is_document),
            Family::Nova | Family::Nova2 | Family::GptOss | Family::Qwen | Family::Cohere | Family::Other => {
                false
            }
        };
        let after_results = self.history.turns.last().is_some_and(|turn| turn.content.iter().any(is_result));
        if is_parted && after_results {
            self.push(Role::Assistant, vec![Block::Text(NOTHING.into())]);
        }
    }

    fn assistant(&mut self, at: usize, message: &'a AssistantMessage) -> Result<Vec<Block<'a>>, Unsendable> {
        let replayed = match self.replay {
            Replay::None => false,
            Replay::WithCalls => !message.tool_calls.is_empty(),
            Replay::All => true,
        };
        let mut blocks =
            if replayed { reasoning(&message.reasoning_details, self.family) } else { Vec::new() };
        for (text, mark) in anthropic::texts(&message.content)? {
            blocks.extend(text_block(text));
            blocks.extend(self.mark(mark).map(Block::CachePoint));
        }
        if matches!(message.content, Content::None) {
            blocks.extend(message.refusal.as_deref().and_then(text_block));
        }
        for (nth, call) in message.tool_calls.iter().enumerate() {
            let name = self.naming.tool(&call.function.name);
            if !self.history.called.contains(&name) {
                self.history.called.push(name.clone());
            }
            let input = anthropic::input(call, at, nth)?;
            blocks.push(Block::ToolUse(ToolUse { tool_use_id: self.naming.call(&call.id), name, input }));
        }
        Ok(blocks)
    }

    /// All results of a turn stand in one user turn and before everything else in it.
    fn tool_result(&mut self, at: usize, message: &'a ToolMessage) -> Result<(), Unsendable> {
        let tool_use_id = self.naming.result(&message.tool_call_id);
        let mut content = self.user_blocks(&message.content, at, true)?;
        // A mark in a result stands after it: the API takes none inside.
        let marked = content.iter().rposition(|block| matches!(block, Block::CachePoint(_)));
        let point = marked.map(|marked| content.remove(marked));
        content.retain(|block| !matches!(block, Block::CachePoint(_)));
        if content.is_empty() {
            content.push(Block::Text(NOTHING.into()));
        }
        let block = Block::ToolResult(ToolResult { tool_use_id, content });
        match self.history.turns.last_mut() {
            Some(turn) if turn.role == Role::User => {
                let leads = |block: &&Block<'_>| is_result(block) || matches!(block, Block::CachePoint(_));
                let results = turn.content.iter().take_while(leads).count();
                turn.content.splice(results..results, std::iter::once(block).chain(point));
            }
            _ => self.push(Role::User, std::iter::once(block).chain(point).collect()),
        }
        Ok(())
    }

    /// The blocks of a user's message or of a tool's result.
    fn user_blocks(
        &mut self,
        content: &'a Content,
        at: usize,
        in_result: bool,
    ) -> Result<Vec<Block<'a>>, Unsendable> {
        let parts = match content {
            Content::None => return Ok(Vec::new()),
            Content::Text(text) => return Ok(text_block(text).into_iter().collect()),
            Content::Parts(parts) => parts,
        };
        let mut blocks = Vec::with_capacity(parts.len());
        for (nth, part) in parts.iter().enumerate() {
            let (block, mark) = match part {
                Part::Text { text, cache_control } => (text_block(text), cache_control.as_ref()),
                Part::ImageUrl { image_url, cache_control } => {
                    (Some(media::image(&image_url.url)?), cache_control.as_ref())
                }
                Part::File(file) => {
                    let at = format!("messages[{at}].content[{nth}].file");
                    (Some(media::file(file, &at, &mut self.names)?), None)
                }
                Part::InputAudio(_) if in_result => return Err(Unsendable::Lacks("audio")),
                Part::InputAudio(audio) => (Some(media::audio(audio)?), None),
                Part::Refusal(text) => (text_block(text), None),
                Part::Unknown => return Err(Unsendable::Lacks("content_part")),
            };
            // No mark may stand right after a document.
            let follows_document = matches!(blocks.last(), Some(Block::Document(_)));
            let spacer = (block.is_none() && mark.is_some() && follows_document).then_some("\n");
            blocks.extend(block.or(spacer.map(|spacer| Block::Text(spacer.into()))));
            // There must be something before it to cache.
            let point = self.mark(mark).filter(|_| !blocks.is_empty());
            blocks.extend(point.map(Block::CachePoint));
        }
        Ok(blocks)
    }

    /// Mends the ends of the conversation, and documents that stand without a word.
    fn close(&mut self, assistant_is_last: bool) {
        let placeholder = |text: &'static str| vec![Block::Text(text.into())];
        let turns = &mut self.history.turns;
        let assistant_begins = turns.first().is_some_and(|turn| turn.role == Role::Assistant);
        if assistant_begins && !self.family.assistant_may_begin() {
            turns.insert(0, Turn { role: Role::User, content: placeholder(OPENING) });
        }
        let open = turns.last().is_none_or(|turn| turn.role == Role::Assistant && !assistant_is_last);
        if open {
            // Without it the model would go on with its own last words.
            turns.push(Turn { role: Role::User, content: placeholder(NOTHING) });
        }
        // White space at the end of a text to be continued is refused.
        let last = turns.last_mut().filter(|turn| turn.role == Role::Assistant);
        if let Some(Block::Text(text)) = last.and_then(|turn| turn.content.last_mut()) {
            *text = text.trim_end().to_owned().into();
        }
        for turn in turns {
            let document = turn.content.iter().position(|block| matches!(block, Block::Document(_)));
            let has_text = turn.content.iter().any(|block| matches!(block, Block::Text(_)));
            if let Some(document) = document.filter(|_| !has_text) {
                turn.content.insert(document, Block::Text(NOTHING.into()));
            }
        }
    }
}

fn is_result(block: &Block<'_>) -> bool {
    matches!(block, Block::ToolResult(_))
}

fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then(|| Block::Text(text.into()))
}

/// The reasoning that this model can check: Claude's wherever it was signed, and what this API gave out.
fn reasoning(details: &[Value], family: Family) -> Vec<Block<'_>> {
    let takes_claude = matches!(family, Family::Claude | Family::Opaque);
    let is_taken = |format: &str| format == REASONING_FORMAT || (takes_claude && format == CLAUDE_FORMAT);
    let block = |signed| {
        Block::ReasoningContent(match signed {
            Signed::Text { text, signature, .. } => Reasoning::ReasoningText { text, signature },
            Signed::Encrypted { format: REASONING_FORMAT, data } => Reasoning::RedactedContent(data.into()),
            // The Messages API's text is bytes to this one, and bytes travel in base64.
            Signed::Encrypted { data, .. } => Reasoning::RedactedContent(STANDARD.encode(data).into()),
        })
    };
    reasoning_details::signed(details, is_taken).into_iter().map(block).collect()
}
