//! Who serves the models: the paths differ, and what the key is.

use crate::providers::path::segment;
use crate::providers::{Authorization, bedrock};
use crate::wire::framing::Framing;

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

    /// The version of the API in the body, where the model stands in the path instead.
    pub fn version_in_body(self) -> Option<&'static str> {
        match self {
            Self::Direct | Self::Vertex => None,
            Self::Bedrock => Some("bedrock-2023-05-31"),
        }
    }

    /// Whether images and documents are fetched by their URL.
    pub fn fetches(self) -> bool {
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
