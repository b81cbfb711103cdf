//! `piton mock`: the simulated providers, for users' own tests.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use tokio::net::TcpListener;

use super::{block_on, fail};
use crate::mock::{self, Options, fault};

const EXAMPLE: &str = "\
Example: piton mock --listen 127.0.0.1:4010

A base URL, and who is played there:
  /v1                      OpenAI: chat completions and embeddings
  /NAME/v1                 mistral, groq, deepseek, moonshot, xai, perplexity, openrouter, vllm, llamacpp, ollama, and
                           `compatible`, which takes any key
  /openai/deployments/D, /openai/v1 (with an api-key header), /models
                           Azure
  /v1                      Anthropic: messages
  /v1beta                  Gemini: content and embeddings
  /v1/projects/...         Vertex AI: Gemini and Claude
  /                        Bedrock: /model/ID/converse, converse-stream, invoke
  /                        Cohere: /v2/chat, /v2/embed

Each refuses what the real one refuses, with its status and words: unknown keys, orders of turns, schemas, ids, limits,
and reasoning that comes back without its signature or altered.

GET /mock/requests tells how many requests each model received, and the last one (?model=NAME: of that model).";

/// Plays the providers on one port, with the faults that a model's name asks for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = format!("{EXAMPLE}\n\n{}", fault::help()))]
pub struct Mock {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// What its answers call it.
    #[arg(long, default_value = "mock")]
    name: String,
    /// The models that it lists.
    #[arg(long = "model")]
    models: Vec<String>,
}

impl Mock {
    /// Plays until it is interrupted.
    pub fn run(self) -> ExitCode {
        block_on(async move {
            let listener = match TcpListener::bind(self.listen).await {
                Ok(listener) => listener,
                Err(error) => return fail(format_args!("cannot listen at {}: {error}", self.listen)),
            };
            let options = Options { name: self.name, models: self.models, ..Options::default() };
            let mock = match mock::spawn(listener, options) {
                Ok(mock) => mock,
                Err(error) => return fail(error),
            };
            // Whoever started it may have closed standard output.
            let _ = writeln!(std::io::stdout(), "simulated providers at {}", mock.url());
            match tokio::signal::ctrl_c().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(error),
            }
        })
    }
}
