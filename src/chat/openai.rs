//! Answers that came in OpenAI's own format, in canonical form: facts for those that pass through as bytes, and
//! the typed answer where one must become the other kind (a stream a body, a body a stream).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::event::{Answer, AnswerFacts, Chunk, ChunkFacts, Delta, Event, FinishReason, Start, Touched};
use super::response::{ChatResponse, Choice};
use super::usage::Usage;
use crate::units::{Cost, Tokens};
use crate::wire::openai::{
    Choice as WireChoice, Completion, Measure, Money, Number, Piece, Text, Usage as WireUsage,
};

impl Chunk {
    /// What a peek into `data` shows.
    ///
    /// `before` is what the chunk before it says of the answer as a whole; it becomes what this one says.
    pub fn of(data: Bytes, peek: &Completion<'_>, usage: Option<Usage>, before: &mut Arc<Start>) -> Self {
        let choices = peek.choices.as_deref().unwrap_or_default();
        let pieces = || choices.iter().filter_map(WireChoice::piece);
        let content = pieces().map(Piece::content).fold(Measure::NOTHING, Measure::and);
        let touched = |choice: &WireChoice<'_>| {
            let finish = choice.finish_reason().map(FinishReason::from_openai);
            Touched { choice: choice.index(), finish }
        };
        if !says(before, peek) {
            *before = Arc::new(start(peek));
        }
        let facts = ChunkFacts {
            start: Arc::clone(before),
            choices: choices.iter().map(touched).collect(),
            has_content: content.bytes > 0 || pieces().any(Piece::has_content),
            has_role: pieces().any(Piece::has_role),
            content_bytes: content.bytes,
            content_chars: content.chars,
            usage: usage.map(Box::new),
        };
        Self { data, facts }
    }

    /// What it says of the answer as a whole.
    pub fn start(&self) -> Start {
        Start::clone(&self.facts.start)
    }
}

impl AnswerFacts {
    /// What a peek into a whole answer shows.
    pub fn of(peek: &Completion<'_>, usage: Option<Usage>) -> Self {
        let pieces = || peek.choices.iter().flatten().filter_map(|choice| choice.piece());
        let Start { id, model, created, .. } = start(peek);
        Self {
            id,
            model,
            created,
            has_content: pieces().any(Piece::has_content),
            content_bytes: pieces().map(|piece| piece.content().bytes).sum(),
            finished: finished(peek),
            usage,
        }
    }
}

impl Usage {
    /// From OpenAI's `usage`, brought to OpenAI's accounting where a vendor counts otherwise: the total tells.
    pub fn of(wire: &WireUsage) -> Self {
        let count = |number: Option<Number>| number.map_or(0, |number| number.count);
        let prompt_details = wire.prompt_tokens_details.unwrap_or_default();
        let completion_details = wire.completion_tokens_details.unwrap_or_default();
        let reasoning = count(completion_details.reasoning_tokens.or(wire.reasoning_tokens));
        let audio_input = count(prompt_details.audio_tokens);
        let (mut prompt, mut completion) = (count(wire.prompt_tokens), count(wire.completion_tokens));
        let uncounted = count(wire.total_tokens).saturating_sub(prompt.saturating_add(completion));
        if reasoning > completion {
            // They cannot be a part of it.
            completion = completion.saturating_add(reasoning);
        } else if uncounted > 0 && uncounted == audio_input {
            prompt = prompt.saturating_add(uncounted);
        } else {
            // Reasoning that only the total counts, at some vendors without saying so.
            completion = completion.saturating_add(uncounted);
        }
        let known = |number: Option<Number>| number.filter(|number| number.count > 0);
        let cached = known(prompt_details.cached_tokens)
            .or(known(wire.prompt_cache_hit_tokens))
            .or(known(wire.cached_tokens))
            .or(known(wire.num_cached_tokens));
        let written = known(prompt_details.cache_write_tokens).or(wire.cache_creation_input_tokens);
        Self {
            prompt: Tokens::new(prompt),
            completion: Tokens::new(completion),
            cached: Tokens::new(count(cached)),
            cache_write: Tokens::new(count(written)),
            cache_write_1h: Tokens::ZERO,
            reasoning: Tokens::new(reasoning),
            audio_input: Tokens::new(audio_input),
            audio_output: Tokens::new(count(completion_details.audio_tokens)),
            web_searches: 0,
            cost: stated_cost(wire),
        }
    }
}

/// What the vendor says that the answer costs. With a key of the customer's own at the model's provider, that
/// provider's bill is a part of it.
fn stated_cost(wire: &WireUsage) -> Option<Cost> {
    const TICKS_PER_USD: f64 = 1e10;
    let usd = |money: Option<Money>| money.and_then(|money| money.0).and_then(Cost::from_usd);
    #[expect(clippy::cast_precision_loss, reason = "an answer costs less than 2^53 ticks, 900,000 USD")]
    let ticks = |ticks: Number| Cost::from_usd(ticks.count as f64 / TICKS_PER_USD);
    let upstream = wire.cost_details.filter(|_| wire.is_byok == Some(true));
    let upstream = upstream.and_then(|details| usd(details.upstream_inference_cost));
    match (usd(wire.cost), upstream) {
        (Some(cost), Some(upstream)) => Some(cost + upstream),
        (Some(cost), None) => Some(cost),
        (None, upstream) => {
            upstream.or_else(|| wire.cost_in_usd_ticks.filter(|ticks| ticks.count > 0).and_then(ticks))
        }
    }
}

impl Answer {
    /// The answer in typed form.
    pub fn into_response(self) -> ChatResponse {
        match self {
            Self::Composed(response) => response,
            Self::Verbatim { body, facts } => {
                // The peek has read the same bytes, so this cannot fail; an empty answer is the honest rest.
                let value: Value = serde_json::from_slice(&body).unwrap_or_default();
                let choices = value["choices"].as_array().map(|list| list.iter().map(choice).collect());
                let start = Start {
                    id: facts.id,
                    model: facts.model,
                    created: facts.created,
                    service_tier: value["service_tier"].as_str().map(str::to_owned),
                };
                ChatResponse { start, choices: choices.unwrap_or_default(), usage: facts.usage }
            }
        }
    }
}

/// The canonical events that a chunk means.
pub fn events_of(chunk: &Chunk) -> Vec<Event> {
    let value: Value = serde_json::from_slice(&chunk.data).unwrap_or_default();
    let mut events = Vec::new();
    for entry in value["choices"].as_array().into_iter().flatten() {
        let index = index(entry);
        let deltas = deltas(&entry["delta"]).into_iter().chain(logprobs(entry));
        events.extend(deltas.map(|delta| Event::Delta { choice: index, delta }));
    }
    events.extend(chunk.facts.finished().map(|(choice, reason)| Event::Finish { choice, reason }));
    events.extend(chunk.facts.usage.as_deref().copied().map(Event::Usage));
    events
}

fn choice(entry: &Value) -> Choice {
    let mut choice = Choice::new(index(entry));
    for delta in deltas(&entry["message"]).into_iter().chain(logprobs(entry)) {
        match delta {
            Delta::ToolArguments { piece, .. } => {
                if let Some(call) = choice.message.tool_calls.last_mut() {
                    call.arguments.push_str(&piece);
                }
            }
            other => choice.apply(other),
        }
    }
    let reason = entry["finish_reason"].as_str();
    choice.finish_reason = reason.map_or(FinishReason::Stop, FinishReason::from_openai);
    choice
}

/// The `logprobs` of a choice. Only objects are OpenAI's.
fn logprobs(entry: &Value) -> Option<Delta> {
    entry.get("logprobs").filter(|logprobs| logprobs.is_object()).cloned().map(Delta::Logprobs)
}

/// A part of content that came as a list, as Mistral's reasoning models send it.
fn part(part: &Value) -> Option<Delta> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match part["type"].as_str()? {
        "text" => text(&part["text"]).map(Delta::Text),
        "thinking" => {
            let pieces = part["thinking"].as_array().into_iter().flatten();
            let thought: String = pieces.filter_map(|piece| piece["text"].as_str()).collect();
            (!thought.is_empty()).then_some(Delta::Reasoning(thought))
        }
        "refusal" => text(&part["refusal"]).map(Delta::Refusal),
        _ => None,
    }
}

/// What a message or a delta carries, in canonical order.
fn deltas(message: &Value) -> Vec<Delta> {
    let text = |name: &str| message[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let list = |name: &str| message[name].as_array().cloned().unwrap_or_default();
    let mut deltas = Vec::new();
    deltas.extend(text("reasoning_content").or_else(|| text("reasoning")).map(Delta::Reasoning));
    deltas.extend(list("reasoning_details").into_iter().map(Delta::ReasoningDetail));
    deltas.extend(text("content").map(Delta::Text));
    deltas.extend(list("content").iter().filter_map(part));
    deltas.extend(text("refusal").map(Delta::Refusal));
    for (at, call) in (0..).zip(list("tool_calls")) {
        let index = call["index"].as_u64().and_then(|index| u32::try_from(index).ok()).unwrap_or(at);
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, name) = (string(&call["id"]), string(&call["function"]["name"]));
        if !name.is_empty() || !id.is_empty() {
            deltas.push(Delta::ToolCall { index, id, name, extra: call.get("extra_content").cloned() });
        }
        let piece = string(&call["function"]["arguments"]);
        if !piece.is_empty() {
            deltas.push(Delta::ToolArguments { index, piece });
        }
    }
    deltas.extend(list("annotations").into_iter().map(Delta::Annotation));
    deltas
}

fn index(entry: &Value) -> u32 {
    entry["index"].as_u64().and_then(|index| u32::try_from(index).ok()).unwrap_or(0)
}

/// What a chunk, or a whole answer, says of the answer as a whole.
fn start(peek: &Completion<'_>) -> Start {
    Start {
        id: given(peek.id.as_ref()).map(str::to_owned),
        model: given(peek.model.as_ref()).map(str::to_owned),
        created: created(peek),
        ..Start::default()
    }
}

/// Whether it says just this.
fn says(start: &Start, peek: &Completion<'_>) -> bool {
    start.id.as_deref() == given(peek.id.as_ref())
        && start.model.as_deref() == given(peek.model.as_ref())
        && start.created == created(peek)
}

/// An empty text is none, as is the zero of a time.
fn given<'a>(text: Option<&'a Text<'_>>) -> Option<&'a str> {
    text.map(|text| text.0.as_ref()).filter(|text| !text.is_empty())
}

fn created(peek: &Completion<'_>) -> Option<u64> {
    peek.created.map(|created| created.count).filter(|created| *created > 0)
}

fn finished(peek: &Completion<'_>) -> Vec<(u32, FinishReason)> {
    let choices = peek.choices.iter().flatten();
    let ended = choices.filter_map(|choice| {
        let reason = choice.finish_reason()?;
        Some((choice.index(), FinishReason::from_openai(reason)))
    });
    ended.collect()
}
