//! The simulated embeddings, in the form of every provider that has them.
//!
//! A vector depends on its text alone, and is one long; that is all that a test can ask of it.

mod vector;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::vector::{Vector, vector};
use super::cohere;
use super::gemini;
use super::openai::vendor::Vendor;
use super::prompt::{Incoming, Rejection};
use super::shape::{self, INVOKE, dots};

/// Whose form a request for embeddings has.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    OpenAi(&'static Vendor),
    /// One text.
    Gemini {
        vertex: bool,
    },
    /// Several.
    GeminiBatch,
    /// Vertex's older door.
    Predict,
    Cohere,
    Titan,
    CohereOnBedrock,
    Nova,
}

/// What a model answers where nothing else is asked for.
const DIMENSIONS: usize = 8;
/// Four bytes are a token.
const TOKEN: usize = 4;
/// What Gemini takes in one batch.
const BATCH: usize = 100;

/// The answer to a request for embeddings.
pub fn answer(form: Form, incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    match form {
        Form::OpenAi(vendor) => openai(vendor, incoming),
        Form::Gemini { vertex } => gemini_one(vertex, incoming),
        Form::GeminiBatch => gemini_batch(incoming),
        Form::Predict => predict(incoming),
        Form::Cohere => cohere_body(incoming, "embed"),
        Form::CohereOnBedrock => cohere_body(incoming, "bedrock"),
        Form::Titan => titan(incoming),
        Form::Nova => nova(incoming),
    }
}

fn openai(vendor: &Vendor, incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    if incoming.model.is_empty() {
        return Err(Rejection::invalid("you must provide a model parameter"));
    }
    vendor.check("embeddings", incoming)?;
    let inputs = texts(incoming.get("input").unwrap_or(&Value::Null));
    if let Some(index) = inputs.iter().position(String::is_empty) {
        let message = format!("Invalid 'input[{index}]': input cannot be an empty string.");
        return Err(Rejection::param("input", message).edit(|invalid| invalid.rule = "empty_input"));
    }
    let asked = incoming.get("dimensions").or(incoming.get("output_dimension"));
    let packed = incoming.get("encoding_format").is_some_and(|format| format == "base64");
    let data = inputs.iter().enumerate().map(|(index, text)| {
        let vector = vector(text, dimensions(asked));
        let embedding = if packed { json!(STANDARD.encode(vector.bytes())) } else { vector.json() };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let tokens: usize = inputs.iter().map(|text| tokens(text)).sum();
    Ok(json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": incoming.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    }))
}

/// A text, several, or their tokens.
fn texts(input: &Value) -> Vec<String> {
    match input {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) if values.first().is_some_and(Value::is_number) => vec![input.to_string()],
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn gemini_one(vertex: bool, incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    gemini::schema(vertex, "embed", incoming)?;
    let body = Value::Object(incoming.body.clone());
    Ok(json!({ "embedding": { "values": of_gemini(&body)?.json() } }))
}

fn gemini_batch(incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    gemini::schema(false, "batch-embed", incoming)?;
    let requests = incoming.list("requests");
    if requests.len() > BATCH {
        let message =
            format!("* BatchEmbedContentsRequest.requests: at most {BATCH} requests can be in one batch\n");
        return Err(Rejection::invalid(message).edit(|invalid| invalid.rule = "batch"));
    }
    let named = format!("models/{}", incoming.model);
    if let Some(index) = requests.iter().position(|request| request["model"] != named.as_str()) {
        let message = format!(
            "* BatchEmbedContentsRequest.requests[{index}].model: the model must be the one of the batch, {named}\n"
        );
        return Err(Rejection::invalid(message).edit(|invalid| invalid.rule = "batch_model"));
    }
    let vectors = requests.iter().map(|request| Ok(json!({ "values": of_gemini(request)?.json() })));
    Ok(json!({ "embeddings": vectors.collect::<Result<Vec<_>, Rejection>>()? }))
}

fn of_gemini(request: &Value) -> Result<Vector, Rejection> {
    let parts = request["content"]["parts"].as_array().into_iter().flatten();
    let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
    if text.is_empty() {
        let message = "* EmbedContentRequest.content: contents is not specified\n";
        return Err(Rejection::invalid(message).edit(|invalid| invalid.rule = "empty_input"));
    }
    let asked = request.get("outputDimensionality").or(request.get("output_dimensionality"));
    Ok(vector(&text, dimensions(asked)))
}

fn predict(incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    gemini::schema(true, "predict", incoming)?;
    let asked = incoming.get("parameters").and_then(|parameters| parameters.get("outputDimensionality"));
    let predictions = incoming.list("instances").iter().map(|instance| {
        let text = instance["content"].as_str().unwrap_or_default();
        let statistics = json!({ "truncated": false, "token_count": tokens(text) });
        json!({ "embeddings": { "statistics": statistics, "values": vector(text, dimensions(asked)).json() } })
    });
    Ok(json!({ "predictions": predictions.collect::<Vec<_>>() }))
}

/// Cohere's own door, and the same body behind InvokeModel.
fn cohere_body(incoming: &Incoming<'_>, door: &str) -> Result<Value, Rejection> {
    let on_bedrock = door == "bedrock";
    if on_bedrock {
        invoke("cohere", incoming)?;
    } else {
        cohere::schema("embed", incoming)?;
    }
    let given = ["texts", "images", "inputs"].iter().filter(|key| incoming.get(key).is_some()).count();
    if given != 1 {
        let message = "invalid request: exactly one of texts, images or inputs must be set";
        return Err(Rejection::invalid(message).edit(|invalid| invalid.rule = "one_input"));
    }
    let texts = incoming.list("texts");
    let tokens: usize = texts.iter().filter_map(Value::as_str).map(tokens).sum();
    let inputs = texts.iter().chain(incoming.list("images")).chain(incoming.list("inputs"));
    let inputs: Vec<String> =
        inputs.map(|input| input.as_str().map_or_else(|| input.to_string(), str::to_owned)).collect();
    let size = dimensions(incoming.get("output_dimension"));
    let asked: Vec<_> = incoming.list("embedding_types").iter().filter_map(Value::as_str).collect();
    let mut embeddings = json!({});
    for kind in if asked.is_empty() { vec!["float"] } else { asked } {
        embeddings[kind] = inputs.iter().map(|text| vector(text, size).of_kind(kind)).collect();
    }
    let mut body = json!({ "id": "mock", "embeddings": embeddings, "texts": texts });
    if on_bedrock {
        body["response_type"] = json!("embeddings_by_type");
    } else {
        body["meta"] =
            json!({ "api_version": { "version": "2" }, "billed_units": { "input_tokens": tokens } });
    }
    Ok(body)
}

fn titan(incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    invoke("titan", incoming)?;
    let text = incoming.get("inputText").and_then(Value::as_str).unwrap_or_default();
    let values = vector(text, dimensions(incoming.get("dimensions"))).json();
    Ok(json!({ "embedding": values, "inputTextTokenCount": tokens(text) }))
}

fn nova(incoming: &Incoming<'_>) -> Result<Value, Rejection> {
    invoke("nova", incoming)?;
    let params = incoming.get("singleEmbeddingParams").unwrap_or(&Value::Null);
    let Some(text) = params["text"]["value"].as_str() else {
        return Err(Rejection::invalid("singleEmbeddingParams.text.value is required"));
    };
    let values = vector(text, dimensions(params.get("embeddingDimension"))).json();
    Ok(json!({ "embeddings": [{ "embeddingType": "TEXT", "embedding": values }] }))
}

/// The words with which Bedrock refuses a model's body.
fn invoke(kind: &str, incoming: &Incoming<'_>) -> Result<(), Rejection> {
    shape::check(&INVOKE, kind, incoming.body).map_err(|departure| {
        let message = match departure.problem {
            shape::Problem::Unknown => format!("#: extraneous key [{}] is not permitted", departure.key()),
            shape::Problem::Missing => format!("#: required key [{}] not found", departure.key()),
            _ => format!("#/{}: the value is not accepted", dots(&departure.path).replace('.', "/")),
        };
        let message =
            format!("Malformed input request: {message}, please reformat your input and try again.");
        Rejection::invalid(message).edit(|invalid| invalid.rule = "schema")
    })
}

fn dimensions(asked: Option<&Value>) -> usize {
    asked
        .and_then(Value::as_u64)
        .and_then(|asked| usize::try_from(asked).ok())
        .unwrap_or(DIMENSIONS)
        .clamp(1, 8192)
}

fn tokens(text: &str) -> usize {
    text.len().div_ceil(TOKEN)
}
