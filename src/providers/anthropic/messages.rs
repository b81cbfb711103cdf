//! The history: from OpenAI's messages to the API's system prompt and turns.
//!
//! * System and developer messages before everything else become the system prompt, joined by a blank line.
//!   Later ones become user text between `<system_message>` tags where they stand.
//! * Consecutive messages of one role become one turn. Tool results stand first in their user turn.
//! * Blank text, which the API refuses, is left out. Where that, or the client, leaves no user turn at a place
//!   that needs one, a placeholder stands in for it.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::media;
use super::naming::Naming;
use super::wire::{Block, Role, System, Turn};
use crate::chat::conversation::{AssistantMessage, Content, Message, Part, ToolCall, ToolMessage};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;
use crate::providers::reasoning_details::{self, Signed};

/// Marks the entries of `reasoning_details` that are this provider's own.
pub const REASONING_FORMAT: &str = "anthropic-claude-v1";

/// Stands before an assistant's turn that opens the conversation: the first turn must be the user's.
const OPENING: &str = "(start of conversation)";
/// Stands for a user's message without content.
const NOTHING: &str = ".";

/// The history as it is sent.
#[derive(Debug, Default)]
pub struct History<'a> {
    pub system: Option<System<'a>>,
    pub turns: Vec<Turn<'a>>,
    /// The names of the tools called in it, each once.
    pub called: Vec<Cow<'a, str>>,
}

/// Which turns get their reasoning back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    None,
    /// Those that called tools: the model goes on from there.
    WithCalls,
    All,
}

/// Writes the history.
pub fn write<'a>(
    messages: &'a [Message],
    replay: Replay,
    naming: &mut Naming,
) -> Result<History<'a>, Unsendable> {
    let mut writer = Writer { history: History::default(), replay, naming };
    let leading = messages.iter().take_while(|message| matches!(message, Message::System(_))).count();
    let (system, rest) = messages.split_at(leading);
    let system = system_blocks(system)?;
    if rest.is_empty() {
        // Instructions alone are the question.
        writer.push(Role::User, system);
    } else {
        writer.history.system = join(system);
    }
    for (at, message) in (leading..).zip(rest) {
        writer.message(at, message)?;
    }
    writer.close(matches!(messages.last(), Some(Message::Assistant(_))));
    Ok(writer.history)
}

/// Whether the last assistant message called tools and cannot show the reasoning that led to it: the API then
/// refuses to think with a budget.
pub fn lost_its_reasoning(messages: &[Message]) -> bool {
    let last = messages.iter().rev().find_map(|message| match message {
        Message::Assistant(assistant) => Some(assistant),
        Message::System(_) | Message::User(_) | Message::Tool(_) => None,
    });
    last.is_some_and(|last| !last.tool_calls.is_empty() && reasoning(&last.reasoning_details).is_empty())
}

/// Whether a document is given by its URL.
pub fn links(messages: &[Message]) -> bool {
    let is_link = |part: &Part| match part {
        Part::File(file) => file.file_data.as_deref().is_some_and(|data| data.starts_with("http")),
        _ => false,
    };
    messages.iter().any(|message| match message {
        Message::User(Content::Parts(parts))
        | Message::Tool(ToolMessage { content: Content::Parts(parts), .. }) => parts.iter().any(is_link),
        _ => false,
    })
}

struct Writer<'a, 'n> {
    history: History<'a>,
    replay: Replay,
    naming: &'n mut Naming,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, at: usize, message: &'a Message) -> Result<(), Unsendable> {
        match message {
            Message::System(content) => {
                let mark = texts(content)?.find_map(|(_, mark)| mark);
                let text = content.text();
                if !text.trim().is_empty() {
                    let text = format!("<system_message>\n{text}\n</system_message>");
                    self.push(Role::User, vec![Block::Text { text: text.into(), cache_control: mark }]);
                }
            }
            Message::User(content) => {
                let blocks = user_blocks(content, at)?;
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

    fn push(&mut self, role: Role, blocks: Vec<Block<'a>>) {
        if blocks.is_empty() {
            return;
        }
        match self.history.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(blocks),
            _ => self.history.turns.push(Turn { role, content: blocks }),
        }
    }

    fn assistant(&mut self, at: usize, message: &'a AssistantMessage) -> Result<Vec<Block<'a>>, Unsendable> {
        let replayed = match self.replay {
            Replay::None => false,
            Replay::WithCalls => !message.tool_calls.is_empty(),
            Replay::All => true,
        };
        let mut blocks = if replayed { reasoning(&message.reasoning_details) } else { Vec::new() };
        blocks.extend(texts(&message.content)?.filter_map(|(text, mark)| text_block(text, mark)));
        if matches!(message.content, Content::None) {
            blocks.extend(message.refusal.as_deref().and_then(|refusal| text_block(refusal, None)));
        }
        for (nth, call) in message.tool_calls.iter().enumerate() {
            let name = self.naming.tool(&call.function.name);
            if !self.history.called.contains(&name) {
                self.history.called.push(name.clone());
            }
            let input = input(call, at, nth)?;
            blocks.push(Block::ToolUse { id: self.naming.call(&call.id), name, input });
        }
        Ok(blocks)
    }

    /// All results of a turn stand in one user turn and before everything else in it.
    fn tool_result(&mut self, at: usize, message: &'a ToolMessage) -> Result<(), Unsendable> {
        let tool_use_id = self.naming.result(&message.tool_call_id);
        let block = Block::ToolResult { tool_use_id, content: user_blocks(&message.content, at)? };
        match self.history.turns.last_mut() {
            Some(turn) if turn.role == Role::User => {
                let is_result = |block: &&Block<'_>| matches!(block, Block::ToolResult { .. });
                let results = turn.content.iter().take_while(is_result).count();
                turn.content.insert(results, block);
            }
            _ => self.push(Role::User, vec![block]),
        }
        Ok(())
    }

    /// Mends the two ends of the conversation.
    fn close(&mut self, assistant_is_last: bool) {
        let placeholder = |text: &'static str| vec![Block::Text { text: text.into(), cache_control: None }];
        let turns = &mut self.history.turns;
        if turns.first().is_some_and(|turn| turn.role == Role::Assistant) {
            turns.insert(0, Turn { role: Role::User, content: placeholder(OPENING) });
        }
        let open = turns.last().is_none_or(|turn| turn.role == Role::Assistant && !assistant_is_last);
        if open {
            // Without it the model would go on with its own last words.
            turns.push(Turn { role: Role::User, content: placeholder(NOTHING) });
        }
        // White space at the end of a text to be continued is refused.
        let last = turns.last_mut().filter(|turn| turn.role == Role::Assistant);
        if let Some(Block::Text { text, .. }) = last.and_then(|turn| turn.content.last_mut()) {
            *text = text.trim_end().to_owned().into();
        }
    }
}

fn system_blocks(messages: &[Message]) -> Result<Vec<Block<'_>>, Unsendable> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for message in messages {
        let Message::System(content) = message else { continue };
        let mut between = if blocks.is_empty() { "" } else { "\n\n" };
        for (text, mark) in texts(content)? {
            if text.trim().is_empty() {
                continue;
            }
            let text = if between.is_empty() { text.into() } else { format!("{between}{text}").into() };
            between = "";
            blocks.push(Block::Text { text, cache_control: mark });
        }
    }
    Ok(blocks)
}

/// One text, unless a part of it is marked for caching.
fn join(blocks: Vec<Block<'_>>) -> Option<System<'_>> {
    let is_marked = |block: &Block<'_>| matches!(block, Block::Text { cache_control: Some(_), .. });
    if blocks.iter().any(is_marked) {
        return Some(System::Blocks(blocks));
    }
    let mut texts = blocks.into_iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(text),
        _ => None,
    });
    let first = texts.next()?;
    Some(System::Text(texts.fold(first, |all, text| all + text)))
}

/// The blocks of a user's message or of a tool's result.
fn user_blocks(content: &Content, at: usize) -> Result<Vec<Block<'_>>, Unsendable> {
    let parts = match content {
        Content::None => return Ok(Vec::new()),
        Content::Text(text) => return Ok(text_block(text, None).into_iter().collect()),
        Content::Parts(parts) => parts,
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (nth, part) in parts.iter().enumerate() {
        blocks.extend(match part {
            Part::Text { text, cache_control } => text_block(text, cache_control.as_ref()),
            Part::ImageUrl { image_url, cache_control } => {
                let source = media::image(&image_url.url)?;
                Some(Block::Image { source, cache_control: cache_control.as_ref() })
            }
            Part::File(file) => Some(media::document(file, &format!("messages[{at}].content[{nth}].file"))?),
            Part::InputAudio(_) => return Err(Unsendable::Lacks("audio")),
            Part::Refusal(text) => text_block(text, None),
            Part::Unknown => return Err(Unsendable::Lacks("content_part")),
        });
    }
    Ok(blocks)
}

/// The texts of a message that can hold nothing else, with their caching marks.
pub fn texts<'a>(
    content: &'a Content,
) -> Result<impl Iterator<Item = (&'a str, Option<&'a Value>)>, Unsendable> {
    let found = match content {
        Content::None => Vec::new(),
        Content::Text(text) => vec![(text.as_str(), None)],
        Content::Parts(parts) => {
            let text = |part: &'a Part| match part {
                Part::Text { text, cache_control } => Ok((text.as_str(), cache_control.as_ref())),
                Part::Refusal(text) => Ok((text.as_str(), None)),
                Part::ImageUrl { .. } | Part::InputAudio(_) | Part::File(_) | Part::Unknown => {
                    Err(Unsendable::Lacks("content_part"))
                }
            };
            parts.iter().map(text).collect::<Result<_, _>>()?
        }
    };
    Ok(found.into_iter())
}

fn text_block<'a>(text: &'a str, cache_control: Option<&'a Value>) -> Option<Block<'a>> {
    (!text.trim().is_empty()).then(|| Block::Text { text: text.into(), cache_control })
}

/// A call's arguments as an object, byte for byte.
pub fn input(call: &ToolCall, at: usize, nth: usize) -> Result<Cow<'_, RawValue>, Invalid> {
    let text = match call.function.arguments.trim() {
        "" | "null" => "{}",
        text => text,
    };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(Cow::Borrowed(raw)),
        _ => Err(Invalid::at(
            format!("messages[{at}].tool_calls[{nth}].function.arguments"),
            "`arguments` must be the text of a JSON object.",
        )),
    }
}

/// This provider's own reasoning among the entries. Entries of other providers, and text without a signature,
/// would be refused.
fn reasoning(details: &[Value]) -> Vec<Block<'_>> {
    let own = reasoning_details::signed(details, |format| format == REASONING_FORMAT);
    let block = |signed| match signed {
        Signed::Text { text, signature, .. } => Block::Thinking { thinking: text, signature },
        Signed::Encrypted { data, .. } => Block::RedactedThinking { data },
    };
    own.into_iter().map(block).collect()
}
