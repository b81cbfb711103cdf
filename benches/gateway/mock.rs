//! A cheap upstream that speaks three dialects: it costs little, so that little of what is measured is its own. What
//! it does is told by the request's path, its `model`, and whether it asks for a stream.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Content chunks of one stream, and the time between them.
pub const CHUNKS: usize = 64;
pub const PACE: Duration = Duration::from_millis(5);
/// Between the chunks of a stream that is only held open.
const HOLD: Duration = Duration::from_secs(1);

/// Stands before the time of sending in every chunk's text.
pub const MARK: &[u8] = b"@@";
/// Digits of that time: nanoseconds since [`now`]'s zero.
pub const DIGITS: usize = 16;

/// Nanoseconds since the harness started; the mock and the load share this clock.
pub fn now() -> u64 {
    static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(ZERO.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Starts the mock on a thread of its own. It lives as long as the process.
pub fn start() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("mock".into()).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A gateway that goes away ends its connection, and nothing else.
                    let _ = serve(stream).await;
                });
            }
        });
    })?;
    Ok(address)
}

/// What a request wants.
struct Wanted {
    dialect: &'static Dialect,
    is_down: bool,
    streams: bool,
    pace: Duration,
}

/// The bytes of one format. A stream's text is `before`, the time, `after`.
struct Dialect {
    answer: &'static str,
    first: &'static str,
    before: &'static str,
    after: &'static str,
    last: &'static str,
}

const OPENAI: Dialect = Dialect {
    answer: r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1760000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"A piton is the anchor that a climber places on purpose, in order, before the fall.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":42,"completion_tokens":17,"total_tokens":59,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_bench"}"#,
    first: "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
    before: "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
    after: "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
    last: "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\ndata: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":42,\"completion_tokens\":64,\"total_tokens\":106}}\n\ndata: [DONE]\n\n",
};

const ANTHROPIC: Dialect = Dialect {
    answer: r#"{"id":"msg_bench","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"A piton is the anchor that a climber places on purpose, in order, before the fall."}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":42,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":17,"service_tier":"standard"}}"#,
    first: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-sonnet-4-5-20250929\",\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":42,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    before: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"",
    after: "\"}}\n\n",
    last: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":64}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
};

const GEMINI: Dialect = Dialect {
    answer: r#"{"candidates":[{"content":{"parts":[{"text":"A piton is the anchor that a climber places on purpose, in order, before the fall."}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":42,"candidatesTokenCount":17,"totalTokenCount":59,"promptTokensDetails":[{"modality":"TEXT","tokenCount":42}]},"modelVersion":"gemini-2.5-flash","responseId":"bench"}"#,
    first: "",
    before: "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"",
    after: "\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 42,\"totalTokenCount\": 42,\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 42}]},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"bench\"}\r\n\r\n",
    last: "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\"}],\"role\": \"model\"},\"finishReason\": \"STOP\",\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 42,\"candidatesTokenCount\": 64,\"totalTokenCount\": 106,\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 42}]},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"bench\"}\r\n\r\n",
};

const OVERLOADED: &str =
    r#"{"error":{"message":"The server is overloaded.","type":"server_error","param":null,"code":null}}"#;
const HEAD_OF_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

async fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4 * 1024);
    loop {
        let Some(wanted) = receive(&mut stream, &mut buffer).await? else { return Ok(()) };
        if wanted.is_down {
            stream.write_all(&json("503 Service Unavailable", OVERLOADED)).await?;
        } else if wanted.streams {
            send_events(&mut stream, &wanted).await?;
        } else {
            stream.write_all(&json("200 OK", wanted.dialect.answer)).await?;
        }
    }
}

/// Reads one request; `None`: the connection has ended. Of a long body only the beginning is looked at.
async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Wanted>> {
    buffer.clear();
    let head = loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let length = content_length(&buffer[..head])?;
    let looked_at = head + length.min(512);
    while buffer.len() < looked_at {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let wanted = wanted(&buffer[..head], &buffer[head..]);
    let mut missing = (head + length).saturating_sub(buffer.len());
    buffer.clear();
    while missing > 0 {
        buffer.reserve(missing.min(256 * 1024));
        let read = stream.read_buf(buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        missing = missing.saturating_sub(read);
        buffer.clear();
    }
    Ok(Some(wanted))
}

fn wanted(head: &[u8], body: &[u8]) -> Wanted {
    let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let has = |text: &[u8], what: &str| memmem::find(text, what.as_bytes()).is_some();
    let dialect = if has(path, "/messages") {
        &ANTHROPIC
    } else if has(path, "enerateContent") {
        &GEMINI
    } else {
        &OPENAI
    };
    let streams = has(path, "streamGenerateContent") || has(body, "\"stream\":true");
    let pace = if has(body, "\"model\":\"hold\"") { HOLD } else { PACE };
    Wanted { dialect, is_down: has(path, "/down/"), streams, pace }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let line =
        head.lines().find(|line| line.len() > 15 && line[..15].eq_ignore_ascii_case("content-length:"));
    line.context("a request without a length")?[15..].trim().parse().context("a length that is no number")
}

fn json(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

async fn send_events(stream: &mut TcpStream, wanted: &Wanted) -> Result<()> {
    let Dialect { first, before, after, last, .. } = wanted.dialect;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(HEAD_OF_STREAM.as_bytes());
    frame(first, &mut out);
    let is_held = wanted.pace == HOLD;
    // The first chunk leaves at once: a timer would add up to a millisecond, which hides what a gateway adds.
    let mut ticks = interval_at(Instant::now() + wanted.pace, wanted.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while is_held || sent < CHUNKS {
        if sent > 0 {
            ticks.tick().await;
        }
        let mark = String::from_utf8_lossy(MARK);
        frame(&format!("{before}{mark}{:0DIGITS$} {after}", now()), &mut out);
        stream.write_all(&out).await?;
        out.clear();
        sent += 1;
    }
    frame(last, &mut out);
    out.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&out).await?;
    Ok(())
}

fn frame(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }
}
