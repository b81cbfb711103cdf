//! `POST /embed`. Version 3 models and later want to know what the vectors are for: documents, if nobody says.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Cohere;
use crate::chat::TargetFacts;
use crate::chat::embeddings::{Batch, EmbeddingsRequest, input_usage};
use crate::chat::request::Invalid;
use crate::providers::embeddings::{Embeddings, Purpose, hints, text_only, unreadable};
use crate::providers::{Encoded, Unsendable};
use crate::reason::{Class, Failure};
use crate::wire::openai::Number;

/// How many texts one call takes.
pub const MOST_TEXTS: usize = 96;

/// The body, here and where Cohere's models are served by others.
#[derive(Serialize)]
pub struct Body<'a> {
    /// Left out where the path names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    texts: Vec<Cow<'a, str>>,
    input_type: &'static str,
    embedding_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u64>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<BilledUnits>,
}

#[derive(Deserialize)]
struct BilledUnits {
    input_tokens: Option<Number>,
}

#[derive(Deserialize)]
struct ByType<'a> {
    #[serde(borrow)]
    float: Vec<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Some of the texts.
    pub fn of(request: &'a EmbeddingsRequest, part: Range<usize>) -> Result<Self, Invalid> {
        let input_type = match Purpose::of(request).unwrap_or(Purpose::Document) {
            Purpose::Document => "search_document",
            Purpose::Query => "search_query",
            Purpose::Classification => "classification",
            Purpose::Clustering => "clustering",
        };
        Ok(Self {
            model: None,
            texts: request.texts(part)?,
            input_type,
            embedding_types: ["float"],
            output_dimension: request.dimensions,
        })
    }
}

/// Reads an answer: the vectors by their type, or, of older models, the vectors alone.
pub fn read(body: &Bytes) -> Result<Batch, Failure> {
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let Some(raw) = reply.embeddings else {
        return Err(Failure::new(Class::Malformed, "The upstream's answer has no embeddings."));
    };
    let vectors = if raw.get().starts_with('{') {
        serde_json::from_str(raw.get()).map(|ByType { float }| float)
    } else {
        serde_json::from_str::<Vec<&RawValue>>(raw.get())
    };
    let vectors = vectors.map_err(|error| unreadable(&error))?;
    let vectors = vectors.iter().map(|vector| body.slice_ref(vector.get().as_bytes())).collect();
    let billed = reply.meta.and_then(|meta| meta.billed_units);
    let tokens = billed.and_then(|billed| billed.input_tokens).map(|tokens| tokens.count);
    Ok(Batch { vectors, usage: tokens.map(input_usage), ..Batch::default() })
}

impl Embeddings for Cohere {
    fn most_inputs(&self, _: &TargetFacts) -> usize {
        MOST_TEXTS
    }

    fn cannot_embed(&self, request: &EmbeddingsRequest, _: &TargetFacts) -> Option<&'static str> {
        text_only(request)
    }

    fn encode_part(
        &self,
        request: &EmbeddingsRequest,
        part: Range<usize>,
        facts: &TargetFacts,
    ) -> Result<Encoded, Unsendable> {
        let body = Body { model: Some(&facts.model), ..Body::of(request, part)? };
        let body = Encoded::json(&body)?;
        let dropped = hints(request, &["dimensions", "input_type"]);
        Ok(Encoded { path: "/embed".into(), body, dropped, ..Encoded::default() })
    }

    fn decode_part(&self, _: &HeaderMap, body: Bytes, _: &TargetFacts) -> Result<Batch, Failure> {
        read(&body)
    }
}
