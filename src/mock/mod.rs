//! Simulated providers on one port, told apart by path, without keys or network: OpenAI and those that speak its
//! dialect, Azure, Anthropic, Gemini and Vertex AI, Bedrock, Cohere.
//!
//! A [`Mock`] answers any model name, always the same to the same request: text that says who answered, tool
//! calls and structured output that fit the schemas asked for, reasoning, usage; as JSON or as a stream, each in
//! its provider's own form and with the checks that the provider makes. What goes wrong is chosen by the model's
//! name (`mock-slow-2s-status-503`; [`fault`] has the grammar) or, for a name that looks normal, at run time by
//! [`Mock::set_fault`].
//!
//! A request passes [`route`] (whose it is), [`server`] (faults that give no answer), its [`dialect`] (holds it against
//! the provider's [`shape`]s and [`rule`]s, and reads a [`prompt`]), [`answer`] (what to say), the dialect again (how to
//! say it) and [`reply`] (how it fails to arrive).

mod answer;
mod anthropic;
mod bedrock;
mod cohere;
mod dialect;
mod embed;
pub mod fault;
mod gemini;
mod media;
mod openai;
mod prompt;
mod reply;
mod route;
mod rule;
mod schema;
mod server;
mod shape;
mod signature;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use self::fault::{Fault, GrammarError};
#[cfg(test)]
pub use self::verdict::{plays, verdict};

/// How a mock is to behave from the start.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it calls itself in its answers.
    pub name: String,
    /// What its list of models names; it answers any other too.
    pub models: Vec<String>,
    /// For every model whose name does not speak of a fault.
    pub default_fault: Option<Fault>,
}

/// A running simulation. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Mock {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// A request that a mock has received.
#[derive(Debug, Clone)]
pub struct Received {
    /// The provider's name, such as `openai` or `bedrock`.
    pub dialect: &'static str,
    pub model: String,
    /// With the query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// Starts to serve on this listener, within the current runtime.
pub fn spawn(listener: TcpListener, options: Options) -> io::Result<Mock> {
    let address = listener.local_addr()?;
    let ledger = Ledger { default_fault: options.default_fault, ..Ledger::default() };
    let shared = Arc::new(Shared { name: options.name, models: options.models, ledger: Mutex::new(ledger) });
    let accepting = tokio::spawn(server::accept(listener, Arc::clone(&shared))).abort_handle();
    Ok(Mock { address, shared, accepting })
}

impl Mock {
    /// `http://ADDRESS:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the model has this fault, whatever its name says; `None` leaves it to its name again. A
    /// count of [`Fault::flaky`] starts anew.
    pub fn set_fault(&self, model: &str, fault: Option<Fault>) {
        let mut ledger = self.shared.ledger();
        let model = ledger.models.entry(model.to_owned()).or_default();
        model.fault = fault;
        model.since = 0;
    }

    /// How many requests each model that has received any received, refused ones included.
    pub fn requests_by_model(&self) -> BTreeMap<String, u64> {
        self.shared.requests_by_model()
    }
}

/// What only the mock's own tests look at from inside; others ask `GET /mock/requests`.
#[cfg(test)]
impl Mock {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn requests(&self, model: &str) -> u64 {
        self.requests_by_model().get(model).copied().unwrap_or_default()
    }

    pub fn last_request(&self) -> Option<Received> {
        self.shared.last_request()
    }

    pub fn last_request_of(&self, model: &str) -> Option<Received> {
        self.shared.last_request_of(model)
    }

    /// A fault for every model that has none of its own and none in its name.
    pub fn set_default_fault(&self, fault: Option<Fault>) {
        let mut ledger = self.shared.ledger();
        ledger.default_fault = fault;
        for model in ledger.models.values_mut() {
            model.since = 0;
        }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { name: "piton mock".to_owned(), models: Vec::new(), default_fault: None }
    }
}

/// What all connections of a mock share.
#[derive(Debug)]
struct Shared {
    name: String,
    models: Vec<String>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    requests: u64,
    default_fault: Option<Fault>,
    models: HashMap<String, Model>,
    last: Option<Received>,
}

#[derive(Debug, Default)]
struct Model {
    requests: u64,
    fault: Option<Fault>,
    /// Requests since its fault was last set.
    since: u64,
    last: Option<Received>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change is whole before anything can panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests_by_model(&self) -> BTreeMap<String, u64> {
        let ledger = self.ledger();
        let asked = ledger.models.iter().filter(|(_, model)| model.requests > 0);
        asked.map(|(name, model)| (name.clone(), model.requests)).collect()
    }

    /// The latest request of all.
    fn last_request(&self) -> Option<Received> {
        self.ledger().last.clone()
    }

    /// The model's latest request.
    fn last_request_of(&self, model: &str) -> Option<Received> {
        self.ledger().models.get(model)?.last.clone()
    }

    /// Notes a request; gives its number and the fault that it meets.
    fn note(&self, received: Received) -> (u64, Result<Fault, GrammarError>) {
        let mut ledger = self.ledger();
        ledger.requests += 1;
        let number = ledger.requests;
        let default_fault = ledger.default_fault.clone();
        let named = Fault::of_model(&received.model);
        ledger.last = Some(received.clone());
        let model = ledger.models.entry(received.model.clone()).or_default();
        model.requests += 1;
        model.since += 1;
        model.last = Some(received);
        let fault = match (&model.fault, named) {
            (Some(fault), _) => fault.clone(),
            (None, Err(error)) => return (number, Err(error)),
            (None, Ok(fault)) if fault != Fault::default() => fault,
            (None, Ok(healthy)) => default_fault.unwrap_or(healthy),
        };
        let mended = fault.flaky.is_some_and(|times| model.since > times);
        (number, Ok(if mended { Fault::default() } else { fault }))
    }
}
