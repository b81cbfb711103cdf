//! For which provider and model each column stands.

use std::sync::Arc;

use crate::catalog;
use crate::chat::TargetFacts;
use crate::config::compile::model::facts_of;
use crate::providers::compatible::Kind;
use crate::providers::surface::{Api, Surface};
use crate::providers::{self, Provider};

/// One provider's format, as one model has it.
pub struct Column {
    pub title: &'static str,
    /// As the catalog knows them.
    pub provider: &'static str,
    pub model: &'static str,
    /// What comes before the path when the mock plays the provider.
    pub door: &'static str,
    api: Option<Api>,
    api_version: Option<&'static str>,
}

/// The columns of the tables.
pub const COLUMNS: [Column; 7] = [
    Column { door: "/v1", ..column("OpenAI", "openai", "gpt-5.1") },
    Column {
        door: "/openai",
        api: Some(Api::Deployments),
        api_version: Some("2025-04-01-preview"),
        ..column("Azure", "azure", "gpt-4.1")
    },
    Column { door: "/mistral/v1", ..column("Mistral", "mistral", "mistral-medium-latest") },
    column("Anthropic", "anthropic", "claude-sonnet-4-5"),
    column("Bedrock", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    column("Gemini", "gemini", "gemini-2.5-flash"),
    Column { door: "/v2", ..column("Cohere", "cohere", "command-a-plus-05-2026") },
];

/// Other surfaces and models of the same dialects, with the column from which they depart.
pub const VARIANTS: [(Column, &str); 6] = [
    (column("Newer Claude", "anthropic", "claude-opus-4-6"), "Anthropic"),
    (column("Claude on Vertex", "vertex", "claude-sonnet-4-5@20250929"), "Anthropic"),
    (
        Column {
            api: Some(Api::Invoke),
            ..column("Claude by InvokeModel", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
        },
        "Anthropic",
    ),
    (column("Nova by Converse", "bedrock", "amazon.nova-pro-v1:0"), "Bedrock"),
    (column("Gemini 3", "gemini", "gemini-3.1-pro-preview"), "Gemini"),
    (column("Gemini on Vertex", "vertex", "gemini-2.5-flash"), "Gemini"),
];

const fn column(title: &'static str, provider: &'static str, model: &'static str) -> Column {
    Column { title, provider, model, door: "", api: None, api_version: None }
}

impl Column {
    /// The dialect, and what the catalog knows of the model.
    pub fn target(&self) -> (Arc<dyn Provider>, TargetFacts) {
        let kind = Kind::find(self.provider).unwrap();
        let surface = Surface { api: self.api, api_version: self.api_version.map(str::to_owned) };
        let model = catalog::lookup(kind.catalog, self.model)
            .unwrap_or_else(|| panic!("the catalog does not know {}/{}", self.provider, self.model));
        let facts = facts_of(self.model, &model, providers::quirks(kind, &surface, true));
        (providers::dialect(kind, &surface, self.model), facts)
    }
}
