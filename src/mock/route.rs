//! Which provider a path belongs to.

use http::{HeaderMap, Method};

use super::anthropic::{Anthropic, Host};
use super::bedrock::{Bedrock, Invoke};
use super::cohere::Cohere;
use super::dialect::Dialect;
use super::embed::Form;
use super::gemini::Gemini;
use super::openai::OpenAi;
use super::openai::vendor::{self, Vendor};

/// Where a request goes.
pub enum Route {
    Call(Call),
    Models,
    /// What arrived so far, for the tests that the mock serves.
    Received,
    Unknown,
}

/// A request to a provider.
pub struct Call {
    pub dialect: Box<dyn Dialect>,
    /// Embeddings, in this form; else a chat.
    pub embed: Option<Form>,
    /// Where the path names it.
    pub model: Option<String>,
    /// Where the path says it.
    pub stream: Option<bool>,
    /// The path is one that must name a version in its query.
    pub needs_version: bool,
}

/// By the path's end, so that any prefix that a client is configured with will do; a prefix that is the name of a
/// provider chooses it among those that share a dialect.
pub fn route(method: &Method, path: &str, headers: &HeaderMap) -> Route {
    if method == Method::GET && path.ends_with("/models") {
        return Route::Models;
    }
    if method == Method::GET && path == "/mock/requests" {
        return Route::Received;
    }
    if method != Method::POST {
        return Route::Unknown;
    }
    call(path, headers).map_or(Route::Unknown, Route::Call)
}

/// The call that a path stands for.
pub fn call(path: &str, headers: &HeaderMap) -> Option<Call> {
    if let Some(prefix) = path.strip_suffix("/chat/completions") {
        let vendor = vendor_of(prefix, headers);
        return Some(of_vendor(vendor, prefix));
    }
    if path.ends_with("/v2/chat") {
        return Some(chat(Cohere));
    }
    if path.ends_with("/v2/embed") {
        return Some(Call { embed: Some(Form::Cohere), ..chat(Cohere) });
    }
    if let Some(prefix) = path.strip_suffix("/embeddings") {
        let vendor = vendor_of(prefix, headers);
        return Some(Call { embed: Some(Form::OpenAi(vendor)), ..of_vendor(vendor, prefix) });
    }
    if path.ends_with("/messages") {
        return Some(chat(Anthropic(Host::Direct)));
    }
    bedrock(path).or_else(|| google(path))
}

fn chat(dialect: impl Dialect + 'static) -> Call {
    Call { dialect: Box::new(dialect), embed: None, model: None, stream: None, needs_version: false }
}

fn of_vendor(vendor: &'static Vendor, prefix: &str) -> Call {
    // A deployment in the path is the model.
    let deployment = prefix.split_once("/deployments/").map(|(_, deployment)| decoded(deployment));
    let needs_version = deployment.is_some() || prefix.ends_with("/models");
    Call { model: deployment, needs_version, ..chat(OpenAi(vendor)) }
}

/// By the first part of the path, by Azure's paths, or by the header in which only Azure takes its key.
fn vendor_of(prefix: &str, headers: &HeaderMap) -> &'static Vendor {
    let first = prefix.trim_start_matches('/').split('/').next().unwrap_or_default();
    let azure = prefix.contains("/openai/deployments/")
        || prefix.ends_with("/models")
        || headers.contains_key("api-key");
    match vendor::named(first) {
        _ if azure => &vendor::AZURE,
        Some(vendor) => vendor,
        None => &vendor::OPENAI,
    }
}

/// `/model/ID/converse` and its like.
fn bedrock(path: &str) -> Option<Call> {
    let (_, rest) = path.split_once("/model/")?;
    let (model, operation) = rest.rsplit_once('/')?;
    let model = decoded(model);
    let stream = operation.ends_with("-stream");
    let call = match operation {
        "converse" | "converse-stream" => chat(Bedrock),
        "invoke" if model.contains("titan-embed") => Call { embed: Some(Form::Titan), ..chat(Bedrock) },
        "invoke" if model.contains("cohere.embed") => {
            Call { embed: Some(Form::CohereOnBedrock), ..chat(Bedrock) }
        }
        "invoke" if model.contains("embeddings") => Call { embed: Some(Form::Nova), ..chat(Bedrock) },
        "invoke" | "invoke-with-response-stream" => chat(Invoke),
        _ => return None,
    };
    Some(Call { model: Some(model), stream: Some(stream), ..call })
}

/// Without percent-encoding; what is none stays as it is.
pub fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let code = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(b'%'));
        bytes.extend_from_slice(&piece.as_bytes()[if code.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `/models/NAME:METHOD`, in AI Studio and on Vertex.
fn google(path: &str) -> Option<Call> {
    let (before, rest) = path.rsplit_once("/models/")?;
    let (model, method) = rest.rsplit_once(':')?;
    let vertex = before.contains("/publishers/");
    let gemini = || chat(Gemini { vertex });
    let call = match method {
        "generateContent" | "streamGenerateContent" => gemini(),
        "rawPredict" | "streamRawPredict" => chat(Anthropic(Host::Vertex)),
        "embedContent" => Call { embed: Some(Form::Gemini { vertex }), ..gemini() },
        "batchEmbedContents" => Call { embed: Some(Form::GeminiBatch), ..gemini() },
        "predict" => Call { embed: Some(Form::Predict), ..gemini() },
        _ => return None,
    };
    // A body may ask for a stream where the method is the one for streams, and only there.
    Some(Call { model: Some(decoded(model)), stream: Some(method.starts_with("stream")), ..call })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> (&'static str, Option<String>, Option<bool>) {
        let call = call(path, &HeaderMap::new()).unwrap_or_else(|| panic!("{path}"));
        (call.dialect.name(), call.model, call.stream)
    }

    #[test]
    fn a_path_chooses_its_provider() {
        for (path, name) in [
            ("/v1/chat/completions", "openai"),
            ("/any/prefix/chat/completions", "openai"),
            ("/mistral/v1/chat/completions", "mistral"),
            ("/groq/openai/v1/chat/completions", "groq"),
            ("/openai/deployments/d/chat/completions", "azure"),
            ("/models/chat/completions", "azure"),
            ("/openai/v1/chat/completions", "openai"),
            ("/azure/openai/v1/embeddings", "azure"),
            ("/cohere/v2/chat", "cohere"),
            ("/v2/embed", "cohere"),
            ("/v1/messages", "anthropic"),
            ("/v1beta/models/m:embedContent", "gemini"),
        ] {
            assert_eq!(found(path).0, name, "{path}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("api-key", "k".parse().unwrap());
        assert_eq!(call("/openai/v1/chat/completions", &headers).unwrap().dialect.name(), "azure");
    }

    #[test]
    fn models_in_paths_are_decoded() {
        let nova = Some("amazon.nova-lite-v1:0".to_owned());
        assert_eq!(found("/model/amazon.nova-lite-v1%3A0/converse"), ("bedrock", nova.clone(), Some(false)));
        assert_eq!(found("/model/amazon.nova-lite-v1:0/converse-stream"), ("bedrock", nova, Some(true)));
        let arn = Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude".to_owned());
        let path =
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude/invoke";
        assert_eq!(found(path), ("bedrock-invoke", arn, Some(false)));
        for at in ["@", "%40"] {
            let vertex = format!(
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude-3{at}1:streamRawPredict"
            );
            assert_eq!(found(&vertex), ("anthropic", Some("claude-3@1".to_owned()), Some(true)));
        }
        let deployment = "/openai/deployments/my%204o/chat/completions";
        assert_eq!(found(deployment).1, Some("my 4o".to_owned()));
    }
}
