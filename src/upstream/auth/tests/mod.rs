//! Credentials against servers that hand them out, over real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request as Incoming;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use reqwest::{Request, Url};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::*;
use crate::upstream::Clients;

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

/// What a request to an upstream shows.
async fn authorized(access: &Access) -> Result<(Request, Shown), Failure> {
    let url = Url::parse("https://example.com/model/a%3Ab/converse").unwrap();
    let mut request = Request::new(Method::POST, url);
    let body = [Bytes::from_static(b"{}")];
    let place = Authorization::Header("x-key");
    access.authorize(&mut request, &body, place, &HeaderMap::new()).await.map(|shown| (request, shown))
}

async fn bearer_of(access: &Access) -> String {
    let (request, _) = authorized(access).await.unwrap();
    request.headers()["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_goes_where_the_dialect_wants_it_and_the_owners_header_stands() {
    let access = Access::Key("hunter2".into());
    let (request, _) = authorized(&access).await.unwrap();
    assert_eq!(request.headers()["x-key"], "hunter2");
    assert!(!format!("{access:?} {request:?}").contains("hunter2"));
    let mut request = request;
    let owners = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("mine"))]);
    access.authorize(&mut request, &[], Authorization::Bearer, &owners).await.unwrap();
    assert!(!request.headers().contains_key(AUTHORIZATION), "the owner's own header is already there");
    let (request, _) = authorized(&Access::Anyone).await.unwrap();
    assert!(request.headers().is_empty());
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
