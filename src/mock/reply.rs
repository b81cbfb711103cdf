//! An answer on its way to the client, and the ways in which it fails to arrive.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::dialect::{Dialect, Frame, Part};
use super::fault::{At, Fault, Outcome};
use super::prompt::Rejection;

/// One thing that a response body does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Silence until the client goes away.
    Forever,
    /// The connection is closed, whatever the head promised.
    Break,
}

/// What is written before a break must have left the process.
const FLUSH: Duration = Duration::from_millis(5);
/// So many pieces a JSON body comes in when it drips.
const DRIPS: usize = 8;

const JSON: &str = "application/json";
const HTML: &str =
    "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body>Nothing to see here.</body></html>\n";

/// An error in the provider's envelope.
pub fn rejected(
    dialect: &dyn Dialect,
    rejection: &Rejection,
    retry_after: Option<Duration>,
) -> Response<Body> {
    let (status, mut body) = dialect.rejection(rejection);
    let in_header = retry_after.filter(|after| !dialect.retry_hint(&mut body, *after));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, JSON, Body::from(body.to_string()));
    if let Some((name, value)) = dialect.error_header(rejection) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(after) = in_header {
        response.headers_mut().extend(retry_headers(after));
    }
    response
}

/// A JSON answer with what the fault does to it.
pub fn whole(dialect: &dyn Dialect, body: &Value, fault: &Fault) -> Response<Body> {
    let text = match fault.outcome {
        Outcome::Garbage => return garbage(),
        Outcome::ErrorInStream(_) => dialect.rejection(&Rejection::Overloaded).1.to_string(),
        _ => body.to_string(),
    };
    let text = Bytes::from(text);
    let half = text.len() / 2;
    let text = match fault.outcome {
        // The brackets no longer match.
        Outcome::Malformed => text.slice(..text.len().saturating_sub(1)),
        Outcome::EndEarly(_) => text.slice(..half),
        _ => text,
    };
    let length = text.len();
    let part = |at| if at == At::After(0) { Bytes::new() } else { text.slice(..half) };
    let steps = match fault.outcome {
        Outcome::HangBody => vec![Step::Forever],
        Outcome::Stall(at) => vec![Step::Send(part(at)), Step::Forever],
        Outcome::Cut(at) => vec![Step::Send(part(at)), Step::Wait(FLUSH), Step::Break],
        _ => match fault.drip {
            Some(drip) => drops(&text).flat_map(|drop| [Step::Wait(drip), Step::Send(drop)]).collect(),
            None => vec![Step::Send(text)],
        },
    };
    let mut response = respond(StatusCode::OK, JSON, play(steps));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A streamed answer with what the fault does to it.
pub fn streamed(dialect: &dyn Dialect, frames: Vec<Frame>, fault: &Fault) -> Response<Body> {
    if fault.outcome == Outcome::Garbage {
        return garbage();
    }
    let mut steps = Vec::new();
    let mut slow = fault.slow;
    for frame in broken(dialect, frames, fault.outcome) {
        match frame {
            Ok(frame) => {
                // Without content, the end of the answer is what was waited for.
                steps.extend(slow.take_if(|_| frame.part != Part::Opening).map(Step::Wait));
                steps.extend(fault.drip.filter(|_| frame.part == Part::Content).map(Step::Wait));
                steps.push(Step::Send(frame.wire));
            }
            Err(step) => {
                steps.extend(slow.take().map(Step::Wait));
                steps.push(step);
            }
        }
    }
    let mut response = respond(StatusCode::OK, dialect.stream_type(), play(steps));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The frames that go out, and the steps that are none.
fn broken(dialect: &dyn Dialect, mut frames: Vec<Frame>, outcome: Outcome) -> Vec<Result<Frame, Step>> {
    let mut ending = Vec::new();
    match outcome {
        Outcome::HangBody => {
            frames.clear();
            ending.push(Err(Step::Forever));
        }
        Outcome::Stall(at) => {
            frames.truncate(place(&frames, at));
            ending.push(Err(Step::Forever));
        }
        Outcome::Cut(at) => {
            frames.truncate(place(&frames, at));
            ending.extend([Err(Step::Wait(FLUSH)), Err(Step::Break)]);
        }
        Outcome::EndEarly(at) => frames.truncate(place(&frames, at)),
        Outcome::NoDone => frames.retain(|frame| frame.part != Part::Terminator),
        Outcome::ErrorInStream(at) => {
            frames.truncate(if at == At::Usual { 0 } else { place(&frames, at) });
            let (_, error) = dialect.rejection(&Rejection::Overloaded);
            ending.push(Ok(Frame { part: Part::Closing, wire: dialect.error_event(&error) }));
        }
        Outcome::Malformed => {
            let at = place(&frames, At::After(1));
            frames.insert(at, Frame { part: Part::Content, wire: dialect.broken_event() });
        }
        _ => {}
    }
    frames.into_iter().map(Ok).chain(ending).collect()
}

/// The index at which so many pieces of content have gone by.
fn place(frames: &[Frame], at: At) -> usize {
    let contents: Vec<_> = (0..frames.len()).filter(|&index| frames[index].part == Part::Content).collect();
    let count = match at {
        At::Usual => contents.len().div_ceil(2),
        At::After(count) => count,
    };
    match contents.get(count) {
        Some(&next) => next,
        // Fewer than that: after the last one, before the end.
        None => frames.iter().rposition(|frame| frame.part == Part::Content).map_or(0, |last| last + 1),
    }
}

fn drops(text: &Bytes) -> impl Iterator<Item = Bytes> {
    let size = text.len().div_ceil(DRIPS).max(1);
    (0..text.len()).step_by(size).map(move |start| text.slice(start..text.len().min(start + size)))
}

fn play(steps: Vec<Step>) -> Body {
    let steps = stream::unfold(VecDeque::from(steps), |mut steps| async move {
        let result: Result<Bytes, std::io::Error> = loop {
            match steps.pop_front()? {
                Step::Send(bytes) => break Ok(bytes),
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Forever => match std::future::pending::<Infallible>().await {},
                Step::Break => break Err(std::io::ErrorKind::ConnectionAborted.into()),
            }
        };
        Some((result, steps))
    });
    Body::from_stream(steps.boxed())
}

fn garbage() -> Response<Body> {
    respond(StatusCode::OK, "text/html", Body::from(HTML))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whole seconds, and the milliseconds where they are needed.
fn retry_headers(time: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let seconds = time.as_millis().div_ceil(1000);
    headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    if time.subsec_nanos() != 0 {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        headers.insert("retry-after-ms", HeaderValue::from(milliseconds));
    }
    headers
}
