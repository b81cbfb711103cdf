//! Gemini's embeddings: in batches at AI Studio; on Vertex by `predict`, or by `embedContent` for the newer models.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Gemini, Host, error};
use crate::chat::TargetFacts;
use crate::chat::embeddings::{Batch, EmbeddingsRequest, input_usage};
use crate::providers::embeddings::{Embeddings, Purpose, hints, text_only, unreadable};
use crate::providers::{Encoded, Unsendable};
use crate::reason::{Class, Failure};
use crate::wire::openai::Number;

/// The call that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Batch,
    Predict,
    Single,
}

impl Call {
    fn of(host: Host, model: &str) -> Self {
        let name = model.rsplit_once('/').map_or(model, |(_, name)| name);
        match host {
            Host::Direct => Self::Batch,
            Host::Vertex if name.starts_with("gemini-embedding-") && name != FIRST_GEMINI => Self::Single,
            Host::Vertex => Self::Predict,
        }
    }

    const fn method(self) -> &'static str {
        match self {
            Self::Batch => "batchEmbedContents",
            Self::Predict => "predict",
            Self::Single => "embedContent",
        }
    }
}

/// The Gemini model that Vertex serves as it does the ones before it, but one text at a time.
const FIRST_GEMINI: &str = "gemini-embedding-001";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct BatchBody<'a> {
    requests: Vec<EmbedContent<'a>>,
}

#[derive(Serialize)]
struct PredictBody<'a> {
    instances: Vec<Instance<'a>>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
}

#[derive(Serialize)]
struct Instance<'a> {
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

impl Parameters {
    fn is_empty(&self) -> bool {
        self.output_dimensionality.is_none()
    }
}

/// What any of the calls may answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    #[serde(borrow)]
    embeddings: Option<Vec<Values<'a>>>,
    #[serde(borrow)]
    embedding: Option<Values<'a>>,
    #[serde(borrow)]
    predictions: Option<Vec<Prediction<'a>>>,
    usage_metadata: Option<UsageMetadata>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Values<'a>,
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    token_count: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    prompt_token_count: Option<Number>,
}

impl Embeddings for Gemini {
    fn most_inputs(&self, facts: &TargetFacts) -> usize {
        match Call::of(self.host, &facts.model) {
            Call::Batch => 100,
            Call::Predict if facts.model.ends_with(FIRST_GEMINI) => 1,
            Call::Predict => 250,
            Call::Single => 1,
        }
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
        let call = Call::of(self.host, &facts.model);
        let task_type = Purpose::of(request).map(task_type);
        let output_dimensionality = request.dimensions;
        let path = self.host.path_of(&facts.model, call.method());
        let resource = path.trim_start_matches('/').split(':').next().unwrap_or_default();
        let model = (call == Call::Batch).then_some(resource);
        let content = |text| Content { parts: [Part { text }] };
        let one = |text| EmbedContent { model, content: content(text), task_type, output_dimensionality };
        let texts = request.texts(part)?.into_iter();
        let body = match call {
            Call::Batch => Encoded::json(&BatchBody { requests: texts.map(one).collect() }),
            Call::Single => Encoded::json(&texts.map(one).next()),
            Call::Predict => Encoded::json(&PredictBody {
                instances: texts.map(|content| Instance { content, task_type }).collect(),
                parameters: Parameters { output_dimensionality },
            }),
        }?;
        let mut taken = vec!["dimensions"];
        taken.extend(task_type.map(|_| "input_type"));
        let dropped = hints(request, &taken);
        Ok(Encoded { path, body, dropped, ..Encoded::default() })
    }

    fn decode_part(&self, _: &HeaderMap, body: Bytes, _: &TargetFacts) -> Result<Batch, Failure> {
        let reply: Reply<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
        if reply.error.is_some() {
            let value = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
            return Err(error::of_value(&value));
        }
        let predicted = reply.predictions.map(|all| all.into_iter().map(|one| one.embeddings).collect());
        let single = reply.embedding.map(|one| vec![one]);
        let Some(values): Option<Vec<Values<'_>>> = reply.embeddings.or(predicted).or(single) else {
            return Err(Failure::new(Class::Malformed, "The upstream's answer has no embeddings."));
        };
        let count = |number: Option<Number>| number.map(|number| number.count);
        let counted = values.iter().map(|one| count(one.statistics.as_ref()?.token_count));
        let tokens = count(reply.usage_metadata.and_then(|usage| usage.prompt_token_count));
        let tokens = tokens.or_else(|| counted.sum::<Option<u64>>());
        let vectors = values.iter().map(|one| body.slice_ref(one.values.get().as_bytes())).collect();
        Ok(Batch { vectors, usage: tokens.map(input_usage), ..Batch::default() })
    }
}

fn task_type(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Document => "RETRIEVAL_DOCUMENT",
        Purpose::Query => "RETRIEVAL_QUERY",
        Purpose::Classification => "CLASSIFICATION",
        Purpose::Clustering => "CLUSTERING",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::conformance::facts;

    fn sent(host: Host, model: &str, more: &str) -> (String, Value) {
        let body = format!(r#"{{"model":"m","input":["a","b"]{more}}}"#);
        let request = EmbeddingsRequest::parse(body.into()).unwrap();
        let gemini = Gemini { host };
        let most = gemini.most_inputs(&facts(model)).min(2);
        let encoded = gemini.encode_part(&request, 0..most, &facts(model)).unwrap();
        (encoded.path, serde_json::from_slice(&encoded.body.concat()).unwrap())
    }

    #[test]
    fn each_model_is_called_as_it_takes_it() {
        let (path, body) = sent(Host::Vertex, "text-embedding-004", r#","dimensions":768"#);
        assert_eq!(path, "/publishers/google/models/text-embedding-004:predict");
        let instances = json!([{"content": "a"}, {"content": "b"}]);
        assert_eq!(body, json!({"instances": instances, "parameters": {"outputDimensionality": 768}}));
        let (path, body) = sent(Host::Vertex, FIRST_GEMINI, r#","input_type":"query""#);
        assert_eq!(path, "/publishers/google/models/gemini-embedding-001:predict");
        assert_eq!(body, json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"}]}));
        let (path, body) = sent(Host::Vertex, "gemini-embedding-2", "");
        assert_eq!(path, "/publishers/google/models/gemini-embedding-2:embedContent");
        assert_eq!(body, json!({"content": {"parts": [{"text": "a"}]}}));
        let (path, body) = sent(Host::Direct, "gemini-embedding-2", "");
        assert_eq!(path, "/models/gemini-embedding-2:batchEmbedContents");
        assert_eq!(
            body["requests"][1],
            json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "b"}]}})
        );
    }

    #[test]
    fn every_answer_is_read_with_its_digits() {
        let read = |body: &'static str| {
            let gemini = Gemini::default();
            gemini.decode_part(&HeaderMap::new(), Bytes::from_static(body.as_bytes()), &facts("m"))
        };
        let cases = [
            (r#"{"embeddings":[{"values":[0.10,-2e0]}],"usageMetadata":{"promptTokenCount":4}}"#, Some(4)),
            (r#"{"embeddings":[{"values":[0.10,-2e0]}]}"#, None),
            (r#"{"embedding":{"values":[0.10,-2e0]},"usageMetadata":{"promptTokenCount":4}}"#, Some(4)),
            (
                r#"{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":[0.10,-2e0]}}]}"#,
                Some(6),
            ),
        ];
        for (body, tokens) in cases {
            let batch = read(body).unwrap();
            assert_eq!(batch.vectors, [Bytes::from_static(b"[0.10,-2e0]")], "{body}");
            assert_eq!(batch.usage.map(|usage| usage.prompt.get()), tokens, "{body}");
        }
        assert_eq!(read("{}").unwrap_err().class, Class::Malformed);
        assert_eq!(read(r#"{"embeddings":["#).unwrap_err().class, Class::Truncated);
        let quota = r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#;
        assert_eq!(read(quota).unwrap_err().class, Class::RateLimited);
    }
}
