//! What every dialect is held to. Its fixtures are data; this file is the only test code that they need.
//!
//! ```text
//! providers/<dialect>/fixtures/
//!   SOURCES.md                    where each fixture comes from: recorded (by whom, which licence) or written
//!   requests/<case>.json          an OpenAI request    -> <case>.snap, what is sent upstream, or why nothing is
//!   responses/<case>.json         an upstream answer   -> <case>.snap, OpenAI's answer, or the failure
//!   streams/<case>.txt            a streamed answer    -> <case>.snap, one event per line
//!   errors/<status>-<case>.json   an error answer      -> <status>-<case>.snap, its class and its words
//!   .../<case>.target.json        where a case needs it: { "facts", "context", "headers" }, see [`Target`]
//! ```
//!
//! A stream and a response of one name say the same and must come to the same. `PITON_BLESS=1` rewrites the
//! snapshots.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Progress, Provider, ReplyContext, Unsendable, anthropic};
use crate::chat::event::Chunk;
use crate::chat::target::{Able, Quirks, Thinking, ThinkingControls};
use crate::chat::{Answer, ChatRequest, ChatResponse, Delta, Event, Fold, TargetFacts};
use crate::reason::{Class, Failure};
use crate::units::Tokens;
use crate::wire::sse;

/// The dialect of a folder.
fn dialect(folder: &str) -> Box<dyn Provider> {
    match folder {
        "anthropic" => Box::new(anthropic::Anthropic),
        other => panic!("providers/{other} has fixtures: name its dialect here"),
    }
}

/// A model of which nothing is known but its name.
pub fn facts(model: &str) -> TargetFacts {
    TargetFacts {
        model: model.into(),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks: Quirks::OPENAI,
    }
}

/// One fixture.
struct Case {
    provider: Box<dyn Provider>,
    path: PathBuf,
    target: Target,
}

/// What is known beside a fixture.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Target {
    facts: Facts,
    context: Context,
    headers: BTreeMap<String, String>,
}

/// Facts that depart from [`facts`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Facts {
    model: Option<String>,
    max_output: Option<u64>,
    /// The model takes sampling fields; absent: yes.
    sampling: Option<bool>,
    /// What the model cannot do.
    unable: Vec<String>,
    thinking: Option<Controls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Controls {
    Never,
    Controlled {
        #[serde(default)]
        efforts: Vec<String>,
        budget: Option<(u64, Option<u64>)>,
        #[serde(default)]
        can_be_off: bool,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Context {
    answer_tool: Option<String>,
    renamed_tools: BTreeMap<String, String>,
}

impl Case {
    fn bytes(&self) -> Bytes {
        fs::read(&self.path).unwrap().into()
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }

    fn stem(&self) -> &str {
        self.path.file_stem().unwrap().to_str().unwrap()
    }

    fn facts(&self) -> TargetFacts {
        let given = &self.target.facts;
        let mut able = Able::ALL;
        for what in &given.unable {
            *match what.as_str() {
                "tools" => &mut able.tools,
                "parallel_tools" => &mut able.parallel_tools,
                "vision" => &mut able.vision,
                "audio" => &mut able.audio,
                "documents" => &mut able.documents,
                "json_mode" => &mut able.json_mode,
                "json_schema" => &mut able.json_schema,
                "reasoning" => &mut able.reasoning,
                "logprobs" => &mut able.logprobs,
                "n" => &mut able.n,
                "streaming" => &mut able.streaming,
                "prefill" => &mut able.prefill,
                other => panic!("{}: no such ability: {other}", self.name()),
            } = false;
        }
        let thinking = match &given.thinking {
            None => Thinking::Unknown,
            Some(Controls::Never) => Thinking::Never,
            Some(Controls::Controlled { efforts, budget, can_be_off }) => {
                Thinking::Controlled(ThinkingControls {
                    efforts: efforts.clone(),
                    budget: *budget,
                    can_be_off: *can_be_off,
                })
            }
        };
        TargetFacts {
            max_output: given.max_output.map(Tokens::new),
            able,
            thinking,
            sampling: given.sampling.unwrap_or(true),
            ..facts(given.model.as_deref().unwrap_or("model-1"))
        }
    }

    fn context(&self) -> ReplyContext {
        let Context { answer_tool, renamed_tools } = &self.target.context;
        ReplyContext { choices: 1, answer_tool: answer_tool.clone(), renamed_tools: renamed_tools.clone() }
    }

    /// What is sent for a request, as a snapshot shows it.
    fn encode(&self, body: Bytes) -> Value {
        let request = match ChatRequest::parse(body) {
            Ok(request) => request,
            Err(invalid) => return json!({ "unreadable": invalid.message, "param": invalid.param }),
        };
        let facts = self.facts();
        let lacks = self.provider.lacks(&request, &facts);
        let encoded = match self.provider.encode(&request, &facts) {
            Ok(encoded) => encoded,
            Err(Unsendable::Lacks(what)) => return json!({ "lacks": what, "known_at_once": lacks.is_some() }),
            Err(Unsendable::Invalid(invalid)) => {
                return json!({ "invalid": invalid.message, "param": invalid.param });
            }
        };
        let body: Value = serde_json::from_slice(&encoded.body.concat()).expect("what is sent is JSON");
        let headers = encoded.headers.iter();
        json!({
            "path": encoded.path,
            "headers": headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>(),
            "dropped": encoded.dropped,
            "answer_tool": encoded.context.answer_tool,
            "renamed_tools": encoded.context.renamed_tools,
            "body": body,
        })
    }

    fn decode(&self, body: Bytes) -> Result<Answer, Failure> {
        self.provider.decode(body, &self.facts(), &self.context())
    }

    /// Reads a stream in pieces of at most this many bytes.
    fn stream(&self, body: &Bytes, piece: usize) -> Streamed {
        let mut framing = sse::Decoder::new(sse::DEFAULT_MAX_EVENT);
        let mut decoder = self.provider.decoder(&self.facts(), &self.context());
        let mut read = Streamed { events: Vec::new(), done: false, end: Ok(()) };
        let pieces = (0..body.len()).step_by(piece).map(|at| body.slice(at..body.len().min(at.saturating_add(piece))));
        for bytes in pieces.map(Some).chain([None]) {
            let at_end = bytes.is_none();
            bytes.into_iter().for_each(|bytes| framing.push(bytes));
            while let Some(event) = if at_end { framing.finish() } else { framing.next() }.unwrap() {
                match decoder.decode(&event, &mut read.events) {
                    Ok(Progress::More) => {}
                    Ok(Progress::Done) => {
                        read.done = true;
                        return read;
                    }
                    Err(failure) => {
                        read.end = Err(failure);
                        return read;
                    }
                }
            }
        }
        read.end = decoder.finish(&mut read.events);
        read
    }
}

/// What came of a stream.
struct Streamed {
    events: Vec<Event>,
    done: bool,
    end: Result<(), Failure>,
}

impl Streamed {
    fn snapshot(&self) -> String {
        let mut lines: Vec<String> = self.events.iter().map(|event| event_line(event).to_string()).collect();
        if let Err(failure) = &self.end {
            lines.push(json!({ "failure": failure_json(failure) }).to_string());
        }
        lines.join("\n") + "\n"
    }

    /// The laws that no stream may break, however broken itself.
    fn check(&self, name: &str) {
        let starts = self.events.iter().filter(|event| matches!(event, Event::Start(_))).count();
        assert!(starts <= 1, "{name}: {starts} starts");
        let mut finished = Vec::new();
        let mut told_usage = false;
        let mut calls: BTreeMap<u32, u32> = BTreeMap::new();
        for event in &self.events {
            for (choice, _) in event.finished() {
                assert!(!finished.contains(&choice), "{name}: choice {choice} finishes twice");
                finished.push(choice);
            }
            match event {
                Event::Delta { choice, delta } => {
                    assert!(starts == 1, "{name}: content without a start");
                    assert!(!finished.contains(choice), "{name}: content after the finish of {choice}");
                    check_call(name, calls.entry(*choice).or_default(), delta);
                }
                Event::Usage(_) => {
                    assert!(!std::mem::replace(&mut told_usage, true), "{name}: usage twice");
                }
                Event::Start(_) | Event::Finish { .. } => assert!(!told_usage, "{name}: usage is not last"),
                Event::Chunk(_) | Event::Alive | Event::Unreadable => {}
                Event::Answer(_) => panic!("{name}: a whole answer in a stream"),
            }
        }
        if self.end.is_ok() && !self.done {
            assert!(!finished.is_empty(), "{name}: a good end without a finish");
        }
    }

    fn fold(self) -> ChatResponse {
        let mut fold = Fold::default();
        self.events.into_iter().for_each(|event| fold.push(event));
        fold.finish()
    }
}

/// Calls are counted up from 0, and arguments belong to a call that has begun.
fn check_call(name: &str, calls: &mut u32, delta: &Delta) {
    match delta {
        Delta::ToolCall { index, .. } => {
            assert_eq!(index, calls, "{name}: tool calls are not counted up");
            *calls += 1;
        }
        Delta::ToolArguments { index, .. } => assert!(index < calls, "{name}: arguments without a call"),
        Delta::Text(_)
        | Delta::Reasoning(_)
        | Delta::ReasoningDetail(_)
        | Delta::Refusal(_)
        | Delta::Annotation(_) => {}
    }
}

fn event_line(event: &Event) -> Value {
    match event {
        Event::Start(start) => json!({ "start": { "id": start.id, "model": start.model, "created": start.created } }),
        Event::Delta { choice, delta } => {
            let delta = match delta {
                Delta::Text(text) => json!({ "text": text }),
                Delta::Reasoning(text) => json!({ "reasoning": text }),
                Delta::ReasoningDetail(detail) => json!({ "reasoning_detail": detail }),
                Delta::Refusal(text) => json!({ "refusal": text }),
                Delta::ToolCall { index, id, name, extra } => {
                    json!({ "call": index, "id": id, "name": name, "extra": extra })
                }
                Delta::ToolArguments { index, piece } => json!({ "call": index, "arguments": piece }),
                Delta::Annotation(annotation) => json!({ "annotation": annotation }),
            };
            if *choice == 0 { delta } else { json!({ "choice": choice, "delta": delta }) }
        }
        Event::Finish { choice, reason } => json!({ "finish": reason.code(), "choice": choice }),
        Event::Usage(usage) => json!({ "usage": usage.to_json() }),
        Event::Chunk(Chunk { data, facts }) => {
            json!({ "chunk": String::from_utf8_lossy(data), "facts": format!("{facts:?}") })
        }
        Event::Answer(answer) => answer_json(answer),
        Event::Alive => json!("alive"),
        Event::Unreadable => json!("unreadable"),
    }
}

fn answer_json(answer: &Answer) -> Value {
    match answer {
        Answer::Verbatim { body, facts } => {
            json!({ "verbatim": String::from_utf8_lossy(body), "facts": format!("{facts:?}") })
        }
        Answer::Composed(response) => response.to_json("id-1", 0, "model-1"),
    }
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "class": failure.class.code(),
        "credential": failure.credential,
        "retry_after_ms": failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap()),
        "message": failure.message,
        "type": failure.kind,
        "code": failure.code,
        "param": failure.param,
        "upstream_request_id": failure.upstream_request_id,
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/providers")
}

/// The fixtures of a kind, of all dialects.
fn cases(kind: &str, ending: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in sorted(&root()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for path in sorted(&folder.join("fixtures").join(kind)) {
            let file = path.file_name().unwrap().to_str().unwrap();
            if file.ends_with(ending) && !file.ends_with(".target.json") {
                let target = fs::read(path.with_extension("target.json"));
                let target = target.map(|json| serde_json::from_slice(&json).expect(file)).unwrap_or_default();
                cases.push(Case { provider: dialect(&name), path, target });
            }
        }
    }
    assert!(!cases.is_empty(), "there are no {kind}");
    cases
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Compares with the snapshots, or writes them, and finds those that belong to nothing.
fn snapshots(cases: &[Case], render: impl Fn(&Case) -> String) {
    let bless = std::env::var_os("PITON_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases {
        let path = case.path.with_extension("snap");
        let found = render(case);
        if bless {
            fs::write(&path, found).unwrap();
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&found) {
            wrong.push(format!("--- {}, found:\n{found}", case.name()));
        }
    }
    let folders: Vec<&Path> = cases.iter().filter_map(|case| case.path.parent()).collect();
    for path in folders.into_iter().flat_map(sorted) {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let belongs = cases.iter().any(|case| case.path.with_extension(ending) == path);
        if !belongs && !path.to_str().unwrap().ends_with(".target.json") {
            wrong.push(format!("--- {} belongs to no fixture", path.display()));
        }
    }
    assert!(wrong.is_empty(), "PITON_BLESS=1 rewrites the snapshots.\n{}", wrong.join("\n"));
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The same bytes with a few of them changed, cut out or doubled.
fn mutated(bytes: &Bytes, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..=bytes.len());
        let to = bytes.len().min(at + random.usize(0..40));
        match random.u8(0..4) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 => drop(bytes.drain(at..to)),
            2 => {
                let copy = bytes[at..to].to_vec();
                let into = random.usize(0..=bytes.len());
                drop(bytes.splice(into..into, copy));
            }
            _ => bytes.insert(at, *random.choice(br#"{}[]",:0-\n"#).unwrap()),
        }
    }
    bytes.into()
}

#[test]
fn requests_are_written_as_recorded() {
    snapshots(&cases("requests", ".json"), |case| pretty(&case.encode(case.bytes())));
}

#[test]
fn answers_are_read_as_recorded() {
    snapshots(&cases("responses", ".json"), |case| match case.decode(case.bytes()) {
        Ok(answer) => pretty(&answer_json(&answer)),
        Err(failure) => pretty(&failure_json(&failure)),
    });
}

#[test]
fn streams_are_read_as_recorded() {
    snapshots(&cases("streams", ".txt"), |case| case.stream(&case.bytes(), usize::MAX).snapshot());
}

#[test]
fn errors_are_classified_as_recorded() {
    snapshots(&cases("errors", ".json"), |case| pretty(&failure_json(&classify(case, &case.bytes()))));
}

fn classify(case: &Case, body: &[u8]) -> Failure {
    let status = case.stem().split('-').next().unwrap();
    let mut head = http::Response::builder().status(status);
    for (name, value) in &case.target.headers {
        head = head.header(name, value);
    }
    let (head, ()) = head.body(()).unwrap().into_parts();
    let failure = case.provider.classify(&head, body, SystemTime::UNIX_EPOCH);
    assert_eq!(failure.status.map(|status| status.to_string()).as_deref(), Some(status), "{}", case.name());
    failure
}

#[test]
fn a_stream_reads_the_same_however_it_is_split() {
    for case in cases("streams", ".txt") {
        let body = case.bytes();
        let whole = case.stream(&body, usize::MAX);
        whole.check(&case.name());
        for piece in [1, 7] {
            assert_eq!(case.stream(&body, piece).snapshot(), whole.snapshot(), "{}: by {piece}", case.name());
        }
    }
}

#[test]
fn a_stream_and_an_answer_of_one_name_say_the_same() {
    let streams = cases("streams", ".txt");
    let mut pairs = 0;
    for answer in cases("responses", ".json") {
        let folder = answer.path.ancestors().nth(2).unwrap();
        let path = folder.join("streams").join(answer.stem()).with_extension("txt");
        let Some(stream) = streams.iter().find(|stream| stream.path == path) else { continue };
        let Ok(Answer::Composed(whole)) = answer.decode(answer.bytes()) else { continue };
        assert_eq!(stream.stream(&stream.bytes(), usize::MAX).fold(), whole, "{}", stream.name());
        pairs += 1;
    }
    assert!(pairs > 0, "no stream has its answer");
}

#[test]
fn an_answer_is_the_same_after_a_way_as_a_stream() {
    for case in cases("responses", ".json") {
        if let Ok(Answer::Composed(response)) = case.decode(case.bytes()) {
            let mut fold = Fold::default();
            response.clone().explode().into_iter().for_each(|event| fold.push(event));
            assert_eq!(fold.finish(), response, "{}", case.name());
        }
    }
}

/// Long streams are not cut at every single byte: the time grows with the square of the length.
const CUT_EVERY_BYTE_UP_TO: usize = 6000;

#[test]
fn a_cut_stream_never_ends_well_without_a_finish() {
    for case in cases("streams", ".txt") {
        let body = case.bytes();
        let step = body.len().div_ceil(CUT_EVERY_BYTE_UP_TO).pow(2);
        for end in (0..body.len()).step_by(step) {
            let name = format!("{} cut at {end}", case.name());
            case.stream(&body.slice(..end), usize::MAX).check(&name);
        }
    }
}

#[test]
fn a_cut_answer_is_no_answer() {
    for case in cases("responses", ".json") {
        let body = case.bytes();
        let full = body.trim_ascii_end().len();
        for end in (0..full).step_by(full.div_ceil(CUT_EVERY_BYTE_UP_TO)) {
            let class = case.decode(body.slice(..end)).map_err(|failure| failure.class);
            assert!(
                matches!(class, Err(Class::Truncated | Class::Malformed)),
                "{} cut at {end}: {class:?}",
                case.name()
            );
        }
    }
}

#[test]
fn broken_bytes_never_panic_and_never_break_the_laws() {
    for seed in 0..300 {
        for case in cases("streams", ".txt") {
            let body = case.bytes();
            if body.len() <= CUT_EVERY_BYTE_UP_TO {
                let name = format!("{} with seed {seed}", case.name());
                case.stream(&mutated(&body, seed), usize::MAX).check(&name);
            }
        }
        for case in cases("responses", ".json") {
            let _ = case.decode(mutated(&case.bytes(), seed));
        }
        for case in cases("errors", ".json") {
            classify(&case, &mutated(&case.bytes(), seed));
        }
        for case in cases("requests", ".json") {
            case.encode(mutated(&case.bytes(), seed));
        }
    }
}

#[test]
fn every_fixture_says_where_it_comes_from() {
    for (kind, ending) in
        [("requests", ".json"), ("responses", ".json"), ("streams", ".txt"), ("errors", ".json")]
    {
        for case in cases(kind, ending) {
            let sources = case.path.ancestors().nth(2).unwrap().join("SOURCES.md");
            let sources = fs::read_to_string(&sources).expect("fixtures have a SOURCES.md");
            let name = format!("{kind}/{}", case.path.file_name().unwrap().to_str().unwrap());
            assert!(sources.contains(&name), "{}: SOURCES.md does not name {name}", case.name());
        }
    }
}
