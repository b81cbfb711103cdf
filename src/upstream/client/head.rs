//! The head of an answer: its status, its headers, and what they say of its body and of the connection.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use httparse::{ParserConfig, Status};

use super::decoder::Decoder;

/// A head that was read.
pub struct Head {
    pub response: Response<()>,
    /// Reads the body.
    pub decoder: Decoder,
    /// The connection stays open after the answer.
    pub stays_open: bool,
}

/// It is no head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the answer is not HTTP ({0})")]
    Syntax(httparse::Error),
    #[error("the answer has no valid status")]
    Status,
    #[error("the head of the answer is too large")]
    TooLarge,
    #[error("too many interim answers before the answer")]
    TooManyInterim,
    #[error("the answer does not say clearly how long it is")]
    Length,
}

/// Four times what common servers and proxies let pass.
const MOST_BYTES: usize = 64 * 1024;
const MOST_HEADERS: usize = 100;
/// An answer needs one or two.
const MOST_INTERIM: u8 = 16;

impl Head {
    /// Takes the head from what was read, and the interim answers before it, which are counted; `None`: there is more
    /// to come.
    pub fn take(read: &mut BytesMut, interim: &mut u8) -> Result<Option<Self>, Malformed> {
        while !read.is_empty() {
            let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
            let mut parsed = httparse::Response::new(&mut []);
            let parser = ParserConfig::default();
            let ends = parser.parse_response_with_uninit_headers(&mut parsed, read, &mut headers);
            let end = match ends.map_err(Malformed::Syntax)? {
                Status::Complete(end) if end <= MOST_BYTES => end,
                Status::Partial if read.len() < MOST_BYTES => return Ok(None),
                Status::Complete(_) | Status::Partial => return Err(Malformed::TooLarge),
            };
            let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.ok_or(Malformed::Status)?;
            let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
            if !is_interim {
                let is_http_11 = parsed.version == Some(1);
                let headers = copied(&read[..end], parsed.headers)?;
                read.advance(end);
                return Self::new(status, is_http_11, headers).map(Some);
            }
            *interim += 1;
            if *interim > MOST_INTERIM {
                return Err(Malformed::TooManyInterim);
            }
            read.advance(end);
        }
        Ok(None)
    }

    fn new(status: StatusCode, is_http_11: bool, headers: HeaderMap) -> Result<Self, Malformed> {
        // Nobody asked to switch.
        let is_bodiless = matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let decoder = if is_bodiless { Decoder::EMPTY } else { body(is_http_11, &headers)? };
        // Who frames an answer in two ways, or sends one that nobody asks for, may send more of it later.
        let is_clear = !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH));
        let stays_open = !is_bodiless && is_clear && stays_open(is_http_11, &headers);
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(Self { response, decoder, stays_open })
    }
}

/// The headers in a buffer of their own: what they were read into is larger, and not theirs alone.
fn copied(head: &[u8], parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let start = head.as_ptr() as usize;
    let head = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let from = header.value.as_ptr() as usize - start;
        let value = HeaderValue::from_maybe_shared(head.slice(from..from + header.value.len()));
        headers.append(name.map_err(|_| HEADER_NAME)?, value.map_err(|_| HEADER_VALUE)?);
    }
    Ok(headers)
}

const HEADER_NAME: Malformed = Malformed::Syntax(httparse::Error::HeaderName);
const HEADER_VALUE: Malformed = Malformed::Syntax(httparse::Error::HeaderValue);

fn body(is_http_11: bool, headers: &HeaderMap) -> Result<Decoder, Malformed> {
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        // It was not known then: who says so may mean anything.
        if !is_http_11 {
            return Err(Malformed::Length);
        }
        let is_chunked = words(last).next_back().is_some_and(|word| word.eq_ignore_ascii_case("chunked"));
        return Ok(if is_chunked { Decoder::CHUNKED } else { Decoder::UNTIL_CLOSE });
    }
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for word in value.to_str().map_err(|_| Malformed::Length)?.split(',') {
            let told = number(word.trim()).ok_or(Malformed::Length)?;
            if *length.get_or_insert(told) != told {
                return Err(Malformed::Length);
            }
        }
    }
    Ok(length.map_or(Decoder::UNTIL_CLOSE, Decoder::sized))
}

/// Digits and nothing else: Rust's own parser lets a sign pass.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn stays_open(is_http_11: bool, headers: &HeaderMap) -> bool {
    let says = |what: &str| {
        let mut words = headers.get_all(CONNECTION).iter().flat_map(words);
        words.any(|word| word.eq_ignore_ascii_case(what))
    };
    !says("close") && (is_http_11 || says("keep-alive"))
}

/// The words of a list; none where it is no text.
fn words(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Head>, Malformed> {
        Head::take(&mut BytesMut::from(text), &mut 0)
    }

    fn head(text: &str) -> Head {
        take(text).unwrap().unwrap_or_else(|| panic!("{text:?} is not whole"))
    }

    /// How long the body is: a number, `chunked`, or `until close`.
    fn length(text: &str) -> Result<String, Malformed> {
        let mut decoder = take(text)?.unwrap().decoder;
        Ok(match (decoder.length(), decoder.close()) {
            (Some(length), _) => length.to_string(),
            (None, Ok(())) => "until close".into(),
            (None, Err(_)) => "chunked".into(),
        })
    }

    #[test]
    fn a_head_is_read_however_it_is_cut() {
        let text = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nx-id:  a b \r\nx-id: c\r\n\
                    content-length: 4\r\n\r\n";
        for at in 0..text.len() {
            assert!(take(&text[..at]).unwrap().is_none(), "{at}");
        }
        let mut read = BytesMut::from(&*format!("{text}body"));
        let Head { response, decoder, stays_open } = Head::take(&mut read, &mut 0).unwrap().unwrap();
        assert_eq!(read, "body");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
        let ids: Vec<_> = response.headers().get_all("x-id").iter().collect();
        assert_eq!(ids, ["a b", "c"]);
        assert_eq!((decoder.length(), stays_open), (Some(4), true));
    }

    #[test]
    fn sloppy_servers_are_understood() {
        for text in [
            "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
            "\r\n\r\nHTTP/1.1 200 OK\r\nCONTENT-LENGTH:0\r\n\r\n",
            "HTTP/1.1 200 \u{fc}\r\ncontent-length: 0\r\nx: \u{fc}\r\n\r\n",
        ] {
            assert_eq!(length(text).as_deref(), Ok("0"), "{text:?}");
        }
    }

    #[test]
    fn a_header_may_have_no_value() {
        for value in ["", " ", "\t \t"] {
            let headers = format!("a:{value}\r\nb: c\r\nd:{value}\r\n\r\n");
            let response = head(&format!("HTTP/1.1 200 OK\r\n{headers}")).response;
            let values = ["a", "b", "d"].map(|name| response.headers()[name].as_bytes());
            assert_eq!(values, [b"".as_slice(), b"c", b""], "{value:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
        ] {
            assert!(take(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_head_is_bounded() {
        let with = |bytes: usize| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(bytes));
        assert!(take(&with(MOST_BYTES - 30)).is_ok());
        assert_eq!(take(&with(MOST_BYTES)).err(), Some(Malformed::TooLarge));
        assert_eq!(take(&with(2 * MOST_BYTES)[..MOST_BYTES]).err(), Some(Malformed::TooLarge));
        let headers = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert_eq!(head(&headers(MOST_HEADERS)).response.headers().len(), MOST_HEADERS);
        assert!(take(&headers(MOST_HEADERS + 1)).is_err());
    }

    #[test]
    fn interim_answers_are_skipped_but_for_a_switch() {
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n";
        let Head { response, stays_open, .. } = head(&format!("{interim}{last}"));
        assert_eq!((response.status().as_u16(), stays_open), (200, true));
        assert!(take(interim).unwrap().is_none());
        let Head { response, decoder, stays_open } = head("HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert_eq!((response.status().as_u16(), decoder.is_done(), stays_open), (101, true, false));
    }

    #[test]
    fn interim_answers_are_counted_however_they_are_cut() {
        const INTERIM: &str = "HTTP/1.1 102 Processing\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
        let most = usize::from(MOST_INTERIM);
        for (count, expected) in [(most, None), (most + 1, Some(Malformed::TooManyInterim))] {
            assert_eq!(take(&format!("{}{last}", INTERIM.repeat(count))).err(), expected);
            let (mut read, mut interim) = (BytesMut::new(), 0);
            let one_by_one = (0..count).map(|_| {
                read.extend_from_slice(INTERIM.as_bytes());
                Head::take(&mut read, &mut interim).err()
            });
            assert_eq!(one_by_one.last().unwrap(), expected);
        }
    }

    #[test]
    fn the_length_of_a_body_is_what_its_head_says() {
        let of = |status: &str, headers: &str| length(&format!("{status}\r\n{headers}\r\n"));
        for (headers, expected) in [
            ("", "until close"),
            ("content-length: 12\r\n", "12"),
            ("content-length: 12, 12\r\ncontent-length: 12\r\n", "12"),
            ("transfer-encoding: chunked\r\n", "chunked"),
            ("transfer-encoding: gzip, Chunked\r\ncontent-length: 12\r\n", "chunked"),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", "chunked"),
            ("transfer-encoding: chunked, gzip\r\n", "until close"),
            ("transfer-encoding: identity\r\n", "until close"),
        ] {
            assert_eq!(of("HTTP/1.1 200 OK", headers).as_deref(), Ok(expected), "{headers:?}");
            assert_eq!(of("HTTP/1.1 204 No Content", headers).as_deref(), Ok("0"), "{headers:?}");
            assert_eq!(of("HTTP/1.1 304 Not Modified", headers).as_deref(), Ok("0"), "{headers:?}");
        }
        for headers in ["", "-1", "+1", "1 1", "1,", "1, 2", "1\r\ncontent-length: 2", "18446744073709551616"]
        {
            let headers = format!("content-length: {headers}\r\n");
            assert_eq!(of("HTTP/1.1 200 OK", &headers), Err(Malformed::Length), "{headers:?}");
        }
        assert_eq!(of("HTTP/1.0 200 OK", "transfer-encoding: chunked\r\n"), Err(Malformed::Length));
        assert_eq!(of("HTTP/1.0 200 OK", "").as_deref(), Ok("until close"));
    }

    #[test]
    fn a_connection_stays_open_as_its_version_and_both_sides_words_say() {
        for (version, headers, expected) in [
            (1, "", true),
            (1, "connection: keep-alive\r\n", true),
            (1, "connection: x, Close\r\n", false),
            (1, "connection: close\r\nconnection: keep-alive\r\n", false),
            (0, "", false),
            (0, "connection: Keep-Alive\r\n", true),
            (0, "connection: keep-alive\r\nconnection: close\r\n", false),
        ] {
            let text = format!("HTTP/1.{version} 200 OK\r\n{headers}content-length: 0\r\n\r\n");
            assert_eq!(head(&text).stays_open, expected, "{text:?}");
        }
    }
}
