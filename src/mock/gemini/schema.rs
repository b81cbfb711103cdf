//! Gemini's own kind of schema, which is a part of OpenAPI's and refuses the rest of JSON Schema.

use serde_json::Value;

use super::request::{check_keys, get};
use crate::mock::prompt::Rejection;

const KEYS: [&str; 22] = [
    "anyOf",
    "default",
    "description",
    "enum",
    "example",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "propertyOrdering",
    "required",
    "title",
    "type",
];

/// Refuses what the provider does not know, however deep.
pub fn check(schema: &Value, path: &str) -> Result<(), Rejection> {
    let Some(fields) = schema.as_object() else {
        return Err(Rejection::param(path, format!("Invalid value at '{path}'")));
    };
    check_keys(fields, path, &KEYS)?;
    if let Some(kind) = get(fields, "type")
        && !(kind.as_str().is_some_and(is_type) || kind.as_u64().is_some_and(|number| number <= 7))
    {
        let field = format!("{path}.type");
        let message = format!(
            "Invalid value at '{field}' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {kind}"
        );
        return Err(Rejection::param(field, message));
    }
    if let Some(values) = get(fields, "enum").and_then(Value::as_array)
        && let Some(value) = values.iter().find(|value| !value.is_string())
    {
        let field = format!("{path}.enum");
        return Err(Rejection::param(
            field.clone(),
            format!("Invalid value at '{field}' (TYPE_STRING), {value}"),
        ));
    }
    let properties = get(fields, "properties").and_then(Value::as_object);
    for (index, (name, property)) in properties.into_iter().flatten().enumerate() {
        let path = format!("{path}.properties[{index}].value");
        check(property, &path)?;
        if name.is_empty() {
            return Err(Rejection::invalid(format!("{path}: property names must not be empty")));
        }
    }
    if let Some(items) = get(fields, "items") {
        check(items, &format!("{path}.items"))?;
    }
    for (index, option) in get(fields, "anyOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
        check(option, &format!("{path}.any_of[{index}]"))?;
    }
    let names: Vec<_> = properties.into_iter().flat_map(|all| all.keys()).collect();
    for (index, required) in
        get(fields, "required").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        if !required.as_str().is_some_and(|name| names.iter().any(|known| *known == name)) {
            let message = format!("{path}.required[{index}]: property is not defined");
            return Err(Rejection::invalid(message));
        }
    }
    Ok(())
}

fn is_type(name: &str) -> bool {
    let types = ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", "TYPE_UNSPECIFIED"];
    types.contains(&name.to_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_its_own_keywords_pass() {
        let fine = json!({
            "type": "object",
            "properties": {
                "n": { "type": 6 },
                "a": { "type": "STRING", "nullable": true, "enum": ["x"] },
                "b": { "type": "array", "items": { "anyOf": [{ "type": "integer" }] }, "min_items": "1" },
            },
            "required": ["a"],
        });
        assert_eq!(check(&fine, "p"), Ok(()));
        let refused = [
            json!({ "type": "object", "additionalProperties": false }),
            json!({ "type": ["string", "null"] }),
            json!({ "type": "array", "items": { "$ref": "#/x" } }),
            json!({ "anyOf": [{ "const": 1 }] }),
            json!({ "enum": [1] }),
            json!({ "type": "object", "properties": {}, "required": ["a"] }),
            json!("string"),
        ];
        for schema in refused {
            assert!(check(&schema, "p").is_err(), "{schema}");
        }
    }
}
