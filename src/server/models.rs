//! `GET /v1/models`: the chains, and what a client may expect of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{App, access};
use crate::routing::{Chain, Target};
use crate::units::Tokens;

/// Every chain, and every direct name, that the caller may use.
pub async fn list(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Result<Json<Value>, ApiError> {
    let gateway = app.live().load();
    let caller = access::caller(&gateway, &headers, &uri)?;
    let reaches = |name: &str| caller.is_none_or(|key| key.reaches(name));
    let chains = gateway.chains.iter().filter(|(name, _)| reaches(name));
    let mut models: Vec<Value> = chains.map(|(name, chain)| of_chain(&app, name, chain)).collect();
    let direct = gateway.direct.names().into_iter().filter(|direct| reaches(&direct.name));
    models.extend(direct.map(|direct| model(&app, &direct.name, direct.context, direct.max_output)));
    Ok(Json(json!({ "object": "list", "data": models })))
}

/// One of them.
pub async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let gateway = app.live().load();
    let caller = access::caller(&gateway, &headers, &uri)?;
    let chain = gateway.chain(&id).filter(|_| caller.is_none_or(|key| key.reaches(&id)));
    chain.map(|chain| Json(of_chain(&app, &id, &chain))).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, Some("model_not_found"), format!("There is no chain `{id}`."))
    })
}

/// What every target of the chain can take: whichever serves, the client is safe.
fn of_chain(app: &App, name: &str, chain: &Chain) -> Value {
    let is_called = |target: &&Target| target.terms.as_ref().is_none_or(|terms| terms.lacks.is_none());
    let targets = || chain.deployments().filter(is_called).map(|target| &target.model);
    let context = targets().filter_map(|model| model.context).min();
    model(app, name, context, targets().filter_map(|model| model.max_output).min())
}

/// OpenAI's `model` object, with its limits where they are known.
fn model(app: &App, name: &str, context: Option<Tokens>, max_output: Option<Tokens>) -> Value {
    let mut model = json!({
        "id": name,
        "object": "model",
        "created": app.0.started_unix,
        "owned_by": "piton",
    });
    if let Some(window) = context {
        model["context_length"] = json!(window);
    }
    if let Some(output) = max_output {
        model["max_output_tokens"] = json!(output);
    }
    model
}
