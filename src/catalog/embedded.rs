//! The catalog that is built into the binary, read no further than it is asked for: the file is split into its
//! providers at the first question, a provider into its models at the first question about it, and a model is
//! read when it is looked up.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Budget, Capabilities, Model, PartialCapabilities, PartialPrices, Reasoning, ReasoningControls,
    ReasoningField, Status,
};
use crate::units::Tokens;

/// How many names [`near`] offers at most.
const SUGGESTIONS: usize = 3;
/// How alike (0 to 1) a name must be for [`near`] to offer it.
const LIKENESS: f64 = 0.8;

static CATALOG: LazyLock<HashMap<&'static str, Entry>> = LazyLock::new(split);

/// A provider that may not have been read yet.
pub struct Entry {
    raw: &'static RawValue,
    provider: OnceLock<Provider<'static>>,
}

#[derive(Default, Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    providers: HashMap<&'a str, &'a RawValue>,
}

/// One provider, as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider<'a> {
    /// What none of its models can do.
    #[serde(default)]
    capabilities: PartialCapabilities,
    #[serde(borrow)]
    models: IndexMap<&'a str, &'a RawValue>,
}

/// One model, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default)]
    price: PartialPrices,
    context: Option<Tokens>,
    max_output: Option<Tokens>,
    #[serde(default)]
    capabilities: PartialCapabilities,
    #[serde(borrow)]
    reasoning: Option<WrittenReasoning<'a>>,
    reasoning_field: Option<ReasoningField>,
    #[serde(default = "yes")]
    sampling: bool,
    #[serde(default)]
    status: Status,
    retires: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReasoning<'a> {
    always: bool,
    #[serde(borrow, default)]
    efforts: Vec<&'a str>,
    budget: Option<Budget>,
    #[serde(default)]
    toggle: bool,
}

/// The file, split into its providers.
pub fn split() -> HashMap<&'static str, Entry> {
    // The file is part of the binary and a test reads all of it, so this cannot fail in the field.
    let file: File<'static> =
        serde_json::from_str(include_str!("../../config/models.json")).unwrap_or_default();
    file.providers.into_iter().map(|(name, raw)| (name, Entry { raw, provider: OnceLock::new() })).collect()
}

/// What is known about the model of exactly this name in a provider's catalog.
pub fn lookup(provider: &str, model: &str) -> Option<Model> {
    let provider = CATALOG.get(provider)?.read();
    let raw = provider.models.get(model)?;
    let written: Written<'static> = serde_json::from_str(raw.get()).ok()?;
    Some(written.model(provider.capabilities))
}

/// Names in a provider's catalog that are much like this one, the most like first.
pub fn near(provider: &str, model: &str) -> Vec<String> {
    let Some(entry) = CATALOG.get(provider) else { return Vec::new() };
    let wanted = model.to_ascii_lowercase();
    let mut found: Vec<(f64, &str)> = entry
        .read()
        .models
        .keys()
        .map(|name| (strsim::normalized_damerau_levenshtein(&wanted, &name.to_ascii_lowercase()), *name))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().take(SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}

/// Every model name of a provider's catalog.
pub fn names(provider: &str) -> impl Iterator<Item = &'static str> {
    CATALOG.get(provider).into_iter().flat_map(|entry| entry.read().models.keys().copied())
}

impl Entry {
    fn read(&self) -> &Provider<'static> {
        self.provider.get_or_init(|| serde_json::from_str(self.raw.get()).unwrap_or_default())
    }
}

impl Written<'static> {
    fn model(self, provider: PartialCapabilities) -> Model {
        let mut capabilities = Capabilities { reasoning: self.reasoning.is_some(), ..Capabilities::ALL };
        provider.apply(&mut capabilities);
        self.capabilities.apply(&mut capabilities);
        Model {
            prices: self.price.over(None).ok().flatten(),
            context: self.context,
            max_output: self.max_output,
            capabilities,
            reasoning: self.reasoning.map_or(Reasoning::Never, WrittenReasoning::reasoning),
            reasoning_field: self.reasoning_field,
            sampling: self.sampling,
            status: self.status,
            retires: self.retires,
        }
    }
}

impl WrittenReasoning<'static> {
    fn reasoning(self) -> Reasoning {
        let Self { always, efforts, budget, toggle } = self;
        let controls = ReasoningControls { efforts, budget, toggle };
        if always { Reasoning::Always(controls) } else { Reasoning::Optional(controls) }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::UsageTokens;

    #[test]
    fn every_line_of_the_file_reads() {
        let mut models = 0;
        for entry in CATALOG.values() {
            let provider: Provider<'static> = serde_json::from_str(entry.raw.get()).unwrap();
            for (name, raw) in &provider.models {
                let written: Written<'static> =
                    serde_json::from_str(raw.get()).unwrap_or_else(|error| panic!("{name}: {error}"));
                written.price.over(None).unwrap_or_else(|error| panic!("{name}: {error}"));
                if let Some(day) = written.retires {
                    assert!(day.len() == 10 && day.split('-').count() == 3, "{name}: {day}");
                }
                models += 1;
            }
        }
        assert!(CATALOG.len() >= 29 && models >= 1297, "{models} models of {} providers", CATALOG.len());
    }

    #[test]
    fn one_line_holds_one_model() {
        let text = include_str!("../../config/models.json");
        let models: usize = CATALOG.values().map(|entry| entry.read().models.len()).sum();
        let lines = text.lines().filter(|line| line.starts_with("    \"")).count();
        assert_eq!(lines, models);
    }

    #[test]
    fn well_known_models() {
        let model = lookup("openai", "gpt-4o").unwrap();
        assert_eq!(model.context, Some(Tokens::new(128_000)));
        assert_eq!(model.max_output, Some(Tokens::new(16_384)));
        assert_eq!(model.reasoning, Reasoning::Never);
        assert!(model.sampling && model.capabilities.vision && model.capabilities.json_schema);
        assert_eq!(model.capabilities.missing().collect::<Vec<_>>(), ["audio", "reasoning"]);
        assert_eq!(model.prices.unwrap().cost(&UsageTokens::of(1_000_000, 0)).to_string(), "2.500000000");

        let model = lookup("openai", "gpt-5").unwrap();
        assert!(!model.sampling, "it refuses temperature");
        let Reasoning::Always(controls) = model.reasoning else { panic!("{:?}", model.reasoning) };
        assert_eq!(controls.efforts, ["minimal", "low", "medium", "high"]);
    }

    #[test]
    fn who_always_thinks() {
        let always =
            |provider, model| matches!(lookup(provider, model).unwrap().reasoning, Reasoning::Always(_));
        assert!(always("openai", "o3"));
        assert!(always("gemini", "gemini-2.5-pro"), "its budget has a floor");
        assert!(always("deepseek", "deepseek-reasoner"));
        let plain = lookup("deepseek", "deepseek-chat").unwrap().capabilities;
        assert!(plain.json_mode && !plain.json_schema, "its JSON has no schema");
        assert!(!always("openai", "gpt-5.1"), "an effort of none");
        assert!(!always("gemini", "gemini-2.5-flash"), "a budget of nothing");
        assert!(!always("anthropic", "claude-sonnet-4-5"), "only when asked");
        let model = lookup("anthropic", "claude-sonnet-4-5").unwrap();
        let budget = Budget { min: Some(Tokens::new(1024)), max: None };
        assert_eq!(model.reasoning.controls().unwrap().budget, Some(budget));
        assert_eq!(lookup("openai", "gpt-4.1").unwrap().reasoning.controls(), None);
    }

    #[test]
    fn what_a_whole_provider_lacks() {
        let able = lookup("anthropic", "claude-sonnet-4-5").unwrap().capabilities;
        assert!(able.tools && able.vision && able.documents && !able.n && !able.logprobs);
        assert!(lookup("openai", "gpt-4o").unwrap().capabilities.n);
    }

    #[test]
    fn names_are_exact_and_slips_get_a_hint() {
        assert!(lookup("openai", "GPT-4o").is_none());
        assert!(lookup("openai", "gpt-4o ").is_none());
        assert!(lookup("nobody", "gpt-4o").is_none());
        assert_eq!(near("openai", "gpt-4o-mimi")[0], "gpt-4o-mini");
        assert_eq!(near("openai", "GPT-4o")[0], "gpt-4o");
        assert_eq!(near("anthropic", "claude-sonet-4-5")[0], "claude-sonnet-4-5");
        assert_eq!(near("openai", "llama-3.2"), Vec::<String>::new());
        assert_eq!(near("nobody", "gpt-4o"), Vec::<String>::new());
    }
}
