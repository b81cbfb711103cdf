//! A conversation goes on wherever its chain leads: what one provider said, thought and called is history to the next,
//! and what only its author understands comes home unharmed. Simulated providers judge every request by the rules of
//! the real ones; the client sends back each answer exactly as it came.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::support::chain::PATH;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::piton;

/// One provider, and the model of it that thinks and calls tools.
struct Voice {
    name: &'static str,
    kind: &'static str,
    /// The API's path at the simulated provider.
    path: &'static str,
    model: &'static str,
    /// Further lines of its block.
    more: &'static str,
}

const ANTHROPIC: usize = 0;
const GEMINI: usize = 1;
const OPENAI: usize = 2;
const BEDROCK: usize = 3;
const MISTRAL: usize = 4;
const COHERE: usize = 5;

const VOICES: [Voice; 10] = [
    voice("anthropic", "anthropic", "/v1", "claude-sonnet-4-5"),
    voice("gemini", "gemini", "/v1beta", "gemini-3-pro-preview"),
    voice("openai", "openai", "/v1", "gpt-5"),
    Voice {
        more: "region = \"us-east-1\"\n",
        ..voice("bedrock", "bedrock", "", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    },
    voice("mistral", "mistral", "/mistral/v1", "magistral-medium-latest"),
    voice("cohere", "cohere", "/v2", "command-a-reasoning-08-2025"),
    voice("older-gemini", "gemini", "/v1beta", "gemini-2.5-flash"),
    voice("deepseek", "deepseek", "/deepseek/v1", "deepseek-reasoner"),
    voice("openrouter", "openrouter", "/openrouter/api/v1", "anthropic/claude-sonnet-4.5"),
    voice("groq", "groq", "/groq/openai/v1", "openai/gpt-oss-120b"),
];

const fn voice(name: &'static str, kind: &'static str, path: &'static str, model: &'static str) -> Voice {
    Voice { name, kind, path, model, more: "" }
}

/// `piton mock`, ended when dropped.
struct Simulation {
    child: Child,
    address: SocketAddr,
}

impl Simulation {
    fn start() -> Self {
        let mut child = Command::new(piton())
            .args(["mock", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a simulation");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its address");
        let address = line.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) }
    }

    /// The body of the last request for a model, as text.
    async fn received(&self, model: &str) -> String {
        let path = format!("/mock/requests?model={model}");
        client::request(self.address, "GET", &path, &[], &[]).await.json()["last"]["body"].to_string()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // It may have ended already; either way it is reaped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ten providers, each a process of its own, and a gateway in front with two chains for each of them: `only-J` is the
/// provider J, `to-J` has all before it first, which fail.
struct Stage {
    simulations: Vec<Simulation>,
    gateway: Gateway,
    stream: bool,
    falls: bool,
}

impl Stage {
    async fn set(stream: bool, falls: bool) -> Self {
        let simulations: Vec<_> = VOICES.iter().map(|_| Simulation::start()).collect();
        let mut config = "[defaults]\nretries = 0\nbreaker = false\nmax_attempts = 20\n".to_owned();
        for (voice, simulation) in VOICES.iter().zip(&simulations) {
            let Voice { name, kind, path, more, .. } = voice;
            let address = simulation.address;
            writeln!(
                config,
                "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"http://{address}{path}\"\napi_key = \"env:KEY\"\n{more}"
            )
            .unwrap();
        }
        config.push_str("[chains]\n");
        for (at, serves) in VOICES.iter().enumerate() {
            let fail = VOICES[..at]
                .iter()
                .map(|voice| format!("\"{}/{}-mock-overloaded\", ", voice.name, voice.model));
            let fail: String = fail.collect();
            let target = format!("\"{}/{}\"", serves.name, serves.model);
            writeln!(
                config,
                "only-{at} = [{target}]
to-{at} = [{fail}{target}]"
            )
            .unwrap();
        }
        let gateway = Gateway::with(&config).env("KEY", "simulated").start().await;
        Self { simulations, gateway, stream, falls }
    }

    /// One turn, answered by this provider after all before it have failed; the answer joins the conversation.
    async fn turn(&self, at: usize, messages: &mut Vec<Value>) {
        let parameters =
            json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
        let tool = json!({ "name": "get_weather", "description": "The weather in a city", "parameters": parameters });
        let body = json!({
            "model": format!("{}-{at}", if self.falls { "to" } else { "only" }), "messages": messages, "stream": self.stream,
            "tools": [{ "type": "function", "function": tool }],
            "reasoning_effort": "low", "max_completion_tokens": 8192,
        });
        let answer = self.gateway.post_json(PATH, &body).await;
        let voice = &VOICES[at];
        assert_eq!(answer.status, 200, "{} refused: {}\n{messages:#?}", voice.name, answer.text());
        let target = format!("{}/{}", voice.name, voice.model);
        assert_eq!(answer.header("x-piton-target"), Some(target.as_str()));
        let failed = if self.falls { at } else { 0 };
        assert_eq!(answer.header("x-piton-attempts"), Some((failed + 1).to_string().as_str()));
        assert_eq!(answer.header("x-piton-fallback-reason"), (failed > 0).then_some("overloaded"));
        let message = if self.stream {
            gathered(&answer.text())
        } else {
            answer.json()["choices"][0]["message"].take()
        };
        messages.push(message);
    }

    /// Asks for the weather in two places; this provider calls the tools, and their results are there.
    async fn calls(&self, at: usize, messages: &mut Vec<Value>) {
        messages.push(json!({ "role": "user", "content": "What is the weather in Tokyo and Paris?" }));
        self.turn(at, messages).await;
        let message = messages.last().expect("an answer").clone();
        let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("no calls: {message}"));
        assert_eq!(calls.len(), 2, "{message}");
        for (call, city) in calls.iter().zip(["Tokyo", "Paris"]) {
            assert_eq!(call["function"]["arguments"], json!({ "city": city }).to_string());
            let result =
                json!({ "role": "tool", "tool_call_id": call["id"], "content": format!("mild in {city}") });
            messages.push(result);
        }
    }

    /// This provider makes an answer of the results.
    async fn answers(&self, at: usize, messages: &mut Vec<Value>) {
        self.turn(at, messages).await;
        let message = messages.last().expect("an answer");
        let text = message["content"].as_str().unwrap_or_default();
        assert!(
            text.contains("mild in Tokyo") && text.contains("mild in Paris"),
            "{}: {message}",
            VOICES[at].name
        );
    }

    /// What this provider got in its last request.
    async fn received(&self, at: usize) -> String {
        self.simulations[at].received(VOICES[at].model).await
    }
}

/// The message of a stream as clients put it together: text joined, calls by their index, lists in their order.
fn gathered(stream: &str) -> Value {
    let mut message =
        Map::from_iter([("role".to_owned(), json!("assistant")), ("content".to_owned(), Value::Null)]);
    let mut calls: Vec<Value> = Vec::new();
    let events = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks: Vec<Value> = events.filter_map(|event| serde_json::from_str(event).ok()).collect();
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    for delta in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"].as_object()) {
        for (name, value) in delta {
            match (name.as_str(), value) {
                ("content" | "reasoning_content" | "reasoning", Value::String(piece)) => {
                    let before = message.get(name).and_then(Value::as_str).unwrap_or_default();
                    message.insert(name.clone(), json!(format!("{before}{piece}")));
                }
                ("tool_calls", Value::Array(pieces)) => {
                    pieces.iter().for_each(|piece| add(&mut calls, piece));
                }
                (_, Value::Array(entries)) => {
                    let list = message.entry(name.as_str()).or_insert_with(|| json!([]));
                    list.as_array_mut().expect("a list").extend(entries.iter().cloned());
                }
                _ => {}
            }
        }
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), json!(calls));
    }
    Value::Object(message)
}

fn add(calls: &mut Vec<Value>, piece: &Value) {
    let at = usize::try_from(piece["index"].as_u64().expect("an index")).expect("a small one");
    if at == calls.len() {
        let mut call = piece.clone();
        call.as_object_mut().expect("a call").shift_remove("index");
        return calls.push(call);
    }
    let before = calls[at]["function"]["arguments"].as_str().unwrap_or_default();
    let more = piece["function"]["arguments"].as_str().unwrap_or_default();
    calls[at]["function"]["arguments"] = json!(format!("{before}{more}"));
}

/// What of a message only its provider understands.
fn opaque(message: &Value) -> Vec<String> {
    let details = message["reasoning_details"].as_array().into_iter().flatten();
    let details = details.filter_map(|entry| entry["signature"].as_str().or_else(|| entry["data"].as_str()));
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.filter_map(|call| call["extra_content"]["google"]["thought_signature"].as_str());
    details.chain(calls).map(str::to_owned).collect()
}

/// Starts at Anthropic, goes on at Gemini and OpenAI, comes back to both, and takes Bedrock, Mistral and Cohere in.
async fn around(stream: bool) {
    let stage = Stage::set(stream, true).await;
    let mut messages = vec![json!({ "role": "system", "content": "Be brief." })];
    stage.calls(ANTHROPIC, &mut messages).await;
    let first = opaque(&messages[2]);
    assert_eq!(first.len(), 1, "{}", messages[2]);
    stage.answers(GEMINI, &mut messages).await;
    assert!(!stage.received(GEMINI).await.contains(&first[0]), "a foreign signature");
    stage.calls(OPENAI, &mut messages).await;
    stage.answers(ANTHROPIC, &mut messages).await;
    assert!(stage.received(ANTHROPIC).await.contains(&first[0]), "what it thought in the first turn");

    stage.calls(GEMINI, &mut messages).await;
    let called = opaque(&messages[messages.len() - 3]);
    assert!(!called.is_empty());
    stage.answers(GEMINI, &mut messages).await;
    let body = stage.received(GEMINI).await;
    assert!(called.iter().all(|proof| body.contains(proof)), "{called:?} in {body}");

    stage.calls(BEDROCK, &mut messages).await;
    stage.answers(MISTRAL, &mut messages).await;
    let ids = stage.received(MISTRAL).await;
    assert!(!ids.contains("toolu_") && !ids.contains("tooluse_"), "{ids}");
    stage.calls(MISTRAL, &mut messages).await;
    stage.answers(COHERE, &mut messages).await;
    stage.calls(COHERE, &mut messages).await;
    stage.answers(BEDROCK, &mut messages).await;

    stage.calls(ANTHROPIC, &mut messages).await;
    let last = opaque(&messages[messages.len() - 3]);
    stage.answers(ANTHROPIC, &mut messages).await;
    let body = stage.received(ANTHROPIC).await;
    assert!(body.contains(&last[0]) && body.contains(&first[0]), "{body}");
    stage.calls(GEMINI, &mut messages).await;
    stage.answers(GEMINI, &mut messages).await;
}

/// Whoever called the tools, anybody may get their results.
async fn everyone_to_everyone(stream: bool) {
    let stage = Stage::set(stream, false).await;
    for caller in 0..VOICES.len() {
        let mut messages = Vec::new();
        for other in 0..VOICES.len() {
            stage.calls(caller, &mut messages).await;
            stage.answers(other, &mut messages).await;
        }
    }
}

#[tokio::test]
async fn a_conversation_goes_around_the_providers() {
    around(false).await;
}

#[tokio::test]
async fn a_streamed_conversation_goes_around_the_providers() {
    around(true).await;
}

#[tokio::test]
async fn whoever_called_the_tools_anybody_takes_their_results() {
    everyone_to_everyone(false).await;
}

#[tokio::test]
async fn whoever_called_the_tools_in_a_stream_anybody_takes_their_results() {
    everyone_to_everyone(true).await;
}
