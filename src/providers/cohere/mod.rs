//! Cohere's Chat API, version 2.
//!
//! What has no equivalent and how it is met:
//!
//! - The plan that the model writes before it calls tools (`tool_plan`) is the text beside the calls: it comes out as
//!   `content`, and text beside calls goes back as the plan.
//! - Thoughts come out as `reasoning_content`, and once more in `reasoning_details` under this API's own format, from
//!   which each returns as the block that it was. Other providers' entries stay here.
//! - Citations become `url_citation` annotations. A source without an address has its id in the address's place.
//! - Files of text become `documents`, which the model may cite. The API reads no other files.
//! - `documents`, `citation_options` and `safety_mode`, the API's own fields, pass as the client gives them.
//! - Log probabilities come for the chosen tokens only: `top_logprobs` is dropped.

use std::time::SystemTime;

use bytes::Bytes;
use http::response::Parts;

use super::embeddings::Embeddings;
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable};
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;

mod citations;
pub mod embeddings;
mod error;
mod media;
mod messages;
mod names;
mod request;
mod response;
mod stream;
mod thinking;
mod tools;
mod usage;
mod wire;

pub use self::messages::REASONING_FORMAT;

/// The dialect. Its base URL ends with `/v2`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cohere;

impl Provider for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
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

    fn extras(&self) -> &'static [&'static str] {
        &["documents", "citation_options", "safety_mode"]
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        media::image_tokens(image)
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        request::encode(request, facts)
    }

    fn decode(&self, body: Bytes, _: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
        response::decode(&body, context)
    }

    fn decoder(&self, _: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(context))
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        error::classify(head, body, now)
    }
}
