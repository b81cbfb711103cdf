//! Amazon Bedrock's Converse API: one format for the models of many makers.
//!
//! What the makers differ in ([`family`]) travels in `additionalModelRequestFields`, whose keys are the maker's own.
//! Signed reasoning goes to the client and back in `reasoning_details`: Claude's text under the format that its
//! own API's answers have as well, since its signatures hold on every platform; everything else under
//! `bedrock-converse-v1`.

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use super::embeddings::Embeddings;
use super::path::segment;
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable, anthropic};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;
use crate::wire::framing::Framing;

mod cache;
mod documents;
mod embeddings;
pub mod error;
mod family;
mod media;
mod messages;
mod reasoning;
mod request;
mod response;
mod stream;
mod tools;
mod usage;
mod wire;

/// Marks the entries of `reasoning_details` that only this API takes back.
pub const REASONING_FORMAT: &str = "bedrock-converse-v1";

/// The dialect of Converse and ConverseStream. Its base URL has no path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bedrock;

impl Provider for Bedrock {
    fn name(&self) -> &'static str {
        "aws.bedrock"
    }

    fn authorization(&self) -> Authorization {
        Authorization::Bearer
    }

    fn is_pass_through(&self) -> bool {
        false
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        request::lacks(request, facts)
    }

    fn most_output(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
        request::most_output(request, facts)
    }

    fn extras(&self) -> &'static [&'static str] {
        request::EXTRAS
    }

    fn fetches(&self, _: &str, _: &TargetFacts) -> bool {
        false
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        // The makers count differently; none more than Claude at its finest.
        (Tokens::new(1), anthropic::media::image_tokens(image).1)
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        request::encode(request, facts)
    }

    fn decode(&self, body: Bytes, facts: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
        response::decode(&body, facts, context)
    }

    fn decoder(&self, facts: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(facts, context))
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}

/// Whether a model's id may be that of one of Anthropic's: an ARN may name none.
pub fn may_be_claude(model: &str) -> bool {
    model.contains("claude") || model.starts_with("arn:")
}

/// What is called of a model: `/model/{id}/{operation}`. An id may be an ARN.
pub fn path(model: &str, operation: &str) -> String {
    format!("/model/{}/{operation}", segment(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_arns_are_one_segment() {
        assert_eq!(path("amazon.nova-micro-v1:0", "converse"), "/model/amazon.nova-micro-v1%3A0/converse");
        assert_eq!(
            path("arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.x", "converse-stream"),
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A012345678901%3Ainference-profile%2Fus.x/converse-stream"
        );
    }
}
