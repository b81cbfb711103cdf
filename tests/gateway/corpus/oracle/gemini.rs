//! Google's `generateContent`, of AI Studio and of Vertex.

use serde_json::{Map, Value, json};

use super::super::answer::{Annotation, Answer, Call, Choice, Expected, Fault, Seal, Usage, count, string};
use super::super::dialect::{Dialect, NotApplicable};
use super::super::exchange::Exchange;
use super::super::{inverse, normal};
use super::fault;

/// `api: gemini`.
pub struct Gemini;

impl Dialect for Gemini {
    fn answer(&self, exchange: &Exchange) -> Expected {
        if let Some(failure) = fault::of_status(exchange) {
            return failure;
        }
        let replies = exchange.payloads();
        if let Some(error) = replies.iter().find(|reply| !reply["error"].is_null()) {
            let status = u16::try_from(count(&error["error"]["code"])).unwrap_or(500);
            return fault::only(fault::class(&fault::words(status, error)));
        }
        read(&replies)
    }

    fn turns(&self, exchange: &Exchange) -> Vec<Value> {
        inverse::gemini::turns(exchange.asked())
    }

    fn ask(&self, exchange: &Exchange, said: &[Value]) -> Result<Value, NotApplicable> {
        inverse::gemini::ask(exchange.asked(), said)
    }

    fn meaning(&self, _: &str, body: &Value, _: &Exchange) -> Value {
        normal::gemini::meaning(body)
    }
}

/// What has been read of one candidate.
#[derive(Default)]
struct Reading {
    choice: Choice,
    finish: Option<String>,
    grounding: Value,
    has_media: bool,
    /// A call whose arguments come in pieces.
    open: Option<(Call, Value)>,
}

fn read(replies: &[Value]) -> Expected {
    let mut readings: Vec<Reading> = Vec::new();
    let mut usage = json!({});
    for reply in replies {
        for (name, value) in reply["usageMetadata"].as_object().into_iter().flatten() {
            usage[name] = value.clone();
        }
        for (place, candidate) in reply["candidates"].as_array().into_iter().flatten().enumerate() {
            let at = usize::try_from(count(&candidate["index"])).unwrap_or(0).max(place);
            if readings.len() <= at {
                readings.resize_with(at + 1, Reading::default);
            }
            readings[at].take(candidate);
        }
    }
    if readings.is_empty() {
        let is_blocked = replies.iter().any(|reply| !reply["promptFeedback"]["blockReason"].is_null());
        return fault::only(if is_blocked { "content_filter" } else { "malformed" });
    }
    let mut answer = Answer { usage: Some(self::usage(&usage)), ..Answer::default() };
    answer.usage = answer.usage.filter(|_| usage.as_object().is_some_and(|usage| !usage.is_empty()));
    for reading in readings {
        match reading.end() {
            Ok(choice) => answer.choices.push(choice),
            Err(failure) => return failure,
        }
    }
    Expected::Answer(answer)
}

impl Reading {
    fn take(&mut self, candidate: &Value) {
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self.part(part);
        }
        if let Some(reason) = finish(&candidate["finishReason"]) {
            self.finish = Some(reason);
        }
        if candidate["groundingMetadata"].is_object() {
            self.grounding = candidate["groundingMetadata"].clone();
        }
    }

    fn part(&mut self, part: &Value) {
        let signature = part["thoughtSignature"].as_str().filter(|signature| !signature.is_empty());
        if part["functionCall"].is_object() {
            self.call(&part["functionCall"], signature);
            return;
        }
        let text = part["text"].as_str().unwrap_or_default();
        let flow = if part["thought"] == true { &mut self.choice.reasoning } else { &mut self.choice.text };
        flow.push_str(text);
        self.has_media |= part["inlineData"].is_object();
        if let Some(signature) = signature {
            self.choice.seals.push(Seal { text: None, bytes: signature.to_owned() });
        }
    }

    fn call(&mut self, call: &Value, signature: Option<&str>) {
        let goes_on = call["willContinue"] == true;
        if call["name"].as_str().is_some_and(|name| !name.is_empty()) {
            self.close();
            let made = Call {
                name: string(&call["name"]),
                arguments: String::new(),
                id: call["id"].as_str().map(str::to_owned),
                signature: signature.map(str::to_owned),
            };
            let arguments = if call["args"].is_object() { call["args"].clone() } else { json!({}) };
            self.open = Some((made, arguments));
        }
        if let Some((_, arguments)) = &mut self.open {
            for piece in call["partialArgs"].as_array().into_iter().flatten() {
                place(arguments, piece);
            }
        }
        if !goes_on {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some((mut call, arguments)) = self.open.take() {
            call.arguments = arguments.to_string();
            self.choice.calls.push(call);
        }
    }

    fn end(mut self) -> Result<Choice, Expected> {
        self.close();
        let called = !self.choice.calls.is_empty();
        let says = called || !self.choice.text.is_empty();
        let finish = match self.finish.as_deref() {
            None => return Err(fault::only("truncated")),
            Some("STOP") if called => Some("tool_calls"),
            Some("STOP") if !says && self.has_media => {
                return Err(Expected::NotApplicable("gemini: a generated image and nothing else".to_owned()));
            }
            Some("STOP") if !says && self.choice.reasoning.is_empty() => return Err(fault::only("empty")),
            Some("STOP") => Some("stop"),
            Some("MAX_TOKENS") => Some("length"),
            // An error, of whatever class; what was said before it may stand.
            Some("MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" | "OTHER")
                if says =>
            {
                None
            }
            Some("MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" | "OTHER") => {
                return Err(Expected::Failure(Fault::default()));
            }
            Some(_) => Some("content_filter"),
        };
        self.choice.finish = finish.map(str::to_owned);
        self.choice.annotations = annotations(&self.grounding, &self.choice.text);
        Ok(self.choice)
    }
}

/// The finish reason as a word: some clients have enums sent as numbers.
fn finish(reason: &Value) -> Option<String> {
    const WORDS: [&str; 5] = ["FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION"];
    match reason.as_u64().and_then(|number| usize::try_from(number).ok()) {
        Some(number) => Some(WORDS.get(number).copied().unwrap_or("OTHER").to_owned()),
        None => reason.as_str().map(str::to_owned),
    }
}

/// Puts a piece of arguments where its path says: `$.a.b[0].c`.
fn place(arguments: &mut Value, piece: &Value) {
    let path = string(&piece["jsonPath"]).replace('[', ".[");
    let mut at = arguments;
    for step in path.trim_start_matches('$').split('.').filter(|step| !step.is_empty()) {
        let index = step.strip_prefix('[').and_then(|step| step.trim_end_matches(']').parse::<usize>().ok());
        at = if let Some(index) = index { item(at, index) } else { member(at, step) };
    }
    let values = ["stringValue", "numberValue", "boolValue"];
    match values.into_iter().map(|name| &piece[name]).find(|value| !value.is_null()) {
        // Pieces of one string follow each other.
        Some(Value::String(text)) => *at = (string(at) + text).into(),
        Some(value) => *at = value.clone(),
        None => *at = Value::Null,
    }
}

/// The item of a list that may not be one yet.
fn item(value: &mut Value, index: usize) -> &mut Value {
    if !value.is_array() {
        *value = json!([]);
    }
    let list = value.as_array_mut().expect("a list");
    if list.len() <= index {
        list.resize(index + 1, Value::Null);
    }
    &mut list[index]
}

fn member<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Map::new().into();
    }
    &mut value[name]
}

/// One for each source of each supported stretch. Its indexes count bytes of the text.
fn annotations(grounding: &Value, text: &str) -> Vec<Annotation> {
    let mut annotations = Vec::new();
    for support in grounding["groundingSupports"].as_array().into_iter().flatten() {
        let segment = &support["segment"];
        let range = |value: &Value| usize::try_from(count(value)).unwrap_or(usize::MAX);
        let (start, end) = (range(&segment["startIndex"]), range(&segment["endIndex"]));
        let quoted = string(&segment["text"]);
        let is_there = text.get(start..end).is_some_and(|found| found == quoted);
        let characters = |end: usize| text[..end].chars().count() as u64;
        let span = is_there.then(|| (characters(start), characters(end)));
        for index in support["groundingChunkIndices"].as_array().into_iter().flatten() {
            let web = &grounding["groundingChunks"][range(index)]["web"];
            if web["uri"].is_string() {
                let title = web["title"].as_str().map(str::to_owned);
                annotations.push(Annotation { url: web["uri"].as_str().map(str::to_owned), title, span });
            }
        }
    }
    annotations
}

fn usage(usage: &Value) -> Usage {
    let audio = |details: &Value| {
        let details = details.as_array().into_iter().flatten();
        details
            .filter(|detail| detail["modality"] == "AUDIO")
            .map(|detail| count(&detail["tokenCount"]))
            .sum()
    };
    let thoughts = count(&usage["thoughtsTokenCount"]);
    Usage {
        prompt: count(&usage["promptTokenCount"]) + count(&usage["toolUsePromptTokenCount"]),
        completion: count(&usage["candidatesTokenCount"]) + thoughts,
        cached: count(&usage["cachedContentTokenCount"]),
        reasoning: thoughts,
        audio_in: audio(&usage["promptTokensDetails"]),
        audio_out: audio(&usage["candidatesTokensDetails"]),
        ..Usage::default()
    }
    .summed()
}
