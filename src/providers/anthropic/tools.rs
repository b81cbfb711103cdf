//! Tool definitions and the choice among them.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::naming::Naming;
use super::schema;
use super::wire;
use crate::chat::Conversation;
use crate::chat::conversation::{Function, Tool, ToolChoice};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;

/// What a request sends of its tools.
#[derive(Debug, Default)]
pub struct Tools<'a> {
    pub definitions: Vec<wire::Tool<'a>>,
    pub choice: Option<wire::ToolChoice<'a>>,
    /// A tool asked for strictness that this target cannot promise.
    pub dropped_strict: bool,
}

/// Whether the model must call a tool.
pub fn is_forced(conversation: &Conversation) -> bool {
    match conversation.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed { required: true, .. }) => {
            true
        }
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Allowed { required: false, .. }) | None => {
            false
        }
    }
}

/// Writes the tools. `called` are those of the history; `can_be_strict` says whether the model can be held to a
/// schema.
pub fn write<'a>(
    conversation: &'a Conversation,
    called: &[Cow<'a, str>],
    can_be_strict: bool,
    naming: &mut Naming,
) -> Result<Tools<'a>, Unsendable> {
    if conversation.tools.is_empty() {
        if is_forced(conversation) {
            return Err(Invalid::at("tool_choice", "`tool_choice` needs `tools` to choose from.").into());
        }
        return stubs(called);
    }
    let mut tools = Tools::default();
    for (at, tool) in conversation.tools.iter().enumerate() {
        let Some(function) = tool.function.as_ref().filter(|_| tool.kind == "function") else {
            return Err(Unsendable::Lacks("tool_kind"));
        };
        if is_allowed(conversation, function) {
            let definition = define(at, tool, function, can_be_strict, naming)?;
            tools.dropped_strict |= function.strict == Some(true) && !definition.strict;
            tools.definitions.push(definition);
        }
    }
    tools.choice = choose(conversation, &tools.definitions, naming)?;
    Ok(tools)
}

/// The one tool whose input is the answer, and the order to call it.
pub fn answer<'a>(name: &'static str, description: Option<&'a str>, schema: Cow<'a, RawValue>) -> Tools<'a> {
    let definition = wire::Tool {
        name: name.into(),
        description: description.or(Some("Gives the answer. Its input is the whole answer.")),
        input_schema: schema,
        strict: false,
        cache_control: None,
    };
    let choice = wire::ToolChoice::Tool { name: name.into(), disable_parallel_tool_use: true };
    Tools { definitions: vec![definition], choice: Some(choice), dropped_strict: false }
}

/// The API wants to know the tools of the history even where none may be called any more.
pub fn stubs<'a>(called: &[Cow<'a, str>]) -> Result<Tools<'a>, Unsendable> {
    let mut tools = Tools::default();
    for name in called {
        let input_schema = input_schema(None, "")?;
        let name = name.clone();
        let stub = wire::Tool { name, description: None, input_schema, strict: false, cache_control: None };
        tools.definitions.push(stub);
    }
    tools.choice = (!called.is_empty()).then_some(wire::ToolChoice::None);
    Ok(tools)
}

fn is_allowed(conversation: &Conversation, function: &Function) -> bool {
    match &conversation.tool_choice {
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&function.name),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Function(_)) | None => {
            true
        }
    }
}

fn define<'a>(
    at: usize,
    tool: &'a Tool,
    function: &'a Function,
    can_be_strict: bool,
    naming: &mut Naming,
) -> Result<wire::Tool<'a>, Unsendable> {
    let mut input_schema =
        input_schema(function.parameters.as_deref(), &format!("tools[{at}].function.parameters"))?;
    let mut strict = can_be_strict && function.strict == Some(true);
    if strict {
        let given: Option<Value> = serde_json::from_str(input_schema.get()).ok();
        let adapted = given.as_ref().and_then(schema::native);
        strict = adapted.is_some();
        // Where nothing had to change, the client's own bytes stay.
        if let Some(adapted) = adapted.filter(|adapted| given.as_ref() != Some(adapted)) {
            input_schema = to_raw(&adapted, "tools")?;
        }
    }
    Ok(wire::Tool {
        name: naming.tool(&function.name),
        description: function.description.as_deref().filter(|description| !description.is_empty()),
        input_schema,
        strict,
        cache_control: tool.cache_control.as_ref(),
    })
}

/// The client's schema, byte for byte where it says that it is an object.
pub fn input_schema<'a>(parameters: Option<&'a RawValue>, at: &str) -> Result<Cow<'a, RawValue>, Unsendable> {
    let given = parameters.map_or(Ok(Value::Null), |raw| serde_json::from_str::<Value>(raw.get()));
    let members = match given {
        Ok(Value::Object(members)) => members,
        Ok(Value::Null) => Map::from_iter([("properties".to_owned(), Map::new().into())]),
        Ok(_) | Err(_) => return Err(Invalid::at(at, "`parameters` must be a JSON Schema object.").into()),
    };
    match parameters {
        Some(raw) if members.get("type").is_some_and(|kind| kind == "object") => Ok(Cow::Borrowed(raw)),
        _ => {
            let others = members.into_iter().filter(|(name, _)| name != "type");
            let object = std::iter::once(("type".to_owned(), "object".into())).chain(others);
            to_raw(&Value::Object(object.collect()), at)
        }
    }
}

fn to_raw(schema: &Value, at: &str) -> Result<Cow<'static, RawValue>, Unsendable> {
    let raw = to_raw_value(schema)
        .map_err(|error| Invalid::at(at, format!("The schema cannot be written: {error}.")))?;
    Ok(Cow::Owned(raw))
}

fn choose<'a>(
    conversation: &'a Conversation,
    definitions: &[wire::Tool<'a>],
    naming: &mut Naming,
) -> Result<Option<wire::ToolChoice<'a>>, Invalid> {
    let disable_parallel_tool_use = conversation.parallel_tool_calls == Some(false);
    let auto = disable_parallel_tool_use.then_some(wire::ToolChoice::Auto { disable_parallel_tool_use });
    if definitions.is_empty() {
        return Err(Invalid::at("tool_choice", "None of the allowed tools is among `tools`."));
    }
    Ok(match &conversation.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => auto,
        Some(ToolChoice::None) => Some(wire::ToolChoice::None),
        Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => {
            Some(wire::ToolChoice::Any { disable_parallel_tool_use })
        }
        Some(ToolChoice::Function(name)) => {
            let name = naming.tool(name);
            if !definitions.iter().any(|definition| definition.name == name) {
                return Err(Invalid::at("tool_choice", "`tool_choice` names a tool that is not in `tools`."));
            }
            Some(wire::ToolChoice::Tool { name, disable_parallel_tool_use })
        }
    })
}
