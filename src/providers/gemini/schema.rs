//! JSON Schema as `parametersJsonSchema` and `responseJsonSchema` take it.
//!
//! These fields are preferred to `parameters` and `responseSchema`, whose OpenAPI subset answers 400 to one unknown
//! keyword: they take real JSON Schema, ignore the keywords that they do not support, and work from 2.0 on. A schema
//! goes byte for byte unless it holds one of the few things that are refused or that would be lost:
//!
//! - `$ref` stands alone (but for other `$` keywords): its neighbours are taken out;
//! - `definitions` is not known: it becomes `$defs`, and the references to it follow;
//! - `const` is not known: it becomes an `enum` of one, where `enum` can hold it (strings and numbers), else the type;
//! - `allOf` is not known: one of a single schema becomes that schema;
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
    is_changed |= walk(&mut value);
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
fn walk(schema: &mut Value) -> bool {
    let Some(object) = schema.as_object_mut() else { return false };
    let mut is_changed = object.shift_remove("$schema").is_some();
    is_changed |= unwrap_all_of(object);
    is_changed |= isolate_reference(object);
    is_changed |= spell_out_const(object);
    is_changed |= prune_required(object);
    for (keyword, value) in object.iter_mut() {
        is_changed |= match keyword.as_str() {
            "properties" | "$defs" | "patternProperties" => each(value.as_object_mut().map(Map::values_mut)),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => each(value.as_array_mut()),
            "items" | "additionalProperties" | "not" => match value {
                Value::Array(schemas) => each(Some(schemas)),
                other => walk(other),
            },
            _ => false,
        };
    }
    is_changed
}

fn each<'a>(schemas: Option<impl IntoIterator<Item = &'a mut Value>>) -> bool {
    let mut is_changed = false;
    for schema in schemas.into_iter().flatten() {
        is_changed |= walk(schema);
    }
    is_changed
}

fn unwrap_all_of(object: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(schemas)) = object.get("allOf") else { return false };
    let [Value::Object(only)] = schemas.as_slice() else { return false };
    let only = only.clone();
    object.shift_remove("allOf");
    for (keyword, value) in only {
        object.entry(keyword).or_insert(value);
    }
    true
}

fn isolate_reference(object: &mut Map<String, Value>) -> bool {
    let Some(Value::String(reference)) = object.get_mut("$ref") else { return false };
    let mut is_changed = false;
    if let Some(name) = reference.strip_prefix(OLD_DEFINITIONS) {
        *reference = format!("{DEFINITIONS}{name}");
        is_changed = true;
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
                r##"{"properties":{"a":{"$ref":"#/$defs/x","description":"lost"}}}"##,
                r##"{"properties":{"a":{"$ref":"#/$defs/x"}}}"##,
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
