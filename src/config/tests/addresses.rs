//! Where providers are whose address depends on more than one key.

use super::compiled::{compile_with, surroundings};

/// The URL of the one target of a file with these lines under its provider.
fn url(kind: &str, lines: &str, model: &str, variables: &[(&str, &str)]) -> String {
    let mut surroundings = surroundings();
    surroundings
        .environment
        .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let text = format!(
        "[providers.p]\nkind = \"{kind}\"\napi_key = \"env:OTHER_KEY\"\n{lines}\n[chains]\nc = [\"p/{model}\"]\n"
    );
    compile_with(&text, &surroundings).0.chains["c"].targets[0].url.clone()
}

#[test]
fn azure_has_three_addresses() {
    let azure = |lines: &str| url("azure", lines, "my-4o", &[]);
    let base = r#"base_url = "https://r.openai.azure.com/""#;
    let version = r#"api_version = "2024-10-21""#;
    let v1 = "https://r.openai.azure.com/openai/v1/chat/completions";
    let classic =
        "https://r.openai.azure.com/openai/deployments/my-4o/chat/completions?api-version=2024-10-21";
    assert_eq!(azure(base), v1);
    assert_eq!(azure(&format!("{base}\n{version}")), classic);
    let with_path = |path: &str, version: &str| {
        azure(&format!("base_url = \"https://r.openai.azure.com{path}\"\n{version}"))
    };
    assert_eq!(with_path("/openai/v1", ""), v1);
    assert_eq!(with_path("/openai/v1", r#"api_version = "preview""#), format!("{v1}?api-version=preview"));
    assert_eq!(with_path("/openai", version), classic);
    let foundry = |lines: &str| azure(&format!("base_url = \"https://r.services.ai.azure.com{lines}"));
    let models = "https://r.services.ai.azure.com/models/chat/completions?api-version=";
    assert_eq!(foundry("\"\napi_version = \"2024-08-01-preview\""), format!("{models}2024-08-01-preview"));
    assert_eq!(foundry("/models\""), format!("{models}2024-05-01-preview"));
    assert_eq!(foundry("\""), "https://r.services.ai.azure.com/openai/v1/chat/completions");
    let endpoint = [("AZURE_OPENAI_ENDPOINT", "https://e.openai.azure.com/")];
    assert_eq!(url("azure", "", "m", &endpoint), "https://e.openai.azure.com/openai/v1/chat/completions");
}

#[test]
fn vertex_has_a_host_for_each_location_and_a_path_for_each_publisher() {
    let vertex =
        |lines: &str, model: &str, variables: &[(&str, &str)]| url("vertex", lines, model, variables);
    let project = "project = \"pro\"";
    assert_eq!(
        vertex(project, "gemini-2.5-flash", &[]),
        "https://aiplatform.googleapis.com/v1/projects/pro/locations/global/publishers/google/models/gemini-2.5-flash:generateContent"
    );
    let in_iowa = "project = \"pro\"\nlocation = \"us-central1\"";
    assert_eq!(
        vertex(in_iowa, "claude-sonnet-4@20250514", &[]),
        "https://us-central1-aiplatform.googleapis.com/v1/projects/pro/locations/us-central1/publishers/anthropic/models/claude-sonnet-4%4020250514:rawPredict"
    );
    let environment = [("GOOGLE_CLOUD_PROJECT", "env-pro"), ("GOOGLE_CLOUD_LOCATION", "eu")];
    let by_environment = vertex("", "gemini-2.5-pro", &environment);
    assert!(by_environment.starts_with(
        "https://aiplatform.eu.rep.googleapis.com/v1/projects/env-pro/locations/eu/publishers/google/"
    ));
    let elsewhere = |base: &str| vertex(&format!("{project}\nbase_url = \"{base}\""), "g", &[]);
    let rest = "/publishers/google/models/g:generateContent";
    assert_eq!(elsewhere("http://h:1"), format!("http://h:1/v1/projects/pro/locations/global{rest}"));
    assert_eq!(
        elsewhere("http://h/x/v1beta1"),
        format!("http://h/x/v1beta1/projects/pro/locations/global{rest}")
    );
    let whole = "http://h/v1/projects/q/locations/l";
    assert_eq!(elsewhere(whole), format!("{whole}{rest}"));
}

#[test]
fn an_alias_speaks_as_the_model_that_it_is_like() {
    let like = "project = \"p\"\n[models.\"p/mine\"]\nlike = \"anthropic/claude-sonnet-4-5\"";
    assert!(url("vertex", like, "mine", &[]).ends_with("/publishers/anthropic/models/mine:rawPredict"));
}
