//! From OpenAI's request to Converse's.
//!
//! * The output cap is sent where the client gave one: without it the API lets the model answer as long as it can.
//! * `temperature` and `top_p` are cut at 1, the API's highest. `top_k` is the maker's own field.
//! * `response_format` of a schema is the API's own structured output where the model has it and the schema fits,
//!   else the input of a tool that must be called. JSON without a schema cannot be promised, so it is lacking.
//! * `user` and `metadata` go where the account's logs of its calls show them.

use std::borrow::Cow;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::family::Family;
use super::wire::{InferenceConfig, JsonSchema, OutputConfig, Request, ServiceTier, Structure, TextFormat};
use super::{cache, messages, path, reasoning, tools};
use crate::chat::conversation::{Conversation, NamedSchema, ResponseFormat};
use crate::chat::request::{Invalid, own_metadata};
use crate::chat::{ChatRequest, TargetFacts};
use crate::providers::anthropic::messages::{Replay, lost_its_reasoning};
use crate::providers::anthropic::naming::{Naming, Rules};
use crate::providers::anthropic::request::{self as anthropic, ANSWER_TOOL, AnswerForm, can_be_emulated};
use crate::providers::anthropic::thinking::Wish;
use crate::providers::anthropic::tools::{self as anthropic_tools, Offer, Tools};
use crate::providers::{Encoded, ReplyContext, Unsendable};

/// What the API takes as names and ids.
const NAMES: Rules = Rules { longest_name: 64, in_ids: ".:" };
/// What of the request is read here, beside what every dialect reads: OpenAI's `metadata`, and members of this API
/// that no OpenAI field stands for, which a client may send as they are.
pub const EXTRAS: &[&str] = &[
    METADATA,
    ADDITIONAL,
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "additionalModelResponseFieldPaths",
];
const METADATA: &str = "metadata";
/// Goes to the model. Piton adds to it.
const ADDITIONAL: &str = "additionalModelRequestFields";
/// The most entries of the request's metadata, and the longest key and value.
const METADATA_LIMITS: (usize, usize) = (16, 256);

/// What the request needs and the target lacks.
pub fn lacks(request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
    let (needs, able) = (&request.needs, &facts.able);
    let audio_answer = request.member("modalities").is_some_and(|kinds| kinds.contains(r#""audio""#));
    let emulated = needs.json_schema && !able.json_schema;
    let lacking = [
        (needs.tools && !able.tools, "tools"),
        ((needs.image_data || needs.image_url) && !able.vision, "vision"),
        ((needs.audio && !able.audio) || audio_answer, "audio"),
        (needs.documents && !able.documents, "documents"),
        (needs.json_mode, "json_mode"),
        (emulated && !can_be_emulated(needs.tools, needs.effort, facts), "json_schema"),
        (needs.logprobs, "logprobs"),
        (needs.n, "n"),
        // A text to be continued is no JSON yet.
        (needs.prefill && (!able.prefill || needs.json_schema || !Family::of(facts).continues()), "prefill"),
    ];
    lacking.into_iter().find_map(|(is_lacking, what)| is_lacking.then_some(what))
}

/// The most that it lets the model write. That thinking is ruled out shows only in the conversation: here it is not.
pub fn most_output(request: &ChatRequest, facts: &TargetFacts) -> Option<u64> {
    let wish = Wish { effort: request.needs.effort, cap: request.output_cap, ..Wish::default() };
    reasoning::plan(&wish, facts, Family::of(facts), &mut Map::new()).cap()
}

/// Writes the request.
pub fn encode(request: &ChatRequest, facts: &TargetFacts) -> Result<Encoded, Unsendable> {
    if let Some(what) = lacks(request, facts) {
        return Err(Unsendable::Lacks(what));
    }
    let conversation = request.conversation()?;
    let family = Family::of(facts);
    let answer = AnswerForm::of(conversation, conversation.reasoning_effort, facts)?;
    let wish = Wish {
        effort: conversation.reasoning_effort,
        cap: conversation.output_cap(),
        rules_it_out: anthropic_tools::is_forced(conversation)
            || matches!(answer, AnswerForm::Tool { .. })
            || request.needs.prefill,
        lost_its_reasoning: lost_its_reasoning(&conversation.messages),
        ..Wish::default()
    };
    let mut additional = Map::new();
    let plan = reasoning::plan(&wish, facts, family, &mut additional);
    let mut naming = Naming::new(NAMES);
    let replay = if plan.claude_thinks || family != Family::Claude { Replay::All } else { Replay::WithCalls };
    let history = messages::write(&conversation.messages, replay, family, &mut naming)?;
    let called = &history.called;
    if !called.is_empty() && !facts.able.tools {
        return Err(Unsendable::Lacks("tools"));
    }
    let answer_tool = matches!(answer, AnswerForm::Tool { .. }).then(|| ANSWER_TOOL.to_owned());
    let (definitions, output_config) = definitions(request, answer, called, facts, &mut naming)?;
    let dropped_strict = definitions.dropped_strict;
    let (tool_config, tools_dropped) = tools::write(definitions, !called.is_empty(), family, &mut additional);
    let mut dropped = conversation.openai_only();
    dropped.extend(anthropic::sampling_hints(conversation));
    let others = [
        ("reasoning_effort", plan.dropped),
        ("strict", dropped_strict),
        ("detail", anthropic::asks_for_detail(conversation)),
        ("tool_choice", tools_dropped.choice && !conversation.tools.is_empty()),
        ("parallel_tool_calls", tools_dropped.parallel),
    ];
    dropped.extend(others.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    let dropped_marks = tools_dropped.marks || history.dropped_marks;
    let inference_config = limits(conversation, facts, family, &plan, &mut additional, &mut dropped);
    let own = own_members(request, &mut additional)?;
    let mut body = Request {
        messages: history.turns,
        system: history.system,
        inference_config,
        tool_config,
        output_config,
        additional_model_request_fields: additional,
        service_tier: service_tier(conversation.service_tier.as_deref(), &mut dropped),
        request_metadata: metadata(request, conversation.user.as_deref(), &mut dropped),
        own,
    };
    dropped.extend((cache::limit(&mut body) || dropped_marks).then_some("cache_control"));
    let body = Encoded::translated(request, &body)?;
    let context = ReplyContext { choices: 1, answer_tool, renamed_tools: naming.into_renamed() };
    let is_streamed = request.stream && facts.able.streaming;
    let path = path(&facts.model, if is_streamed { "converse-stream" } else { "converse" });
    Ok(Encoded { path, headers: HeaderMap::new(), body, dropped, context })
}

/// The tools, and the form of the answer where the API has it.
fn definitions<'a>(
    request: &'a ChatRequest,
    answer: AnswerForm<'a>,
    called: &[Cow<'a, str>],
    facts: &TargetFacts,
    naming: &mut Naming,
) -> Result<(Tools<'a>, Option<OutputConfig<'a>>), Unsendable> {
    let conversation = request.conversation()?;
    if conversation.tools.iter().any(|tool| tool.function.is_none()) {
        return Err(Unsendable::Lacks("tool_kind"));
    }
    let output_config = match answer {
        AnswerForm::Tool { description, schema } => {
            let mut tools = anthropic_tools::answer(ANSWER_TOOL, description, schema);
            let called: Vec<_> = called.iter().filter(|name| *name != ANSWER_TOOL).cloned().collect();
            tools.definitions.extend(anthropic_tools::stubs(&called)?.definitions);
            // The API wants the tool called; that it is called once only Claude need be told.
            tools.choice = tools.choice.map(|_| named_once(ANSWER_TOOL));
            return Ok((tools, None));
        }
        AnswerForm::Native(schema) => Some(structured(conversation, &schema)),
        AnswerForm::Text => None,
    };
    let offer = Offer::of(request, conversation);
    let tools = anthropic_tools::write(&offer, called, facts.able.json_schema, None, naming)?;
    Ok((tools, output_config))
}

fn named_once(name: &'static str) -> crate::providers::anthropic::wire::ToolChoice<'static> {
    crate::providers::anthropic::wire::ToolChoice::Tool {
        name: name.into(),
        disable_parallel_tool_use: false,
    }
}

fn structured<'a>(conversation: &'a Conversation, schema: &Value) -> OutputConfig<'a> {
    let (name, description) = match &conversation.response_format {
        Some(ResponseFormat::JsonSchema(NamedSchema { name, description, .. })) => {
            (name.as_deref(), description.as_deref())
        }
        Some(ResponseFormat::Text | ResponseFormat::JsonObject) | None => (None, None),
    };
    let json_schema = JsonSchema { name, description, schema: schema.to_string() };
    let structure = Structure::JsonSchema(json_schema);
    OutputConfig { text_format: TextFormat { kind: "json_schema", structure } }
}

/// The cap, the sampling and the stop sequences.
fn limits<'a>(
    conversation: &'a Conversation,
    facts: &TargetFacts,
    family: Family,
    plan: &reasoning::Plan,
    additional: &mut Map<String, Value>,
    dropped: &mut Vec<&'static str>,
) -> InferenceConfig<'a> {
    let takes_any = facts.sampling && !plan.takes_no_limits;
    let is_picky = plan.claude_thinks || !takes_both(&facts.model);
    let (temperature, top_p, top_k) = if family == Family::Claude && is_picky {
        let sampling = anthropic::sampling(conversation, facts, plan.claude_thinks, dropped);
        (sampling.temperature, sampling.top_p, sampling.top_k)
    } else {
        let mut take = |name, value: Option<f64>| {
            if value.is_some() && !takes_any {
                dropped.push(name);
            }
            value.filter(|_| takes_any).map(|value| value.clamp(0.0, 1.0))
        };
        let temperature = take("temperature", conversation.temperature);
        (temperature, take("top_p", conversation.top_p), conversation.top_k)
    };
    if let Some(top_k) = top_k {
        match family {
            _ if !takes_any => dropped.push("top_k"),
            Family::Claude | Family::Mistral => drop(additional.insert("top_k".to_owned(), top_k.into())),
            Family::Cohere => drop(additional.insert("k".to_owned(), top_k.into())),
            Family::Nova | Family::Nova2 => {
                additional.insert("inferenceConfig".to_owned(), json!({ "topK": top_k }));
            }
            Family::GptOss | Family::Qwen | Family::Opaque | Family::Other => dropped.push("top_k"),
        }
    }
    if plan.takes_no_limits && plan.max_tokens.is_some() {
        dropped.push("max_completion_tokens");
    }
    let stop_sequences = if family == Family::Claude {
        anthropic::stop_sequences(&conversation.stop, dropped)
    } else {
        conversation.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty()).collect()
    };
    InferenceConfig { max_tokens: plan.cap(), temperature, top_p, stop_sequences }
}

/// The older Claudes take `temperature` and `top_p` together.
fn takes_both(model: &str) -> bool {
    ["claude-3", "claude-v2", "claude-instant", "-4-20250514"].iter().any(|older| model.contains(older))
}

/// The members that the client wrote for this API. What it says to the model itself wins over what Piton says.
fn own_members(
    request: &ChatRequest,
    additional: &mut Map<String, Value>,
) -> Result<Map<String, Value>, Invalid> {
    let read = |name: &str| -> Result<Option<Value>, Invalid> {
        let Some(text) = request.member(name).filter(|text| *text != "null") else { return Ok(None) };
        let fault = |error| Invalid::at(name, format!("`{name}` cannot be read: {error}."));
        serde_json::from_str(text).map(Some).map_err(fault)
    };
    let mut own = Map::new();
    for name in EXTRAS.iter().copied().filter(|name| *name != METADATA) {
        match (name, read(name)?) {
            (ADDITIONAL, Some(Value::Object(fields))) => additional.extend(fields),
            (ADDITIONAL, Some(_)) => return Err(Invalid::at(name, format!("`{name}` must be an object."))),
            (_, Some(value)) => drop(own.insert(name.to_owned(), value)),
            (_, None) => {}
        }
    }
    Ok(own)
}

fn metadata(
    request: &ChatRequest,
    user: Option<&str>,
    dropped: &mut Vec<&'static str>,
) -> Map<String, Value> {
    let given =
        request.member(METADATA).and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
    let given = given.unwrap_or_default().into_iter().filter(|(key, _)| own_metadata(key).is_none());
    let mut entries = Map::new();
    for (key, value) in given {
        if value.as_str().is_some_and(is_loggable) && is_loggable(&key) && entries.len() < METADATA_LIMITS.0 {
            entries.insert(key, value);
        } else if !dropped.contains(&METADATA) {
            dropped.push(METADATA);
        }
    }
    match user {
        Some(user) if is_loggable(user) && entries.len() < METADATA_LIMITS.0 => {
            entries.entry("user").or_insert_with(|| user.into());
        }
        Some(_) => dropped.push("user"),
        None => {}
    }
    entries
}

fn is_loggable(text: &str) -> bool {
    let is_taken =
        |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c);
    (1..=METADATA_LIMITS.1).contains(&text.len()) && text.chars().all(is_taken)
}

fn service_tier(tier: Option<&str>, dropped: &mut Vec<&'static str>) -> Option<ServiceTier> {
    let kind = match tier? {
        "auto" => return None,
        "default" => "default",
        "flex" => "flex",
        "priority" => "priority",
        "reserved" => "reserved",
        _ => {
            dropped.push("service_tier");
            return None;
        }
    };
    Some(ServiceTier { kind })
}
