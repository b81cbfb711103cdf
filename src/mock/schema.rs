//! The least value that a JSON Schema admits: what a simulated model puts into tool arguments and structured
//! answers. It knows the keywords that providers accept, in JSON Schema's and in OpenAPI's spelling.

use serde_json::{Map, Number, Value, json};

/// How deep a schema may nest, or refer to itself, before a null stands for the rest.
const DEPTH: usize = 24;

/// Words for properties that a reader expects to see filled, whether they are required or not.
pub type Hints<'h> = &'h dyn Fn(&str) -> Option<String>;

/// No property gets more than its schema demands.
pub fn no_hints(_: &str) -> Option<String> {
    None
}

/// The least instance: required properties only, and those for which there is a hint.
pub fn instance(schema: &Value, hints: Hints<'_>) -> Value {
    Instance { root: schema, hints }.of(schema, "", DEPTH)
}

struct Instance<'s> {
    root: &'s Value,
    hints: Hints<'s>,
}

impl Instance<'_> {
    fn of(&self, schema: &Value, name: &str, depth: usize) -> Value {
        let Some(left) = depth.checked_sub(1) else { return Value::Null };
        if let Some(reference) = schema["$ref"].as_str() {
            return self.of(self.resolve(reference), name, left);
        }
        for keyword in ["const", "default", "example"] {
            if let Some(value) = schema.get(keyword) {
                return value.clone();
            }
        }
        if let Some(value) = ["enum", "examples"].iter().find_map(|keyword| schema[keyword].get(0)) {
            return value.clone();
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(options) = schema[keyword].as_array() {
                let chosen = options.iter().find(|option| option["type"] != "null").or(options.first());
                return chosen.map_or(Value::Null, |option| self.of(option, name, left));
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.of(&self.merged(schema, parts), name, left);
        }
        match type_of(schema).as_str() {
            "object" => self.object(schema, left),
            "array" => self.array(schema, left),
            "integer" | "number" => number(schema),
            "boolean" => json!(true),
            "null" => Value::Null,
            // Also where the schema does not say: a string offends the fewest readers.
            _ => json!(self.string(schema, name)),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let hinted = type_of(property) == "string" && (self.hints)(name).is_some();
            if required.contains(&name.as_str()) || hinted {
                object.insert(name.clone(), self.of(property, name, depth));
            }
        }
        // A required property may be described nowhere.
        for name in required {
            object.entry(name).or_insert_with(|| json!("example"));
        }
        Value::Object(object)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        if let Some(items) = schema["prefixItems"].as_array() {
            return items.iter().map(|item| self.of(item, "", depth)).collect();
        }
        // OpenAPI in JSON writes 64-bit counts as strings.
        let least = &schema["minItems"];
        let least = least.as_u64().or_else(|| least.as_str()?.parse().ok()).unwrap_or(0);
        (0..least.min(100)).map(|_| self.of(&schema["items"], "", depth)).collect()
    }

    fn string(&self, schema: &Value, name: &str) -> String {
        if let Some(hint) = (self.hints)(name) {
            return hint;
        }
        let by_format = match schema["format"].as_str() {
            Some("date-time") => Some("2025-01-01T00:00:00Z"),
            Some("date") => Some("2025-01-01"),
            Some("time") => Some("00:00:00Z"),
            Some("duration") => Some("P1D"),
            Some("email") => Some("user@example.com"),
            Some("uri" | "url") => Some("https://example.com/"),
            Some("hostname") => Some("example.com"),
            Some("ipv4") => Some("192.0.2.1"),
            Some("ipv6") => Some("2001:db8::1"),
            Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
            _ => None,
        };
        let length = |key: &str| {
            let value = &schema[key];
            value
                .as_u64()
                .or_else(|| value.as_str()?.parse().ok())
                .and_then(|length| usize::try_from(length).ok())
        };
        let text = by_format.unwrap_or("example");
        let least = length("minLength").unwrap_or(0).min(10_000);
        let padded = format!("{text:x<least$}");
        padded.chars().take(length("maxLength").unwrap_or(usize::MAX)).collect()
    }

    fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').unwrap_or(reference);
        self.root.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The schema with its `allOf` parts laid over it; their properties and required names add up.
    fn merged(&self, schema: &Value, parts: &[Value]) -> Value {
        let mut merged = schema.as_object().cloned().unwrap_or_default();
        merged.remove("allOf");
        for part in parts {
            let part = part["$ref"].as_str().map_or(part, |reference| self.resolve(reference));
            for (key, value) in part.as_object().into_iter().flatten() {
                match (merged.get_mut(key), value) {
                    (Some(Value::Object(before)), Value::Object(more)) => before.extend(more.clone()),
                    (Some(Value::Array(before)), Value::Array(more)) => before.extend(more.iter().cloned()),
                    _ => {
                        merged.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        Value::Object(merged)
    }
}

/// The schema's type in lower case; the first that is not null where there are several.
fn type_of(schema: &Value) -> String {
    let named = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        other => other.as_str(),
    };
    match named {
        Some(name) => name.to_lowercase(),
        None if schema.get("properties").is_some() => "object".to_owned(),
        None if schema.get("items").is_some() => "array".to_owned(),
        None => String::new(),
    }
}

fn number(schema: &Value) -> Value {
    let bound = |key: &str| schema[key].as_f64();
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let least = bound("minimum").or(bound("exclusiveMinimum"));
    let most = bound("maximum").or(bound("exclusiveMaximum"));
    let mut value = match (least, most) {
        (Some(least), _) => (least / step).ceil() * step,
        (None, Some(most)) if most < step => (most / step).floor() * step,
        (None, _) => step,
    };
    if bound("exclusiveMinimum").is_some_and(|bound| value <= bound) {
        value += step;
    }
    if least.is_none() && bound("exclusiveMaximum").is_some_and(|bound| value >= bound) {
        value -= step;
    }
    // A whole number is written without a point, whichever type was asked for.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and within an i64's exact floats"
    )]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return json!(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_properties_of_every_type_are_filled() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "minLength": 10 },
                "short": { "type": ["null", "string"], "maxLength": 3 },
                "day": { "type": "string", "format": "date" },
                "unit": { "enum": ["celsius", "fahrenheit"] },
                "kind": { "const": "k" },
                "age": { "type": "integer", "minimum": 18 },
                "share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1, "multipleOf": 0.25 },
                "below": { "type": "integer", "maximum": -5 },
                "under": { "type": "integer", "exclusiveMaximum": 1 },
                "tags": { "type": "array", "items": { "type": "boolean" }, "minItems": 2 },
                "pair": { "prefixItems": [{ "type": "null" }, { "type": "integer" }], "type": "array" },
                "optional": { "type": "string" },
            },
            "required": [
                "name", "short", "day", "unit", "kind", "age", "share", "below", "under", "tags", "pair", "ghost",
            ],
        });
        let expected = json!({
            "name": "examplexxx", "short": "exa", "day": "2025-01-01", "unit": "celsius", "kind": "k", "age": 18,
            "share": 0.25, "below": -5, "under": 0, "tags": [true, true], "pair": [null, 1], "ghost": "example",
        });
        assert_eq!(instance(&schema, &no_hints), expected);
    }

    #[test]
    fn references_unions_and_intersections_are_followed() {
        let schema = json!({
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": { "next": { "$ref": "#/$defs/node" }, "value": { "type": "integer" } },
                    "required": ["value"],
                },
                "endless": {
                    "type": "object", "properties": { "self": { "$ref": "#/$defs/endless" } }, "required": ["self"],
                },
            },
            "type": "object",
            "properties": {
                "node": { "$ref": "#/$defs/node" },
                "either": { "anyOf": [{ "type": "null" }, { "type": "integer" }] },
                "both": {
                    "allOf": [
                        { "$ref": "#/$defs/node" },
                        { "properties": { "more": { "type": "boolean" } }, "required": ["more"] },
                    ],
                },
                "endless": { "$ref": "#/$defs/endless" },
            },
            "required": ["node", "either", "both"],
        });
        let expected = json!({ "node": { "value": 1 }, "either": 1, "both": { "value": 1, "more": true } });
        assert_eq!(instance(&schema, &no_hints), expected);
        let endless = json!({ "$ref": "#/$defs/endless", "$defs": schema["$defs"] });
        assert!(instance(&endless, &no_hints).to_string().ends_with("null}}}}}}}}}}}}"));
    }

    #[test]
    fn the_openapi_spelling_is_read_too() {
        let schema = json!({
            "type": "OBJECT",
            "properties": { "list": { "type": "ARRAY", "items": { "type": "STRING" }, "minItems": "1" } },
            "required": ["list"],
        });
        assert_eq!(instance(&schema, &no_hints), json!({ "list": ["example"] }));
    }

    #[test]
    fn hints_fill_string_properties_even_where_they_are_optional() {
        let schema = json!({
            "type": "object",
            "properties": { "city": { "type": "string" }, "zip": { "type": "string" }, "location": { "type": "object" } },
        });
        let hints = |name: &str| matches!(name, "city" | "location").then(|| "Rome".to_owned());
        assert_eq!(instance(&schema, &hints), json!({ "city": "Rome" }));
        assert_eq!(instance(&json!({}), &no_hints), json!("example"));
        assert_eq!(instance(&json!({ "type": "object" }), &no_hints), json!({}));
    }
}
