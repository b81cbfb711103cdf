//! Reads a request's body: not too large, not too slow, and within the memory that all requests share.

use std::io::{self, ErrorKind};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use crate::config::gateway::Server;
use crate::memory::{Held, Memory};

/// How long a client that is refused anyway may go on sending.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body, and its place in the memory budget.
pub struct Received {
    pub bytes: Bytes,
    pub held: Held,
}

/// Reads the body to its end.
pub async fn receive(
    body: Incoming,
    announced: Option<usize>,
    server: &Server,
    memory: &Memory,
) -> Result<Received, ApiError> {
    let until = Instant::now() + server.body_timeout;
    let reading = read(body, announced, server.max_body, memory);
    timeout_at(until, reading).await.unwrap_or_else(|_| {
        let message = format!("The body did not arrive within `body_timeout` ({:?}).", server.body_timeout);
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, Some("body_timeout"), message))
    })
}

async fn read(
    mut body: Incoming,
    announced: Option<usize>,
    max: usize,
    memory: &Memory,
) -> Result<Received, ApiError> {
    if announced.is_some_and(|length| length > max) {
        return Err(refuse_after(body, too_large(max), max).await);
    }
    let Ok(mut held) = memory.hold(announced.unwrap_or(0)) else {
        return Err(refuse_after(body, full(), max).await);
    };
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = bytes.len() + data.len();
        if size > max {
            drop((bytes, held));
            return Err(refuse_after(body, too_large(max), max).await);
        }
        // As a growing buffer does.
        if size > held.bytes() && held.grow(size.next_power_of_two().min(max) - held.bytes()).is_err() {
            drop((bytes, held));
            return Err(refuse_after(body, full(), max).await);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.freeze(), held })
}

/// Lets the client finish what it is sending, unread, so that it sees the refusal and not a broken connection.
/// A body of more than twice the limit is cut off all the same.
async fn refuse_after(mut body: Incoming, error: ApiError, max: usize) -> ApiError {
    let mut unread = 0;
    while let Some(Ok(frame)) = body.frame().await {
        unread += frame.data_ref().map_or(0, Bytes::len);
        if unread > 2 * max {
            break;
        }
    }
    error
}

/// The same for a refusal that was clear before the body was looked at: such a client gets a moment only.
pub async fn refuse(body: Incoming, error: ApiError, max: usize) -> ApiError {
    let refused = refuse_after(body, error.clone(), max);
    tokio::time::timeout(PATIENCE, refused).await.unwrap_or(error)
}

/// Why a body ended before its end: its framing is wrong, or its client is gone.
fn broken(error: &(dyn std::error::Error + 'static)) -> ApiError {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let kinds = chain.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    if kinds.into_iter().any(|kind| matches!(kind, ErrorKind::InvalidInput | ErrorKind::InvalidData)) {
        return ApiError::bad_request(None, "The body's chunked encoding cannot be read.");
    }
    ApiError::client_gone()
}

fn too_large(max: usize) -> ApiError {
    let message = format!("The body is larger than `max_body` ({max} bytes).");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, Some("request_too_large"), message)
}

/// The memory that all requests share does not suffice.
pub fn full() -> ApiError {
    ApiError::busy("Piton's `buffer_memory` is used up by other requests; try again.")
}
