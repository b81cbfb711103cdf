//! The request in full, typed: what an adapter needs that writes another format.
//!
//! It is strict about what it knows (a wrong type is the client's error) and silent about what it does not know:
//! unknown members stay in the client's bytes, for the targets that take those.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use super::choice::ToolChoice;

/// A `POST /v1/chat/completions` body.
#[derive(Debug, Deserialize)]
pub struct Conversation {
    pub messages: Vec<Message>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    #[serde(default, deserialize_with = "whole")]
    pub max_completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "whole")]
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// Not OpenAI's, but many clients send it.
    #[serde(default, deserialize_with = "whole")]
    pub top_k: Option<u64>,
    #[serde(default, deserialize_with = "one_or_many")]
    pub stop: Vec<String>,
    #[serde(default, deserialize_with = "whole")]
    pub seed: Option<i64>,
    #[serde(default, deserialize_with = "whole")]
    pub n: Option<u32>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    #[serde(default, deserialize_with = "whole")]
    pub top_logprobs: Option<u32>,
    #[serde(default, deserialize_with = "effort")]
    pub reasoning_effort: Option<Effort>,
    pub user: Option<String>,
    pub service_tier: Option<String>,
    // Fields that no other dialect has a place for; only their presence matters.
    logit_bias: Option<IgnoredAny>,
    prediction: Option<IgnoredAny>,
    store: Option<IgnoredAny>,
    modalities: Option<IgnoredAny>,
    web_search_options: Option<IgnoredAny>,
    verbosity: Option<IgnoredAny>,
    prompt_cache_key: Option<IgnoredAny>,
    safety_identifier: Option<IgnoredAny>,
}

impl Conversation {
    /// The request's members that are read here, and so are a dialect's to carry over or to list as dropped.
    pub const FIELDS: &[&str] = &[
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "top_logprobs",
        "reasoning_effort",
        "user",
        "service_tier",
        "logit_bias",
        "prediction",
        "store",
        "modalities",
        "web_search_options",
        "verbosity",
        "prompt_cache_key",
        "safety_identifier",
    ];

    /// The client's cap on the answer, under either of its two names.
    pub fn output_cap(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// The request's fields, present and not null, that only OpenAI's own format can carry.
    pub fn openai_only(&self) -> Vec<&'static str> {
        let fields = [
            ("logit_bias", &self.logit_bias),
            ("prediction", &self.prediction),
            ("store", &self.store),
            ("modalities", &self.modalities),
            ("web_search_options", &self.web_search_options),
            ("verbosity", &self.verbosity),
            ("prompt_cache_key", &self.prompt_cache_key),
            ("safety_identifier", &self.safety_identifier),
        ];
        fields.into_iter().filter_map(|(name, field)| field.is_some().then_some(name)).collect()
    }
}

/// One message of the history.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WireMessage")]
pub enum Message {
    /// `system` or its newer name `developer`.
    System(Content),
    User(Content),
    Assistant(AssistantMessage),
    Tool(ToolMessage),
}

#[derive(Debug)]
pub struct AssistantMessage {
    pub content: Content,
    pub refusal: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    /// What an earlier answer carried for its provider, such as signatures.
    pub reasoning_details: Vec<Value>,
}

#[derive(Debug)]
pub struct ToolMessage {
    pub tool_call_id: String,
    pub content: Content,
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    #[serde(default)]
    content: Content,
    refusal: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    tool_calls: Vec<ToolCall>,
    tool_call_id: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    reasoning_details: Vec<Value>,
}

impl TryFrom<WireMessage> for Message {
    type Error = &'static str;

    fn try_from(wire: WireMessage) -> Result<Self, Self::Error> {
        match wire.role.as_str() {
            "system" | "developer" => Ok(Self::System(wire.content)),
            "user" => Ok(Self::User(wire.content)),
            "assistant" => Ok(Self::Assistant(AssistantMessage {
                content: wire.content,
                refusal: wire.refusal,
                tool_calls: wire.tool_calls,
                reasoning_details: wire.reasoning_details,
            })),
            "tool" => {
                let tool_call_id = wire.tool_call_id.ok_or("a tool message needs a tool_call_id")?;
                Ok(Self::Tool(ToolMessage { tool_call_id, content: wire.content }))
            }
            _ => Err("a message's role is one of system, developer, user, assistant, tool"),
        }
    }
}

/// A tool call in the history.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    pub id: String,
    pub function: FunctionCall,
    /// Opaque provider data that came with the call.
    pub extra_content: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct FunctionCall {
    pub name: String,
    /// JSON text, or what the model made of it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub arguments: String,
}

/// Message content: absent or null, a string, or parts.
#[derive(Debug, Default)]
pub enum Content {
    #[default]
    None,
    Text(String),
    Parts(Vec<Part>),
}

impl Content {
    /// All text in it, parts joined without a separator.
    pub fn text(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text { text, .. } => Some(text.as_str()),
                    Part::ImageUrl { .. }
                    | Part::InputAudio(_)
                    | Part::File(_)
                    | Part::Refusal(_)
                    | Part::Unknown => None,
                });
                texts.collect()
            }
        }
    }
}

/// One part of a message.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WirePart")]
pub enum Part {
    Text {
        text: String,
        /// Anthropic's caching mark, as OpenAI clients send it.
        cache_control: Option<Value>,
    },
    ImageUrl {
        image_url: ImageUrl,
        cache_control: Option<Value>,
    },
    InputAudio(InputAudio),
    File(FilePart),
    Refusal(String),
    /// A kind of part that this version does not know.
    Unknown,
}

#[derive(Deserialize)]
struct WirePart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
    image_url: Option<ImageUrl>,
    input_audio: Option<InputAudio>,
    file: Option<FilePart>,
    refusal: Option<String>,
    cache_control: Option<Value>,
}

impl TryFrom<WirePart> for Part {
    type Error = &'static str;

    fn try_from(wire: WirePart) -> Result<Self, Self::Error> {
        let cache_control = wire.cache_control;
        match wire.kind.as_str() {
            "text" => {
                wire.text.map(|text| Self::Text { text, cache_control }).ok_or("a text part needs its text")
            }
            "image_url" => wire
                .image_url
                .map(|image_url| Self::ImageUrl { image_url, cache_control })
                .ok_or("an image_url part needs its image_url"),
            "input_audio" => {
                wire.input_audio.map(Self::InputAudio).ok_or("an input_audio part needs its input_audio")
            }
            "file" => wire.file.map(Self::File).ok_or("a file part needs its file"),
            "refusal" => wire.refusal.map(Self::Refusal).ok_or("a refusal part needs its refusal"),
            _ => Ok(Self::Unknown),
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct ImageUrl {
    /// `data:` or `http(s):`.
    pub url: String,
    pub detail: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct InputAudio {
    /// Base64.
    pub data: String,
    /// `wav` or `mp3`.
    pub format: String,
}

#[derive(Debug, Deserialize)]
pub struct FilePart {
    /// A `data:` URI.
    pub file_data: Option<String>,
    pub file_id: Option<String>,
    pub filename: Option<String>,
}

/// A tool that the model may call.
#[derive(Debug, Deserialize)]
pub struct Tool {
    /// `function`, or a kind that only some providers know. Some clients leave it out.
    #[serde(rename = "type", default = "function_kind")]
    pub kind: String,
    pub function: Option<Function>,
    pub cache_control: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub struct Function {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema, byte for byte: a changed key order would miss the provider's prompt cache.
    pub parameters: Option<Box<RawValue>>,
    pub strict: Option<bool>,
}

/// The form that the answer's text must have.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WireFormat")]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema(NamedSchema),
}

#[derive(Deserialize)]
struct WireFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<NamedSchema>,
}

impl TryFrom<WireFormat> for ResponseFormat {
    type Error = &'static str;

    fn try_from(wire: WireFormat) -> Result<Self, Self::Error> {
        match wire.kind.as_str() {
            "text" => Ok(Self::Text),
            "json_object" => Ok(Self::JsonObject),
            "json_schema" => {
                wire.json_schema.map(Self::JsonSchema).ok_or("a json_schema format needs its json_schema")
            }
            _ => Err("response_format.type is one of text, json_object, json_schema"),
        }
    }
}

#[derive(Debug, Deserialize)]
pub struct NamedSchema {
    pub name: Option<String>,
    pub description: Option<String>,
    pub schema: Option<Box<RawValue>>,
}

/// How much the model shall think before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    /// OpenAI's name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The thinking budget in tokens that stands for this effort at providers which count instead of grading.
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 10_240,
            Self::High => 24_576,
            Self::Xhigh | Self::Max => 32_768,
        }
    }
}

/// A whole number, however it is spelt: `50`, `50.0`, `5e1`.
#[derive(Debug, Clone, Copy)]
pub struct Whole<T>(pub T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53 a float without a fraction is exact")]
        let of_float = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i128);
        let value = number.as_i128().or_else(|| number.as_f64().and_then(of_float));
        let whole = value.and_then(|value| T::try_from(value).ok());
        whole.map(Self).ok_or_else(|| de::Error::custom("not a whole number of the right size"))
    }
}

fn whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(deserializer)?.map(|Whole(value)| value))
}

/// The effort that was asked for. Groq's `default` is no wish.
#[derive(Debug, Clone, Copy)]
pub struct AskedEffort(pub Option<Effort>);

impl<'de> Deserialize<'de> for AskedEffort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Effort(Effort),
            Other(String),
        }
        match Word::deserialize(deserializer)? {
            Word::Effort(effort) => Ok(Self(Some(effort))),
            Word::Other(word) if word == "default" => Ok(Self(None)),
            Word::Other(_) => Err(de::Error::custom("no such effort")),
        }
    }
}

fn effort<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Effort>, D::Error> {
    Ok(Option::<AskedEffort>::deserialize(deserializer)?.and_then(|asked| asked.0))
}

fn function_kind() -> String {
    "function".into()
}

/// A null where OpenAI's clients mean "absent".
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `stop` is null, one string or a list.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(seq))
        }
    }
    deserializer.deserialize_any(OneOrMany)
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, null, or an array of content parts")
            }
            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::None)
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells the names of the fields that a struct reads.
    struct FieldNames;

    impl<'de> Deserializer<'de> for FieldNames {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("not a struct"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom(fields.join(" ")))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    #[test]
    fn every_field_that_is_read_is_listed() {
        let read = Conversation::deserialize(FieldNames).unwrap_err().to_string();
        assert_eq!(read, Conversation::FIELDS.join(" "));
    }

    #[test]
    fn reads_every_part_and_spelling() {
        let body = r#"{"model":"m","messages":[
            {"role":"developer","content":"d"},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:x"}},{"type":"video"}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":null}}]},
            {"role":"tool","tool_call_id":"1","content":"r"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{"b":1,"a":2}}}],
            "stop":"x","tool_choice":{"type":"function","function":{"name":"f"}},"logit_bias":{"1":2},"seed":null,
            "reasoning_effort":"xhigh"}"#;
        let conversation: Conversation = serde_json::from_str(body).unwrap();
        assert_eq!(conversation.messages.len(), 4);
        assert_eq!(conversation.stop, ["x"]);
        assert!(matches!(&conversation.tool_choice, Some(ToolChoice::Function(name)) if name == "f"));
        assert_eq!(conversation.openai_only(), ["logit_bias"]);
        let function = conversation.tools[0].function.as_ref().unwrap();
        assert_eq!(function.parameters.as_ref().unwrap().get(), r#"{"b":1,"a":2}"#);
    }
}
