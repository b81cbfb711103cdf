//! The upstream of a replay: every provider's, at paths of its own, on one address. It knows which exchange a
//! request belongs to by its `traceparent`, which Piton passes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::exchange::Replay;
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Received, Upstream};

/// Answers with what was recorded and keeps what it was asked.
pub struct Replaying {
    upstream: Upstream,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    expected: Mutex<HashMap<String, Replay>>,
    received: Mutex<HashMap<String, Received>>,
}

impl Replaying {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let answering = Arc::clone(&shared);
        let upstream = Upstream::start(move |_, request| answering.answer(request)).await;
        Self { upstream, shared }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.upstream.url()
    }

    /// What to answer to the request with this trace.
    pub fn expect(&self, trace: &str, replay: Replay) {
        self.shared.expected.lock().unwrap().insert(trace.to_owned(), replay);
    }

    /// What came with this trace, if anything did.
    pub fn received(&self, trace: &str) -> Option<Received> {
        self.shared.received.lock().unwrap().remove(trace)
    }
}

/// The trace of the exchange with this number, in its `attempt`.
pub fn trace(number: usize, attempt: usize) -> String {
    // Zero is no valid id.
    format!("{:032x}", (number + 1) * 1000 + attempt)
}

/// The `traceparent` that carries a trace.
pub fn traceparent(trace: &str) -> String {
    format!("00-{trace}-00000000000000aa-01")
}

impl Shared {
    fn answer(&self, request: &Received) -> Script {
        let parent = request.header("traceparent").unwrap_or_default();
        let trace = parent.split('-').nth(1).unwrap_or_default().to_owned();
        let replay = self.expected.lock().unwrap().remove(&trace);
        let Some(replay) = replay else {
            return replies::openai_error(500, "test", None, "nothing is recorded for this request");
        };
        self.received.lock().unwrap().insert(trace, request.clone());
        script(&replay)
    }
}

fn script(replay: &Replay) -> Script {
    let mut head =
        format!("HTTP/1.1 {} Recorded\r\ncontent-length: {}\r\n", replay.status, replay.body.len());
    for (name, value) in &replay.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    Script::new().send([head.as_bytes(), &replay.body].concat())
}
