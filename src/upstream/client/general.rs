//! The client with all features: for calls through proxies, and for credentials.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Extensions, Method};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{Certificate, Proxy, Request, redirect, retry};
use tokio::time::Instant;

use super::body::{Body, Pieces};
use super::{Outgoing, POOL_IDLE, Response, STALE, USER_AGENT, broken, no_url, unconnected};
use crate::reason::Failure;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// By the environment's proxy, if it names one.
    Environment,
    /// On this machine or its own link, where no proxy has a place.
    Local,
    /// By the owner's proxy, at this URL.
    Proxy(String),
}

/// One client, and what it knows of its connections.
#[derive(Debug, Clone)]
pub struct General {
    http: reqwest::Client,
    /// Connections that have carried an answer, and when: one of them that breaks under the next request was stale.
    proven: Arc<Mutex<HashMap<Ends, Instant>>>,
}

/// What tells one connection from another: its local and its remote address. The local one alone is used again for
/// other hosts.
type Ends = (SocketAddr, SocketAddr);

/// Beyond this many remembered connections those that no pool can hold any more are forgotten.
const REMEMBERED: usize = 8192;

impl General {
    /// Building one loads the trust roots. Fails only if the proxy's URL or the trust store cannot be read.
    pub fn new(route: &Route, connect_timeout: Duration) -> reqwest::Result<Self> {
        Ok(Self { http: build(route, connect_timeout)?, proven: Arc::default() })
    }

    /// Makes a call.
    pub async fn post(&self, call: Outgoing<'_>) -> Result<Response, Failure> {
        let mut request = Request::new(Method::POST, call.url().ok_or_else(no_url)?);
        *request.headers_mut() = call.headers;
        *request.body_mut() = Some(reqwest::Body::wrap(Pieces::from(call.body)));
        self.send(request).await
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
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
        Ok(http::Response::<reqwest::Body>::from(response).map(Body::General))
    }

    fn failure(&self, error: reqwest::Error, sent: Instant) -> Failure {
        let error = error.without_url();
        if error.is_connect() {
            return unconnected(&error);
        }
        let stale = self.was_proven(&error) && !is_malformed(&error) && sent.elapsed() < STALE;
        broken(&error, stale)
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

/// Whether it broke at something that is no answer: the request has been taken. Of a head that only broke off, or came
/// after interim answers, the error says nothing.
fn is_malformed(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse)
}

fn build(route: &Route, connect_timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // With roots of its own the client starts even where the system has none.
    let roots =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        // One HTTP/2 connection per host would make calls beyond its stream limit wait in silence.
        .http1_only()
        // A redirect would take the key to another host; a hidden retry would pay twice.
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .tls_certs_merge(roots);
    builder = match route {
        Route::Environment => builder,
        Route::Local => builder.no_proxy(),
        Route::Proxy(proxy) => builder.proxy(Proxy::all(proxy)?),
    };
    builder.build()
}

fn ends(extensions: &Extensions) -> Option<Ends> {
    extensions.get::<HttpInfo>().map(|info| (info.local_addr(), info.remote_addr()))
}
