//! Why the API did not answer: the exception's name, and the words that tell more than it.

use std::time::SystemTime;

use http::response::Parts;
use serde_json::Value;

use crate::providers::error::{self, ErrorWords};
use crate::reason::{Class, Failure};
use crate::wire::Frame;

/// The failure that an error answer means. The exception's name stands in a header, before a colon.
pub fn classify(head: &Parts, body: &[u8], now: SystemTime) -> Failure {
    let mut failure = error::classify(head, body, now);
    let named = head.headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
    let body: Option<Value> = serde_json::from_slice(body).ok();
    let in_body = body.as_ref().and_then(|body| body.get("__type")?.as_str());
    let name = named.or(in_body).map(short_name).filter(|name| !name.is_empty());
    let words = ErrorWords { message: failure.message.clone(), ..ErrorWords::default() };
    let known = name.and_then(|name| class_of_exception(name, &words, None));
    if let Some((class, credential)) = known.or_else(|| class_of_message(head.status.as_u16(), &words)) {
        failure.class = class;
        failure.credential = credential;
    }
    failure.kind = name.map(str::to_owned).or(failure.kind);
    failure
}

/// The failure that an exception in a stream means.
pub fn of_exception(frame: &Frame) -> Failure {
    let mut words = ErrorWords::read(&frame.data);
    let name = frame.event.as_deref().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    let body: Option<Value> = serde_json::from_slice(&frame.data).ok();
    let original = body.as_ref().and_then(|body| body.get("originalStatusCode")?.as_u64());
    let original = original.and_then(|status| u16::try_from(status).ok());
    let name = short_name(name);
    let (class, credential) = class_of_exception(name, &words, original).unwrap_or_else(|| {
        let class = error::class_of_words(&words);
        (class, class == Class::QuotaExhausted)
    });
    if words.message.is_empty() {
        words.message = format!("The upstream's stream ended with `{name}`.");
    }
    Failure { credential, kind: (!name.is_empty()).then(|| name.to_owned()), ..words.failure(class) }
}

/// The failure that a body of status 200 means which is an error all the same.
pub fn of_body(body: &Value) -> Failure {
    let words = ErrorWords::of(body);
    let name = body.get("__type").and_then(Value::as_str).map(short_name).unwrap_or_default();
    let known = class_of_exception(name, &words, None).or_else(|| class_of_message(400, &words));
    let (class, credential) = known.unwrap_or_else(|| (error::class_of_words(&words), false));
    Failure { credential, ..words.failure(class) }
}

/// The name without its namespace before and its address after.
fn short_name(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('#').next().unwrap_or(name).trim()
}

/// What an exception means, and whether the credential is at fault. Streams spell names with a small first letter.
fn class_of_exception(name: &str, words: &ErrorWords, original: Option<u16>) -> Option<(Class, bool)> {
    Some(match name.to_ascii_lowercase().as_str() {
        "throttlingexception"
        | "toomanyrequestsexception"
        | "modelnotreadyexception"
        | "servicequotaexceededexception" => (Class::RateLimited, false),
        "serviceunavailableexception" => (Class::Overloaded, false),
        "internalserverexception" | "internalfailure" | "modeltimeoutexception" | "modelerrorexception" => {
            (Class::ServerError, false)
        }
        // The model's own server failed, and says how.
        "modelstreamerrorexception" => match original.map(|status| error::class_of(status, words)) {
            Some(class @ (Class::RateLimited | Class::Overloaded | Class::ContextLength)) => (class, false),
            Some(_) | None => (Class::ServerError, false),
        },
        "resourcenotfoundexception" => (Class::ModelNotFound, false),
        "accessdeniedexception" => class_of_message(403, words).unwrap_or((Class::AuthFailed, false)),
        "unrecognizedclientexception"
        | "expiredtokenexception"
        | "expiredtoken"
        | "invalidsignatureexception"
        | "signaturedoesnotmatch"
        | "incompletesignatureexception"
        | "incompletesignature"
        | "invalidclienttokenid"
        | "missingauthenticationtokenexception"
        | "missingauthenticationtoken" => (Class::AuthFailed, true),
        "validationexception" => {
            class_of_message(400, words).unwrap_or_else(|| (error::class_of(400, words), false))
        }
        _ => return None,
    })
}

/// What only the words tell.
fn class_of_message(status: u16, words: &ErrorWords) -> Option<(Class, bool)> {
    let classes: [(u16, &[&str], Class, bool); 6] = [
        (
            400,
            &["too many input tokens", "malformed input request: expected maxlength"],
            Class::ContextLength,
            false,
        ),
        (
            400,
            &[
                "model identifier is invalid",
                "on-demand throughput isn",
                "end of its life",
                "isn't supported in this region",
            ],
            Class::ModelNotFound,
            false,
        ),
        (400, &["content filtering policy"], Class::ContentFilter, false),
        (403, &["access to the model with the specified model id"], Class::ModelNotFound, false),
        (403, &["payment_instrument", "payment instrument"], Class::QuotaExhausted, true),
        (
            403,
            &["security token", "signature", "api key", "authentication failed", "bearer token"],
            Class::AuthFailed,
            true,
        ),
    ];
    let known = classes.into_iter().find(|(of, needles, ..)| *of == status && words.mention(needles));
    known.map(|(_, _, class, credential)| (class, credential))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(name: &'static str, body: &'static str) -> (Class, bool) {
        let frame = Frame { event: Some(name.into()), data: body.into(), is_exception: true };
        let failure = of_exception(&frame);
        assert!(!failure.message.is_empty(), "{name}");
        (failure.class, failure.credential)
    }

    #[test]
    fn an_exception_in_a_stream_is_told_by_its_name_and_words() {
        let too_long = r#"{"message":"Input is too long for requested model."}"#;
        let cases = [
            ("throttlingException", r#"{"message":"Too many tokens, please wait."}"#, Class::RateLimited),
            ("serviceUnavailableException", r#"{"message":"x"}"#, Class::Overloaded),
            ("internalServerException", "", Class::ServerError),
            ("modelTimeoutException", "{}", Class::ServerError),
            ("modelStreamErrorException", r#"{"message":"x","originalStatusCode":529}"#, Class::Overloaded),
            ("modelStreamErrorException", r#"{"message":"x","originalStatusCode":400}"#, Class::ServerError),
            ("modelStreamErrorException", r#"{"message":"x"}"#, Class::ServerError),
            ("validationException", too_long, Class::ContextLength),
            ("validationException", r#"{"message":"Wrong."}"#, Class::InvalidRequest),
            ("novelException", too_long, Class::ContextLength),
            ("novelException", r#"{"message":"?"}"#, Class::ServerError),
        ];
        for (name, body, class) in cases {
            assert_eq!(exception(name, body), (class, false), "{name} {body}");
        }
        let expired = r#"{"message":"The security token included in the request is expired"}"#;
        assert_eq!(exception("accessDeniedException", expired), (Class::AuthFailed, true));
    }
}
