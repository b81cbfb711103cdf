//! What the driver must know of a provider's API, and knows independently of the gateway's own code.

use serde_json::Value;

use super::answer::Expected;
use super::exchange::Exchange;
use super::oracle::anthropic::Anthropic;
use super::oracle::bedrock::Bedrock;
use super::oracle::cohere::Cohere;
use super::oracle::embeddings::Embeddings;
use super::oracle::gemini::Gemini;
use super::oracle::openai::OpenAi;

/// One provider's format, read from its documentation and its recordings.
pub trait Dialect: Sync {
    /// What a client of OpenAI's API must be told for the recorded answer.
    fn answer(&self, exchange: &Exchange) -> Expected;

    /// Turns of the recorded history that hold what only the gateway knows how to carry to a client and back, each as
    /// the native answer that it once was. The driver has them told to a client first.
    fn turns(&self, _: &Exchange) -> Vec<Value> {
        Vec::new()
    }

    /// The request in OpenAI's format that means what was recorded; `said` are the messages that the client was told
    /// for [`turns`](Self::turns). Its model and `stream` are set by the driver.
    fn ask(&self, exchange: &Exchange, said: &[Value]) -> Result<Value, NotApplicable>;

    /// What a native request means: its normal form, in which two requests that the provider would take for the
    /// same are equal. `exchange` says what was recorded, for rules that depend on it.
    fn meaning(&self, path: &str, body: &Value, exchange: &Exchange) -> Value;
}

/// Why something has no form in chat completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotApplicable(pub String);

impl NotApplicable {
    pub fn because<T>(reason: impl Into<String>) -> Result<T, Self> {
        Err(Self(reason.into()))
    }
}

/// The dialect of an exchange; none: an API that the gateway does not serve.
pub fn of(exchange: &Exchange) -> Option<&'static dyn Dialect> {
    match exchange.api.as_str() {
        "chat" => Some(&OpenAi),
        "anthropic" => Some(&Anthropic),
        "gemini" => Some(&Gemini),
        "converse" => Some(&Bedrock),
        "cohere2" => Some(&Cohere),
        "embeddings" => Some(&Embeddings),
        _ => None,
    }
}

/// Where a client asks for it.
pub fn path(exchange: &Exchange) -> &'static str {
    if exchange.api == "embeddings" { "/v1/embeddings" } else { "/v1/chat/completions" }
}

/// The kinds of provider that can speak to this folder's API, the fittest first.
pub fn kinds(folder: &str) -> Vec<&str> {
    match folder {
        "anthropic-vertex" | "gemini-vertex" => vec!["vertex"],
        "bedrock" | "bedrock-invoke" => vec!["bedrock"],
        "pydantic-gateway" => vec!["bedrock"],
        "azure" | "anthropic" | "gemini" | "cohere" => vec![folder],
        "llamacpp" => vec!["llama.cpp"],
        "vercel-gateway" => vec!["vercel", "openai"],
        "portkey-gateway" => vec!["portkey", "openai"],
        "gpustack" => vec!["vllm"],
        _ => vec![folder, "openai"],
    }
}
