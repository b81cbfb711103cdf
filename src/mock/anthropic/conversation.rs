//! The order that Anthropic demands of a conversation: turns, and results right after their calls.

use serde_json::Value;

use super::rules;
use crate::mock::prompt::{Incoming, Prompt, Rejection};

/// A run of messages with one role, which the API joins into one turn.
struct Turn<'m> {
    role: &'m str,
    /// Index of its first message.
    start: usize,
    /// A content that is a string is itself the only block.
    blocks: Vec<&'m Value>,
}

/// Checks and reads the messages.
pub fn read(prompt: &mut Prompt, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let Some(messages) = incoming.get("messages") else {
        return Err(Rejection::param("messages", "Field required"));
    };
    let Some(messages) = messages.as_array() else {
        return Err(Rejection::param("messages", "Input should be a valid list"));
    };
    if messages.is_empty() {
        return Err(Rejection::param("messages", "at least one message is required"));
    }
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = match message["role"].as_str() {
            Some(role @ ("user" | "assistant")) => role,
            Some("system") if takes_system_turns(&incoming.model) => "system",
            _ => {
                let path = format!("messages.{index}.role");
                return Err(Rejection::param(path, "Input should be 'user' or 'assistant'"));
            }
        };
        if role == "system" && turns.last().is_none_or(|turn| turn.role == "assistant") {
            let message = "a system message must follow a user message";
            return Err(Rejection::param(format!("messages.{index}"), message));
        }
        if let Some(key) =
            message.as_object().and_then(|all| all.keys().find(|key| *key != "role" && *key != "content"))
        {
            return Err(Rejection::param(
                format!("messages.{index}.{key}"),
                "Extra inputs are not permitted",
            ));
        }
        let last = index + 1 == messages.len();
        let blocks = blocks(prompt, message, index, role, last)?;
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => turns.push(Turn { role, start: index, blocks }),
        }
    }
    if !rules::is_first(incoming) {
        pair_tools(&turns)?;
    }
    let has_tools = turns.iter().flat_map(|turn| &turn.blocks).any(|block| block["type"] == "tool_use");
    if has_tools && incoming.get("tools").is_none() {
        let message = "Requests which have `tool_use` or `tool_result` blocks in messages must define tools.";
        return Err(Rejection::invalid(message));
    }
    prompt.turns = turns.len();
    let user = turns.iter().rfind(|turn| turn.role == "user");
    prompt.last_user =
        user.map(|turn| turn.blocks.iter().map(|block| text(block)).collect()).unwrap_or_default();
    if let Some(turn) = turns.last() {
        let results = turn.blocks.iter().filter(|block| block["type"] == "tool_result");
        prompt.tool_results = results.map(|block| result_text(block)).collect();
    }
    Ok(())
}

/// Only the newest models take instructions in the middle of a conversation.
fn takes_system_turns(model: &str) -> bool {
    model.starts_with("claude-opus-4-8")
}

fn blocks<'m>(
    prompt: &mut Prompt,
    message: &'m Value,
    index: usize,
    role: &str,
    last: bool,
) -> Result<Vec<&'m Value>, Rejection> {
    let content = match &message["content"] {
        whole @ Value::String(_) => std::slice::from_ref(whole),
        Value::Array(blocks) => blocks.as_slice(),
        Value::Null => return Err(Rejection::param(format!("messages.{index}.content"), "Field required")),
        _ => {
            let path = format!("messages.{index}.content");
            return Err(Rejection::param(path, "Input should be a valid string or list"));
        }
    };
    // Only a final assistant turn may be empty.
    let empty = content.is_empty() || content.first().is_some_and(|block| *block == "");
    if empty && !(last && role == "assistant") {
        let message =
            "all messages must have non-empty content except for the optional final assistant message";
        return Err(Rejection::param(format!("messages.{index}"), message));
    }
    for (at, block) in content.iter().enumerate() {
        check(prompt, block, &format!("messages.{index}.content.{at}"), role)?;
    }
    let ending = content.last().map(text).unwrap_or_default();
    if last && role == "assistant" && ending.ends_with(char::is_whitespace) {
        let message = "final assistant content cannot end with trailing whitespace";
        return Err(Rejection::param("messages", message));
    }
    Ok(content.iter().collect())
}

fn check(prompt: &mut Prompt, block: &Value, path: &str, role: &str) -> Result<(), Rejection> {
    if block.is_string() {
        prompt.read(text(block));
        return Ok(());
    }
    let of_assistant = |kind: &str| {
        let message = format!("`{kind}` blocks can only be in `assistant` messages");
        if role == "assistant" { Ok(()) } else { Err(Rejection::param(path, message)) }
    };
    match block["type"].as_str() {
        Some("text") => prompt.read(non_empty_text(block, path)?),
        Some("image") => {
            image(block, path)?;
            prompt.images += 1;
        }
        Some("tool_use") => {
            of_assistant("tool_use")?;
            check_id(&block["id"], &format!("{path}.tool_use.id"))?;
            if !block["input"].is_object() {
                return Err(Rejection::param(
                    format!("{path}.tool_use.input"),
                    "Input should be a valid dictionary",
                ));
            }
            prompt.read(&block["input"].to_string());
        }
        Some("tool_result") => {
            if role != "user" {
                return Err(Rejection::param(path, "`tool_result` blocks can only be in `user` messages"));
            }
            check_id(&block["tool_use_id"], &format!("{path}.tool_result.tool_use_id"))?;
            prompt.read(&result_text(block));
            let nested = block["content"].as_array().into_iter().flatten();
            prompt.images += nested.filter(|inner| inner["type"] == "image").count();
        }
        Some("thinking") => {
            of_assistant("thinking")?;
            if !block["signature"].is_string() {
                return Err(Rejection::param(format!("{path}.thinking.signature"), "Field required"));
            }
        }
        Some("redacted_thinking") => of_assistant("redacted_thinking")?,
        // The schema knows the rest.
        _ => {}
    }
    Ok(())
}

fn non_empty_text<'m>(block: &'m Value, path: &str) -> Result<&'m str, Rejection> {
    match block["text"].as_str() {
        None => Err(Rejection::param(format!("{path}.text.text"), "Field required")),
        Some("") => Err(Rejection::param("messages", "text content blocks must be non-empty")),
        Some(text) => Ok(text),
    }
}

fn image(block: &Value, path: &str) -> Result<(), Rejection> {
    let source = &block["source"];
    match source["type"].as_str() {
        Some("base64") => {
            let known = ["image/jpeg", "image/png", "image/gif", "image/webp"];
            if !known.iter().any(|known| source["media_type"] == *known) {
                let message = "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'";
                return Err(Rejection::param(format!("{path}.image.source.base64.media_type"), message));
            }
            match source["data"].as_str() {
                None | Some("") => {
                    Err(Rejection::param(format!("{path}.image.source.base64.data"), "Field required"))
                }
                Some(_) => Ok(()),
            }
        }
        Some("url") if source["url"].is_string() => Ok(()),
        Some("file") if source["file_id"].is_string() => Ok(()),
        _ => Err(Rejection::param(format!("{path}.image.source"), "Field required")),
    }
}

fn check_id(id: &Value, path: &str) -> Result<(), Rejection> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match id.as_str() {
        None => Err(Rejection::param(path, "Field required")),
        Some(id) if id.is_empty() || !id.chars().all(fits) => {
            Err(Rejection::param(path, "String should match pattern '^[a-zA-Z0-9_-]+$'"))
        }
        Some(_) => Ok(()),
    }
}

/// Every call must be answered at the start of the next turn, and every answer must have its call.
fn pair_tools(turns: &[Turn<'_>]) -> Result<(), Rejection> {
    for (index, turn) in turns.iter().enumerate() {
        let calls: Vec<_> = ids(turn.blocks.iter().copied(), "tool_use", "id").collect();
        let next = turns.get(index + 1);
        let leading = next.map(|next| {
            let results = next.blocks.iter().copied().take_while(|block| block["type"] == "tool_result");
            ids(results, "tool_result", "tool_use_id").collect::<Vec<_>>()
        });
        let unanswered: Vec<_> = calls
            .iter()
            .filter(|id| !leading.as_ref().is_some_and(|results| results.contains(id)))
            .copied()
            .collect();
        if !unanswered.is_empty() {
            let message = format!(
                "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block \
                 must have a corresponding `tool_result` block in the next message.",
                unanswered.join(", ")
            );
            return Err(Rejection::param(format!("messages.{}", turn.start), message));
        }
        let before = index.checked_sub(1).map(|before| &turns[before]);
        let asked: Vec<_> = before
            .into_iter()
            .flat_map(|before| ids(before.blocks.iter().copied(), "tool_use", "id"))
            .collect();
        let stray =
            ids(turn.blocks.iter().copied(), "tool_result", "tool_use_id").find(|id| !asked.contains(id));
        if let Some(stray) = stray {
            let message = format!(
                "unexpected `tool_use_id` found in `tool_result` blocks: {stray}. Each `tool_result` block must have \
                 a corresponding `tool_use` block in the previous message."
            );
            return Err(Rejection::param(format!("messages.{}", turn.start), message));
        }
    }
    Ok(())
}

fn ids<'m>(
    blocks: impl Iterator<Item = &'m Value>,
    kind: &'static str,
    key: &'static str,
) -> impl Iterator<Item = &'m str> {
    blocks.filter(move |block| block["type"] == kind).filter_map(move |block| block[key].as_str())
}

fn text(block: &Value) -> &str {
    block.as_str().or_else(|| block["text"].as_str()).unwrap_or_default()
}

fn result_text(block: &Value) -> String {
    match &block["content"] {
        Value::Array(blocks) => blocks.iter().map(text).collect(),
        other => text(other).to_owned(),
    }
}
