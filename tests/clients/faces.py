"""The providers that `piton mock` plays, each configured as its users do, and what each of them offers.

One face is one provider block. The suites name its models directly (`FACE/MODEL`), so that every fault that a model's
name can ask for is at hand. What a face does not offer is told here once; the tests show that it is refused.
"""

from dataclasses import asdict, dataclass

# What carries reasoning home: a signature that the provider checks, the text alone, or nothing that has to return.
SIGNED, TEXT, SHOWN, COUNTED = "signed", "text", "shown", "counted"


@dataclass(frozen=True)
class Face:
    name: str
    kind: str
    # Under the simulated providers' address.
    path: str
    chat: str
    vision: str | None = None
    reasoning: str | None = None
    # How its reasoning is asked for, and what of it must come back.
    effort: str = "low"
    carries: str = SIGNED
    # Whether it counts what its reasoning took.
    counts: bool = True
    # Further lines of its block.
    lines: tuple[str, ...] = ()
    key: bool = True
    tools: bool = True
    schema: bool = True

    def block(self, mock):
        key = ['api_key = "env:PITON_KEY"'] if self.key else []
        url = f'base_url = "http://127.0.0.1:{mock}{self.path}"'
        return [f'[providers."{self.name}"]', f'kind = "{self.kind}"', url, *key, *self.lines]

    def models(self):
        return {model for model in (self.chat, self.vision, self.reasoning) if model}


AWS = ('region = "us-east-1"', 'credentials = "file:aws"')
GOOGLE = ('project = "simulated"', 'location = "us-east5"', 'credentials = "file:google.json"')

FACES = [
    Face("openai", "openai", "/v1", "gpt-4o", "gpt-4o", "gpt-5", carries=COUNTED),
    Face(
        "azure-classic", "azure", "", "gpt-4o", "gpt-4o", "gpt-5", carries=COUNTED, lines=('api_version = "2024-10-21"',)
    ),
    Face("azure-v1", "azure", "", "gpt-4o", "gpt-4o", "gpt-5", carries=COUNTED),
    Face("azure-foundry", "azure", "/models", "gpt-4o", "gpt-4o"),
    Face("anthropic", "anthropic", "/v1", "claude-sonnet-4-5", "claude-sonnet-4-5", "claude-sonnet-4-5"),
    Face(
        "claude-on-vertex",
        "vertex",
        "",
        "claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5@20250929",
        lines=GOOGLE,
        key=False,
    ),
    Face(
        "claude-by-invoke",
        "bedrock",
        "",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        lines=('region = "us-east-1"', 'api = "invoke"'),
    ),
    Face("gemini", "gemini", "/v1beta", "gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash"),
    Face(
        "gemini-3", "gemini", "/v1beta", "gemini-3-pro-preview", "gemini-3-pro-preview", "gemini-3-pro-preview"
    ),
    Face(
        "gemini-on-vertex",
        "vertex",
        "",
        "gemini-2.5-flash",
        "gemini-2.5-flash",
        "gemini-2.5-flash",
        lines=GOOGLE,
        key=False,
    ),
    Face(
        "bedrock",
        "bedrock",
        "",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        counts=False,
        lines=AWS,
        key=False,
    ),
    Face(
        "nova", "bedrock", "", "amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", lines=('region = "us-east-1"',)
    ),
    Face(
        "cohere",
        "cohere",
        "/v2",
        "command-a-03-2025",
        "command-a-vision-07-2025",
        "command-a-reasoning-08-2025",
        carries=TEXT,
    ),
    Face(
        "mistral",
        "mistral",
        "/mistral/v1",
        "mistral-medium-latest",
        "mistral-medium-latest",
        "magistral-medium-latest",
        carries=TEXT,
    ),
    Face(
        "groq",
        "groq",
        "/groq/openai/v1",
        "openai/gpt-oss-120b",
        "meta-llama/llama-4-scout-17b-16e-instruct",
        "openai/gpt-oss-120b",
        carries=SHOWN,
    ),
    Face("deepseek", "deepseek", "/deepseek/v1", "deepseek-chat", None, "deepseek-reasoner", carries=TEXT, schema=False),
    Face(
        "openrouter",
        "openrouter",
        "/openrouter/api/v1",
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-sonnet-4.5",
    ),
    Face("xai", "xai", "/xai/v1", "grok-4", "grok-4", "grok-3-mini", carries=SHOWN),
    Face("perplexity", "perplexity", "/perplexity", "sonar-pro", "sonar-pro", tools=False),
    Face(
        "moonshot",
        "moonshot",
        "/moonshot/v1",
        "kimi-k2-0905-preview",
        "kimi-k2.5",
        "kimi-k2-thinking",
        carries=TEXT,
    ),
    Face("vllm", "vllm", "/vllm/v1", "qwen3", "qwen3", "qwen3", carries=SHOWN, key=False),
    Face("llama.cpp", "llama.cpp", "/llamacpp/v1", "qwen3", "qwen3", "qwen3", carries=SHOWN, key=False),
    Face("ollama", "ollama", "/ollama/v1", "qwen3", "qwen3", "qwen3", carries=SHOWN, key=False),
    Face("compatible", "openai", "/compatible/v1", "some-model", "some-model", "some-model", carries=SHOWN),
]


def plain():
    """The faces as data for the suites."""
    return [{key: value for key, value in asdict(face).items() if key != "lines"} for face in FACES]
