//! The vendors that Piton knows by name: where they are, which variable usually holds their key, which dialect
//! they speak, and where they depart from it. An OpenAI-compatible vendor is one row of [`rows`].

use crate::chat::target::Quirks;

pub use quirks::MAX_TOKENS;
pub use rows::KINDS;

mod quirks;
mod rows;

/// A format on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Azure,
    Anthropic,
    Bedrock,
    Gemini,
    /// Gemini or Anthropic, by the model.
    Vertex,
    Cohere,
}

impl Dialect {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "gemini, anthropic",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock, anthropic",
        }
    }
}

/// Where everyone has an address of their own, and credentials that are more than a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Azure,
    Vertex,
    Bedrock,
}

/// A vendor.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What `kind = "..."` says, and what a target's prefix implies.
    pub name: &'static str,
    /// Under which name the catalog has its models.
    pub catalog: &'static str,
    /// OpenTelemetry's `gen_ai.provider.name`.
    pub telemetry: &'static str,
    pub dialect: Dialect,
    /// The API's usual place, prefix included; `{region}` stands for the customer's. Without a host where every
    /// customer has one of their own; empty: the path differs as well.
    pub base_url: &'static str,
    /// The variables that usually hold the key, the likeliest first. None: no key is needed.
    pub key_variables: &'static [&'static str],
    pub quirks: Quirks,
}

impl Kind {
    /// The kind of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Which cloud it is, if it is one.
    pub const fn cloud(&self) -> Option<Cloud> {
        match self.dialect {
            Dialect::Azure => Some(Cloud::Azure),
            Dialect::Vertex => Some(Cloud::Vertex),
            Dialect::Bedrock => Some(Cloud::Bedrock),
            Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini | Dialect::Cohere => None,
        }
    }

    /// The API's prefix for a base URL that has no path: `/v1`, `/v1beta`, ...
    pub fn prefix(&self) -> &'static str {
        let after_scheme = self.base_url.find("://").map_or(0, |at| at + 3);
        let rest = &self.base_url[after_scheme..];
        rest.find('/').map_or("", |at| &rest[at..])
    }

    /// The departures that a target has. A server that merely speaks OpenAI's format is not OpenAI: away from the
    /// vendor's own address, and with a model that nobody knows, it gets what the client sent.
    pub fn quirks_of(&self, is_known: bool) -> Quirks {
        if self.name == rows::ANYBODY && !is_known { Quirks::COMPATIBLE } else { self.quirks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_usual_path() {
        assert_eq!(Kind::find("groq").unwrap().prefix(), "/openai/v1");
        assert_eq!(Kind::find("ollama").unwrap().prefix(), "/v1");
        assert_eq!(Kind::find("perplexity").unwrap().prefix(), "");
        assert_eq!(Kind::find("snowflake").unwrap().prefix(), "/api/v2/cortex/v1");
    }

    #[test]
    fn names_are_there_once() {
        for (at, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..at].iter().all(|other| other.name != kind.name), "{} stands twice", kind.name);
            assert!(!kind.base_url.ends_with('/') && !kind.telemetry.is_empty(), "{}", kind.name);
            assert_eq!(kind.cloud().is_some(), kind.base_url.is_empty(), "{}", kind.name);
        }
    }

    #[test]
    fn a_server_that_is_not_openai_gets_what_the_client_sent() {
        let openai = Kind::find("openai").unwrap();
        assert_eq!(openai.quirks_of(false), Quirks::COMPATIBLE);
        assert_eq!(openai.quirks_of(true), Quirks::OPENAI);
        let groq = Kind::find("groq").unwrap();
        assert_eq!(groq.quirks_of(false), groq.quirks);
    }
}
