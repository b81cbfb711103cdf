//! The mock's HTTP server: connections, routes, and the faults that give no answer at all.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer;
use super::dialect::{Dialect, Stamp};
use super::embed;
use super::fault::{Fault, Outcome};
use super::openai::OpenAi;
use super::openai::vendor::OPENAI;
use super::prompt::{self, Incoming, Prompt, Rejection};
use super::route::{Call, Route, decoded, route};
use super::{Received, Shared, reply};
use crate::clock;

const MAX_BODY: usize = 64 << 20;
/// After a failed accept, which mostly means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection is to be reset.
#[derive(Debug)]
struct Reset;

/// Serves until aborted; then its connections end too.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => _ = connections.spawn(serve(stream, Arc::clone(&shared))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small events wait for the peer's acknowledgement; if it fails they are only late.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        // A client that goes away drops this future, and with it every wait in it.
        Box::pin(async move { respond(&shared, request).await })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Other errors are the client's going away, or a body that was to break: closing is all there is to do.
    if let Err(error) = (&mut connection).await
        && error.source().is_some_and(<dyn Error>::is::<Reset>)
    {
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.set_zero_linger();
    }
}

async fn respond<B>(shared: &Shared, request: Request<B>) -> Result<Response<Body>, Reset>
where
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send,
    B::Data: Send,
{
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    match route(&head.method, path, &head.headers) {
        Route::Models => Ok(models(shared)),
        Route::Received => Ok(received(shared, head.uri.query().unwrap_or_default())),
        Route::Unknown => {
            let rejection = Rejection::NoRoute { path: format!("{} {path}", head.method) };
            Ok(reply::rejected(&OpenAi(&OPENAI), &rejection, None))
        }
        Route::Call(call) => {
            let dialect = &*call.dialect;
            let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
                return Ok(reply::rejected(dialect, &Rejection::Status(413), None));
            };
            let fields = match serde_json::from_slice::<Map<String, Value>>(&body.to_bytes()) {
                Ok(fields) => fields,
                Err(error) => {
                    let message = format!("We could not parse the JSON body of your request: {error}");
                    return Ok(reply::rejected(dialect, &Rejection::invalid(message), None));
                }
            };
            let named = call.model.as_deref().or(fields.get("model").and_then(Value::as_str));
            let incoming = Incoming {
                headers: &head.headers,
                query: head.uri.query().unwrap_or_default(),
                model: named.unwrap_or_default().to_owned(),
                needs_version: call.needs_version,
                of_deployment: call.needs_version && call.model.is_some(),
                stream: call.stream,
                body: &fields,
                ours: true,
            };
            serve_call(shared, &call, &incoming, &head.uri.to_string()).await
        }
    }
}

async fn serve_call(
    shared: &Shared,
    call: &Call,
    incoming: &Incoming<'_>,
    path: &str,
) -> Result<Response<Body>, Reset> {
    let dialect = &*call.dialect;
    let (number, fault) = shared.note(Received {
        dialect: dialect.name(),
        model: incoming.model.clone(),
        path: path.to_owned(),
        headers: incoming.headers.clone(),
        body: Value::Object(incoming.body.clone()),
    });
    let stamp = Stamp { number, created: clock::unix_seconds() };
    let fault = fault.map_err(|error| Rejection::param("model", format!("The mock's model name: {error}")));
    let read = dialect.authorize(incoming).and_then(|()| read(call, incoming));
    let mut response = match read.and_then(|read| Ok((read, fault?))) {
        Ok((read, fault)) => simulate(shared, dialect, &read, &fault, stamp).await?,
        Err(rejection) => {
            if let Rejection::Invalid(invalid) = &rejection {
                tracing::debug!(dialect = dialect.name(), rule = invalid.rule, "mock refused");
            }
            reply::rejected(dialect, &rejection, None)
        }
    };
    let status = response.status().as_u16();
    tracing::debug!(dialect = dialect.name(), model = incoming.model, number, status, "mock answered");
    if let Some(name) = dialect.request_id_header()
        && let Ok(id) = HeaderValue::from_str(&stamp.id("req_"))
    {
        response.headers_mut().insert(name, id);
    }
    Ok(response)
}

/// A valid request: what to answer from, or for embeddings the answer itself.
pub enum Read {
    Chat(Prompt),
    Embeddings(Prompt, Value),
}

/// Holds a request against everything that its provider demands of it.
pub fn read(call: &Call, incoming: &Incoming<'_>) -> Result<Read, Rejection> {
    match call.embed {
        None => call.dialect.read(incoming).map(Read::Chat),
        Some(form) => {
            let body = embed::answer(form, incoming)?;
            Ok(Read::Embeddings(Prompt { model: incoming.model.clone(), ..Prompt::default() }, body))
        }
    }
}

/// Answers a valid request, or fails to as the fault says.
async fn simulate(
    shared: &Shared,
    dialect: &dyn Dialect,
    read: &Read,
    fault: &Fault,
    stamp: Stamp,
) -> Result<Response<Body>, Reset> {
    let (Read::Chat(prompt) | Read::Embeddings(prompt, _)) = read;
    let rejection = rejection(dialect, prompt, fault.outcome);
    // A stream's head goes out at once; there the first content is what comes late.
    let streams = prompt.stream
        && rejection.is_none()
        && !matches!(fault.outcome, Outcome::Garbage | Outcome::Hang | Outcome::Reset);
    if let Some(slow) = fault.slow.filter(|_| !streams) {
        tokio::time::sleep(slow).await;
    }
    match fault.outcome {
        Outcome::Hang => std::future::pending().await,
        Outcome::Reset => return Err(Reset),
        _ => {}
    }
    if let Some(rejection) = rejection {
        return Ok(reply::rejected(dialect, &rejection, fault.retry_after));
    }
    if let Read::Embeddings(_, body) = read {
        return Ok(reply::whole(dialect, body, fault));
    }
    let answer = answer::compose(prompt, fault, &shared.name);
    Ok(if prompt.stream {
        reply::streamed(dialect, dialect.frames(prompt, &answer, stamp), fault)
    } else {
        reply::whole(dialect, &dialect.body(prompt, &answer, stamp), fault)
    })
}

/// The error that the fault asks for, if it is one.
fn rejection(dialect: &dyn Dialect, prompt: &Prompt, outcome: Outcome) -> Option<Rejection> {
    Some(match outcome {
        Outcome::Status(status) => Rejection::Status(status),
        Outcome::Overloaded => Rejection::Overloaded,
        Outcome::Quota => Rejection::Quota,
        Outcome::Auth => Rejection::Auth { message: "The API key is not valid.".to_owned() },
        Outcome::NotFound => Rejection::NotFound { model: prompt.model.clone() },
        Outcome::ContextLength => {
            Rejection::ContextLength { tokens: prompt::WINDOW + answer::prompt_tokens(prompt) }
        }
        Outcome::ContentFilter if dialect.filters_with_error() => Rejection::ContentFilter,
        Outcome::Answer
        | Outcome::ContentFilter
        | Outcome::Refusal
        | Outcome::Empty
        | Outcome::Hang
        | Outcome::HangBody
        | Outcome::Stall(_)
        | Outcome::Cut(_)
        | Outcome::EndEarly(_)
        | Outcome::NoDone
        | Outcome::ErrorInStream(_)
        | Outcome::Malformed
        | Outcome::Garbage
        | Outcome::Reset => return None,
    })
}

fn models(shared: &Shared) -> Response<Body> {
    let created = clock::unix_seconds();
    let models: Vec<_> = shared
        .models
        .iter()
        .map(|id| json!({ "id": id, "object": "model", "created": created, "owned_by": shared.name }))
        .collect();
    reply::whole(&OpenAi(&OPENAI), &json!({ "object": "list", "data": models }), &Fault::default())
}

/// How many requests each model received, and the last one: of all, or of `?model=NAME`.
fn received(shared: &Shared, query: &str) -> Response<Body> {
    let last = match query.strip_prefix("model=") {
        Some(model) => shared.last_request_of(&decoded(model)),
        None => shared.last_request(),
    };
    let last = last.map(|last| {
        let headers: Map<String, Value> = last
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        json!({
            "dialect": last.dialect,
            "model": last.model,
            "path": last.path,
            "headers": headers,
            "body": last.body,
        })
    });
    let body = json!({ "requests": shared.requests_by_model(), "last": last });
    reply::whole(&OpenAi(&OPENAI), &body, &Fault::default())
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fault asks for a reset")
    }
}

impl Error for Reset {}
