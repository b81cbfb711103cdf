//! Writes the upstream request.
//!
//! `maxOutputTokens` counts thoughts as well as text. So does OpenAI's `max_completion_tokens`, which goes as it is.
//! The older `max_tokens` counts what the client sees: where an effort is asked for too, the tokens that thinking
//! may take are added. Neither goes beyond what the model can answer.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::contents::{self, Detail, Media};
use super::extension::Extension;
use super::generation::Generation;
use super::host::Host;
use super::labels;
use super::names::Names;
use super::schema;
use super::thinking::{self, Plan};
use super::tools::{self, Beside};
use super::wire::{GenerateContentRequest, GenerationConfig};
use crate::chat::conversation::ResponseFormat;
use crate::chat::{ChatRequest, Conversation, TargetFacts};
use crate::providers::{Encoded, ReplyContext, Unsendable};
use crate::units::Tokens;

/// How many stop sequences Gemini takes.
const MAX_STOPS: usize = 5;
/// How many candidates Gemini gives.
const MAX_CANDIDATES: u32 = 8;

/// The most that it lets the model write.
pub fn most_output(request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
    // What cannot be read is not sent.
    let extension = Extension::of(request).unwrap_or_default();
    let plan = thinking::plan(request.needs.effort, &extension, facts, Generation::of(&facts.model));
    let is_newer = request.member("max_completion_tokens").is_some_and(|cap| cap != "null");
    let allowance = if is_newer { 0 } else { plan.allowance };
    request.output_cap.map(|cap| within(cap.saturating_add(allowance), facts))
}

/// Writes a request for this target.
pub fn encode(request: &ChatRequest, facts: &TargetFacts, host: Host) -> Result<Encoded, Unsendable> {
    let conversation = request.conversation()?;
    let generation = Generation::of(&facts.model);
    let names = Names::of(conversation);
    let history = contents::write(&conversation.messages, &names, generation, host)?;
    let extension = Extension::of(request)?;
    let plan = thinking::plan(conversation.reasoning_effort, &extension, facts, generation);
    let search = Search::of(request);
    let beside = Beside { search: search.is_wanted, calls: history.has_server_calls };
    let toolbox = tools::lay_out(conversation, &names, generation, host, beside)?;
    let (labels, is_metadata_cut) = match host {
        Host::Direct => Default::default(),
        Host::Vertex => labels::of(request),
    };
    let tier = service_tier(conversation.service_tier.as_deref());
    let media_resolution = media_resolution(&history.media, generation);
    let mut dropped = dropped(conversation, facts, generation, &plan);
    let is_drawn = is_text_alone(request);
    dropped.retain(|name| *name != "web_search_options" && !(*name == "modalities" && is_drawn));
    let more = [
        ("detail", history.media.has_detail() && media_resolution.is_none()),
        ("cache_control", conversation.has_cache_marks()),
        ("strict", toolbox.is_strict_dropped),
        ("web_search_options.user_location", search.has_location),
        ("web_search_options.search_context_size", search.has_size),
        ("extra_body", extension.has_unknown()),
        ("metadata", is_metadata_cut),
    ];
    dropped.extend(more.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    let generation_config = GenerationConfig {
        response_logprobs: request.needs.logprobs.then_some(true),
        logprobs: conversation.top_logprobs.filter(|top| request.needs.logprobs && *top > 0),
        media_resolution,
        ..generation_config(conversation, facts, generation, plan)?
    };
    let body = GenerateContentRequest {
        system_instruction: history.system,
        tools: toolbox.entries,
        tool_config: toolbox.config,
        contents: history.contents,
        cached_content: extension.cached_content,
        safety_settings: extension.safety_settings,
        service_tier: tier.filter(|_| host == Host::Direct),
        labels,
        generation_config,
    };
    let body = Encoded::translated(request, &body)?;
    let choices = conversation.n.unwrap_or(1);
    Ok(Encoded {
        headers: tier.filter(|_| host == Host::Vertex).map(tier_header).unwrap_or_default(),
        path: host.path(&facts.model, request.stream && facts.able.streaming),
        body,
        dropped,
        context: ReplyContext { choices, answer_tool: None, renamed_tools: names.renamed() },
    })
}

/// The fields that have no place in the request and that only hint at something.
fn dropped(
    conversation: &Conversation,
    facts: &TargetFacts,
    generation: Generation,
    plan: &Plan,
) -> Vec<&'static str> {
    let mut dropped = conversation.openai_only();
    let tier = conversation.service_tier.as_deref();
    let no_penalties = !facts.sampling || !generation.takes_penalties();
    let penalty = |value: Option<f64>| no_penalties && value.is_some_and(|value| value != 0.0);
    let fields = [
        ("user", conversation.user.is_some()),
        ("service_tier", tier.is_some_and(|tier| tier != "auto" && service_tier(Some(tier)).is_none())),
        (
            "parallel_tool_calls",
            conversation.parallel_tool_calls == Some(false) && !conversation.tools.is_empty(),
        ),
        ("reasoning_effort", plan.is_dropped),
        ("temperature", !facts.sampling && conversation.temperature.is_some()),
        ("top_p", !facts.sampling && conversation.top_p.is_some()),
        ("top_k", !facts.sampling && conversation.top_k.is_some()),
        ("frequency_penalty", penalty(conversation.frequency_penalty)),
        ("presence_penalty", penalty(conversation.presence_penalty)),
    ];
    dropped.extend(fields.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    dropped
}

fn generation_config<'a>(
    conversation: &'a Conversation,
    facts: &TargetFacts,
    generation: Generation,
    plan: Plan,
) -> Result<GenerationConfig<'a>, Unsendable> {
    let stop_sequences: Vec<&str> =
        conversation.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect();
    if stop_sequences.len() > MAX_STOPS {
        return Err(Unsendable::Lacks("stop"));
    }
    let n = conversation.n.filter(|n| *n > 1);
    if n.is_some_and(|n| n > MAX_CANDIDATES) {
        return Err(Unsendable::Lacks("n"));
    }
    let sampling = |value: Option<f64>| value.filter(|_| facts.sampling);
    let penalty = |value: Option<f64>| sampling(value).filter(|_| generation.takes_penalties());
    let (response_mime_type, response_json_schema) = response_format(conversation);
    Ok(GenerationConfig {
        candidate_count: n,
        stop_sequences,
        max_output_tokens: output_cap(conversation, facts, plan.allowance),
        temperature: sampling(conversation.temperature),
        top_p: sampling(conversation.top_p),
        top_k: conversation.top_k.filter(|_| facts.sampling),
        seed: conversation.seed.map(seed),
        presence_penalty: penalty(conversation.presence_penalty),
        frequency_penalty: penalty(conversation.frequency_penalty),
        response_mime_type,
        response_json_schema,
        thinking_config: plan.config,
        ..GenerationConfig::default()
    })
}

/// Gemini's word for OpenAI's.
fn service_tier(tier: Option<&str>) -> Option<&'static str> {
    match tier? {
        "default" => Some("standard"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => None,
    }
}

/// Vertex takes the tier in a header; its own is the standard one.
fn tier_header(tier: &'static str) -> HeaderMap {
    const NAME: HeaderName = HeaderName::from_static("x-vertex-ai-llm-shared-request-type");
    let header = (tier != "standard").then(|| (NAME, HeaderValue::from_static(tier)));
    header.into_iter().collect()
}

/// `detail`, which Gemini takes for all media of a request at once.
fn media_resolution(media: &Media, generation: Generation) -> Option<&'static str> {
    match media.common_detail().filter(|_| generation.takes_media_resolution())? {
        Detail::Low => Some("MEDIA_RESOLUTION_LOW"),
        Detail::High => Some("MEDIA_RESOLUTION_HIGH"),
        Detail::Auto => None,
    }
}

/// Whether the answer is asked for in text and nothing else, which it is anyway.
fn is_text_alone(request: &ChatRequest) -> bool {
    let modalities =
        request.member("modalities").and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
    modalities.is_some_and(|modalities| modalities.iter().all(|modality| modality == "text"))
}

/// `web_search_options`.
struct Search {
    is_wanted: bool,
    /// Where the user is, which has no place.
    has_location: bool,
    /// How much to search for, likewise.
    has_size: bool,
}

impl Search {
    fn of(request: &ChatRequest) -> Self {
        let options: Option<Map<String, Value>> =
            request.member("web_search_options").and_then(|json| serde_json::from_str(json).ok());
        let is_set = |name: &str| {
            options.as_ref().and_then(|options| options.get(name)).is_some_and(|value| !value.is_null())
        };
        Self {
            has_location: is_set("user_location"),
            has_size: is_set("search_context_size"),
            is_wanted: options.is_some(),
        }
    }
}

fn output_cap(conversation: &Conversation, facts: &TargetFacts, allowance: u64) -> Option<u64> {
    let seen = conversation.max_tokens.map(|cap| cap.saturating_add(allowance));
    conversation.max_completion_tokens.or(seen).map(|cap| within(cap, facts))
}

/// What the field and the model hold of a cap.
fn within(cap: u64, facts: &TargetFacts) -> u64 {
    // The field is an int32.
    let most = facts.max_output.map_or(u64::MAX, Tokens::get).min(i32::MAX.unsigned_abs().into());
    cap.min(most)
}

/// Gemini's seed has 32 bits; of a larger one the low ones are kept, so that one seed stays one seed.
#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is wanted")]
fn seed(seed: i64) -> i32 {
    seed as i32
}

fn response_format(
    conversation: &Conversation,
) -> (Option<&'static str>, Option<Cow<'_, serde_json::value::RawValue>>) {
    const JSON: &str = "application/json";
    match &conversation.response_format {
        None | Some(ResponseFormat::Text) => (None, None),
        Some(ResponseFormat::JsonObject) => (Some(JSON), None),
        Some(ResponseFormat::JsonSchema(named)) => (Some(JSON), named.schema.as_deref().map(schema::adapt)),
    }
}
