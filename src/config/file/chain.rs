//! `[chains.X]`: ranked targets and one policy, in one line or in a table.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::policy::{ChainPolicy, Limits};
use super::when::When;
use crate::config::diagnostic::{Diagnostic, Located};
use crate::config::name::{ChainName, Glob, Label, ModelName, Tag};
use crate::config::reader::{FromToml, Named, Reader, Refusal, Value};
use crate::config::schema::generator;
use crate::config::section::{Entries, section};
use crate::config::value::{Count, Weight, words};
use crate::routing::group;

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
            /// Chains that serve requests of these tasks instead, e.g. code = "deep-code".
            by_task: Named<Label, ChainName>,
            /// Chains that serve requests of these tiers instead, where no task decides.
            by_tier: Named<Label, ChainName>,
            /// What is walked when no target of this chain serves: one other chain, within the same deadline.
            on_exhausted: OnExhausted,
            /// What becomes of a request with images at a target that cannot take them: "skip" passes the target over;
            /// "describe" sends it words in their place, by the chain that `describe` names. Default: "describe" where
            /// there is a `describe`, else "skip".
            image_fallback: ImageFallback,
            /// Which chain puts images into words, and how.
            describe: Describe,
        }
        shared {
            policy: ChainPolicy,
            limits: Limits,
        }
        later ["adapt", "budgets"]
        shorthand Chain::from_list
    }
}

section! {
    /// What is walked when no target of a chain serves.
    pub struct OnExhausted in "`on_exhausted`" {
        required {
            /// The chain that stands in for it. Its own `on_exhausted` is not followed.
            chain: ChainName,
        }
    }
}

section! {
    /// How images are put into words for targets that cannot see.
    pub struct Describe in "`describe`" {
        required {
            /// The chain that sees: it is asked once for each image, and its words are kept for the next request. Its own
            /// `on_exhausted` is not followed.
            chain: ChainName,
        }
        optional {
            /// What it is asked about each image. Default: to describe it for someone who cannot see it, with all text
            /// in it word for word.
            prompt: String,
            /// The most tokens that one description may have. Default: 1000.
            max_tokens: Count,
        }
    }
}

words! {
    /// What becomes of images at a target that cannot take them.
    pub enum ImageFallback, "\"skip\" or \"describe\"" {
        "skip" => Skip,
        "describe" => Describe,
    }
}

section! {
    /// A model at a provider, or several equal deployments of one, with limits of its own. Plain "provider/model" does
    /// too.
    #[schemars(transform = or_group_or_name)]
    pub struct Target in "a target" {
        derived {
            /// "provider/model", the provider up to the first `/`.
            model: ModelName = Target::first_model,
        }
        optional {
            /// Equal deployments of one and the same model, instead of `model`: requests are spread over them.
            any: Deployments,
            /// How requests are spread over deployments and keys: "least_loaded", as weighted but for those that are
            /// busier than others; or "weighted", whatever runs where. Default: "least_loaded".
            balance: Balance,
            /// Why it stands here, for the people who read receipts.
            why: String,
            /// Patterns of the tasks that it is for: requests of others, or of none, skip it. Default: all requests.
            tasks: Vec<Located<Glob>>,
            /// Patterns of the tiers that it is for: requests of others, or of none, skip it. Default: all requests.
            tiers: Vec<Located<Glob>>,
            /// Marks of your own that a chain may `require`, such as "eu"; its model's and its provider's count too.
            tags: Vec<Located<Tag>>,
            /// When it serves, e.g. { hours = "09:00-18:00", tz = "Europe/Berlin" }, or a list of such windows. Default:
            /// always.
            when: When,
            /// Whether it needs no network but this machine's own. Default: as its provider says, else false.
            offline: bool,
        }
        shared {
            limits: Limits,
        }
        later ["adapt", "budgets"]
        shorthand Target::from_name
    }
}

section! {
    /// One of several equal deployments. Plain "provider/model" does too.
    #[schemars(transform = or_name)]
    pub struct Deployment in "a deployment" {
        required {
            /// "provider/model", the provider up to the first `/`.
            model: ModelName,
        }
        optional {
            /// Its share of the requests, over the sum of all weights. Default: 1.
            weight: Weight,
        }
        shorthand Deployment::from_name
    }
}

words! {
    /// How requests are spread over equal deployments.
    pub enum Balance, "\"least_loaded\" or \"weighted\"" {
        "least_loaded" => LeastLoaded,
        "weighted" => Weighted,
    }
}

/// At least one deployment.
#[derive(Debug, Clone)]
pub struct Deployments(pub Vec<Located<Deployment>>);

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
            by_task: None,
            by_tier: None,
            on_exhausted: None,
            image_fallback: None,
            describe: None,
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
        let limits = Limits::default();
        let (any, balance) = (None, None);
        Some(Self {
            model,
            any,
            balance,
            why: None,
            tasks: None,
            tiers: None,
            tags: None,
            when: None,
            offline: None,
            limits,
        })
    }

    /// The models that it names, each with its weight: its own, or those of its deployments.
    pub fn models(&self) -> Vec<(&Located<ModelName>, u32)> {
        let weight = |weight: &Option<Located<Weight>>| weight.as_ref().map_or(1, |weight| weight.0);
        match &self.any {
            None => vec![(&self.model, 1)],
            Some(any) => any.0.iter().map(|one| (&one.model, weight(&one.weight))).collect(),
        }
    }

    /// Of a group, its first deployment's.
    fn first_model(entries: &Entries<'_, '_>, reader: &mut Reader) -> Option<Located<ModelName>> {
        let Some(any) = entries.place("any", reader) else { return entries.required("model", reader) };
        if entries.place("model", reader).is_some() {
            let problem = Diagnostic::error(&any, "a target has either a `model` or, in `any`, several");
            reader.report(problem.help("put the `model` into `any` too"));
        }
        let deployments: Located<Deployments> = entries.optional("any", &mut reader.aside())?;
        deployments.value.0.into_iter().next().map(|first| first.value.model)
    }
}

impl Deployment {
    fn from_name(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        if !value.get_ref().is_str() {
            return reader.expected("\"provider/model\", or a table with `model`", value);
        }
        let at = reader.at(value.span());
        Some(Self { model: Located { value: ModelName::from_toml(value, reader)?, at }, weight: None })
    }
}

impl From<Balance> for group::Balance {
    fn from(balance: Balance) -> Self {
        match balance {
            Balance::LeastLoaded => Self::LeastLoaded,
            Balance::Weighted => Self::Weighted,
        }
    }
}

impl FromToml for Deployments {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
            return reader.refuse(value, Refusal::new("a group needs at least one deployment"));
        }
        Vec::from_toml(value, reader).map(Self)
    }
}

impl JsonSchema for Deployments {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Deployments".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<Deployment>(), "minItems": 1 })
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

/// A model, or several.
fn or_group_or_name(schema: &mut Schema) {
    schema.remove("required");
    schema
        .insert("oneOf".to_owned(), serde_json::json!([{ "required": ["model"] }, { "required": ["any"] }]));
    or_name(schema);
}

fn or_name(schema: &mut Schema) {
    let name = ModelName::json_schema(&mut generator());
    *schema = json_schema!({ "anyOf": [name, schema.clone()] });
}
