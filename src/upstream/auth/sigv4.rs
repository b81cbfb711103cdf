//! AWS Signature Version 4: who signs proves that he has the secret key without sending it.

use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use secrecy::ExposeSecret;

use super::aws::Keys;
use crate::providers::path::segment;
use crate::wire::timestamp;

/// What is signed for: which service, where.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// A request before it is signed.
pub struct Unsigned<'a> {
    pub method: &'a str,
    pub url: &'a Url,
    pub headers: &'a HeaderMap,
    /// The SHA-256 of the body.
    pub payload: [u8; 32],
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const SESSION: &str = "x-amz-security-token";
/// So many bytes are hashed in less than a millisecond.
const AT_ONCE: usize = 1 << 20;

/// The SHA-256 of a body; a large one is hashed where nobody waits behind it.
pub async fn hash_of(body: &[Bytes]) -> [u8; 32] {
    let hash = |body: &[Bytes]| payload_hash(body.iter().map(AsRef::as_ref));
    if body.iter().map(Bytes::len).sum::<usize>() <= AT_ONCE {
        return hash(body);
    }
    let pieces = body.to_vec();
    let hashed = tokio::task::spawn_blocking(move || hash(&pieces)).await;
    hashed.unwrap_or_else(|_| hash(body))
}

/// The SHA-256 of a body in pieces.
pub fn payload_hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    pieces.into_iter().for_each(|piece| context.update(piece));
    bytes_of(context.finish().as_ref())
}

/// The headers that sign a request sent at `now`, a time since the Unix epoch. Proxies may add and reorder headers,
/// so only those are signed that make the request what it is. `None` if a value cannot stand in a header.
pub fn sign(
    unsigned: &Unsigned<'_>,
    keys: &Keys,
    scope: Scope<'_>,
    now: Duration,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let time = timestamp::basic(now);
    let mut signed = vec![("host", authority(unsigned.url)), (DATE, time.clone())];
    if let Some(kind) = unsigned.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        signed.push(("content-type", kind.trim().to_owned()));
    }
    let session = keys.session.as_ref().map(ExposeSecret::expose_secret);
    signed.extend(session.map(|session| (SESSION, session.to_owned())));
    signed.sort_unstable();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect::<Vec<_>>().concat();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        unsigned.method,
        encoded_path(unsigned.url),
        query(unsigned.url),
        hex(&unsigned.payload),
    );
    let day = &time[..8];
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hash = hex(digest::digest(&SHA256, canonical.as_bytes()).as_ref());
    let signature =
        hex(&mac(&signing_key(keys, day, scope), &format!("{ALGORITHM}\n{time}\n{place}\n{hash}")));
    let authorization =
        format!("{ALGORITHM} Credential={}/{place}, SignedHeaders={names}, Signature={signature}", keys.id);
    let mut headers = vec![
        (HeaderName::from_static(DATE), time.try_into().ok()?),
        (AUTHORIZATION, HeaderValue::try_from(authorization).ok()?),
    ];
    if let Some(session) = session {
        headers.push((HeaderName::from_static(SESSION), HeaderValue::try_from(session).ok()?));
    }
    headers.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
    Some(headers)
}

fn signing_key(keys: &Keys, day: &str, scope: Scope<'_>) -> [u8; 32] {
    let secret = format!("AWS4{}", keys.secret.expose_secret());
    let steps = [day, scope.region, scope.service, "aws4_request"];
    let mut steps = steps.into_iter();
    let first = mac(secret.as_bytes(), steps.next().unwrap_or_default());
    steps.fold(first, |key, step| mac(&key, step))
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    bytes_of(hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref())
}

/// As HTTP's `host` has it: the port only where it is not the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The path as it is sent, each segment encoded once more: every service but S3 has it so.
fn encoded_path(url: &Url) -> String {
    let path = url.path().split('/').map(segment).collect::<Vec<_>>().join("/");
    if path.is_empty() { "/".to_owned() } else { path }
}

fn query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (segment(&name), segment(&value))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn bytes_of(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signature(
        url: &str,
        session: Option<&str>,
        kind: Option<&'static str>,
        body: &[u8],
        method: &str,
        (region, service, now): (&str, &str, u64),
    ) -> (String, Vec<(HeaderName, HeaderValue)>) {
        let keys = Keys { id: KEY_ID.into(), secret: SECRET.into(), session: session.map(Into::into) };
        let mut headers = HeaderMap::new();
        headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        let url = Url::parse(url).unwrap();
        let unsigned = Unsigned { method, url: &url, headers: &headers, payload: payload_hash([body]) };
        let signed = sign(&unsigned, &keys, Scope { region, service }, Duration::from_secs(now)).unwrap();
        let line = signed.iter().find(|(name, _)| *name == AUTHORIZATION).unwrap().1.to_str().unwrap();
        (line.rsplit_once('=').unwrap().1.to_owned(), signed)
    }

    fn bedrock(url: &str, session: Option<&str>) -> String {
        // 2026-01-31T23:59:59Z
        let place = ("us-east-1", "bedrock", 1_769_903_999);
        signature(url, session, Some("application/json"), br#"{"messages":[]}"#, "POST", place).0
    }

    /// The signatures that botocore 1.43 makes of the same requests.
    #[test]
    fn signatures_are_those_of_aws_own_library() {
        let host = "https://bedrock-runtime.us-east-1.amazonaws.com/model";
        let claude = "anthropic.claude-3-5-sonnet-20241022-v2%3A0";
        assert_eq!(
            bedrock(&format!("{host}/{claude}/converse"), None),
            "e326e2af2307b1c6e72ad7022f160a1f28a7245fe5c38dc21016a0fc2f38dec7"
        );
        assert_eq!(
            bedrock(&format!("{host}/{claude}/converse-stream"), Some("SESSION/TOKEN==")),
            "036f5f639593a476910beed96cfba9d0128e20c5fb22368afaa0826ae0c1c0ce"
        );
        let profile = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x";
        assert_eq!(
            bedrock(&format!("http://127.0.0.1:8080/model/{profile}/invoke?b=2&a=1%202"), None),
            "7d89ef5c632f42d9acc178765b3bf72c02f66bcf5f601601918ab5f4a3381d54"
        );
    }

    /// Two of the cases of AWS's own test suite: `get-vanilla` and `get-vanilla-query-order-key-case`.
    #[test]
    fn signatures_are_those_of_aws_test_suite() {
        let place = ("us-east-1", "service", 1_440_938_160);
        let get = |url: &str| signature(url, None, None, b"", "GET", place).0;
        assert_eq!(
            get("https://example.amazonaws.com/"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            get("https://example.amazonaws.com/?Param2=value2&Param1=value1"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }

    #[tokio::test]
    async fn a_large_body_is_hashed_like_a_small_one() {
        for size in [1, AT_ONCE, AT_ONCE + 1] {
            let body = vec![b'x'; size];
            let pieces =
                [Bytes::copy_from_slice(&body[..size / 2]), Bytes::copy_from_slice(&body[size / 2..])];
            assert_eq!(hash_of(&pieces).await, payload_hash([body.as_slice()]), "{size}");
        }
    }

    #[test]
    fn a_session_is_sent_too_and_nothing_of_it_shows() {
        let (_, signed) =
            signature("https://h/", Some("hunter2"), None, b"", "POST", ("r", "s", 1_440_938_160));
        let session = &signed.iter().find(|(name, _)| *name == SESSION).unwrap().1;
        assert_eq!(session.to_str().unwrap(), "hunter2");
        assert!(!format!("{signed:?}").contains("hunter2"));
        assert_eq!(payload_hash([b"ab".as_slice(), b"c"]), payload_hash([b"abc".as_slice()]));
    }
}
