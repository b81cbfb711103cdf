//! OpenAI's embeddings, and those of everybody who copies them: the client's bytes go through.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::OpenAi;
use super::answer::failure_of;
use super::request::clean_metadata;
use crate::chat::embeddings::{Batch, EmbeddingsRequest};
use crate::chat::{TargetFacts, Usage};
use crate::providers::embeddings::{Embeddings, unreadable};
use crate::providers::{Encoded, Unsendable};
use crate::reason::{Class, Failure};
use crate::units::Tokens;
use crate::wire::openai::{Number, Text, Usage as WireUsage};

/// How many inputs OpenAI takes in one call. Of those who copy it nobody takes more.
const MOST_INPUTS: usize = 2048;

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    data: Option<Vec<Entry<'a>>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<WireUsage>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    index: Option<Number>,
}

impl Embeddings for OpenAi {
    fn most_inputs(&self, _: &TargetFacts) -> usize {
        MOST_INPUTS
    }

    fn cannot_embed(&self, request: &EmbeddingsRequest, facts: &TargetFacts) -> Option<&'static str> {
        (!request.is_text() && !facts.quirks.token_input).then_some("token_input")
    }

    fn encode_part(
        &self,
        request: &EmbeddingsRequest,
        part: Range<usize>,
        facts: &TargetFacts,
    ) -> Result<Encoded, Unsendable> {
        let mut edit = request.edit();
        edit.set_text("model", &facts.model);
        for own in ["models", "fallbacks", "task_type"] {
            edit.remove(own);
        }
        clean_metadata(request.member("metadata"), &mut edit);
        if part.len() < request.count() {
            edit.set("input", request.list(part));
        }
        for (ours, theirs) in facts.quirks.renames {
            if request.member(theirs).is_some() { edit.remove(ours) } else { edit.rename(ours, theirs) }
        }
        let refused = facts.quirks.refuses.iter().copied();
        let dropped: Vec<&str> = refused.filter(|field| request.member(field).is_some()).collect();
        dropped.iter().for_each(|field| edit.remove(field));
        Ok(Encoded { path: "/embeddings".into(), body: edit.finish(), dropped, ..Encoded::default() })
    }

    fn decode_part(&self, _: &HeaderMap, body: Bytes, _: &TargetFacts) -> Result<Batch, Failure> {
        let reply: Reply<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
        if let Some(failure) = reply.error.and_then(failure_of) {
            return Err(failure);
        }
        let Some(mut data) = reply.data else {
            return Err(Failure::new(Class::Malformed, "The upstream's answer has no `data`."));
        };
        // Who numbers them means the number.
        data.sort_by_key(|entry| entry.index.map_or(0, |index| index.count));
        let vectors = data.iter().map(|entry| body.slice_ref(entry.embedding.get().as_bytes())).collect();
        let model = reply.model.map(|model| model.0.into_owned()).filter(|model| !model.is_empty());
        let usage = reply.usage.as_ref().map(usage);
        Ok(Batch { vectors, usage, model, verbatim: Some(body.clone()) })
    }
}

/// All tokens are input. Some servers count only their sum.
fn usage(wire: &WireUsage) -> Usage {
    let usage = Usage { completion: Tokens::ZERO, ..Usage::of(wire) };
    let total = Tokens::new(wire.total_tokens.map_or(0, |total| total.count));
    if usage.prompt == Tokens::ZERO { Usage { prompt: total, ..usage } } else { usage }
}
