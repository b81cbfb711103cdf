//! Google's Gemini API as AI Studio (`generativelanguage.googleapis.com`) and Vertex AI serve it.
//!
//! What has no equivalent and how it is met:
//!
//! - Tool calls without an id get one that follows from the answer, so that every reading of it agrees.
//! - Thought signatures, and the parts of server-side tools and code, travel with the client and go back to their exact
//!   place (see `signature`); a Gemini 3 gets the documented stand-in for a call that another model made.
//! - A system message after the first user turn becomes user text between marks: hoisting it would change what it
//!   means.
//! - A prompt that the safety system blocks, or an answer that it stops before the first word, is a
//!   [`content_filter`](crate::reason::Class::ContentFilter) failure; one that it cuts off ends with that finish
//!   reason.
//! - `web_search_options` is the search tool of Gemini's own; its sources are `annotations`.
//! - Images and audio as an answer have no place in OpenAI's format: a request for them is not sent here, and an image
//!   that a model adds unasked is left out.
//! - What only Google has is read where users of its own OpenAI endpoint put it (see `extension`).

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use self::generation::Generation;
use super::embeddings::Embeddings;
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;

mod contents;
mod embeddings;
mod error;
mod extension;
mod finish;
mod generation;
mod grounding;
mod host;
mod labels;
mod logprobs;
mod media;
mod names;
mod partial_args;
mod request;
mod response;
mod said;
mod schema;
mod signature;
mod stream;
mod thinking;
mod tools;
mod usage;
mod wire;

#[cfg(test)]
mod tests;

pub use self::host::Host;

/// The dialect.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini {
    pub host: Host,
}

impl Provider for Gemini {
    fn name(&self) -> &'static str {
        self.host.name()
    }

    fn authorization(&self) -> Authorization {
        self.host.authorization()
    }

    fn is_pass_through(&self) -> bool {
        false
    }

    fn most_output(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
        request::most_output(request, facts)
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        let (needs, able) = (&request.needs, &facts.able);
        let generation = Generation::of(&facts.model);
        let has_image = needs.image_data || needs.image_url;
        let streams = request.stream && able.streaming;
        let has_many = able.n && generation.takes_candidate_count() && !streams;
        let answers_in = |kind: &str| request.member("modalities").is_some_and(|kinds| kinds.contains(kind));
        let is_set = |name| request.member(name).is_some_and(|value| value != "null");
        let searches = is_set("web_search_options");
        let has_json = !(needs.tools || searches) || generation.takes_json_with_tools();
        let lacking = [
            ("tools", needs.tools && !able.tools),
            ("functions", is_set("functions") || is_set("function_call")),
            ("vision", has_image && !able.vision),
            ("audio", needs.audio && !able.audio || answers_in(r#""audio""#)),
            ("image_output", answers_in(r#""image""#)),
            ("documents", needs.documents && !able.documents),
            ("json_mode", needs.json_mode && !(able.json_mode && has_json)),
            ("json_schema", needs.json_schema && !(able.json_schema && has_json)),
            ("logprobs", needs.logprobs && !able.logprobs),
            ("web_search", searches && needs.tools && !generation.searches_beside_tools()),
            ("n", needs.n && !has_many),
            ("prefill", needs.prefill && !able.prefill),
        ];
        lacking.into_iter().find_map(|(what, is_lacking)| is_lacking.then_some(what))
    }

    fn fetches(&self, url: &str, facts: &TargetFacts) -> bool {
        media::is_fetched(url, Generation::of(&facts.model), self.host)
    }

    fn extras(&self) -> &'static [&'static str] {
        match self.host {
            Host::Direct => &["extra_body", "google"],
            Host::Vertex => &["extra_body", "google", "metadata"],
        }
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        let tiles = image.pixels.map_or(MOST_TILES, tiles);
        (Tokens::new(TILE_TOKENS), Tokens::new((tiles * TILE_TOKENS).max(LEVEL_TOKENS)))
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        request::encode(request, facts, self.host)
    }

    fn decode(&self, body: Bytes, _: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
        response::decode(&body, context, self.host)
    }

    fn decoder(&self, _: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(context, self.host))
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}

/// What one tile of an image costs, and an image that is one tile: 2.5 counts every image so.
const TILE_TOKENS: u64 = 258;
/// What an image costs a Gemini 3 at the usual resolution, at most.
const LEVEL_TOKENS: u64 = 1_120;
/// A larger image is scaled down to this first.
const MAX_SIDE: u64 = 3_072;
/// The tiles of the largest image.
const MOST_TILES: u64 = 17;

/// How many tiles 2.0 cuts an image into: squares of two thirds of its shorter side, between 256 and 768 pixels, and
/// one for the whole.
fn tiles((width, height): (u32, u32)) -> u64 {
    let (width, height) = (u64::from(width).max(1), u64::from(height).max(1));
    let longer = width.max(height);
    let scaled = |side: u64| if longer > MAX_SIDE { (side * MAX_SIDE / longer).max(1) } else { side };
    let (width, height) = (scaled(width), scaled(height));
    if width.max(height) <= 384 {
        return 1;
    }
    let side = (width.min(height) * 2 / 3).clamp(256, 768);
    width.div_ceil(side) * height.div_ceil(side) + 1
}
