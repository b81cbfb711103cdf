//! The JSON Schema of the file, for editors that complete and check while the user types.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use super::file::File;

/// The schema, generated from the types that read the file.
pub fn json_schema() -> Value {
    let mut schema = generator().into_root_schema_for::<File>();
    schema.insert("title".to_owned(), "piton.toml".into());
    RecursiveTransform(without_null).transform(&mut schema);
    RecursiveTransform(unwrap_description).transform(&mut schema);
    schema.to_value()
}

/// Draft 7 is what TOML editors understand.
pub fn generator() -> SchemaGenerator {
    SchemaSettings::draft07().into_generator()
}

/// TOML has no null: an optional key is absent.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    }
}

/// Editors break lines themselves.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::tests::{EXAMPLE, example_in_full};
    use crate::config::{Source, parse};

    #[test]
    fn the_file_in_the_repository_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/piton.schema.json");
        let fresh = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
        if std::env::var_os("PITON_BLESS").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == fresh,
            "config/piton.schema.json is out of date: write it with `PITON_BLESS=1 cargo test schema`"
        );
    }

    #[test]
    fn every_key_is_described() {
        fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
            match schema {
                Value::Object(members) => {
                    for (key, member) in members {
                        let path = format!("{path}/{key}");
                        let named = path.rsplit('/').nth(1) == Some("properties");
                        // What a class leads to is described once, at `on`.
                        if named && member.get("description").is_none() && !path.contains("/On/") {
                            missing.push(path.clone());
                        }
                        walk(&path, member, missing);
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| walk(path, item, missing)),
                _ => {}
            }
        }
        let mut missing = Vec::new();
        walk("", &json_schema(), &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }

    /// The schema must say what the reader says; each of these is wrong in its shape.
    #[test]
    fn the_schema_and_the_reader_agree() {
        let schema = json_schema();
        let good = [
            "",
            "[chains]\na = [\"x/y\", { model = \"x/z\", retries = 0 }]",
            "[chains.a]\ntargets = [\"x/y\"]\ncommit = { chars = 200 }\non = { empty = \"accept\" }",
            "[[chains.a.targets]]\nmodel = \"x/y\"\nmax_price = { input = 1.5 }",
            "[chains]\na = [{ any = [\"x/y\", { model = \"z/y\", weight = 3 }], balance = \"weighted\", retries = 0 }]",
            "[providers.x]\napi_key = [\"env:A\", \"file:b\"]",
            "[defaults]\nbreaker = false\ncommit = { time = \"800ms\" }\ndeadline = \"1.5s\"\nretries = 2",
            "[defaults]\nbreaker = { failures = 2 }\ncommit = \"complete\"\nmax_cost = 0",
            "[providers.x]\npatterns = { context_length = [\"a\"] }\nheaders = { x-y = \"env:Z\" }",
            "[[keys]]\nname = \"a\"\nsecret = \"env:A\"\nchains = [\"*\"]",
            "[models.\"x/y\"]\nprice = { tiers = [{ above = 1, input = 2 }] }\ncapabilities = { n = true }",
        ];
        for text in good.into_iter().chain([EXAMPLE, &example_in_full()]) {
            assert_eq!(verdicts(&schema, text), (true, true), "{text}");
        }
        let bad = [
            "server = 1",
            "srver = {}",
            "[chains]\na = []",
            "[chains]\na = \"x/y\"",
            "[chains]\na = [\"x\"]",
            "[chains]\na = [{ retries = 1 }]",
            "[chains]\na = [{ model = \"x/y\", deadline = \"1s\" }]",
            "[chains.a]\nretries = 1",
            "[chains.\"a/b\"]\ntargets = [\"x/y\"]",
            "[chains.a]\ntargets = [\"x/y\"]\nmode = \"race\"",
            "[defaults]\nbreaker = true",
            "[defaults]\nbreaker = { failure = 2 }",
            "[defaults]\ncommit = {}",
            "[defaults]\ncommit = { chars = 1, time = \"1s\" }",
            "[defaults]\ncommit = \"never\"",
            "[defaults]\ndeadline = 30",
            "[defaults]\ndeadline = \"30\"",
            "[defaults]\nretries = -1",
            "[defaults]\nmax_attempts = 0",
            "[defaults]\nmax_cost = -0.5",
            "[defaults]\non = { empty = \"drop\" }",
            "[defaults]\non = { server_error = \"accept\" }",
            "[defaults]\non = { nothing = \"stop\" }",
            "[server]\nmax_body = \"3MB\"",
            "[server]\nfetch_images = 1",
            "[server]\nallow_direct = [1]",
            "[providers.x]\nkind = \"co here\"",
            "[providers.x]\nbase_url = \"ftp://x\"",
            "[providers.x]\napi_key = []",
            "[providers.x]\napi_key = [\"env:\", 1]",
            "[chains]\na = [{ any = [] }]",
            "[chains]\na = [{ model = \"x/y\", any = [\"x/z\"] }]",
            "[chains]\na = [{ any = [{ model = \"x/y\", weight = 0 }] }]",
            "[chains]\na = [{ any = [{ model = \"x/y\", weight = 1001 }] }]",
            "[chains]\na = [{ any = [\"x/y\"], balance = \"random\" }]",
            "[providers.x]\nprice_factor = 0",
            "[[keys]]\nname = \"a\"",
            "[models.x]\ncontext = 1",
            "[models.\"x/y\"]\nprice = { tiers = [{ input = 2 }] }",
            "[models.\"x/y\"]\ncapabilities = { fly = true }",
        ];
        for text in bad {
            assert_eq!(verdicts(&schema, text), (false, false), "{text}");
        }
    }

    /// Whether the schema and whether the reader takes this file.
    fn verdicts(schema: &Value, text: &str) -> (bool, bool) {
        let value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        let source = Source { name: "piton.toml".into(), text: text.to_owned() };
        (valid(schema, schema, &value), parse(&source).1.is_empty())
    }

    /// As much of JSON Schema as our schema uses; an unknown keyword is a failure of the test.
    fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
        let number = |limit: &Value, holds: fn(f64, f64) -> bool| {
            value.as_f64().is_none_or(|number| holds(number, limit.as_f64().unwrap()))
        };
        let members = value.as_object();
        let known = schema.get("properties").and_then(Value::as_object);
        schema.as_object().unwrap().iter().all(|(keyword, rule)| match keyword.as_str() {
            "$schema" | "title" | "description" | "definitions" | "format" | "default" => true,
            "$ref" => valid(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
            "anyOf" => rule.as_array().unwrap().iter().any(|choice| valid(root, choice, value)),
            "oneOf" => {
                rule.as_array().unwrap().iter().filter(|choice| valid(root, choice, value)).count() == 1
            }
            "allOf" => rule.as_array().unwrap().iter().all(|part| valid(root, part, value)),
            "not" => !valid(root, rule, value),
            "enum" => rule.as_array().unwrap().contains(value),
            "const" => rule == value,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("unknown type {other}"),
            },
            "minimum" => number(rule, |number, limit| number >= limit),
            "maximum" => number(rule, |number, limit| number <= limit),
            "exclusiveMinimum" => number(rule, |number, limit| number > limit),
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| valid(root, rule, item))),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "minProperties" => members.is_none_or(|all| all.len() as u64 >= rule.as_u64().unwrap()),
            "maxProperties" => members.is_none_or(|all| all.len() as u64 <= rule.as_u64().unwrap()),
            "required" => members.is_none_or(|all| {
                rule.as_array().unwrap().iter().all(|key| all.contains_key(key.as_str().unwrap()))
            }),
            "properties" => members.is_none_or(|all| {
                all.iter().all(|(key, member)| rule.get(key).is_none_or(|rule| valid(root, rule, member)))
            }),
            "propertyNames" => {
                members.is_none_or(|all| all.keys().all(|key| valid(root, rule, &Value::from(key.as_str()))))
            }
            "additionalProperties" => members.is_none_or(|all| {
                let others =
                    all.iter().filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
                others
                    .into_iter()
                    .all(|(_, member)| rule != false && (rule == true || valid(root, rule, member)))
            }),
            other => panic!("unknown keyword {other}"),
        })
    }
}
