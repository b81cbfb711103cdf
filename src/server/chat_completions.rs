//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::extract::{Extension, Request as HttpRequest, State};
use axum::response::Response;

use super::edge::RequestId;
use super::{App, exchange};
use crate::chat::{ChatRequest, Operation, Request};

/// Answers one request.
pub async fn create(
    State(app): State<App>,
    Extension(id): Extension<RequestId>,
    request: HttpRequest,
) -> Response {
    let parse = |body| Ok(Request::Chat(Arc::new(ChatRequest::parse(body)?)));
    exchange::answer_with(&app, id, request, Operation::Chat, parse).await
}
