//! Anthropic's Messages API, at Anthropic itself, on Vertex AI and on Amazon Bedrock (InvokeModel).
//!
//! What OpenAI's format cannot carry travels in `reasoning_details` to the client and back; see [`carrier`].

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable, bedrock};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;
use crate::wire::framing::Framing;

pub(super) mod blocks;
mod cache;
pub(super) mod carrier;
mod citations;
mod error;
mod generation;
mod host;
mod invoke;
pub(super) mod media;
pub(super) mod messages;
pub(super) mod naming;
mod native;
mod rate_limit;
mod received;
pub(super) mod request;
mod response;
mod schema;
mod stream;
pub(super) mod thinking;
pub(super) mod tools;
mod usage;
pub(super) mod wire;

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

    fn most_output(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
        Some(request::most_output(request, facts))
    }

    fn fetches(&self, _: &str, _: &TargetFacts) -> bool {
        self.host.fetches()
    }

    fn framing(&self) -> Framing {
        self.host.framing()
    }

    fn extras(&self) -> &'static [&'static str] {
        native::MEMBERS
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
        let messages = stream::Decoder::new(context);
        match self.host {
            Host::Direct | Host::Vertex => Box::new(messages),
            Host::Bedrock => Box::new(invoke::Decoder::new(messages)),
        }
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        match self.host {
            Host::Direct | Host::Vertex => error::classify(head, body, now),
            Host::Bedrock => bedrock::error::classify(head, body, now),
        }
    }
}
