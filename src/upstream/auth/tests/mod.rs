//! Credentials against servers that hand them out, over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request as Incoming;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode};
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::*;
use crate::upstream::Clients;
use crate::upstream::client::{Address, Outgoing};

mod aws;
mod entra;
mod google;

/// One request that a server received.
#[derive(Debug, Clone)]
struct Received {
    method: Method,
    /// With the query.
    path: String,
    headers: HeaderMap,
    body: String,
}

/// A server of credentials; it ends when dropped.
struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    running: AbortHandle,
}

impl Server {
    /// Answers the n-th request, counted from 0, as told.
    async fn start(answer: impl Fn(usize, &Received) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (all, answer) = (Arc::clone(&received), Arc::new(answer));
        let handler = move |request: Incoming| {
            let (all, answer) = (Arc::clone(&all), Arc::clone(&answer));
            async move { note(request, &all, &*answer).await }
        };
        let serving = tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        Self { address, received, running: serving.abort_handle() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Received {
    fn field(&self, name: &str) -> String {
        let url = Url::parse(&format!("http://h/?{}", self.body)).unwrap();
        url.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn note(
    request: Incoming,
    all: &Mutex<Vec<Received>>,
    answer: &(dyn Fn(usize, &Received) -> (u16, String) + Send + Sync),
) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let received = Received {
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let at = {
        let mut all = all.lock().unwrap();
        all.push(received.clone());
        all.len() - 1
    };
    let (status, text) = answer(at, &received);
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

fn caller() -> Caller {
    Caller { clients: Clients::default(), proxy: None }
}

/// Numbered tokens that are good for so many seconds.
fn token(number: usize, seconds: u64) -> (u16, String) {
    (200, format!(r#"{{"access_token":"token-{number}","expires_in":{seconds},"token_type":"Bearer"}}"#))
}

/// The headers that a request to an upstream shows.
async fn authorized(access: &Access) -> Result<(HeaderMap, Shown), Failure> {
    let address = Address::parse("https://example.com").unwrap();
    let target = address.target("/model/a%3Ab/converse").unwrap();
    let body = vec![Bytes::from_static(b"{}")];
    let mut call = Outgoing { address: &address, target, headers: HeaderMap::new(), body };
    let shown = access.authorize(&mut call, &HeaderMap::new()).await?;
    Ok((call.headers, shown))
}

async fn bearer_of(access: &Access) -> String {
    let (headers, _) = authorized(access).await.unwrap();
    headers["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_goes_where_the_dialect_wants_it() {
    let access = Access::Key("hunter2".into());
    let (name, value) = access.fixed(Authorization::Header("x-key")).unwrap();
    assert_eq!((name.as_str(), value.as_ref().unwrap().to_str().unwrap()), ("x-key", "hunter2"));
    assert!(!format!("{access:?} {value:?}").contains("hunter2"));
    let (name, value) = access.fixed(Authorization::Bearer).unwrap();
    assert_eq!((name, value.unwrap().to_str().unwrap()), (AUTHORIZATION, "Bearer hunter2"));
    assert_eq!(Access::Key("hun\nter2".into()).fixed(Authorization::Bearer), Some((AUTHORIZATION, None)));
    assert_eq!(Access::Anyone.fixed(Authorization::Bearer), None);
    for access in [access, Access::Anyone] {
        let (headers, _) = authorized(&access).await.unwrap();
        assert!(headers.is_empty(), "it is in every request already");
    }
}

#[tokio::test]
async fn the_same_source_is_the_same_login_whoever_asks() {
    let logins = Logins::default();
    let source = |host: &str| Google::Metadata { host: host.to_owned() };
    let first = logins.google(source("a"), caller());
    assert!(Arc::ptr_eq(&first, &logins.google(source("a"), caller())));
    assert!(!Arc::ptr_eq(&first, &logins.google(source("b"), caller())));
    let by_proxy = Caller { proxy: Some("http://127.0.0.1:1".to_owned()), ..caller() };
    assert!(!Arc::ptr_eq(&first, &logins.google(source("a"), by_proxy)));
}
