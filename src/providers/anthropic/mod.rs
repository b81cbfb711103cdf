//! Anthropic's Messages API, at Anthropic itself and on Vertex AI.
//!
//! What OpenAI's format cannot carry travels in `reasoning_details`: each thinking block with its signature, as
//! one entry in OpenRouter's shape, which the client sends back with the assistant's message. Signatures hold
//! for one provider, so only entries of the format `anthropic-claude-v1` return to it.

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;

mod error;
mod host;
mod media;
mod messages;
mod naming;
mod request;
mod response;
mod schema;
mod stream;
mod thinking;
mod tools;
mod usage;
mod wire;

pub use self::host::Host;

/// The dialect of the Messages API.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anthropic {
    pub host: Host,
}

impl Provider for Anthropic {
    fn name(&self) -> &'static str {
        self.host.name()
    }

    fn authorization(&self) -> Authorization {
        self.host.authorization()
    }

    fn is_pass_through(&self) -> bool {
        false
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        request::lacks(request, facts)
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        media::image_tokens(image)
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        request::encode(request, facts, self.host)
    }

    fn decode(&self, body: Bytes, _: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
        response::decode(&body, context)
    }

    fn decoder(&self, _: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(context))
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}
