//! Embeddings: OpenAI's, Cohere's, Google's and Amazon's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::{Answer, Expected, Usage, count};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::fault;

/// `api: embeddings`.
pub struct Embeddings;

impl Dialect for Embeddings {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        let body = &exchange.response.body;
        if !body["error"].is_null() {
            return fault::told(&fault::words(400, body));
        }
        // Perplexity's are bytes, which no client of OpenAI's can tell from floats.
        if exchange.provider == "perplexity" || body["embeddings"]["int8"].is_array() {
            return Expected::NotApplicable("embeddings: of bytes".to_owned());
        }
        let vectors = vectors(body);
        if vectors.is_empty() {
            return fault::only("malformed");
        }
        Expected::Answer(Answer { vectors, usage: usage(body), ..Answer::default() })
    }

    fn ask(&self, exchange: &Exchange, _: &[Value]) -> Result<Value, NotApplicable> {
        let body = exchange.asked();
        if !body["input"].is_null() {
            return Ok(body.clone());
        }
        if !body["max_tokens"].is_null() {
            return NotApplicable::because("embeddings: max_tokens");
        }
        if body["embedding_types"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind != "float")) {
            return NotApplicable::because("embeddings: of bytes");
        }
        let mut asked = json!({ "input": texts(body) });
        let dimensions = dimensions(body);
        if !dimensions.is_null() {
            asked["dimensions"] = dimensions;
        }
        Ok(asked)
    }

    /// What is embedded, and how long the vectors are. What a text is for (`input_type`, `taskType`) has no word in
    /// OpenAI's format.
    fn meaning(&self, _: &str, body: &Value, _: &Exchange) -> Value {
        json!({ "texts": texts(body), "dimensions": dimensions(body) })
    }
}

/// The texts of a request, in any of the formats.
fn texts(body: &Value) -> Value {
    let each = |list: &Value, place: &str| -> Value {
        let list = list.as_array().into_iter().flatten();
        list.map(|entry| entry.pointer(place).cloned().unwrap_or_default()).collect()
    };
    if body["input"].is_string() {
        json!([body["input"]])
    } else if body["input"].is_array() {
        body["input"].clone()
    } else if body["texts"].is_array() {
        body["texts"].clone()
    } else if body["requests"].is_array() {
        each(&body["requests"], "/content/parts/0/text")
    } else if body["instances"].is_array() {
        each(&body["instances"], "/content")
    } else if body["content"].is_object() {
        json!([body["content"]["parts"][0]["text"]])
    } else {
        json!([body["singleEmbeddingParams"]["text"]["value"]])
    }
}

fn dimensions(body: &Value) -> Value {
    let places = [
        "/dimensions",
        "/output_dimension",
        "/requests/0/outputDimensionality",
        "/outputDimensionality",
        "/parameters/outputDimensionality",
        "/singleEmbeddingParams/embeddingDimension",
    ];
    places
        .into_iter()
        .filter_map(|place| body.pointer(place))
        .find(|value| !value.is_null())
        .cloned()
        .unwrap_or_default()
}

/// The vectors of an answer, in any of the formats.
pub fn vectors(body: &Value) -> Vec<Vec<f32>> {
    let lists = [&body["data"], &body["embeddings"]["float"], &body["embeddings"], &body["predictions"]];
    let list = lists.into_iter().find_map(Value::as_array).into_iter().flatten();
    let inner = ["/embedding", "/values", "/embeddings/values"];
    list.map(|entry| vector(inner.into_iter().find_map(|place| entry.pointer(place)).unwrap_or(entry)))
        .collect()
}

/// Numbers, or base64 of floats in little endian.
fn vector(value: &Value) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are of single precision")]
    let single = |number: f64| number as f32;
    match value.as_str() {
        Some(text) => {
            let bytes = STANDARD.decode(text).unwrap_or_default();
            bytes
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect()
        }
        None => value.as_array().into_iter().flatten().filter_map(Value::as_f64).map(single).collect(),
    }
}

/// The tokens of the input, where they are told.
fn usage(body: &Value) -> Option<Usage> {
    let statistics = body["predictions"].as_array().into_iter().flatten();
    let counted: u64 = statistics.map(|entry| count(&entry["embeddings"]["statistics"]["token_count"])).sum();
    let told = [&body["usage"]["prompt_tokens"], &body["meta"]["billed_units"]["input_tokens"]];
    let prompt = told.into_iter().map(count).find(|count| *count > 0).unwrap_or(counted);
    (prompt > 0).then(|| Usage { prompt, ..Usage::default() }.summed())
}
