//! The request in full, typed: what an adapter needs that writes another format.
//!
//! It is strict about what it knows (a wrong type is the client's error) and silent about what it does not know:
//! unknown members stay in the client's bytes, for the targets that take those.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub use super::choice::ToolChoice;
pub use super::effort::{AskedEffort, Effort};

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
    pub safety_identifier: Option<String>,
}

impl Conversation {
    /// Reads a body. What is known to be text as a whole need not be looked through string by string.
    pub(super) fn read(body: &[u8]) -> serde_json::Result<Self> {
        std::str::from_utf8(body).map_or_else(|_| serde_json::from_slice(body), serde_json::from_str)
    }

    /// The client's cap on the answer, under either of its two names.
    pub fn output_cap(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Whether anything is marked for the provider's cache.
    pub fn has_cache_marks(&self) -> bool {
        let in_messages = self.messages.iter().any(|message| match message {
            Message::System(content) | Message::User(content) => content.is_marked(),
            Message::Assistant(assistant) => {
                let mut calls = assistant.tool_calls.iter();
                assistant.content.is_marked() || calls.any(|call| call.cache_control.is_some())
            }
            Message::Tool(result) => result.content.is_marked() || result.cache_control.is_some(),
        });
        let of_function = |function: &Function| function.cache_control.is_some();
        let in_tools =
            |tool: &Tool| tool.cache_control.is_some() || tool.function.as_ref().is_some_and(of_function);
        in_messages || self.tools.iter().any(in_tools)
    }

    /// The request's fields, present and not null, that only OpenAI's own format can carry.
    pub fn openai_only(&self) -> Vec<&'static str> {
        let is_known = self.safety_identifier.as_ref().map(|_| IgnoredAny);
        let fields = [
            ("logit_bias", &self.logit_bias),
            ("prediction", &self.prediction),
            ("store", &self.store),
            ("modalities", &self.modalities),
            ("web_search_options", &self.web_search_options),
            ("verbosity", &self.verbosity),
            ("prompt_cache_key", &self.prompt_cache_key),
            ("safety_identifier", &is_known),
        ];
        fields.into_iter().filter_map(|(name, field)| field.is_some().then_some(name)).collect()
    }
}

/// One message of the history.
#[derive(Debug)]
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
    /// The reasoning as text. Alone it proves nothing to the provider that it came from.
    pub reasoning_content: Option<String>,
    pub tool_calls: Vec<ToolCall>,
    /// What an earlier answer carried for its provider, such as signatures.
    pub reasoning_details: Vec<Value>,
}

#[derive(Debug)]
pub struct ToolMessage {
    pub tool_call_id: String,
    pub content: Content,
    /// The tool failed: not OpenAI's, but the name that clients of several providers use.
    pub is_error: bool,
    pub cache_control: Option<Value>,
}

#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(default)]
    content: Content,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    tool_calls: Vec<ToolCall>,
    tool_call_id: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    is_error: bool,
    /// Of the whole message: its last part has it then.
    cache_control: Option<Value>,
    #[serde(default, deserialize_with = "null_as_default")]
    reasoning_details: Vec<Value>,
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(WireMessage::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl TryFrom<WireMessage<'_>> for Message {
    type Error = &'static str;

    fn try_from(wire: WireMessage<'_>) -> Result<Self, Self::Error> {
        let content = match (wire.role.as_ref(), &wire.cache_control) {
            ("tool", _) | (_, None) => wire.content,
            (_, Some(mark)) => wire.content.marked(mark),
        };
        match wire.role.as_ref() {
            "system" | "developer" => Ok(Self::System(content)),
            "user" => Ok(Self::User(content)),
            "assistant" => Ok(Self::Assistant(AssistantMessage {
                content,
                refusal: wire.refusal,
                reasoning_content: wire.reasoning_content,
                tool_calls: wire.tool_calls,
                reasoning_details: wire.reasoning_details,
            })),
            "tool" => {
                let tool_call_id = wire.tool_call_id.ok_or("a tool message needs a tool_call_id")?;
                let WireMessage { is_error, cache_control, .. } = wire;
                Ok(Self::Tool(ToolMessage { tool_call_id, content, is_error, cache_control }))
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
    pub cache_control: Option<Value>,
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
    /// The same with this caching mark on its last part, unless that has one.
    fn marked(self, mark: &Value) -> Self {
        let mut parts = match self {
            Self::None => return Self::None,
            Self::Text(text) => vec![Part::Text { text, cache_control: None }],
            Self::Parts(parts) => parts,
        };
        let own = parts.last_mut().and_then(|part| match part {
            Part::Text { cache_control, .. } | Part::ImageUrl { cache_control, .. } => Some(cache_control),
            Part::File(file) => Some(&mut file.cache_control),
            Part::InputAudio(_) | Part::Refusal(_) | Part::Unknown => None,
        });
        if let Some(own) = own {
            own.get_or_insert_with(|| mark.clone());
        }
        Self::Parts(parts)
    }

    /// Whether a part of it is marked for the provider's cache.
    fn is_marked(&self) -> bool {
        let Self::Parts(parts) = self else { return false };
        parts.iter().any(|part| match part {
            Part::Text { cache_control, .. } | Part::ImageUrl { cache_control, .. } => {
                cache_control.is_some()
            }
            Part::File(file) => file.cache_control.is_some(),
            Part::InputAudio(_) | Part::Refusal(_) | Part::Unknown => false,
        })
    }

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
            "file" => wire
                .file
                .map(|file| {
                    Self::File(FilePart { cache_control: file.cache_control.or(cache_control), ..file })
                })
                .ok_or("a file part needs its file"),
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
    pub cache_control: Option<Value>,
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
    pub cache_control: Option<Value>,
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
mod tests;
