//! What tokens cost: prices as providers publish them, and the exact cost of one request.

mod windows;

use serde::{Deserialize, Deserializer, de};

use super::IncompletePrice;
use crate::units::{Cost, Price, Tokens};

pub use windows::PriceWindow;
use windows::Timed;

/// The tokens of one request as OpenAI counts them: every part is contained in its whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageTokens {
    /// All input.
    pub prompt: Tokens,
    /// Of the prompt: read from the provider's cache.
    pub cached: Tokens,
    /// Of the prompt: written to the provider's cache, for whatever time.
    pub cache_write: Tokens,
    /// Of the cache writes: those kept for an hour.
    pub cache_write_1h: Tokens,
    /// Of the prompt: audio.
    pub input_audio: Tokens,
    /// All output.
    pub completion: Tokens,
    /// Of the completion: reasoning.
    pub reasoning: Tokens,
    /// Of the completion: audio.
    pub output_audio: Tokens,
}

/// The prices of a model. What a provider does not name has the price of what it is a kind of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    input: Price,
    output: Price,
    special: Special,
    tiers: Vec<Tier>,
    windows: Vec<Timed>,
}

/// Other prices that hold for a whole request once its prompt is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// They hold if the prompt has more tokens than this.
    pub above: Tokens,
    #[serde(default, deserialize_with = "usd_per_million")]
    pub input: Option<Price>,
    #[serde(default, deserialize_with = "usd_per_million")]
    pub output: Option<Price>,
    #[serde(flatten)]
    pub special: Special,
}

/// Prices that a provider may or may not name besides input and output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Special {
    #[serde(deserialize_with = "usd_per_million")]
    pub cache_read: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub cache_write: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub cache_write_1h: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub input_audio: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub output_audio: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub reasoning: Option<Price>,
}

/// Prices as somebody wrote them, in USD per million tokens, each key optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartialPrices {
    #[serde(deserialize_with = "usd_per_million")]
    pub input: Option<Price>,
    #[serde(deserialize_with = "usd_per_million")]
    pub output: Option<Price>,
    #[serde(flatten)]
    pub special: Special,
    pub tiers: Option<Vec<Tier>>,
    /// Only the configuration has these.
    #[serde(skip)]
    pub windows: Option<Vec<PriceWindow>>,
}

/// What each kind of token costs in one request: nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    pub input: Price,
    pub output: Price,
    pub cache_read: Price,
    pub cache_write: Price,
    pub cache_write_1h: Price,
    pub input_audio: Price,
    pub output_audio: Price,
    pub reasoning: Price,
}

impl UsageTokens {
    /// Plain text in and out.
    pub fn of(prompt: u64, completion: u64) -> Self {
        Self { prompt: Tokens::new(prompt), completion: Tokens::new(completion), ..Self::default() }
    }
}

impl PartialPrices {
    /// These prices, and where they are silent those of `base`.
    pub fn over(&self, base: Option<Prices>) -> Result<Option<Prices>, IncompletePrice> {
        let of_base = || base.as_ref().map(Prices::written_windows).unwrap_or_default();
        let windows = self.windows.clone().unwrap_or_else(of_base);
        Ok(self.without_windows(base)?.map(|prices| prices.with_windows(windows)))
    }

    fn without_windows(&self, base: Option<Prices>) -> Result<Option<Prices>, IncompletePrice> {
        let Some(base) = base else {
            return match (self.input, self.output) {
                (Some(input), Some(output)) => Ok(Some(Prices {
                    input,
                    output,
                    special: self.special,
                    tiers: self.tiers.clone().unwrap_or_default(),
                    windows: Vec::new(),
                })),
                _ if *self == Self::default() => Ok(None),
                _ => Err(IncompletePrice),
            };
        };
        Ok(Some(Prices {
            input: self.input.unwrap_or(base.input),
            output: self.output.unwrap_or(base.output),
            special: self.special.or(base.special),
            tiers: self.tiers.clone().unwrap_or(base.tiers),
            windows: Vec::new(),
        }))
    }
}

impl Prices {
    /// The price of plain input.
    pub fn input(&self) -> Price {
        self.input
    }

    /// The price of plain output.
    pub fn output(&self) -> Price {
        self.output
    }

    /// The prices of long prompts.
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// The prices times a provider's markup.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scaled = |price: Price| price.scaled(factor);
        let timed = |timed: &Timed| Timed {
            written: timed.written.scaled(factor),
            prices: timed.prices.scaled(factor),
        };
        Self {
            windows: self.windows.iter().map(timed).collect(),
            input: scaled(self.input),
            output: scaled(self.output),
            special: self.special.map(scaled, scaled),
            tiers: self
                .tiers
                .iter()
                .map(|tier| Tier {
                    above: tier.above,
                    input: tier.input.map(scaled),
                    output: tier.output.map(scaled),
                    special: tier.special.map(scaled, scaled),
                })
                .collect(),
        }
    }

    /// What holds for a request with this prompt.
    pub fn rates(&self, prompt: Tokens) -> Rates {
        let tier = self.tiers.iter().filter(|tier| prompt > tier.above).max_by_key(|tier| tier.above);
        let Some(tier) = tier else {
            return Rates::new(self.input, self.output, self.special);
        };
        let input = tier.input.unwrap_or(self.input);
        let output = tier.output.unwrap_or(self.output);
        // Providers raise all prices of a side alike, so a price that the tier does not name follows its side.
        let base = self.special.map(
            |price| in_proportion(price, self.input, input),
            |price| in_proportion(price, self.output, output),
        );
        Rates::new(input, output, tier.special.or(base))
    }

    /// What these tokens cost. A count that contradicts its whole is cut to it, so that nothing is paid twice.
    pub fn cost(&self, usage: &UsageTokens) -> Cost {
        let rates = self.rates(usage.prompt);
        let cached = usage.cached.min(usage.prompt);
        let fresh = usage.prompt.saturating_sub(cached);
        let written = usage.cache_write.max(usage.cache_write_1h).min(fresh);
        let written_1h = usage.cache_write_1h.min(written);
        let fresh = fresh.saturating_sub(written);
        // Audio may have been read from the cache too; then it was already paid as that.
        let audio = usage.input_audio.min(fresh);
        let spoken = usage.output_audio.min(usage.completion);
        let text = usage.completion.saturating_sub(spoken);
        let reasoning = usage.reasoning.min(text);
        cached * rates.cache_read
            + written_1h * rates.cache_write_1h
            + written.saturating_sub(written_1h) * rates.cache_write
            + audio * rates.input_audio
            + fresh.saturating_sub(audio) * rates.input
            + spoken * rates.output_audio
            + reasoning * rates.reasoning
            + text.saturating_sub(reasoning) * rates.output
    }
}

impl Rates {
    fn new(input: Price, output: Price, special: Special) -> Self {
        let cache_write = special.cache_write.unwrap_or(input);
        Self {
            input,
            output,
            cache_read: special.cache_read.unwrap_or(input),
            cache_write,
            cache_write_1h: special.cache_write_1h.unwrap_or(cache_write),
            input_audio: special.input_audio.unwrap_or(input),
            output_audio: special.output_audio.unwrap_or(output),
            reasoning: special.reasoning.unwrap_or(output),
        }
    }
}

impl Special {
    /// These prices, and where they are silent those of `base`.
    fn or(self, base: Self) -> Self {
        Self {
            cache_read: self.cache_read.or(base.cache_read),
            cache_write: self.cache_write.or(base.cache_write),
            cache_write_1h: self.cache_write_1h.or(base.cache_write_1h),
            input_audio: self.input_audio.or(base.input_audio),
            output_audio: self.output_audio.or(base.output_audio),
            reasoning: self.reasoning.or(base.reasoning),
        }
    }

    /// Each price of an input side through one function, each of the output side through the other.
    fn map(self, input: impl Fn(Price) -> Price, output: impl Fn(Price) -> Price) -> Self {
        Self {
            cache_read: self.cache_read.map(&input),
            cache_write: self.cache_write.map(&input),
            cache_write_1h: self.cache_write_1h.map(&input),
            input_audio: self.input_audio.map(&input),
            output_audio: self.output_audio.map(&output),
            reasoning: self.reasoning.map(&output),
        }
    }
}

/// `price` raised as `from` was to become `to`.
fn in_proportion(price: Price, from: Price, to: Price) -> Price {
    if from == Price::ZERO { price } else { price.scaled(to.usd_per_million() / from.usd_per_million()) }
}

fn usd_per_million<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Price>, D::Error> {
    let usd = f64::deserialize(deserializer)?;
    Price::from_usd_per_million(usd)
        .map(Some)
        .ok_or_else(|| de::Error::custom("expected USD per million tokens, from 0 to 1,000,000"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prices(toml: &str) -> Prices {
        toml::from_str::<PartialPrices>(toml).unwrap().over(None).unwrap().unwrap()
    }

    fn usd(amount: f64) -> Price {
        Price::from_usd_per_million(amount).unwrap()
    }

    #[test]
    fn cache_writes_as_anthropic_bills_them() {
        let prices =
            prices("input = 3\noutput = 15\ncache_write = 3.75\ncache_write_1h = 6\ncache_read = 0.3");
        let usage = UsageTokens { cache_write: Tokens::new(12_304), ..UsageTokens::of(12_307, 550) };
        assert_eq!(prices.cost(&usage).to_string(), "0.054399000");
        let an_hour = UsageTokens { cache_write_1h: Tokens::new(12_304), ..usage };
        assert_eq!(prices.cost(&an_hour).to_string(), "0.082083000");
    }

    #[test]
    fn a_long_cached_prompt_as_gemini_bills_it() {
        let usage = UsageTokens { cached: Tokens::new(257_955), ..UsageTokens::of(262_960, 1_744) };
        let flat = prices("input = 1.25\noutput = 10\ncache_read = 0.625");
        assert_eq!(flat.cost(&usage).pico_usd(), 184_918_125_000);
        let tiered = prices(
            "input = 1.25\noutput = 10\ncache_read = 0.125
             tiers = [{ above = 200000, input = 2.5, output = 15, cache_read = 0.25 }]",
        );
        assert_eq!(tiered.cost(&usage).pico_usd(), 103_161_250_000);
    }

    #[test]
    fn a_tier_begins_above_its_bound_and_holds_for_the_whole_request() {
        let prices = prices(
            "input = 1\noutput = 2
             tiers = [{ above = 1000, input = 10 }, { above = 100, input = 5, output = 3 }]",
        );
        assert_eq!(prices.cost(&UsageTokens::of(100, 1)).pico_usd(), 102_000_000);
        assert_eq!(prices.cost(&UsageTokens::of(101, 1)).pico_usd(), 508_000_000);
        assert_eq!(prices.cost(&UsageTokens::of(1001, 1)).pico_usd(), 10_012_000_000);
    }

    #[test]
    fn what_a_tier_leaves_out_rises_with_its_side() {
        let rates = prices(
            "input = 5\noutput = 25\ncache_read = 0.5\ncache_write_1h = 10\nreasoning = 50
             tiers = [{ above = 200000, input = 10, output = 37.5, cache_read = 0.7 }]",
        )
        .rates(Tokens::new(200_001));
        assert_eq!(rates.cache_read, usd(0.7));
        assert_eq!(rates.cache_write_1h, usd(20.0));
        assert_eq!(rates.cache_write, usd(10.0));
        assert_eq!(rates.reasoning, usd(75.0));
    }

    #[test]
    fn what_has_no_price_of_its_own_costs_as_its_kind() {
        let rates = prices("input = 2\noutput = 8").rates(Tokens::ZERO);
        for price in [rates.cache_read, rates.cache_write, rates.cache_write_1h, rates.input_audio] {
            assert_eq!(price, usd(2.0));
        }
        assert_eq!([rates.output_audio, rates.reasoning], [usd(8.0); 2]);
        let rates = prices("input = 2\noutput = 8\ncache_write = 2.5").rates(Tokens::ZERO);
        assert_eq!(rates.cache_write_1h, usd(2.5));
    }

    #[test]
    fn audio_and_reasoning_have_their_own_prices() {
        let prices = prices("input = 1\noutput = 2\ninput_audio = 10\noutput_audio = 20\nreasoning = 5");
        let usage = UsageTokens {
            input_audio: Tokens::new(30),
            reasoning: Tokens::new(7),
            output_audio: Tokens::new(3),
            ..UsageTokens::of(100, 20)
        };
        assert_eq!(prices.cost(&usage).pico_usd(), (70 + 30 * 10 + 10 * 2 + 7 * 5 + 3 * 20) * 1_000_000);
    }

    #[test]
    fn a_markup_scales_every_price() {
        let prices = prices(
            "input = 1\noutput = 2\ncache_read = 0.1\ntiers = [{ above = 10, input = 2, output = 4 }]",
        );
        for prompt in [10, 11] {
            let usage = UsageTokens { cached: Tokens::new(5), ..UsageTokens::of(prompt, 4) };
            let marked = prices.scaled(1.5).cost(&usage).pico_usd();
            assert_eq!(marked * 2, prices.cost(&usage).pico_usd() * 3);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "input = -1",
            "input = nan",
            "input = 1e9",
            "input = \"1\"",
            "tiers = [{ input = 1 }]",
            "inptu = 1",
        ] {
            assert!(toml::from_str::<PartialPrices>(bad).is_err(), "{bad}");
            let tier = format!("tiers = [{{ above = 1, {bad} }}]");
            assert!(toml::from_str::<PartialPrices>(&tier).is_err(), "{tier}");
        }
    }

    proptest! {
        /// At one price for everything only the two totals matter, whatever the parts claim.
        #[test]
        fn every_token_is_paid_once(parts in prop::array::uniform8(0_u64..1000)) {
            let [prompt, cached, cache_write, cache_write_1h, input_audio, completion, reasoning, output_audio] =
                parts.map(Tokens::new);
            let usage = UsageTokens {
                prompt, cached, cache_write, cache_write_1h, input_audio, completion, reasoning, output_audio,
            };
            let plain = UsageTokens { prompt, completion, ..UsageTokens::default() };
            let prices = prices("input = 3\noutput = 7");
            prop_assert_eq!(prices.cost(&usage), prices.cost(&plain));
        }
    }
}
