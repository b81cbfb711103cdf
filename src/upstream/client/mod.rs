//! HTTP clients, shared across reloads, which keeps their pooled connections.
//!
//! Calls go [directly](direct) where nothing stands between Piton and the provider: one connection, driven by the
//! request that it serves. The [general] client knows the ways around: proxies. It costs more per call.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::reason::{Class, Failure};

mod address;
mod body;
mod decoder;
mod direct;
mod general;
mod head;
mod line;
mod pool;
mod socket;
mod tls;
mod upload;

pub use address::Address;
pub use body::{Body, Lost};
pub use general::General;

use direct::Direct;
use general::Route;

/// The answer to a call.
pub type Response = http::Response<Body>;

/// A POST about to be sent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    pub address: &'a Address,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    /// In pieces.
    pub body: Vec<Bytes>,
}

/// All clients built so far.
#[derive(Debug, Default, Clone)]
pub struct Clients(Arc<Shared>);

/// One client for calls to providers.
#[derive(Debug, Clone)]
pub enum Client {
    Direct(Arc<Direct>),
    General(General),
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    #[error(transparent)]
    General(#[from] reqwest::Error),
    #[error(transparent)]
    Tls(#[from] tls::Unusable),
}

/// By whom calls to a provider go.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// By the environment's proxy, if it names one.
    Environment,
    /// By the owner's proxy, at this URL.
    Proxy(&'a str),
    /// By nobody else.
    Itself,
}

#[derive(Debug, Default)]
struct Shared {
    /// By their origins and the time that a connection may take.
    direct: Mutex<HashMap<(Uri, Duration), Arc<Direct>>>,
    general: Mutex<HashMap<(Route, Duration), General>>,
    trust: tls::Trust,
    /// The proxies that the environment names.
    environment: OnceLock<Matcher>,
}

/// Beyond this many direct clients, those that no configuration uses any more are forgotten.
const REMEMBERED: usize = 1024;
/// Shorter than the idle time of common servers and load balancers, so that they seldom close first.
const POOL_IDLE: Duration = Duration::from_secs(55);
/// A stale connection breaks as soon as something is sent on it. One that breaks later had taken the request, which
/// may have been served and billed.
const STALE: Duration = Duration::from_millis(300);
pub const USER_AGENT: &str = concat!("piton/", env!("CARGO_PKG_VERSION"));

impl Clients {
    /// The client for calls to a provider. Fails only if the proxy's URL or the trust store cannot be read.
    pub fn get(&self, connect_timeout: Duration, base_url: &str, by: By<'_>) -> Result<Client, NoClient> {
        let is_direct = |address: &Address| match by {
            By::Itself => true,
            By::Environment => !self.is_proxied(base_url, address),
            By::Proxy(_) => false,
        };
        let proxy = match by {
            By::Proxy(proxy) => Some(proxy),
            By::Environment | By::Itself => None,
        };
        match Address::parse(base_url).filter(is_direct) {
            Some(address) => self.direct(connect_timeout, &address).map(Client::Direct),
            None => Ok(Client::General(self.general(connect_timeout, base_url, proxy)?)),
        }
    }

    /// The client for anything else that is asked of `base_url`.
    pub fn general(
        &self,
        connect_timeout: Duration,
        base_url: &str,
        proxy: Option<&str>,
    ) -> reqwest::Result<General> {
        let route = match proxy {
            Some(proxy) => Route::Proxy(proxy.to_owned()),
            None if is_local(base_url) => Route::Local,
            None => Route::Environment,
        };
        let settings = (route, connect_timeout);
        let mut clients = self.0.general.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&settings) {
            return Ok(client.clone());
        }
        let client = General::new(&settings.0, connect_timeout)?;
        clients.insert(settings, client.clone());
        Ok(client)
    }

    fn direct(&self, connect_timeout: Duration, address: &Address) -> Result<Arc<Direct>, NoClient> {
        let settings = (address.origin().clone(), connect_timeout);
        let mut clients = self.0.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&settings) {
            return Ok(Arc::clone(client));
        }
        let tls = address.is_https().then(|| self.0.trust.config()).transpose()?;
        if clients.len() >= REMEMBERED {
            clients.retain(|_, client| Arc::strong_count(client) > 1);
        }
        let client = Arc::new(Direct::new(address.origin().clone(), tls, connect_timeout));
        clients.insert(settings, Arc::clone(&client));
        Ok(client)
    }

    /// Whether the environment's proxy would take calls there.
    fn is_proxied(&self, base_url: &str, address: &Address) -> bool {
        let environment = self.0.environment.get_or_init(Matcher::from_system);
        !is_local(base_url) && environment.intercept(address.origin()).is_some()
    }
}

impl Client {
    /// Sends a request and waits for the head of its answer.
    pub async fn send(&self, call: Outgoing<'_>) -> Result<Response, Failure> {
        match self {
            Self::Direct(client) => client.send(call).await,
            Self::General(client) => client.post(call).await,
        }
    }
}

impl Outgoing<'_> {
    /// Where it goes, whole; `None`: there is no such URL.
    pub fn url(&self) -> Option<Url> {
        self.address.url(&self.target)
    }
}

/// Whether the URL's host is this machine by its own name, or a metadata server, which is on its own link.
pub fn is_local(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        // fd00:ec2::254 is EC2's.
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.segments()[..2] == [0xfd00, 0x0ec2]
        }
    };
    matches!(host, "localhost" | "metadata.google.internal") || host.parse().is_ok_and(is_near)
}

/// No connection came about.
fn unconnected(error: &dyn std::error::Error) -> Failure {
    Failure::new(Class::ConnectFailed, format!("No connection: {}.", innermost(error)))
}

/// The connection broke before the head of an answer.
fn broken(error: &dyn std::error::Error, stale_connection: bool) -> Failure {
    let message = format!("The connection was lost before an answer: {}.", innermost(error));
    Failure { stale_connection, ..Failure::new(Class::ConnectionLost, message) }
}

/// The target's URL is none.
pub fn no_url() -> Failure {
    Failure::new(Class::ConnectFailed, "The target's URL cannot be used.")
}

/// The error that started it: the outer ones only say that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
