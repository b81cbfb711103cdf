//! One gateway with as many chains as a test has cases, each chain with upstreams of its own, so that no case
//! meets the circuits of another; and what a client was told, in a form that compares well.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::client::{self, End};
use crate::support::gateway::{Builder, Gateway};
use crate::support::replies;
use crate::support::script::Script;
use crate::support::upstream::{Received, Refusing, Unreachable, Upstream};

/// The formats that an upstream may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// The configuration of one gateway, chain by chain. A chain `x` has the targets `x-0/m`, `x-1/m`, ...
#[derive(Default)]
pub struct Scene {
    config: String,
}

/// What stands behind one target.
pub struct Rung<'a> {
    dialect: Dialect,
    url: String,
    provider: &'a str,
    target: &'a str,
}

/// An answer as a client sees it, be it JSON or a stream.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    headers: Vec<(String, String)>,
    chain: String,
    /// The text of the first choice.
    pub text: String,
    /// The error object: of the body, or of the event that ended the stream.
    pub error: Value,
    /// How a stream ended: with `[DONE]`, on a connection that ended well. A whole JSON answer did too.
    pub ended_well: bool,
    /// The payloads of a stream's events.
    pub events: Vec<String>,
}

impl Dialect {
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Gemini];

    fn kind(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// A good JSON answer.
    pub fn json(self, text: &str) -> Script {
        match self {
            Self::OpenAi => replies::openai_json(text),
            Self::Anthropic => replies::anthropic_json(text),
            Self::Gemini => replies::gemini_json(text),
        }
    }

    /// A good stream.
    pub fn stream(self, pieces: &[&str]) -> replies::EventStream {
        match self {
            Self::OpenAi => replies::openai_stream(pieces),
            Self::Anthropic => replies::anthropic_stream(pieces),
            Self::Gemini => replies::gemini_stream(pieces),
        }
    }

    /// A good answer in the form that was asked for.
    pub fn good(self, request: &Received, text: &str) -> Script {
        if wants_stream(request) { self.stream(&[text]).all() } else { self.json(text) }
    }
}

/// Whether this upstream request asks for a stream, in any dialect.
pub fn wants_stream(request: &Received) -> bool {
    #[derive(serde::Deserialize)]
    struct Asked {
        stream: Option<bool>,
    }
    // Not as a `Value`, which is not built from arrays without end.
    let asked: Asked = serde_json::from_slice(&request.body).expect("an object");
    request.path.contains(":streamGenerateContent") || asked.stream == Some(true)
}

/// An upstream that always answers well, with this text.
pub async fn good(dialect: Dialect, text: &'static str) -> Upstream {
    Upstream::start(move |_, request| dialect.good(request, text)).await
}

/// An OpenAI upstream that always answers well, with `second`: the target to fall back to.
pub async fn second() -> Upstream {
    good(Dialect::OpenAi, "second").await
}

impl Rung<'_> {
    pub fn new(dialect: Dialect, upstream: &Upstream) -> Self {
        Self::at(dialect, upstream.url())
    }

    pub fn refusing(upstream: &Refusing) -> Self {
        Self::at(Dialect::OpenAi, upstream.url())
    }

    pub fn unreachable(upstream: &Unreachable) -> Self {
        Self::at(Dialect::OpenAi, upstream.url())
    }

    fn at(dialect: Dialect, url: String) -> Self {
        Self { dialect, url, provider: "", target: "" }
    }
}

impl<'a> Rung<'a> {
    /// With more lines in its provider's section.
    pub fn provider(self, lines: &'a str) -> Self {
        Self { provider: lines, ..self }
    }

    /// With more members in its target's table: `, retries = 0`.
    pub fn target(self, members: &'a str) -> Self {
        Self { target: members, ..self }
    }
}

impl Scene {
    /// One more chain; `policy` is lines of its section.
    pub fn chain(mut self, name: &str, policy: &str, rungs: &[Rung<'_>]) -> Self {
        let config = &mut self.config;
        for (index, rung) in rungs.iter().enumerate() {
            let Rung { dialect, url, provider, .. } = rung;
            let kind = dialect.kind();
            let _ = writeln!(
                config,
                "[providers.{name}-{index}]\nkind = \"{kind}\"\nbase_url = \"{url}\"\n{provider}"
            );
        }
        let _ = writeln!(config, "[chains.{name}]\n{policy}\ntargets = [");
        for (index, rung) in rungs.iter().enumerate() {
            let _ = writeln!(config, "  {{ model = \"{name}-{index}/m\"{} }},", rung.target);
        }
        config.push_str("]\n");
        self
    }

    /// With any other section.
    pub fn also(mut self, section: &str) -> Self {
        self.config.push_str(section);
        self.config.push('\n');
        self
    }

    pub fn prepared(&self) -> Builder {
        Gateway::with(&self.config)
    }

    pub async fn start(&self) -> Gateway {
        self.prepared().start().await
    }
}

/// The gateway of a single chain, `chat`.
pub async fn chat(policy: &str, rungs: &[Rung<'_>]) -> Gateway {
    Scene::default().chain("chat", policy, rungs).start().await
}

/// A request with one short message.
pub fn question(chain: &str, streamed: bool) -> Value {
    let mut body = json!({ "model": chain, "messages": [{ "role": "user", "content": "Hello" }] });
    if streamed {
        body["stream"] = json!(true);
    }
    body
}

/// Asks the chain and reads the whole answer.
pub async fn ask(gateway: &Gateway, chain: &str, streamed: bool) -> Told {
    ask_with(gateway, &[], &question(chain, streamed)).await
}

/// The same with headers and a body of one's own.
pub async fn ask_with(gateway: &Gateway, headers: &[(&str, &str)], body: &Value) -> Told {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let bytes = body.to_string();
    let path = "/v1/chat/completions";
    let mut answer = client::open(gateway.address(), "POST", path, &headers, bytes.as_bytes()).await;
    let mut told = Told {
        status: answer.status,
        headers: answer.headers.clone(),
        chain: body["model"].as_str().unwrap_or_default().to_owned(),
        text: String::new(),
        error: Value::Null,
        ended_well: true,
        events: Vec::new(),
    };
    if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        let events = answer.events().await;
        told.events = events.into_iter().map(|event| event.data).collect();
        told.ended_well = told.read_stream() && answer.end() == Some(End::Clean);
    } else {
        let body = answer.whole().await.json();
        body["choices"][0]["message"]["content"].as_str().unwrap_or_default().clone_into(&mut told.text);
        told.error = body["error"].clone();
    }
    told
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `x-piton-trail` without times, targets by their number: `0=rate_limited 1=ok`.
    pub fn trail(&self) -> String {
        let trail = self.header("x-piton-trail").unwrap_or_default();
        let lines = trail.split(", ").filter(|line| !line.is_empty()).map(|line| {
            let line = line.split(';').next().unwrap_or(line);
            line.replace(&format!("{}-", self.chain), "").replace("/m=", "=")
        });
        lines.collect::<Vec<_>>().join(" ")
    }

    /// All that an answer says of who served and why, in one comparable line:
    /// `200 second | 0=rate_limited 1=ok | by 1 after 2 because rate_limited`.
    pub fn summary(&self) -> String {
        let header = |name: &str| self.header(name).unwrap_or("-").to_owned();
        let (index, target) = (header("x-piton-target-index"), header("x-piton-target"));
        let named = if target == format!("{}-{index}/m", self.chain) || target == "-" {
            String::new()
        } else {
            format!(" ({target})")
        };
        let said = match &self.error["code"] {
            Value::String(code) => code.clone(),
            other if self.error.is_object() => other.to_string(),
            _ => self.text.clone(),
        };
        let end = if self.ended_well { "" } else { " BROKEN" };
        format!(
            "{} {said}{end} | {} | by {index}{named} after {} because {}",
            self.status,
            self.trail(),
            header("x-piton-attempts"),
            header("x-piton-fallback-reason"),
        )
    }

    /// Reads text and error out of the events; whether it ended with `[DONE]` and held to the format.
    fn read_stream(&mut self) -> bool {
        let mut is_done = false;
        let mut roles = 0;
        for data in &self.events {
            assert!(!is_done, "something follows [DONE]: {data}");
            if data == "[DONE]" {
                is_done = true;
                continue;
            }
            let event: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
            if event["error"].is_object() {
                self.error = event["error"].clone();
            }
            let delta = &event["choices"][0]["delta"];
            roles += usize::from(delta["role"].is_string());
            self.text.push_str(delta["content"].as_str().unwrap_or_default());
        }
        assert!(roles <= 1, "the role came {roles} times: {:?}", self.events);
        is_done
    }
}
