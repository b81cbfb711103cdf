//! The load: requests whose bytes are ready, on kept-alive connections.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::mock::{DIGITS, MARK, now};
use crate::subject::pause;

/// The bytes of one request.
#[derive(Clone)]
pub struct Wire(std::sync::Arc<[u8]>);

impl Wire {
    /// A request for a chat of about `size` bytes.
    pub fn chat(path: &str, model: &str, size: usize, streams: bool) -> Self {
        let stream = if streams { "\"stream\":true," } else { "" };
        let head = format!(
            "{{\"model\":\"{model}\",{stream}\"temperature\":0.7,\"max_tokens\":256,\"messages\":[{{\"role\":\"system\",\"content\":\"Answer in one sentence.\"}},{{\"role\":\"user\",\"content\":\""
        );
        let tail = "\"}]}";
        let text = "What is a piton, and why does a climber place it? ".bytes().cycle();
        let room = size.saturating_sub(head.len() + tail.len());
        let mut body = head.into_bytes();
        body.extend(text.take(room));
        body.extend_from_slice(tail.as_bytes());
        let mut wire = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\naccept: application/json\r\nuser-agent: bench\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        wire.extend_from_slice(&body);
        Self(wire.into())
    }
}

/// Sends `count` requests over `connections` connections, each as soon as the one before is answered. Gives the time.
pub async fn closed_loop(to: SocketAddr, wire: &Wire, connections: usize, count: usize) -> Result<Duration> {
    let mut lines = JoinSet::new();
    let began = Instant::now();
    for line in 0..connections {
        let wire = wire.clone();
        let share = count / connections + usize::from(line < count % connections);
        lines.spawn(async move {
            let mut connection = Connection::open(to).await?;
            for _ in 0..share {
                let status = connection.exchange(&wire).await?;
                ensure!(status == 200, "an answer of status {status}");
            }
            anyhow::Ok(())
        });
    }
    while let Some(line) = lines.join_next().await {
        line??;
    }
    Ok(began.elapsed())
}

/// Runs `count` streams at once to their end and gives how many chunks came.
pub async fn streams(to: SocketAddr, wire: &Wire, count: usize) -> Result<usize> {
    let mut lines = JoinSet::new();
    for _ in 0..count {
        let wire = wire.clone();
        lines.spawn(async move {
            let mut connection = Connection::open(to).await?;
            connection.stream.write_all(&wire.0).await?;
            connection.chunks().await
        });
    }
    let mut chunks = 0;
    while let Some(line) = lines.join_next().await {
        chunks += line??;
    }
    Ok(chunks)
}

/// Opens `count` streams and waits for the first chunk of each; they stay open as long as what this gives.
pub async fn hold_open(to: SocketAddr, wire: &Wire, count: usize) -> Result<JoinSet<Result<()>>> {
    let mut held = JoinSet::new();
    for batch in 0..count.div_ceil(200) {
        let mut opening = JoinSet::new();
        for _ in 0..200.min(count - batch * 200) {
            let wire = wire.clone();
            opening.spawn(async move {
                let mut connection = Connection::open(to).await?;
                connection.stream.write_all(&wire.0).await?;
                connection.first_chunk().await?;
                anyhow::Ok(connection)
            });
        }
        while let Some(opened) = opening.join_next().await {
            let mut connection = opened??;
            held.spawn(async move { connection.chunks().await.map(drop) });
        }
    }
    Ok(held)
}

/// One kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(2 * 1024) })
    }

    /// One request and its JSON answer: the status.
    pub async fn exchange(&mut self, wire: &Wire) -> Result<u16> {
        self.stream.write_all(&wire.0).await?;
        self.buffer.clear();
        loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the connection ended before an answer"
            );
            if let Some(status) = whole_answer(&self.buffer)? {
                return Ok(status);
            }
        }
    }

    /// Sends a request and reads its stream to the first chunk with content.
    pub async fn begin(&mut self, wire: &Wire) -> Result<()> {
        self.stream.write_all(&wire.0).await?;
        self.first_chunk().await
    }

    async fn first_chunk(&mut self) -> Result<()> {
        loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the stream ended before its first chunk"
            );
            if memmem::find(&self.buffer, MARK).is_some() {
                self.buffer.clear();
                return Ok(());
            }
        }
    }

    /// Reads a stream to its end and counts its chunks.
    pub async fn chunks(&mut self) -> Result<usize> {
        let mut chunks = 0;
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the stream was cut");
            let mut taken = 0;
            for at in memmem::find_iter(&self.buffer, MARK) {
                chunks += 1;
                taken = at + MARK.len();
            }
            if self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                self.buffer.clear();
                return Ok(chunks);
            }
            // What may be the beginning of a mark, or of the end, stays.
            let kept = self.buffer.len().saturating_sub(7).max(taken);
            self.buffer.drain(..kept);
        }
    }
}

/// The status, once the whole answer is here.
fn whole_answer(bytes: &[u8]) -> Result<Option<u16>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let is_length = |line: &&str| line.len() > 15 && line[..15].eq_ignore_ascii_case("content-length:");
    let length: usize =
        head.lines().find(is_length).context("an answer without a length")?[15..].trim().parse()?;
    Ok((bytes.len() >= end + 4 + length).then_some(status))
}

/// Latencies in nanoseconds, sorted.
pub struct Latencies(Vec<u64>);

impl Latencies {
    fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The value below which this share of the samples lies, in microseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    pub fn at(&self, share: f64) -> f64 {
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).map_or(f64::NAN, |sample| *sample as f64 / 1e3)
    }
}

/// One request every `1 / rate` seconds, timed from the moment at which it was due: an answer that comes late makes
/// those behind it late too, and that counts.
pub fn open_loop(to: SocketAddr, wire: &Wire, rate: u32, count: u32) -> Result<Latencies> {
    let mut line = Line::open(to)?;
    let mut samples = Vec::new();
    let began = Instant::now();
    for number in 0..count {
        let due = began + Duration::from_secs(1) * number / rate;
        wait_until(due);
        line.send(wire)?;
        loop {
            line.read()?;
            if let Some(status) = whole_answer(&line.buffer)? {
                ensure!(status == 200, "an answer of status {status}");
                break;
            }
        }
        samples.push(u64::try_from(due.elapsed().as_nanos())?);
    }
    Ok(Latencies::new(samples))
}

/// `count` streams, one after the other: the times to the first chunk, and the ways of all other chunks from the
/// mock to here.
pub fn stream_delays(to: SocketAddr, wire: &Wire, count: usize) -> Result<[Latencies; 2]> {
    let mut line = Line::open(to)?;
    let (mut firsts, mut ways) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let sent = now();
        line.send(wire)?;
        let mut is_first = true;
        loop {
            line.read()?;
            let arrived = now();
            let mut taken = 0;
            for at in memmem::find_iter(&line.buffer, MARK) {
                let Some(digits) = line.buffer.get(at + MARK.len()..at + MARK.len() + DIGITS) else { break };
                let left: u64 = std::str::from_utf8(digits)?.parse()?;
                if std::mem::take(&mut is_first) {
                    firsts.push(arrived - sent);
                } else {
                    ways.push(arrived - left);
                }
                taken = at + MARK.len() + DIGITS;
            }
            if line.buffer.ends_with(b"\r\n0\r\n\r\n") {
                break;
            }
            let kept = line.buffer.len().saturating_sub(MARK.len() + DIGITS).max(taken);
            line.buffer.drain(..kept);
        }
    }
    Ok([firsts, ways].map(Latencies::new))
}

/// A connection of a thread that does nothing else: it wakes with the socket, not with a timer's next tick.
struct Line {
    stream: BlockingStream,
    buffer: Vec<u8>,
}

impl Line {
    fn open(to: SocketAddr) -> Result<Self> {
        let stream = BlockingStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn send(&mut self, wire: &Wire) -> Result<()> {
        self.buffer.clear();
        Ok(self.stream.write_all(&wire.0)?)
    }

    fn read(&mut self) -> Result<()> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk)?;
        if read == 0 {
            bail!("the connection ended");
        }
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(())
    }
}

/// Sleeps until just before, then looks at the clock: a sleep alone ends late.
fn wait_until(due: Instant) {
    let early = Duration::from_micros(300);
    if let Some(time) = due.checked_duration_since(Instant::now() + early) {
        pause(time);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}
