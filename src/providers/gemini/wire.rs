//! Gemini's JSON: exact in what is sent, tolerant in what comes back.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::wire::few::Few;
use crate::wire::openai::Text;

/// The body of `generateContent` and `streamGenerateContent`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerateContentRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig<'a>>,
    pub contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_settings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "GenerationConfig::is_empty")]
    pub generation_config: GenerationConfig<'a>,
}

/// One turn, or (without a role) the system instruction.
#[derive(Debug, Serialize)]
pub struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    pub parts: Vec<Part<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Model,
}

/// A part and, beside it, the signature that it came with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part<'a> {
    #[serde(flatten)]
    pub data: PartData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PartData<'a> {
    Text(Cow<'a, str>),
    InlineData(Blob<'a>),
    FileData(FileData<'a>),
    FunctionCall(CallPart<'a>),
    FunctionResponse(ResponsePart<'a>),
    /// A part of an earlier answer, as Gemini wrote it, with its signature.
    #[serde(untagged)]
    AsItWas(&'a Map<String, Value>),
}

impl<'a> From<PartData<'a>> for Part<'a> {
    fn from(data: PartData<'a>) -> Self {
        Self { data, thought: None, thought_signature: None }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob<'a> {
    pub mime_type: Cow<'a, str>,
    /// Base64.
    pub data: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'static str>,
    pub file_uri: &'a str,
}

#[derive(Debug, Serialize)]
pub struct CallPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: Cow<'a, str>,
    /// An object.
    pub args: Value,
}

#[derive(Debug, Serialize)]
pub struct ResponsePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: Cow<'a, str>,
    /// An object.
    pub response: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolEntry<'a> {
    /// All functions stand in one entry.
    FunctionDeclarations(Vec<FunctionDeclaration<'a>>),
    GoogleSearch {},
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionDeclaration<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_json_schema: Option<Cow<'a, RawValue>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_calling_config: Option<FunctionCallingConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_server_side_tool_invocations: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionCallingConfig<'a> {
    pub mode: Mode,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_function_names: Vec<Cow<'a, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    Auto,
    /// A call is a must.
    Any,
    None,
    /// Text or a call, as with `AUTO`, but a call keeps to its schema, and calls can be narrowed to some functions.
    Validated,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_json_schema: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_resolution: Option<&'static str>,
}

impl GenerationConfig<'_> {
    /// Whether it would be written as `{}`.
    fn is_empty(&self) -> bool {
        let Self {
            candidate_count,
            stop_sequences,
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            seed,
            presence_penalty,
            frequency_penalty,
            response_mime_type,
            response_json_schema,
            thinking_config,
            response_logprobs,
            logprobs,
            media_resolution,
        } = self;
        let floats = [temperature, top_p, presence_penalty, frequency_penalty];
        floats.into_iter().all(Option::is_none)
            && candidate_count.is_none()
            && stop_sequences.is_empty()
            && max_output_tokens.is_none()
            && top_k.is_none()
            && seed.is_none()
            && response_mime_type.is_none()
            && response_json_schema.is_none()
            && thinking_config.is_none()
            && response_logprobs.is_none()
            && logprobs.is_none()
            && media_resolution.is_none()
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<Cow<'static, str>>,
    /// -1 lets the model choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget: Option<i64>,
}

/// `GenerateContentResponse`: a whole answer, or the new parts of one. Enums stay as they come, a word or a number.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply<'a> {
    #[serde(borrow)]
    pub candidates: Option<Few<Candidate<'a>>>,
    pub prompt_feedback: Option<PromptFeedback>,
    pub usage_metadata: Option<UsageMetadata>,
    #[serde(borrow)]
    pub model_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub response_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub create_time: Option<Text<'a>>,
    pub error: Option<Value>,
}

impl Reply<'_> {
    /// Whether it is this format at all.
    pub fn is_known(&self) -> bool {
        self.candidates.is_some() || self.prompt_feedback.is_some() || self.usage_metadata.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate<'a> {
    pub index: Option<u32>,
    #[serde(borrow)]
    pub content: Option<CandidateContent<'a>>,
    pub finish_reason: Option<Value>,
    pub finish_message: Option<String>,
    pub grounding_metadata: Option<Value>,
    pub citation_metadata: Option<Value>,
    pub logprobs_result: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct CandidateContent<'a> {
    /// Each a [`CandidatePart`], or something newer.
    #[serde(borrow)]
    pub parts: Option<Few<&'a RawValue>>,
}

/// A part of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidatePart<'a> {
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    pub thought: Option<bool>,
    pub thought_signature: Option<String>,
    pub function_call: Option<FunctionCall>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionCall {
    pub id: Option<String>,
    pub name: Option<String>,
    pub args: Option<Box<RawValue>>,
    /// Arguments in pieces, where a stream was asked for them.
    pub partial_args: Option<Vec<PartialArg>>,
    pub will_continue: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialArg {
    pub json_path: Option<String>,
    pub string_value: Option<String>,
    pub number_value: Option<Value>,
    pub bool_value: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptFeedback {
    pub block_reason: Option<Value>,
    pub block_reason_message: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageMetadata {
    #[serde(deserialize_with = "count")]
    pub prompt_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub cached_content_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub candidates_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub thoughts_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub tool_use_prompt_token_count: Option<u64>,
    pub prompt_tokens_details: Option<Few<ModalityCount>>,
    pub candidates_tokens_details: Option<Few<ModalityCount>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModalityCount {
    #[serde(default, rename = "modality", deserialize_with = "is_audio")]
    pub is_audio: bool,
    #[serde(default, deserialize_with = "count")]
    pub token_count: Option<u64>,
}

/// Whether a `Modality` is `AUDIO`, which the protocol numbers 4.
fn is_audio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let modality = <&RawValue>::deserialize(deserializer)?;
    Ok(matches!(modality.get(), r#""AUDIO""# | "4"))
}

/// A count, however it is spelt: protobuf writes large integers as strings, some proxies write floats.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a fraction of a token is nothing"
    )]
    let number = |value: Value| match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|float| float as u64)),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    Ok(Option::<Value>::deserialize(deserializer)?.and_then(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_every_spelling() {
        let usage: UsageMetadata = serde_json::from_str(
            r#"{"promptTokenCount":"7","candidatesTokenCount":3.0,"thoughtsTokenCount":null,
                "cachedContentTokenCount":-1,"promptTokensDetails":[{"modality":4,"tokenCount":2},{}]}"#,
        )
        .unwrap();
        assert_eq!(usage.prompt_token_count, Some(7));
        assert_eq!(usage.candidates_token_count, Some(3));
        assert_eq!(usage.thoughts_token_count, None);
        assert_eq!(usage.cached_content_token_count, Some(0));
        assert_eq!(usage.prompt_tokens_details.unwrap().len(), 2);
    }

    #[test]
    fn a_part_is_one_object_with_its_signature() {
        let part = Part { data: PartData::Text("a".into()), thought: None, thought_signature: Some("s") };
        assert_eq!(serde_json::to_string(&part).unwrap(), r#"{"text":"a","thoughtSignature":"s"}"#);
        let as_it_was = serde_json::json!({"toolCall": {"id": "t"}, "thoughtSignature": "s"});
        let part = Part::from(PartData::AsItWas(as_it_was.as_object().unwrap()));
        assert_eq!(serde_json::to_value(&part).unwrap(), as_it_was);
    }
}
