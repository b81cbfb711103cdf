//! Recorded traffic of real providers, replayed through the front door.
//!
//! For every exchange of a corpus the client asks, in OpenAI's format, what the recorded client asked natively; the
//! upstream answers with the recorded bytes. What the client is told is held against an [`oracle`]'s reading of the
//! recording, and what reached the upstream against the recorded request, in a normal form.
//!
//! `PITON_CORPUS=dir cargo test corpus` runs any directory of the shape that `tests/corpus/README.md` describes; without
//! the variable it is that one. The tables go to `target/corpus-report.md`.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use serde_json::{Value, json};

use self::answer::{Answer, Expected, Told};
use self::dialect::{Dialect, NotApplicable};
use self::exchange::{Exchange, Replay};
use self::providers::Providers;
use self::replay::Replaying;
use self::report::{Outcome, Report, Verdict};
use crate::support::client::Response;
use crate::support::gateway::Gateway;

mod answer;
mod compare;
mod dialect;
mod exchange;
mod inverse;
mod normal;
mod oracle;
mod providers;
mod replay;
mod report;
#[cfg(test)]
mod selftest;
mod told;

/// How many exchanges are under way at once.
const AT_ONCE: usize = 8;
/// How many failures a failed test shows.
const SHOWN: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let directory = std::env::var_os("PITON_CORPUS").map_or_else(|| own.clone(), PathBuf::from);
    let exchanges = Exchange::all(&directory);
    let upstream = Replaying::start().await;
    let providers = Providers::of(&exchanges, &upstream.url());
    let gateway = providers.gateway().await;
    let stage = Stage { gateway: &gateway, upstream: &upstream, providers: &providers };
    let verdicts = futures_util::stream::iter(exchanges.iter().enumerate())
        .map(|(number, exchange)| stage.play(number, exchange))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let report = Report::new(verdicts, &own.join("EXPECTED.toml"));
    std::fs::write(target().join("corpus-report.md"), report.whole()).expect("a written report");
    eprintln!("{}", report.tables());
    let unexplained = report.unexplained();
    let shown = unexplained.iter().take(SHOWN).fold(String::new(), |text, failure| text + "\n- " + failure);
    assert!(unexplained.is_empty(), "{} unexplained failures:{shown}", unexplained.len());
}

/// What an exchange is played on.
struct Stage<'a> {
    gateway: &'a Gateway,
    upstream: &'a Replaying,
    providers: &'a Providers,
}

/// What came of asking once.
struct Asked {
    response: Response,
    /// The path and the body that reached the upstream, if anything did.
    sent: Option<(String, Value)>,
}

impl Stage<'_> {
    async fn play(&self, number: usize, exchange: &Exchange) -> Verdict {
        let Some(dialect) = dialect::of(exchange) else {
            let reason = Outcome::NotApplicable(format!("api: {}", exchange.api));
            return Verdict::of(exchange, reason.clone(), reason);
        };
        if self.providers.name(exchange).is_none() {
            let missing = Outcome::Failed(vec!["kind not built".to_owned()]);
            return Verdict::of(exchange, missing.clone(), missing);
        }
        let expected = dialect.answer(exchange);
        let asked = match &exchange.request {
            Some(asked) if asked.body.is_null() => {
                NotApplicable::because("the request's body is not recorded")
            }
            Some(_) => dialect.ask(exchange, &self.said(number, dialect, exchange).await),
            None => NotApplicable::because("no request is recorded"),
        };
        let (request, told) = match asked {
            Ok(body) => {
                let asked = self.ask(&replay::trace(number, 0), exchange, body).await;
                let request = judge_request(dialect, exchange, &asked);
                match asked.sent {
                    Some(_) => (request, asked),
                    // It was stopped on its way: the answer can still be read, with a plain question.
                    None => (request, self.ask_plainly(number, exchange, &expected).await),
                }
            }
            Err(NotApplicable(reason)) => {
                (Outcome::NotApplicable(reason), self.ask_plainly(number, exchange, &expected).await)
            }
        };
        let response = judge_response(&expected, &told);
        Verdict::of(exchange, request, response)
    }

    /// What a client was told for the turns of the history that only the gateway can carry.
    async fn said(&self, number: usize, dialect: &dyn Dialect, exchange: &Exchange) -> Vec<Value> {
        let mut said = Vec::new();
        for (nth, turn) in dialect.turns(exchange).iter().enumerate() {
            let trace = replay::trace(number, 3 + nth);
            let body = json!({ "messages": [{ "role": "user", "content": "Go on." }] });
            let asked = self.send(&trace, exchange, body, Replay::json(turn)).await;
            let answer = serde_json::from_slice::<Value>(&asked.response.body).unwrap_or_default();
            let mut message = answer["choices"][0]["message"].clone();
            if let Some(members) = message.as_object_mut() {
                // What answers have and histories do not.
                members.retain(|name, value| name != "annotations" && !value.is_null());
            }
            said.push(message);
        }
        said
    }

    async fn ask_plainly(&self, number: usize, exchange: &Exchange, expected: &Expected) -> Asked {
        let mut question = neutral(exchange, expected);
        let asked = self.ask(&replay::trace(number, 1), exchange, question.clone()).await;
        if asked.sent.is_some() || question["tools"].is_null() {
            return asked;
        }
        // What the catalog knows of an old model's tools is no matter of the answer.
        question.as_object_mut().expect("an object").remove("tools");
        self.ask(&replay::trace(number, 2), exchange, question).await
    }

    async fn ask(&self, trace: &str, exchange: &Exchange, mut body: Value) -> Asked {
        if exchange.asks_for_stream() {
            body["stream"] = true.into();
            body["stream_options"] = json!({ "include_usage": true });
        }
        self.send(trace, exchange, body, exchange.replay()).await
    }

    async fn send(&self, trace: &str, exchange: &Exchange, mut body: Value, replay: Replay) -> Asked {
        body["model"] =
            format!("{}/{}", self.providers.name(exchange).unwrap_or_default(), exchange.model()).into();
        self.upstream.expect(trace, replay);
        let parent = replay::traceparent(trace);
        let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
        let body = body.to_string();
        let response = self.gateway.request("POST", dialect::path(exchange), &headers, body.as_bytes()).await;
        let sent = self.upstream.received(trace).map(|received| (received.path.clone(), received.json()));
        Asked { response, sent }
    }
}

fn judge_request(dialect: &dyn Dialect, exchange: &Exchange, asked: &Asked) -> Outcome {
    let Some((path, sent)) = &asked.sent else {
        let recorded = exchange.response.status;
        if asked.response.status == recorded && recorded >= 400 {
            return Outcome::NotApplicable("refused at the door as its provider refused it".to_owned());
        }
        let told = asked.response.text().chars().take(300).collect::<String>();
        return Outcome::Failed(vec![format!("never sent: {} {told}", asked.response.status)]);
    };
    let recorded = exchange.request.as_ref().expect("a request");
    let meant = dialect.meaning(&recorded.path, &recorded.body, exchange);
    Outcome::of(compare::values(&meant, &dialect.meaning(path, sent, exchange)))
}

fn judge_response(expected: &Expected, asked: &Asked) -> Outcome {
    if let Expected::NotApplicable(reason) = expected {
        return Outcome::NotApplicable(reason.clone());
    }
    if asked.sent.is_none() {
        let told = asked.response.text().chars().take(300).collect::<String>();
        return Outcome::Failed(vec![format!("never asked for: {} {told}", asked.response.status)]);
    }
    match (expected, told::read(&asked.response)) {
        (_, Told::Nonsense(what)) => Outcome::Failed(vec![what]),
        (Expected::Answer(expected), Told::Answer(told)) => Outcome::of(compare::answers(expected, &told)),
        (Expected::Failure(expected), Told::Failure(told)) => Outcome::of(compare::faults(expected, &told)),
        // A stop before the first word may be told as an answer that says nothing or as an error.
        (Expected::Answer(expected), Told::Failure(told))
            if is_blocked(expected) && told.class.as_deref() == Some("content_filter") =>
        {
            Outcome::Passed
        }
        (Expected::Answer(_), Told::Failure(told)) => {
            Outcome::Failed(vec![format!("an answer became {told:?}")])
        }
        (Expected::Failure(expected), Told::Answer(told)) => {
            let told: String = format!("{told:?}").chars().take(200).collect();
            Outcome::Failed(vec![format!("{expected:?} became {told}")])
        }
        (Expected::NotApplicable(reason), _) => Outcome::NotApplicable(reason.clone()),
    }
}

/// Whether the answer was stopped before its first word.
fn is_blocked(answer: &Answer) -> bool {
    answer.choices.iter().all(|choice| {
        choice.text.is_empty()
            && choice.calls.is_empty()
            && choice.finish.as_deref() == Some("content_filter")
    })
}

/// A plain question that the answer could be the answer to.
fn neutral(exchange: &Exchange, expected: &Expected) -> Value {
    if exchange.api == "embeddings" {
        let count = if let Expected::Answer(answer) = expected { answer.vectors.len() } else { 1 };
        return json!({ "input": vec!["Go on."; count] });
    }
    let mut body = json!({ "messages": [{ "role": "user", "content": "Go on." }] });
    let Expected::Answer(answer) = expected else { return body };
    let calls = answer.choices.iter().flat_map(|choice| &choice.calls);
    let mut names: Vec<&str> = calls.map(|call| call.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        let tool = |name: &&str| json!({ "type": "function", "function": { "name": name } });
        body["tools"] = names.iter().map(tool).collect();
    }
    if answer.choices.len() > 1 {
        body["n"] = answer.choices.len().into();
    }
    body
}

/// Cargo's output directory: where the gateway's binary lies, two levels up.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_piton"));
    binary.ancestors().nth(2).expect("a target directory").to_owned()
}
