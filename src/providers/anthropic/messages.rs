//! The history: from OpenAI's messages to the API's system prompt and turns.
//!
//! * System and developer messages before everything else become the system prompt, joined by a blank line.
//!   Later ones become system turns where the model takes those, each at the end of the user's turn that it stands
//!   in or before; elsewhere they become user text between `<system_message>` tags where they stand.
//! * Consecutive messages of one role become one turn. Tool results stand first in their user turn.
//! * Where blank text that is left out, or the client, leaves no user turn at a place that needs one, a
//!   placeholder stands in for it.

use std::borrow::Cow;
use std::mem;

use super::blocks::{self, Marked};
use super::carrier::{self, Takes};
use super::naming::Naming;
use super::wire::{Block, Role, System, Turn};
use crate::chat::conversation::{AssistantMessage, Content, Message, ToolMessage};
use crate::providers::Unsendable;

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
    /// Entries of `reasoning_details` were left out.
    pub lost_details: bool,
    /// Reasoning came back as text alone.
    pub lost_reasoning: bool,
}

/// Which turns get their thinking back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    None,
    /// Those that called tools: the model goes on from there.
    WithCalls,
    All,
}

/// How the history is written.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub replay: Replay,
    /// What else may return to the API; `thinking` follows from `replay`.
    pub takes: Takes,
    /// The model takes system turns.
    pub system_turns: bool,
}

/// Writes the history.
pub fn write<'a>(
    messages: &'a [Message],
    manner: Manner,
    naming: &mut Naming,
) -> Result<History<'a>, Unsendable> {
    let mut writer = Writer { history: History::default(), manner, naming, instructions: Vec::new() };
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
    writer.instruct();
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
    let takes = Takes { thinking: true, ..Takes::default() };
    let shows_thinking = |last: &AssistantMessage| !carrier::read(&last.reasoning_details, takes).is_empty();
    last.is_some_and(|last| !last.tool_calls.is_empty() && !shows_thinking(last))
}

/// Whether the conversation ends with a turn that the API itself broke off to have it sent back.
pub fn is_paused(messages: &[Message], takes: Takes) -> bool {
    let Some(Message::Assistant(last)) = messages.last() else { return false };
    let text = last.content.text().chars().count();
    carrier::is_paused(&carrier::read(&last.reasoning_details, takes), text, last.tool_calls.len())
}

struct Writer<'a, 'n> {
    history: History<'a>,
    manner: Manner,
    naming: &'n mut Naming,
    /// System turns that wait for the end of the user's turn.
    instructions: Vec<Vec<Block<'a>>>,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, at: usize, message: &'a Message) -> Result<(), Unsendable> {
        match message {
            Message::System(content) if self.manner.system_turns => {
                let blocks: Vec<_> =
                    blocks::texts(content)?.into_iter().filter_map(blocks::of_text).collect();
                if !blocks.is_empty() {
                    self.instructions.push(blocks);
                }
            }
            Message::System(content) => {
                let mark = blocks::texts(content)?.into_iter().rev().find_map(|(_, mark)| mark);
                let text = content.text();
                if !text.trim().is_empty() {
                    let text = format!("<system_message>\n{text}\n</system_message>");
                    self.push(Role::User, vec![Block::Text { text: text.into(), cache_control: mark }]);
                }
            }
            Message::User(content) => {
                let blocks = blocks::of_user(content, at)?;
                self.push(Role::User, blocks);
            }
            Message::Assistant(assistant) => {
                let blocks = self.assistant(at, assistant)?;
                if !blocks.is_empty() {
                    self.instruct();
                }
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

    /// Writes the system turns that wait. They follow a user's turn.
    fn instruct(&mut self) {
        let instructions = mem::take(&mut self.instructions);
        if !instructions.is_empty()
            && self.history.turns.last().is_none_or(|turn| turn.role == Role::Assistant)
        {
            self.push(Role::User, placeholder(NOTHING));
        }
        let turns = instructions.into_iter().map(|content| Turn { role: Role::System, content });
        self.history.turns.extend(turns);
    }

    fn assistant(&mut self, at: usize, message: &'a AssistantMessage) -> Result<Vec<Block<'a>>, Unsendable> {
        let thinking = match self.manner.replay {
            Replay::None => false,
            Replay::WithCalls => !message.tool_calls.is_empty(),
            Replay::All => true,
        };
        let details = &message.reasoning_details;
        let carried = carrier::read(details, Takes { thinking, ..self.manner.takes });
        self.history.lost_details |= details.len() > carried.len();
        self.history.lost_reasoning |= details.is_empty() && message.reasoning_content.is_some();
        let mut texts = blocks::texts(&message.content)?;
        if matches!(message.content, Content::None) {
            texts.extend(message.refusal.as_deref().map(|refusal| (refusal, None)));
        }
        let calls = self.calls(at, message)?;
        Ok(blocks::weave(texts, calls, carried))
    }

    fn calls(&mut self, at: usize, message: &'a AssistantMessage) -> Result<Vec<Block<'a>>, Unsendable> {
        let mut calls = Vec::with_capacity(message.tool_calls.len());
        for (nth, call) in message.tool_calls.iter().enumerate() {
            let name = self.naming.tool(&call.function.name);
            if !self.history.called.contains(&name) {
                self.history.called.push(name.clone());
            }
            let caller = call.extra_content.as_ref().and_then(|extra| extra.pointer("/anthropic/caller"));
            calls.push(Block::ToolUse {
                id: self.naming.call(&call.id),
                name,
                input: blocks::input(call, at, nth)?,
                caller: caller.filter(|_| self.manner.takes.server_tools),
                cache_control: call.cache_control.as_ref(),
            });
        }
        Ok(calls)
    }

    /// All results of a turn stand in one user turn and before everything else in it.
    fn tool_result(&mut self, at: usize, message: &'a ToolMessage) -> Result<(), Unsendable> {
        let mut content = blocks::of_user(&message.content, at)?;
        // Of a result that is marked, the whole is marked.
        let inner = content.iter_mut().filter_map(Block::take_mark).last();
        let block = Block::ToolResult {
            tool_use_id: self.naming.result(&message.tool_call_id),
            content,
            is_error: message.is_error,
            cache_control: message.cache_control.as_ref().or(inner),
        };
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

fn placeholder(text: &'static str) -> Vec<Block<'static>> {
    vec![Block::Text { text: text.into(), cache_control: None }]
}

fn system_blocks(messages: &[Message]) -> Result<Vec<Block<'_>>, Unsendable> {
    let mut written: Vec<Block<'_>> = Vec::new();
    for message in messages {
        let Message::System(content) = message else { continue };
        let mut between = if written.is_empty() { "" } else { "\n\n" };
        let texts: Vec<Marked<'_>> = blocks::texts(content)?;
        for (text, mark) in texts.into_iter().filter(|(text, _)| !text.trim().is_empty()) {
            let text = if between.is_empty() { text.into() } else { format!("{between}{text}").into() };
            between = "";
            written.push(Block::Text { text, cache_control: mark });
        }
    }
    Ok(written)
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
