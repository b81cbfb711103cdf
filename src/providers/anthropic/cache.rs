//! The caching marks of a request: what of them the API takes.

use serde_json::Value;

use super::wire::{AnyTool, Block, Request, System};

/// So many marks the API takes.
const MOST: usize = 4;

/// Takes out the marks that are none and those that are too many; whether there were such. The marks of tools and
/// of the system prompt stay, and of those in the messages the last: they reach furthest.
pub fn limit(request: &mut Request<'_>) -> bool {
    let mut marks: Vec<&mut Option<&Value>> = Vec::new();
    let of_raw =
        |tool: &AnyTool<'_>| matches!(tool, AnyTool::Raw(raw) if raw.get().contains("\"cache_control\""));
    let mut kept = usize::from(request.native.cache_control.is_some())
        + request.tools.iter().filter(|tool| of_raw(tool)).count();
    let tools = request.tools.iter_mut().filter_map(|tool| match tool {
        AnyTool::Client(tool) => Some(&mut tool.cache_control),
        AnyTool::Raw(_) => None,
    });
    marks.extend(tools);
    if let Some(System::Blocks(blocks)) = &mut request.system {
        marks.extend(blocks.iter_mut().filter_map(Block::mark));
    }
    let ahead = marks.len();
    marks
        .extend(request.messages.iter_mut().flat_map(|turn| turn.content.iter_mut()).filter_map(Block::mark));
    let is_mark = |mark: &Value| mark.get("type").is_some_and(|kind| kind == "ephemeral");
    let mut has_dropped = false;
    for mark in &mut marks {
        if mark.is_some_and(|mark| !is_mark(mark)) {
            **mark = None;
            has_dropped = true;
        }
    }
    let (ahead, messages) = marks.split_at_mut(ahead);
    for mark in ahead.iter_mut().chain(messages.iter_mut().rev()).filter(|mark| mark.is_some()) {
        if kept == MOST {
            **mark = None;
            has_dropped = true;
        } else {
            kept += 1;
        }
    }
    has_dropped
}
