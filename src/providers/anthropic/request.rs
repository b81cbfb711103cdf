//! From OpenAI's request to the Messages API's.
//!
//! * `max_tokens` is always sent: the client's cap, else all that the model can answer, else 4096.
//! * `temperature` is cut at 1, the API's highest. Of `temperature` and `top_p` newer models take only one: the
//!   temperature goes first. With thinking, and where the model takes no sampling fields, they are dropped.
//! * `response_format` of a schema is the API's own structured output where the model has it and the schema fits,
//!   else the input of a tool that must be called. JSON without a schema cannot be promised, so it is lacking.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderValue;
use serde_json::Value;
use serde_json::value::RawValue;

use super::host::Host;
use super::messages::{self, Replay};
use super::naming::{Naming, Rules};
use super::schema;
use super::thinking::{self, Plan, Wish};
use super::tools::{self, Tools};
use super::wire::{Format, Metadata, OutputConfig, Request, Sampling};
use crate::chat::conversation::{Effort, NamedSchema, ResponseFormat};
use crate::chat::request::Invalid;
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
    let emulated = needs.json_schema && !able.json_schema;
    let lacking = [
        (needs.tools && !able.tools, "tools"),
        (images && !able.vision, "vision"),
        (needs.audio || audio_answer, "audio"),
        (needs.documents && !able.documents, "documents"),
        (needs.json_mode, "json_mode"),
        (emulated && !can_be_emulated(needs.tools, needs.effort, facts), "json_schema"),
        (needs.logprobs, "logprobs"),
        (needs.n, "n"),
        // A text to be continued is no JSON yet.
        (needs.prefill && (!able.prefill || needs.json_schema), "prefill"),
    ];
    lacking.into_iter().find_map(|(is_lacking, what)| is_lacking.then_some(what))
}

/// Writes the request.
pub fn encode(request: &ChatRequest, facts: &TargetFacts, host: Host) -> Result<Encoded, Unsendable> {
    if let Some(what) = lacks(request, facts) {
        return Err(Unsendable::Lacks(what));
    }
    let conversation = request.conversation()?;
    if !host.fetches() && messages::links(&conversation.messages) {
        return Err(Unsendable::Lacks("file_url"));
    }
    let answer = AnswerForm::of(conversation, facts)?;
    let wish = Wish {
        effort: conversation.reasoning_effort,
        cap: conversation.output_cap(),
        rules_it_out: tools::is_forced(conversation)
            || matches!(answer, AnswerForm::Tool { .. })
            || request.needs.prefill,
        lost_its_reasoning: messages::lost_its_reasoning(&conversation.messages),
    };
    let plan = thinking::plan(&wish, facts);
    let mut naming = Naming::new(Rules::MESSAGES);
    let history = messages::write(&conversation.messages, replay(&plan, &wish), &mut naming)?;
    if !history.called.is_empty() && !facts.able.tools {
        return Err(Unsendable::Lacks("tools"));
    }
    let mut context = ReplyContext { choices: 1, ..ReplyContext::default() };
    let mut output_config = OutputConfig { effort: plan.effort, format: None };
    let tools = match answer {
        AnswerForm::Tool { description, schema } => {
            context.answer_tool = Some(ANSWER_TOOL.to_owned());
            let mut tools = tools::answer(ANSWER_TOOL, description, schema);
            let called =
                history.called.iter().filter(|name| *name != ANSWER_TOOL).cloned().collect::<Vec<_>>();
            tools.definitions.extend(tools::stubs(&called)?.definitions);
            tools
        }
        AnswerForm::Native(schema) => {
            output_config.format = Some(Format::JsonSchema { schema });
            tools::write(conversation, &history.called, facts.able.json_schema, &mut naming)?
        }
        AnswerForm::Text => tools::write(conversation, &history.called, facts.able.json_schema, &mut naming)?,
    };
    let is_streamed = request.stream && facts.able.streaming;
    let mut dropped = hints(conversation, &plan, &tools);
    let version = host.version_in_body();
    let tier = service_tier(conversation.service_tier.as_deref(), host, &mut dropped);
    let body = Request {
        model: version.is_none().then_some(&*facts.model),
        anthropic_version: version,
        max_tokens: plan.max_tokens,
        system: history.system,
        messages: history.turns,
        sampling: sampling(conversation, facts.sampling, plan.is_on(), &mut dropped),
        stop_sequences: stop_sequences(&conversation.stop, &mut dropped),
        metadata: metadata(conversation.user.as_deref(), &mut dropped),
        service_tier: tier.filter(|_| version.is_none()),
        stream: is_streamed && version.is_none(),
        tools: tools.definitions,
        tool_choice: tools.choice,
        thinking: plan.thinking,
        output_config,
    };
    let body = serde_json::to_vec(&body).map_err(|error| Invalid {
        message: format!("The request cannot be written: {error}."),
        param: None,
    })?;
    context.renamed_tools = naming.into_renamed();
    let mut headers = HeaderMap::new();
    match (version, tier) {
        (None, _) => drop(headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"))),
        (Some(_), Some(tier)) => {
            drop(headers.insert("x-amzn-bedrock-service-tier", HeaderValue::from_static(tier)));
        }
        (Some(_), None) => {}
    }
    let path = host.path(&facts.model, is_streamed);
    Ok(Encoded { path, headers, body: vec![body.into()], dropped, context })
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
    pub fn of(conversation: &'a Conversation, facts: &TargetFacts) -> Result<Self, Unsendable> {
        let named = match &conversation.response_format {
            None | Some(ResponseFormat::Text) => return Ok(Self::Text),
            Some(ResponseFormat::JsonObject) => return Err(Unsendable::Lacks("json_mode")),
            Some(ResponseFormat::JsonSchema(named)) => named,
        };
        let fault = |text: &str| Invalid::at("response_format.json_schema.schema", text);
        let raw = named.schema.as_deref().ok_or_else(|| fault("`schema` is missing."))?;
        let schema: Value =
            serde_json::from_str(raw.get()).map_err(|_| fault("`schema` must be a JSON Schema."))?;
        if facts.able.json_schema
            && let Some(native) = schema::native(&schema)
        {
            return Ok(Self::Native(native));
        }
        let has_tools = !conversation.tools.is_empty();
        if !can_be_emulated(has_tools, conversation.reasoning_effort, facts) {
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

/// Which turns get their reasoning back.
pub fn replay(plan: &Plan<'_>, wish: &Wish) -> Replay {
    if plan.is_on() {
        Replay::All
    } else if plan.thinking.is_some() || wish.effort == Some(Effort::None) {
        Replay::None
    } else {
        Replay::WithCalls
    }
}

/// The fields that have no place in this API and were set to something.
fn hints(conversation: &Conversation, plan: &Plan<'_>, tools: &Tools<'_>) -> Vec<&'static str> {
    let mut dropped = conversation.openai_only();
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let fields = [
        ("seed", conversation.seed.is_some()),
        ("frequency_penalty", is_set(conversation.frequency_penalty)),
        ("presence_penalty", is_set(conversation.presence_penalty)),
        ("top_logprobs", conversation.top_logprobs.is_some_and(|most| most > 0)),
        ("reasoning_effort", plan.dropped),
        ("strict", tools.dropped_strict),
    ];
    dropped.extend(fields.into_iter().filter_map(|(name, is_dropped)| is_dropped.then_some(name)));
    dropped
}

/// What the model takes of the sampling fields; `dropped` gets the others.
pub fn sampling(
    conversation: &Conversation,
    takes_any: bool,
    thinks: bool,
    dropped: &mut Vec<&'static str>,
) -> Sampling {
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
    let fits = if thinks { top_p.is_some_and(|top_p| top_p >= 0.95) } else { !takes_temperature };
    let takes_top_p = keep("top_p", top_p.is_some(), takes_any && fits);
    let takes_top_k = keep("top_k", conversation.top_k.is_some(), takes_any && !thinks);
    Sampling {
        temperature: temperature.filter(|_| takes_temperature).map(|temperature| temperature.clamp(0.0, 1.0)),
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

fn metadata<'a>(user: Option<&'a str>, dropped: &mut Vec<&'static str>) -> Option<Metadata<'a>> {
    let user_id = user?;
    if user_id.len() > LONGEST_USER {
        dropped.push("user");
        return None;
    }
    Some(Metadata { user_id })
}

fn service_tier(tier: Option<&str>, host: Host, dropped: &mut Vec<&'static str>) -> Option<&'static str> {
    match (host, tier?) {
        (Host::Bedrock, "auto") => None,
        (Host::Bedrock, "default") => Some("default"),
        (Host::Bedrock, "flex") => Some("flex"),
        (Host::Bedrock, "priority") => Some("priority"),
        (Host::Direct | Host::Vertex, "auto") => Some("auto"),
        (Host::Direct | Host::Vertex, "default" | "standard_only") => Some("standard_only"),
        _ => {
            dropped.push("service_tier");
            None
        }
    }
}
