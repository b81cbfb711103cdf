//! JSON Schema as the API's structured output takes it: closed objects, and of the keywords only a part.
//! A limit that it does not take (`minimum`, `maxLength`) moves into the description, where the model reads it.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

/// How deep schemas may nest, references followed.
const DEPTH: usize = 200;

const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "uuid"];

/// The schema adapted; `None` where that would lose what it is about: open objects, tuples, recursion.
pub fn native(schema: &Value) -> Option<Value> {
    let mut walk = Walk { root: schema, open: Vec::new(), done: HashSet::new() };
    if !walk.is_finite(schema, 0) {
        return None;
    }
    adapt(schema)
}

/// Follows references to see whether they come to an end.
struct Walk<'a> {
    root: &'a Value,
    open: Vec<&'a str>,
    done: HashSet<&'a str>,
}

impl<'a> Walk<'a> {
    fn is_finite(&mut self, node: &'a Value, depth: usize) -> bool {
        if depth > DEPTH {
            return false;
        }
        match node {
            Value::Object(members) => {
                let reference = members.get("$ref").and_then(Value::as_str);
                reference.is_none_or(|reference| self.ends(reference, depth))
                    && members.values().all(|member| self.is_finite(member, depth + 1))
            }
            Value::Array(items) => items.iter().all(|item| self.is_finite(item, depth + 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }

    fn ends(&mut self, reference: &'a str, depth: usize) -> bool {
        if self.done.contains(reference) {
            return true;
        }
        let root = self.root;
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        let Some(target) = target.filter(|_| !self.open.contains(&reference)) else { return false };
        self.open.push(reference);
        let ends = self.is_finite(target, depth + 1);
        self.open.pop();
        self.done.insert(reference);
        ends
    }
}

fn adapt(schema: &Value) -> Option<Value> {
    let schema = schema.as_object()?;
    let mut adapted = Map::new();
    let mut limits = Vec::new();
    for (keyword, value) in schema {
        let kept = match keyword.as_str() {
            "$defs" | "definitions" | "properties" => adapt_members(value)?,
            "items" => adapt(value)?,
            "oneOf" if schema.contains_key("anyOf") => return None,
            "anyOf" | "oneOf" | "allOf" => {
                value.as_array()?.iter().map(adapt).collect::<Option<Vec<_>>>()?.into()
            }
            "enum" if value.as_array()?.iter().any(|value| value.is_object() || value.is_array()) => {
                return None;
            }
            "$ref" | "type" | "title" | "description" | "default" | "required" | "enum" | "const" => {
                value.clone()
            }
            "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => value.clone(),
            "minItems" if value.as_u64().is_some_and(|least| least <= 1) => value.clone(),
            "patternProperties" | "prefixItems" => return None,
            "additionalProperties" if value.is_object() => return None,
            "additionalProperties" | "$schema" | "$id" | "$comment" | "examples" => continue,
            _ => {
                limits.push(format!("{keyword}: {value}"));
                continue;
            }
        };
        // Of several alternatives, one at least is the nearest to one exactly.
        let keyword = if keyword == "oneOf" { "anyOf" } else { keyword };
        adapted.insert(keyword.to_owned(), kept);
    }
    if is_object(schema) {
        let is_closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        let has_properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|properties| !properties.is_empty());
        if !has_properties && !is_closed {
            return None;
        }
        adapted.insert("additionalProperties".to_owned(), json!(false));
    }
    if !limits.is_empty() {
        let before = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{before} ({})", limits.join(", "));
        adapted.insert("description".to_owned(), description.trim_start().into());
    }
    Some(adapted.into())
}

fn adapt_members(schemas: &Value) -> Option<Value> {
    let members = schemas.as_object()?.iter();
    let adapted = members.map(|(name, schema)| Some((name.clone(), adapt(schema)?)));
    Some(Value::Object(adapted.collect::<Option<_>>()?))
}

fn is_object(schema: &Map<String, Value>) -> bool {
    let named = match schema.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => false,
    };
    named || schema.contains_key("properties")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_limits_become_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": "Years", "minimum": 0, "maximum": 150},
                "mail": {"type": "string", "format": "email", "maxLength": 9},
                "pet": {"oneOf": [{"$ref": "#/$defs/Pet"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"type": "string", "format": "tag"}, "minItems": 1},
            },
            "required": ["age"],
            "$defs": {"Pet": {"type": "object", "properties": {"name": {"const": "Rex"}}, "additionalProperties": true}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": "Years (minimum: 0, maximum: 150)"},
                "mail": {"type": "string", "format": "email", "description": "(maxLength: 9)"},
                "pet": {"anyOf": [{"$ref": "#/$defs/Pet"}, {"type": "null"}]},
                "tags": {"type": "array", "items": {"type": "string", "description": "(format: \"tag\")"}, "minItems": 1},
            },
            "required": ["age"],
            "$defs": {"Pet": {"type": "object", "properties": {"name": {"const": "Rex"}}, "additionalProperties": false}},
            "additionalProperties": false,
        });
        assert_eq!(native(&schema), Some(expected));
    }

    #[test]
    fn what_cannot_be_closed_is_not_native() {
        let map = json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "integer"}}}});
        let tuple = json!({"type": "array", "prefixItems": [{"type": "string"}]});
        let tree = json!({
            "$ref": "#/$defs/Node",
            "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        });
        let foreign = json!({"$ref": "https://example.com/schema.json"});
        for schema in
            [json!({"type": "object"}), map, tuple, tree, foreign, json!({"items": true}), json!(true)]
        {
            assert_eq!(native(&schema), None, "{schema}");
        }
        assert!(native(&json!({"type": "object", "additionalProperties": false})).is_some());
    }

    #[test]
    fn a_long_chain_of_references_is_given_up() {
        let mut definitions = Map::new();
        for at in 0..100_000 {
            definitions.insert(at.to_string(), json!({"$ref": format!("#/$defs/{}", at + 1)}));
        }
        assert_eq!(native(&json!({"$ref": "#/$defs/0", "$defs": definitions})), None);
    }
}
