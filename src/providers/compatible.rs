//! The vendors that Piton knows by name: where they are, which variable usually holds their key, which dialect
//! they speak, and where they depart from it. An OpenAI-compatible vendor is one row.

use crate::chat::target::Quirks;

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

/// A vendor.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// What `kind = "..."` says, and what a target's prefix implies.
    pub name: &'static str,
    /// OpenTelemetry's `gen_ai.provider.name`.
    pub telemetry: &'static str,
    pub dialect: Dialect,
    /// The API's usual place, prefix included. Empty: everyone has an address of their own.
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

    /// Whether it is a cloud: everyone has an address of their own there, and credentials that are more than a key.
    pub fn is_cloud(&self) -> bool {
        self.base_url.is_empty()
    }

    /// The API's prefix for a base URL that has no path: `/v1`, `/v1beta`, ...
    pub fn prefix(&self) -> &'static str {
        let after_scheme = self.base_url.find("://").map_or(0, |at| at + 3);
        let rest = &self.base_url[after_scheme..];
        rest.find('/').map_or("", |at| &rest[at..])
    }
}

/// Fields of newer OpenAI APIs that a strict vendor answers with 422.
const MISTRAL_REFUSES: &[&str] = &[
    "user",
    "logit_bias",
    "store",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "verbosity",
    "web_search_options",
    "modalities",
    "stream_options",
];

/// The older name of the output cap, for servers that know only that.
pub const MAX_TOKENS: (&str, &str) = ("max_completion_tokens", "max_tokens");

const OLD_CAP: Quirks = Quirks { renames: &[MAX_TOKENS], ..Quirks::OPENAI };

/// Servers for one's own machine that see only what they are given.
const LOCAL: Quirks = Quirks { fetches_images: false, ..OLD_CAP };

/// An OpenAI-compatible vendor without a departure of its own.
const fn compatible(
    name: &'static str,
    telemetry: &'static str,
    base_url: &'static str,
    key_variables: &'static [&'static str],
) -> Kind {
    Kind { name, telemetry, dialect: Dialect::OpenAi, base_url, key_variables, quirks: Quirks::OPENAI }
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    compatible("openai", "openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"]),
    Kind {
        name: "anthropic",
        telemetry: "anthropic",
        dialect: Dialect::Anthropic,
        base_url: "https://api.anthropic.com/v1",
        key_variables: &["ANTHROPIC_API_KEY"],
        quirks: Quirks::OPENAI,
    },
    Kind {
        name: "gemini",
        telemetry: "gcp.gemini",
        dialect: Dialect::Gemini,
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        key_variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
        quirks: Quirks::OPENAI,
    },
    Kind { dialect: Dialect::Vertex, ..compatible("vertex", "gcp.vertex_ai", "", &[]) },
    Kind {
        dialect: Dialect::Bedrock,
        ..compatible("bedrock", "aws.bedrock", "", &["AWS_BEARER_TOKEN_BEDROCK"])
    },
    Kind {
        dialect: Dialect::Azure,
        ..compatible("azure", "azure.ai.openai", "", &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"])
    },
    Kind {
        name: "cohere",
        telemetry: "cohere",
        dialect: Dialect::Cohere,
        base_url: "https://api.cohere.com/v2",
        key_variables: &["CO_API_KEY", "COHERE_API_KEY"],
        quirks: Quirks::OPENAI,
    },
    Kind {
        quirks: OLD_CAP,
        ..compatible("deepseek", "deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"])
    },
    Kind {
        quirks: Quirks {
            renames: &[MAX_TOKENS, ("seed", "random_seed")],
            refuses: MISTRAL_REFUSES,
            stream_options: false,
            ..Quirks::OPENAI
        },
        ..compatible("mistral", "mistral_ai", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    compatible("groq", "groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    Kind {
        quirks: OLD_CAP,
        ..compatible("together", "together", "https://api.together.xyz/v1", &["TOGETHER_API_KEY"])
    },
    Kind {
        quirks: OLD_CAP,
        ..compatible(
            "fireworks",
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            &["FIREWORKS_API_KEY"],
        )
    },
    compatible("openrouter", "openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    Kind {
        quirks: Quirks { reasoning_beside_completion: true, ..Quirks::OPENAI },
        ..compatible("xai", "x_ai", "https://api.x.ai/v1", &["XAI_API_KEY"])
    },
    Kind {
        quirks: OLD_CAP,
        ..compatible(
            "qwen",
            "alibaba_cloud",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            &["DASHSCOPE_API_KEY"],
        )
    },
    Kind {
        quirks: OLD_CAP,
        ..compatible("moonshot", "moonshot_ai", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"])
    },
    compatible("tokenmix", "tokenmix", "https://api.tokenmix.ai/v1", &["TOKENMIX_API_KEY"]),
    Kind { quirks: LOCAL, ..compatible("ollama", "ollama", "http://127.0.0.1:11434/v1", &[]) },
    compatible("vllm", "vllm", "http://127.0.0.1:8000/v1", &[]),
    Kind { quirks: OLD_CAP, ..compatible("llama.cpp", "llama_cpp", "http://127.0.0.1:8080/v1", &[]) },
    Kind { quirks: LOCAL, ..compatible("lmstudio", "lmstudio", "http://127.0.0.1:1234/v1", &[]) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_the_usual_path() {
        assert_eq!(Kind::find("groq").unwrap().prefix(), "/openai/v1");
        assert_eq!(Kind::find("ollama").unwrap().prefix(), "/v1");
    }
}
