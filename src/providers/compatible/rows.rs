//! One row a vendor.

use super::quirks::{
    CEREBRAS, DEEPSEEK, GATEWAY, GROQ, LOCAL, MISTRAL, MOONSHOT, OLDER, OLDER_TEMPLATE, OPENROUTER,
    PERPLEXITY, QWEN, SILICONFLOW, SNOWFLAKE, TEMPLATE, TOLERANT, VERCEL, XAI, ZAI,
};
use super::{Dialect, Kind};
use crate::chat::target::Quirks;

/// The kind that also stands for every server that speaks OpenAI's format.
pub(super) const ANYBODY: &str = "openai";

/// Every kind.
pub const KINDS: &[Kind] = &[
    row(ANYBODY, "openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"], Quirks::OPENAI),
    Kind {
        dialect: Dialect::Anthropic,
        ..row(
            "anthropic",
            "anthropic",
            "https://api.anthropic.com/v1",
            &["ANTHROPIC_API_KEY"],
            Quirks::COMPATIBLE,
        )
    },
    Kind {
        dialect: Dialect::Gemini,
        ..row(
            "gemini",
            "gcp.gemini",
            "https://generativelanguage.googleapis.com/v1beta",
            &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
            Quirks::COMPATIBLE,
        )
    },
    Kind { dialect: Dialect::Vertex, ..row("vertex", "gcp.vertex_ai", "", &[], Quirks::COMPATIBLE) },
    Kind {
        dialect: Dialect::Bedrock,
        ..row("bedrock", "aws.bedrock", "", &["AWS_BEARER_TOKEN_BEDROCK"], Quirks::COMPATIBLE)
    },
    row(
        "bedrock-mantle",
        "aws.bedrock",
        "https://bedrock-mantle.{region}.api.aws/v1",
        &["AWS_BEARER_TOKEN_BEDROCK"],
        Quirks::COMPATIBLE,
    ),
    Kind {
        dialect: Dialect::Azure,
        ..row("azure", "azure.ai.openai", "", &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"], Quirks::OPENAI)
    },
    Kind {
        dialect: Dialect::Cohere,
        ..row(
            "cohere",
            "cohere",
            "https://api.cohere.com/v2",
            &["CO_API_KEY", "COHERE_API_KEY"],
            Quirks::COMPATIBLE,
        )
    },
    row("mistral", "mistral_ai", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"], MISTRAL),
    row("deepseek", "deepseek", "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"], DEEPSEEK),
    QWEN_ROW,
    Kind { name: "dashscope", ..QWEN_ROW },
    row("groq", "groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"], GROQ),
    row(
        "together",
        "together",
        "https://api.together.xyz/v1",
        &["TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"],
        OLDER,
    ),
    row("fireworks", "fireworks", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"], OLDER),
    row("openrouter", "openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"], OPENROUTER),
    row("xai", "x_ai", "https://api.x.ai/v1", &["XAI_API_KEY"], XAI),
    row("moonshot", "moonshot_ai", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"], MOONSHOT),
    row("zai", "z_ai", "https://api.z.ai/api/paas/v4", &["ZAI_API_KEY", "ZHIPU_API_KEY"], ZAI),
    row("cerebras", "cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"], CEREBRAS),
    row("perplexity", "perplexity", "https://api.perplexity.ai", &["PERPLEXITY_API_KEY"], PERPLEXITY),
    row("nvidia", "nvidia", "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"], OLDER),
    row(
        "deepinfra",
        "deepinfra",
        "https://api.deepinfra.com/v1/openai",
        &["DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"],
        OLDER,
    ),
    row(
        "huggingface",
        "hugging_face",
        "https://router.huggingface.co/v1",
        &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
        OLDER,
    ),
    row("novita", "novita", "https://api.novita.ai/openai/v1", &["NOVITA_API_KEY"], OLDER),
    row(
        "siliconflow",
        "siliconflow",
        "https://api.siliconflow.com/v1",
        &["SILICONFLOW_API_KEY"],
        SILICONFLOW,
    ),
    row("nebius", "nebius", "https://api.tokenfactory.nebius.com/v1", &["NEBIUS_API_KEY"], OLDER),
    row("minimax", "minimax", "https://api.minimax.io/v1", &["MINIMAX_API_KEY"], OLDER),
    Kind {
        catalog: "llama",
        ..row("meta", "meta", "https://api.llama.com/compat/v1", &["LLAMA_API_KEY"], TOLERANT)
    },
    row("avian", "avian", "https://api.avian.io/v1", &["AVIAN_API_KEY"], OLDER),
    row("crusoe", "crusoe", "https://api.inference.crusoecloud.com/v1", &["CRUSOE_API_KEY"], TOLERANT),
    row("heroku", "heroku", "https://us.inference.heroku.com/v1", &["INFERENCE_KEY"], OLDER),
    row("github", "github", "https://models.github.ai/inference", &["GITHUB_TOKEN"], Quirks::OPENAI),
    row("snowflake", "snowflake", "/api/v2/cortex/v1", &["SNOWFLAKE_PAT", "SNOWFLAKE_TOKEN"], SNOWFLAKE),
    row("tokenmix", "tokenmix", "https://api.tokenmix.ai/v1", &["TOKENMIX_API_KEY"], GATEWAY),
    row(
        "vercel",
        "vercel",
        "https://ai-gateway.vercel.sh/v1",
        &["AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"],
        VERCEL,
    ),
    row("helicone", "helicone", "https://ai-gateway.helicone.ai/v1", &["HELICONE_API_KEY"], GATEWAY),
    row("portkey", "portkey", "https://api.portkey.ai/v1", &["PORTKEY_API_KEY"], GATEWAY),
    row(
        "litellm",
        "litellm",
        "http://127.0.0.1:4000/v1",
        &["LITELLM_API_KEY", "LITELLM_MASTER_KEY"],
        GATEWAY,
    ),
    row("ollama-cloud", "ollama", "https://ollama.com/v1", &["OLLAMA_API_KEY"], LOCAL),
    row("ollama", "ollama", "http://127.0.0.1:11434/v1", &[], LOCAL),
    row("vllm", "vllm", "http://127.0.0.1:8000/v1", &[], TEMPLATE),
    row("sglang", "sglang", "http://127.0.0.1:30000/v1", &[], TEMPLATE),
    row("gpustack", "gpustack", "http://127.0.0.1/v1", &["GPUSTACK_API_KEY"], TEMPLATE),
    LLAMA_CPP_ROW,
    Kind { name: "llamacpp", ..LLAMA_CPP_ROW },
    row("lmstudio", "lmstudio", "http://127.0.0.1:1234/v1", &[], LOCAL),
];

const QWEN_ROW: Kind = row(
    "qwen",
    "alibaba_cloud",
    "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    &["DASHSCOPE_API_KEY"],
    QWEN,
);

const LLAMA_CPP_ROW: Kind = row("llama.cpp", "llama_cpp", "http://127.0.0.1:8080/v1", &[], OLDER_TEMPLATE);

/// A vendor with OpenAI's dialect, whom the catalog knows under the same name.
const fn row(
    name: &'static str,
    telemetry: &'static str,
    base_url: &'static str,
    key_variables: &'static [&'static str],
    quirks: Quirks,
) -> Kind {
    Kind { name, catalog: name, telemetry, dialect: Dialect::OpenAi, base_url, key_variables, quirks }
}
