//! HTTP clients. Building one loads the trust roots, so they are built once per distinct settings and shared across
//! reloads, which also keeps their pooled connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{Certificate, Proxy, Url, redirect, retry};
use tokio::time::Instant;

use crate::reason::{Class, Failure};

/// Shorter than the idle time of common servers and load balancers, so that they seldom close first.
const POOL_IDLE: Duration = Duration::from_secs(55);
/// A stale connection breaks as soon as something is sent on it. One that breaks later had taken the request, which
/// may have been served and billed.
const STALE: Duration = Duration::from_millis(300);
/// Beyond this many remembered connections those that no pool can hold any more are forgotten.
const REMEMBERED: usize = 8192;

/// What two targets must share to share a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientSettings {
    connect_timeout: Duration,
    route: Route,
}

/// How an upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Route {
    /// By the environment's proxy, if it names one.
    Environment,
    /// On this machine or its own link, where no proxy has a place.
    Local,
    /// By the owner's proxy, at this URL.
    Proxy(String),
}

/// All clients built so far.
#[derive(Debug, Default, Clone)]
pub struct Clients(Arc<Mutex<HashMap<ClientSettings, Client>>>);

/// One client, and what it knows of its connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Connections that have carried an answer, and when: one of them that breaks under the next request was stale.
    proven: Arc<Mutex<HashMap<Ends, Instant>>>,
}

/// What tells one connection from another: its local and its remote address. The local one alone is used again for
/// other hosts.
type Ends = (SocketAddr, SocketAddr);

impl Clients {
    /// The client for calls to `base_url`. Fails only if the proxy's URL or the trust store cannot be read.
    pub fn get(
        &self,
        connect_timeout: Duration,
        base_url: &str,
        proxy: Option<&str>,
    ) -> reqwest::Result<Client> {
        let route = match proxy {
            Some(proxy) => Route::Proxy(proxy.to_owned()),
            None if is_local(base_url) => Route::Local,
            None => Route::Environment,
        };
        let settings = ClientSettings { connect_timeout, route };
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&settings) {
            return Ok(client.clone());
        }
        let client = Client { http: build(&settings)?, proven: Arc::default() };
        clients.insert(settings, client.clone());
        Ok(client)
    }
}

fn build(settings: &ClientSettings) -> reqwest::Result<reqwest::Client> {
    // With roots of its own the client starts even where the system has none.
    let roots =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("piton/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        // One HTTP/2 connection per host would make calls beyond its stream limit wait in silence.
        .http1_only()
        // A redirect would take the key to another host; a hidden retry would pay twice.
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .tls_certs_merge(roots);
    builder = match &settings.route {
        Route::Environment => builder,
        Route::Local => builder.no_proxy(),
        Route::Proxy(proxy) => builder.proxy(Proxy::all(proxy)?),
    };
    builder.build()
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

impl Client {
    /// Sends a request and waits for the head of its answer.
    pub async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, Failure> {
        let sent = Instant::now();
        let response = self.http.execute(request).await.map_err(|error| self.failure(error, sent))?;
        if let Some(ends) = ends(response.extensions()) {
            let now = Instant::now();
            let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
            if proven.len() >= REMEMBERED {
                proven.retain(|_, answered| now.duration_since(*answered) < POOL_IDLE);
            }
            if proven.len() < REMEMBERED {
                proven.insert(ends, now);
            }
        }
        Ok(response)
    }

    fn failure(&self, error: reqwest::Error, sent: Instant) -> Failure {
        let error = error.without_url();
        if error.is_connect() {
            return Failure::new(Class::ConnectFailed, format!("No connection: {}.", innermost(&error)));
        }
        let message = format!("The connection was lost before an answer: {}.", innermost(&error));
        let stale_connection = self.was_proven(&error) && sent.elapsed() < STALE;
        Failure { stale_connection, ..Failure::new(Class::ConnectionLost, message) }
    }

    /// Whether the connection that broke had carried an answer before.
    fn was_proven(&self, error: &reqwest::Error) -> bool {
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            if let Some(connected) =
                inner.downcast_ref::<legacy::Error>().and_then(legacy::Error::connect_info)
            {
                let mut extensions = Extensions::new();
                connected.get_extras(&mut extensions);
                let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
                let answered = ends(&extensions).and_then(|ends| proven.remove(&ends));
                return answered.is_some_and(|answered| answered.elapsed() < POOL_IDLE);
            }
            source = inner.source();
        }
        false
    }
}

fn ends(extensions: &Extensions) -> Option<Ends> {
    extensions.get::<HttpInfo>().map(|info| (info.local_addr(), info.remote_addr()))
}

/// The error that started it: the outer ones only say that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
