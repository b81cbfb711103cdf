//! A look into messages and tools that counts and checks without keeping their text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::memmem;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::request::{Image, Invalid};

pub mod skimmed;

/// What the messages hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MessagesPeek {
    pub text_bytes: u64,
    pub images: Vec<Image>,
    pub image_data: bool,
    pub image_url: bool,
    pub audio: bool,
    pub documents: bool,
    pub ends_with_assistant: bool,
    /// Somebody's `name` stands on a message.
    pub names: bool,
    /// A message has the older form of calls and results.
    pub functions: bool,
    /// A tool was called whose input is plain text.
    pub custom_calls: bool,
    pub marks: Marks,
}

/// What messages may hold that some vendors take otherwise than OpenAI. It may be set where it is not so, but is
/// never missing where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// A turn's reasoning, in whichever form.
    pub reasoning: bool,
    /// Opaque data of a provider on a call.
    pub extra_content: bool,
    /// Marks of what to cache.
    pub cache_control: bool,
    pub developer: bool,
    pub refusal: bool,
    /// Calls of tools or their results.
    pub tools: bool,
}

impl Marks {
    /// By their names alone, wherever these stand in the text. A name may be spelt with escapes: then any may be there.
    fn in_text(json: &str) -> Self {
        let is_ascii =
            |at: usize| json.as_bytes().get(at + 4).is_some_and(|digit| (b'2'..=b'7').contains(digit));
        let has_escapes = memmem::find_iter(json.as_bytes(), br"\u00").any(is_ascii);
        let holds = |start: &str| has_escapes || memmem::find(json.as_bytes(), start.as_bytes()).is_some();
        Self {
            reasoning: holds("\"reasoning"),
            extra_content: holds("\"extra_content\""),
            cache_control: holds("\"cache_control\""),
            developer: holds("\"developer\""),
            refusal: holds("\"refusal\""),
            tools: holds("\"tool"),
        }
    }
}

/// What `response_format` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    JsonObject,
    JsonSchema,
}

/// Looks through `messages`, and refuses what no provider could make sense of.
pub fn messages(raw: Option<&str>) -> Result<MessagesPeek, Invalid> {
    let missing = || Invalid::at("messages", "`messages` is missing: it must be a list of messages.");
    let raw = raw.ok_or_else(missing)?;
    let list: Vec<&RawValue> = serde_json::from_str(raw)
        .map_err(|_| Invalid::at("messages", "`messages` must be a list of messages."))?;
    if list.is_empty() {
        return Err(Invalid::at("messages", "`messages` is empty: at least one message is needed."));
    }
    let mut found = MessagesPeek { marks: Marks::in_text(raw), ..MessagesPeek::default() };
    let mut calls = HashSet::new();
    for (at, raw) in list.into_iter().enumerate() {
        let message = serde_json::from_str(raw.get()).map_err(|error| explain(at, raw, &error))?;
        judge(at, message, &mut found, &mut calls)?;
    }
    Ok(found)
}

/// Checks one message, and adds what it holds. `calls` are the ids of the calls before it.
fn judge<'a>(
    at: usize,
    message: WireMessage<'a>,
    found: &mut MessagesPeek,
    calls: &mut HashSet<Cow<'a, str>>,
) -> Result<(), Invalid> {
    let fault = |member: &str, text: &str| Err(Invalid::at(format!("messages[{at}].{member}"), text));
    let Some(Key(role)) = &message.role else {
        return fault("role", "A message needs a `role`: system, developer, user, assistant or tool.");
    };
    let content = &message.content;
    found.ends_with_assistant = role == "assistant";
    found.names |=
        message.name.is_some() && matches!(role.as_ref(), "system" | "developer" | "user" | "assistant");
    found.functions |= role == "function" || message.function_call.is_some();
    match role.as_ref() {
        "system" | "developer" | "user" if !content.is_given => {
            return fault(
                "content",
                &format!("A {role} message needs `content`: a string or a list of parts."),
            );
        }
        "system" | "developer" | "user" => {}
        "assistant" if !content.is_given && !message.has_other_content() => {
            return fault("content", "An assistant message needs `content`, `tool_calls` or a `refusal`.");
        }
        "assistant" => {}
        "tool" => {
            let Some(Key(id)) = &message.tool_call_id else {
                return fault(
                    "tool_call_id",
                    "A tool message needs the `tool_call_id` of the call it answers.",
                );
            };
            if !calls.contains(id) {
                return fault(
                    "tool_call_id",
                    "This tool message answers a call that no earlier assistant message made: its \
                     `tool_call_id` must be the `id` of one of their `tool_calls`.",
                );
            }
        }
        "function" => {}
        _ => return fault("role", "The `role` must be system, developer, user, assistant or tool."),
    }
    for call in message.tool_calls.into_iter().flatten() {
        let Some(bytes) = call.bytes() else {
            return fault("tool_calls", "A call in `tool_calls` needs its `function`, or its `custom`.");
        };
        found.text_bytes += bytes;
        found.custom_calls |= call.function.is_none();
        calls.insert(call.id.0);
    }
    found.text_bytes += message.function_call.map_or(0, |call| call.get().len() as u64);
    found.text_bytes += message.refusal.map_or(0, |refusal| refusal.0);
    found.take(message.content);
    Ok(())
}

/// Names the member of a message that has the wrong type.
fn explain(at: usize, raw: &RawValue, error: &serde_json::Error) -> Invalid {
    let Ok(members) = serde_json::from_str::<indexmap::IndexMap<Key<'_>, &RawValue>>(raw.get()) else {
        return Invalid::at(
            format!("messages[{at}]"),
            "A message must be an object with `role` and `content`.",
        );
    };
    let text = |raw: &RawValue| serde_json::from_str::<Option<Key<'_>>>(raw.get()).is_ok();
    for (Key(name), value) in members {
        let expected = match name.as_ref() {
            "role" | "tool_call_id" | "refusal" | "reasoning_content" if !text(value) => "must be a string",
            "content" if serde_json::from_str::<ContentPeek>(value.get()).is_err() => {
                "must be a string or a list of parts, each an object with a `type` and what that type needs"
            }
            "tool_calls" if serde_json::from_str::<Option<Vec<WireCall<'_>>>>(value.get()).is_err() => {
                "must be a list of calls, each with an `id` and a `function` of `name` and `arguments` (a string)"
            }
            _ => continue,
        };
        return Invalid::at(format!("messages[{at}].{name}"), format!("`{name}` {expected}."));
    }
    Invalid::at(format!("messages[{at}]"), format!("This message cannot be read: {error}."))
}

/// Checks one entry of `tools`; whether it is a tool whose input is plain text.
pub fn tool(at: usize, raw: &RawValue) -> Result<bool, Invalid> {
    let fault = |text: &str| Invalid::at(format!("tools[{at}]"), text);
    let tool: WireTool<'_> = serde_json::from_str(raw.get())
        .map_err(|_| fault("A tool must be an object with `type` and, for a function, `function.name`."))?;
    let kind = tool.kind.map_or(Cow::Borrowed("function"), |kind| kind.0);
    if kind == "function" && tool.function.is_none() {
        return Err(fault("A tool of type function needs its `function`."));
    }
    Ok(tool.custom.is_some())
}

/// Reads what kind of answer is asked for.
pub fn response_format(raw: Option<&str>) -> Result<Format, Invalid> {
    let Some(raw) = raw else { return Ok(Format::Text) };
    let fault = |text: &str| Err(Invalid::at("response_format", text));
    let Ok(format) = serde_json::from_str::<WireFormat<'_>>(raw) else {
        return fault("`response_format` must be an object with a `type`.");
    };
    match format.kind.0.as_ref() {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" if format.json_schema.is_none_or(|schema| schema.schema.is_none()) => {
            fault("`response_format` of type json_schema needs `json_schema.schema`.")
        }
        "json_schema" => Ok(Format::JsonSchema),
        _ => fault("`response_format.type` must be text, json_object or json_schema."),
    }
}

impl MessagesPeek {
    fn take(&mut self, content: ContentPeek) {
        self.text_bytes += content.text_bytes;
        self.image_data |= content.image_data;
        self.image_url |= content.image_url;
        self.audio |= content.audio;
        self.documents |= content.documents;
        self.images.extend(content.images);
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default, Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    role: Option<Key<'a>>,
    #[serde(default)]
    content: ContentPeek,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    #[serde(borrow)]
    tool_call_id: Option<Key<'a>>,
    name: Option<IgnoredAny>,
    refusal: Option<StringLength>,
    reasoning_content: Option<StringLength>,
    reasoning_details: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    audio: Option<IgnoredAny>,
}

impl WireMessage<'_> {
    fn has_other_content(&self) -> bool {
        self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
            || self.refusal.is_some()
            || self.reasoning_content.is_some()
            || self.reasoning_details.as_ref().is_some_and(|details| !details.is_empty())
            || self.function_call.is_some()
            || self.audio.is_some()
    }
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    id: Key<'a>,
    function: Option<FunctionPeek>,
    custom: Option<CustomPeek>,
}

impl WireCall<'_> {
    /// The length of what is called and with what; `None` if that is missing.
    fn bytes(&self) -> Option<u64> {
        let custom = || self.custom.as_ref().map(|custom| custom.name.0 + custom.input.0);
        self.function.as_ref().map(|function| function.bytes).or_else(custom)
    }
}

/// A call of a custom tool, whose input is plain text.
#[derive(Deserialize)]
struct CustomPeek {
    name: StringLength,
    input: StringLength,
}

struct FunctionPeek {
    bytes: u64,
}

impl<'de> Deserialize<'de> for FunctionPeek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            name: StringLength,
            arguments: Option<StringLength>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self { bytes: wire.name.0 + wire.arguments.map_or(0, |arguments| arguments.0) })
    }
}

#[derive(Deserialize)]
struct WireTool<'a> {
    /// Some clients leave it out.
    #[serde(borrow, rename = "type")]
    kind: Option<Key<'a>>,
    function: Option<WireFunction>,
    custom: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireFunction {
    #[serde(rename = "name")]
    _name: StringLength,
}

#[derive(Deserialize)]
struct WireFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Key<'a>,
    json_schema: Option<WireSchema>,
}

#[derive(Deserialize)]
struct WireSchema {
    schema: Option<IgnoredAny>,
}

/// How long a string is; the string itself is not kept.
struct StringLength(u64);

impl<'de> Deserialize<'de> for StringLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LengthVisitor;
        impl Visitor<'_> for LengthVisitor {
            type Value = StringLength;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<StringLength, E> {
                Ok(StringLength(text.len() as u64))
            }
        }
        deserializer.deserialize_str(LengthVisitor)
    }
}

/// What one message's content holds.
#[derive(Default)]
struct ContentPeek {
    /// Neither absent nor null.
    is_given: bool,
    text_bytes: u64,
    images: Vec<Image>,
    image_data: bool,
    image_url: bool,
    audio: bool,
    documents: bool,
}

impl<'de> Deserialize<'de> for ContentPeek {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = ContentPeek;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }
            fn visit_unit<E>(self) -> Result<ContentPeek, E> {
                Ok(ContentPeek::default())
            }
            fn visit_str<E>(self, text: &str) -> Result<ContentPeek, E> {
                Ok(ContentPeek { is_given: true, text_bytes: text.len() as u64, ..ContentPeek::default() })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ContentPeek, A::Error> {
                let mut content = ContentPeek { is_given: true, ..ContentPeek::default() };
                while let Some(part) = seq.next_element::<WirePart<'de>>()? {
                    content.take(part).map_err(de::Error::custom)?;
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Key<'a>,
    text: Option<StringLength>,
    #[serde(borrow)]
    image_url: Option<WireImage<'a>>,
    input_audio: Option<IgnoredAny>,
    file: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct WireImage<'a> {
    #[serde(borrow)]
    url: Key<'a>,
    #[serde(borrow)]
    detail: Option<Key<'a>>,
}

impl ContentPeek {
    fn take(&mut self, part: WirePart<'_>) -> Result<(), &'static str> {
        match part.kind.0.as_ref() {
            "text" => self.text_bytes += part.text.ok_or("a text part needs its text")?.0,
            "image_url" => {
                let image = part.image_url.ok_or("an image_url part needs its image_url")?;
                let data = image.url.0.starts_with("data:");
                self.image_data |= data;
                self.image_url |= !data;
                let pixels = if data { super::image::pixels_of_data_uri(&image.url.0) } else { None };
                let low_detail = image.detail.is_some_and(|detail| detail.0 == "low");
                self.images.push(Image { pixels, low_detail });
            }
            "input_audio" => {
                part.input_audio.ok_or("an input_audio part needs its input_audio")?;
                self.audio = true;
            }
            "file" => {
                part.file.ok_or("a file part needs its file")?;
                self.documents = true;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
