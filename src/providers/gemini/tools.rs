//! Tools and which of them may or must be called.

use super::names::Names;
use super::schema;
use super::wire::{FunctionCallingConfig, FunctionDeclaration, Mode, ToolConfig, ToolEntry};
use crate::chat::Conversation;
use crate::chat::conversation::ToolChoice;
use crate::providers::Unsendable;

/// The declarations, all in one entry.
pub fn entries<'a>(conversation: &'a Conversation, names: &Names) -> Result<Vec<ToolEntry<'a>>, Unsendable> {
    let mut function_declarations = Vec::new();
    for tool in &conversation.tools {
        let function = tool.function.as_ref().filter(|_| tool.kind == "function");
        let function = function.ok_or(Unsendable::Lacks("tool_type"))?;
        function_declarations.push(FunctionDeclaration {
            name: names.sent(&function.name),
            description: function.description.as_deref(),
            parameters_json_schema: function.parameters.as_deref().and_then(schema::parameters),
        });
    }
    if function_declarations.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![ToolEntry { function_declarations }])
}

/// The choice. `auto` is what Gemini does when it is told nothing.
pub fn config<'a>(conversation: &'a Conversation, names: &Names) -> Option<ToolConfig<'a>> {
    if conversation.tools.is_empty() {
        return None;
    }
    let (mode, allowed_function_names) = match conversation.tool_choice.as_ref()? {
        ToolChoice::Auto => return None,
        ToolChoice::None => (Mode::None, Vec::new()),
        ToolChoice::Required => (Mode::Any, Vec::new()),
        ToolChoice::Function(name) => (Mode::Any, vec![names.sent(name)]),
        ToolChoice::Allowed { names: allowed, required } => {
            // `AUTO` takes no names.
            let mode = if *required { Mode::Any } else { Mode::Validated };
            (mode, allowed.iter().map(|name| names.sent(name)).collect())
        }
    };
    Some(ToolConfig { function_calling_config: FunctionCallingConfig { mode, allowed_function_names } })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn conversation(choice: &Value) -> Conversation {
        let body = json!({
            "messages": [],
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}},
                {"type": "function", "function": {"name": "2g", "parameters": null}},
            ],
            "tool_choice": choice,
        });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn every_choice_has_its_mode() {
        let named = json!({"type": "function", "function": {"name": "2g"}});
        let allowed = |mode: &str| {
            let tools = json!([{"type": "function", "function": {"name": "f"}}]);
            json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
        };
        let cases = [
            (json!("auto"), Value::Null),
            (json!("none"), json!({"mode": "NONE"})),
            (json!("required"), json!({"mode": "ANY"})),
            (named, json!({"mode": "ANY", "allowedFunctionNames": ["_2g"]})),
            (allowed("auto"), json!({"mode": "VALIDATED", "allowedFunctionNames": ["f"]})),
            (allowed("required"), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        ];
        for (choice, expected) in cases {
            let conversation = conversation(&choice);
            let config = config(&conversation, &Names::of(&conversation));
            let written = config.map(|config| serde_json::to_value(config.function_calling_config).unwrap());
            assert_eq!(written.unwrap_or_default(), expected, "{choice}");
        }
    }

    #[test]
    fn all_functions_stand_in_one_entry() {
        let conversation = conversation(&Value::Null);
        let entries = entries(&conversation, &Names::of(&conversation)).unwrap();
        assert_eq!(
            serde_json::to_string(&entries).unwrap(),
            r#"[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object"}},{"name":"_2g"}]}]"#
        );
    }

    #[test]
    fn a_tool_that_is_no_function_is_lacked() {
        let body = json!({"messages": [], "tools": [{"type": "custom", "custom": {"name": "c"}}]});
        let conversation: Conversation = serde_json::from_value(body).unwrap();
        let refused = entries(&conversation, &Names::default()).unwrap_err();
        assert_eq!(refused, Unsendable::Lacks("tool_type"));
    }
}
