//! Who serves the models: the paths differ, what the key is, and where the model's name stands and the features
//! that are not for everyone yet.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::generation::Generation;
use super::wire::Envelope;
use crate::providers::path::segment;
use crate::providers::{Authorization, bedrock};
use crate::wire::framing::Framing;

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Where the Messages API is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Host {
    /// Anthropic itself: the base URL ends with `/v1`.
    #[default]
    Direct,
    /// Google Cloud's Vertex AI: the base URL ends with the location.
    Vertex,
    /// Amazon Bedrock's InvokeModel: the base URL has no path.
    Bedrock,
}

impl Host {
    /// OpenTelemetry's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "anthropic",
            Self::Vertex => "gcp.vertex_ai",
            Self::Bedrock => "aws.bedrock",
        }
    }

    /// Where an API key goes. A token goes where tokens go.
    pub fn authorization(self) -> Authorization {
        match self {
            Self::Direct => Authorization::Header("x-api-key"),
            Self::Vertex => Authorization::Header("x-goog-api-key"),
            Self::Bedrock => Authorization::Bearer,
        }
    }

    /// What the body says of model, version and features.
    pub fn envelope(self, model: &str, betas: Vec<String>) -> Envelope<'_> {
        let version = match self {
            Self::Direct => return Envelope { model: Some(model), ..Envelope::default() },
            Self::Vertex => "vertex-2023-10-16",
            Self::Bedrock => "bedrock-2023-05-31",
        };
        Envelope { model: None, anthropic_version: Some(version), anthropic_beta: betas }
    }

    /// The headers that say the same, and of the tier what the body does not.
    pub fn headers(self, betas: &[String], tier: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Direct => {
                headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
                let betas = Some(betas.join(",")).filter(|betas| !betas.is_empty());
                if let Some(betas) = betas.and_then(|betas| HeaderValue::try_from(betas).ok()) {
                    headers.insert("anthropic-beta", betas);
                }
            }
            Self::Vertex => {}
            Self::Bedrock => {
                if let Some(tier) = tier {
                    headers.insert("x-amzn-bedrock-service-tier", HeaderValue::from_static(tier));
                }
            }
        }
        headers
    }

    /// Whether the body says that a stream is wanted, and of which tier: elsewhere path and headers do.
    pub fn asks_in_body(self) -> bool {
        match self {
            Self::Direct | Self::Vertex => true,
            Self::Bedrock => false,
        }
    }

    /// The tier in this host's words; `Err` for one that it does not have.
    pub fn service_tier(self, tier: &str) -> Result<Option<&'static str>, ()> {
        match (self, tier) {
            (Self::Bedrock, "auto") => Ok(None),
            (Self::Bedrock, "default") => Ok(Some("default")),
            (Self::Bedrock, "flex") => Ok(Some("flex")),
            (Self::Bedrock, "priority") => Ok(Some("priority")),
            (Self::Direct | Self::Vertex, "auto") => Ok(Some("auto")),
            (Self::Direct | Self::Vertex, "default" | "standard_only") => Ok(Some("standard_only")),
            (Self::Direct | Self::Vertex | Self::Bedrock, _) => Err(()),
        }
    }

    /// Whether a model takes system turns here.
    pub fn takes_system_turns(self, generation: Option<Generation>) -> bool {
        match self {
            Self::Direct | Self::Vertex => generation.is_some_and(Generation::takes_system_turns),
            Self::Bedrock => false,
        }
    }

    /// Whether images and documents are fetched by their URL, and uploaded files known.
    pub fn fetches(self) -> bool {
        match self {
            Self::Direct => true,
            Self::Vertex | Self::Bedrock => false,
        }
    }

    /// Whether the web is searched.
    pub fn searches(self) -> bool {
        match self {
            Self::Direct | Self::Vertex => true,
            Self::Bedrock => false,
        }
    }

    /// How the messages of a streamed answer are told apart.
    pub fn framing(self) -> Framing {
        match self {
            Self::Direct | Self::Vertex => Framing::Sse,
            Self::Bedrock => Framing::EventStream,
        }
    }

    /// What is called for an answer of this model.
    pub fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Direct => "/messages".to_owned(),
            Self::Vertex => {
                let method = if stream { "streamRawPredict" } else { "rawPredict" };
                let name = model.strip_prefix("anthropic/").unwrap_or(model);
                format!("/publishers/anthropic/models/{}:{method}", segment(name))
            }
            Self::Bedrock => {
                bedrock::path(model, if stream { "invoke-with-response-stream" } else { "invoke" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_paths() {
        assert_eq!(Host::Direct.path("claude-sonnet-4-5", true), "/messages");
        let path = "/publishers/anthropic/models/claude-sonnet-4-5%4020250929:rawPredict";
        assert_eq!(Host::Vertex.path("claude-sonnet-4-5@20250929", false), path);
        let path = "/model/us.anthropic.claude-opus-4-6-v1/invoke";
        assert_eq!(Host::Bedrock.path("us.anthropic.claude-opus-4-6-v1", false), path);
        assert!(Host::Bedrock.path("claude-v1:0", true).ends_with("v1%3A0/invoke-with-response-stream"));
        assert!(Host::Vertex.path("anthropic/claude-x", true).ends_with("/claude-x:streamRawPredict"));
    }
}
