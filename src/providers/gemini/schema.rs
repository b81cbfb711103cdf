//! JSON Schema as `parametersJsonSchema` and `responseJsonSchema` take it.
//!
//! These fields are preferred to `parameters` and `responseSchema`, whose OpenAPI subset answers 400 to one unknown
//! keyword: they take real JSON Schema, ignore the keywords that they do not support, and work from 2.0 on. A schema
//! goes byte for byte unless it holds one of the few things that are refused or that would be lost:
//!
//! - `$ref` stands alone (but for other `$` keywords): where a description stands beside it, the reference becomes an `anyOf`
//!   of one, and its other neighbours are taken out;
//! - `definitions` is not known: it becomes `$defs`, and the references to it follow;
//! - `const` is not known: it becomes an `enum` of one, where `enum` can hold it (strings and numbers), else the type;
//! - `allOf` is not known: its schemas are merged into the one that holds it;
//! - `items` is one schema: a list of them becomes `prefixItems`;
//! - `enum` holds strings and numbers: a null in it becomes a type, and one of other things is taken out;
//! - `exclusiveMinimum` and `exclusiveMaximum` are not known: whole numbers have the next one as their bound;
//! - `nullable` is OpenAPI's: it becomes a type;
//! - `required` must not name a property that is not defined;
//! - `$schema` is taken out.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// Where the old drafts of JSON Schema keep what is shared, and where Gemini looks for it.
const OLD_DEFINITIONS: &str = "#/definitions/";
const DEFINITIONS: &str = "#/$defs/";

/// The schema as Gemini takes it.
pub fn adapt(schema: &RawValue) -> Cow<'_, RawValue> {
    let Ok(mut value) = serde_json::from_str::<Value>(schema.get()) else { return Cow::Borrowed(schema) };
    let mut is_changed = rename_definitions(&mut value);
    let definitions = value.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    is_changed |= walk(&mut value, &definitions);
    if !is_changed {
        return Cow::Borrowed(schema);
    }
    to_raw_value(&value).map_or(Cow::Borrowed(schema), Cow::Owned)
}

/// The parameters of a function, which must describe an object; `None` where they say nothing.
pub fn parameters(schema: &RawValue) -> Option<Cow<'_, RawValue>> {
    let Ok(Value::Object(mut object)) = serde_json::from_str(schema.get()) else {
        return Some(adapt(schema));
    };
    if object.is_empty() {
        return None;
    }
    let says_what_it_is =
        ["type", "$ref", "anyOf", "oneOf", "allOf"].iter().any(|key| object.contains_key(*key));
    if says_what_it_is {
        return Some(adapt(schema));
    }
    object.insert("type".into(), json!("object"));
    let typed = to_raw_value(&object).ok()?;
    Some(Cow::Owned(adapt(&typed).into_owned()))
}

fn rename_definitions(schema: &mut Value) -> bool {
    let Some(object) = schema.as_object_mut() else { return false };
    let Some(Value::Object(old)) = object.get_mut("definitions").map(Value::take) else { return false };
    object.shift_remove("definitions");
    if let Value::Object(definitions) = object.entry("$defs").or_insert_with(|| json!({})) {
        for (name, definition) in old {
            definitions.entry(name).or_insert(definition);
        }
    }
    true
}

/// Adapts a schema and all schemas in it. Says whether anything was changed.
fn walk(schema: &mut Value, definitions: &Map<String, Value>) -> bool {
    let Some(object) = schema.as_object_mut() else { return false };
    let mut is_changed = object.shift_remove("$schema").is_some();
    is_changed |= merge_all_of(object, definitions);
    is_changed |= isolate_reference(object);
    is_changed |= spell_out_const(object);
    is_changed |= keep_plain_enum(object);
    is_changed |= allow_null(object);
    is_changed |= close_bounds(object);
    is_changed |= name_prefix_items(object);
    is_changed |= prune_required(object);
    for (keyword, value) in object.iter_mut() {
        is_changed |= match keyword.as_str() {
            "properties" | "$defs" | "patternProperties" => {
                each(value.as_object_mut().map(Map::values_mut), definitions)
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => each(value.as_array_mut(), definitions),
            "items" | "additionalProperties" | "not" => walk(value, definitions),
            _ => false,
        };
    }
    is_changed
}

fn each<'a>(
    schemas: Option<impl IntoIterator<Item = &'a mut Value>>,
    definitions: &Map<String, Value>,
) -> bool {
    let mut is_changed = false;
    for schema in schemas.into_iter().flatten() {
        is_changed |= walk(schema, definitions);
    }
    is_changed
}

/// Merges schemas that all hold. Of two that contradict each other the outer one stays.
fn merge_all_of(object: &mut Map<String, Value>, definitions: &Map<String, Value>) -> bool {
    let Some(Value::Array(schemas)) = object.get("allOf") else { return false };
    let is_alone = schemas.len() == 1 && !object.contains_key("properties");
    let schemas: Option<Vec<_>> =
        schemas.iter().map(|schema| resolved(schema, definitions, is_alone)).collect();
    let Some(schemas) = schemas else { return false };
    object.shift_remove("allOf");
    for (keyword, value) in schemas.into_iter().flatten() {
        match (object.get_mut(&keyword), value) {
            (Some(Value::Object(known)), Value::Object(more)) if keyword == "properties" => {
                for (name, schema) in more {
                    known.entry(name).or_insert(schema);
                }
            }
            (Some(Value::Array(known)), Value::Array(more)) if keyword == "required" => {
                more.into_iter().for_each(|name| {
                    if !known.contains(&name) {
                        known.push(name);
                    }
                });
            }
            (Some(_), _) => {}
            (None, value) => drop(object.insert(keyword, value)),
        }
    }
    true
}

/// A schema that can be merged: what it refers to, unless it is to stand for itself. Its own `allOf` cannot.
fn resolved(schema: &Value, definitions: &Map<String, Value>, is_alone: bool) -> Option<Map<String, Value>> {
    let object = schema.as_object()?;
    let reference = object.get("$ref").and_then(Value::as_str).filter(|_| !is_alone);
    let Some(reference) = reference else {
        return (is_alone || !object.contains_key("allOf")).then(|| object.clone());
    };
    let name = reference.strip_prefix(DEFINITIONS).or_else(|| reference.strip_prefix(OLD_DEFINITIONS))?;
    let named = definitions.get(name)?.as_object()?;
    (!named.contains_key("allOf") && !named.contains_key("$ref")).then(|| named.clone())
}

fn isolate_reference(object: &mut Map<String, Value>) -> bool {
    let Some(Value::String(reference)) = object.get_mut("$ref") else { return false };
    let mut is_changed = false;
    if let Some(name) = reference.strip_prefix(OLD_DEFINITIONS) {
        *reference = format!("{DEFINITIONS}{name}");
        is_changed = true;
    }
    let described = object.get("description").is_some_and(Value::is_string);
    if described && !object.contains_key("anyOf") {
        let reference = object.shift_remove("$ref");
        object.retain(|keyword, _| {
            matches!(keyword.as_str(), "description" | "title") || keyword.starts_with('$')
        });
        object.insert("anyOf".into(), json!([{ "$ref": reference }]));
        return true;
    }
    let before = object.len();
    object.retain(|keyword, _| keyword.starts_with('$'));
    is_changed || object.len() != before
}

fn spell_out_const(object: &mut Map<String, Value>) -> bool {
    let Some(value) = object.shift_remove("const") else { return false };
    let kind = match &value {
        Value::String(_) => Some("string"),
        Value::Number(number) if number.is_f64() => Some("number"),
        Value::Number(_) => Some("integer"),
        Value::Bool(_) => Some("boolean"),
        Value::Null => Some("null"),
        Value::Array(_) | Value::Object(_) => None,
    };
    if let Some(kind) = kind {
        object.entry("type").or_insert(json!(kind));
    }
    if matches!(value, Value::String(_) | Value::Number(_)) {
        object.insert("enum".into(), json!([value]));
    }
    true
}

fn keep_plain_enum(object: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(values)) = object.get_mut("enum") else { return false };
    let is_plain = |value: &Value| value.is_string() || value.is_number();
    if values.iter().all(is_plain) {
        return false;
    }
    let has_null = values.contains(&Value::Null);
    values.retain(|value| !value.is_null());
    let kind = match values.as_slice() {
        [] => "null",
        values if values.iter().all(Value::is_string) => "string",
        values if values.iter().all(Value::is_number) => "number",
        values if values.iter().all(Value::is_boolean) => "boolean",
        _ => "",
    };
    if !matches!(kind, "string" | "number") && !values.iter().all(is_plain) || values.is_empty() {
        object.shift_remove("enum");
    }
    if !kind.is_empty() {
        object.entry("type").or_insert(json!(kind));
    }
    if has_null {
        add_null(object);
    }
    true
}

fn allow_null(object: &mut Map<String, Value>) -> bool {
    let nullable = object.get("nullable").and_then(Value::as_bool);
    if nullable.is_some() {
        object.shift_remove("nullable");
    }
    if nullable == Some(true) {
        add_null(object);
    }
    nullable.is_some()
}

/// Makes null one of the types, where there are types.
fn add_null(object: &mut Map<String, Value>) {
    let null = json!("null");
    match object.get_mut("type") {
        Some(Value::Array(types)) if !types.contains(&null) => types.push(null),
        Some(one @ Value::String(_)) if *one != null => *one = Value::Array(vec![one.take(), null]),
        Some(_) | None => {}
    }
}

/// A bound that is not reached itself is, for whole numbers, the next one. For others it is taken as reached: they
/// differ from it by as little as one likes.
fn close_bounds(object: &mut Map<String, Value>) -> bool {
    let mut is_changed = false;
    for (open, closed, step) in [("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)] {
        let Some(Value::Number(bound)) = object.get(open) else { continue };
        let is_whole = object.get("type").is_some_and(|kind| kind == "integer");
        let next = bound.as_i64().filter(|_| is_whole).and_then(|bound| bound.checked_add(step));
        let bound = next.map_or_else(|| json!(bound), |next| json!(next));
        object.shift_remove(open);
        object.entry(closed).or_insert(bound);
        is_changed = true;
    }
    is_changed
}

fn name_prefix_items(object: &mut Map<String, Value>) -> bool {
    if !object.get("items").is_some_and(Value::is_array) {
        return false;
    }
    if let Some(schemas) = object.shift_remove("items") {
        object.insert("prefixItems".into(), schemas);
    }
    if let Some(others) = object.shift_remove("additionalItems") {
        object.insert("items".into(), others);
    }
    true
}

fn prune_required(object: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(mut required)) = object.get("required").cloned() else { return false };
    let Some(Value::Object(properties)) = object.get("properties") else { return false };
    let before = required.len();
    required.retain(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
    let is_changed = required.len() != before;
    if is_changed {
        object.insert("required".into(), Value::Array(required));
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn a_schema_that_is_taken_keeps_its_bytes() {
        let schema = raw(
            r##"{ "type":"object", "properties":{"const":{"type":["string","null"],"maximum":1.50},"$ref":{"minimum":1e2}},
                "required":["const"],"additionalProperties":false,"$defs":{"a":{"$ref":"#/$defs/b"}} }"##,
        );
        assert!(matches!(adapt(&schema), Cow::Borrowed(same) if same.get() == schema.get()));
    }

    #[test]
    fn what_is_refused_or_lost_is_said_otherwise() {
        let cases = [
            (r#"{"$schema":"x","type":"object"}"#, r#"{"type":"object"}"#),
            (
                r##"{"properties":{"a":{"$ref":"#/$defs/x","description":"kept","default":1},"b":{"$ref":"#/$defs/x","default":1}}}"##,
                r##"{"properties":{"a":{"description":"kept","anyOf":[{"$ref":"#/$defs/x"}]},"b":{"$ref":"#/$defs/x"}}}"##,
            ),
            (
                r##"{"$defs":{"x":{"type":"object","properties":{"a":{"const":"b"}},"required":["a"]}},"allOf":[{"$ref":"#/$defs/x"},{"properties":{"c":{"type":"string"}},"required":["a","c"]}]}"##,
                r#"{"$defs":{"x":{"type":"object","properties":{"a":{"type":"string","enum":["b"]}},"required":["a"]}},"type":"object","properties":{"a":{"type":"string","enum":["b"]},"c":{"type":"string"}},"required":["a","c"]}"#,
            ),
            (
                r#"{"type":"string","enum":["a",null],"nullable":true}"#,
                r#"{"type":["string","null"],"enum":["a"]}"#,
            ),
            (r#"{"enum":["a",null]}"#, r#"{"enum":["a"],"type":["string","null"]}"#),
            (r#"{"enum":[null]}"#, r#"{"type":"null"}"#),
            (r#"{"type":"boolean","enum":[true]}"#, r#"{"type":"boolean"}"#),
            (
                r#"{"type":"integer","exclusiveMinimum":0,"exclusiveMaximum":9}"#,
                r#"{"type":"integer","minimum":1,"maximum":8}"#,
            ),
            (r#"{"type":"number","exclusiveMinimum":0.5}"#, r#"{"type":"number","minimum":0.5}"#),
            (
                r#"{"items":[{"const":"a"},{}],"additionalItems":false}"#,
                r#"{"prefixItems":[{"type":"string","enum":["a"]},{}],"items":false}"#,
            ),
            (
                r##"{"items":{"$ref":"#/definitions/x"},"definitions":{"x":{"const":"a"}}}"##,
                r##"{"items":{"$ref":"#/$defs/x"},"$defs":{"x":{"type":"string","enum":["a"]}}}"##,
            ),
            (
                r#"{"anyOf":[{"const":1},{"const":1.5},{"const":true},{"const":null}]}"#,
                r#"{"anyOf":[{"type":"integer","enum":[1]},{"type":"number","enum":[1.5]},{"type":"boolean"},{"type":"null"}]}"#,
            ),
            (
                r##"{"prefixItems":[{"allOf":[{"$ref":"#/$defs/x"}],"title":"t"}]}"##,
                r##"{"prefixItems":[{"$ref":"#/$defs/x"}]}"##,
            ),
            (
                r#"{"properties":{"a":{}},"required":["a","ghost"]}"#,
                r#"{"properties":{"a":{}},"required":["a"]}"#,
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(adapt(&raw(schema)).get(), expected, "{schema}");
        }
    }

    #[test]
    fn parameters_describe_an_object_or_are_left_out() {
        assert!(parameters(&raw("{}")).is_none());
        let untyped = raw(r#"{"properties":{"a":{"const":"b"}}}"#);
        assert_eq!(
            parameters(&untyped).unwrap().get(),
            r#"{"properties":{"a":{"type":"string","enum":["b"]}},"type":"object"}"#
        );
        let empty = raw(r#"{"type":"object","properties":{}}"#);
        assert_eq!(parameters(&empty).unwrap().get(), empty.get());
        assert_eq!(parameters(&raw("true")).unwrap().get(), "true");
    }
}
