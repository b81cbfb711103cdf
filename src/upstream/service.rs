//! A target's upstream as a service.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::{Frame, SizeHint};
use regex::Regex;
use reqwest::{Response, Url};
use tower::Service;

use super::auth::Access;
use super::client::Client;
use super::images::Fetcher;
use super::reply;
use crate::chat::openai::events_of;
use crate::chat::request::Image;
use crate::chat::{Answer, ChatRequest, ChatStream, Event, Fold, Request, Served, TargetFacts};
use crate::clock;
use crate::memory::{Full, Held, Memory};
use crate::providers::{self, Encoded, Provider, Unsendable};
use crate::reason::{Class, Failure, Skip};
use crate::routing::chain::Fitness;
use crate::routing::{Call, NotServed};
use crate::units::Tokens;
use crate::wire::framing::Framing;
use crate::wire::surrogate;

/// How much of an error's body is read.
const ERROR_BODY: usize = 64 * 1024;
/// Translating holds the request typed and written anew, beside the client's bytes.
const COPIES_OF_TRANSLATION: usize = 2;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Where and as whom a provider is called.
#[derive(Debug)]
pub struct Endpoint {
    /// With the API's prefix, without a slash at its end.
    pub base_url: String,
    pub access: Access,
    /// The owner's own headers.
    pub headers: HeaderMap,
    /// The owner's own signs of a class in error bodies.
    pub patterns: Vec<(Class, Regex)>,
    pub client: Client,
}

/// One target's upstream.
#[derive(Clone)]
pub struct Upstream {
    pub provider: Arc<dyn Provider>,
    pub endpoint: Arc<Endpoint>,
    pub facts: Arc<TargetFacts>,
    /// Gets images for a provider that takes only bytes; `None`: nothing does.
    pub images: Option<Arc<Fetcher>>,
    /// Bytes of one JSON answer.
    pub max_answer: usize,
    pub memory: Memory,
}

impl Fitness for Upstream {
    fn lacks(&self, request: &Request) -> Option<&'static str> {
        let request = match request {
            Request::Chat(request) => request,
            Request::Embeddings(request) => {
                return match self.provider.embeddings() {
                    Some(side) => side.cannot_embed(request, &self.facts),
                    None => Some("embeddings"),
                };
            }
        };
        let is_translated = !self.provider.is_pass_through();
        let untranslatable = is_translated.then(|| providers::untranslatable(request)).flatten();
        let lacking = untranslatable.or_else(|| self.provider.lacks(request, &self.facts));
        let out_of_reach = || self.images.is_none() && !self.urls_out_of_reach(request).is_empty();
        lacking.or_else(|| out_of_reach().then_some("image_url"))
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        self.provider.image_tokens(image)
    }
}

impl Service<Call> for Upstream {
    type Response = ChatStream;
    type Error = NotServed;
    type Future = BoxFuture<'static, Result<ChatStream, NotServed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotServed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let upstream = self.clone();
        match call.request.clone() {
            Request::Chat(request) => Box::pin(async move { upstream.ask(&call, &request).await }),
            Request::Embeddings(request) => Box::pin(async move { upstream.embed(&call, &request).await }),
        }
    }
}

impl Upstream {
    async fn ask(&self, call: &Call, asked: &ChatRequest) -> Result<ChatStream, NotServed> {
        // To the end of this call: the typed request lives as long as the client's bytes.
        let inlined = self.inline(asked).await?;
        let request = inlined.as_ref().map_or(asked, |(request, _)| request);
        let (encoded, _translation) = self.encode(request)?;
        let Encoded { dropped, context, .. } = &encoded;
        let dropped = providers::dropped(&*self.provider, asked, dropped);
        let served = Served { dropped, ..Served::default() };
        let context = context.clone();
        let (response, served) = self.send(encoded, call, served).await?;
        let reading = Reading { upstream: self, request: asked, context: &context };
        let answered = reading.read(response, served.clone()).await;
        answered.map_err(|error| match error {
            NotServed::Failed(failure) => NotServed::Failed(with_head(failure, &served)),
            other => other,
        })
    }

    /// Makes a call and takes an answer of status 200; `served` gets what its head says.
    pub(super) async fn send(
        &self,
        encoded: Encoded,
        call: &Call,
        served: Served,
    ) -> Result<(Response, Served), NotServed> {
        let body = encoded.body.clone();
        let mut request = self.request(encoded, call)?;
        let Endpoint { access, headers, .. } = &*self.endpoint;
        let authorized = access.authorize(&mut request, &body, self.provider.authorization(), headers).await;
        let shown = authorized.map_err(NotServed::Failed)?;
        drop(body);
        let response = self.endpoint.client.send(request).await.map_err(NotServed::Failed)?;
        let served = Served {
            status: response.status().as_u16(),
            upstream_request_id: request_id(response.headers()),
            ..served
        };
        if served.status == 200 {
            return Ok((response, served));
        }
        let failure = self.explain(response, &served).await;
        if failure.class == Class::AuthFailed && (served.status == 401 || failure.credential) {
            access.refused(&shown);
        }
        Err(NotServed::Failed(failure))
    }

    /// The images of the request that the provider would not fetch.
    fn urls_out_of_reach(&self, request: &ChatRequest) -> Vec<String> {
        if !request.needs.image_url {
            return Vec::new();
        }
        let mut urls = request.image_urls();
        urls.retain(|url| !self.provider.fetches(url, &self.facts));
        urls
    }

    /// The request with the images that the provider would not fetch; `None`: it needs none of that.
    async fn inline(&self, request: &ChatRequest) -> Result<Option<(ChatRequest, Held)>, NotServed> {
        let Some(images) = &self.images else { return Ok(None) };
        let urls = self.urls_out_of_reach(request);
        if urls.is_empty() {
            return Ok(None);
        }
        images.inline(request, urls, &self.memory).await.map(Some)
    }

    fn encode(&self, request: &ChatRequest) -> Result<(Encoded, Option<Held>), NotServed> {
        let held = if self.provider.is_pass_through() {
            None
        } else {
            let bytes = request.body().len() * COPIES_OF_TRANSLATION;
            Some(self.memory.hold(bytes).map_err(|Full| NotServed::Busy)?)
        };
        let encoded = self.provider.encode(request, &self.facts).map_err(unsendable)?;
        Ok((encoded, held))
    }

    fn request(&self, encoded: Encoded, call: &Call) -> Result<reqwest::Request, NotServed> {
        let url = format!("{}{}", self.endpoint.base_url, encoded.path);
        let unusable = |what: &str| NotServed::Failed(Failure::new(Class::ConnectFailed, what));
        let url = Url::parse(&url).map_err(|_| unusable("The target's URL cannot be used."))?;
        let mut request = reqwest::Request::new(Method::POST, url);
        let headers = request.headers_mut();
        for (name, value) in &call.origin.forward {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        for (name, value) in &encoded.headers {
            add(headers, name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(accept(self.provider.framing())));
        // A compressed stream arrives in lumps.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.extend(self.endpoint.headers.clone());
        *request.body_mut() = Some(reqwest::Body::wrap(Pieces(encoded.body.into())));
        Ok(request)
    }

    /// Why an answer of another status than 200 failed.
    async fn explain(&self, mut response: Response, served: &Served) -> Failure {
        let body = reply::head_of(&mut response, ERROR_BODY).await;
        let (mut head, ()) = http::Response::new(()).into_parts();
        head.status = response.status();
        head.headers = std::mem::take(response.headers_mut());
        let failure = self.provider.classify(&head, &body, clock::wall());
        let body = String::from_utf8_lossy(&body);
        let own = self.endpoint.patterns.iter().find(|(_, pattern)| pattern.is_match(&body));
        let failure = match own {
            Some((class, _)) => {
                let credential = matches!(class, Class::QuotaExhausted | Class::AuthFailed);
                Failure { class: *class, credential, ..failure }
            }
            None => failure,
        };
        with_head(failure, served)
    }
}

/// Why nothing is sent.
pub fn unsendable(error: Unsendable) -> NotServed {
    match error {
        Unsendable::Lacks(what) => NotServed::Skipped(Skip::Capability(what)),
        Unsendable::Invalid(invalid) => {
            let param = invalid.param;
            NotServed::Failed(Failure { param, ..Failure::new(Class::InvalidRequest, invalid.message) })
        }
    }
}

/// The failure with what the head of the answer says.
pub fn with_head(failure: Failure, served: &Served) -> Failure {
    let upstream_request_id = failure.upstream_request_id.or_else(|| served.upstream_request_id.clone());
    Failure { status: failure.status.or(Some(served.status)), upstream_request_id, ..failure }
}

/// An answer of status 200 about to be read.
struct Reading<'a> {
    upstream: &'a Upstream,
    request: &'a ChatRequest,
    context: &'a providers::ReplyContext,
}

impl Reading<'_> {
    async fn read(self, mut response: Response, served: Served) -> Result<ChatStream, NotServed> {
        let Upstream { max_answer, memory, .. } = self.upstream;
        if !self.request.stream {
            let whole = reply::whole(&mut response, None, *max_answer, memory).await?;
            let answer = self.answer(&response, whole.bytes)?;
            return Ok(keep(vec![Event::Answer(answer)], served, whole.held));
        }
        let first = response.chunk().await.map_err(|_| lost())?;
        match first.as_deref().map(first_sign) {
            Some(Some(b'{' | b'[')) => {
                let whole = reply::whole(&mut response, first, *max_answer, memory).await?;
                let answer = self.answer(&response, whole.bytes)?;
                Ok(keep(answer.into_response().explode(), served, whole.held))
            }
            Some(Some(b'<')) => Err(web_page()),
            Some(_) => {
                let provider = &self.upstream.provider;
                let (framing, decoder) =
                    (provider.framing(), provider.decoder(&self.upstream.facts, self.context));
                Ok(ChatStream::new(
                    served,
                    reply::events(response, first, framing, decoder, self.request.answers),
                ))
            }
            None => Err(NotServed::Failed(Failure::new(Class::Truncated, "The upstream's answer is empty."))),
        }
    }

    /// A whole body as an answer; a stream that nobody asked for is folded into one.
    fn answer(&self, response: &Response, body: Bytes) -> Result<Answer, NotServed> {
        let Upstream { provider, facts, .. } = self.upstream;
        let framing = provider.framing();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_stream = content_type.is_some_and(|value| value.starts_with(framing.media_type()));
        // No JSON parser takes it, and no client's would.
        let body = if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body };
        let body = surrogate::mended(body);
        let sign = first_sign(&body);
        if sign == Some(b'<') {
            return Err(web_page());
        }
        if !is_stream || matches!(sign, Some(b'{' | b'[')) {
            return provider.decode(body, facts, self.context).map_err(NotServed::Failed);
        }
        let decoder = provider.decoder(facts, self.context);
        let events = reply::events_of(body, framing, decoder).map_err(NotServed::Failed)?;
        let mut fold = Fold::default();
        let mut start = None;
        for event in events {
            match event {
                Event::Chunk(chunk) => {
                    start.get_or_insert_with(|| chunk.start());
                    events_of(&chunk).into_iter().for_each(|event| fold.push(event));
                }
                other => fold.push(other),
            }
        }
        start.into_iter().for_each(|start| fold.push(Event::Start(start)));
        Ok(Answer::Composed(fold.finish()))
    }
}

/// Events of a body that is already here; its memory stays counted as long as the stream lives.
pub fn keep(events: Vec<Event>, served: Served, held: impl Send + 'static) -> ChatStream {
    let events = stream::iter(events).map(move |event| {
        let _ = &held;
        Ok(event)
    });
    ChatStream::new(served, events.boxed())
}

/// The media types of both forms of an answer.
const fn accept(framing: Framing) -> &'static str {
    match framing {
        Framing::Sse => "application/json, text/event-stream",
        Framing::EventStream => "application/json, application/vnd.amazon.eventstream",
    }
}

fn web_page() -> NotServed {
    NotServed::Failed(Failure::new(Class::Malformed, "The upstream answered with a web page."))
}

fn lost() -> NotServed {
    NotServed::Failed(Failure::new(Class::Truncated, "The connection broke before the upstream's answer."))
}

/// The first byte that is neither white space nor a byte order mark: it tells JSON and web pages from streams.
fn first_sign(bytes: &[u8]) -> Option<u8> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Adds a header of the dialect. What the client sent under the same name (lists of features) is kept before it.
fn add(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    let joined = headers.get(name).and_then(|before| {
        let joined = [before.as_bytes(), b",", value.as_bytes()].concat();
        HeaderValue::from_bytes(&joined).ok()
    });
    headers.insert(name, joined.unwrap_or_else(|| value.clone()));
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let names = ["x-request-id", "request-id", "x-amzn-requestid", "x-goog-request-id"];
    names.into_iter().find_map(|name| headers.get(name)?.to_str().ok()).map(str::to_owned)
}

/// A request body in pieces, of known length, sent without joining them.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
