//! Who serves the models: the paths differ, and what the key is.

use crate::providers::Authorization;
use crate::providers::path::segment;

/// Where Gemini is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Host {
    /// AI Studio.
    #[default]
    Direct,
    /// Google Cloud's Vertex AI: its base URL ends with the location.
    Vertex,
}

impl Host {
    /// OpenTelemetry's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "gcp.gemini",
            Self::Vertex => "gcp.vertex_ai",
        }
    }

    /// Where an API key goes. Vertex takes one in its express mode; a token goes where tokens go.
    pub fn authorization(self) -> Authorization {
        match self {
            Self::Direct | Self::Vertex => Authorization::Header("x-goog-api-key"),
        }
    }

    /// What is called for an answer of this model.
    pub fn path(self, model: &str, stream: bool) -> String {
        self.path_of(model, if stream { "streamGenerateContent?alt=sse" } else { "generateContent" })
    }

    /// A method of this model.
    pub fn path_of(self, model: &str, method: &str) -> String {
        let (collection, name) = match (self, model.split_once('/')) {
            (Self::Direct, Some((collection @ ("models" | "tunedModels"), name)))
            // A model that its owner tuned.
            | (Self::Vertex, Some((collection @ "endpoints", name))) => (collection, name),
            (Self::Direct, _) => ("models", model),
            (Self::Vertex, Some(("google", name))) => ("publishers/google/models", name),
            (Self::Vertex, _) => ("publishers/google/models", model),
        };
        ["/", collection, "/", &segment(name), ":", method].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_paths() {
        let path = |host: Host, model| host.path(model, false);
        assert_eq!(path(Host::Direct, "gemini-2.5-pro"), "/models/gemini-2.5-pro:generateContent");
        assert_eq!(path(Host::Direct, "tunedModels/mine"), "/tunedModels/mine:generateContent");
        let vertex = "/publishers/google/models/gemini-2.5-pro:generateContent";
        assert_eq!(path(Host::Vertex, "gemini-2.5-pro"), vertex);
        assert_eq!(path(Host::Vertex, "google/gemini-2.5-pro"), vertex);
        assert_eq!(path(Host::Vertex, "endpoints/123"), "/endpoints/123:generateContent");
        assert!(Host::Vertex.path("gemini-2.5-pro", true).ends_with(":streamGenerateContent?alt=sse"));
    }
}
