//! Where a provider is, and which of its APIs is there.

use reqwest::Url;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::BaseUrl;
use super::Compiler;
use crate::providers::compatible::{Dialect, Kind};
use crate::providers::surface::{Api, Surface};

/// Where calls go.
pub(super) struct Address {
    /// With the API's prefix, without a slash at its end.
    pub base_url: String,
    pub surface: Surface,
    /// What the owner must set before anything can be called.
    pub missing: Option<&'static str>,
}

/// Where an Azure resource is, by the habit of Azure's own libraries.
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
/// Shown where nobody said which resource it is.
const AZURE_UNKNOWN: &str = "https://RESOURCE.openai.azure.com";
/// Foundry's own API takes no request without a version. This is the one that its users send.
const FOUNDRY_VERSION: &str = "2024-05-01-preview";
/// Which project and which location, by the habit of Google's own libraries.
const GOOGLE_PROJECT: [&str; 3] = ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"];
const GOOGLE_LOCATION: [&str; 2] = ["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"];
/// The hosts of Foundry's own API.
const FOUNDRY_HOSTS: &str = ".services.ai.azure.com";

impl Compiler<'_> {
    pub(super) fn address(&mut self, kind: &Kind, section: Option<&file::Provider>) -> Address {
        self.refuse_keys_of_others(kind, section);
        let written = section.and_then(|section| section.base_url.as_ref());
        self.look_at_url(written);
        match kind.dialect {
            Dialect::Azure => self.azure(section, written),
            Dialect::Vertex => self.vertex(section, written),
            // Everybody else is at one address, or at the one that is written.
            _ => Address {
                base_url: match written {
                    Some(written) if path_of(&written.0).is_empty() => {
                        format!("{}{}", written.0, kind.prefix())
                    }
                    Some(written) => written.0.clone(),
                    None => kind.base_url.to_owned(),
                },
                surface: Surface::default(),
                missing: None,
            },
        }
    }

    fn look_at_url(&mut self, written: Option<&Located<BaseUrl>>) {
        if let Some(written) = written
            && Url::parse(&written.0).is_err()
        {
            self.report(Diagnostic::error(
                &written.at,
                format!("{:?} is no address that can be called", written.0),
            ));
        }
    }

    /// Keys that say something about one kind only.
    fn refuse_keys_of_others(&mut self, kind: &Kind, section: Option<&file::Provider>) {
        let Some(section) = section else { return };
        let is_azure = kind.dialect == Dialect::Azure;
        let is_vertex = kind.dialect == Dialect::Vertex;
        let keys = [
            ("api", section.api.as_ref().map(|it| &it.at), false, "bedrock"),
            ("api_version", section.api_version.as_ref().map(|it| &it.at), is_azure, "azure"),
            ("project", section.project.as_ref().map(|it| &it.at), is_vertex, "vertex"),
            ("location", section.location.as_ref().map(|it| &it.at), is_vertex, "vertex"),
        ];
        for (key, at, has_use, whose) in keys {
            if let Some(at) = at.filter(|_| !has_use) {
                let message =
                    format!("`{key}` is for kind \"{whose}\"; this provider's is \"{}\"", kind.name);
                self.report(Diagnostic::error(at, message));
            }
        }
    }

    /// The project and the location stand in the path. An address that already names a project is whole.
    fn vertex(&mut self, section: Option<&file::Provider>, written: Option<&Located<BaseUrl>>) -> Address {
        let variable = |names: &[&str]| {
            let set = names.iter().filter_map(|name| self.surroundings.variable(name));
            set.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
        };
        let project = section.and_then(|section| section.project.as_ref()).map(|it| it.0.clone());
        let project = project.or_else(|| variable(&GOOGLE_PROJECT));
        let location = section.and_then(|section| section.location.as_ref()).map(|it| it.0.clone());
        let location = location.or_else(|| variable(&GOOGLE_LOCATION)).unwrap_or_else(|| "global".to_owned());
        let root = written.map_or_else(|| vertex_host(&location), |written| written.0.clone());
        let (prefix, is_whole) = match path_of(&root) {
            "" => ("/v1", false),
            path => ("", !(path.ends_with("/v1") || path.ends_with("/v1beta1"))),
        };
        let missing = project.is_none() && !is_whole && self.surroundings.check_secrets;
        let project = project.unwrap_or_else(|| "PROJECT".to_owned());
        let place =
            if is_whole { String::new() } else { format!("/projects/{project}/locations/{location}") };
        Address {
            base_url: format!("{root}{prefix}{place}"),
            surface: Surface::default(),
            missing: missing.then_some(GOOGLE_PROJECT[0]),
        }
    }

    /// The version in the query marks the older of Azure's addresses; the newer has it in its path.
    fn azure(&mut self, section: Option<&file::Provider>, written: Option<&Located<BaseUrl>>) -> Address {
        let endpoint = self.surroundings.variable(AZURE_ENDPOINT);
        let endpoint = endpoint.map(|it| it.trim().trim_end_matches('/').to_owned());
        let root = written.map(|it| it.0.clone()).or(endpoint.filter(|it| Url::parse(it).is_ok()));
        let missing = (root.is_none() && self.surroundings.check_secrets).then_some(AZURE_ENDPOINT);
        let root = root.unwrap_or_else(|| AZURE_UNKNOWN.to_owned());
        let version = section.and_then(|section| section.api_version.as_ref());
        let path = path_of(&root);
        let is_foundry = host_of(&root).ends_with(FOUNDRY_HOSTS);
        let (prefix, api) = match (path, &version) {
            ("", None) => ("/openai/v1", None),
            ("", Some(_)) if is_foundry => ("/models", Some(Api::Models)),
            ("", Some(_)) => ("/openai", Some(Api::Deployments)),
            ("/openai", Some(_)) => ("", Some(Api::Deployments)),
            ("/openai", None) => {
                if let Some(written) = written {
                    let problem = Diagnostic::error(&written.at, "this address needs an `api_version`");
                    self.report(
                        problem.help("api_version = \"2024-10-21\", or an address that ends with /openai/v1"),
                    );
                }
                ("/v1", None)
            }
            (path, _) if path.ends_with("/models") => ("", Some(Api::Models)),
            _ => ("", None),
        };
        let api_version = match (version, api) {
            (Some(version), _) => Some(version.0.clone()),
            (None, Some(Api::Models)) => Some(FOUNDRY_VERSION.to_owned()),
            (None, _) => None,
        };
        Address { base_url: format!("{root}{prefix}"), surface: Surface { api, api_version }, missing }
    }
}

/// The host of a Vertex location.
fn vertex_host(location: &str) -> String {
    match location {
        "global" => "https://aiplatform.googleapis.com".to_owned(),
        // Multi-regions have hosts of another form.
        "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
        region => format!("https://{region}-aiplatform.googleapis.com"),
    }
}

/// The path as it was written, without a slash at its end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

fn host_of(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}
