//! The front door: HTTP in, one snapshot of the configuration per request, HTTP out.

mod accept;
mod access;
mod answer;
mod body;
mod branch;
mod door;
mod encode;
mod error;
mod exchange;
mod explain;
mod models;
mod ops;
mod quota;
mod settings;
mod spend;
mod sse;
mod ticket;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{any, get, post};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::config::live::Live;

pub use accept::serve;
pub use error::ApiError;
pub use explain::{Look, Outlook};
#[cfg(feature = "bench-internals")]
pub use {accept::serve_one, encode::Encoder};

/// What all handlers share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    live: Live,
    started: Instant,
    /// Seconds since the Unix epoch.
    started_unix: u64,
    draining: watch::Sender<bool>,
    in_flight: AtomicU32,
}

impl App {
    /// An application over this configuration.
    pub fn new(live: Live) -> Self {
        Self(Arc::new(Shared {
            live,
            started: Instant::now(),
            started_unix: clock::unix_seconds(),
            draining: watch::Sender::new(false),
            in_flight: AtomicU32::new(0),
        }))
    }

    fn live(&self) -> &Live {
        &self.0.live
    }

    /// No new traffic is wanted from now on.
    fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    fn is_draining(&self) -> bool {
        *self.0.draining.borrow()
    }

    /// Resolves when no new traffic is wanted any more.
    async fn until_draining(&self) {
        // The sender lives as long as the application.
        let _ = self.0.draining.subscribe().wait_for(|draining| *draining).await;
    }
}

/// Every route of the contract, with and without `/v1`, but for the two that the [`door`] takes itself: here they have
/// only the methods that they do not take.
fn router(app: App) -> Router {
    let mut router = Router::new();
    for prefix in ["/v1", ""] {
        router = router
            .route(&format!("{prefix}/chat/completions"), any(wrong_method))
            .route(&format!("{prefix}/embeddings"), any(wrong_method))
            .route(&format!("{prefix}/models"), get(models::list))
            .route(&format!("{prefix}/models/{{*id}}"), get(models::one));
    }
    router
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/piton/api/status", get(ops::status))
        .route("/piton/api/requests/{id}", get(ops::receipt))
        .route("/piton/api/spend", get(spend::spend))
        .route("/piton/api/reload", post(ops::reload))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "There is nothing at {method} {}. Chat completions are at POST /v1/chat/completions, embeddings at POST /v1/embeddings, models at GET /v1/models.",
        uri.path()
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(format!("{} does not take {method}.", uri.path()))
}
