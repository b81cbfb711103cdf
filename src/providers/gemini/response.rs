//! Reads an answer, whole or in pieces: a stream's events and a JSON body have the same form, so there is one reader.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::finish::{self, Ending};
use super::grounding::{self, Source};
use super::host::Host;
use super::signature::{self, Kind, Mark, Place};
use super::wire::{Candidate, CandidatePart, FunctionCall, PromptFeedback, Reply, UsageMetadata};
use super::{error, logprobs, partial_args, usage};
use crate::chat::response::{AnswerMessage, Choice};
use crate::chat::{Answer, ChatResponse, Delta, Event, FinishReason, Fold, Start};
use crate::providers::{ReplyContext, USUAL_EVENTS};
use crate::reason::{Class, Failure};
use crate::units::Tokens;
use crate::wire::few::Few;
use crate::wire::timestamp;

/// Reads a JSON answer of status 200.
pub fn decode(body: &Bytes, context: &ReplyContext, host: Host) -> Result<Answer, Failure> {
    let replies = parse(body).map_err(|unread| match unread {
        Unread::Error(failure) => failure,
        Unread::Cut(message) => Failure::new(Class::Truncated, message),
        Unread::Foreign(message) => Failure::new(Class::Malformed, message),
    })?;
    if !replies.iter().any(Reply::is_known) {
        let message = "The answer has neither candidates nor a reason for having none.";
        return Err(Failure::new(Class::Malformed, message));
    }
    let mut reader = Reader::new(context, host);
    let mut events = Vec::with_capacity(USUAL_EVENTS);
    for reply in replies {
        reader.read(reply, &mut events)?;
    }
    reader.end(&mut events)?;
    let mut response: ChatResponse = Fold::of(events);
    if response.choices.is_empty() {
        // Neither an answer nor a block: an empty answer, which has its own class above.
        let message = AnswerMessage::default();
        response.choices.push(Choice {
            index: 0,
            message,
            logprobs: None,
            finish_reason: FinishReason::Stop,
        });
    }
    Ok(Answer::Composed(response))
}

/// Why bytes are no reply.
pub enum Unread {
    /// They report an error.
    Error(Failure),
    /// They end too early.
    Cut(String),
    /// They are something else.
    Foreign(String),
}

impl From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        let message = format!("The answer cannot be read: {error}.");
        if error.is_eof() { Self::Cut(message) } else { Self::Foreign(message) }
    }
}

/// Reads one `GenerateContentResponse`, or the list of them that a stream is where nobody asked for events.
pub fn parse(bytes: &[u8]) -> Result<Few<Reply<'_>>, Unread> {
    // One reply, as it nearly always is. Why it is none is found out below.
    if bytes.first() == Some(&b'{')
        && let Some(text) = std::str::from_utf8(bytes).ok()
        && let Ok(reply) = serde_json::from_str::<Reply<'_>>(text)
    {
        return good(reply).map(Few::One);
    }
    let replies: Vec<&RawValue> = if bytes.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(bytes)?
    } else {
        vec![serde_json::from_slice(bytes)?]
    };
    replies.into_iter().map(one).collect()
}

/// Reads one reply.
fn one(raw: &RawValue) -> Result<Reply<'_>, Unread> {
    // A list would be read as an object's members in their order.
    if !raw.get().starts_with('{') {
        return Err(Unread::Foreign("The answer is no object.".into()));
    }
    good(serde_json::from_str(raw.get())?)
}

/// A reply that reports no error.
fn good(reply: Reply<'_>) -> Result<Reply<'_>, Unread> {
    match reply.error {
        Some(error) => Err(Unread::Error(error::of_value(&serde_json::json!({ "error": error })))),
        None => Ok(reply),
    }
}

/// Turns replies into events.
pub struct Reader {
    host: Host,
    renamed: BTreeMap<String, String>,
    has_started: bool,
    response_id: Option<String>,
    choices: Vec<ChoiceState>,
    /// How many choices were asked for.
    asked: usize,
    usage: Option<UsageMetadata>,
    /// The input and the thoughts that were told of last.
    told: Option<(Tokens, Tokens)>,
}

/// What has been read of one choice.
#[derive(Default)]
struct ChoiceState {
    index: u32,
    text: String,
    has_reasoned: bool,
    calls: u32,
    /// A call whose arguments come in pieces.
    open_call: Option<OpenCall>,
    /// What the client must bring back for parts that are no tool calls.
    details: Vec<Value>,
    grounding: Option<Value>,
    citations: Option<Value>,
    /// Where the text stood when each part began.
    starts: Vec<usize>,
    /// Why it ended, as far as is known: some models give a finish reason with every piece.
    ending: Option<FinishReason>,
    /// More came after a finish reason, so none can be trusted to be the last.
    has_gone_on: bool,
}

struct OpenCall {
    id: Option<String>,
    name: String,
    signature: Option<String>,
    arguments: Value,
}

impl Reader {
    pub fn new(context: &ReplyContext, host: Host) -> Self {
        Self {
            host,
            renamed: context.renamed_tools.clone(),
            has_started: false,
            response_id: None,
            choices: Vec::new(),
            asked: context.choices.max(1) as usize,
            usage: None,
            told: None,
        }
    }

    /// Takes in one reply.
    pub fn read(&mut self, reply: Reply<'_>, out: &mut Vec<Event>) -> Result<(), Failure> {
        if !self.has_started {
            self.has_started = true;
            self.response_id = reply.response_id.map(|id| id.0.into_owned());
            let created = reply.create_time.and_then(|time| timestamp::rfc3339(&time.0));
            out.push(Event::Start(Start {
                id: self.response_id.clone(),
                model: reply.model_version.map(|model| model.0.into_owned()),
                created: created.map(|time| time.as_secs()),
                ..Start::default()
            }));
        }
        if let Some(usage) = reply.usage_metadata {
            let known = self.usage.get_or_insert_default();
            usage::merge(known, usage);
            // What is written shows in the text: only of input and thoughts would nobody else know.
            let so_far = usage::canonical(known);
            let hidden = so_far.map(|so_far| (so_far.prompt, so_far.reasoning));
            if hidden != std::mem::replace(&mut self.told, hidden) {
                out.extend(so_far.map(Event::SoFar));
            }
        }
        let candidates = reply.candidates.unwrap_or_default();
        if let Some(PromptFeedback { block_reason: Some(reason), block_reason_message: words }) =
            reply.prompt_feedback
            && let Some(reason) = finish::block_reason(&reason, self.host)
            && candidates.is_empty()
        {
            return Err(error::blocked("prompt", &reason, words.as_deref()));
        }
        let is_alone = candidates.len() == 1;
        for (place, candidate) in (0..).zip(candidates) {
            self.candidate(place, candidate, is_alone, out)?;
        }
        Ok(())
    }

    /// The replies have ended.
    pub fn end(&mut self, out: &mut Vec<Event>) -> Result<(), Failure> {
        if self.choices.iter().any(|choice| choice.ending.is_none()) {
            return Err(Failure::new(Class::Truncated, "The answer ended without a finish reason."));
        }
        let namer = Namer { renamed: &self.renamed, response_id: self.response_id.as_deref() };
        for choice in &mut self.choices {
            choice.finish(&namer, out);
        }
        out.extend(self.usage.take().and_then(|usage| usage::canonical(&usage)).map(Event::Usage));
        Ok(())
    }

    /// Whether any candidate has come.
    pub fn has_choices(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether every choice has a finish reason that looks like its last.
    pub fn is_complete(&self) -> bool {
        let is_over = |choice: &ChoiceState| choice.ending.is_some() && !choice.has_gone_on;
        self.choices.len() >= self.asked && self.choices.iter().all(is_over)
    }

    fn candidate(
        &mut self,
        place: u32,
        candidate: Candidate<'_>,
        is_alone: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let index = candidate.index.unwrap_or(place);
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(ChoiceState { index, ..ChoiceState::default() });
            self.choices.len() - 1
        });
        let is_alone = is_alone && self.choices.len() == 1;
        let namer = Namer { renamed: &self.renamed, response_id: self.response_id.as_deref() };
        let choice = &mut self.choices[at];
        for part in candidate.content.and_then(|content| content.parts).unwrap_or_default() {
            choice.has_gone_on |= choice.ending.is_some();
            choice.part(part, &namer, out);
        }
        choice.grounding = candidate.grounding_metadata.or(choice.grounding.take());
        choice.citations = candidate.citation_metadata.or(choice.citations.take());
        if let Some(logprobs) = candidate.logprobs_result.as_ref().and_then(logprobs::of) {
            choice.emit(Delta::Logprobs(logprobs), out);
        }
        let reason = candidate.finish_reason.as_ref().and_then(|reason| finish::reason(reason, self.host));
        reason.map_or(Ok(()), |reason| {
            choice.heed(&reason, candidate.finish_message.as_deref(), is_alone, &namer, out)
        })
    }
}

impl ChoiceState {
    fn part(&mut self, raw: &RawValue, namer: &Namer<'_>, out: &mut Vec<Event>) {
        self.starts.push(self.text.len());
        // One that has another form than expected is one that nobody here knows.
        let part: Option<CandidatePart<'_>> = serde_json::from_str(raw.get()).ok();
        match part {
            Some(CandidatePart { function_call: Some(call), thought_signature, .. }) => {
                let signature = thought_signature.filter(|signature| !signature.is_empty());
                self.function_call(call, signature, namer, out);
            }
            Some(CandidatePart { text: Some(text), thought, thought_signature, .. }) => {
                self.text(&text.0, thought == Some(true), thought_signature.as_deref(), out);
            }
            Some(_) | None => self.other(raw, out),
        }
    }

    fn text(&mut self, text: &str, is_thought: bool, signature: Option<&str>, out: &mut Vec<Event>) {
        let start = self.text.len();
        if is_thought {
            self.has_reasoned |= !text.is_empty();
        } else {
            self.text.push_str(text);
        }
        if !text.is_empty() {
            let delta = if is_thought { Delta::Reasoning } else { Delta::Text };
            self.emit(delta(text.to_owned()), out);
        }
        let Some(signature) = signature.filter(|signature| !signature.is_empty()) else { return };
        let kind = if is_thought { Kind::Thought { text, signature } } else { Kind::Text(signature) };
        self.carry(kind, start);
    }

    /// A part that OpenAI's format has no place for.
    fn other(&mut self, raw: &RawValue, out: &mut Vec<Event>) {
        let Ok(Value::Object(part)) = serde_json::from_str(raw.get()) else { return };
        let mut kinds = part.keys().filter(|key| !matches!(key.as_str(), "thought" | "thoughtSignature"));
        if kinds.any(|kind| kind != "text") {
            if !part.contains_key("inlineData") {
                self.carry(Kind::Part(&part), self.text.len());
            }
            return;
        }
        // A signature alone is that of an empty text.
        let signature = part.get("thoughtSignature").and_then(Value::as_str);
        self.text("", part.get("thought") == Some(&Value::Bool(true)), signature, out);
    }

    /// Remembers what must come back for the part whose text began here and ends at the end.
    fn carry(&mut self, kind: Kind<'_>, start: usize) {
        let place = Some(Place { start, end: self.text.len(), calls: self.calls as usize });
        let index = self.details.len();
        self.details.push(Mark { place, kind }.detail(index));
    }

    fn function_call(
        &mut self,
        call: FunctionCall,
        signature: Option<String>,
        namer: &Namer<'_>,
        out: &mut Vec<Event>,
    ) {
        let goes_on = call.will_continue == Some(true);
        if let Some(name) = call.name.filter(|name| !name.is_empty()) {
            // The end of the call before has been seen missing.
            self.close_call(namer, out);
            if !goes_on && call.partial_args.is_none() {
                let arguments = call.args.map_or_else(|| "{}".into(), |args| compact(&args));
                self.tool_call(call.id, &name, signature.as_deref(), arguments, namer, out);
                return;
            }
            let arguments = call.args.and_then(|args| serde_json::from_str(args.get()).ok());
            let arguments = arguments.unwrap_or_else(|| serde_json::json!({}));
            self.open_call = Some(OpenCall { id: call.id, name, signature, arguments });
        }
        if let Some(open) = &mut self.open_call {
            for piece in call.partial_args.into_iter().flatten() {
                partial_args::apply(&mut open.arguments, piece);
            }
        }
        if !goes_on {
            self.close_call(namer, out);
        }
    }

    fn close_call(&mut self, namer: &Namer<'_>, out: &mut Vec<Event>) {
        if let Some(OpenCall { id, name, signature, arguments }) = self.open_call.take() {
            self.tool_call(id, &name, signature.as_deref(), arguments.to_string(), namer, out);
        }
    }

    fn tool_call(
        &mut self,
        id: Option<String>,
        name: &str,
        signature: Option<&str>,
        arguments: String,
        namer: &Namer<'_>,
        out: &mut Vec<Event>,
    ) {
        let index = self.calls;
        self.calls += 1;
        let given = id.filter(|id| !id.is_empty());
        let id = given.unwrap_or_else(|| namer.made_up_id(self.index, index, name, &arguments));
        let extra = signature.map(signature::on_call);
        self.emit(Delta::ToolCall { index, id, name: namer.clients_name(name), extra }, out);
        self.emit(Delta::ToolArguments { index, piece: arguments }, out);
    }

    /// A finish reason has come; the last one counts.
    fn heed(
        &mut self,
        reason: &str,
        message: Option<&str>,
        is_alone: bool,
        namer: &Namer<'_>,
        out: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        self.close_call(namer, out);
        let has_said_anything = self.has_spoken() || self.has_reasoned;
        self.ending = Some(match finish::ending(reason) {
            Ending::Well(reason) => reason,
            Ending::Filtered if is_alone && !has_said_anything => {
                return Err(error::blocked("answer", reason, message));
            }
            Ending::Filtered => FinishReason::ContentFilter,
            Ending::BrokenCall if is_alone && self.calls == 0 => return Err(failed(reason, message)),
            Ending::Unclear if is_alone && !self.has_spoken() => return Err(failed(reason, message)),
            Ending::BrokenCall | Ending::Unclear => FinishReason::Stop,
        });
        Ok(())
    }

    /// Whether there is any text or call.
    fn has_spoken(&self) -> bool {
        !self.text.is_empty() || self.calls > 0
    }

    /// Nothing more of it will come.
    fn finish(&mut self, namer: &Namer<'_>, out: &mut Vec<Event>) {
        self.close_call(namer, out);
        let reason = match self.ending.unwrap_or(FinishReason::Stop) {
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            reason => reason,
        };
        if !self.has_spoken() {
            // No text is an empty one: what comes back as null is no message that a client may send again.
            self.emit(Delta::Text(String::new()), out);
        }
        for detail in std::mem::take(&mut self.details) {
            self.emit(Delta::ReasoningDetail(detail), out);
        }
        let source = Source { text: &self.text, starts: &self.starts };
        let grounded = self.grounding.take().map(|metadata| grounding::annotations(&metadata, &source));
        let cited = self.citations.take().map(|metadata| grounding::citations(&metadata, &source));
        for annotation in grounded.into_iter().chain(cited).flatten() {
            self.emit(Delta::Annotation(annotation), out);
        }
        out.push(Event::Finish { choice: self.index, reason });
    }

    fn emit(&self, delta: Delta, out: &mut Vec<Event>) {
        out.push(Event::Delta { choice: self.index, delta });
    }
}

/// An answer that the model could not finish, and that another try may.
fn failed(reason: &str, message: Option<&str>) -> Failure {
    let words = message.map_or_else(String::new, |message| format!(" {message}"));
    let message = format!("The model's answer failed ({reason}).{words}");
    Failure { code: Some(reason.to_owned()), ..Failure::new(Class::ServerError, message) }
}

/// What tool calls are called.
struct Namer<'a> {
    renamed: &'a BTreeMap<String, String>,
    response_id: Option<&'a str>,
}

impl Namer<'_> {
    fn clients_name(&self, sent: &str) -> String {
        self.renamed.get(sent).map_or(sent, String::as_str).to_owned()
    }

    /// An id for a call that came without one: the same for the same answer, and another for every other call.
    fn made_up_id(&self, choice: u32, index: u32, name: &str, arguments: &str) -> String {
        let mut hash = Sha256::new();
        match self.response_id {
            Some(id) => hash.update(id),
            None => [name, "\0", arguments].iter().for_each(|part| hash.update(part)),
        }
        hash.update([0]);
        hash.update(choice.to_le_bytes());
        hash.update(index.to_le_bytes());
        let digest = hash.finalize();
        let head = digest.first_chunk().copied().unwrap_or_default();
        format!("call_{:024x}", u128::from_be_bytes(head) >> 32)
    }
}

/// Arguments without the white space between their tokens; numbers keep their digits.
fn compact(json: &RawValue) -> String {
    let mut compact = String::with_capacity(json.get().len());
    let (mut in_string, mut is_escaped) = (false, false);
    for c in json.get().chars() {
        if !in_string && c.is_ascii_whitespace() {
            continue;
        }
        compact.push(c);
        in_string ^= c == '"' && !is_escaped;
        is_escaped = in_string && c == '\\' && !is_escaped;
    }
    compact
}
