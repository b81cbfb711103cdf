//! One request of any kind: from its bytes to the answer of its chain.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use super::error::ApiError;
use super::explain::Outlook;
use super::settings::Settings;
use super::ticket::Ticket;
use super::verdict::verdict;
use super::{App, access, answer, body, branch, quota};
use crate::chat::request::Invalid;
use crate::chat::{ChatRequest, EmbeddingsRequest, Operation, Request};
use crate::config::gateway::{CallerKey, Gateway};
use crate::config::nearest;
use crate::memory::Full;
use crate::ops::identity::pseudonym;
use crate::routing::plan::{Plan, Wishes, plan};
use crate::routing::run::Errand;
use crate::routing::{Chain, Origin};

/// Client headers that go upstream: lists, which may stand on several lines.
const FORWARDED_LISTS: [&str; 2] = ["openai-beta", "anthropic-beta"];
/// Goes upstream too; a request has one.
const TRACEPARENT: &str = "traceparent";

/// Answers one request.
pub async fn answer_with(
    app: &App,
    request_id: String,
    request: HttpRequest<Incoming>,
    operation: Operation,
) -> Response {
    let gateway = app.live().load();
    let mut ticket = Ticket::new(app, gateway, Origin { request_id, operation, ..Origin::default() });
    let (head, body) = request.into_parts();
    match serve(app, &mut ticket, &head.headers, &head.uri, body).await {
        Ok(Reply::Answer(won)) => answer::answer(ticket, won).await,
        Ok(Reply::Plan(plan)) => show(ticket, plan),
        Err(error) => refuse(ticket, error),
    }
}

/// What a request leads to.
enum Reply {
    Answer(Answered),
    /// Asked for instead of the answer.
    Plan(Value),
}

/// A target's answer, and what is needed to pass it on.
pub struct Answered {
    pub won: crate::routing::run::Won,
    pub request: Request,
}

async fn serve(
    app: &App,
    ticket: &mut Ticket,
    headers: &HeaderMap,
    uri: &Uri,
    body: Incoming,
) -> Result<Reply, ApiError> {
    let gateway = Arc::clone(&ticket.gateway);
    let caller = match admit(&gateway, ticket, headers, uri) {
        Ok(caller) => caller,
        Err(error) => return Err(body::refuse(body, error, gateway.server.max_body).await),
    };
    let memory = &app.live().runtime().memory;
    let received = body::receive(body, content_length(headers), &gateway.server, memory).await?;
    ticket.held = Some(received.held);
    ticket.mark_in_hand();
    let request = parse(ticket.origin.operation, received.bytes)?;
    let settings = Settings::read(headers, request.own())?;
    ticket.wants_receipt = settings.wants_receipt;
    ticket.max_cost = settings.max_cost;
    let origin = Arc::make_mut(&mut ticket.origin);
    label(origin, &settings, &request, caller, headers)?;
    let asked = find_chain(&gateway, request.model(), caller)?;
    let chain = branch::follow(&gateway, asked, &request, origin)?;
    origin.chain = Arc::clone(&chain.name);
    ticket.chain = Some(Arc::clone(&chain));
    walk(ticket, &chain, request, &settings, caller).await
}

/// The request in a body.
pub fn parse(operation: Operation, body: Bytes) -> Result<Request, Invalid> {
    Ok(match operation {
        Operation::Chat => Request::Chat(Arc::new(ChatRequest::parse(body)?)),
        Operation::Embeddings => Request::Embeddings(Arc::new(EmbeddingsRequest::parse(body)?)),
    })
}

/// What can be said before the body is read.
fn admit<'a>(
    gateway: &'a Gateway,
    ticket: &mut Ticket,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Option<&'a CallerKey>, ApiError> {
    let caller = access::caller(gateway, headers, uri)?;
    ticket.is_admitted = true;
    if let Some(key) = caller {
        Arc::make_mut(&mut ticket.origin).key = Some(Arc::clone(&key.name));
        ticket.quota.clone_from(&key.quota);
    }
    if ticket.is_one_too_many() {
        let message = "Piton is answering as many requests as `max_in_flight` allows; try again.";
        return Err(ApiError::busy(message));
    }
    check_content_type(headers)?;
    check_content_encoding(headers)?;
    Ok(caller)
}

async fn walk(
    ticket: &mut Ticket,
    chain: &Arc<Chain>,
    request: Request,
    settings: &Settings,
    caller: Option<&CallerKey>,
) -> Result<Reply, ApiError> {
    let wishes = wishes(settings, &request, caller, &ticket.origin);
    hold_copies(ticket, chain, &request)?;
    let plan = plan(chain, &request, &wishes)?;
    if let Some(key) = caller
        && !wishes.out_of_scope
    {
        take(ticket, key, &plan, settings.wants_plan)?;
    }
    if settings.wants_plan {
        let outlook = Outlook::new(&ticket.gateway, &ticket.origin, plan, &request, settings);
        return Ok(Reply::Plan(outlook.within_scope(wishes.out_of_scope)?.to_json()));
    }
    let time = time_for(chain, settings);
    let began = Instant::now();
    let errand = Errand {
        origin: Arc::clone(&ticket.origin),
        trail: ticket.trail.clone(),
        began,
        deadline: began + time,
        wishes,
    };
    match plan.run(&errand).await {
        Ok(won) => {
            ticket.served = Some(won.target.index);
            Ok(Reply::Answer(Answered { won, request }))
        }
        Err(exhausted) => Err(ticket.trail.read(|entries| verdict(&chain.name, entries, &exhausted))),
    }
}

/// What the request itself says about how its chain is walked.
pub fn wishes(settings: &Settings, request: &Request, caller: Option<&CallerKey>, origin: &Origin) -> Wishes {
    Wishes {
        max_cost: settings.max_cost,
        no_fallback: settings.no_fallback,
        // By the chain that the client named: where its branches lead is the owner's word.
        out_of_scope: caller.is_some_and(|key| !key.reaches(request.model())),
        task: origin.task.as_deref().map(Arc::from),
        tier: origin.tier.as_deref().map(Arc::from),
    }
}

/// The time to the first byte of the answer.
pub fn time_for(chain: &Chain, settings: &Settings) -> Duration {
    settings.deadline.map_or(chain.policy.deadline, |own| own.min(chain.policy.deadline))
}

/// Takes the request's place in its caller's limits: all of them, or none. A plan takes no tokens.
fn take(ticket: &mut Ticket, key: &CallerKey, plan: &Plan, is_plan: bool) -> Result<(), ApiError> {
    let Some(quota) = &key.quota else { return Ok(()) };
    let tokens = quota.limits.tokens_per_minute.filter(|_| !is_plan).map_or(0, |_| plan.most_tokens().get());
    let admitted = quota.admit(tokens, Instant::now());
    ticket.admitted = Some(admitted.map_err(|refused| quota::refusal(&key.name, refused))?);
    Ok(())
}

/// Parameters of its own give a target a body of its own; so do words in place of images.
fn hold_copies(ticket: &mut Ticket, chain: &Arc<Chain>, request: &Request) -> Result<(), ApiError> {
    let with_own = request.own().fallbacks.iter().flatten().filter(|choice| !choice.parameters.is_empty());
    let mut bytes = request.body().len().saturating_mul(with_own.count());
    if !request.size().images.is_empty() {
        let rules = [Some(chain), chain.last.as_ref()].into_iter().flatten();
        let described = rules.filter_map(|chain| chain.describe.as_ref()).map(|rule| rule.bytes(request));
        bytes = described.fold(bytes, usize::saturating_add);
    }
    let held = ticket.held.as_mut().map_or(Ok(()), |held| held.grow(bytes));
    held.map_err(|Full| body::full())
}

/// The plan of a request that asked for no more.
fn show(mut ticket: Ticket, plan: Value) -> Response {
    let headers = answer::headers(&ticket, false);
    ticket.settle_explained();
    let mut response = Json(plan).into_response();
    response.headers_mut().extend(headers);
    response
}

/// The error answer of a request that no target served.
fn refuse(mut ticket: Ticket, error: ApiError) -> Response {
    ticket.mark_answered();
    let (outcome, status) = (error.outcome, error.status.as_u16());
    let headers = answer::headers(&ticket, false);
    ticket.settle(outcome, status);
    let mut response = error.into_response();
    response.headers_mut().extend(headers);
    response
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("The content-type must be application/json, not `{media_type}`.");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_media_type"), message))
}

fn check_content_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get_all(CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("unreadable"));
    let Some(packed) = given.map(str::trim).find(|given| !given.eq_ignore_ascii_case("identity")) else {
        return Ok(());
    };
    let message = format!("The body must be sent as it is, not with the content-encoding `{packed}`.");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_media_type"), message))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Who asks, and what for, as the key pins it or the client claims it.
pub fn label(
    origin: &mut Origin,
    settings: &Settings,
    request: &Request,
    caller: Option<&CallerKey>,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let pinned = caller.and_then(|key| key.user.clone());
    let in_body = || request.own().user.clone().filter(|user| !user.is_empty());
    let claimed = || settings.user.clone().or_else(in_body);
    origin.user = pinned.or_else(claimed).as_deref().map(pseudonym);
    origin.session = settings.session.as_deref().map(pseudonym);
    let tier = caller.and_then(|key| key.tier.as_ref()).or(settings.tier.as_ref());
    origin.tier = tier.cloned();
    origin.task = branch::task(settings.task.as_deref(), caller)?;
    origin.streamed = request.stream();
    origin.forward = forwarded(headers);
    Ok(())
}

fn forwarded(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let all = |name| headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let lists = FORWARDED_LISTS.into_iter().filter_map(|name| {
        let joined = all(name).map(str::to_owned).reduce(|list, line| list + ", " + &line)?;
        Some((name, joined))
    });
    let trace = all(TRACEPARENT).next().map(|parent| (TRACEPARENT, parent.to_owned()));
    lists.chain(trace).collect()
}

/// The chain that the client named; where there is none, names that it may have meant.
pub fn find_chain(gateway: &Gateway, name: &str, caller: Option<&CallerKey>) -> Result<Arc<Chain>, ApiError> {
    if let Some(chain) = gateway.chain(name) {
        return Ok(chain);
    }
    let reachable = gateway
        .chains
        .keys()
        .map(|chain| &**chain)
        .filter(|chain| caller.is_none_or(|key| key.reaches(chain)));
    let names: Vec<&str> = reachable.collect();
    let mut message = format!("There is no chain `{name}`.");
    if let Some(near) = nearest(name, names.iter().copied()) {
        message.push_str(&format!(" Did you mean `{near}`?"));
    } else if !names.is_empty() {
        let shown = names.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        message
            .push_str(&format!(" The chains are: {shown}{}.", if names.len() > 10 { ", ..." } else { "" }));
    }
    let error = ApiError::new(StatusCode::NOT_FOUND, Some("model_not_found"), message);
    Err(ApiError { param: Some("model".into()), ..error })
}
