//! One recorded exchange, in the shape that every file of a corpus has.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

/// A request and what the provider said to it.
#[derive(Debug, Deserialize)]
pub struct Exchange {
    /// The file, relative to the corpus.
    #[serde(skip)]
    pub file: String,
    /// The folder: whose API it was.
    #[serde(skip)]
    pub provider: String,
    pub source: String,
    pub licence: String,
    pub api: String,
    pub model: Option<String>,
    #[serde(default)]
    pub features: Vec<String>,
    pub request: Option<Asked>,
    pub response: Answered,
}

/// What the recorded client sent.
#[derive(Debug, Deserialize)]
pub struct Asked {
    pub path: String,
    #[serde(default)]
    pub query: Value,
    #[serde(default)]
    pub body: Value,
}

/// What the provider answered: exactly one of the three bodies is there.
#[derive(Debug, Deserialize)]
pub struct Answered {
    pub status: u16,
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    pub body: Value,
    #[serde(default)]
    sse: Option<String>,
    #[serde(default)]
    eventstream_base64: Option<String>,
}

/// The answer as it goes over the wire again.
#[derive(Debug, Clone)]
pub struct Replay {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Replay {
    /// A whole answer of status 200.
    pub fn json(body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status: 200, headers, body: body.to_string().into_bytes() }
    }
}

/// Headers that describe the recorder's connection, not the answer.
const OF_THE_CONNECTION: [&str; 5] =
    ["transfer-encoding", "content-length", "content-encoding", "connection", "date"];

impl Exchange {
    /// Every exchange of the directory, by provider and name.
    pub fn all(corpus: &Path) -> Vec<Self> {
        let mut files = Vec::new();
        for folder in entries(corpus).into_iter().filter(|path| path.is_dir()) {
            files.extend(entries(&folder).into_iter().filter(|path| path.extension().is_some_and(is_json)));
        }
        assert!(!files.is_empty(), "no exchanges in {}", corpus.display());
        files.iter().map(|path| Self::read(corpus, path)).collect()
    }

    fn read(corpus: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a readable file");
        let mut exchange: Self =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.strip_prefix(corpus).expect("a file of the corpus");
        exchange.file = file.to_string_lossy().into_owned();
        exchange.provider = exchange.file.split('/').next().unwrap_or_default().to_owned();
        assert!(!exchange.source.is_empty() && !exchange.licence.is_empty(), "{}: no origin", exchange.file);
        exchange
    }

    /// Whether the provider answered with a stream.
    pub fn is_streamed(&self) -> bool {
        self.response.sse.is_some() || self.response.eventstream_base64.is_some() || self.is_array_stream()
    }

    /// Whether a client that wants this answer asks for a stream.
    pub fn asks_for_stream(&self) -> bool {
        let asked = self.request.as_ref();
        let in_path = asked.is_some_and(|asked| asked.path.contains("tream"));
        self.is_streamed() || in_path || asked.is_some_and(|asked| asked.body["stream"] == true)
    }

    /// The model that is asked for; without one, that of the answer.
    pub fn model(&self) -> String {
        let told = || self.payloads().iter().find_map(|payload| payload["model"].as_str().map(str::to_owned));
        self.model
            .clone()
            .or_else(told)
            .filter(|model| !model.is_empty())
            .unwrap_or_else(|| "some-model".into())
    }

    /// The recorded request's body; null without one.
    pub fn asked(&self) -> &Value {
        self.request.as_ref().map_or(&Value::Null, |asked| &asked.body)
    }

    /// The text of a stream of server-sent events. Gemini's other stream, one array in pieces, becomes events too:
    /// Piton always asks for events, and the payloads are the same.
    pub fn sse(&self) -> Option<String> {
        if self.is_array_stream() {
            let payloads = self.response.body.as_array().expect("an array");
            return Some(
                payloads
                    .iter()
                    .fold(String::new(), |text, payload| text + &format!("data: {payload}\r\n\r\n")),
            );
        }
        self.response.sse.clone()
    }

    /// The bytes of a binary event stream.
    pub fn event_stream(&self) -> Option<Vec<u8>> {
        let text = self.response.eventstream_base64.as_ref()?;
        Some(STANDARD.decode(text).expect("base64"))
    }

    /// The payloads of the answer: the one body, or each event's data that is JSON.
    pub fn payloads(&self) -> Vec<Value> {
        match self.sse() {
            Some(sse) => events(&sse).iter().filter_map(|data| serde_json::from_str(data).ok()).collect(),
            None => vec![self.response.body.clone()],
        }
    }

    /// The answer as the provider sent it.
    pub fn replay(&self) -> Replay {
        let sse = self.sse().map(String::into_bytes);
        let (kind, body) = match (sse, self.event_stream(), &self.response.body) {
            (Some(sse), _, _) => ("text/event-stream", sse),
            (None, Some(bytes), _) => ("application/vnd.amazon.eventstream", bytes),
            (None, None, Value::String(text)) => ("text/plain", text.clone().into_bytes()),
            (None, None, Value::Null) => ("application/json", Vec::new()),
            (None, None, json) => ("application/json", json.to_string().into_bytes()),
        };
        let recorded = self.response.headers.as_object().into_iter().flatten();
        let mut headers: Vec<(String, String)> = recorded
            .filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()))
            .filter(|(name, _)| !(self.is_array_stream() && name.as_str() == "content-type"))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), kind.to_owned()));
        }
        Replay { status: self.response.status, headers, body }
    }

    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers.get(name)?.as_str()
    }

    fn is_array_stream(&self) -> bool {
        let is_gemini = self.api == "gemini" && self.response.status == 200;
        is_gemini && self.response.body.as_array().is_some_and(|payloads| !payloads.is_empty())
    }
}

/// The data of each server-sent event, by the rules of the living standard.
pub fn events(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let mut data: Vec<&str> = Vec::new();
    // A last event without its blank line is kept: recorders trim ends.
    for line in text.split('\n').chain([""]) {
        if line.is_empty() {
            if !data.is_empty() {
                events.push(std::mem::take(&mut data).join("\n"));
            }
        } else if let Some(value) = line.strip_prefix("data:") {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    events
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn is_json(extension: &std::ffi::OsStr) -> bool {
    extension == "json"
}
