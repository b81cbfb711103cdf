//! The most that one call may take: what is reserved for it.

use crate::catalog::price::Rates;
use crate::catalog::{Model, Prices};
use crate::chat::Request;
use crate::routing::ceiling::Estimate;
use crate::routing::chain::{Fitness, Limits};
use crate::units::{Cost, Price, Tokens};

/// The most tokens that a call may take, and the kinds that may be among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub input: Tokens,
    pub output: Tokens,
    /// Audio may be among them.
    audio: bool,
    /// The request marks what to keep in a cache, be it for an hour.
    marks_cache: bool,
}

/// What providers add to a conversation of their own.
const FRAME: u64 = 16;
/// What they add to each message is less than a token for so many bytes of its JSON that are no text.
const SYNTAX: u64 = 6;
/// Beyond this such bytes are something else.
const MOST_SYNTAX: u64 = 8192;
/// Text that some models read and others do not, such as earlier reasoning, and documents and audio: a token has hardly
/// ever fewer bytes of it.
const REST: u64 = 3;

/// What a target may take at most, whatever is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Input; `None` where nobody knows the model's window.
    input: Option<Tokens>,
    /// Output of one answer where no cap is sent: where nobody knows, as much as the window holds, or as is expected.
    pub output: Tokens,
}

impl Bounds {
    /// Those of this model at a target with these limits.
    pub fn of(model: &Model, limits: &Limits) -> Self {
        let output = model.max_output.or(model.context).unwrap_or(limits.expected_output);
        Self { input: model.context, output }
    }
}

impl Need {
    /// The most that `request` may take at a target with these bounds.
    pub fn of(request: &Request, estimate: &Estimate, fitness: &dyn Fitness, bounds: Bounds) -> Self {
        let beside = (request.body().len() as u64).saturating_sub(request.size().text_bytes);
        let rest = if has_rest(request) { beside.saturating_sub(MOST_SYNTAX) / REST } else { 0 };
        let frame = Tokens::new(FRAME + beside.min(MOST_SYNTAX) / SYNTAX + rest);
        let most = estimate.input_high + frame;
        // An estimate that is itself above the window is for others to judge.
        let input = bounds.input.map_or(most, |window| most.min(window.max(estimate.input_high)));
        match request {
            Request::Chat(request) => {
                // What a dialect adds to the client's cap may be billed too.
                let one = fitness.most_output(request).unwrap_or(bounds.output);
                Self {
                    input,
                    output: Tokens::new(one.get().saturating_mul(request.answers.into())),
                    audio: request.needs.audio || request.member("modalities").is_some_and(has_audio),
                    marks_cache: request.marks.cache_control,
                }
            }
            Request::Embeddings(_) => Self { input, output: Tokens::ZERO, audio: false, marks_cache: false },
        }
    }

    /// Input and output together.
    pub fn tokens(&self) -> Tokens {
        self.input + self.output
    }

    /// The most that it may cost at these prices: it may be that only a longer prompt is in a cheaper tier.
    pub fn cost(&self, prices: &Prices) -> Cost {
        self.most(&[prices], |prompt| {
            let rates = prices.rates(prompt);
            move |kind| kind(&rates)
        })
    }

    /// The most that it may cost at these prices above what the same tokens cost at those of `first`.
    pub fn cost_above(&self, prices: &Prices, first: &Prices) -> Cost {
        self.most(&[prices, first], |prompt| {
            let (here, there) = (prices.rates(prompt), first.rates(prompt));
            move |kind| kind(&here).saturating_sub(kind(&there))
        })
    }

    /// The most that any prompt which is not longer than expected costs by these rates: they change with the tiers of
    /// `prices`, and the longest prompt of a tier costs most in it.
    fn most<R: Fn(&Kind) -> Price>(&self, prices: &[&Prices], rates: impl Fn(Tokens) -> R) -> Cost {
        let (input, output) = (self.input_kinds(), self.output_kinds());
        let at = |prompt: Tokens| {
            let rate = rates(prompt);
            let dearest = |kinds: &[Kind]| kinds.iter().map(&rate).max().unwrap_or_default();
            prompt * dearest(&input) + self.output * dearest(&output)
        };
        let tiers = prices.iter().flat_map(|prices| prices.tiers()).map(|tier| tier.above);
        let ends = tiers.filter(|above| *above < self.input).map(at);
        ends.fold(at(self.input), Cost::max)
    }

    fn input_kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> =
            vec![|rates| rates.input, |rates| rates.cache_read, |rates| rates.cache_write];
        if self.marks_cache {
            kinds.push(|rates| rates.cache_write_1h);
        }
        if self.audio {
            kinds.push(|rates| rates.input_audio);
        }
        kinds
    }

    fn output_kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = vec![|rates| rates.output, |rates| rates.reasoning];
        if self.audio {
            kinds.push(|rates| rates.output_audio);
        }
        kinds
    }
}

/// Whether a large request may have something for the model beside text and images, whose tokens are counted by their
/// sizes.
fn has_rest(request: &Request) -> bool {
    match request {
        Request::Chat(request) => {
            request.size.images.is_empty() || request.needs.documents || request.needs.audio
        }
        Request::Embeddings(_) => false,
    }
}

fn has_audio(modalities: &str) -> bool {
    modalities.contains("audio")
}

/// The price of one kind of token.
type Kind = fn(&Rates) -> Price;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::PartialPrices;

    fn prices(toml: &str) -> Prices {
        toml::from_str::<PartialPrices>(toml).unwrap().over(None).unwrap().unwrap()
    }

    fn need(input: u64, output: u64) -> Need {
        Need { input: Tokens::new(input), output: Tokens::new(output), audio: false, marks_cache: false }
    }

    #[test]
    fn the_dearest_rate_that_may_apply_is_counted() {
        let prices = prices(
            "input = 3\noutput = 15\ncache_read = 0.3\ncache_write = 3.75\ncache_write_1h = 6\ninput_audio = 40
             output_audio = 80\nreasoning = 20\ntiers = [{ above = 1000, input = 6, output = 30 }]",
        );
        let plain = need(100, 10);
        let usd = |need: Need| need.cost(&prices).pico_usd();
        assert_eq!(usd(plain), (375 * 100 + 2000 * 10) * 10_000);
        assert_eq!(usd(Need { marks_cache: true, ..plain }), (600 * 100 + 2000 * 10) * 10_000);
        assert_eq!(usd(Need { audio: true, ..plain }), (4000 * 100 + 8000 * 10) * 10_000);
        assert_eq!(usd(need(1001, 0)), 750 * 1001 * 10_000, "the whole request is in the tier");
    }

    #[test]
    fn a_prompt_that_turns_out_shorter_may_be_in_a_dearer_tier() {
        let flat = prices("input = 5\noutput = 0");
        let tiered = prices("input = 2.5\noutput = 0\ntiers = [{ above = 200000, input = 5 }]");
        let need = need(210_000, 0);
        // 190,000 tokens, as it may turn out, are 0.475 USD dearer here than there.
        assert_eq!(need.cost_above(&flat, &tiered).to_string(), "0.500000000");
        assert_eq!(need.cost_above(&tiered, &flat), Cost::ZERO);
        let falling = prices("input = 5\noutput = 0\ntiers = [{ above = 200000, input = 1 }]");
        assert_eq!(need.cost(&falling).to_string(), "1.000000000");
    }

    #[test]
    fn above_another_price_no_kind_of_token_makes_up_for_another() {
        let here = prices("input = 1\noutput = 10");
        let there = prices("input = 3\noutput = 4\ncache_read = 0.5");
        // Cached input is dearer here by 0.5, output by 6; fresh input is cheaper, but there may be none.
        assert_eq!(need(100, 10).cost_above(&here, &there).pico_usd(), (50 * 100 + 600 * 10) * 10_000);
        assert_eq!(need(100, 10).cost_above(&here, &here), Cost::ZERO);
    }
}
