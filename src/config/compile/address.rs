//! Where a provider is, and which of its APIs is there.

use reqwest::Url;

use super::super::diagnostic::{Diagnostic, Located};
use super::super::file;
use super::super::name::BaseUrl;
use super::Compiler;
use super::login::domain;
use crate::providers::compatible::{Cloud, KINDS, Kind};
use crate::providers::surface::{Api, Surface};

/// Where calls go.
pub(super) struct Address {
    /// With the API's prefix, without a slash at its end.
    pub base_url: String,
    pub surface: Surface,
    /// What the owner must say before anything can be called.
    pub missing: Option<Missing>,
}

/// What is missing for people, and the variable that would say it.
pub(super) struct Missing {
    pub what: &'static str,
    pub place: &'static str,
}

/// What the credential says of the address.
pub(super) struct Known {
    pub has_key: bool,
    pub project: Option<String>,
}

const AZURE: &[Cloud] = &[Cloud::Azure];
const VERTEX: &[Cloud] = &[Cloud::Vertex];
const BEDROCK: &[Cloud] = &[Cloud::Bedrock];
const WITH_FILES: &[Cloud] = &[Cloud::Vertex, Cloud::Bedrock];
/// Where an Azure resource is, by the habit of Azure's own libraries.
const AZURE_ENDPOINT: &str = "AZURE_OPENAI_ENDPOINT";
/// Shown where nobody said which resource it is.
const AZURE_UNKNOWN: &str = "https://RESOURCE.openai.azure.com";
/// Foundry's own API takes no request without a version. This is the one that its users send.
const FOUNDRY_VERSION: &str = "2024-05-01-preview";
/// Which project and which location, by the habit of Google's own libraries.
const GOOGLE_PROJECT: [&str; 3] = ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"];
const GOOGLE_LOCATION: [&str; 2] = ["GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"];
/// Stands in a vendor's usual address where every region has its own.
const REGION: &str = "{region}";
/// Nobody said in which region Bedrock is called.
const NO_REGION: Missing =
    Missing { what: "neither `region` nor AWS_REGION is set, and no profile names one", place: "AWS_REGION" };
/// The hosts of Foundry's own API.
const FOUNDRY_HOSTS: &str = ".services.ai.azure.com";

impl Compiler<'_> {
    pub(super) fn address(
        &mut self,
        kind: &Kind,
        section: Option<&file::Provider>,
        known: &Known,
    ) -> Address {
        self.refuse_keys_of_others(kind, section);
        let written = section.and_then(|section| section.base_url.as_ref());
        self.look_at_url(written);
        match kind.cloud() {
            Some(Cloud::Azure) => self.azure(section, written),
            Some(Cloud::Vertex) => self.vertex(section, written, known),
            Some(Cloud::Bedrock) => self.bedrock(section, written, known),
            // Without a host the owner must say whose.
            None if written.is_none() && kind.base_url.starts_with('/') => Address {
                base_url: format!("https://ACCOUNT{}", kind.prefix()),
                surface: Surface::default(),
                missing: self.surroundings.check_secrets.then_some(Missing {
                    what: "`base_url` is not set, and every account has an address of its own",
                    place: "base_url",
                }),
            },
            // Everybody else is at one address, or at the one that is written.
            None => Address {
                base_url: match written {
                    Some(written) if path_of(&written.0).is_empty() => {
                        format!("{}{}", written.0, kind.prefix())
                    }
                    Some(written) => written.0.clone(),
                    None => {
                        kind.base_url.replace(REGION, self.region(section).as_deref().unwrap_or("REGION"))
                    }
                },
                surface: Surface::default(),
                missing: (written.is_none() && kind.base_url.contains(REGION))
                    .then_some(NO_REGION)
                    .filter(|_| self.surroundings.check_secrets && self.region(section).is_none()),
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

    /// Keys that say something about some kinds only.
    fn refuse_keys_of_others(&mut self, kind: &Kind, section: Option<&file::Provider>) {
        let Some(section) = section else { return };
        let file::Provider { api, api_version, region, project, location, credentials, .. } = section;
        let written = [
            ("api", api.as_ref().map(|it| &it.at), BEDROCK),
            ("api_version", api_version.as_ref().map(|it| &it.at), AZURE),
            ("region", region.as_ref().map(|it| &it.at), BEDROCK),
            ("project", project.as_ref().map(|it| &it.at), VERTEX),
            ("location", location.as_ref().map(|it| &it.at), VERTEX),
            ("credentials", credentials.as_ref().map(|it| &it.at), WITH_FILES),
        ];
        for (key, at, clouds) in written {
            let is_meant = |kind: &Kind| kind.cloud().is_some_and(|cloud| clouds.contains(&cloud));
            let Some(at) = at.filter(|_| !is_meant(kind)) else { continue };
            let names = KINDS.iter().filter(|kind| is_meant(kind));
            let names = names.map(|kind| format!("{:?}", kind.name)).collect::<Vec<_>>().join(" or ");
            let message = format!("`{key}` has no use for a provider of kind {:?}", kind.name);
            self.report(Diagnostic::error(at, message).help(format!("it is for kind {names}")));
        }
        if let (Some(_), Some(file)) =
            (&section.api_key, credentials.as_ref().filter(|_| kind.cloud().is_some()))
        {
            let message = "there is an `api_key` too, and only one of them can be used";
            self.report(Diagnostic::error(&file.at, message));
        }
    }

    /// The project and the location stand in the path. An address that already names a project is whole.
    fn vertex(
        &self,
        section: Option<&file::Provider>,
        written: Option<&Located<BaseUrl>>,
        known: &Known,
    ) -> Address {
        let variable = |names: &[&str]| names.iter().find_map(|name| self.set(name));
        let project = section.and_then(|section| section.project.as_ref()).map(|it| it.0.clone());
        let project = project.or_else(|| variable(&GOOGLE_PROJECT)).or_else(|| known.project.clone());
        let location = section.and_then(|section| section.location.as_ref()).map(|it| it.0.clone());
        let location = location.or_else(|| variable(&GOOGLE_LOCATION)).unwrap_or_else(|| "global".to_owned());
        let root = written.map_or_else(|| vertex_host(&location), |written| written.0.clone());
        let (prefix, is_whole) = match path_of(&root) {
            "" => ("/v1", false),
            path => ("", !(path.ends_with("/v1") || path.ends_with("/v1beta1"))),
        };
        let (place, missing) = match project {
            _ if is_whole => (String::new(), false),
            Some(project) => (format!("/projects/{project}/locations/{location}"), false),
            // With a key alone (the express mode) the key says whose the call is.
            None if known.has_key => (String::new(), false),
            None => (format!("/projects/PROJECT/locations/{location}"), self.surroundings.check_secrets),
        };
        Address {
            base_url: format!("{root}{prefix}{place}"),
            surface: Surface::default(),
            missing: missing.then_some(Missing {
                what: "neither `project` nor GOOGLE_CLOUD_PROJECT is set",
                place: GOOGLE_PROJECT[0],
            }),
        }
    }

    fn bedrock(
        &self,
        section: Option<&file::Provider>,
        written: Option<&Located<BaseUrl>>,
        known: &Known,
    ) -> Address {
        let region = self.region(section);
        // A signature is for one region; a key is for the address.
        let needs_none = written.is_some() && known.has_key;
        let missing = region.is_none() && !needs_none && self.surroundings.check_secrets;
        let base_url = written.map_or_else(
            || {
                let region = region.as_deref().unwrap_or("REGION");
                format!("https://bedrock-runtime.{region}.{}", domain(region))
            },
            |written| written.0.clone(),
        );
        let api = section.and_then(|section| section.api.as_ref()).map(|api| api.0);
        Address {
            base_url,
            surface: Surface { api, api_version: None },
            missing: missing.then_some(NO_REGION),
        }
    }

    /// The version in the query marks the older of Azure's addresses; the newer has it in its path.
    fn azure(&mut self, section: Option<&file::Provider>, written: Option<&Located<BaseUrl>>) -> Address {
        let endpoint = self.set(AZURE_ENDPOINT).map(|it| it.trim_end_matches('/').to_owned());
        let root = written.map(|it| it.0.clone()).or(endpoint.filter(|it| Url::parse(it).is_ok()));
        let missing = (root.is_none() && self.surroundings.check_secrets).then_some(Missing {
            what: "neither `base_url` nor AZURE_OPENAI_ENDPOINT is set",
            place: AZURE_ENDPOINT,
        });
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
