//! Both ends of the gateway: a client on a kept-alive connection, and providers whose answers are written beforehand.
//! They do as little as they can, for their instructions are counted too.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::sync::Arc;

use memchr::memmem::find;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

/// What a provider answers: each part is sent when the gateway has nothing left to do with the one before.
pub type Answer = Vec<Vec<u8>>;

/// Within so many turns of the runtime a part has gone through the gateway to the client.
const TURNS: usize = 3;

/// Whole, with this status.
pub fn whole(status: u16, body: &str) -> Answer {
    let length = body.len();
    vec![
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    ]
}

/// Streamed, an event at a time.
pub fn streamed(events: &[String]) -> Answer {
    let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()));
    let mut parts: Answer = std::iter::once(head.to_owned()).chain(chunks).map(String::into_bytes).collect();
    parts.push(b"0\r\n\r\n".to_vec());
    parts
}

/// The client.
pub struct Client {
    connection: DuplexStream,
    answer: Vec<u8>,
}

impl Client {
    pub fn new(connection: DuplexStream) -> Self {
        Self { connection, answer: Vec::with_capacity(256 * 1024) }
    }

    /// Sends a request; its whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.connection.write_all(request).await?;
        self.answer.clear();
        let mut ends = None;
        while ends.is_none_or(|ends: End| !ends.is_reached(&self.answer)) {
            if self.connection.read_buf(&mut self.answer).await? == 0 {
                return Err(Error::other("the gateway closed the connection"));
            }
            ends = ends.or_else(|| End::of(&self.answer));
        }
        Ok(&self.answer)
    }
}

/// Where a message ends.
#[derive(Clone, Copy)]
enum End {
    At(usize),
    WithLastChunk,
}

impl End {
    /// As its head says, once that is there.
    fn of(message: &[u8]) -> Option<Self> {
        const LENGTH: &[u8] = b"content-length: ";
        let head = find(message, b"\r\n\r\n")? + 4;
        let Some(length) = find(&message[..head], LENGTH) else { return Some(Self::WithLastChunk) };
        let digits = message[length + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(Self::At(head + digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))))
    }

    fn is_reached(self, message: &[u8]) -> bool {
        match self {
            Self::At(end) => message.len() >= end,
            Self::WithLastChunk => message.ends_with(b"\r\n0\r\n\r\n"),
        }
    }
}

/// Providers on one port, told apart by the first part of the path.
pub struct Providers {
    listener: TcpListener,
    answers: HashMap<&'static str, Answer>,
}

impl Providers {
    pub async fn new(answers: HashMap<&'static str, Answer>) -> Result<Self> {
        Ok(Self { listener: TcpListener::bind("127.0.0.1:0").await?, answers })
    }

    pub fn port(&self) -> Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Answers for ever.
    pub async fn answer(self) -> Result<()> {
        let answers = Arc::new(self.answers);
        loop {
            let (connection, _) = self.listener.accept().await?;
            connection.set_nodelay(true)?;
            tokio::spawn(answer(connection, Arc::clone(&answers)));
        }
    }
}

async fn answer(mut connection: TcpStream, answers: Arc<HashMap<&'static str, Answer>>) -> Result<()> {
    let mut request = Vec::with_capacity(256 * 1024);
    loop {
        request.clear();
        let mut ends = None;
        while ends.is_none_or(|ends: End| !ends.is_reached(&request)) {
            if connection.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
            ends = ends.or_else(|| End::of(&request));
        }
        let path = request.strip_prefix(b"POST /").unwrap_or_default();
        let name = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let answer = std::str::from_utf8(name).ok().and_then(|name| answers.get(name));
        for part in answer.ok_or_else(|| Error::other("a provider that nobody plays"))? {
            connection.write_all(part).await?;
            for _ in 0..TURNS {
                yield_now().await;
            }
        }
    }
}
