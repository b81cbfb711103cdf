//! The embeddings of a provider: like its chat, pure translation. A request that has more inputs than one call takes
//! is written in parts.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;

use super::{Encoded, Unsendable};
use crate::chat::TargetFacts;
use crate::chat::embeddings::{Batch, EmbeddingsRequest};
use crate::reason::{Class, Failure};

/// One provider's format.
pub trait Embeddings: Send + Sync {
    /// The most inputs of one call.
    fn most_inputs(&self, facts: &TargetFacts) -> usize;

    /// What the request needs and this target lacks, if anything.
    fn cannot_embed(&self, request: &EmbeddingsRequest, facts: &TargetFacts) -> Option<&'static str>;

    /// Writes the upstream request for some of the inputs.
    fn encode_part(
        &self,
        request: &EmbeddingsRequest,
        part: Range<usize>,
        facts: &TargetFacts,
    ) -> Result<Encoded, Unsendable>;

    /// Reads an answer of status 200.
    fn decode_part(&self, headers: &HeaderMap, body: Bytes, facts: &TargetFacts) -> Result<Batch, Failure>;
}

/// What the vectors are for, where the client says it as some vendors have it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Document,
    Query,
    Classification,
    Clustering,
}

impl Purpose {
    /// The purpose that `input_type` names.
    pub fn of(request: &EmbeddingsRequest) -> Option<Self> {
        Some(match request.word("input_type")?.as_str() {
            "search_document" | "document" | "passage" => Self::Document,
            "search_query" | "query" => Self::Query,
            "classification" => Self::Classification,
            "clustering" => Self::Clustering,
            _ => return None,
        })
    }
}

/// What a provider that embeds text only lacks for this request.
pub fn text_only(request: &EmbeddingsRequest) -> Option<&'static str> {
    let lacking = [
        (!request.is_text(), "token_input"),
        (request.encoding == crate::chat::embeddings::Encoding::Other, "encoding_format"),
    ];
    lacking.into_iter().find_map(|(is_lacking, what)| is_lacking.then_some(what))
}

/// The fields, present and not null, that have no place in a format of one's own; `taken` have.
pub fn hints(request: &EmbeddingsRequest, taken: &[&str]) -> Vec<&'static str> {
    let fields = ["user", "input_type", "dimensions"].into_iter();
    fields.filter(|field| !taken.contains(field) && request.member(field).is_some()).collect()
}

/// The failure of a body that is not an answer of embeddings.
pub fn unreadable(error: &serde_json::Error) -> Failure {
    let class = if error.is_eof() { Class::Truncated } else { Class::Malformed };
    Failure::new(class, format!("The upstream's answer has no embeddings that can be read: {error}."))
}
