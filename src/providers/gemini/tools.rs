//! Tools and which of them may or must be called.

use super::generation::Generation;
use super::host::Host;
use super::names::Names;
use super::schema;
use super::wire::{FunctionCallingConfig, FunctionDeclaration, Mode, ToolConfig, ToolEntry};
use crate::chat::Conversation;
use crate::chat::conversation::ToolChoice;
use crate::providers::Unsendable;

/// What the model may use.
#[derive(Debug, Default)]
pub struct Toolbox<'a> {
    pub entries: Vec<ToolEntry<'a>>,
    pub config: Option<ToolConfig<'a>>,
    /// A function asked to be held to its schema, and this generation cannot.
    pub is_strict_dropped: bool,
}

/// What of the provider's own tools there is beside the functions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    pub search: bool,
    /// The history holds calls of such tools.
    pub calls: bool,
}

/// Lays out the functions, all in one entry, and beside them the search, if it is wanted.
pub fn lay_out<'a>(
    conversation: &'a Conversation,
    names: &Names,
    generation: Generation,
    host: Host,
    beside: Beside,
) -> Result<Toolbox<'a>, Unsendable> {
    let choice = conversation.tool_choice.as_ref();
    let narrowed = match choice {
        // It takes no names without the mode that it does not know: the others are left out.
        Some(ToolChoice::Allowed { names, required: false }) if !generation.validates_calls() => Some(names),
        Some(
            ToolChoice::Allowed { .. }
            | ToolChoice::Auto
            | ToolChoice::None
            | ToolChoice::Required
            | ToolChoice::Function(_),
        )
        | None => None,
    };
    let mut declarations = Vec::new();
    let mut is_strict = false;
    for tool in &conversation.tools {
        let function = tool.function.as_ref().filter(|_| tool.kind == "function");
        let function = function.ok_or(Unsendable::Lacks("tool_type"))?;
        if narrowed.is_some_and(|names| !names.contains(&function.name)) {
            continue;
        }
        is_strict |= function.strict == Some(true);
        declarations.push(FunctionDeclaration {
            name: names.sent(&function.name),
            description: function.description.as_deref(),
            parameters_json_schema: function.parameters.as_deref().and_then(schema::parameters),
        });
    }
    let has_functions = !declarations.is_empty();
    let is_validated = is_strict && generation.validates_calls();
    let calling = choice.and_then(|choice| calling(choice, names, generation, is_validated));
    let validated = || FunctionCallingConfig { mode: Mode::Validated, allowed_function_names: Vec::new() };
    let calling = calling.or_else(|| (is_validated && choice.is_none()).then(validated));
    let mut entries = Vec::new();
    if has_functions {
        entries.push(ToolEntry::FunctionDeclarations(declarations));
    }
    if beside.search {
        entries.push(ToolEntry::GoogleSearch {});
    }
    let function_calling_config = calling.filter(|_| has_functions);
    // AI Studio refuses both kinds at once without this, Vertex refuses this.
    let is_mixed = has_functions && beside.search || beside.calls;
    let include_server_side_tool_invocations = (is_mixed && host == Host::Direct).then_some(true);
    let config = ToolConfig { function_calling_config, include_server_side_tool_invocations };
    let is_said = config.function_calling_config.is_some() || include_server_side_tool_invocations.is_some();
    Ok(Toolbox { entries, config: is_said.then_some(config), is_strict_dropped: is_strict && !is_validated })
}

/// The choice. A call that must be made keeps to its schema without being told.
fn calling<'a>(
    choice: &'a ToolChoice,
    names: &Names,
    generation: Generation,
    is_validated: bool,
) -> Option<FunctionCallingConfig<'a>> {
    let (mode, allowed_function_names) = match choice {
        ToolChoice::Auto if is_validated => (Mode::Validated, Vec::new()),
        ToolChoice::Auto => (Mode::Auto, Vec::new()),
        ToolChoice::None => (Mode::None, Vec::new()),
        ToolChoice::Required => (Mode::Any, Vec::new()),
        ToolChoice::Function(name) => (Mode::Any, vec![names.sent(name)]),
        ToolChoice::Allowed { required: false, .. } if !generation.validates_calls() => return None,
        ToolChoice::Allowed { names: allowed, required } => {
            // `AUTO` takes no names.
            let mode = if *required { Mode::Any } else { Mode::Validated };
            (mode, allowed.iter().map(|name| names.sent(name)).collect())
        }
    };
    Some(FunctionCallingConfig { mode, allowed_function_names })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn conversation(strict: bool, choice: &Value) -> Conversation {
        let body = json!({
            "messages": [],
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": strict}},
                {"type": "function", "function": {"name": "2g", "parameters": null}},
            ],
            "tool_choice": choice,
        });
        serde_json::from_value(body).unwrap()
    }

    fn written(conversation: &Conversation, generation: Generation, search: bool) -> (Value, Value, bool) {
        let toolbox = lay_out(
            conversation,
            &Names::of(conversation),
            generation,
            Host::Direct,
            Beside { search, calls: false },
        )
        .unwrap();
        let json = |value: Result<Value, _>| value.unwrap();
        (
            json(serde_json::to_value(&toolbox.entries)),
            json(serde_json::to_value(&toolbox.config)),
            toolbox.is_strict_dropped,
        )
    }

    fn allowed(mode: &str) -> Value {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
    }

    #[test]
    fn every_choice_has_its_mode() {
        let named = json!({"type": "function", "function": {"name": "2g"}});
        let cases = [
            (false, Value::Null, Value::Null),
            (false, json!("auto"), json!({"mode": "AUTO"})),
            (false, json!("none"), json!({"mode": "NONE"})),
            (false, json!("required"), json!({"mode": "ANY"})),
            (false, named, json!({"mode": "ANY", "allowedFunctionNames": ["_2g"]})),
            (false, allowed("auto"), json!({"mode": "VALIDATED", "allowedFunctionNames": ["f"]})),
            (false, allowed("required"), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
            (true, Value::Null, json!({"mode": "VALIDATED"})),
            (true, json!("auto"), json!({"mode": "VALIDATED"})),
            (true, json!("required"), json!({"mode": "ANY"})),
            (true, json!("none"), json!({"mode": "NONE"})),
        ];
        for (strict, choice, expected) in cases {
            let (_, config, is_dropped) = written(&conversation(strict, &choice), Generation::TwoFive, false);
            let calling = config.get("functionCallingConfig").cloned().unwrap_or_default();
            assert_eq!((calling, is_dropped), (expected, false), "{strict} {choice}");
        }
    }

    #[test]
    fn an_older_model_is_given_only_what_it_may_call() {
        let (entries, config, is_dropped) =
            written(&conversation(true, &allowed("auto")), Generation::Early, false);
        assert_eq!(entries[0]["functionDeclarations"].as_array().unwrap().len(), 1);
        assert_eq!((config, is_dropped), (Value::Null, true));
    }

    #[test]
    fn all_functions_stand_in_one_entry_and_the_search_in_another() {
        let functions = json!({"functionDeclarations": [
            {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
            {"name": "_2g"},
        ]});
        let both = conversation(false, &Value::Null);
        let (entries, config, _) = written(&both, Generation::Three, false);
        assert_eq!((entries, config), (json!([functions]), Value::Null));
        let (entries, config, _) = written(&both, Generation::Three, true);
        assert_eq!(entries, json!([functions, {"googleSearch": {}}]));
        assert_eq!(config, json!({"includeServerSideToolInvocations": true}));
        let on_vertex = lay_out(
            &both,
            &Names::of(&both),
            Generation::Three,
            Host::Vertex,
            Beside { search: true, calls: true },
        )
        .unwrap();
        assert!(on_vertex.config.is_none());
        let after = lay_out(
            &both,
            &Names::of(&both),
            Generation::Three,
            Host::Direct,
            Beside { search: false, calls: true },
        );
        assert!(after.unwrap().config.is_some());
        let none: Conversation =
            serde_json::from_value(json!({"messages": [], "tool_choice": "auto"})).unwrap();
        let (entries, config, _) = written(&none, Generation::TwoFive, true);
        assert_eq!((entries, config), (json!([{"googleSearch": {}}]), Value::Null));
    }

    #[test]
    fn a_tool_that_is_no_function_is_lacked() {
        let body = json!({"messages": [], "tools": [{"type": "custom", "custom": {"name": "c"}}]});
        let conversation: Conversation = serde_json::from_value(body).unwrap();
        let refused =
            lay_out(&conversation, &Names::default(), Generation::Three, Host::Direct, Beside::default())
                .unwrap_err();
        assert_eq!(refused, Unsendable::Lacks("tool_type"));
    }
}
