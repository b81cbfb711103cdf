//! A whole answer in typed form, and the law that binds it to a stream: `fold(explode(response)) == response`.

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::Value;

use super::event::{Delta, Event, FinishReason, Start};
use super::usage::Usage;

/// Room for what of an answer is not its text.
const AROUND_CONTENT: usize = 640;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatResponse {
    pub start: Start,
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
}

/// One of the answers asked for with `n`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    pub index: u32,
    pub message: AnswerMessage,
    /// OpenAI's `logprobs` object.
    pub logprobs: Option<Value>,
    pub finish_reason: FinishReason,
}

/// The assistant's message.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(tag = "role", rename = "assistant")]
pub struct AnswerMessage {
    pub content: Option<String>,
    pub refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasoning_details: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<AnswerToolCall>,
}

/// A tool call that the model made.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerToolCall {
    pub id: String,
    pub name: String,
    /// JSON text.
    pub arguments: String,
    /// Opaque provider data that the client sends back with the call (`extra_content`).
    pub extra: Option<Value>,
}

impl AnswerMessage {
    /// How many bytes of answer it holds.
    fn content_bytes(&self) -> usize {
        let text = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        let calls = self.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
        text(&self.content) + text(&self.reasoning_content) + text(&self.refusal) + calls.sum::<usize>()
    }

    /// Adds a piece of a stream. Log probabilities are the choice's, not the message's.
    fn apply(&mut self, delta: Delta) {
        let append = |part: &mut Option<String>, text: String| match part {
            Some(before) => before.push_str(&text),
            None => *part = Some(text),
        };
        match delta {
            Delta::Text(text) => append(&mut self.content, text),
            Delta::Reasoning(text) => append(&mut self.reasoning_content, text),
            Delta::Refusal(text) => append(&mut self.refusal, text),
            Delta::ReasoningDetail(detail) => self.reasoning_details.push(detail),
            Delta::Annotation(annotation) => self.annotations.push(annotation),
            Delta::ToolCall { id, name, extra, .. } => {
                self.tool_calls.push(AnswerToolCall { id, name, arguments: String::new(), extra });
            }
            Delta::ToolArguments { index, piece } => {
                if let Some(call) = self.tool_calls.get_mut(index as usize) {
                    call.arguments.push_str(&piece);
                }
            }
            Delta::Logprobs(_) => {}
        }
    }

    fn deltas(&self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        deltas.extend(self.reasoning_content.clone().map(Delta::Reasoning));
        deltas.extend(self.reasoning_details.iter().cloned().map(Delta::ReasoningDetail));
        deltas.extend(self.content.clone().map(Delta::Text));
        deltas.extend(self.refusal.clone().map(Delta::Refusal));
        for (index, call) in (0..).zip(&self.tool_calls) {
            let AnswerToolCall { id, name, arguments, extra } = call.clone();
            deltas.push(Delta::ToolCall { index, id, name, extra });
            if !arguments.is_empty() {
                deltas.push(Delta::ToolArguments { index, piece: arguments });
            }
        }
        deltas.extend(self.annotations.iter().cloned().map(Delta::Annotation));
        deltas
    }
}

impl Serialize for AnswerToolCall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            arguments: &'a str,
        }
        let mut call = serializer.serialize_struct("AnswerToolCall", 4)?;
        call.serialize_field("id", &self.id)?;
        call.serialize_field("type", "function")?;
        call.serialize_field("function", &Function { name: &self.name, arguments: &self.arguments })?;
        match &self.extra {
            Some(extra) => call.serialize_field("extra_content", extra)?,
            None => call.skip_field("extra_content")?,
        }
        call.end()
    }
}

impl ChatResponse {
    /// How many bytes of answer it holds.
    pub fn content_bytes(&self) -> usize {
        self.choices.iter().map(|choice| choice.message.content_bytes()).sum()
    }

    /// The stream that says the same.
    pub fn explode(self) -> Vec<Event> {
        let mut events = vec![Event::Start(self.start)];
        for choice in self.choices {
            let index = choice.index;
            let deltas = choice.message.deltas().into_iter().chain(choice.logprobs.map(Delta::Logprobs));
            events.extend(deltas.map(|delta| Event::Delta { choice: index, delta }));
            events.push(Event::Finish { choice: index, reason: choice.finish_reason });
        }
        events.extend(self.usage.map(Event::Usage));
        events
    }

    /// OpenAI's `chat.completion` object as it is sent. `created` is used where the upstream gave no time, `id` where
    /// it gave no id, `model` where it named none.
    pub fn to_json(&self, id: &str, created: u64, model: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Completion<'a> {
            id: &'a str,
            object: &'static str,
            created: u64,
            model: &'a str,
            choices: &'a [Choice],
            #[serde(skip_serializing_if = "Option::is_none")]
            usage: Option<Usage>,
            #[serde(skip_serializing_if = "Option::is_none")]
            service_tier: Option<&'a str>,
        }
        let completion = Completion {
            id: self.start.id.as_deref().unwrap_or(id),
            object: "chat.completion",
            created: self.start.created.unwrap_or(created),
            model: self.start.model.as_deref().unwrap_or(model),
            choices: &self.choices,
            usage: self.usage,
            service_tier: self.start.service_tier.as_deref(),
        };
        let mut body = Vec::with_capacity(self.content_bytes() + AROUND_CONTENT);
        // Memory takes every byte, and what is written here is JSON whatever it holds.
        let _ = serde_json::to_writer(&mut body, &completion);
        body
    }
}

impl Choice {
    /// A choice of which nothing is known but its number.
    pub(super) fn new(index: u32) -> Self {
        let message = AnswerMessage::default();
        Self { index, message, logprobs: None, finish_reason: FinishReason::Stop }
    }

    /// Adds a piece of a stream.
    pub(super) fn apply(&mut self, delta: Delta) {
        match (delta, &mut self.logprobs) {
            (Delta::Logprobs(more), Some(known)) => join_logprobs(known, more),
            (Delta::Logprobs(more), none) => *none = Some(more),
            (delta, _) => self.message.apply(delta),
        }
    }
}

impl Serialize for FinishReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Collects a translated stream into the answer that says the same.
#[derive(Debug, Default)]
pub struct Fold {
    start: Start,
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

impl Fold {
    /// The answer that all events of a stream say together.
    pub fn of(events: impl IntoIterator<Item = Event>) -> ChatResponse {
        let mut fold = Self::default();
        events.into_iter().for_each(|event| fold.push(event));
        fold.finish()
    }

    /// Takes in the next event. Chunks and whole answers are no part of a translated stream and are ignored.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Start(start) => self.start = start,
            Event::Delta { choice, delta } => self.choice(choice).apply(delta),
            Event::Finish { choice, reason } => self.choice(choice).finish_reason = reason,
            Event::Usage(usage) => self.usage = Some(usage),
            Event::SoFar(_) | Event::Chunk(_) | Event::Answer(_) | Event::Alive | Event::Unreadable => {}
        }
    }

    /// The whole answer. A choice that never ended counts as stopped.
    pub fn finish(self) -> ChatResponse {
        ChatResponse { start: self.start, choices: self.choices, usage: self.usage }
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        let at = match self.choices.binary_search_by_key(&index, |choice| choice.index) {
            Ok(at) => at,
            Err(at) => {
                self.choices.insert(at, Choice::new(index));
                at
            }
        };
        &mut self.choices[at]
    }
}

/// Appends what a later piece says of its tokens to what earlier ones said of theirs.
fn join_logprobs(known: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    for (name, entries) in more {
        match (known.get_mut(&name), entries) {
            (Some(Value::Array(known)), Value::Array(entries)) => known.extend(entries),
            (Some(Value::Array(_)), _) | (_, Value::Null) => {}
            (_, entries) => known[&name] = entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::units::Tokens;

    #[test]
    fn folding_an_exploded_answer_gives_it_back() {
        let call = |id: &str| AnswerToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: r#"{"a":1}"#.into(),
            extra: Some(json!({"google": {"thought_signature": "s"}})),
        };
        let response = ChatResponse {
            start: Start {
                id: Some("x".into()),
                model: Some("m".into()),
                created: Some(3),
                service_tier: Some("flex".into()),
            },
            choices: vec![
                Choice {
                    index: 0,
                    message: AnswerMessage {
                        content: Some("hi".into()),
                        reasoning_content: Some("hm".into()),
                        reasoning_details: vec![json!({"type": "reasoning.text"})],
                        tool_calls: vec![call("a"), call("b")],
                        annotations: vec![json!({"type": "url_citation"})],
                        refusal: None,
                    },
                    logprobs: Some(json!({"content": [{"token": "hi", "logprob": -0.5}], "refusal": null})),
                    finish_reason: FinishReason::ToolCalls,
                },
                Choice { finish_reason: FinishReason::Length, ..Choice::new(1) },
            ],
            usage: Some(Usage { prompt: Tokens::new(4), ..Usage::default() }),
        };
        assert_eq!(Fold::of(response.clone().explode()), response);
    }

    #[test]
    fn the_log_probabilities_of_pieces_add_up() {
        let mut choice = Choice::new(0);
        for piece in [
            json!({"content": [{"token": "a"}], "refusal": null}),
            json!({"content": null}),
            json!({"content": [{"token": "b"}], "refusal": [{"token": "c"}]}),
            Value::Null,
        ] {
            choice.apply(Delta::Logprobs(piece));
        }
        let sum = json!({"content": [{"token": "a"}, {"token": "b"}], "refusal": [{"token": "c"}]});
        assert_eq!(choice.logprobs, Some(sum));
    }
}
