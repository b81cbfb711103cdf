//! What every request passes: its id, the limits on its head, and the headers that every answer has.

use std::any::Any;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::App;
use super::error::ApiError;

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_PITON_CONFIG: HeaderName = HeaderName::from_static("x-piton-config");

/// The longest id that a client may choose.
const ID: usize = 128;
/// Limits on a request's head; beyond them the answer is 431.
const MAX_HEADERS: usize = 128;
const MAX_HEAD: usize = 64 * 1024;

/// The id of a request: the client's, if it is usable, else a new one.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Wraps every route.
pub async fn edge(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = match oversized(request.headers()) {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    // The handler that decided says which configuration it went by.
    if !headers.contains_key(X_PITON_CONFIG)
        && let Ok(hash) = HeaderValue::from_str(&app.live().load().hash)
    {
        headers.insert(X_PITON_CONFIG, hash);
    }
    response
}

/// A bug in one request must not look like an answer, nor take others with it.
pub fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    tracing::error!("a request's handler panicked");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        Some("internal_error"),
        "Piton failed; the log says where.",
    )
    .into_response()
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let usable = |id: &&str| (1..=ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(usable).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn oversized(headers: &HeaderMap) -> Option<ApiError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (headers.len() > MAX_HEADERS || bytes > MAX_HEAD).then(|| {
        let message =
            format!("The headers are too large: {MAX_HEADERS} headers and {MAX_HEAD} bytes are the most.");
        ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Some("headers_too_large"), message)
    })
}
