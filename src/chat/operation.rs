//! What a client may ask for. Chains, layers and records treat all of it alike.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::embeddings::EmbeddingsRequest;
use super::request::{ChatRequest, InputSize, Invalid, OwnFields};

/// A kind of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Operation {
    #[default]
    Chat,
    Embeddings,
}

impl Operation {
    /// OpenTelemetry's `gen_ai.operation.name`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// A request of any kind.
#[derive(Debug, Clone)]
pub enum Request {
    Chat(Arc<ChatRequest>),
    Embeddings(Arc<EmbeddingsRequest>),
}

impl Request {
    /// The logical model that the client asked for.
    pub fn model(&self) -> &str {
        match self {
            Self::Chat(request) => &request.model,
            Self::Embeddings(request) => &request.model,
        }
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Chat(request) => request.body(),
            Self::Embeddings(request) => request.body(),
        }
    }

    /// Piton's own fields.
    pub fn own(&self) -> &OwnFields {
        match self {
            Self::Chat(request) => &request.own,
            Self::Embeddings(request) => &request.own,
        }
    }

    /// Whether the client wants a stream.
    pub fn stream(&self) -> bool {
        match self {
            Self::Chat(request) => request.stream,
            Self::Embeddings(_) => false,
        }
    }

    /// Whether the client wants the token counts in its stream.
    pub fn include_usage(&self) -> bool {
        match self {
            Self::Chat(request) => request.include_usage,
            Self::Embeddings(_) => false,
        }
    }

    /// Whether the client asks the model to think first.
    pub fn thinks(&self) -> bool {
        match self {
            Self::Chat(request) => request.needs.thinks == Some(true),
            Self::Embeddings(_) => false,
        }
    }

    /// How large the input is.
    pub fn size(&self) -> &InputSize {
        match self {
            Self::Chat(request) => &request.size,
            Self::Embeddings(request) => &request.size,
        }
    }

    /// How many bytes of text the input has, where it is nothing but text.
    pub fn all_text(&self) -> Option<u64> {
        match self {
            Self::Chat(request) => request.is_counted().then_some(request.size.text_bytes),
            Self::Embeddings(request) => request.is_text().then_some(request.size.text_bytes),
        }
    }

    /// The same request with some top-level members replaced or added: what `fallbacks` parameters do.
    pub fn with_parameters(&self, parameters: &Map<String, Value>) -> Result<Self, Invalid> {
        Ok(match self {
            Self::Chat(request) => Self::Chat(Arc::new(request.with_parameters(parameters)?)),
            Self::Embeddings(request) => Self::Embeddings(Arc::new(request.with_parameters(parameters)?)),
        })
    }
}

impl From<Arc<ChatRequest>> for Request {
    fn from(request: Arc<ChatRequest>) -> Self {
        Self::Chat(request)
    }
}
