//! What is known about models before anyone asks them: prices, windows, capabilities, how they reason.
//!
//! The facts come from `config/models.json`, which is built into the binary; the configuration adds to them and
//! overrides them key by key ([`Overrides`]). A model that nobody knows is [`Model::unknown`]: assumed able to do
//! everything, at no known price, in no known window, so that its upstream decides.

mod capability;
mod embedded;
pub mod price;

use serde::Deserialize;
use thiserror::Error;

pub use capability::{Capabilities, PartialCapabilities};
#[cfg(feature = "bench-internals")]
pub use embedded::split;
pub use embedded::{lookup, names, near};
pub use price::{PartialPrices, PriceWindow, Prices, UsageTokens};

use crate::units::Tokens;

/// What is known about one model at one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub prices: Option<Prices>,
    /// The context window: input and output together.
    pub context: Option<Tokens>,
    /// The most that one answer may have.
    pub max_output: Option<Tokens>,
    pub capabilities: Capabilities,
    pub reasoning: Reasoning,
    /// Where an OpenAI-compatible provider puts reasoning text beside `content`, and wants it back.
    pub reasoning_field: Option<ReasoningField>,
    /// Whether it takes `temperature`, `top_p` and the like.
    pub sampling: bool,
    pub status: Status,
    /// The day on which the provider switches it off, ISO 8601: text that sorts as the dates do.
    pub retires: Option<&'static str>,
}

/// Whether a model thinks before it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Reasoning {
    Never,
    /// Only if the request, or the provider's default, asks for it.
    Optional(ReasoningControls),
    /// Nothing in the request can switch it off.
    Always(ReasoningControls),
}

/// How a request steers a model's reasoning. All empty means that nothing is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningControls {
    /// The effort levels that it takes, `none` among them if that is one.
    pub efforts: Vec<&'static str>,
    /// It takes a number of thinking tokens.
    pub budget: Option<Budget>,
    /// It can be switched on and off without a level.
    pub toggle: bool,
}

/// The bounds of a thinking budget, where they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub min: Option<Tokens>,
    pub max: Option<Tokens>,
}

/// The message field with a compatible provider's reasoning text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ReasoningField {
    #[serde(rename = "reasoning_content")]
    Content,
    #[serde(rename = "reasoning_details")]
    Details,
}

/// Where a model stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Beta,
    #[default]
    Stable,
    Deprecated,
}

/// What the configuration says about a model; what it leaves out stays as the catalog has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    pub price: PartialPrices,
    pub context: Option<Tokens>,
    pub max_output: Option<Tokens>,
    pub capabilities: PartialCapabilities,
}

/// A price that is neither whole nor the amendment of a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a price needs both `input` and `output`, because the catalog has none for this model")]
pub struct IncompletePrice;

impl Model {
    /// A model that nobody knows anything about.
    pub fn unknown() -> Self {
        Self {
            prices: None,
            context: None,
            max_output: None,
            capabilities: Capabilities::ALL,
            reasoning: Reasoning::Optional(ReasoningControls::default()),
            reasoning_field: None,
            sampling: true,
            status: Status::Stable,
            retires: None,
        }
    }

    /// The prices that hold at this hour.
    pub fn prices_now(&self) -> Option<&Prices> {
        self.prices.as_ref().map(Prices::now)
    }

    /// The same model as the configuration knows it.
    pub fn with(self, overrides: &Overrides) -> Result<Self, IncompletePrice> {
        let mut capabilities = self.capabilities;
        overrides.capabilities.apply(&mut capabilities);
        // Said to reason where the catalog says that it does not: how is not known. And the reverse.
        let reasoning = match (self.reasoning, overrides.capabilities.reasoning) {
            (_, Some(false)) => Reasoning::Never,
            (Reasoning::Never, Some(true)) => Reasoning::Optional(ReasoningControls::default()),
            (known, _) => known,
        };
        Ok(Self {
            prices: overrides.price.over(self.prices)?,
            context: overrides.context.or(self.context),
            max_output: overrides.max_output.or(self.max_output),
            capabilities,
            reasoning,
            ..self
        })
    }
}

impl Reasoning {
    /// What a request can say about it; `None` for a model that never reasons.
    pub fn controls(&self) -> Option<&ReasoningControls> {
        match self {
            Self::Never => None,
            Self::Optional(controls) | Self::Always(controls) => Some(controls),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Price;

    fn overrides(toml: &str) -> Overrides {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn overrides_hold_key_by_key() {
        let known = lookup("gemini", "gemini-2.5-pro").unwrap();
        let model = known
            .clone()
            .with(&overrides("context = 8192\nprice = { output = 7 }\ncapabilities = { vision = false }"))
            .unwrap();
        assert_eq!(model.context, Some(Tokens::new(8192)));
        assert_eq!(model.max_output, known.max_output);
        assert!(!model.capabilities.vision);
        assert!(model.capabilities.tools);
        let (old, new) = (known.prices.unwrap(), model.prices.unwrap());
        assert_eq!(new.input(), old.input());
        assert_eq!(Some(new.output()), Price::from_usd_per_million(7.0));
        assert_eq!(new.tiers(), old.tiers());
        assert_eq!(model.reasoning, known.reasoning);
    }

    #[test]
    fn nothing_overridden_changes_nothing() {
        for name in ["gpt-4o", "o3", "gpt-4"] {
            let known = lookup("openai", name).unwrap();
            assert_eq!(known.clone().with(&Overrides::default()), Ok(known));
        }
        assert_eq!(Model::unknown().with(&Overrides::default()), Ok(Model::unknown()));
    }

    #[test]
    fn an_unknown_model_gets_a_price_whole_or_not_at_all() {
        let model = Model::unknown().with(&overrides("price = { input = 0, output = 0 }")).unwrap();
        assert_eq!(model.prices.unwrap().cost(&UsageTokens::of(1000, 1000)).pico_usd(), 0);
        assert_eq!(Model::unknown().with(&overrides("price = { input = 1 }")), Err(IncompletePrice));
        assert_eq!(Model::unknown().with(&overrides("price = { tiers = [] }")), Err(IncompletePrice));
    }

    #[test]
    fn said_to_reason_or_not_to() {
        let plain = lookup("openai", "gpt-4o").unwrap();
        let made_to = plain.with(&overrides("capabilities = { reasoning = true }")).unwrap();
        assert_eq!(made_to.reasoning, Reasoning::Optional(ReasoningControls::default()));
        let thinker = lookup("openai", "o3").unwrap();
        assert!(matches!(thinker.reasoning, Reasoning::Always(_)));
        let kept = thinker.clone().with(&overrides("capabilities = { reasoning = true }")).unwrap();
        assert_eq!(kept, thinker);
        let never = thinker.with(&overrides("capabilities = { reasoning = false }")).unwrap();
        assert_eq!(never.reasoning, Reasoning::Never);
    }
}
