//! What a request is for, and which chain serves that.

use std::sync::Arc;

use super::error::ApiError;
use crate::chat::Request;
use crate::chat::request::Invalid;
use crate::config::gateway::{CallerKey, ForbiddenTask, Gateway};
use crate::routing::{Chain, Origin};

/// The request's task: what the client claims, within what its key may claim.
pub fn task(claimed: Option<&str>, caller: Option<&CallerKey>) -> Result<Option<String>, ApiError> {
    let Some(key) = caller else { return Ok(claimed.map(str::to_owned)) };
    key.task(claimed).map(|task| task.map(str::to_owned)).map_err(|ForbiddenTask| {
        let message = format!("This API key may not ask for the task `{}`.", claimed.unwrap_or_default());
        let error = ApiError::forbidden("task_not_allowed", message);
        ApiError { outcome: "key_scope", ..error }
    })
}

/// The chain that serves a request of this task and tier that asked for `asked`. How it came there is noted in
/// `origin`.
pub fn follow(
    gateway: &Gateway,
    asked: Arc<Chain>,
    request: &Request,
    origin: &mut Origin,
) -> Result<Arc<Chain>, Invalid> {
    if asked.branches.is_none() {
        return Ok(asked);
    }
    let (serving, detour) = gateway.follow(&asked, origin.task.as_deref(), origin.tier.as_deref());
    if let Request::Embeddings(_) = request {
        hold_to_one_model(&asked, &serving)?;
    }
    origin.detour = detour.map(Arc::new);
    Ok(serving)
}

/// Vectors of two models do not mix: a client that asks for one chain gets those of one model, whatever the task.
fn hold_to_one_model(asked: &Chain, serving: &Chain) -> Result<(), Invalid> {
    let name = |chain: &Chain| chain.targets.first().map(|target| Arc::clone(&target.model_name));
    if name(asked) == name(serving) {
        return Ok(());
    }
    let message = format!(
        "The chain `{}` cannot embed for this task or tier: the chain `{}`, which serves it, has another model, \
         and vectors of two models do not mix.",
        asked.name, serving.name
    );
    Err(Invalid::at("model", message))
}
