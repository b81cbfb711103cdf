//! `[models."x/y"]`: what the catalog does not know, or has wrong.

use crate::config::diagnostic::Located;
use crate::config::name::{ModelName, Tag};
use crate::config::section::section;
use crate::config::time::{DayHours, DayRange, ZoneName};
use crate::config::value::{Count, UsdPerMillion};

section! {
    /// Facts about a model, which override the catalog's key by key.
    #[derive(Default)]
    pub struct Model in "a model" {
        optional {
            /// The model that this one is: a deployment, or an alias. "provider/model", of the catalog or of this file.
            like: ModelName,
            /// USD per million tokens.
            price: Price,
            /// The context window, in tokens.
            context: Count,
            /// The longest answer, in tokens.
            max_output: Count,
            /// What the model can do.
            capabilities: Capabilities,
            /// Marks of your own that a chain may `require`, such as "zdr".
            tags: Vec<Located<Tag>>,
        }
    }
}

section! {
    /// USD per million tokens. Without a price of their own, cached tokens and audio cost what their side does, and what
    /// is written to the cache for an hour what is written to it.
    #[derive(Default)]
    pub struct Price in "`price`" {
        optional {
            /// Other prices for long inputs.
            tiers: Vec<Located<PriceTier>>,
            /// Other prices at some hours of the week; the first window that holds counts.
            windows: Vec<Located<PriceWindow>>,
        }
        shared {
            rates: Rates,
        }
    }
}

section! {
    /// Prices of attempts that begin in these hours; absent keys change as input and output do.
    #[derive(Default)]
    pub struct PriceWindow in "a price window" {
        optional {
            /// From when to when, e.g. "00:30-08:30", or over midnight: "22:00-06:00". Default: the whole day.
            hours: DayHours,
            /// The days on which the hours begin, such as "sat-sun". Default: every day.
            days: Vec<Located<DayRange>>,
            /// Whose clocks they are: "Asia/Shanghai". Default: "UTC".
            tz: ZoneName,
        }
        shared {
            rates: Rates,
        }
    }
}

section! {
    /// Prices of requests whose input is longer than `above`; absent keys as without the tier.
    pub struct PriceTier in "a price tier" {
        required {
            /// Input tokens from which on this tier holds, exclusive.
            above: Count,
        }
        shared {
            rates: Rates,
        }
    }
}

section! {
    /// A price for each kind of token.
    #[derive(Default)]
    pub struct Rates in "prices" {
        optional {
            /// Input tokens.
            input: UsdPerMillion,
            /// Output tokens.
            output: UsdPerMillion,
            /// Input tokens read from the provider's cache.
            cache_read: UsdPerMillion,
            /// Input tokens written to the cache.
            cache_write: UsdPerMillion,
            /// Input tokens written to the cache for an hour.
            cache_write_1h: UsdPerMillion,
            /// Audio input tokens.
            input_audio: UsdPerMillion,
            /// Audio output tokens.
            output_audio: UsdPerMillion,
        }
    }
}

section! {
    /// What a model can do. A target that lacks what a request needs is skipped.
    #[derive(Default)]
    pub struct Capabilities in "`capabilities`" {
        optional {
            /// Calls tools.
            tools: bool,
            /// Calls several tools at once.
            parallel_tools: bool,
            /// Reads images.
            vision: bool,
            /// Hears audio.
            audio: bool,
            /// Reads documents such as PDF.
            documents: bool,
            /// Answers with some JSON object.
            json_mode: bool,
            /// Answers with JSON that follows a schema.
            json_schema: bool,
            /// Thinks before it answers.
            reasoning: bool,
            /// Gives log probabilities.
            logprobs: bool,
            /// Gives several choices.
            n: bool,
            /// Streams its answer.
            streaming: bool,
            /// Goes on from the beginning of an answer.
            prefill: bool,
        }
    }
}
