//! OpenAI's own dialect, and that of everybody who copies it. The client's bytes go through: only `model`, Piton's
//! own fields and what the vendor's row says are touched. Answers keep their bytes unless they depart from what
//! OpenAI would say ([`mend`]).

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use super::embeddings::Embeddings;
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable, error};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;

mod alike;
mod answer;
mod calls;
mod effort;
mod embeddings;
mod history;
mod ids;
mod mend;
mod request;
mod stream;
mod usage;

/// The dialect; vendors differ in their [quirks](crate::chat::target::Quirks) only.
#[derive(Debug, Clone, Copy)]
pub struct OpenAi {
    /// OpenTelemetry's name of the vendor.
    pub telemetry: &'static str,
}

impl Provider for OpenAi {
    fn name(&self) -> &'static str {
        self.telemetry
    }

    fn authorization(&self) -> Authorization {
        Authorization::Bearer
    }

    fn is_pass_through(&self) -> bool {
        true
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        let (needs, able) = (&request.needs, &facts.able);
        let lacks = [
            (needs.image_data || needs.image_url, able.vision, "vision"),
            (needs.audio, able.audio, "audio"),
            (needs.documents, able.documents, "documents"),
            (needs.tools, able.tools, "tools"),
            (needs.functions, !facts.quirks.only_functions, "functions"),
            (needs.custom_tools, !facts.quirks.only_functions, "custom_tools"),
            (needs.json_schema, able.json_schema, "json_schema"),
            (needs.json_mode, able.json_mode, "json_mode"),
            (needs.logprobs, able.logprobs, "logprobs"),
            (needs.n, able.n, "n"),
        ];
        lacks.into_iter().find_map(|(needed, able, what)| (needed && !able).then_some(what))
    }

    fn most_output(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
        request.output_cap.map(|cap| cap.saturating_add(effort::beside_the_cap(request, facts)))
    }

    fn fetches(&self, _: &str, facts: &TargetFacts) -> bool {
        facts.quirks.fetches_images
    }

    /// OpenAI's tiles: 85 tokens, and 170 for each 512 by 512 pixels after scaling to 2048 and then 768.
    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        const LOW: u64 = 85;
        const MOST: u64 = LOW + 170 * 8;
        let tokens = match image.pixels {
            _ if image.low_detail => (LOW, LOW),
            Some(pixels) => {
                let tokens = LOW + 170 * tiles(pixels);
                (tokens, tokens)
            }
            None => (LOW, MOST),
        };
        (Tokens::new(tokens.0), Tokens::new(tokens.1))
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        Ok(request::encode(request, facts))
    }

    fn decode(&self, body: Bytes, facts: &TargetFacts, _: &ReplyContext) -> Result<Answer, Failure> {
        answer::decode(body, facts)
    }

    fn decoder(&self, facts: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(facts, context.choices))
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}

/// How many 512-pixel tiles an image has after it was scaled.
fn tiles((width, height): (u32, u32)) -> u64 {
    let (mut width, mut height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    for (side, bound) in [(width.max(height), 2048.0), (0.0, 768.0)] {
        let side = if side > 0.0 { side } else { width.min(height) };
        let scale = (bound / side).min(1.0);
        width *= scale;
        height *= scale;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are between 1 and 2048"
    )]
    let count = |length: f64| (length / 512.0).ceil() as u64;
    count(width) * count(height)
}

#[cfg(test)]
mod tests;
