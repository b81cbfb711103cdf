//! The door that every request comes in by: its id, the limits on its head, the way to its handler, and the headers
//! that every answer has. The two routes that carry the traffic are taken here, without a router.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::service::Service;
use tower::ServiceExt;
use uuid::Builder;

use super::error::ApiError;
use super::{App, exchange};
use crate::chat::Operation;
use crate::clock;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_PITON_CONFIG: HeaderName = HeaderName::from_static("x-piton-config");

/// The longest id that a client may choose.
const ID: usize = 128;
/// The longest head; beyond it the answer is 431.
const MAX_HEAD: usize = 64 * 1024;

/// What a connection hands its requests to.
#[derive(Clone)]
pub struct Door {
    rooms: Arc<Rooms>,
    peer: SocketAddr,
}

/// What all connections share.
pub struct Rooms {
    pub app: App,
    pub router: Router,
}

impl Door {
    /// The door for one client.
    pub fn new(rooms: &Arc<Rooms>, peer: SocketAddr) -> Self {
        Self { rooms: Arc::clone(rooms), peer }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let id = request_id(request.headers());
        let answering = AssertUnwindSafe(self.hand_on(request, &id)).catch_unwind();
        let mut response = answering.await.unwrap_or_else(panicked);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::try_from(id) {
            headers.insert(X_REQUEST_ID, id);
        }
        // The handler that decided says which configuration it went by.
        if !headers.contains_key(X_PITON_CONFIG)
            && let Ok(hash) = HeaderValue::from_str(&self.rooms.app.live().load().hash)
        {
            headers.insert(X_PITON_CONFIG, hash);
        }
        response
    }

    async fn hand_on(&self, request: Request<Incoming>, id: &str) -> Response<Body> {
        if let Some(error) = oversized(request.headers()) {
            return error.into_response();
        }
        let Rooms { app, router } = &*self.rooms;
        if let Some(operation) = operation(&request) {
            return exchange::answer_with(app, id.to_owned(), request, operation).await;
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

impl Service<Request<Incoming>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = self.clone();
        // What a request needs is given back when it is answered, not kept with its connection.
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}

/// What is asked of a chain, with or without `/v1`.
fn operation<B>(request: &Request<B>) -> Option<Operation> {
    if *request.method() != Method::POST {
        return None;
    }
    let path = request.uri().path();
    match path.strip_prefix("/v1").unwrap_or(path) {
        "/chat/completions" => Some(Operation::Chat),
        "/embeddings" => Some(Operation::Embeddings),
        _ => None,
    }
}

/// A bug in one request must not look like an answer, nor take others with it.
fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    tracing::error!("a request's handler panicked");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        Some("internal_error"),
        "Piton failed; the log says where.",
    )
    .into_response()
}

/// The client's id, if it is usable, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = |id: &&str| (1..=ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(usable).map_or_else(new_id, str::to_owned)
}

/// A `UUIDv7`. It must be unique, not hard to guess: the system's randomness would cost a call of its own.
fn new_id() -> String {
    let milliseconds = u64::try_from(clock::since_epoch().as_millis()).unwrap_or(u64::MAX);
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().to_string()
}

fn oversized(headers: &HeaderMap) -> Option<ApiError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (bytes > MAX_HEAD).then(|| {
        let message = format!("The headers are too large: {MAX_HEAD} bytes are the most.");
        ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Some("headers_too_large"), message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_of_version_7_and_differ() {
        let (one, other) = (new_id(), new_id());
        assert_ne!(one, other);
        assert_eq!(uuid::Uuid::parse_str(&one).unwrap().get_version_num(), 7);
    }

    #[test]
    fn only_posts_to_the_two_routes_are_taken_here() {
        let ask = |method: Method, uri: &str| {
            operation(&Request::builder().method(method).uri(uri).body(()).unwrap())
        };
        assert_eq!(ask(Method::POST, "/v1/chat/completions?x=1"), Some(Operation::Chat));
        assert_eq!(ask(Method::POST, "/chat/completions"), Some(Operation::Chat));
        assert_eq!(ask(Method::POST, "/embeddings"), Some(Operation::Embeddings));
        assert_eq!(ask(Method::GET, "/v1/chat/completions"), None);
        assert_eq!(ask(Method::POST, "/v1/v1/embeddings"), None);
        assert_eq!(ask(Method::POST, "/v1chat/completions"), None);
    }
}
