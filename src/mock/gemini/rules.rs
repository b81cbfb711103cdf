//! What Gemini refuses, beyond its schema and the order of turns.

use serde_json::{Map, Value, json};

use super::FAMILY;
use super::request::get;
use crate::mock::prompt::{Incoming, Rejection};
use crate::mock::rule::{Rule, Wrong, rule};
use crate::mock::shape::{self, Departure, GEMINI, Problem, Step, VERTEX, snake};
use crate::mock::signature;

/// Gemini's rules, in the order of its checks.
pub const RULES: &[Rule] = &[
    rule("first_role", first_role),
    rule("cached_content", cached_content),
    rule("result_names", result_names),
    rule("missing_signature", missing_signature),
    rule("corrupted_signature", corrupted_signature),
    rule("json_with_tools", json_with_tools),
    rule("search_with_tools", search_with_tools),
    rule("two_schemas", two_schemas),
    rule("ref_siblings", ref_siblings),
    rule("empty_object", empty_object),
    rule("budget", budget),
    rule("logprobs", logprobs),
    rule("choices", choices),
    rule("nucleus", nucleus),
];

/// Before the third generation Vertex takes functions in one tool only, and nothing beside it.
pub const OF_VERTEX: &[Rule] = &[rule("one_tool", one_tool)];

/// A signature for calls that another model made.
const DUMMIES: [&str; 2] = ["skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];

/// Holds a body of this kind against the schema of AI Studio or Vertex.
pub fn schema(vertex: bool, kind: &str, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    let shapes = if vertex { &VERTEX } else { &GEMINI };
    shape::check(shapes, kind, incoming.body)
        .map_err(|departure| refuse(&departure, incoming.body).edit(|invalid| invalid.rule = "schema"))
}

/// The words of protobuf's JSON reader.
fn refuse(departure: &Departure, body: &Map<String, Value>) -> Rejection {
    if departure.problem == Problem::Unknown {
        let field = place(departure.parent(), body);
        let at = if field.is_empty() { String::new() } else { format!(" at '{field}'") };
        let key = departure.key();
        let message =
            format!("Invalid JSON payload received. Unknown name \"{key}\"{at}: Cannot find field.");
        return Rejection::param(field, message);
    }
    let field = place(&departure.path, body);
    let wrong = |kind: &str, given: &Value| format!("Invalid value at '{field}' ({kind}), {given}");
    let message = match &departure.problem {
        Problem::Type { expected, given } => match expected.as_str() {
            "int32" => wrong("TYPE_INT32", given),
            "int64" => wrong("TYPE_INT64", given),
            "string" => wrong("TYPE_STRING", given),
            "boolean" => wrong("TYPE_BOOL", given),
            "number" => wrong("TYPE_FLOAT", given),
            "bytes" => wrong("TYPE_BYTES", given),
            "struct" => wrong("type.googleapis.com/google.protobuf.Struct", given),
            _ => format!("Invalid value at '{field}', {given}"),
        },
        Problem::NotOneOf { given, .. } => {
            wrong("type.googleapis.com/google.ai.generativelanguage.v1beta.Enum", given)
        }
        Problem::NotBase64 => {
            format!("Invalid value at '{field}' (TYPE_BYTES), Base64 decoding failed")
        }
        Problem::Both(first, second) => {
            format!(
                "Invalid value at '{field}' (oneof), oneof field is already set to '{first}'. Cannot set '{second}'"
            )
        }
        _ => format!("Invalid value at '{field}'"),
    };
    Rejection::param(field, message)
}

/// A path as protobuf writes it: in snake case, with the entries of maps numbered.
fn place(path: &[Step], body: &Map<String, Value>) -> String {
    let body = Value::Object(body.clone());
    let (mut value, mut text) = (&body, String::new());
    for (at, step) in path.iter().enumerate() {
        match step {
            Step::Key(key) => {
                let in_map = at > 0 && path[at - 1] == Step::Key("properties".to_owned());
                let number = value.as_object().and_then(|map| map.keys().position(|name| name == key));
                match number.filter(|_| in_map) {
                    Some(number) => text.push_str(&format!("[{number}].value")),
                    None if text.is_empty() => text = snake(key),
                    None => text.push_str(&format!(".{}", snake(key))),
                }
                value = &value[key.as_str()];
            }
            Step::Index(index) => {
                text.push_str(&format!("[{index}]"));
                value = &value[*index];
            }
        }
    }
    text
}

/// A key of an object, in either spelling.
fn of<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    get(value.as_object()?, key)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn contents<'r>(incoming: &Incoming<'r>) -> &'r [Value] {
    list(get(incoming.body, "contents"))
}

fn parts(content: &Value) -> &[Value] {
    list(of(content, "parts"))
}

fn config<'r>(incoming: &Incoming<'r>, key: &str) -> Option<&'r Value> {
    of(get(incoming.body, "generationConfig")?, key)
}

fn is_model(content: &Value) -> bool {
    content["role"] == "model"
}

/// Every function that the request declares, with its tool's place and its own.
fn functions<'r>(incoming: &Incoming<'r>) -> impl Iterator<Item = (String, &'r Value)> {
    let tools = list(get(incoming.body, "tools")).iter().enumerate();
    tools.flat_map(|(tool, value)| {
        let declared = list(of(value, "functionDeclarations")).iter().enumerate();
        declared.map(move |(at, value)| (format!("tools[{tool}].function_declarations[{at}]"), value))
    })
}

/// Models before the third generation.
fn is_old(incoming: &Incoming<'_>) -> bool {
    incoming.model.starts_with("gemini-1") || incoming.model.starts_with("gemini-2")
}

fn first_role(incoming: &Incoming<'_>) -> Option<Wrong> {
    let first = contents(incoming).first().filter(|first| is_model(first))?;
    let calls = parts(first).iter().any(|part| of(part, "functionCall").is_some());
    Some(Wrong::new(if calls {
        "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
    } else {
        "Please ensure that multiturn requests begin with a user turn."
    }))
}

fn cached_content(incoming: &Incoming<'_>) -> Option<Wrong> {
    get(incoming.body, "cachedContent")?;
    ["systemInstruction", "tools", "toolConfig"].iter().any(|key| get(incoming.body, key).is_some()).then(|| {
        Wrong::new(
            "CachedContent can not be used with GenerateContent request setting system_instruction, tools or \
             tool_config.",
        )
    })
}

/// Results carry the names of the calls that they answer.
fn result_names(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut open: Vec<&str> = Vec::new();
    for (index, content) in contents(incoming).iter().enumerate() {
        if is_model(content) {
            let calls = parts(content).iter().filter_map(|part| of(part, "functionCall")?["name"].as_str());
            open.extend(calls);
            continue;
        }
        for (at, part) in parts(content).iter().enumerate() {
            let Some(name) = of(part, "functionResponse").and_then(|result| result["name"].as_str()) else {
                continue;
            };
            if let Some(call) = open.iter().position(|call| *call == name) {
                open.remove(call);
            } else {
                let message = format!(
                    "contents[{index}].parts[{at}].function_response.name: `{name}` is not the name of a function call \
                     of the turn before."
                );
                return Some(Wrong::new(message));
            }
        }
    }
    None
}

/// From the third generation on, the first call of each step of the current turn is signed.
fn missing_signature(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !incoming.model.starts_with("gemini-3") {
        return None;
    }
    let contents = contents(incoming);
    let is_result =
        |content: &Value| parts(content).iter().any(|part| of(part, "functionResponse").is_some());
    let asked =
        contents.iter().rposition(|content| !is_model(content) && !is_result(content)).unwrap_or_default();
    let mut in_step = false;
    for (index, content) in contents.iter().enumerate().skip(asked) {
        if !is_model(content) {
            in_step = false;
            continue;
        }
        let Some(part) = parts(content).iter().find(|part| of(part, "functionCall").is_some()) else {
            continue;
        };
        let signed = of(part, "thoughtSignature").is_some_and(|proof| *proof != "");
        if !signed && !in_step {
            let name = of(part, "functionCall").and_then(|call| call["name"].as_str()).unwrap_or_default();
            let position = index + 1;
            let message = format!(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to \
                 work correctly, and missing thought_signature may lead to degraded model performance. Additional \
                 data, function call `default_api:{name}`, position {position}. Please refer to \
                 https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            );
            return Some(Wrong::new(message));
        }
        in_step = true;
    }
    None
}

/// A signature comes back on the part on which it was given out.
fn corrupted_signature(incoming: &Incoming<'_>) -> Option<Wrong> {
    let mut parts = contents(incoming).iter().flat_map(parts);
    parts.find_map(|part| {
        let proof = of(part, "thoughtSignature")?.as_str().filter(|proof| !DUMMIES.contains(proof))?;
        let signed = of(part, "functionCall").and_then(|call| call["name"].as_str()).unwrap_or_default();
        (incoming.ours && !signature::verify(FAMILY, signed, proof))
            .then(|| Wrong::new("Corrupted thought signature."))
    })
}

fn json_with_tools(incoming: &Incoming<'_>) -> Option<Wrong> {
    config(incoming, "responseMimeType").filter(|mime| **mime == "application/json")?;
    (is_old(incoming) && functions(incoming).next().is_some())
        .then(|| Wrong::new("Function calling with a response mime type: 'application/json' is unsupported"))
}

fn search_with_tools(incoming: &Incoming<'_>) -> Option<Wrong> {
    let searches = list(get(incoming.body, "tools")).iter().any(|tool| {
        ["googleSearch", "googleSearchRetrieval", "codeExecution"].iter().any(|key| of(tool, key).is_some())
    });
    (is_old(incoming) && searches && functions(incoming).next().is_some())
        .then(|| Wrong::new("Tool use with function calling is unsupported"))
}

fn two_schemas(incoming: &Incoming<'_>) -> Option<Wrong> {
    config(incoming, "responseSchema").and(config(incoming, "responseJsonSchema"))?;
    Some(Wrong::new("Only one of response_schema and response_json_schema may be set."))
}

/// In a real JSON Schema nothing may stand beside a reference.
fn ref_siblings(incoming: &Incoming<'_>) -> Option<Wrong> {
    fn sibling(schema: &Value) -> Option<&str> {
        match schema {
            Value::Object(map) => {
                let other = map.keys().find(|key| !key.starts_with('$'));
                let beside = other.filter(|_| map.get("$ref").is_some_and(Value::is_string));
                beside.map(String::as_str).or_else(|| map.values().find_map(sibling))
            }
            Value::Array(values) => values.iter().find_map(sibling),
            _ => None,
        }
    }
    let schemas = functions(incoming).filter_map(|(_, function)| of(function, "parametersJsonSchema"));
    let key = schemas.chain(config(incoming, "responseJsonSchema")).find_map(sibling)?;
    Some(Wrong::new(format!("JSON schema: `{key}` may not be set beside `$ref`")))
}

/// Models of the first generation take no object without properties.
fn empty_object(incoming: &Incoming<'_>) -> Option<Wrong> {
    if !incoming.model.starts_with("gemini-1") {
        return None;
    }
    functions(incoming).find_map(|(path, function)| {
        let schema = of(function, "parameters")?;
        let object = schema["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("object"));
        let empty = schema["properties"].as_object().is_none_or(Map::is_empty);
        (object && empty).then(|| {
            let field = format!("{path}.parameters.properties");
            Wrong::new(format!("* GenerateContentRequest.{field}: should be non-empty for OBJECT type\n"))
        })
    })
}

fn budget(incoming: &Incoming<'_>) -> Option<Wrong> {
    let thinking = config(incoming, "thinkingConfig")?;
    if of(thinking, "thinkingLevel").is_some() && is_old(incoming) {
        return Some(Wrong::new("Thinking level is not supported for this model."));
    }
    let budget = of(thinking, "thinkingBudget")?.as_i64()?;
    let message = match incoming.model.as_str() {
        model if model.starts_with("gemini-2.5-pro") && budget == 0 => {
            "Budget 0 is invalid. This model only works in thinking mode."
        }
        _ if budget < -1 => "The thinking budget is invalid. Please choose a value of at least -1.",
        _ => return None,
    };
    Some(Wrong::new(message))
}

fn logprobs(incoming: &Incoming<'_>) -> Option<Wrong> {
    let asked = config(incoming, "responseLogprobs") == Some(&json!(true));
    config(incoming, "logprobs").filter(|_| !asked)?;
    Some(Wrong::new("Logprobs is set but response_logprobs is not."))
}

fn choices(incoming: &Incoming<'_>) -> Option<Wrong> {
    let count = config(incoming, "candidateCount")?.as_i64()?;
    if !(1..=8).contains(&count) {
        let message = format!(
            "* GenerateContentRequest.generation_config.candidate_count: {count} is out of range [1, 8]\n"
        );
        return Some(Wrong::new(message));
    }
    (count > 1 && incoming.stream == Some(true))
        .then(|| Wrong::new("Multiple candidates is not supported with streaming."))
}

fn nucleus(incoming: &Incoming<'_>) -> Option<Wrong> {
    let given = config(incoming, "topP")?.as_f64()?;
    (!(0.0..=1.0).contains(&given)).then(|| {
        Wrong::new(format!(
            "* GenerateContentRequest.generation_config.top_p: {given} is out of range [0, 1]\n"
        ))
    })
}

fn one_tool(incoming: &Incoming<'_>) -> Option<Wrong> {
    let tools = list(get(incoming.body, "tools"));
    (is_old(incoming) && tools.len() > 1 && functions(incoming).next().is_some())
        .then(|| Wrong::new("Multiple tools are supported only when they are all search tools."))
}
