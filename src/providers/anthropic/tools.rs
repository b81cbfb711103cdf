//! Tool definitions and the choice among them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::naming::Naming;
use super::schema;
use super::wire;
use crate::chat::conversation::{Function, Tool, ToolChoice};
use crate::chat::request::Invalid;
use crate::chat::{ChatRequest, Conversation};
use crate::providers::Unsendable;

/// The name that the API's search of the web has.
const WEB_SEARCH: &str = "web_search";
/// What a client may add to a tool in the API's own words.
const NATIVE: [&str; 4] = ["allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"];

/// What a request sends of its tools.
#[derive(Debug, Default)]
pub struct Tools<'a> {
    pub definitions: Vec<wire::AnyTool<'a>>,
    pub choice: Option<wire::ToolChoice<'a>>,
    /// A tool asked for strictness that this target cannot promise.
    pub dropped_strict: bool,
    /// The names of all tools that may be chosen.
    names: Vec<Cow<'a, str>>,
    /// The types of the provider's own tools.
    pub kinds: Vec<&'a str>,
}

/// What the client says of its tools.
#[derive(Debug)]
pub struct Offer<'a> {
    conversation: &'a Conversation,
    /// The entries of `tools` as they came.
    raw: Vec<&'a RawValue>,
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

impl<'a> Offer<'a> {
    /// Reads it.
    pub fn of(request: &'a ChatRequest, conversation: &'a Conversation) -> Self {
        let raw = request.member("tools").and_then(|tools| serde_json::from_str(tools).ok());
        Self { conversation, raw: raw.unwrap_or_default() }
    }

    /// The types of the provider's own tools in it.
    pub fn own_kinds(&self) -> impl Iterator<Item = &'a str> {
        let kinds = self.conversation.tools.iter().map(|tool| tool.kind.as_str());
        kinds.filter(|kind| *kind != "function" && *kind != "custom")
    }
}

/// Writes the tools. `called` are those of the history; `can_be_strict` says whether the model can be held to a
/// schema; `search` is the search of the web that the client asked for.
pub fn write<'a>(
    offer: &Offer<'a>,
    called: &[Cow<'a, str>],
    can_be_strict: bool,
    search: Option<Box<RawValue>>,
    naming: &mut Naming,
) -> Result<Tools<'a>, Unsendable> {
    let conversation = offer.conversation;
    if conversation.tools.is_empty() && search.is_none() {
        if is_forced(conversation) {
            return Err(Invalid::at("tool_choice", "`tool_choice` needs `tools` to choose from.").into());
        }
        return stubs(called);
    }
    let mut tools = Tools::default();
    for (at, tool) in conversation.tools.iter().enumerate() {
        let raw = offer.raw.get(at).copied();
        match tool.function.as_ref().filter(|_| tool.kind == "function") {
            Some(function) if !is_allowed(conversation, function) => {}
            Some(function) => {
                let definition = define(at, (tool, function, raw), can_be_strict, naming)?;
                tools.dropped_strict |= function.strict == Some(true) && !definition.strict;
                tools.names.push(definition.name.clone());
                tools.definitions.push(wire::AnyTool::Client(definition));
            }
            None => {
                let raw = raw.filter(|_| is_native(&tool.kind)).ok_or(Unsendable::Lacks("tool_kind"))?;
                tools.names.extend(name_of(raw));
                if tool.kind != "custom" {
                    tools.kinds.push(&tool.kind);
                }
                tools.definitions.push(wire::AnyTool::Raw(Cow::Borrowed(raw)));
            }
        }
    }
    if let Some(search) = search.filter(|_| !tools.names.iter().any(|name| name == WEB_SEARCH)) {
        tools.names.push(WEB_SEARCH.into());
        tools.definitions.push(wire::AnyTool::Raw(Cow::Owned(search)));
    }
    if conversation.tools.is_empty() {
        // Only the search may be called, but the tools of the history must be known.
        tools.definitions.extend(stubs(called)?.definitions);
    }
    tools.choice = choose(conversation, &tools.names, naming)?;
    Ok(tools)
}

/// The API's search of the web, for OpenAI's `web_search_options`; the second says that these ask for more than
/// it can be told.
pub fn web_search(options: &str) -> Result<(Box<RawValue>, bool), Invalid> {
    #[derive(Deserialize)]
    struct Options {
        search_context_size: Option<String>,
        user_location: Option<Location>,
    }
    #[derive(Deserialize)]
    struct Location {
        approximate: Option<Map<String, Value>>,
    }
    let fault = |_| Invalid::at("web_search_options", "`web_search_options` must be an object.");
    let options: Options = serde_json::from_str(options).map_err(fault)?;
    let mut tool = json!({ "type": "web_search_20250305", "name": WEB_SEARCH });
    if let Some(place) = options.user_location.and_then(|location| location.approximate) {
        let mut location = json!({ "type": "approximate" });
        for name in ["city", "region", "country", "timezone"] {
            if let Some(value) = place.get(name).filter(|value| value.is_string()) {
                location[name] = value.clone();
            }
        }
        tool["user_location"] = location;
    }
    let is_sized = options.search_context_size.is_some_and(|size| size != "medium");
    Ok((to_raw_value(&tool).map_err(fault)?, is_sized))
}

/// Whether a tool of this type is in the API's own words: its own tools have a date in their type.
fn is_native(kind: &str) -> bool {
    let date = kind.rsplit_once('_').map_or("", |(_, date)| date);
    let is_dated = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    is_dated || kind == "mcp_toolset" || kind == "custom"
}

fn name_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    serde_json::from_str::<Named<'_>>(raw.get()).ok().map(|named| named.name)
}

/// The one tool whose input is the answer, and the order to call it.
pub fn answer<'a>(name: &'static str, description: Option<&'a str>, schema: Cow<'a, RawValue>) -> Tools<'a> {
    let definition = wire::Tool {
        name: name.into(),
        description: description.or(Some("Gives the answer. Its input is the whole answer.")),
        input_schema: schema,
        strict: false,
        cache_control: None,
        native: Map::new(),
    };
    let choice = wire::ToolChoice::Tool { name: name.into(), disable_parallel_tool_use: true };
    let definitions = vec![wire::AnyTool::Client(definition)];
    Tools { definitions, choice: Some(choice), ..Tools::default() }
}

/// The API wants to know the tools of the history even where none may be called any more.
pub fn stubs<'a>(called: &[Cow<'a, str>]) -> Result<Tools<'a>, Unsendable> {
    let mut tools = Tools::default();
    for name in called {
        let input_schema = input_schema(None, "")?;
        let name = name.clone();
        let stub = wire::Tool {
            name,
            description: None,
            input_schema,
            strict: false,
            cache_control: None,
            native: Map::new(),
        };
        tools.definitions.push(wire::AnyTool::Client(stub));
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
    (tool, function, raw): (&'a Tool, &'a Function, Option<&'a RawValue>),
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
        cache_control: tool.cache_control.as_ref().or(function.cache_control.as_ref()),
        native: native(raw),
    })
}

fn native(raw: Option<&RawValue>) -> Map<String, Value> {
    // Most tools have none of these: their schemas need not be read twice.
    let Some(raw) = raw.filter(|raw| NATIVE.iter().any(|name| raw.get().contains(name))) else {
        return Map::new();
    };
    let members = serde_json::from_str::<Map<String, Value>>(raw.get()).unwrap_or_default();
    members.into_iter().filter(|(name, _)| NATIVE.contains(&name.as_str())).collect()
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
    names: &[Cow<'a, str>],
    naming: &mut Naming,
) -> Result<Option<wire::ToolChoice<'a>>, Invalid> {
    let disable_parallel_tool_use = conversation.parallel_tool_calls == Some(false);
    let auto = disable_parallel_tool_use.then_some(wire::ToolChoice::Auto { disable_parallel_tool_use });
    if names.is_empty() {
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
            if !names.contains(&name) {
                return Err(Invalid::at("tool_choice", "`tool_choice` names a tool that is not in `tools`."));
            }
            Some(wire::ToolChoice::Tool { name, disable_parallel_tool_use })
        }
    })
}
