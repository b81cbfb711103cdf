//! A target's upstream as a service.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};

use super::client::{Lost, Response};
use super::endpoint::Endpoint;
use super::images::Fetcher;
use super::reply;
use crate::chat::openai::events_of;
use crate::chat::request::Image;
use crate::chat::stream::Events;
use crate::chat::{Answer, ChatRequest, ChatStream, Event, Fold, Request, Served, TargetFacts};
use crate::clock;
use crate::memory::{Full, Held, Memory};
use crate::providers::{self, Encoded, Provider, Unsendable};
use crate::reason::{Class, Failure, Skip};
use crate::routing::chain::Fitness;
use crate::routing::{Call, NotServed, Serve};
use crate::units::Tokens;
use crate::wire::surrogate;

/// How much of an error's body is read.
const ERROR_BODY: usize = 64 * 1024;
/// Translating holds the request typed and written anew, beside the client's bytes.
const COPIES_OF_TRANSLATION: usize = 2;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Where upstreams say which request it was.
static REQUEST_IDS: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-amzn-requestid"),
    HeaderName::from_static("x-goog-request-id"),
];

/// One target's upstream.
pub struct Upstream {
    pub provider: Arc<dyn Provider>,
    pub endpoint: Endpoint,
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
        lacking
            .or_else(|| self.falls_short(request, is_translated))
            .or_else(|| out_of_reach().then_some("image_url"))
    }

    fn image_tokens(&self, image: &Image) -> (Tokens, Tokens) {
        self.provider.image_tokens(image)
    }

    fn most_output(&self, request: &ChatRequest) -> Option<Tokens> {
        self.provider.most_output(request, &self.facts).map(Tokens::new)
    }
}

impl Serve for Arc<Upstream> {
    async fn serve(&self, call: &Call) -> Result<ChatStream, NotServed> {
        match &call.request {
            Request::Chat(request) => self.ask(call, request).await,
            Request::Embeddings(request) => self.embed(call, request).await,
        }
    }
}

impl Upstream {
    /// What every dialect can write and this model does not do.
    fn falls_short(&self, request: &ChatRequest, is_translated: bool) -> Option<&'static str> {
        if request.needs.parallel_tools && !self.facts.able.parallel_tools {
            return Some("parallel_tools");
        }
        // A translation lowers the cap to what the model has.
        let most = self.facts.max_output.filter(|_| !is_translated).map(Tokens::get);
        let is_beyond = most.zip(request.output_cap).is_some_and(|(most, cap)| cap > most);
        is_beyond.then_some("max_output")
    }

    async fn ask(&self, call: &Call, asked: &ChatRequest) -> Result<ChatStream, NotServed> {
        // To the end of this call: the typed request lives as long as the client's bytes.
        let inlined = self.inline(asked).await?;
        let request = inlined.as_ref().map_or(asked, |(request, _)| request);
        let (mut encoded, _translation) = self.encode(request)?;
        let dropped = providers::dropped(&*self.provider, asked, &encoded.dropped);
        let context = std::mem::take(&mut encoded.context);
        let served = Served { dropped, ..Served::default() };
        let (response, served) = self.send(encoded, call, served).await?;
        let reading = Reading { upstream: self, request: asked, context: &context };
        match reading.read(response).await {
            Ok(events) => Ok(ChatStream::new(served, events)),
            Err(NotServed::Failed(failure)) => Err(NotServed::Failed(with_head(failure, &served))),
            Err(other) => Err(other),
        }
    }

    /// Makes a call and takes an answer of status 200; `served` gets what its head says.
    pub(super) async fn send(
        &self,
        encoded: Encoded,
        call: &Call,
        served: Served,
    ) -> Result<(Response, Served), NotServed> {
        let Endpoint { access, client, .. } = &self.endpoint;
        let mut outgoing = self.endpoint.outgoing(encoded, &call.origin).map_err(NotServed::Failed)?;
        let shown = self.endpoint.authorize(&mut outgoing).await.map_err(NotServed::Failed)?;
        let response = client.send(outgoing).await.map_err(NotServed::Failed)?;
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

    /// Why an answer of another status than 200 failed.
    async fn explain(&self, response: Response, served: &Served) -> Failure {
        let (head, body) = response.into_parts();
        let body = reply::head_of(body, ERROR_BODY).await;
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
    async fn read(self, response: Response) -> Result<Events, NotServed> {
        let Upstream { max_answer, memory, .. } = self.upstream;
        let (head, mut body) = response.into_parts();
        if !self.request.stream {
            let whole = reply::whole(body, None, *max_answer, memory).await?;
            let answer = self.answer(&head.headers, whole.bytes)?;
            return Ok(keep(vec![Event::Answer(answer)], whole.held));
        }
        let first = body.next().await.transpose().map_err(|Lost| lost())?;
        match first.as_deref().map(first_sign) {
            Some(Some(b'{' | b'[')) => {
                let whole = reply::whole(body, first, *max_answer, memory).await?;
                let answer = self.answer(&head.headers, whole.bytes)?;
                Ok(keep(answer.into_response().explode(), whole.held))
            }
            Some(Some(b'<')) => Err(web_page()),
            Some(_) => {
                let provider = &self.upstream.provider;
                let (framing, decoder) =
                    (provider.framing(), provider.decoder(&self.upstream.facts, self.context));
                Ok(reply::events(body, first, framing, decoder, self.request.answers))
            }
            None => Err(NotServed::Failed(Failure::new(Class::Truncated, "The upstream's answer is empty."))),
        }
    }

    /// A whole body as an answer; a stream that nobody asked for is folded into one.
    fn answer(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer, NotServed> {
        let Upstream { provider, facts, .. } = self.upstream;
        let framing = provider.framing();
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
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
pub fn keep(events: Vec<Event>, held: impl Send + 'static) -> Events {
    let events = stream::iter(events).map(move |event| {
        let _ = &held;
        Ok(event)
    });
    events.boxed()
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

fn request_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS.iter().find_map(|name| headers.get(name)?.to_str().ok()).map(str::to_owned)
}
