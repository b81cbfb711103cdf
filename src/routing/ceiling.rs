//! What a request will probably take at a target, and whether its owner allows that.

use tokio::time::Instant;

use crate::catalog::{Prices, UsageTokens};
use crate::chat::{Request, Usage};
use crate::reason::Skip;
use crate::units::{Cost, Price, Tokens};

use super::chain::{Limits, Target};

/// An estimate made before the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The least input that is likely: decides about context windows.
    pub input_low: Tokens,
    /// The most input that is likely: decides about money.
    pub input_high: Tokens,
    pub output: Tokens,
    /// `None` where no price is known.
    pub cost: Option<Cost>,
    /// The price of input and output that was reckoned with, where it depends on the hour.
    pub price: Option<(Price, Price)>,
}

/// The price that a target may have at most, in absolute terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxPrice {
    pub input: Option<Price>,
    pub output: Option<Price>,
}

impl Estimate {
    /// What `request` is likely to take at `target`.
    pub fn of(request: &Request, target: &Target) -> Self {
        let size = request.size();
        let (text_low, text_high) = target.health.bytes_per_token.estimate(size.text_bytes);
        let images = size.images.iter().map(|image| target.fitness.image_tokens(image));
        let (images_low, images_high) =
            images.fold((Tokens::ZERO, Tokens::ZERO), |(low, high), (l, h)| (low + l, high + h));
        let output = match request {
            Request::Chat(request) => {
                let one = request.output_cap.unwrap_or(target.limits.expected_output.get());
                one.saturating_mul(request.answers.into())
            }
            Request::Embeddings(_) => 0,
        };
        let mut estimate = Self {
            input_low: Tokens::new(text_low) + images_low,
            input_high: Tokens::new(text_high) + images_high,
            output: Tokens::new(output),
            cost: None,
            price: None,
        };
        if let Some(prices) = &target.model.prices {
            estimate.quote(prices, prices.now());
        }
        estimate
    }

    /// The same estimate for an attempt that begins at this time.
    #[must_use]
    pub fn at(mut self, time: Instant, prices: Option<&Prices>) -> Self {
        if let Some(prices) = prices.filter(|prices| prices.are_timed()) {
            self.quote(prices, prices.at(time));
        }
        self
    }

    /// Reckons with those of `prices` that are held to.
    fn quote(&mut self, prices: &Prices, held: &Prices) {
        self.cost = Some(self.cost_at(held));
        self.price = prices.are_timed().then(|| (held.input(), held.output()));
    }

    fn cost_at(&self, prices: &Prices) -> Cost {
        prices.cost(&UsageTokens::of(self.input_high.get(), self.output.get()))
    }

    /// Whether input and asked-for output cannot fit the target's window.
    pub fn overflows(&self, request: &Request, target: &Target) -> bool {
        let Some(window) = target.model.context else { return false };
        let needed = match request {
            Request::Chat(request) => self.input_low + Tokens::new(request.output_cap.unwrap_or(0)),
            Request::Embeddings(request) => {
                Tokens::new(target.health.bytes_per_token.estimate(request.longest).0)
            }
        };
        needed > window
    }
}

/// The money rule that `target` breaks for this estimate, if any. `first` is the chain's first target, `client`
/// the ceiling that came with the request.
pub fn money(target: &Target, estimate: &Estimate, first: &Target, client: Option<Cost>) -> Option<Skip> {
    let Limits { max_price_ratio, max_price, max_cost, .. } = &*target.limits;
    if client.is_none() && !target.limits.is_bounded() {
        return None;
    }
    let (Some(prices), Some(cost)) = (&target.model.prices, estimate.cost) else {
        return Some(Skip::NoPrice);
    };
    if let Some(ratio) = max_price_ratio {
        let Some(of_first) = &first.model.prices else { return Some(Skip::NoPrice) };
        if exceeds(cost, estimate.cost_at(of_first.now()), *ratio) {
            return Some(Skip::PriceRatio);
        }
    }
    if let Some(most) = max_price {
        let rates = prices.now().rates(estimate.input_high);
        if most.input.is_some_and(|most| rates.input > most)
            || most.output.is_some_and(|most| rates.output > most)
        {
            return Some(Skip::PriceRatio);
        }
    }
    let ceiling = [*max_cost, client].into_iter().flatten().min();
    ceiling.is_some_and(|ceiling| cost > ceiling).then_some(Skip::MaxCost)
}

/// Whether `cost` is more than `ratio` times `base`.
#[expect(clippy::cast_precision_loss, reason = "a ratio that the owner wrote with a few digits")]
fn exceeds(cost: Cost, base: Cost, ratio: f64) -> bool {
    cost.pico_usd() as f64 > base.pico_usd() as f64 * ratio
}

impl From<Usage> for UsageTokens {
    fn from(usage: Usage) -> Self {
        Self {
            prompt: usage.prompt,
            cached: usage.cached,
            cache_write: usage.cache_write + usage.cache_write_1h,
            cache_write_1h: usage.cache_write_1h,
            input_audio: usage.audio_input,
            completion: usage.completion,
            reasoning: usage.reasoning,
            output_audio: usage.audio_output,
        }
    }
}
