//! Embeddings by InvokeModel, in the format of each model's maker. The tokens stand in a header of the answer.

use std::ops::Range;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Bedrock, path};
use crate::chat::TargetFacts;
use crate::chat::embeddings::{Batch, EmbeddingsRequest, input_usage};
use crate::providers::cohere::embeddings as cohere;
use crate::providers::embeddings::{Embeddings, Purpose, hints, text_only, unreadable};
use crate::providers::{Encoded, Unsendable};
use crate::reason::{Class, Failure};
use crate::wire::openai::Number;

const TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");

/// Whose format a model's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Cohere,
    /// The first Titan models, of one length.
    Titan,
    TitanV2,
    TitanImage,
    Nova,
}

impl Maker {
    fn of(model: &str) -> Option<Self> {
        let is = |part: &str| model.contains(part);
        Some(match model {
            _ if is("cohere.embed") => Self::Cohere,
            _ if is("titan-embed-text-v2") => Self::TitanV2,
            _ if is("titan-embed-image") => Self::TitanImage,
            _ if is("titan-embed") => Self::Titan,
            _ if is("nova") && is("embeddings") => Self::Nova,
            _ => return None,
        })
    }
}

/// What Amazon's own models answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow)]
    embeddings: Option<Vec<Entry<'a>>>,
    input_text_token_count: Option<Number>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

impl Embeddings for Bedrock {
    fn most_inputs(&self, facts: &TargetFacts) -> usize {
        if Maker::of(&facts.model) == Some(Maker::Cohere) { cohere::MOST_TEXTS } else { 1 }
    }

    fn cannot_embed(&self, request: &EmbeddingsRequest, facts: &TargetFacts) -> Option<&'static str> {
        let maker = Maker::of(&facts.model);
        if maker == Some(Maker::Titan) && request.dimensions.is_some() {
            return Some("dimensions");
        }
        if maker.is_none() { Some("embeddings") } else { text_only(request) }
    }

    fn encode_part(
        &self,
        request: &EmbeddingsRequest,
        part: Range<usize>,
        facts: &TargetFacts,
    ) -> Result<Encoded, Unsendable> {
        let maker = Maker::of(&facts.model).ok_or(Unsendable::Lacks("embeddings"))?;
        let body = if maker == Maker::Cohere {
            Encoded::json(&cohere::Body::of(request, part)?)
        } else {
            let text = request.texts(part)?.into_iter().next().unwrap_or_default();
            Encoded::json(&amazon(maker, request, &text))
        }?;
        let taken: &[&str] = match maker {
            Maker::Cohere | Maker::Nova => &["dimensions", "input_type"],
            Maker::Titan | Maker::TitanV2 | Maker::TitanImage => &["dimensions"],
        };
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        Ok(Encoded {
            path: path(&facts.model, "invoke"),
            headers,
            body,
            dropped: hints(request, taken),
            ..Encoded::default()
        })
    }

    fn decode_part(&self, headers: &HeaderMap, body: Bytes, facts: &TargetFacts) -> Result<Batch, Failure> {
        let batch =
            if Maker::of(&facts.model) == Some(Maker::Cohere) { cohere::read(&body)? } else { read(&body)? };
        let told = headers.get(TOKENS).and_then(|count| count.to_str().ok()?.parse().ok());
        Ok(Batch { usage: told.map(input_usage).or(batch.usage), ..batch })
    }
}

/// One text for one of Amazon's own models.
fn amazon(maker: Maker, request: &EmbeddingsRequest, text: &str) -> Value {
    let mut body = json!({ "inputText": text });
    match (maker, request.dimensions) {
        (Maker::Nova, dimensions) => {
            let purpose = match Purpose::of(request) {
                None | Some(Purpose::Document) => "GENERIC_INDEX",
                Some(Purpose::Query) => "GENERIC_RETRIEVAL",
                Some(Purpose::Classification) => "CLASSIFICATION",
                Some(Purpose::Clustering) => "CLUSTERING",
            };
            let text = json!({ "truncationMode": "NONE", "value": text });
            let mut parameters = json!({ "embeddingPurpose": purpose, "text": text });
            if let Some(dimensions) = dimensions {
                parameters["embeddingDimension"] = dimensions.into();
            }
            body = json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters });
        }
        (Maker::TitanV2, Some(dimensions)) => body["dimensions"] = dimensions.into(),
        (Maker::TitanImage, Some(dimensions)) => {
            body["embeddingConfig"] = json!({ "outputEmbeddingLength": dimensions });
        }
        (Maker::Cohere | Maker::Titan | Maker::TitanV2 | Maker::TitanImage, _) => {}
    }
    body
}

fn read(body: &Bytes) -> Result<Batch, Failure> {
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let first = reply.embeddings.and_then(|entries| entries.into_iter().next()).map(|entry| entry.embedding);
    let Some(vector) = reply.embedding.or(first) else {
        return Err(Failure::new(Class::Malformed, "The upstream's answer has no embedding."));
    };
    let usage = reply.input_text_token_count.map(|tokens| input_usage(tokens.count));
    Ok(Batch { vectors: vec![body.slice_ref(vector.get().as_bytes())], usage, ..Batch::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::conformance::facts;

    fn request(more: &str) -> EmbeddingsRequest {
        EmbeddingsRequest::parse(format!(r#"{{"model":"m","input":["a","b"]{more}}}"#).into()).unwrap()
    }

    fn sent(model: &str, more: &str) -> (String, Value) {
        let most = Bedrock.most_inputs(&facts(model)).min(2);
        let encoded = Bedrock.encode_part(&request(more), 0..most, &facts(model)).unwrap();
        (encoded.path, serde_json::from_slice(&encoded.body.concat()).unwrap())
    }

    #[test]
    fn every_makers_format_is_written() {
        let cases = [
            ("amazon.titan-embed-text-v1", "", json!({"inputText": "a"})),
            (
                "amazon.titan-embed-text-v2:0",
                r#","dimensions":256"#,
                json!({"inputText": "a", "dimensions": 256}),
            ),
            (
                "us.cohere.embed-v4:0",
                r#","dimensions":512,"input_type":"clustering""#,
                json!({"texts": ["a", "b"], "input_type": "clustering", "embedding_types": ["float"], "output_dimension": 512}),
            ),
            (
                "amazon.nova-2-multimodal-embeddings-v1:0",
                r#","dimensions":256"#,
                json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_INDEX",
                    "text": {"truncationMode": "NONE", "value": "a"},
                    "embeddingDimension": 256,
                }}),
            ),
        ];
        for (model, more, expected) in cases {
            assert_eq!(sent(model, more).1, expected, "{model}");
        }
        assert_eq!(sent("us.cohere.embed-v4:0", "").0, "/model/us.cohere.embed-v4%3A0/invoke");
        let lacks = |model, more| Bedrock.cannot_embed(&request(more), &facts(model));
        assert_eq!(lacks("amazon.nova-pro-v1:0", ""), Some("embeddings"));
        assert_eq!(lacks("amazon.titan-embed-text-v1", r#","dimensions":256"#), Some("dimensions"));
        assert_eq!(lacks("amazon.titan-embed-text-v2:0", r#","dimensions":256"#), None);
    }

    #[test]
    fn every_makers_answer_is_read_with_the_tokens_of_its_header() {
        let bodies = [
            ("amazon.titan-embed-text-v2:0", r#"{"embedding":[1.5,-2],"inputTextTokenCount":3}"#),
            (
                "amazon.nova-2-multimodal-embeddings-v1:0",
                r#"{"embeddings":[{"embeddingType":"TEXT","embedding":[1.5,-2]}]}"#,
            ),
            (
                "cohere.embed-v4:0",
                r#"{"embeddings":{"float":[[1.5,-2]]},"id":"x","response_type":"embeddings_by_type"}"#,
            ),
            ("cohere.embed-english-v3", r#"{"embeddings":[[1.5,-2]],"id":"x","texts":["a"]}"#),
        ];
        for (model, body) in bodies {
            let headers = HeaderMap::from_iter([(TOKENS, HeaderValue::from_static("7"))]);
            let read =
                |headers| Bedrock.decode_part(headers, Bytes::from_static(body.as_bytes()), &facts(model));
            let batch = read(&headers).unwrap();
            assert_eq!(
                (&batch.vectors[..], batch.usage),
                (&[Bytes::from_static(b"[1.5,-2]")][..], Some(input_usage(7)))
            );
            let untold = read(&HeaderMap::new()).unwrap().usage;
            assert_eq!(untold, body.contains("Count").then(|| input_usage(3)), "{model}");
        }
    }
}
