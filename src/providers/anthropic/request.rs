//! From OpenAI's request to the Messages API's.
//!
//! * `max_tokens` is always sent: the client's cap, else room for a long answer and the thinking before it, within
//!   what the model can answer.
//! * `temperature` is cut at 1, the API's highest, and then listed as dropped. Of `temperature` and `top_p` newer
//!   models take only one: the temperature goes first. With thinking, and where the model takes no sampling fields,
//!   they are dropped.
//! * `response_format` of a schema is the API's own structured output where the model has it and the schema fits,
//!   else the input of a tool that must be called. JSON without a schema cannot be promised, so it is lacking.
//! * `web_search_options` is the API's own search of the web.
//! * What the client says in the API's own words goes on as it is; see [`native`].

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::cache;
use super::carrier::{self, Takes};
use super::generation::Generation;
use super::host::Host;
use super::messages::{self, History, Manner, Replay};
use super::naming::{Naming, Rules};
use super::native;
use super::schema;
use super::thinking::{self, Plan, Wish};
use super::tools::{self, Offer, Tools};
use super::wire::{Block, Format, Metadata, OutputConfig, Request, Sampling, Source};
use crate::chat::conversation::{Content, Effort, Message, NamedSchema, Part, ResponseFormat};
use crate::chat::request::Invalid;
use crate::chat::target::Thinking;
use crate::chat::{ChatRequest, Conversation, TargetFacts};
use crate::providers::{Encoded, ReplyContext, Unsendable};

/// The tool whose input is an answer in JSON.
pub const ANSWER_TOOL: &str = "json_answer";
/// The longest user id that the API takes.
const LONGEST_USER: usize = 256;

/// What the request needs and the target lacks.
pub fn lacks(request: &ChatRequest, facts: &TargetFacts) -> Option<&'static str> {
    let (needs, able) = (&request.needs, &facts.able);
    let images = needs.image_data || needs.image_url;
    let audio_answer = request.member("modalities").is_some_and(|kinds| kinds.contains(r#""audio""#));
    let emulated = needs.json_schema && !takes_schemas(facts);
    let effort = needs.effort.or_else(|| needs.thinks?.then_some(Effort::Medium));
    // A turn that the API broke off is no text to be continued; which of them it is shows the whole conversation.
    let is_paused = || request.member("messages").is_some_and(|messages| messages.contains(carrier::BLOCK));
    // A text to be continued is no JSON yet.
    let prefill = needs.prefill && (!takes_prefill(facts) || needs.json_schema);
    let lacking = [
        (needs.tools && !able.tools, "tools"),
        (images && !able.vision, "vision"),
        (needs.audio || audio_answer, "audio"),
        (needs.documents && !able.documents, "documents"),
        (needs.json_mode, "json_mode"),
        (emulated && !can_be_emulated(needs.tools, effort, facts), "json_schema"),
        (needs.logprobs, "logprobs"),
        (needs.n, "n"),
        (prefill && !is_paused(), "prefill"),
    ];
    lacking.into_iter().find_map(|(is_lacking, what)| is_lacking.then_some(what))
}

/// The most that it lets the model write. That thinking is ruled out shows only in the conversation: here it is not.
pub fn most_output(request: &ChatRequest, facts: &TargetFacts) -> u64 {
    // What cannot be read is not sent.
    let own = native::output(request).unwrap_or_default();
    let asked = native::thinking(request).unwrap_or_default();
    let effort = request.needs.effort.or(own.effort);
    let wish = Wish { effort, asked, cap: request.output_cap, ..Wish::default() };
    thinking::plan(&wish, facts).max_tokens
}

/// Writes the request.
pub fn encode(request: &ChatRequest, facts: &TargetFacts, host: Host) -> Result<Encoded, Unsendable> {
    if let Some(what) = lacks(request, facts) {
        return Err(Unsendable::Lacks(what));
    }
    let conversation = request.conversation()?;
    let offer = Offer::of(request, conversation);
    let takes = takes(request, &offer, host);
    let own = native::output(request)?;
    let (wish, answer) = wish(request, own.effort, takes, facts)?;
    let plan = thinking::plan(&wish, facts);
    let system_turns = host.takes_system_turns(Generation::of(&facts.model));
    let manner = Manner { replay: replay(&plan, &wish), takes, system_turns };
    let mut naming = Naming::new(Rules::MESSAGES);
    let history = messages::write(&conversation.messages, manner, &mut naming)?;
    if !history.called.is_empty() && !facts.able.tools {
        return Err(Unsendable::Lacks("tools"));
    }
    let has_files = names_files(&history, host)?;
    let mut dropped = hints(conversation, &plan, &history);
    let emulated = matches!(answer, AnswerForm::Tool { .. });
    let search = search(request, host, emulated, &mut dropped)?;
    let mut output_config =
        OutputConfig { effort: plan.effort.map(Effort::code), format: None, others: own.others };
    let strict = takes_schemas(facts);
    let tools = match answer {
        AnswerForm::Tool { description, schema } => answer_tool(description, schema, &history)?,
        AnswerForm::Native(schema) => {
            output_config.others.shift_remove("format");
            output_config.format = Some(Format::JsonSchema { schema });
            tools::write(&offer, &history.called, strict, search, &mut naming)?
        }
        AnswerForm::Text => tools::write(&offer, &history.called, strict, search, &mut naming)?,
    };
    dropped.extend(tools.dropped_strict.then_some("strict"));
    let betas = native::betas(request, &tools.kinds, has_files)?;
    let stream = request.stream && facts.able.streaming;
    let tier = service_tier(conversation.service_tier.as_deref(), host, &mut dropped);
    let headers = host.headers(&betas, tier);
    let mut body = Request {
        envelope: host.envelope(&facts.model, betas),
        max_tokens: plan.max_tokens,
        system: history.system,
        messages: history.turns,
        sampling: sampling(conversation, facts, plan.is_on(), &mut dropped),
        stop_sequences: stop_sequences(&conversation.stop, &mut dropped),
        metadata: metadata(request, conversation, &mut dropped),
        service_tier: tier.filter(|_| host.asks_in_body()),
        stream: stream && host.asks_in_body(),
        tools: tools.definitions,
        tool_choice: tools.choice,
        thinking: plan.thinking,
        output_config,
        native: native::members(request),
    };
    dropped.extend(cache::limit(&mut body).then_some("cache_control"));
    let body = Encoded::translated(request, &body)?;
    let answer_tool = emulated.then(|| ANSWER_TOOL.to_owned());
    let context = ReplyContext { choices: 1, answer_tool, renamed_tools: naming.into_renamed() };
    Ok(Encoded { path: host.path(&facts.model, stream), headers, body, dropped, context })
}

/// What is wished of the model's thinking, and the form of its answer, on which that depends.
fn wish<'a>(
    request: &'a ChatRequest,
    own_effort: Option<Effort>,
    takes: Takes,
    facts: &TargetFacts,
) -> Result<(Wish, AnswerForm<'a>), Unsendable> {
    let conversation = request.conversation()?;
    let is_continued = request.needs.prefill && !messages::is_paused(&conversation.messages, takes);
    if is_continued && (!takes_prefill(facts) || request.needs.json_schema) {
        return Err(Unsendable::Lacks("prefill"));
    }
    let wish = Wish {
        effort: conversation.reasoning_effort.or(own_effort),
        asked: native::thinking(request)?,
        cap: conversation.output_cap(),
        rules_it_out: tools::is_forced(conversation) || is_continued,
        lost_its_reasoning: messages::lost_its_reasoning(&conversation.messages),
    };
    let answer = AnswerForm::of(conversation, wish.wanted(), facts)?;
    let is_emulated = matches!(answer, AnswerForm::Tool { .. });
    Ok((Wish { rules_it_out: wish.rules_it_out || is_emulated, ..wish }, answer))
}

/// The search of the web that the client asked for. It has no place beside an answer that is a tool's input.
fn search(
    request: &ChatRequest,
    host: Host,
    emulated: bool,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Box<RawValue>>, Invalid> {
    let Some(options) = search_options(request, host).filter(|_| !emulated) else {
        let is_set = request.member("web_search_options").is_some_and(|options| options != "null");
        dropped.extend(is_set.then_some("web_search_options"));
        return Ok(None);
    };
    let (tool, is_sized) = tools::web_search(options)?;
    dropped.extend(is_sized.then_some("search_context_size"));
    Ok(Some(tool))
}

fn search_options(request: &ChatRequest, host: Host) -> Option<&str> {
    request.member("web_search_options").filter(|options| *options != "null" && host.searches())
}

/// The tool whose input is the answer, and those of the history, which must be known.
fn answer_tool<'a>(
    description: Option<&'a str>,
    schema: Cow<'a, RawValue>,
    history: &History<'a>,
) -> Result<Tools<'a>, Unsendable> {
    let mut tools = tools::answer(ANSWER_TOOL, description, schema);
    let called: Vec<_> = history.called.iter().filter(|name| *name != ANSWER_TOOL).cloned().collect();
    tools.definitions.extend(tools::stubs(&called)?.definitions);
    Ok(tools)
}

/// What of earlier answers can go back: blocks of the provider's own tools only beside such tools.
fn takes(request: &ChatRequest, offer: &Offer<'_>, host: Host) -> Takes {
    let is_set = |name| request.member(name).is_some_and(|value| value != "null");
    Takes {
        thinking: false,
        server_tools: search_options(request, host).is_some() || offer.own_kinds().next().is_some(),
        mcp: is_set("mcp_servers"),
        compaction: is_set("context_management"),
    }
}

/// Whether the history names uploaded files. What the host would have to fetch is lacking where it does not.
fn names_files(history: &History<'_>, host: Host) -> Result<bool, Unsendable> {
    let mut has_files = false;
    for block in history.turns.iter().flat_map(|turn| &turn.content) {
        let inner = match block {
            Block::ToolResult { content, .. } => content.as_slice(),
            block => std::slice::from_ref(block),
        };
        for block in inner {
            let lacking = match block {
                Block::Image { source: Source::Url { .. }, .. } => "image_url",
                Block::Document { source: Source::Url { .. }, .. } => "file_url",
                Block::Document { source: Source::File { .. }, .. } => {
                    has_files = true;
                    "file_id"
                }
                _ => continue,
            };
            if !host.fetches() {
                return Err(Unsendable::Lacks(lacking));
            }
        }
    }
    Ok(has_files)
}

/// Whether the model can be held to a schema. The catalog counts forced tools as well.
fn takes_schemas(facts: &TargetFacts) -> bool {
    facts.able.json_schema && Generation::of(&facts.model).is_none_or(Generation::takes_schemas)
}

fn takes_prefill(facts: &TargetFacts) -> bool {
    let is_known = facts.thinking != Thinking::Unknown;
    facts.able.prefill && (is_known || Generation::of(&facts.model).is_none_or(Generation::takes_prefill))
}

/// How the answer gets the form that was asked for.
pub enum AnswerForm<'a> {
    Text,
    /// The API's own structured output.
    Native(Value),
    /// As the input of a tool.
    Tool {
        description: Option<&'a str>,
        schema: Cow<'a, RawValue>,
    },
}

impl<'a> AnswerForm<'a> {
    /// The form that the request asks for, as this model can give it.
    pub fn of(
        conversation: &'a Conversation,
        effort: Option<Effort>,
        facts: &TargetFacts,
    ) -> Result<Self, Unsendable> {
        let named = match &conversation.response_format {
            None | Some(ResponseFormat::Text) => return Ok(Self::Text),
            Some(ResponseFormat::JsonObject) => return Err(Unsendable::Lacks("json_mode")),
            Some(ResponseFormat::JsonSchema(named)) => named,
        };
        let fault = |text: &str| Invalid::at("response_format.json_schema.schema", text);
        let raw = named.schema.as_deref().ok_or_else(|| fault("`schema` is missing."))?;
        let schema: Value =
            serde_json::from_str(raw.get()).map_err(|_| fault("`schema` must be a JSON Schema."))?;
        if takes_schemas(facts)
            && let Some(native) = schema::native(&schema)
        {
            return Ok(Self::Native(native));
        }
        let has_tools = !conversation.tools.is_empty();
        if !can_be_emulated(has_tools, effort, facts) {
            return Err(Unsendable::Lacks("json_schema"));
        }
        Self::tool(named, raw, &schema)
    }

    /// A tool's input is an object, and says so on its outside.
    fn tool(named: &'a NamedSchema, raw: &'a RawValue, schema: &Value) -> Result<Self, Unsendable> {
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        let is_choice = ["anyOf", "oneOf", "allOf"].iter().any(|keyword| schema.get(keyword).is_some());
        if !is_object || is_choice {
            return Err(Unsendable::Lacks("json_schema"));
        }
        Ok(Self::Tool { description: named.description.as_deref(), schema: Cow::Borrowed(raw) })
    }
}

/// A tool that must be called leaves no room for other tools, nor for thinking.
pub fn can_be_emulated(has_tools: bool, effort: Option<Effort>, facts: &TargetFacts) -> bool {
    facts.able.tools && !has_tools && !thinking::would_think(effort, facts)
}

fn replay(plan: &Plan, wish: &Wish) -> Replay {
    if plan.is_on() {
        Replay::All
    } else if plan.thinking.is_some() || wish.wanted() == Some(Effort::None) {
        Replay::None
    } else {
        Replay::WithCalls
    }
}

/// The fields that have no place in this API and were set to something.
fn hints(conversation: &Conversation, plan: &Plan, history: &History<'_>) -> Vec<&'static str> {
    const MAPPED: [&str; 2] = ["web_search_options", "safety_identifier"];
    let mut dropped = conversation.openai_only();
    dropped.retain(|name| !MAPPED.contains(name));
    dropped.extend(sampling_hints(conversation));
    let fields = [
        ("detail", asks_for_detail(conversation)),
        ("reasoning_details", history.lost_details),
        ("reasoning_content", history.lost_reasoning),
    ];
    dropped.extend(plan.dropped);
    dropped.extend(fields.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    dropped
}

/// The fields of sampling that have no place in this API, nor in Bedrock's, and were set to something.
pub fn sampling_hints(conversation: &Conversation) -> impl Iterator<Item = &'static str> {
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let fields = [
        ("seed", conversation.seed.is_some()),
        ("frequency_penalty", is_set(conversation.frequency_penalty)),
        ("presence_penalty", is_set(conversation.presence_penalty)),
        ("top_logprobs", conversation.top_logprobs.is_some_and(|most| most > 0)),
    ];
    fields.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name))
}

/// How closely an image is looked at is the API's own affair.
pub fn asks_for_detail(conversation: &Conversation) -> bool {
    let asks = |part: &Part| match part {
        Part::ImageUrl { image_url, .. } => {
            image_url.detail.as_deref().is_some_and(|detail| detail != "auto")
        }
        Part::Text { .. } | Part::InputAudio(_) | Part::File(_) | Part::Refusal(_) | Part::Unknown => false,
    };
    conversation.messages.iter().any(|message| match message {
        Message::User(Content::Parts(parts)) => parts.iter().any(asks),
        Message::System(_) | Message::User(_) | Message::Assistant(_) | Message::Tool(_) => false,
    })
}

/// What the model takes of the sampling fields; `dropped` gets the others.
pub fn sampling(
    conversation: &Conversation,
    facts: &TargetFacts,
    thinks: bool,
    dropped: &mut Vec<&'static str>,
) -> Sampling {
    if conversation.temperature.is_none() && conversation.top_p.is_none() && conversation.top_k.is_none() {
        return Sampling::default();
    }
    let generation = Generation::of(&facts.model);
    let is_known = facts.thinking != Thinking::Unknown;
    let takes_any = facts.sampling && (is_known || generation.is_none_or(Generation::takes_sampling));
    // OpenAI's default is the API's as well: saying nothing says the same.
    let temperature = conversation.temperature.filter(|temperature| (temperature - 1.0).abs() > f64::EPSILON);
    let top_p = conversation.top_p.filter(|top_p| *top_p < 1.0);
    let mut keep = |name: &'static str, is_set: bool, is_taken: bool| {
        if is_set && !is_taken {
            dropped.push(name);
        }
        is_set && is_taken
    };
    let takes_temperature = keep("temperature", temperature.is_some(), takes_any && !thinks);
    // Thinking goes with a narrow cut only.
    let takes_both = generation.is_some_and(Generation::takes_both_samplings);
    let fits =
        if thinks { top_p.is_some_and(|top_p| top_p >= 0.95) } else { takes_both || !takes_temperature };
    let takes_top_p = keep("top_p", top_p.is_some(), takes_any && fits);
    let takes_top_k = keep("top_k", conversation.top_k.is_some(), takes_any && !thinks);
    let temperature = temperature.filter(|_| takes_temperature);
    if temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        dropped.push("temperature");
    }
    Sampling {
        temperature: temperature.map(|temperature| temperature.clamp(0.0, 1.0)),
        top_p: top_p.filter(|_| takes_top_p).map(|top_p| top_p.max(0.0)),
        top_k: conversation.top_k.filter(|_| takes_top_k),
    }
}

/// The API refuses sequences of white space only.
pub fn stop_sequences<'a>(stop: &'a [String], dropped: &mut Vec<&'static str>) -> Vec<&'a str> {
    let taken: Vec<&str> = stop.iter().map(String::as_str).filter(|stop| !stop.trim().is_empty()).collect();
    if taken.len() < stop.len() {
        dropped.push("stop");
    }
    taken
}

/// Who uses this: OpenAI's newer name for it, its older one, or the API's own.
fn metadata<'a>(
    request: &'a ChatRequest,
    conversation: &'a Conversation,
    dropped: &mut Vec<&'static str>,
) -> Option<Metadata<'a>> {
    let (own, has_others) = native::user_id(request);
    dropped.extend(has_others.then_some("metadata"));
    let named = [
        ("safety_identifier", conversation.safety_identifier.as_deref().map(Cow::Borrowed)),
        ("user", conversation.user.as_deref().map(Cow::Borrowed)),
        ("metadata", own.map(Cow::Owned)),
    ];
    let mut chosen: Option<Cow<'a, str>> = None;
    for (member, user_id) in named {
        let Some(user_id) = user_id else { continue };
        match &chosen {
            None if user_id.len() <= LONGEST_USER => chosen = Some(user_id),
            Some(chosen) if *chosen == user_id => {}
            _ => dropped.push(member),
        }
    }
    chosen.map(|user_id| Metadata { user_id })
}

fn service_tier(tier: Option<&str>, host: Host, dropped: &mut Vec<&'static str>) -> Option<&'static str> {
    host.service_tier(tier?).unwrap_or_else(|()| {
        dropped.push("service_tier");
        None
    })
}
