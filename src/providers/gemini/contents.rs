//! The history as Gemini takes it: turns of `user` and `model` that alternate and begin with `user`, and the
//! leading system messages apart from them.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::generation::Generation;
use super::host::Host;
use super::media;
use super::names::Names;
use super::said::Said;
use super::signature;
use super::wire::{CallPart, Content as Turn, Part, PartData, ResponsePart, Role};
use crate::chat::conversation::{AssistantMessage, Content, Message, Part as ClientPart, ToolMessage};
use crate::chat::request::Invalid;
use crate::providers::Unsendable;

/// Stands in for a turn that Gemini wants and the client did not write.
const PLACEHOLDER: &str = ".";
/// 2^53: integers beyond it are rounded in Gemini's `Struct`, whose numbers are doubles.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// A written history.
#[derive(Debug)]
pub struct History<'a> {
    pub system: Option<Turn<'a>>,
    pub contents: Vec<Turn<'a>>,
    pub media: Media,
    /// Calls of server-side tools come back.
    pub has_server_calls: bool,
}

/// What media the messages hold, as far as it matters for all of them together.
#[derive(Debug, Default)]
pub struct Media {
    /// The `detail` of each image.
    pub details: Vec<Detail>,
    /// There is more than images.
    pub has_others: bool,
}

/// How closely an image is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    Low,
    High,
    /// Nobody says.
    Auto,
}

/// Writes the messages.
pub fn write<'a>(
    messages: &'a [Message],
    names: &Names,
    generation: Generation,
    host: Host,
) -> Result<History<'a>, Unsendable> {
    let leading = messages.iter().take_while(|message| matches!(message, Message::System(_))).count();
    let mut system = Vec::new();
    for (at, message) in messages[..leading].iter().enumerate() {
        if let Message::System(content) = message {
            system.push(system_text(at, content)?);
        }
    }
    system.retain(|text| !text.is_empty());
    let system = system.join("\n\n");
    let mut writer = Writer {
        names,
        generation,
        host,
        turns: Vec::new(),
        calls: Vec::new(),
        turn: 0,
        results: Vec::new(),
        media: Media::default(),
    };
    for (at, message) in messages.iter().enumerate().skip(leading) {
        writer.message(at, message)?;
    }
    writer.answer_calls();
    let media = writer.media;
    let mut contents = writer.turns;
    let is_server_call = |part: &Part<'_>| match part.data {
        PartData::AsItWas(part) => part.contains_key("toolCall"),
        PartData::Text(_)
        | PartData::InlineData(_)
        | PartData::FileData(_)
        | PartData::FunctionCall(_)
        | PartData::FunctionResponse(_) => false,
    };
    let has_server_calls = contents.iter().flat_map(|turn| &turn.parts).any(is_server_call);
    if contents.is_empty() && leading == messages.len() {
        // A system message alone is the whole prompt, which only a user turn can be.
        contents.push(text_turn(Some(Role::User), system));
        return Ok(History { system: None, contents, media, has_server_calls });
    }
    match contents.first() {
        // An empty prompt is answered, one without parts is not.
        None => contents.push(text_turn(Some(Role::User), String::new())),
        Some(turn) if turn.role == Some(Role::Model) => {
            contents.insert(0, text_turn(Some(Role::User), PLACEHOLDER.into()));
        }
        Some(_) => {}
    }
    let system = (!system.is_empty()).then(|| text_turn(None, system));
    Ok(History { system, contents, media, has_server_calls })
}

fn text_turn<'a>(role: Option<Role>, text: String) -> Turn<'a> {
    Turn { role, parts: vec![PartData::Text(Cow::Owned(text)).into()] }
}

struct Writer<'a, 'n> {
    names: &'n Names,
    generation: Generation,
    host: Host,
    turns: Vec<Turn<'a>>,
    /// Every call so far.
    calls: Vec<Call<'a>>,
    /// Where those of the last turn begin.
    turn: usize,
    /// The results that have come since the last turn.
    results: Vec<CallResult<'a>>,
    media: Media,
}

struct Call<'a> {
    id: &'a str,
    /// As it is sent.
    name: Cow<'a, str>,
    is_answered: bool,
}

struct CallResult<'a> {
    /// Which call it answers.
    place: usize,
    response: ResponsePart<'a>,
    /// What does not fit in it and follows it.
    beside: Vec<Part<'a>>,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, at: usize, message: &'a Message) -> Result<(), Unsendable> {
        match message {
            Message::Tool(message) => return self.result(at, message),
            Message::System(content) => {
                let text = system_text(at, content)?;
                self.answer_calls();
                if !text.is_empty() {
                    let text = format!("[System message]\n{text}\n[End of system message]");
                    self.push(Role::User, vec![PartData::Text(text.into()).into()]);
                }
            }
            Message::User(content) => {
                self.answer_calls();
                let parts = self.parts(at, content)?;
                self.push(Role::User, parts);
            }
            Message::Assistant(message) => {
                self.answer_calls();
                let parts = self.assistant(at, message)?;
                self.push(Role::Model, parts);
            }
        }
        Ok(())
    }

    /// Adds to the last turn if it is of the same role. An empty turn is none.
    fn push(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if parts.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.extend(parts),
            _ => self.turns.push(Turn { role: Some(role), parts }),
        }
    }

    fn parts(&mut self, at: usize, content: &'a Content) -> Result<Vec<Part<'a>>, Unsendable> {
        let param = || format!("messages[{at}].content");
        let parts = match content {
            Content::None => &[],
            Content::Text(text) => return Ok(text_part(text).into_iter().collect()),
            Content::Parts(parts) => parts.as_slice(),
        };
        let mut written = Vec::new();
        for part in parts {
            match part {
                ClientPart::Text { text, .. } => written.extend(text_part(text)),
                ClientPart::Refusal(text) => written.extend(text_part(text)),
                ClientPart::ImageUrl { image_url, .. } => {
                    self.media.details.push(Detail::of(image_url.detail.as_deref()));
                    written.push(media::image(&param(), &image_url.url)?.into());
                }
                ClientPart::InputAudio(audio) => {
                    self.media.has_others = true;
                    written.push(media::audio(&param(), audio)?.into());
                }
                ClientPart::File(file) => {
                    self.media.has_others = true;
                    let mut data = media::file(&param(), file)?;
                    if let (Host::Vertex, PartData::FileData(file)) = (self.host, &mut data) {
                        // It wants a type in any case.
                        file.mime_type.get_or_insert("application/pdf");
                    }
                    written.push(data.into());
                }
                ClientPart::Unknown => return Err(Unsendable::Lacks("content_part")),
            }
        }
        Ok(written)
    }

    fn assistant(&mut self, at: usize, message: &'a AssistantMessage) -> Result<Vec<Part<'a>>, Unsendable> {
        let marks = signature::marks(&message.reasoning_details);
        let mut parts = if marks.is_empty() {
            let mut parts = self.parts(at, &message.content)?;
            parts.extend(message.refusal.as_deref().and_then(text_part));
            parts
        } else {
            Vec::new()
        };
        let mut calls = self.calls_of(message).into_iter();
        if !marks.is_empty() {
            let text = self.assistant_text(at, message)?;
            Said(text).restore(&marks, &mut calls, &mut parts);
        }
        parts.extend(calls);
        Ok(parts)
    }

    fn calls_of(&mut self, message: &'a AssistantMessage) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        self.turn = self.calls.len();
        for (index, call) in message.tool_calls.iter().enumerate() {
            let name = self.names.sent(&call.function.name);
            let signature = signature::of_call(call, &message.reasoning_details);
            // Only the first call of a step is signed; its siblings have none.
            let needs_one = index == 0 && self.generation.signs_tool_calls();
            self.calls.push(Call { id: &call.id, name: name.clone(), is_answered: false });
            let args = arguments(&call.function.arguments);
            parts.push(Part {
                data: PartData::FunctionCall(CallPart { id: self.sent_id(&call.id), name, args }),
                thought: None,
                thought_signature: signature.or(needs_one.then_some(signature::SKIP)),
            });
        }
        parts
    }

    /// All that the assistant said, as one text.
    fn assistant_text(
        &mut self,
        at: usize,
        message: &'a AssistantMessage,
    ) -> Result<Cow<'a, str>, Unsendable> {
        let mut text = match &message.content {
            Content::Text(text) => Cow::Borrowed(text.as_str()),
            content => self.result_content(at, content)?.0,
        };
        if let Some(refusal) = &message.refusal {
            text.to_mut().push_str(refusal);
        }
        Ok(text)
    }

    fn result(&mut self, at: usize, message: &'a ToolMessage) -> Result<(), Unsendable> {
        // Ids need not be unique over turns, nor in one: there they are answered in their order. If each call of
        // the last turn has its answer, it is the last before; if all have, the last again.
        let of_this_id = |call: &&Call<'_>| call.id == message.tool_call_id;
        let is_open = |call: &Call<'_>| of_this_id(&call) && !call.is_answered;
        let in_turn = self.calls.iter().skip(self.turn).position(is_open).map(|place| place + self.turn);
        let place = in_turn.or_else(|| self.calls.iter().rposition(is_open));
        let place = place.or_else(|| self.calls.iter().rposition(|call| of_this_id(&call)));
        let Some(place) = place else {
            let param = format!("messages[{at}].tool_call_id");
            return Err(Invalid::at(param, "This tool message answers a call that was never made.").into());
        };
        self.calls[place].is_answered = true;
        let (text, media) = self.result_content(at, &message.content)?;
        let (parts, beside) = if self.generation.signs_tool_calls() {
            media.into_iter().partition(|part| self.fits_in_result(&part.data))
        } else {
            (Vec::new(), media)
        };
        let call = &self.calls[place];
        let id = self.sent_id(call.id);
        let response = ResponsePart { id, name: call.name.clone(), response: object(&text), parts };
        self.results.push(CallResult { place, response, beside });
        Ok(())
    }

    /// An id as it is sent. Vertex knew none before its models gave some.
    fn sent_id<'b>(&self, id: &'b str) -> Option<&'b str> {
        let is_known = match self.host {
            Host::Direct => true,
            Host::Vertex => self.generation.signs_tool_calls(),
        };
        is_known.then_some(id)
    }

    /// Whether this may stand in a result itself.
    fn fits_in_result(&self, data: &PartData<'_>) -> bool {
        match data {
            PartData::InlineData(_) => true,
            PartData::FileData(_) => self.host == Host::Vertex,
            PartData::Text(_)
            | PartData::FunctionCall(_)
            | PartData::FunctionResponse(_)
            | PartData::AsItWas(_) => false,
        }
    }

    /// The text of a result, and what else is in it.
    fn result_content(
        &mut self,
        at: usize,
        content: &'a Content,
    ) -> Result<(Cow<'a, str>, Vec<Part<'a>>), Unsendable> {
        let mut media = Vec::new();
        let mut text = Cow::Borrowed("");
        for part in self.parts(at, content)? {
            match part.data {
                PartData::Text(piece) if text.is_empty() => text = piece,
                PartData::Text(piece) => text.to_mut().push_str(&piece),
                PartData::InlineData(_)
                | PartData::FileData(_)
                | PartData::FunctionCall(_)
                | PartData::FunctionResponse(_)
                | PartData::AsItWas(_) => media.push(part),
            }
        }
        Ok((text, media))
    }

    /// Writes the results that have come: in the order of their calls, and before anything else of the user's.
    fn answer_calls(&mut self) {
        let mut results = std::mem::take(&mut self.results);
        results.sort_by_key(|result| result.place);
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut beside = Vec::new();
        for result in results {
            parts.push(PartData::FunctionResponse(result.response).into());
            beside.extend(result.beside);
        }
        parts.extend(beside);
        self.push(Role::User, parts);
    }
}

impl Detail {
    fn of(word: Option<&str>) -> Self {
        match word {
            Some("low") => Self::Low,
            Some("high") => Self::High,
            Some(_) | None => Self::Auto,
        }
    }
}

impl Media {
    /// The detail that all images ask for, where it can be asked for all media at once.
    pub fn common_detail(&self) -> Option<Detail> {
        let first = *self.details.first()?;
        let is_common = !self.has_others && self.details.iter().all(|detail| *detail == first);
        (is_common && first != Detail::Auto).then_some(first)
    }

    /// Whether an image asks for a detail.
    pub fn has_detail(&self) -> bool {
        self.details.iter().any(|detail| *detail != Detail::Auto)
    }
}

fn text_part(text: &str) -> Option<Part<'_>> {
    (!text.is_empty()).then(|| PartData::Text(Cow::Borrowed(text)).into())
}

fn system_text(at: usize, content: &Content) -> Result<String, Invalid> {
    if let Content::Parts(parts) = content
        && parts.iter().any(|part| !matches!(part, ClientPart::Text { .. }))
    {
        return Err(Invalid::at(format!("messages[{at}].content"), "A system message takes text only."));
    }
    Ok(content.text())
}

/// The arguments of a call in the history. They are what a model wrote, so they may be anything.
fn arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Value::Object(object),
        Ok(Value::Null) => json!({}),
        _ if text.trim().is_empty() => json!({}),
        Ok(_) | Err(_) => json!({ "arguments": text }),
    }
}

/// The result of a call, which must be an object. One whose numbers would be rounded goes as text.
fn object(text: &str) -> Value {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(object) if object.values().all(is_exact) => Value::Object(object),
        Ok(_) | Err(_) => json!({ "result": text }),
    }
}

fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() < EXACT_INTEGERS),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(object) => object.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}
