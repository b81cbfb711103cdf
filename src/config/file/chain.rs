//! `[chains.X]`: ranked targets and one policy, in one line or in a table.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::policy::{ChainPolicy, Limits};
use crate::config::diagnostic::Located;
use crate::config::name::ModelName;
use crate::config::reader::{FromToml, Reader, Refusal, Value};
use crate::config::schema::generator;
use crate::config::section::section;

section! {
    /// Ranked targets and one policy. A plain list of targets does too.
    #[schemars(transform = or_list)]
    pub struct Chain in "a chain" {
        required {
            /// The targets, in the order in which they are tried.
            targets: Targets,
        }
        optional {
            /// Why this chain is as it is, for the people who read its receipts.
            why: String,
        }
        shared {
            policy: ChainPolicy,
            limits: Limits,
        }
        later [
            "adapt", "any", "budgets", "by_task", "by_tier", "image_fallback", "schedule", "tasks", "tiers", "when",
        ]
        shorthand Chain::from_list
    }
}

section! {
    /// A model at a provider, with its own limits. Plain "provider/model" does too.
    #[schemars(transform = or_name)]
    pub struct Target in "a target" {
        required {
            /// "provider/model", the provider up to the first `/`.
            model: ModelName,
        }
        optional {
            /// Why it stands here, for the people who read receipts.
            why: String,
        }
        shared {
            limits: Limits,
        }
        later ["adapt", "any", "budgets", "schedule", "tasks", "tiers", "weight", "when"]
        shorthand Target::from_name
    }
}

/// At least one target.
#[derive(Debug, Clone)]
pub struct Targets(pub Vec<Located<Target>>);

impl Chain {
    fn from_list(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        if !value.get_ref().is_array() {
            return reader.expected("a list of targets such as [\"openai/gpt-4o\"], or a table", value);
        }
        let targets = Targets::from_toml(value, reader)?;
        let at = reader.at(value.span());
        Some(Self {
            targets: Located { value: targets, at },
            why: None,
            policy: ChainPolicy::default(),
            limits: Limits::default(),
        })
    }
}

impl Target {
    fn from_name(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        if !value.get_ref().is_str() {
            return reader.expected("\"provider/model\", or a table with `model`", value);
        }
        let at = reader.at(value.span());
        let model = Located { value: ModelName::from_toml(value, reader)?, at };
        Some(Self { model, why: None, limits: Limits::default() })
    }
}

impl FromToml for Targets {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            return reader.expected("a list of targets such as [\"openai/gpt-4o\"]", value);
        };
        if items.is_empty() {
            return reader.refuse(value, Refusal::new("a chain needs at least one target"));
        }
        Vec::from_toml(value, reader).map(Self)
    }
}

impl JsonSchema for Targets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<Target>(), "minItems": 1 })
    }
}

fn or_list(schema: &mut Schema) {
    let list = Targets::json_schema(&mut generator());
    *schema = json_schema!({ "anyOf": [list, schema.clone()] });
}

fn or_name(schema: &mut Schema) {
    let name = ModelName::json_schema(&mut generator());
    *schema = json_schema!({ "anyOf": [name, schema.clone()] });
}
