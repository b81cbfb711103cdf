//! `generateContent`.

use serde_json::{Map, Value, json};

use super::super::answer::string;
use super::{Ids, sniffed};

/// Members whose values are the user's own: their names are left alone.
const VERBATIM: [&str; 8] = [
    "args",
    "response",
    "parameters",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
    "data",
    "text",
];

/// A request with the members' names as the documentation has them: the API takes `snake_case` as well.
pub fn tidy(body: &Value) -> Value {
    camel(body)
}

/// The same with every member of the protocol in camel case.
pub fn camel(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(camel).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let name = camel_name(name);
                let value = if VERBATIM.contains(&name.as_str()) { value.clone() } else { camel(value) };
                (name, value)
            })
            .collect::<Map<String, Value>>()
            .into(),
        other => other.clone(),
    }
}

fn camel_name(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let head = letters.next().map(|letter| letter.to_ascii_uppercase());
        name + &head.into_iter().chain(letters).collect::<String>()
    })
}

/// How much is to be thought; budgets and levels of one size mean the same. `None`: the model's default.
pub fn level(thinking: &Value) -> Option<&'static str> {
    match thinking["thinkingLevel"].as_str().map(str::to_lowercase).as_deref() {
        Some("minimal") => return Some("minimal"),
        Some("low") => return Some("low"),
        Some("medium") => return Some("medium"),
        Some("high") => return Some("high"),
        _ => {}
    }
    match thinking["thinkingBudget"].as_i64()? {
        0 => Some("off"),
        ..0 => None,
        1..=2047 => Some("minimal"),
        2048..=6143 => Some("low"),
        6144..=12_288 => Some("medium"),
        _ => Some("high"),
    }
}

/// The normal form of a request.
pub fn meaning(body: &Value) -> Value {
    let body = tidy(body);
    let mut meaning = Map::new();
    let system = body["systemInstruction"]["parts"].as_array().into_iter().flatten();
    meaning.insert("system".to_owned(), system.map(|part| string(&part["text"])).collect::<String>().into());
    meaning.insert("contents".to_owned(), turns(&body["contents"]).into());
    let declared = body["tools"].as_array().into_iter().flatten();
    let declared =
        declared.flat_map(|entry| entry["functionDeclarations"].as_array().cloned().unwrap_or_default());
    meaning.insert("tools".to_owned(), declared.map(|tool| function(&tool)).collect());
    meaning.insert("tool_choice".to_owned(), choice(&body["toolConfig"]["functionCallingConfig"]));
    let mut config = body["generationConfig"].as_object().cloned().unwrap_or_default();
    let schema =
        ["responseJsonSchema", "responseSchema"].into_iter().find_map(|name| config.shift_remove(name));
    config.extend(schema.map(|schema| ("schema".to_owned(), self::schema(&schema))));
    let thinking = config.shift_remove("thinkingConfig").unwrap_or_default();
    config.insert("level".to_owned(), json!(level(&thinking)));
    config.retain(|name, value| {
        let is_plain = name == "responseMimeType" && *value == "text/plain";
        let is_default = is_plain
            || (name == "responseModalities" && *value == json!(["TEXT"]))
            || (name == "candidateCount" && *value == 1);
        !(is_default || value.is_null() || *value == json!([]))
    });
    meaning.insert("config".to_owned(), config.into());
    for (name, value) in body.as_object().into_iter().flatten() {
        let known = ["systemInstruction", "contents", "tools", "toolConfig", "generationConfig"];
        if !known.contains(&name.as_str()) {
            meaning.insert(name.clone(), value.clone());
        }
    }
    meaning.into()
}

fn function(tool: &Value) -> Value {
    let given =
        [&tool["parametersJsonSchema"], &tool["parameters"]].into_iter().find(|schema| schema.is_object());
    // A function without parameters may say so with an empty schema or with none.
    let schema = given.map(schema).filter(|schema| {
        let is_bare =
            |name: &String| name == "type" || name == "properties" || name == "additionalProperties";
        let has_none = schema["properties"].as_object().is_none_or(Map::is_empty);
        !(has_none && schema.as_object().is_some_and(|members| members.keys().all(is_bare)))
    });
    json!({ "name": tool["name"], "description": string(&tool["description"]), "schema": schema })
}

fn choice(calling: &Value) -> Value {
    let mode = calling["mode"].as_str().unwrap_or("AUTO");
    let names = calling["allowedFunctionNames"].as_array().cloned().unwrap_or_default();
    // Validated is automatic, with arguments held to their schema.
    let mode = if mode == "VALIDATED" { "AUTO" } else { mode };
    json!({ "mode": mode, "names": names })
}

/// A schema with what both of Gemini's forms can say, in one spelling.
fn schema(schema: &Value) -> Value {
    match schema {
        Value::Array(list) => list.iter().map(self::schema).collect(),
        Value::Object(members) => {
            let mut members = members.clone();
            // Beside a reference nothing else counts.
            if members.contains_key("$ref") {
                members.retain(|name, _| name.starts_with('$'));
            }
            for ignored in ["$schema", "propertyOrdering"] {
                members.shift_remove(ignored);
            }
            if let Some(definitions) = members.shift_remove("definitions") {
                members.insert("$defs".to_owned(), definitions);
            }
            if let Some(value) = members.shift_remove("const") {
                members.insert("enum".to_owned(), json!([value]));
            }
            let nullable = members.shift_remove("nullable") == Some(json!(true));
            if let Some(kinds) = members.get("type").cloned() {
                let kinds = kinds.as_array().cloned().unwrap_or_else(|| vec![kinds]);
                let mut kinds: Vec<String> = kinds.iter().map(|kind| string(kind).to_lowercase()).collect();
                kinds.extend(nullable.then(|| "null".to_owned()));
                kinds.sort();
                kinds.dedup();
                members.insert("type".to_owned(), json!(kinds));
            }
            let inner = |name: &str, value: &Value| match name {
                "enum" | "default" | "example" | "required" | "type" => value.clone(),
                "properties" | "$defs" => {
                    let named = value.as_object().into_iter().flatten();
                    named
                        .map(|(name, value)| (name.clone(), self::schema(value)))
                        .collect::<Map<_, _>>()
                        .into()
                }
                _ => self::schema(value),
            };
            members
                .iter()
                .map(|(name, value)| (name.clone(), inner(name, value)))
                .collect::<Map<_, _>>()
                .into()
        }
        other => other.clone(),
    }
}

/// Turns of one role in a row are one.
fn turns(contents: &Value) -> Vec<Value> {
    let mut calls = Calls::default();
    let mut turns: Vec<(bool, Vec<Value>)> = Vec::new();
    for turn in contents.as_array().into_iter().flatten() {
        let is_model = turn["role"] == "model";
        if turns.last().is_none_or(|(last, _)| *last != is_model) {
            turns.push((is_model, Vec::new()));
        }
        let (_, parts) = turns.last_mut().expect("a turn");
        for given in turn["parts"].as_array().into_iter().flatten() {
            add(part(given, &mut calls), parts);
        }
    }
    turns.into_iter().map(|(is_model, parts)| json!({ "model": is_model, "parts": parts })).collect()
}

/// Unsigned thoughts mean nothing to the model, and texts without a signature flow together.
fn add(part: Value, parts: &mut Vec<Value>) {
    if part["thought"] == true && part["thoughtSignature"].is_null() {
        return;
    }
    let is_plain =
        |part: &Value| part.as_object().is_some_and(|part| part.len() == 1 && part.contains_key("text"));
    match parts.last_mut() {
        Some(last) if is_plain(last) && is_plain(&part) => {
            last["text"] = (string(&last["text"]) + &string(&part["text"])).into();
        }
        _ if is_plain(&part) && part["text"] == "" => {}
        _ => parts.push(part),
    }
}

/// Bytes in the usual alphabet, with the type that they have.
fn blob(inline: &mut Value) {
    if let Some(data) = inline["data"].as_str() {
        inline["data"] = data.replace('-', "+").replace('_', "/").into();
        if let Some(kind) = sniffed(&inline["data"]) {
            inline["mimeType"] = kind.into();
        }
    }
}

/// The calls so far, so that a result can be told by its call where neither has an id.
#[derive(Default)]
struct Calls {
    ids: Ids,
    open: Vec<(Value, Value)>,
    made: usize,
}

fn part(part: &Value, calls: &mut Calls) -> Value {
    let mut part = part.clone();
    if part["functionCall"].is_object() {
        let call = &mut part["functionCall"];
        calls.made += 1;
        let given = if call["id"].is_string() {
            call["id"].clone()
        } else {
            json!(format!("made up {}", calls.made))
        };
        let id = calls.ids.of(&json!(format!("{} {}", calls.made, string(&given))));
        calls.open.push((given, id.clone()));
        call["id"] = id;
        if call["args"].is_null() {
            call["args"] = json!({});
        }
        let name = call["name"].clone();
        calls.open.last_mut().expect("a call").0 = json!([calls.open.last().expect("a call").0, name]);
    }
    if part["functionResponse"].is_object() {
        let response = &mut part["functionResponse"];
        let by_id = |(given, _): &(Value, Value)| response["id"].is_string() && given[0] == response["id"];
        let by_name = |(given, _): &(Value, Value)| given[1] == response["name"];
        let place = calls.open.iter().position(by_id).or_else(|| calls.open.iter().position(by_name));
        response["id"] = place.map_or(Value::Null, |place| calls.open.remove(place).1);
    }
    for media in ["inlineData", "fileData"] {
        if let Some(kind) = part[media]["mimeType"].as_str() {
            let same =
                [("audio/mpeg", "audio/mp3"), ("image/jpg", "image/jpeg"), ("audio/x-wav", "audio/wav")];
            let kind = same
                .into_iter()
                .find(|(other, _)| *other == kind)
                .map_or(kind, |(_, usual)| usual)
                .to_owned();
            part[media]["mimeType"] = kind.into();
        }
    }
    part.get_mut("inlineData").into_iter().for_each(blob);
    let inner = part.pointer_mut("/functionResponse/parts").and_then(Value::as_array_mut);
    inner.into_iter().flatten().filter_map(|part| part.get_mut("inlineData")).for_each(blob);
    // An image's type is known once it has been fetched.
    if let Some(file) = part.get_mut("fileData").and_then(Value::as_object_mut) {
        file.shift_remove("mimeType");
    }
    let is_thought = part["thought"] == true;
    let members = part.as_object_mut().expect("a part");
    members.retain(|name, value| !(value.is_null() || (is_thought && name == "text" && *value == "")));
    part
}
