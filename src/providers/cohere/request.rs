//! From OpenAI's request to the Chat API's.
//!
//! * `temperature` is cut at 1, `top_p` into 0.01 to 0.99, penalties at 1, `top_k` at 500: the API's bounds. A negative
//!   penalty or seed is dropped.
//! * `max_tokens` counts thoughts as well as text, as OpenAI's `max_completion_tokens` does.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::messages;
use super::names::Names;
use super::thinking;
use super::tools;
use super::wire::{Document, Request, ResponseFormat, Sampling};
use crate::chat::conversation;
use crate::chat::request::Invalid;
use crate::chat::target::Thinking;
use crate::chat::{ChatRequest, Conversation, TargetFacts};
use crate::providers::{Encoded, ReplyContext, Unsendable};

/// The API's own fields that pass as they are given.
const OWN: [&str; 2] = ["citation_options", "safety_mode"];
/// How many stop sequences the API takes.
const MAX_STOPS: usize = 5;
const MAX_K: u64 = 500;

/// What the request needs and the target lacks. Whether a file is text, encoding finds out.
pub fn lacks(request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
    let (needs, able) = (&request.needs, &facts.able);
    let audio_answer = request.member("modalities").is_some_and(|kinds| kinds.contains(r#""audio""#));
    let is_set = |name| request.member(name).is_some_and(|value| value != "null");
    let json = needs.json_mode || needs.json_schema;
    let lacking = [
        (needs.tools && !able.tools, "tools"),
        (is_set("functions") || is_set("function_call"), "functions"),
        ((needs.image_data || needs.image_url) && !able.vision, "vision"),
        (needs.audio || audio_answer, "audio"),
        (needs.json_mode && !able.json_mode, "json_mode"),
        (needs.json_schema && !able.json_schema, "json_schema"),
        // The generation before Command A promises no form beside tools.
        (needs.tools && json && facts.model.starts_with("command-r"), "json_with_tools"),
        (needs.logprobs && !able.logprobs, "logprobs"),
        (needs.n, "n"),
        (needs.prefill && !able.prefill, "prefill"),
    ];
    lacking.into_iter().find_map(|(is_lacking, what)| is_lacking.then_some(what))
}

/// Writes the request.
pub fn encode(request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
    if let Some(what) = lacks(request, facts) {
        return Err(Unsendable::Lacks(what));
    }
    let conversation = request.conversation()?;
    let mut names = Names::default();
    let thinks = facts.able.reasoning && facts.thinking != Thinking::Never;
    let history = messages::write(&conversation.messages, thinks, &mut names)?;
    let tools = tools::write(conversation, &mut names)?;
    let max_tokens = conversation.output_cap();
    let plan = thinking::plan(conversation.reasoning_effort, max_tokens, facts);
    let mut dropped = hints(conversation);
    dropped.extend(tools.dropped_strict.then_some("strict"));
    dropped.extend(plan.is_dropped.then_some("reasoning_effort"));
    let mut documents = given_documents(request)?;
    documents.extend(history.documents);
    let body = Request {
        model: &facts.model,
        messages: history.messages,
        tools: tools.definitions,
        strict_tools: tools.are_strict,
        tool_choice: tools.choice,
        documents,
        response_format: response_format(conversation),
        max_tokens,
        stop_sequences: stop_sequences(conversation)?,
        sampling: sampling(conversation, facts.sampling, &mut dropped),
        logprobs: request.needs.logprobs,
        thinking: plan.thinking,
        own: own_fields(request)?,
        stream: request.stream && facts.able.streaming,
    };
    let body = Encoded::translated(request, &body)?;
    let context = ReplyContext { choices: 1, answer_tool: None, renamed_tools: names.renamed() };
    Ok(Encoded { path: "/chat".to_owned(), body, dropped, context, ..Encoded::default() })
}

/// The fields that have no place in this API and were set to something.
fn hints(conversation: &Conversation) -> Vec<&'static str> {
    let mut dropped = conversation.openai_only();
    let tier = conversation.service_tier.as_deref();
    let fields = [
        ("user", conversation.user.is_some()),
        ("cache_control", conversation.has_cache_marks()),
        ("service_tier", tier.is_some_and(|tier| !matches!(tier, "auto" | "default"))),
        (
            "parallel_tool_calls",
            conversation.parallel_tool_calls == Some(false) && !conversation.tools.is_empty(),
        ),
        ("top_logprobs", conversation.top_logprobs.is_some_and(|most| most > 0)),
    ];
    dropped.extend(fields.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    dropped
}

fn sampling(conversation: &Conversation, takes_any: bool, dropped: &mut Vec<&'static str>) -> Sampling {
    let Conversation { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, .. } =
        *conversation;
    let mut keep = |name: &'static str, is_taken: bool| {
        if !is_taken {
            dropped.push(name);
        }
        is_taken
    };
    let is_set = |penalty: &f64| *penalty != 0.0;
    let mut penalty = |name, penalty: Option<f64>| {
        let taken = penalty.filter(is_set).filter(|penalty| keep(name, takes_any && *penalty > 0.0));
        taken.map(|penalty| penalty.min(1.0))
    };
    let frequency_penalty = penalty("frequency_penalty", frequency_penalty);
    let presence_penalty = penalty("presence_penalty", presence_penalty);
    Sampling {
        temperature: temperature
            .filter(|_| keep("temperature", takes_any))
            .map(|value| value.clamp(0.0, 1.0)),
        p: top_p.filter(|_| keep("top_p", takes_any)).map(|value| value.clamp(0.01, 0.99)),
        k: top_k.filter(|_| keep("top_k", takes_any)).map(|value| value.min(MAX_K)),
        seed: seed.filter(|seed| keep("seed", *seed >= 0)),
        frequency_penalty,
        presence_penalty,
    }
}

fn stop_sequences(conversation: &Conversation) -> Result<Vec<&str>, Unsendable> {
    let stops: Vec<&str> =
        conversation.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
    if stops.len() > MAX_STOPS { Err(Unsendable::Lacks("stop")) } else { Ok(stops) }
}

fn response_format(conversation: &Conversation) -> Option<ResponseFormat<'_>> {
    match conversation.response_format.as_ref()? {
        conversation::ResponseFormat::Text => None,
        conversation::ResponseFormat::JsonObject => Some(ResponseFormat::JsonObject { json_schema: None }),
        conversation::ResponseFormat::JsonSchema(named) => {
            Some(ResponseFormat::JsonObject { json_schema: named.schema.as_deref() })
        }
    }
}

fn given_documents(request: &ChatRequest) -> Result<Vec<Document<'_>>, Invalid> {
    let Some(given) = request.member("documents").filter(|given| *given != "null") else {
        return Ok(Vec::new());
    };
    let documents: Vec<&RawValue> = serde_json::from_str(given)
        .map_err(|_| Invalid::at("documents", "`documents` must be a list of documents."))?;
    Ok(documents.into_iter().map(Document::Given).collect())
}

fn own_fields(request: &ChatRequest) -> Result<BTreeMap<&'static str, &RawValue>, Invalid> {
    let mut own = BTreeMap::new();
    for name in OWN {
        let Some(given) = request.member(name).filter(|given| *given != "null") else { continue };
        let raw =
            serde_json::from_str(given).map_err(|_| Invalid::at(name, format!("`{name}` is no JSON.")))?;
        own.insert(name, raw);
    }
    Ok(own)
}
