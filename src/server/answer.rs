//! The answer of a target, as JSON or as a stream, with the headers that say how it came about.

use std::fmt::{Display, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use serde_json::Value;

use super::door::X_PITON_CONFIG;
use super::encode::Encoder;
use super::error::{ApiError, SERVER_ERROR, quotable};
use super::exchange::Answered;
use super::quota;
use super::sse::SseBody;
use super::ticket::Ticket;
use crate::chat::{Answer, ChatStream, Event};
use crate::clock;
use crate::ops::{Summary, trail_header};
use crate::reason::Failure;
use crate::routing::Trail;
use crate::routing::attempt::{Described, Sight};
use crate::routing::run::Won;

const X_PITON_CHAIN: HeaderName = HeaderName::from_static("x-piton-chain");
const X_PITON_TARGET: HeaderName = HeaderName::from_static("x-piton-target");
const X_PITON_TARGET_INDEX: HeaderName = HeaderName::from_static("x-piton-target-index");
const X_PITON_ATTEMPTS: HeaderName = HeaderName::from_static("x-piton-attempts");
const X_PITON_FALLBACK_REASON: HeaderName = HeaderName::from_static("x-piton-fallback-reason");
const X_PITON_TRAIL: HeaderName = HeaderName::from_static("x-piton-trail");
const X_PITON_COST_USD: HeaderName = HeaderName::from_static("x-piton-cost-usd");
const X_PITON_DESCRIBED: HeaderName = HeaderName::from_static("x-piton-described");
const X_PITON_DROPPED: HeaderName = HeaderName::from_static("x-piton-dropped");
/// All of the above, and what comes later: type, id, date.
const MOST_HEADERS: usize = 12;
/// What attempts and places nearly always are.
const SMALL_NUMBERS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Passes a target's answer on.
pub async fn answer(mut ticket: Ticket, answered: Answered) -> Response {
    let Answered { won: Won { target, stream }, request } = answered;
    ticket.mark_answered();
    let (streamed, include_usage) = (request.stream(), request.include_usage());
    // Nobody will ask for the client's bytes again, and an answer may stream for long.
    drop(request);
    ticket.held = None;
    let model = target.model_id().to_owned();
    if !streamed {
        return json(ticket, stream, &model).await;
    }
    let headers = headers(&ticket, true);
    let id = format!("chatcmpl-{}", ticket.origin.request_id);
    let encoder = Encoder::new(id, clock::unix_seconds(), model, include_usage, ticket.wants_receipt);
    let mut response = Response::new(Body::new(SseBody::new(stream, encoder, ticket)));
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn json(mut ticket: Ticket, mut stream: ChatStream, model: &str) -> Response {
    let mut whole = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Answer(answer)) => whole = Some(answer),
            Ok(_) => {}
            Err(failure) => return broken(ticket, &failure),
        }
    }
    let id = format!("chatcmpl-{}", ticket.origin.request_id);
    let mut body = match whole {
        Some(Answer::Verbatim { body, .. }) => body,
        Some(Answer::Composed(response)) => Bytes::from(response.to_json(&id, clock::unix_seconds(), model)),
        None => {
            let class = crate::reason::Class::Malformed;
            return broken(ticket, &Failure::new(class, "The upstream's answer is missing."));
        }
    };
    let headers = headers(&ticket, false);
    let receipt = ticket.settle("ok", StatusCode::OK.as_u16());
    if let Some(receipt) = receipt {
        body = with_receipt(&body, &receipt);
    }
    let mut response = Response::new(Body::new(JsonBody { body: Some(body), _keep: (stream, ticket) }));
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that broke although it had been taken for whole.
fn broken(mut ticket: Ticket, failure: &Failure) -> Response {
    let headers = headers(&ticket, false);
    let error = broken_error(failure);
    ticket.settle(error.outcome, error.status.as_u16());
    let mut response = error.into_response();
    response.headers_mut().extend(headers);
    response
}

/// What a client is told of an answer that broke under way.
pub fn broken_error(failure: &Failure) -> ApiError {
    let class = failure.class;
    let message = format!("The answer broke off: {class}. {}", quotable(&failure.message));
    ApiError {
        kind: SERVER_ERROR.into(),
        outcome: class.code(),
        ..ApiError::new(StatusCode::BAD_GATEWAY, Some(class.code()), message)
    }
}

/// The headers that every answer of a chain has. A stream's cost is not known yet.
pub fn headers(ticket: &Ticket, streamed: bool) -> HeaderMap {
    let mut headers =
        Headers { map: HeaderMap::with_capacity(MOST_HEADERS), text: BytesMut::with_capacity(256) };
    headers.set(X_PITON_CONFIG, &ticket.gateway.hash);
    ticket.trail.read(|entries| {
        let summary = Summary::of(entries, ticket.served, None);
        headers.number(X_PITON_ATTEMPTS, summary.attempts as usize);
        if let Some(chain) = &ticket.chain {
            headers.set(X_PITON_CHAIN, ticket.trail.last_chain().unwrap_or(&chain.name));
            trail_header(entries, &mut headers.text);
            headers.take(X_PITON_TRAIL);
        }
        if let Some((_, reason)) = summary.fallback {
            headers.set(X_PITON_FALLBACK_REASON, reason);
        }
        if let Some(cost) = summary.cost.filter(|_| !streamed) {
            headers.print(X_PITON_COST_USD, &cost);
        }
        if let Some(record) = summary.served {
            headers.set(X_PITON_TARGET, &record.target);
            headers.number(X_PITON_TARGET_INDEX, record.index);
            if record.in_words {
                described(&ticket.trail, &mut headers);
            }
            if !record.dropped.is_empty() {
                headers.set(X_PITON_DROPPED, &record.dropped.join(","));
            }
        }
    });
    let mut headers = headers.map;
    if let Some(quota) = &ticket.quota {
        quota::tell(quota, &mut headers);
    }
    headers
}

/// How many images the target got words for instead, and how many of those were known.
fn described(trail: &Trail, headers: &mut Headers) {
    let Some(Described { chain, images }) = trail.described().pop() else { return };
    let cached = images.iter().filter(|(_, sight)| *sight == Sight::Cached).count();
    headers.print(X_PITON_DESCRIBED, &format_args!("{chain};images={};cached={cached}", images.len()));
}

/// Headers under way. Their values are pieces of one buffer.
struct Headers {
    map: HeaderMap,
    /// The next value.
    text: BytesMut,
}

impl Headers {
    fn set(&mut self, name: HeaderName, value: &str) {
        self.text.extend_from_slice(value.as_bytes());
        self.take(name);
    }

    fn print(&mut self, name: HeaderName, value: &impl Display) {
        // Writing to a buffer that grows cannot fail.
        let _ = write!(self.text, "{value}");
        self.take(name);
    }

    fn number(&mut self, name: HeaderName, value: usize) {
        match SMALL_NUMBERS.get(value) {
            Some(text) => drop(self.map.insert(name, HeaderValue::from_static(text))),
            None => self.print(name, &value),
        }
    }

    /// Sets a header to what was written. What no header may hold is left out.
    fn take(&mut self, name: HeaderName) {
        let value = self.text.split().freeze();
        if value.is_ascii()
            && let Ok(value) = HeaderValue::from_maybe_shared(value)
        {
            self.map.insert(name, value);
        }
    }
}

/// The same JSON object with the receipt as its last member.
fn with_receipt(body: &Bytes, receipt: &Value) -> Bytes {
    let Some(end) = memchr::memrchr(b'}', body) else { return body.clone() };
    let is_empty = body[..end].trim_ascii_end().ends_with(b"{");
    let comma = if is_empty { "" } else { "," };
    let mut with = Vec::from(&body[..end]);
    with.extend_from_slice(format!("{comma}\"piton\":{receipt}}}").as_bytes());
    with.into()
}

/// A body in one piece; what it holds of Piton's limits is given back when it has been sent.
struct JsonBody<K> {
    body: Option<Bytes>,
    _keep: K,
}

impl<K: Unpin> http_body::Body for JsonBody<K> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_becomes_the_last_member() {
        let receipt = serde_json::json!({"id": "x"});
        assert_eq!(
            &with_receipt(&Bytes::from_static(b"{\"a\":1} \n"), &receipt)[..],
            br#"{"a":1,"piton":{"id":"x"}}"#
        );
        assert_eq!(&with_receipt(&Bytes::from_static(b"{ }"), &receipt)[..], br#"{ "piton":{"id":"x"}}"#);
    }
}
