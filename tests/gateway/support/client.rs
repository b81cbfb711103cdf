//! HTTP/1.1 by hand: what arrived, byte for byte, and when.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::in_time;

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// In their order.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// An answer that is read as it arrives. Dropping it closes the connection.
#[derive(Debug)]
pub struct Streaming {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// When the head was complete.
    pub at: Instant,
    connection: Raw,
    framing: Framing,
    /// Body bytes that are not a whole line yet.
    line: BytesMut,
    end: Option<End>,
}

/// One line of a stream, without its line end.
#[derive(Debug, Clone)]
pub struct Line {
    pub text: String,
    pub at: Instant,
}

/// The payload of one SSE event: its `data` lines, joined.
#[derive(Debug, Clone)]
pub struct Event {
    pub data: String,
    pub at: Instant,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As its head or its last chunk says.
    Clean,
    /// The connection was closed or reset before that.
    Broken,
}

/// A connection to which any bytes may be written.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

/// The room for one read: large answers come in large pieces.
const READ: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
enum Framing {
    /// So many bytes are still to come.
    Length(usize),
    /// Inside a chunk, with so many bytes still to come.
    Chunk(usize),
    BetweenChunks,
    UntilClose,
}

/// Sends one request on a connection of its own and reads the whole answer.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    open(address, method, path, headers, body).await.whole().await
}

/// Sends one request on a connection of its own and reads the head of the answer.
pub async fn open(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Streaming {
    let mut connection = Raw::connect(address).await;
    connection.send(&encode(address, method, path, headers, body)).await;
    connection.head().await
}

/// The bytes of one request.
pub fn encode(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let _ = write!(head, "host: {address}\r\n");
    }
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("a connection", TcpStream::connect(address)).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, buffer: BytesMut::new() }
    }

    /// Writes these bytes. A peer that has closed already is no error: what it said can still be read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = in_time("a write", self.stream.write_all(bytes)).await;
    }

    /// Everything until the peer closes or resets.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.buffer.split().to_vec()
    }

    /// Closes with a TCP reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a socket option");
    }

    /// Reads the head of an answer.
    pub async fn head(mut self) -> Streaming {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill().await, "closed before a whole head: {:?}", self.buffer);
        };
        let head = String::from_utf8(self.buffer.split_to(end).to_vec()).expect("a head in UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let framing = match (find(&headers, "transfer-encoding"), find(&headers, "content-length")) {
            (Some(_), _) => Framing::BetweenChunks,
            (None, Some(length)) => Framing::Length(length.parse().expect("a content-length")),
            (None, None) => Framing::UntilClose,
        };
        Streaming {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            headers,
            at: Instant::now(),
            connection: self,
            framing,
            line: BytesMut::new(),
            end: None,
        }
    }

    /// Reads more; false once the peer has closed.
    async fn fill(&mut self) -> bool {
        self.buffer.reserve(READ);
        let read = in_time("more bytes", self.stream.read_buf(&mut self.buffer)).await;
        matches!(read, Ok(1..))
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("a body in UTF-8")
    }
}

impl Streaming {
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The next line; `None` at the end, whose kind [`Self::end`] then tells.
    pub async fn next_line(&mut self) -> Option<Line> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.line[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.line.split_to(searched + end + 1);
                return Some(to_line(&line));
            }
            searched = self.line.len();
            if !self.more().await {
                let last = self.line.split();
                return (!last.is_empty()).then(|| to_line(&last));
            }
        }
    }

    /// The next event that has data; comments are passed over.
    pub async fn next_event(&mut self) -> Option<Event> {
        let mut data: Option<String> = None;
        while let Some(line) = self.next_line().await {
            if let Some(value) = line.text.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                data = Some(data.map_or_else(|| value.to_owned(), |before| before + "\n" + value));
            } else if line.text.is_empty()
                && let Some(data) = data.take()
            {
                return Some(Event { data, at: line.at });
            }
        }
        // An event without its blank line does not count: the connection may have been cut inside it.
        None
    }

    /// All events that are still to come.
    pub async fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next_event().await {
            events.push(event);
        }
        events
    }

    /// How the body ended, once it has.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// The whole answer, which must end as it promised.
    pub async fn whole(mut self) -> Response {
        while self.more().await {}
        assert_eq!(self.end, Some(End::Clean), "the body broke off: {:?}", self.line);
        Response { status: self.status, headers: self.headers, body: self.line.freeze() }
    }

    /// Gets more of the body; false at its end.
    async fn more(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.framing {
            Framing::Length(0) => return self.ended(End::Clean),
            Framing::BetweenChunks => {
                let Some(size) = self.chunk_size().await else { return self.ended(End::Broken) };
                if size == 0 {
                    return self.ended(End::Clean);
                }
                self.framing = Framing::Chunk(size);
            }
            Framing::Length(_) | Framing::Chunk(_) | Framing::UntilClose => {}
        }
        if self.connection.buffer.is_empty() && !self.connection.fill().await {
            let until_close = matches!(self.framing, Framing::UntilClose);
            return self.ended(if until_close { End::Clean } else { End::Broken });
        }
        let here = self.connection.buffer.len();
        let (take, next) = match self.framing {
            Framing::Length(left) => (left.min(here), Framing::Length(left - left.min(here))),
            Framing::Chunk(left) if here >= left => (left, Framing::BetweenChunks),
            Framing::Chunk(left) => (here, Framing::Chunk(left - here)),
            Framing::BetweenChunks | Framing::UntilClose => (here, self.framing),
        };
        let bytes = self.connection.buffer.split_to(take);
        self.line.extend_from_slice(&bytes);
        self.framing = next;
        true
    }

    fn ended(&mut self, end: End) -> bool {
        self.end = Some(end);
        false
    }

    /// The size of the next chunk, past the line end of the one before; `None` if the peer closed.
    async fn chunk_size(&mut self) -> Option<usize> {
        loop {
            while self.connection.buffer.starts_with(b"\r\n") {
                let _ = self.connection.buffer.split_to(2);
            }
            if let Some(end) = self.connection.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.connection.buffer.split_to(end + 2);
                let line = String::from_utf8_lossy(&line).into_owned();
                let size = line.trim_end().split(';').next().unwrap_or_default();
                return Some(usize::from_str_radix(size, 16).expect("a chunk size"));
            }
            if !self.connection.fill().await {
                return None;
            }
        }
    }
}

fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn to_line(bytes: &[u8]) -> Line {
    let text = String::from_utf8(bytes.to_vec()).expect("a line in UTF-8");
    Line { text: text.trim_end_matches(['\r', '\n']).to_owned(), at: Instant::now() }
}
