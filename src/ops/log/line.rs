//! The two events that every request leaves, with their one set of fields. Written often, their JSON is written by
//! hand; its form is that of all other events.

use std::cell::Cell;
use std::time::Duration;

use serde::Serialize;
use tracing::Level;

use super::{IS_JSON, QUEUE};
use crate::clock;
use crate::ops::milliseconds;
use crate::routing::Origin;
use crate::routing::chain::provider_of;
use crate::units::Cost;
use crate::wire::timestamp;

/// Where these events come from, as filters name it.
const TARGET: &str = "piton::ops::event";

/// What an `attempt` and a `request` tell.
#[derive(Debug)]
pub struct Line<'a> {
    pub origin: &'a Origin,
    pub upstream_request_id: Option<&'a str>,
    pub target: Option<&'a str>,
    pub current_model: Option<&'a str>,
    pub attempt: u32,
    /// It put an image into words, for another target.
    pub describes: bool,
    pub outcome: &'static str,
    pub fallback_reason: Option<&'static str>,
    pub status: Option<u16>,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    pub usage: &'a crate::chat::Usage,
    pub cost: Option<Cost>,
}

/// The event's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Attempt,
    Request,
}

impl Message {
    const fn text(self) -> &'static str {
        match self {
            Self::Attempt => "attempt",
            Self::Request => "request",
        }
    }
}

impl Line<'_> {
    /// Logs it, unless the filter wants none.
    pub fn log(&self, message: Message) {
        if !tracing::event_enabled!(target: TARGET, Level::INFO) {
            return;
        }
        if IS_JSON.load(std::sync::atomic::Ordering::Relaxed) {
            QUEUE.push(&self.to_json(message, clock::system_since_epoch()), false);
        } else {
            self.trace(message);
        }
    }

    /// As an event of tracing.
    fn trace(&self, message: Message) {
        let origin = self.origin;
        tracing::info!(
            target: TARGET,
            request_id = origin.request_id,
            operation = origin.operation.name(),
            upstream_request_id = self.upstream_request_id,
            chain = &*origin.chain,
            target = self.target,
            provider = self.provider(),
            current_model = self.current_model,
            attempt = self.attempt,
            describes = self.describes.then_some(true),
            outcome = self.outcome,
            fallback_reason = self.fallback_reason,
            status = self.status,
            latency_ms = milliseconds(self.latency),
            first_token_ms = self.first_token.map(milliseconds),
            input_tokens = self.usage.prompt.get(),
            output_tokens = self.usage.completion.get(),
            cached_tokens = self.usage.cached.get(),
            cost_usd = self.cost.map(Cost::usd),
            streamed = origin.streamed,
            key = origin.key.as_deref(),
            user = origin.user,
            session = origin.session,
            task = origin.task,
            tier = origin.tier,
            "{}", message.text()
        );
    }

    /// The same event in JSON, with the end of its line.
    fn to_json(&self, message: Message, since_epoch: Duration) -> Vec<u8> {
        let origin = self.origin;
        let mut json = Json::begin(since_epoch);
        json.word(",\"message\":", message.text());
        json.text(",\"request_id\":", &origin.request_id);
        json.word(",\"operation\":", origin.operation.name());
        json.some(",\"upstream_request_id\":", self.upstream_request_id);
        json.text(",\"chain\":", &origin.chain);
        json.some(",\"target\":", self.target);
        json.some(",\"provider\":", self.provider());
        json.some(",\"current_model\":", self.current_model);
        json.number(",\"attempt\":", self.attempt.into());
        json.raw(if self.describes { ",\"describes\":true" } else { "" });
        json.word(",\"outcome\":", self.outcome);
        self.fallback_reason.iter().for_each(|reason| json.word(",\"fallback_reason\":", reason));
        self.status.iter().for_each(|status| json.number(",\"status\":", (*status).into()));
        json.number(",\"latency_ms\":", milliseconds(self.latency));
        self.first_token.iter().for_each(|first| json.number(",\"first_token_ms\":", milliseconds(*first)));
        json.number(",\"input_tokens\":", self.usage.prompt.get());
        json.number(",\"output_tokens\":", self.usage.completion.get());
        json.number(",\"cached_tokens\":", self.usage.cached.get());
        self.cost.iter().for_each(|cost| json.value(",\"cost_usd\":", cost));
        json.raw(if origin.streamed { ",\"streamed\":true" } else { ",\"streamed\":false" });
        json.some(",\"key\":", origin.key.as_deref());
        json.some(",\"user\":", origin.user.as_deref());
        json.some(",\"session\":", origin.session.as_deref());
        json.some(",\"task\":", origin.task.as_deref());
        json.some(",\"tier\":", origin.tier.as_deref());
        json.raw("}\n");
        json.0
    }

    fn provider(&self) -> Option<&str> {
        provider_of(self.target?)
    }
}

/// A line of JSON under way. Names come as they are written: with the comma, the quotes and the colon.
struct Json(Vec<u8>);

impl Json {
    /// Longer than nearly every line.
    const ROOM: usize = 1024;

    fn begin(since_epoch: Duration) -> Self {
        let mut json = Self(Vec::with_capacity(Self::ROOM));
        json.raw("{\"timestamp\":\"");
        json.0.extend_from_slice(&stamp(since_epoch));
        json.raw("\",\"level\":\"INFO\"");
        json
    }

    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// One of our own words, which need no escapes.
    fn word(&mut self, name: &str, word: &'static str) {
        self.quoted(name, word);
    }

    fn text(&mut self, name: &str, text: &str) {
        if needs_escapes(text) { self.value(name, text) } else { self.quoted(name, text) }
    }

    fn some(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn quoted(&mut self, name: &str, text: &str) {
        self.0.reserve(name.len() + text.len() + 2);
        self.raw(name);
        self.0.push(b'"');
        self.raw(text);
        self.0.push(b'"');
    }

    fn number(&mut self, name: &str, number: u64) {
        self.raw(name);
        self.raw(itoa::Buffer::new().format(number));
    }

    fn value<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.raw(name);
        // Neither texts nor amounts can fail, and writing to a Vec cannot either.
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

/// Looks at every byte, whatever it has found: so the processor can look at many at once.
fn needs_escapes(text: &str) -> bool {
    let needs = |byte: u8| u8::from(matches!(byte, 0..b' ' | b'"' | b'\\'));
    text.bytes().fold(0, |any, byte| any | needs(byte)) > 0
}

/// `2026-01-31T08:00:00.123456Z`. All but the fraction is the same for many lines.
fn stamp(since_epoch: Duration) -> [u8; 27] {
    type Second = (u64, [u8; 19]);
    thread_local! {
        static LAST: Cell<Second> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
    }
    let second = since_epoch.as_secs();
    let mut last = LAST.get();
    if last.0 != second {
        last = (second, timestamp::extended(second));
        LAST.set(last);
    }
    let mut stamp = *b"0000-00-00T00:00:00.000000Z";
    stamp[..19].copy_from_slice(&last.1);
    let mut rest = since_epoch.subsec_micros();
    for digit in stamp[20..26].iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    stamp
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::chat::{Operation, Usage};
    use crate::units::Tokens;

    fn origin() -> Origin {
        Origin { request_id: "req-1".into(), chain: "main".into(), ..Origin::default() }
    }

    fn bare<'a>(origin: &'a Origin, usage: &'a Usage) -> Line<'a> {
        Line {
            origin,
            upstream_request_id: None,
            target: None,
            current_model: None,
            attempt: 0,
            describes: false,
            outcome: "rejected",
            fallback_reason: None,
            status: None,
            latency: Duration::from_micros(1_999),
            first_token: None,
            usage,
            cost: None,
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What tracing writes for the same event.
    fn traced(line: &Line<'_>, message: Message) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || line.trace(message));
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_whole_line_is_spelled_like_this() {
        let origin = Origin {
            operation: Operation::Embeddings,
            key: Some("shop".into()),
            user: Some("u".into()),
            session: Some("s".into()),
            task: Some("say \"hi\"\u{1}\\ é".into()),
            tier: Some("gold".into()),
            streamed: true,
            ..origin()
        };
        let usage = Usage {
            prompt: Tokens::new(9),
            completion: Tokens::new(2),
            cached: Tokens::new(1),
            ..Usage::default()
        };
        let line = Line {
            upstream_request_id: Some("up-b"),
            target: Some("b/m/n"),
            current_model: Some("gpt"),
            attempt: 2,
            describes: true,
            outcome: "ok",
            fallback_reason: Some("overloaded"),
            status: Some(200),
            latency: Duration::from_millis(412),
            first_token: Some(Duration::from_micros(90_700)),
            cost: Cost::from_usd(0.000_038),
            ..bare(&origin, &usage)
        };
        let json = line.to_json(Message::Attempt, Duration::from_micros(1_769_846_400_012_345));
        assert_eq!(
            String::from_utf8(json).unwrap(),
            concat!(
                r#"{"timestamp":"2026-01-31T08:00:00.012345Z","level":"INFO","message":"attempt","request_id":"req-1","#,
                r#""operation":"embeddings","upstream_request_id":"up-b","chain":"main","target":"b/m/n","provider":"b","#,
                r#""current_model":"gpt","attempt":2,"describes":true,"outcome":"ok","fallback_reason":"overloaded","status":200,"#,
                r#""latency_ms":412,"first_token_ms":90,"input_tokens":9,"output_tokens":2,"cached_tokens":1,"#,
                r#""cost_usd":0.000038,"streamed":true,"key":"shop","user":"u","session":"s","#,
                r#""task":"say \"hi\"\u0001\\ é","tier":"gold"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_line_written_by_hand_is_the_line_that_tracing_would_write() {
        let usage = Usage { prompt: Tokens::new(u64::MAX), ..Usage::default() };
        let (plain, odd) = (origin(), Origin { request_id: "a\"b\\c".into(), ..origin() });
        let lines = [
            bare(&plain, &usage),
            Line { target: Some("no-slash"), cost: Some(Cost::ZERO), ..bare(&plain, &usage) },
            Line { status: Some(503), cost: Cost::from_usd(1e9), ..bare(&odd, &usage) },
            Line { cost: Cost::from_usd(1e-12), first_token: Some(Duration::ZERO), ..bare(&odd, &usage) },
        ];
        for line in lines {
            for message in [Message::Attempt, Message::Request] {
                let by_hand = String::from_utf8(line.to_json(message, Duration::ZERO)).unwrap();
                let traced = traced(&line, message);
                let rest = |line: &str| line.split_once("\",\"level\"").unwrap().1.to_owned();
                assert_eq!(rest(&by_hand), rest(&traced));
                assert_eq!(by_hand.find("\",\"level\""), traced.find("\",\"level\""), "{traced}");
            }
        }
    }

    #[test]
    fn stamps_follow_the_clock() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (1_000_000, "1970-01-01T00:00:01.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
        ] {
            assert_eq!(std::str::from_utf8(&stamp(Duration::from_micros(micros))).unwrap(), expected);
        }
    }
}
