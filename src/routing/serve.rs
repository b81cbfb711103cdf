//! How the layers around a target's upstream call each other, and it.

use std::future::Future;

use super::attempt::{Call, NotServed};
use crate::chat::ChatStream;

/// What answers calls: an upstream, or a layer around one. Calls are lent, and one layer's future is part of the
/// next one's: so a layer costs neither a copy nor an allocation. The outermost is a `tower` service.
pub trait Serve: Send + Sync + 'static {
    /// Makes the call.
    fn serve(&self, call: &Call) -> impl Future<Output = Result<ChatStream, NotServed>> + Send;
}
