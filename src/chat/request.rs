//! The client's request: its bytes, kept as they came, and what the planner must know of them.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::conversation::{AskedEffort, Conversation, Effort, Whole};
use super::edit::BodyEdit;
use super::members::{Member, TopLevel, members};
pub use super::peek::Marks;
use super::peek::{self, MessagesPeek};

/// A chat request. The bytes are the truth; everything else is read from them.
#[derive(Debug)]
pub struct ChatRequest {
    pub(super) body: Bytes,
    pub(super) members: Vec<Member>,
    /// The logical model that the client asked for.
    pub model: String,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client wants the token counts in its stream.
    pub include_usage: bool,
    /// What a target must be able to do.
    pub needs: Needs,
    /// How large the input is.
    pub size: InputSize,
    /// The client's cap on the answer, in tokens.
    pub output_cap: Option<u64>,
    /// How many answers are asked for (`n`).
    pub answers: u32,
    /// What the messages may hold that some vendors take otherwise.
    pub marks: Marks,
    /// Piton's own fields, and what other gateways call the same.
    pub own: OwnFields,
    conversation: OnceLock<Result<Conversation, Invalid>>,
}

/// What a request asks of a model beyond text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    pub tools: bool,
    /// Several calls in one turn are asked for by name; they are the default, so silence asks for nothing.
    pub parallel_tools: bool,
    /// Images given as `data:` URIs.
    pub image_data: bool,
    /// Images given as http(s) URLs.
    pub image_url: bool,
    pub audio: bool,
    pub documents: bool,
    pub json_mode: bool,
    pub json_schema: bool,
    /// The thinking effort that was set.
    pub effort: Option<Effort>,
    /// Whether the model shall think before it answers, in whichever words; `None` where nothing is said.
    pub thinks: Option<bool>,
    pub logprobs: bool,
    /// More than one answer.
    pub n: bool,
    /// The conversation ends with the assistant's own words, to be continued.
    pub prefill: bool,
    /// Messages say by `name` who speaks.
    pub names: bool,
    /// The older form of tools: `functions`, or a history with messages of the role `function`.
    pub functions: bool,
    /// Tools whose input is plain text, offered or called in the history.
    pub custom_tools: bool,
}

/// The size of the input, for estimates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputSize {
    /// Bytes of text: messages, tools, schemas.
    pub text_bytes: u64,
    pub images: Vec<Image>,
}

/// One image of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Width and height in pixels, where the bytes are at hand and say so.
    pub pixels: Option<(u32, u32)>,
    /// `detail: "low"`.
    pub low_detail: bool,
}

/// Fields that are for Piton and never go upstream.
#[derive(Debug, Clone, Default)]
pub struct OwnFields {
    /// `models`: the chain's targets to use, in this order.
    pub models: Option<Vec<String>>,
    /// `fallbacks`: the chain's targets to use after its first, with parameters of their own.
    pub fallbacks: Option<Vec<FallbackChoice>>,
    /// `metadata.piton_<name>`, and `task_type` as `task`; of two with one name the later counts.
    pub settings: Vec<(String, String)>,
    /// Nothing stands in `metadata` but these.
    pub is_whole_metadata: bool,
    /// OpenAI's `user`.
    pub user: Option<String>,
}

/// One entry of `fallbacks`.
#[derive(Debug, Clone)]
pub struct FallbackChoice {
    pub model: String,
    /// Request members that replace the client's for this target.
    pub parameters: serde_json::Map<String, Value>,
}

/// Why a body is not a chat request: always the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    pub message: String,
    /// The member at fault, e.g. `messages[2].role`.
    pub param: Option<String>,
}

impl Invalid {
    /// A fault of the member `param`.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

impl ChatRequest {
    /// Reads what the planner needs, and refuses what no target could take.
    pub fn parse(body: Bytes) -> Result<Self, Invalid> {
        let mut top = TopLevel::parse(&body)?;
        let members = members(&body, &top);
        let seen = top.messages.take();
        let read = Reader(&top);
        let model = read.model()?;
        let messages = match seen {
            Some(messages) => messages,
            None => peek::messages(read.raw("messages"))?,
        };
        let stream = read.optional("stream", "true or false")?.unwrap_or(false);
        let stream_options: Option<StreamOptions> = read.optional("stream_options", "an object")?;
        let answers: u32 = read.whole("n", "a whole number, 1 or more")?.unwrap_or(1);
        if answers == 0 {
            return Err(Invalid::at("n", "`n` must be a whole number, 1 or more."));
        }
        let (needs, size, marks) = read_needs(&read, messages, answers)?;
        let output_cap = read.output_cap()?;
        read.check_sampling()?;
        let own = own_fields(&read)?;
        Ok(Self {
            members,
            model,
            stream,
            include_usage: stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            needs,
            size,
            output_cap,
            answers,
            marks,
            own,
            conversation: OnceLock::new(),
            body,
        })
    }

    /// Whether the text that was counted is nearly all that a model gets to read. What else the body holds, such as
    /// earlier reasoning, some read and some do not.
    pub fn is_counted(&self) -> bool {
        let beside = (self.body.len() as u64).saturating_sub(self.size.text_bytes);
        let is_text = self.size.images.is_empty() && !self.needs.audio && !self.needs.documents;
        is_text && beside <= self.size.text_bytes
    }

    /// The body as the client sent it.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The request in full, typed; read once, when a target first needs it.
    pub fn conversation(&self) -> Result<&Conversation, Invalid> {
        let parsed = self.conversation.get_or_init(|| {
            Conversation::read(&self.body).map_err(|error| Invalid {
                message: format!("The body cannot be read: {error}."),
                param: None,
            })
        });
        parsed.as_ref().map_err(Clone::clone)
    }

    /// The same request with some top-level members replaced or added: what `fallbacks` parameters do.
    pub fn with_parameters(&self, parameters: &serde_json::Map<String, Value>) -> Result<Self, Invalid> {
        let mut edit = self.edit();
        for (name, value) in parameters {
            edit.set(name, value.to_string());
        }
        Self::parse(edit.finish().concat().into())
    }

    /// Starts changing the body; everything not named keeps its bytes and its place.
    pub fn edit(&self) -> BodyEdit<'_> {
        BodyEdit::of(&self.body, &self.members)
    }

    /// The raw JSON of a top-level member.
    pub fn member(&self, name: &str) -> Option<&str> {
        Member::json(&self.body, &self.members, name)
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Reads typed members; a null means absent.
pub(super) struct Reader<'a>(pub(super) &'a TopLevel<'a>);

impl<'a> Reader<'a> {
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.0.members.iter().find(|(member, _)| member == name)?;
        (*value != "null").then_some(*value)
    }

    pub(super) fn optional<T: Deserialize<'a>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Invalid> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(value)
            .map(Some)
            .map_err(|_| Invalid::at(name, format!("`{name}` must be {expected}.")))
    }

    pub(super) fn whole<T: TryFrom<i128>>(&self, name: &str, expected: &str) -> Result<Option<T>, Invalid> {
        Ok(self.optional::<Whole<T>>(name, expected)?.map(|Whole(value)| value))
    }

    fn required<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<T, Invalid> {
        self.optional(name, expected)?
            .ok_or_else(|| Invalid::at(name, format!("`{name}` is missing: it must be {expected}.")))
    }

    /// The name of the chain.
    pub(super) fn model(&self) -> Result<String, Invalid> {
        let model: String = self.required("model", "a string, the name of a chain")?;
        if model.is_empty() {
            return Err(Invalid::at("model", "`model` must name a chain; it is empty."));
        }
        Ok(model)
    }

    /// Of two caps the larger: who gets both may go by either.
    fn output_cap(&self) -> Result<Option<u64>, Invalid> {
        let whole = "a whole number of tokens, 1 or more";
        let mut cap = None;
        for name in ["max_tokens", "max_completion_tokens"] {
            if let Some(value) = self.whole::<u64>(name, whole)? {
                if value == 0 {
                    return Err(Invalid::at(name, format!("`{name}` must be {whole}.")));
                }
                cap = cap.max(Some(value));
            }
        }
        Ok(cap)
    }

    /// The types of what every dialect reads, so that no target is the first to notice.
    fn check_sampling(&self) -> Result<(), Invalid> {
        for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty"] {
            self.optional::<f64>(name, "a number")?;
        }
        self.whole::<i64>("seed", "a whole number")?;
        self.whole::<u32>("top_logprobs", "a whole number")?;
        self.optional::<bool>("parallel_tool_calls", "true or false")?;
        self.optional::<super::conversation::ToolChoice>(
            "tool_choice",
            "\"none\", \"auto\", \"required\", or an object that names a function",
        )?;
        if let Some(stop) = self.raw("stop") {
            let one = serde_json::from_str::<Cow<'_, str>>(stop).is_ok();
            let many = serde_json::from_str::<Vec<Cow<'_, str>>>(stop).is_ok();
            if !one && !many {
                return Err(Invalid::at("stop", "`stop` must be a string or a list of strings."));
            }
        }
        Ok(())
    }
}

fn read_needs(
    read: &Reader<'_>,
    messages: MessagesPeek,
    answers: u32,
) -> Result<(Needs, InputSize, Marks), Invalid> {
    let tools: Vec<&RawValue> = read.optional("tools", "a list of tools")?.unwrap_or_default();
    let mut custom_tools = messages.custom_calls;
    for (at, tool) in tools.iter().enumerate() {
        custom_tools |= peek::tool(at, tool)?;
    }
    let functions = ["functions", "function_call"].iter().any(|name| read.raw(name).is_some());
    let format = peek::response_format(read.raw("response_format"))?;
    let effort = read.optional::<AskedEffort>(
        "reasoning_effort",
        "one of \"none\", \"minimal\", \"low\", \"medium\", \"high\", \"xhigh\", \"max\"",
    )?;
    let effort = effort.and_then(|asked| asked.0);
    let thinks = read.raw("thinking").and_then(thinks);
    let parallel = || read.optional("parallel_tool_calls", "true or false");
    let parallel_tools = if tools.is_empty() { None } else { parallel()? };
    let needs = Needs {
        thinks: effort.map_or(thinks, |effort| Some(effort != Effort::None)),
        tools: !tools.is_empty(),
        parallel_tools: parallel_tools == Some(true),
        image_data: messages.image_data,
        image_url: messages.image_url,
        audio: messages.audio,
        documents: messages.documents,
        json_mode: format == peek::Format::JsonObject,
        json_schema: format == peek::Format::JsonSchema,
        effort,
        logprobs: read.optional("logprobs", "true or false")?.unwrap_or(false),
        n: answers > 1,
        prefill: messages.ends_with_assistant,
        names: messages.names,
        functions: functions || messages.functions,
        custom_tools,
    };
    let beside = ["tools", "functions", "response_format"].into_iter().filter_map(|name| read.raw(name));
    let text_bytes = messages.text_bytes + beside.map(|raw| raw.len() as u64).sum::<u64>();
    Ok((needs, InputSize { text_bytes, images: messages.images }, messages.marks))
}

/// Whether `thinking`, which several vendors read, asks for it.
fn thinks(raw: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Thinking<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let thinking: Thinking<'_> = serde_json::from_str(raw).ok()?;
    match thinking.kind.as_ref() {
        "enabled" | "adaptive" => Some(true),
        "disabled" => Some(false),
        _ => None,
    }
}

pub(super) fn own_fields(read: &Reader<'_>) -> Result<OwnFields, Invalid> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum WireFallback {
        Name(String),
        WithParameters {
            model: String,
            #[serde(flatten)]
            parameters: serde_json::Map<String, Value>,
        },
    }
    let models = read.optional("models", "a list of the chain's targets")?;
    let fallbacks: Option<Vec<WireFallback>> =
        read.optional("fallbacks", "a list of the chain's targets, or of objects with a `model`")?;
    let fallbacks = fallbacks.map(|entries| {
        let choice = |entry| match entry {
            WireFallback::Name(model) => FallbackChoice { model, parameters: serde_json::Map::new() },
            WireFallback::WithParameters { model, parameters } => FallbackChoice { model, parameters },
        };
        entries.into_iter().map(choice).collect()
    });
    let mut settings = Vec::new();
    let mut is_whole_metadata = true;
    if let Some(metadata) = read.optional::<serde_json::Map<String, Value>>("metadata", "an object")? {
        is_whole_metadata = metadata.keys().all(|name| own_metadata(name).is_some());
        settings.extend(metadata.into_iter().filter_map(|(name, value)| {
            let name = own_metadata(&name)?.to_owned();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some((name, value))
        }));
    }
    // The later wins: what stands in the body itself before what metadata says.
    if let Some(task) = read.optional::<String>("task_type", "a string")? {
        settings.push(("task".to_owned(), task));
    }
    let user = read.optional("user", "a string")?;
    Ok(OwnFields { models, fallbacks, settings, is_whole_metadata, user })
}

/// The setting that a metadata key names, if it is one of Piton's.
pub fn own_metadata(key: &str) -> Option<&str> {
    if key == "task_type" { Some("task") } else { key.strip_prefix("piton_") }
}

#[cfg(test)]
mod tests;
