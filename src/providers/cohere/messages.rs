//! The history: from OpenAI's messages to the API's. Roles may follow each other as they like, so each message stays
//! where it is. Only calls whose results come after them all are brought together: the API wants results at once.
//! Blank messages, which it refuses, are left out, but for the user's, whose place a point keeps.

use serde_json::Value;

use super::media;
use super::names::Names;
use super::wire::{Assistant, Block, Content, Document, FunctionCall, ImageUrl, Message, ToolCall};
use crate::chat::conversation::{self, AssistantMessage, Part};
use crate::providers::Unsendable;

/// Marks the entries of `reasoning_details` that are this API's own.
pub const REASONING_FORMAT: &str = "cohere-chat-v2";

/// Stands for a user's message without content.
const NOTHING: &str = ".";

/// The history as it is sent.
#[derive(Debug, Default)]
pub struct History<'a> {
    pub messages: Vec<Message<'a>>,
    /// The files of the user's messages.
    pub documents: Vec<Document<'a>>,
}

/// Writes the history; `thoughts` says whether the model's earlier ones go back to it.
pub fn write<'a>(
    messages: &'a [conversation::Message],
    thoughts: bool,
    names: &mut Names,
) -> Result<History<'a>, Unsendable> {
    let mut history = History::default();
    for (at, message) in messages.iter().enumerate() {
        let written = match message {
            conversation::Message::System(content) => {
                history.content(content, at)?.map(|content| Message::System { content })
            }
            conversation::Message::User(content) => {
                let content = history.content(content, at)?.unwrap_or(Content::Text(NOTHING.into()));
                Some(Message::User { content })
            }
            conversation::Message::Assistant(message) => assistant(message, thoughts, names)?,
            conversation::Message::Tool(result) => {
                let content = history.content(&result.content, at)?;
                if content.as_ref().is_some_and(Content::has_image) {
                    return Err(Unsendable::Lacks("content_part"));
                }
                let content = content.unwrap_or_else(|| Content::Text(result.content.text().into()));
                Some(Message::Tool { tool_call_id: &result.tool_call_id, content })
            }
        };
        match (history.messages.last_mut(), written) {
            (Some(Message::Assistant(before)), Some(Message::Assistant(after)))
                if both_call(before, &after) =>
            {
                before.join(after);
            }
            (_, written) => history.messages.extend(written),
        }
    }
    Ok(history)
}

fn both_call(before: &Assistant<'_>, after: &Assistant<'_>) -> bool {
    !before.tool_calls.is_empty() && !after.tool_calls.is_empty()
}

impl<'a> Assistant<'a> {
    /// Takes in what the next message says.
    fn join(&mut self, after: Self) {
        self.tool_calls.extend(after.tool_calls);
        self.tool_plan = match (self.tool_plan.take(), after.tool_plan) {
            (Some(plan), Some(more)) => Some(format!("{plan}\n{more}").into()),
            (plan, more) => plan.or(more),
        };
        let blocks = |content: Content<'a>| match content {
            Content::Text(text) => vec![Block::Text { text }],
            Content::Blocks(blocks) => blocks,
        };
        self.content = match (self.content.take(), after.content) {
            (Some(content), Some(more)) => {
                Some(Content::Blocks(blocks(content).into_iter().chain(blocks(more)).collect()))
            }
            (content, more) => content.or(more),
        };
    }
}

impl<'a> History<'a> {
    /// What a message says, unless it is blank. Its files are put aside.
    fn content(
        &mut self,
        content: &'a conversation::Content,
        at: usize,
    ) -> Result<Option<Content<'a>>, Unsendable> {
        let parts = match content {
            conversation::Content::None => return Ok(None),
            conversation::Content::Text(text) => {
                return Ok(filled(text).map(|text| Content::Text(text.into())));
            }
            conversation::Content::Parts(parts) => parts,
        };
        let mut blocks = Vec::with_capacity(parts.len());
        for (nth, part) in parts.iter().enumerate() {
            blocks.extend(match part {
                Part::Text { text, .. } | Part::Refusal(text) => {
                    filled(text).map(|text| Block::Text { text: text.into() })
                }
                Part::ImageUrl { image_url, .. } => {
                    let detail = image_url.detail.as_deref();
                    Some(Block::ImageUrl { image_url: ImageUrl { url: &image_url.url, detail } })
                }
                Part::File(file) => {
                    let data = media::document(file, &format!("messages[{at}].content[{nth}].file"))?;
                    let id = format!("doc:{}", self.documents.len());
                    self.documents.push(Document::File { id, data });
                    None
                }
                Part::InputAudio(_) => return Err(Unsendable::Lacks("audio")),
                Part::Unknown => return Err(Unsendable::Lacks("content_part")),
            });
        }
        Ok((!blocks.is_empty()).then_some(Content::Blocks(blocks)))
    }
}

fn assistant<'a>(
    message: &'a AssistantMessage,
    thoughts: bool,
    names: &mut Names,
) -> Result<Option<Message<'a>>, Unsendable> {
    let mut texts = text_of(message)?;
    let tool_calls: Vec<ToolCall<'_>> = message
        .tool_calls
        .iter()
        .map(|call| {
            let arguments = match call.function.arguments.trim() {
                "" | "null" => "{}",
                _ => &call.function.arguments,
            };
            let function = FunctionCall { name: names.sent(&call.function.name), arguments };
            ToolCall { id: &call.id, kind: "function", function }
        })
        .collect();
    let tool_plan = if tool_calls.is_empty() || texts.is_empty() {
        None
    } else {
        Some(std::mem::take(&mut texts).concat().into())
    };
    let own = if thoughts { own_thoughts(&message.reasoning_details) } else { Vec::new() };
    let content = match (own.is_empty(), texts.as_slice()) {
        (true, []) => None,
        (true, [text]) => Some(Content::Text((*text).into())),
        _ => {
            let texts = texts.into_iter().map(|text| Block::Text { text: text.into() });
            Some(Content::Blocks(own.into_iter().chain(texts).collect()))
        }
    };
    let is_blank = content.is_none() && tool_calls.is_empty();
    Ok((!is_blank).then_some(Message::Assistant(Assistant { content, tool_plan, tool_calls })))
}

/// The texts of an assistant's message, or its refusal where it has none.
fn text_of<'a>(message: &'a AssistantMessage) -> Result<Vec<&'a str>, Unsendable> {
    let texts = match &message.content {
        conversation::Content::None => message.refusal.iter().map(String::as_str).collect(),
        conversation::Content::Text(text) => vec![text.as_str()],
        conversation::Content::Parts(parts) => {
            let text = |part: &'a Part| match part {
                Part::Text { text, .. } | Part::Refusal(text) => Ok(text.as_str()),
                Part::ImageUrl { .. } | Part::InputAudio(_) | Part::File(_) | Part::Unknown => {
                    Err(Unsendable::Lacks("content_part"))
                }
            };
            parts.iter().map(text).collect::<Result<Vec<_>, _>>()?
        }
    };
    Ok(texts.into_iter().filter_map(filled).collect())
}

/// This API's own thoughts among the entries, each the block that it was.
fn own_thoughts(details: &[Value]) -> Vec<Block<'_>> {
    let own = details.iter().filter(|entry| entry["format"] == REASONING_FORMAT);
    own.filter_map(|entry| entry.get("text").and_then(Value::as_str))
        .filter(|thinking| !thinking.is_empty())
        .map(|thinking| Block::Thinking { thinking })
        .collect()
}

fn filled(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}
