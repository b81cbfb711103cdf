//! Tool definitions and the choice among them: what the Messages API would be sent, in this API's shape.

use serde_json::{Map, Value, json};

use super::family::Family;
use super::messages::cache_point;
use super::wire::{InputSchema, Tool, ToolChoice, ToolConfig, ToolSpec};
use crate::providers::anthropic::tools::Tools;
use crate::providers::anthropic::wire as anthropic;

/// What of the tools could not be said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub choice: bool,
    pub parallel: bool,
    pub marks: bool,
}

/// Writes the tools. `in_history`: tools were called before, so their definitions may not be missing. What this
/// API's choice cannot express goes to Claude in its own words, into `additional`: then nothing may stand beside.
pub fn write<'a>(
    tools: Tools<'a>,
    in_history: bool,
    family: Family,
    additional: &mut Map<String, Value>,
) -> (Option<ToolConfig<'a>>, Dropped) {
    let mut dropped = Dropped::default();
    let own_words = matches!(family, Family::Claude);
    // Tools in the Messages API's own words have no place here; the request lacks them before it comes to this.
    let definitions = tools.definitions.into_iter().filter_map(|tool| match tool {
        anthropic::AnyTool::Client(tool) => Some(tool),
        anthropic::AnyTool::Raw(_) => None,
    });
    let mut definitions: Vec<_> = definitions.collect();
    let tool_choice = match tools.choice {
        None => None,
        Some(anthropic::ToolChoice::None) if !in_history => return (None, dropped),
        Some(anthropic::ToolChoice::None) if own_words => {
            additional.insert("tool_choice".to_owned(), json!({ "type": "none" }));
            None
        }
        Some(anthropic::ToolChoice::None) => {
            dropped.choice = true;
            None
        }
        Some(choice) if own_words && is_one_at_a_time(&choice) => {
            additional.insert("tool_choice".to_owned(), json!(choice));
            None
        }
        Some(choice) => {
            dropped.parallel = is_one_at_a_time(&choice);
            match choice {
                anthropic::ToolChoice::Any { .. } => Some(ToolChoice::Any {}),
                anthropic::ToolChoice::Tool { name, .. } if family.calls_by_name() => {
                    Some(ToolChoice::Tool { name })
                }
                // The only one there is must be the one.
                anthropic::ToolChoice::Tool { name, .. } => {
                    definitions.retain(|definition| definition.name == name);
                    Some(ToolChoice::Any {})
                }
                anthropic::ToolChoice::Auto { .. } | anthropic::ToolChoice::None => None,
            }
        }
    };
    let mut tools = Vec::with_capacity(definitions.len());
    for definition in definitions {
        tools.push(Tool::ToolSpec(ToolSpec {
            name: definition.name,
            description: definition.description,
            input_schema: InputSchema { json: definition.input_schema },
            strict: definition.strict,
        }));
        let point = definition.cache_control.map(cache_point);
        dropped.marks |= point.is_some() && !family.caches();
        tools.extend(point.filter(|_| family.caches()).map(Tool::CachePoint));
    }
    ((!tools.is_empty()).then_some(ToolConfig { tools, tool_choice }), dropped)
}

fn is_one_at_a_time(choice: &anthropic::ToolChoice<'_>) -> bool {
    match choice {
        anthropic::ToolChoice::Auto { disable_parallel_tool_use }
        | anthropic::ToolChoice::Any { disable_parallel_tool_use }
        | anthropic::ToolChoice::Tool { disable_parallel_tool_use, .. } => *disable_parallel_tool_use,
        anthropic::ToolChoice::None => false,
    }
}
