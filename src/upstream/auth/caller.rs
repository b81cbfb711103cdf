//! Calls to the servers that hand out tokens and keys. What they answer is never repeated to anybody, but for the
//! one word that says what was wrong.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use reqwest::{Request, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::providers::path::segment;
use crate::reason::{Class, Failure};
use crate::upstream::client::Clients;
use crate::upstream::reply;

/// One call, whole.
const CALL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);
/// A metadata server is on this machine's own link: it answers at once or is not there.
const CONNECT_LOCAL: Duration = Duration::from_secs(1);
/// How much of an answer is read.
const ANSWER: usize = 256 * 1024;
/// The longest word that says what was wrong.
const WORD: usize = 64;

/// How such servers are reached.
#[derive(Debug, Clone)]
pub struct Caller {
    pub clients: Clients,
    /// The provider's own proxy.
    pub proxy: Option<String>,
}

/// What is sent.
pub struct Ask<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Option<Vec<u8>>,
}

/// The word that says what was wrong, wherever it stands.
#[derive(Deserialize)]
struct Complaint<'a> {
    /// OAuth's `error`, Azure's and AWS's too; some put an object there.
    #[serde(borrow, alias = "Error")]
    error: Option<&'a RawValue>,
    #[serde(borrow, alias = "Code", alias = "__type")]
    code: Option<&'a RawValue>,
}

impl<'a> Ask<'a> {
    /// Without headers.
    pub fn get(url: &'a str) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: None }
    }

    /// A form.
    pub fn form(url: &'a str, fields: &[(&str, &str)]) -> Self {
        let pairs = fields.iter().map(|(name, value)| format!("{}={}", segment(name), segment(value)));
        let form = pairs.collect::<Vec<_>>().join("&");
        let mut headers = HeaderMap::new();
        let form_type = http::HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(http::header::CONTENT_TYPE, form_type);
        Self { method: Method::POST, url, headers, body: Some(form.into_bytes()) }
    }

    /// The same with one header more. A value that no header can carry is left out, and the server will say so.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(mut value) = http::HeaderValue::try_from(value) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }
}

impl Caller {
    /// The body of an answer of status 200. `whose` is for people: "the token server".
    pub async fn ask(&self, ask: Ask<'_>, whose: &str) -> Result<Vec<u8>, Failure> {
        let called = timeout(CALL, self.call(ask, whose)).await;
        let (status, body) = called.unwrap_or_else(|_| {
            Err(Failure::new(Class::ConnectFailed, format!("No credential: {whose} did not answer in time.")))
        })?;
        match status.as_u16() {
            200..=299 => Ok(body),
            // It may be up to the credential or to the way to it; asking again soon may help only with these.
            408 | 425 | 429 | 500..=599 => Err(Failure::new(
                Class::ConnectFailed,
                format!("No credential: {whose} answered with status {status}.", status = status.as_u16()),
            )),
            status => Err(refused(whose, &format!("status {status}{}", word(&body)))),
        }
    }

    async fn call(&self, ask: Ask<'_>, whose: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let no_way = |why: &str| {
            Failure::new(Class::ConnectFailed, format!("No credential: {whose} cannot be reached: {why}"))
        };
        let url = Url::parse(ask.url).map_err(|_| no_way("its URL cannot be used."))?;
        let connect = if crate::upstream::client::is_local(ask.url) { CONNECT_LOCAL } else { CONNECT };
        let client = self.clients.general(connect, ask.url, self.proxy.as_deref());
        let client = client.map_err(|_| no_way("no HTTP client could be made."))?;
        let mut request = Request::new(ask.method, url);
        request.headers_mut().extend(ask.headers);
        *request.body_mut() = ask.body.map(Into::into);
        let response = client.send(request).await.map_err(|failure| no_way(&failure.message))?;
        let status = response.status();
        let body = reply::head_of(response.into_body(), ANSWER).await;
        Ok((status, body.to_vec()))
    }
}

/// The credential is not good.
pub fn refused(whose: &str, why: &str) -> Failure {
    let message = format!("No credential: {whose} refused what it was asked with ({why}).");
    Failure { credential: true, ..Failure::new(Class::AuthFailed, message) }
}

/// An answer of status 200 that has not what it should.
pub fn unreadable(whose: &str) -> Failure {
    Failure::new(Class::ConnectFailed, format!("No credential: the answer of {whose} cannot be read."))
}

/// What has to be read from this machine before anything can be asked.
pub fn missing(what: &str) -> Failure {
    Failure { credential: true, ..Failure::new(Class::AuthFailed, format!("No credential: {what}.")) }
}

/// `: invalid_grant`. A word, not a sentence: sentences may quote what was sent.
fn word(body: &[u8]) -> String {
    let told = |text: &str| serde_json::from_str::<String>(text).ok();
    let complaint = serde_json::from_slice::<Complaint<'_>>(body).ok();
    let word = complaint.and_then(|complaint| {
        let error = complaint.error.map(RawValue::get);
        let nested = error.and_then(|error| serde_json::from_str::<Complaint<'_>>(error).ok());
        let nested = nested.and_then(|nested| nested.code).and_then(|code| told(code.get()));
        error.and_then(told).or(nested).or_else(|| complaint.code.and_then(|code| told(code.get())))
    });
    let is_word = |text: &String| {
        text.len() <= WORD && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    word.filter(is_word).map_or_else(String::new, |word| format!(": {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_a_refusal_is_repeated() {
        let word = |body: &str| word(body.as_bytes());
        assert_eq!(
            word(r#"{"error":"invalid_grant","error_description":"hunter2 is wrong"}"#),
            ": invalid_grant"
        );
        assert_eq!(word(r#"{"error":{"code":"Gone","message":"hunter2"}}"#), ": Gone");
        assert_eq!(
            word(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"x"}"#),
            ": AssumeRoleUnauthorizedAccess"
        );
        assert_eq!(word(r#"{"error":"the secret hunter2 is wrong"}"#), "");
        assert_eq!(word("<html>"), "");
    }
}
