//! OpenAI's dialect as Azure serves it: the same bodies behind other paths, with the key in a header of its own.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;

use super::compatible::MAX_TOKENS;
use super::embeddings::Embeddings;
use super::openai::OpenAi;
use super::path::segment;
use super::surface::{Api, Surface};
use super::{Authorization, Encoded, EventDecoder, Provider, ReplyContext, Unsendable};
use crate::chat::embeddings::{Batch, EmbeddingsRequest};
use crate::chat::request::Image;
use crate::chat::target::Quirks;
use crate::chat::{Answer, ChatRequest, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;

/// The dialect of Azure OpenAI and of Azure AI Foundry.
#[derive(Debug, Clone)]
pub struct Azure {
    openai: OpenAi,
    has_deployments: bool,
    api_version: Option<String>,
}

/// OpenTelemetry's name of Foundry's own inference API.
const FOUNDRY: &str = "azure.ai.inference";

/// The first version of deployments' paths that takes `stream_options`.
const STREAM_OPTIONS: &str = "2024-09";
/// The first version that knows the newer name of the output cap.
const MAX_COMPLETION_TOKENS: &str = "2024-09-01";

/// What the older versions do not take. Versions are dates, which sort as text does; a word (`preview`) is newer.
pub fn quirks(surface: &Surface) -> Quirks {
    let is_before = |first: &str| surface.api_version.as_deref().is_some_and(|version| version < first);
    Quirks {
        renames: if is_before(MAX_COMPLETION_TOKENS) { &[MAX_TOKENS] } else { &[] },
        new_cap_for_reasoning: !is_before(MAX_COMPLETION_TOKENS),
        stream_options: surface.api != Some(Api::Deployments) || !is_before(STREAM_OPTIONS),
        ..Quirks::OPENAI
    }
}

impl Azure {
    /// `telemetry` is OpenTelemetry's name of the service where OpenAI's own paths are called.
    pub fn new(telemetry: &'static str, surface: &Surface) -> Self {
        let telemetry = if surface.api == Some(Api::Models) { FOUNDRY } else { telemetry };
        Self {
            openai: OpenAi { telemetry },
            has_deployments: surface.api == Some(Api::Deployments),
            api_version: surface.api_version.clone(),
        }
    }

    fn path(&self, model: &str, operation: &str) -> String {
        let mut path = String::new();
        if self.has_deployments {
            path.push_str("/deployments/");
            path.push_str(&segment(model));
        }
        path.push_str(operation);
        if let Some(version) = &self.api_version {
            path.push_str("?api-version=");
            path.push_str(&segment(version));
        }
        path
    }
}

impl Embeddings for Azure {
    fn most_inputs(&self, facts: &TargetFacts) -> usize {
        self.openai.most_inputs(facts)
    }

    fn cannot_embed(&self, request: &EmbeddingsRequest, facts: &TargetFacts) -> Option<&'static str> {
        self.openai.cannot_embed(request, facts)
    }

    fn encode_part(
        &self,
        request: &EmbeddingsRequest,
        part: Range<usize>,
        facts: &TargetFacts,
    ) -> Result<Encoded, Unsendable> {
        let encoded = self.openai.encode_part(request, part, facts)?;
        Ok(Encoded { path: self.path(&facts.model, &encoded.path), ..encoded })
    }

    fn decode_part(&self, headers: &HeaderMap, body: Bytes, facts: &TargetFacts) -> Result<Batch, Failure> {
        self.openai.decode_part(headers, body, facts)
    }
}

impl Provider for Azure {
    fn name(&self) -> &'static str {
        self.openai.telemetry
    }

    fn authorization(&self) -> Authorization {
        Authorization::Header("api-key")
    }

    fn is_pass_through(&self) -> bool {
        self.openai.is_pass_through()
    }

    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
        self.openai.lacks(request, facts)
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        self.openai.image_tokens(image)
    }

    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
        let encoded = self.openai.encode(request, facts)?;
        Ok(Encoded { path: self.path(&facts.model, &encoded.path), ..encoded })
    }

    fn decode(&self, body: Bytes, facts: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure> {
        self.openai.decode(body, facts, context)
    }

    fn decoder(&self, facts: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder> {
        self.openai.decoder(facts, context)
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        Some(self)
    }

    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure {
        self.openai.classify(head, body, now)
    }
}
