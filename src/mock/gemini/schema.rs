//! What must hold within Gemini's own kind of schema, beyond the keys that it knows.

use serde_json::Value;

use super::request::get;
use crate::mock::prompt::Rejection;

/// Refuses what the provider does not know, however deep.
pub fn check(schema: &Value, path: &str) -> Result<(), Rejection> {
    let Some(fields) = schema.as_object() else {
        return Err(Rejection::param(path, format!("Invalid value at '{path}'")));
    };
    let kind = get(fields, "type").and_then(Value::as_str).map(str::to_uppercase);
    if kind.as_deref() == Some("ARRAY") && get(fields, "items").is_none() {
        return Err(Rejection::invalid(format!("* GenerateContentRequest.{path}.items: missing field.\n")));
    }
    if kind.as_deref() == Some("STRING")
        && let Some(format) = get(fields, "format").and_then(Value::as_str)
        && !matches!(format, "enum" | "date-time")
    {
        let message = format!(
            "* GenerateContentRequest.{path}.format: only 'enum' and 'date-time' are supported for STRING type\n"
        );
        return Err(Rejection::invalid(message));
    }
    if get(fields, "enum").is_some() && kind.as_deref().is_some_and(|kind| kind != "STRING") {
        let message = format!("* GenerateContentRequest.{path}.enum: only allowed for STRING type\n");
        return Err(Rejection::invalid(message));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keywords_must_fit_each_other() {
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
            json!({ "type": "array" }),
            json!({ "anyOf": [{ "type": "string", "format": "email" }] }),
            json!({ "type": "array", "items": { "type": "INTEGER", "enum": ["1"] } }),
            json!({ "type": "object", "properties": {}, "required": ["a"] }),
            json!("string"),
        ];
        for schema in refused {
            assert!(check(&schema, "p").is_err(), "{schema}");
        }
    }
}
