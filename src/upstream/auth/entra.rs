//! Microsoft Entra's tokens for Azure: of an application, of a workload, of the machine.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::caller::{Ask, Caller, missing};
use super::oauth;
use super::renewed::Fetched;
use super::{Fingerprint, fingerprint};
use crate::providers::path::segment;
use crate::reason::Failure;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub enum Entra {
    /// An application with a secret.
    Secret { application: Application, secret: SecretString },
    /// An application to which another system's token belongs: Kubernetes writes it into a file, and anew there.
    Workload { application: Application, token_file: PathBuf },
    /// The machine, or the service, that Piton runs on.
    Managed(Managed),
}

/// An application in a tenant.
#[derive(Debug, Clone)]
pub struct Application {
    /// `https://login.microsoftonline.com`, without a slash at its end.
    pub authority: String,
    pub tenant: String,
    pub client: String,
}

/// A managed identity.
#[derive(Debug, Clone)]
pub struct Managed {
    /// The identity, where there are several.
    pub client: Option<String>,
    pub at: ManagedAt,
}

/// Who tells a managed identity's token.
#[derive(Debug, Clone)]
pub enum ManagedAt {
    /// App Service, Functions, Container Apps: the URL and the word to show there.
    Endpoint { url: String, header: SecretString },
    /// The metadata server of a virtual machine: `http://169.254.169.254`.
    Metadata { root: String },
}

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const TOKEN_SERVER: &str = "Entra's token server";
const IDENTITY_SERVER: &str = "the managed identity's server";

impl Entra {
    /// Tells one source from another.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Secret { application: Application { authority, tenant, client }, secret } => {
                fingerprint(&["secret", authority, tenant, client, secret.expose_secret()])
            }
            Self::Workload { application: Application { authority, tenant, client }, token_file } => {
                fingerprint(&["workload", authority, tenant, client, &token_file.to_string_lossy()])
            }
            Self::Managed(Managed { client, at }) => {
                let client = client.as_deref().unwrap_or_default();
                match at {
                    ManagedAt::Endpoint { url, .. } => fingerprint(&["endpoint", client, url]),
                    ManagedAt::Metadata { root } => fingerprint(&["metadata", client, root]),
                }
            }
        }
    }

    /// Asks for a token.
    pub async fn fetch(&self, caller: &Caller) -> Result<Fetched<SecretString>, Failure> {
        let scope = format!("{RESOURCE}/.default");
        match self {
            Self::Secret { application, secret } => {
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", application.client.as_str()),
                    ("client_secret", secret.expose_secret()),
                    ("scope", &scope),
                ];
                let answer = caller.ask(Ask::form(&application.token_url(), &fields), TOKEN_SERVER).await?;
                oauth::token(&answer, TOKEN_SERVER)
            }
            Self::Workload { application, token_file } => {
                let assertion = tokio::fs::read_to_string(token_file).await;
                let assertion = SecretString::from(
                    assertion.map_err(|_| missing("the workload's token file cannot be read"))?,
                );
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", application.client.as_str()),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_assertion", assertion.expose_secret().trim()),
                    ("scope", &scope),
                ];
                let answer = caller.ask(Ask::form(&application.token_url(), &fields), TOKEN_SERVER).await?;
                oauth::token(&answer, TOKEN_SERVER)
            }
            Self::Managed(managed) => managed.fetch(caller).await,
        }
    }
}

impl Application {
    fn token_url(&self) -> String {
        format!("{}/{}/oauth2/v2.0/token", self.authority, segment(&self.tenant))
    }
}

impl Managed {
    async fn fetch(&self, caller: &Caller) -> Result<Fetched<SecretString>, Failure> {
        let client =
            self.client.as_ref().map_or_else(String::new, |id| format!("&client_id={}", segment(id)));
        let resource = segment(RESOURCE);
        let url = match &self.at {
            ManagedAt::Endpoint { url, .. } => {
                format!("{url}?api-version=2019-08-01&resource={resource}{client}")
            }
            ManagedAt::Metadata { root } => format!(
                "{root}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}{client}"
            ),
        };
        let ask = match &self.at {
            ManagedAt::Endpoint { header, .. } => {
                Ask::get(&url).header("x-identity-header", header.expose_secret())
            }
            ManagedAt::Metadata { .. } => Ask::get(&url).header("metadata", "true"),
        };
        oauth::token(&caller.ask(ask, IDENTITY_SERVER).await?, IDENTITY_SERVER)
    }
}
