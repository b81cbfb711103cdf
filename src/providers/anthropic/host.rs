//! Who serves the models: the paths differ, and what the key is.

use crate::providers::Authorization;
use crate::providers::path::segment;

/// Where the Messages API is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Host {
    /// Anthropic itself: the base URL ends with `/v1`.
    #[default]
    Direct,
    /// Google Cloud's Vertex AI: the base URL ends with the location.
    Vertex,
}

impl Host {
    /// OpenTelemetry's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "anthropic",
            Self::Vertex => "gcp.vertex_ai",
        }
    }

    /// Where an API key goes. A token goes where tokens go.
    pub fn authorization(self) -> Authorization {
        match self {
            Self::Direct => Authorization::Header("x-api-key"),
            Self::Vertex => Authorization::Header("x-goog-api-key"),
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
        assert!(Host::Vertex.path("anthropic/claude-x", true).ends_with("/claude-x:streamRawPredict"));
    }
}
