//! What every dialect is held to. Its fixtures are data; this file is the only test code that they need.
//!
//! ```text
//! providers/<dialect>/fixtures/
//!   SOURCES.md                    where each fixture comes from: recorded (by whom, which licence) or written
//!   requests/<case>.json          an OpenAI request    -> <case>.snap, what is sent upstream, or why nothing is
//!   responses/<case>.json         an upstream answer   -> <case>.snap, OpenAI's answer, or the failure
//!   streams/<case>.txt, .bin      a streamed answer    -> <case>.snap, one event per line
//!   errors/<status>-<case>.json   an error answer      -> <status>-<case>.snap, its class and its words
//!   .../<case>.target.json        where a case needs it: { "api", "facts", "context", "headers" }, see [`case::Target`]
//! ```
//!
//! A stream and a response of one name that begins with `pair-` must come to the same. `PITON_BLESS=1` rewrites
//! the snapshots.

use std::fs;
use std::time::SystemTime;

use bytes::Bytes;

use self::case::{Case, cases};
use self::snapshot::{failure_json, pretty, snapshots};
use super::laws::check;
use crate::chat::{Answer, Fold};
use crate::mock;
use crate::reason::{Class, Failure};

pub use self::case::facts;
pub use self::snapshot::answer_json;

mod case;
mod matrix;
mod snapshot;

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

/// The mock shares no code with the dialects: it refuses what the real provider refuses.
#[test]
fn what_is_sent_is_what_the_provider_takes() {
    let mut refused = Vec::new();
    for case in cases("requests", ".json") {
        let sent = case.encode(case.bytes());
        let Some(path) = sent["path"].as_str() else { continue };
        if let Err(refusal) = mock::verdict(&format!("{}{path}", case.door()), &sent["body"]) {
            refused.push(format!("{}: {refusal:?}", case.name()));
        }
    }
    assert!(refused.is_empty(), "{} requests:\n{}", refused.len(), refused.join("\n"));
}

/// Models of which the dialects know enough by name alone.
const ELSEWHERE: [(&str, &str); 6] = [
    ("anthropic", "claude-sonnet-4-5"),
    ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("bedrock", "amazon.nova-lite-v1:0"),
    ("cohere", "command-a-03-2025"),
    ("gemini", "gemini-2.5-flash"),
    ("gemini", "gemini-3-pro-preview"),
];

/// What a name alone does not tell of its model, with the mock's rule that it breaks.
const UNKNOWN_BY_NAME: [(&str, &str); 3] = [
    ("claude-sonnet-4-5", "model_limit"),
    ("gemini-2.5-flash", "json_with_tools"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "media_of_model"),
];

/// Requests that their client got wrong for every provider, so that some answer 400.
const WRONG_ELSEWHERE: [(&str, &str); 5] = [
    ("tool-arguments-broken", "command-a-03-2025"),
    ("tool-arguments-broken", "gemini-2.5-flash"),
    ("tool-arguments-broken", "gemini-3-pro-preview"),
    ("tool-named-unknown", "gemini-2.5-flash"),
    ("tool-named-unknown", "gemini-3-pro-preview"),
];

/// A request that was written for one provider may be sent to any other.
#[test]
fn what_is_sent_elsewhere_is_what_that_provider_takes() {
    let mut refused = Vec::new();
    for case in cases("requests", ".json") {
        for (folder, model) in ELSEWHERE {
            let other = case.sent_elsewhere(folder, model);
            let sent = other.encode(case.bytes());
            let Some(path) = sent["path"].as_str() else { continue };
            let Err(refusal) = mock::verdict(&format!("{}{path}", other.door()), &sent["body"]) else {
                continue;
            };
            if !UNKNOWN_BY_NAME.contains(&(model, refusal.rule))
                && !WRONG_ELSEWHERE.contains(&(case.stem(), model))
            {
                refused.push(format!("{} as {model}: {refusal:?}", case.name()));
            }
        }
    }
    assert!(refused.is_empty(), "{} requests:\n{}", refused.len(), refused.join("\n"));
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
        check(&whole, &case.name());
        for piece in [1, 7] {
            assert_eq!(case.stream(&body, piece).snapshot(), whole.snapshot(), "{}: by {piece}", case.name());
        }
    }
}

#[test]
fn a_stream_and_its_answer_say_the_same() {
    let answers = cases("responses", ".json");
    for stream in cases("streams", ".txt").into_iter().filter(|case| case.stem().starts_with("pair-")) {
        let folder = stream.path.ancestors().nth(2).unwrap();
        let path = folder.join("responses").join(stream.stem()).with_extension("json");
        let answer =
            answers.iter().find(|answer| answer.path == path).expect("a stream of a pair has its answer");
        let Ok(Answer::Composed(whole)) = answer.decode(answer.bytes()) else {
            panic!("{}: not a translated answer", answer.name());
        };
        assert_eq!(stream.stream(&stream.bytes(), usize::MAX).fold(), whole, "{}", stream.name());
    }
}

#[test]
fn an_answer_is_the_same_after_a_way_as_a_stream() {
    for case in cases("responses", ".json") {
        if let Ok(Answer::Composed(response)) = case.decode(case.bytes()) {
            assert_eq!(Fold::of(response.clone().explode()), response, "{}", case.name());
        }
    }
}

/// So many bytes are read of all cuts of one fixture, or a little more: the time grows with the square of its length.
const CUT_BYTES: usize = 1_000_000;

/// Where to cut: at every byte of what is short, else at every few bytes.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    // An odd step does not keep to the rhythm of the text.
    (0..length).step_by(length.pow(2).div_ceil(2 * CUT_BYTES) | 1)
}

/// How often a fixture is broken: the longer it is, the seldomer.
fn seeds(length: usize) -> std::ops::Range<u64> {
    const BYTES: usize = 200_000;
    0..u64::try_from((BYTES / length.max(1)).clamp(20, 200)).unwrap()
}

#[test]
fn a_cut_stream_never_ends_well_without_a_finish() {
    for case in cases("streams", ".txt") {
        let body = case.bytes();
        let lines = (0..body.len()).filter(|at| *at > 0 && body[at - 1] == b'\n');
        for end in cuts(body.len()).chain(lines) {
            let name = format!("{} cut at {end}", case.name());
            check(&case.stream(&body.slice(..end), usize::MAX), &name);
        }
    }
}

#[test]
fn a_cut_answer_is_no_answer() {
    for case in cases("responses", ".json") {
        let body = case.bytes();
        let full = body.trim_ascii_end().len();
        for end in cuts(full) {
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
    for case in cases("streams", ".txt") {
        let body = case.bytes();
        for seed in seeds(body.len()) {
            let name = format!("{} with seed {seed}", case.name());
            check(&case.stream(&mutated(&body, seed), usize::MAX), &name);
        }
    }
    for case in cases("responses", ".json") {
        let body = case.bytes();
        seeds(body.len()).for_each(|seed| drop(case.decode(mutated(&body, seed))));
    }
    for case in cases("errors", ".json") {
        let body = case.bytes();
        seeds(body.len()).for_each(|seed| drop(classify(&case, &mutated(&body, seed))));
    }
    for case in cases("requests", ".json") {
        let body = case.bytes();
        seeds(body.len()).for_each(|seed| drop(case.encode(mutated(&body, seed))));
    }
}

/// A checksum keeps broken bytes from a reader: it must be shown events that are broken inside a good framing.
#[test]
fn broken_events_never_panic_and_never_break_the_laws() {
    for case in cases("streams", ".bin") {
        let frames = case.frames(&case.bytes());
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut frames = frames.clone();
            let at = random.usize(..frames.len());
            match random.u8(..4) {
                0 => drop(frames.remove(at)),
                1 => frames.insert(at, frames[random.usize(..frames.len())].clone()),
                _ => frames[at].data = mutated(&frames[at].data, seed),
            }
            check(&case.read(&frames), &format!("{} with seed {seed}", case.name()));
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
