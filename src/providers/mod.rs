//! The dialects: how a canonical chat becomes one provider's request, and how that provider's answer becomes
//! canonical again. Adapters are pure: no I/O, no clock, no environment, no state, no policy.
//!
//! A new dialect is one folder here with its fixtures, its line in [`dialect`], its name in [`Dialect`] and its row in
//! [`compatible`], where the compiler asks for them; and a face in [`mock`](crate::mock), which holds it to the real
//! provider's rules. A vendor that speaks OpenAI's dialect is one row and a fixture.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use serde::Serialize;

use crate::chat::request::{Image, Invalid};
use crate::chat::target::Quirks;
use crate::chat::{Answer, ChatRequest, Event, TargetFacts};
use crate::reason::Failure;
use crate::units::Tokens;
use crate::wire::Frame;
use crate::wire::framing::Framing;

use compatible::{Dialect, Kind};
use embeddings::Embeddings;
use surface::{Api, Surface};

pub mod anthropic;
pub mod azure;
pub mod bedrock;
pub mod cohere;
pub mod compatible;
#[cfg(test)]
mod conformance;
pub mod embeddings;
pub mod error;
pub mod gemini;
#[cfg(any(test, fuzzing))]
pub mod laws;
mod media;
pub mod openai;
pub mod path;
mod reasoning_details;
pub mod surface;

/// One provider's format.
pub trait Provider: Send + Sync + 'static {
    /// OpenTelemetry's `gen_ai.provider.name`.
    fn name(&self) -> &'static str;

    /// Where the key goes.
    fn authorization(&self) -> Authorization;

    /// Whether the client's own bytes are what goes upstream: then a fault in them is the client's.
    fn is_pass_through(&self) -> bool;

    /// What the request needs and this target lacks, if anything: the word after `capability:`. Cheap: it is asked
    /// for every target of a chain before any call.
    fn lacks(&self, request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str>;

    /// Whether the provider fetches an image of this http(s) URL itself. Where it does not, only bytes will do.
    fn fetches(&self, _url: &str, _facts: &TargetFacts) -> bool {
        true
    }

    /// The most tokens that one answer may have by what is sent: the client's cap, and what the dialect adds to it;
    /// `None` where no cap is sent. It may say too much where only the writing of the request tells, never too little.
    fn most_output(&self, request: &ChatRequest, _facts: &TargetFacts) -> Option<u64> {
        request.output_cap
    }

    /// The request members, beyond those that [`Conversation`](crate::chat::Conversation) reads, that this dialect
    /// carries over or lists as dropped itself. All others are dropped for it.
    fn extras(&self) -> &'static [&'static str] {
        &[]
    }

    /// The tokens that an image costs as input: at least, and at most.
    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens);

    /// Writes the upstream request.
    fn encode(&self, request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable>;

    /// Reads a JSON answer of status 200.
    fn decode(&self, body: Bytes, facts: &TargetFacts, context: &ReplyContext) -> Result<Answer, Failure>;

    /// A fresh reader of one streamed answer.
    fn decoder(&self, facts: &TargetFacts, context: &ReplyContext) -> Box<dyn EventDecoder>;

    /// Its embeddings, if it has any.
    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    /// How the messages of a streamed answer are told apart.
    fn framing(&self) -> Framing {
        Framing::Sse
    }

    /// Says why an answer of another status failed. `now` turns dates into waiting times.
    fn classify(&self, head: &Parts, body: &[u8], now: SystemTime) -> Failure;
}

/// The dialect that a vendor speaks for one of its models. `model` is the model's id, or the name of the known model
/// that it is like: some vendors serve the models of several publishers, each in its publisher's format.
pub fn dialect(kind: &Kind, surface: &Surface, model: &str) -> Arc<dyn Provider> {
    match kind.dialect {
        Dialect::OpenAi => Arc::new(openai::OpenAi { telemetry: kind.telemetry }),
        Dialect::Azure => Arc::new(azure::Azure::new(kind.telemetry, surface)),
        Dialect::Anthropic => Arc::new(anthropic::Anthropic { host: anthropic::Host::Direct }),
        // Only Claude's own format is spoken beside the common one.
        Dialect::Bedrock if surface.api == Some(Api::Invoke) && bedrock::may_be_claude(model) => {
            Arc::new(anthropic::Anthropic { host: anthropic::Host::Bedrock })
        }
        Dialect::Bedrock => Arc::new(bedrock::Bedrock),
        Dialect::Gemini => Arc::new(gemini::Gemini { host: gemini::Host::Direct }),
        Dialect::Cohere => Arc::new(cohere::Cohere),
        Dialect::Vertex if is_claude(model) => {
            Arc::new(anthropic::Anthropic { host: anthropic::Host::Vertex })
        }
        Dialect::Vertex => Arc::new(gemini::Gemini { host: gemini::Host::Vertex }),
    }
}

/// Whether a name is that of one of Anthropic's models, whoever serves it.
fn is_claude(model: &str) -> bool {
    model.contains("claude") || model.starts_with("anthropic/")
}

/// Where the vendor's surface departs from OpenAI's own API.
/// `is_known`: it is the vendor itself, or a model that the catalog has.
pub fn quirks(kind: &Kind, surface: &Surface, is_known: bool) -> Quirks {
    if kind.dialect == Dialect::Azure { azure::quirks(surface) } else { kind.quirks_of(is_known) }
}

/// What every request needs that no translation can write: the older form of tools, and tools of plain text.
pub fn untranslatable(request: &ChatRequest) -> Option<&'static str> {
    let needs = [(request.needs.functions, "functions"), (request.needs.custom_tools, "custom_tools")];
    needs.into_iter().find_map(|(is_needed, what)| is_needed.then_some(what))
}

/// All of the request's members that the target does not get: those that the dialect dropped, and those that it
/// does not know. A name that no header can carry is shown as `?`.
pub fn dropped(
    provider: &dyn Provider,
    request: &ChatRequest,
    encoded: &[&'static str],
) -> Vec<Cow<'static, str>> {
    let mut dropped: Vec<Cow<'static, str>> = Vec::new();
    let mut push = |name: Cow<'static, str>| {
        if !dropped.contains(&name) {
            dropped.push(name);
        }
    };
    encoded.iter().copied().for_each(|name| push(name.into()));
    if provider.is_pass_through() {
        return dropped;
    }
    if request.needs.names {
        push("name".into());
    }
    let is_shown = |name: &str| {
        name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
    };
    let unknown = request.foreign_members().filter(|name| !provider.extras().contains(name));
    for name in unknown.take(MOST_UNKNOWN) {
        push(if is_shown(name) { name.to_owned().into() } else { "?".into() });
    }
    dropped
}

/// Room for what another dialect says in more words.
const AROUND_REQUEST: usize = 128;
/// A whole answer without tool calls seldom has more: its start, a thought, a text, its end, its usage.
const USUAL_EVENTS: usize = 8;
/// Of unknown members so many are told, of so many bytes each.
const MOST_UNKNOWN: usize = 32;
const LONGEST_NAME: usize = 64;

/// Reads the events of one streamed answer.
pub trait EventDecoder: Send {
    /// Takes in one event of the wire and appends what it means. An event that cannot be read is
    /// [`Event::Unreadable`]; an error that the upstream reports inside the stream is the `Err`.
    fn decode(&mut self, event: &Frame, out: &mut Vec<Event>) -> Result<Progress, Failure>;

    /// The bytes have ended. An answer that had not come to its end is [`truncated`](crate::reason::Class::Truncated).
    fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), Failure>;

    /// Whether the answer looks complete although its finish reasons are held back until the bytes end, for a format
    /// in which more may follow one.
    fn is_complete(&self) -> bool {
        false
    }
}

/// Whether more of a stream is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The answer goes on.
    More,
    /// The upstream said its last word (`[DONE]`, `message_stop`): nothing after it matters.
    Done,
}

/// An upstream request but for its base URL and its credential.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Appended to the base URL, e.g. `/chat/completions`; with its query, if any.
    pub path: String,
    /// The dialect's own headers.
    pub headers: HeaderMap,
    /// The body in pieces.
    pub body: Vec<Bytes>,
    /// Request fields that this target cannot take and that only hinted at something.
    pub dropped: Vec<&'static str>,
    /// What the reader of the answer must know.
    pub context: ReplyContext,
}

impl Encoded {
    /// The body that says `value` in JSON.
    pub fn json(value: &impl Serialize) -> Result<Vec<Bytes>, Invalid> {
        Self::write(Vec::new(), value)
    }

    /// The body of a chat in the dialect's own form; it is about as long as the client's.
    pub fn translated(request: &ChatRequest, value: &impl Serialize) -> Result<Vec<Bytes>, Invalid> {
        Self::write(Vec::with_capacity(request.body().len() + AROUND_REQUEST), value)
    }

    fn write(mut body: Vec<u8>, value: &impl Serialize) -> Result<Vec<Bytes>, Invalid> {
        let unwritable =
            |error| Invalid { message: format!("The request cannot be written: {error}."), param: None };
        serde_json::to_writer(&mut body, value).map_err(unwritable)?;
        Ok(vec![body.into()])
    }
}

/// What the reader of an answer must know of its request.
#[derive(Debug, Clone, Default)]
pub struct ReplyContext {
    /// How many answers were asked for (`n`).
    pub choices: u32,
    /// The answer comes as the input of this tool and is to be shown as text: emulated structured output.
    pub answer_tool: Option<String>,
    /// Tool names that the provider would not take: what was sent instead, to what the client calls it.
    pub renamed_tools: BTreeMap<String, String>,
}

/// Where a provider wants its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// `authorization: Bearer <key>`.
    Bearer,
    /// The key as it is, in this header.
    Header(&'static str),
}

/// Why no upstream request could be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// The target lacks this; another may have it.
    Lacks(&'static str),
    /// No target could take it.
    Invalid(Invalid),
}

impl From<Invalid> for Unsendable {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}
