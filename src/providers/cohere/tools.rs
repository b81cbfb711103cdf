//! Tool definitions and the choice among them. The API takes no name to call: the tools that may not be called are
//! left out instead.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::names::Names;
use super::wire;
use crate::chat::Conversation;
use crate::chat::conversation::{Function, ToolChoice};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;

/// What a request sends of its tools.
#[derive(Debug, Default)]
pub struct Tools<'a> {
    pub definitions: Vec<wire::Tool<'a>>,
    pub choice: Option<wire::ToolChoice>,
    /// All of them are held to their schemas.
    pub are_strict: bool,
    /// Some asked for that, and it cannot be had for some only.
    pub dropped_strict: bool,
}

/// Writes the tools.
pub fn write<'a>(conversation: &'a Conversation, names: &mut Names) -> Result<Tools<'a>, Unsendable> {
    let choice = choice(conversation.tool_choice.as_ref());
    let mut functions = Vec::new();
    for tool in &conversation.tools {
        let function = tool.function.as_ref().filter(|_| tool.kind == "function");
        functions.push(function.ok_or(Unsendable::Lacks("tool_kind"))?);
    }
    functions.retain(|function| may_be_called(conversation.tool_choice.as_ref(), &function.name));
    if functions.is_empty() {
        let fault = |text| Err(Invalid::at("tool_choice", text).into());
        return match (choice, conversation.tools.is_empty()) {
            (Some(wire::ToolChoice::Required), true) => fault("`tool_choice` needs `tools` to choose from."),
            (_, false) => fault("`tool_choice` names no tool that is among `tools`."),
            (_, true) => Ok(Tools::default()),
        };
    }
    let wishes = functions.iter().filter(|function| function.strict == Some(true)).count();
    let mut tools = Tools { choice, are_strict: wishes == functions.len(), ..Tools::default() };
    for function in functions {
        let (parameters, requires_any) = parameters(function)?;
        // Strictness is refused for a tool that requires nothing.
        tools.are_strict &= requires_any;
        tools.definitions.push(wire::Tool {
            kind: "function",
            function: wire::Function {
                name: names.sent(&function.name),
                description: function.description.as_deref(),
                parameters,
            },
        });
    }
    tools.dropped_strict = wishes > 0 && !tools.are_strict;
    Ok(tools)
}

fn choice(choice: Option<&ToolChoice>) -> Option<wire::ToolChoice> {
    match choice? {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => None,
        ToolChoice::None => Some(wire::ToolChoice::None),
        ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed { required: true, .. } => {
            Some(wire::ToolChoice::Required)
        }
    }
}

fn may_be_called(choice: Option<&ToolChoice>, name: &str) -> bool {
    match choice {
        Some(ToolChoice::Function(chosen)) => chosen == name,
        Some(ToolChoice::Allowed { names, .. }) => names.iter().any(|allowed| allowed == name),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => true,
    }
}

/// The client's schema, byte for byte, and whether it requires anything.
fn parameters(function: &Function) -> Result<(Cow<'_, RawValue>, bool), Unsendable> {
    let fault = || {
        let text = format!("The `parameters` of the tool {:?} must be a JSON Schema object.", function.name);
        Unsendable::from(Invalid::at("tools", text))
    };
    let given = function.parameters.as_deref().filter(|raw| raw.get() != "null");
    let Some(raw) = given else {
        let empty = to_raw_value(&serde_json::json!({ "type": "object", "properties": {} }));
        return Ok((Cow::Owned(empty.map_err(|_| fault())?), false));
    };
    let schema: Value = serde_json::from_str(raw.get()).map_err(|_| fault())?;
    if !schema.is_object() {
        return Err(fault());
    }
    let requires_any = schema["required"].as_array().is_some_and(|names| !names.is_empty());
    Ok((Cow::Borrowed(raw), requires_any))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(choice: &Value) -> Result<(Vec<String>, Option<wire::ToolChoice>), Unsendable> {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let body = json!({"messages": [], "tools": [tool("f"), tool("g")], "tool_choice": choice});
        let conversation: Conversation = serde_json::from_value(body).unwrap();
        let tools = write(&conversation, &mut Names::default())?;
        let names = tools.definitions.iter().map(|tool| tool.function.name.to_string());
        Ok((names.collect(), tools.choice))
    }

    #[test]
    fn a_choice_the_api_lacks_is_made_by_leaving_tools_out() {
        use wire::ToolChoice::{None, Required};
        let named = |name: &str| json!({"type": "function", "function": {"name": name}});
        let allowed = |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named("g")]}});
        let both = || vec!["f".to_owned(), "g".to_owned()];
        let g = || vec!["g".to_owned()];
        assert_eq!(written(&Value::Null), Ok((both(), Option::None)));
        assert_eq!(written(&json!("auto")), Ok((both(), Option::None)));
        assert_eq!(written(&json!("none")), Ok((both(), Some(None))));
        assert_eq!(written(&json!("required")), Ok((both(), Some(Required))));
        assert_eq!(written(&named("g")), Ok((g(), Some(Required))));
        assert_eq!(written(&allowed("required")), Ok((g(), Some(Required))));
        assert_eq!(written(&allowed("auto")), Ok((g(), Option::None)));
        assert!(matches!(written(&named("h")), Err(Unsendable::Invalid(_))));
    }

    #[test]
    fn strictness_is_for_all_or_for_none() {
        let tools = |functions: Value| {
            let tools = functions.as_array().unwrap().iter();
            let tools = tools.map(|function| json!({"type": "function", "function": function}));
            let body = json!({"messages": [], "tools": tools.collect::<Vec<_>>()});
            let conversation: Conversation = serde_json::from_value(body).unwrap();
            let tools = write(&conversation, &mut Names::default()).unwrap();
            (tools.are_strict, tools.dropped_strict)
        };
        let strict = json!({"name": "f", "strict": true, "parameters": {"type": "object", "properties": {"a": {}}, "required": ["a"]}});
        let loose = json!({"name": "g", "parameters": {"type": "object"}});
        let empty = json!({"name": "h", "strict": true});
        assert_eq!(tools(json!([strict])), (true, false));
        assert_eq!(tools(json!([strict, loose])), (false, true));
        assert_eq!(tools(json!([strict, empty])), (false, true));
        assert_eq!(tools(json!([loose])), (false, false));
    }
}
