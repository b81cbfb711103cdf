//! Models: the catalog's facts with the file's own over them, and what a dialect must know of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::ModelName;
use super::super::value::{Count, UsdPerMillion};
use super::Compiler;
use super::provider::{Provider, unknown_provider};
use crate::catalog::price::{Special, Tier};
use crate::catalog::{
    self, Capabilities, Model, Overrides, PartialCapabilities, PartialPrices, PriceWindow, Reasoning,
};
use crate::chat::TargetFacts;
use crate::chat::target::{Able, Quirks, Thinking, ThinkingControls};
use crate::providers;
use crate::units::{Price, Tokens};

/// Models of the file by their full name.
pub type Models = HashMap<String, Model>;
type Section = Located<file::Model>;

/// What the catalog knows of a model at a provider, at that provider's prices.
pub fn known(provider: &Provider, model: &str) -> Option<Model> {
    catalog::lookup(provider.kind.catalog, model).map(|model| marked_up(model, provider.price_factor))
}

impl<'f> Compiler<'f> {
    /// Every `[models."x/y"]` with what it builds on.
    pub(super) fn models(&mut self, providers: &HashMap<String, Arc<Provider>>) -> Models {
        let file = self.file;
        let mut models = Models::new();
        for name in file.models.0.keys() {
            for (name, section) in self.still_to_build(name, &models).into_iter().rev() {
                let model = self.model(name, section, providers, &models);
                models.insert(name.to_string(), model);
            }
        }
        models
    }

    /// A model and those that it is like, as far as they are not built yet: each before the one that it builds on.
    fn still_to_build(&mut self, name: &'f ModelName, built: &Models) -> Vec<(&'f ModelName, &'f Section)> {
        let mut way: Vec<(&ModelName, &Section)> = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| !built.contains_key(&name.to_string())) {
            let Some(section) = self.file.models.0.get(name) else { break };
            way.push((name, section));
            next = section.like.as_ref().map(|like| &like.value);
            if let Some(like) = &section.like
                && let Some(start) = way.iter().position(|(known, _)| **known == like.value)
            {
                let circle = way[start..].iter().map(|(name, _)| *name).chain([&like.value]);
                let circle: Vec<String> = circle.map(|name| format!("`{name}`")).collect();
                let message = format!("`like` leads in a circle: {}", circle.join(", "));
                let help = "one of them must be a model whose prices and window are known";
                self.report(Diagnostic::error(&like.at, message).help(help));
                break;
            }
        }
        way
    }

    /// A model with what it builds on, which is built if it is another one of the file.
    fn model(
        &mut self,
        name: &ModelName,
        section: &Section,
        providers: &HashMap<String, Arc<Provider>>,
        built: &Models,
    ) -> Model {
        let Some(provider) = providers.get(&name.provider) else {
            if !self.file.providers.0.keys().any(|known| known.0 == name.provider) {
                self.problems.push(unknown_provider(&name.provider, &section.at, providers));
            }
            return Model::unknown();
        };
        let base = match &section.like {
            // Its prices are not the catalog's any more: there is nothing to mark up.
            Some(like) if self.file.models.0.contains_key(&like.value) => {
                built.get(&like.value.to_string()).cloned()
            }
            Some(like) => self.like(like, providers).map(|model| marked_up(model, provider.price_factor)),
            None => known(provider, &name.model),
        };
        let base = base.unwrap_or_else(Model::unknown);
        let mut overrides = overrides(section);
        overrides.price.windows = self.price_windows(section);
        base.clone().with(&overrides).unwrap_or_else(|incomplete| {
            let at = section.price.as_ref().map_or(&section.at, |price| &price.at);
            self.problems.push(Diagnostic::error(at, incomplete.to_string()));
            base
        })
    }

    /// The prices of a model at some hours.
    fn price_windows(&mut self, model: &file::Model) -> Option<Vec<PriceWindow>> {
        let windows = model.price.as_ref()?.windows.as_ref()?;
        let window = |written: &Located<file::PriceWindow>| {
            let file::PriceWindow { hours, days, tz, rates } = &written.value;
            Some(PriceWindow {
                window: self.window(&written.at, hours.as_ref(), days.as_ref(), tz.as_ref())?,
                input: price(rates.input.as_ref()),
                output: price(rates.output.as_ref()),
                special: special(rates),
            })
        };
        Some(windows.iter().filter_map(window).collect())
    }

    /// What models of the file are like in the end, by their full name.
    pub(super) fn likes(&self) -> HashMap<String, ModelName> {
        let models = &self.file.models.0;
        let like = |name: &ModelName| models.get(name)?.like.as_ref().map(|like| &like.value);
        let root = |name| {
            // In a circle, which is an error of its own, there is no end.
            let way = std::iter::successors(like(name), |name| like(name));
            way.take(models.len()).last()
        };
        models.keys().filter_map(|name| Some((name.to_string(), root(name)?.clone()))).collect()
    }

    /// The model of the catalog that another one is like.
    fn like(
        &mut self,
        like: &Located<ModelName>,
        providers: &HashMap<String, Arc<Provider>>,
    ) -> Option<Model> {
        let Some(provider) = providers.get(&like.provider) else {
            self.report(unknown_provider(&like.provider, &like.at, providers));
            return None;
        };
        let catalog = provider.kind.catalog;
        let found = catalog::lookup(catalog, &like.model);
        if found.is_none() {
            let problem = Diagnostic::error(&like.at, format!("the catalog does not know `{}`", like.value));
            let near = catalog::near(catalog, &like.model);
            self.report(if near.is_empty() {
                problem.help(
                    "`like` names a model of the catalog, for example \"openai/gpt-4o\", or another one of this file",
                )
            } else {
                let near: Vec<String> =
                    near.iter().map(|name| format!("\"{}/{name}\"", like.provider)).collect();
                problem.label(format!("did you mean {}?", near.join(" or ")))
            });
        }
        found
    }
}

/// What a dialect must know of a model at this provider.
pub fn facts(provider: &Provider, name: &str, model: &Model) -> TargetFacts {
    let is_known = provider.is_vendor() || *model != Model::unknown();
    facts_of(name, model, providers::quirks(provider.kind, &provider.surface, is_known))
}

/// What a dialect must know of a model whose provider has these departures.
pub fn facts_of(name: &str, model: &Model, quirks: Quirks) -> TargetFacts {
    TargetFacts {
        model: name.into(),
        max_output: model.max_output,
        able: able(&model.capabilities),
        thinking: thinking(&model.reasoning),
        sampling: model.sampling,
        quirks,
    }
}

fn able(capabilities: &Capabilities) -> Able {
    let Capabilities {
        tools,
        parallel_tools,
        vision,
        audio,
        documents,
        json_mode,
        json_schema,
        reasoning,
        logprobs,
        n,
        streaming,
        prefill,
    } = *capabilities;
    Able {
        tools,
        parallel_tools,
        vision,
        audio,
        documents,
        json_mode,
        json_schema,
        reasoning,
        logprobs,
        n,
        streaming,
        prefill,
    }
}

/// How a dialect may tell the model to think.
pub fn thinking(reasoning: &Reasoning) -> Thinking {
    let Some(controls) = reasoning.controls() else { return Thinking::Never };
    if *controls == catalog::ReasoningControls::default() {
        return Thinking::Unknown;
    }
    let budget =
        controls.budget.map(|budget| (budget.min.map_or(0, Tokens::get), budget.max.map(Tokens::get)));
    Thinking::Controlled(ThinkingControls {
        efforts: controls.efforts.iter().map(|effort| (*effort).to_owned()).collect(),
        budget,
        can_be_off: matches!(reasoning, Reasoning::Optional(_)),
    })
}

fn marked_up(model: Model, factor: f64) -> Model {
    Model { prices: model.prices.map(|prices| prices.scaled(factor)), ..model }
}

fn overrides(written: &file::Model) -> Overrides {
    let tokens = |count: &Located<Count>| Tokens::new(count.get().into());
    Overrides {
        price: written.price.as_ref().map(|price| prices(price)).unwrap_or_default(),
        context: written.context.as_ref().map(tokens),
        max_output: written.max_output.as_ref().map(tokens),
        capabilities: written.capabilities.as_ref().map(|said| capabilities(said)).unwrap_or_default(),
    }
}

fn prices(written: &file::Price) -> PartialPrices {
    PartialPrices {
        input: price(written.rates.input.as_ref()),
        output: price(written.rates.output.as_ref()),
        special: special(&written.rates),
        tiers: written.tiers.as_ref().map(|tiers| tiers.iter().map(|written| tier(written)).collect()),
        // These need to be looked into.
        windows: None,
    }
}

fn tier(written: &file::PriceTier) -> Tier {
    Tier {
        above: Tokens::new(written.above.get().into()),
        input: price(written.rates.input.as_ref()),
        output: price(written.rates.output.as_ref()),
        special: special(&written.rates),
    }
}

fn special(rates: &file::Rates) -> Special {
    Special {
        cache_read: price(rates.cache_read.as_ref()),
        cache_write: price(rates.cache_write.as_ref()),
        cache_write_1h: price(rates.cache_write_1h.as_ref()),
        input_audio: price(rates.input_audio.as_ref()),
        output_audio: price(rates.output_audio.as_ref()),
        reasoning: None,
    }
}

fn price(written: Option<&Located<UsdPerMillion>>) -> Option<Price> {
    written.map(|price| price.0)
}

fn capabilities(written: &file::Capabilities) -> PartialCapabilities {
    let said = |fact: &Option<Located<bool>>| fact.as_ref().map(|fact| fact.value);
    PartialCapabilities {
        tools: said(&written.tools),
        parallel_tools: said(&written.parallel_tools),
        vision: said(&written.vision),
        audio: said(&written.audio),
        documents: said(&written.documents),
        json_mode: said(&written.json_mode),
        json_schema: said(&written.json_schema),
        reasoning: said(&written.reasoning),
        logprobs: said(&written.logprobs),
        n: said(&written.n),
        streaming: said(&written.streaming),
        prefill: said(&written.prefill),
    }
}
