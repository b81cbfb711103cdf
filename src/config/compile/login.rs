//! As whom a cloud is called: what its own tools would find, in the order in which they look.

use std::path::{Path, PathBuf};

use super::super::diagnostic::Located;
use super::super::file;
use super::super::secret::CredentialsFile;
use super::Compiler;
use crate::providers::compatible::{Cloud, Kind};
use crate::upstream::auth::aws::{self, Container, ContainerToken, ProfileFiles, WebIdentity};
use crate::upstream::auth::entra::{Application, Managed, ManagedAt};
use crate::upstream::auth::{Access, Aws, Caller, Entra, Fingerprint, Google};

/// A credential that opens the way to what is sent.
pub(super) struct Login {
    pub access: Access,
    pub fingerprint: Fingerprint,
    /// Where it was found, for people.
    pub source: String,
    /// The project that it names.
    pub project: Option<String>,
}

/// Why there is no login.
pub(super) struct NoLogin {
    pub what: String,
    /// What to provide.
    pub place: String,
    pub at: Option<super::super::diagnostic::Location>,
}

/// Where gcloud leaves what a person signed in for, below the home directory.
const GCLOUD: &str = ".config/gcloud/application_default_credentials.json";
/// Where an ECS task's relative addresses begin.
const ECS: &str = "http://169.254.170.2";
const AUTHORITY: &str = "https://login.microsoftonline.com";
const NO_PROFILE: &str = "default";

impl Compiler<'_> {
    /// The login of a cloud, for kinds that have one. `None`: the kind has none.
    pub(super) fn login(
        &self,
        kind: &Kind,
        section: Option<&file::Provider>,
        proxy: Option<&str>,
    ) -> Option<Result<Login, NoLogin>> {
        let file = section.and_then(|section| section.credentials.as_ref());
        let caller = Caller { clients: self.runtime.clients.clone(), proxy: proxy.map(str::to_owned) };
        match kind.cloud()? {
            Cloud::Vertex => Some(self.google(file).map(|(source, found)| Login {
                fingerprint: source.fingerprint(),
                project: source.project().map(str::to_owned),
                source: found,
                access: Access::Token {
                    quota_project: source.quota_project().map(str::to_owned),
                    token: self.runtime.logins.google(source, caller),
                },
            })),
            Cloud::Bedrock => {
                let region = self.region(section).unwrap_or_default();
                Some(self.amazon(file, &region).map(|(source, found)| Login {
                    fingerprint: source.fingerprint(),
                    project: None,
                    source: found,
                    access: Access::Signature {
                        keys: self.runtime.logins.aws(source, caller),
                        region,
                        service: "bedrock",
                    },
                }))
            }
            Cloud::Azure => Some(self.microsoft().map(|(source, found)| Login {
                fingerprint: source.fingerprint(),
                project: None,
                source: found,
                access: Access::Token {
                    token: self.runtime.logins.entra(source, caller),
                    quota_project: None,
                },
            })),
        }
    }

    /// Where Bedrock is called: what the file says, the environment, the address, the profile.
    pub(super) fn region(&self, section: Option<&file::Provider>) -> Option<String> {
        let written = section.and_then(|section| section.region.as_ref()).map(|region| region.0.clone());
        let in_address = || {
            let url = section?.base_url.as_ref()?;
            let (_, rest) = url.0.split_once("bedrock-runtime")?;
            let rest = rest.strip_prefix("-fips").unwrap_or(rest);
            let region = rest.strip_prefix('.')?.split('.').next()?;
            region.contains('-').then(|| region.to_owned())
        };
        let in_profile = || {
            let file = section.and_then(|section| section.credentials.as_ref());
            let name = self.profile_name();
            Some(self.profile_files(file)?.read_now().region(&name)?.to_owned())
        };
        written
            .or_else(in_address)
            .or_else(|| self.set("AWS_REGION"))
            .or_else(|| self.set("AWS_DEFAULT_REGION"))
            .or_else(in_profile)
    }

    /// An environment variable that says something.
    pub(super) fn set(&self, name: &str) -> Option<String> {
        let value = self.surroundings.variable(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn google(&self, file: Option<&Located<CredentialsFile>>) -> Result<(Google, String), NoLogin> {
        if let Some(file) = file {
            let path = self.source.base().join(&file.value.0);
            return google_file(&path).map_err(|what| NoLogin { at: Some(file.at.clone()), ..what });
        }
        if let Some(path) = self.set("GOOGLE_APPLICATION_CREDENTIALS") {
            return google_file(Path::new(&path));
        }
        let gcloud = match self.set("CLOUDSDK_CONFIG") {
            Some(folder) => Some(Path::new(&folder).join("application_default_credentials.json")),
            None => self.home().map(|home| home.join(GCLOUD)),
        };
        if let Some(path) = gcloud.filter(|path| path.exists()) {
            return google_file(&path);
        }
        match self.set("GCE_METADATA_HOST") {
            Some(host) => Ok((Google::Metadata { host }, "metadata server".to_owned())),
            None => Err(NoLogin {
                what: "GOOGLE_APPLICATION_CREDENTIALS is not set, and there is no `credentials`".to_owned(),
                place: "GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
                at: None,
            }),
        }
    }

    fn amazon(
        &self,
        file: Option<&Located<CredentialsFile>>,
        region: &str,
    ) -> Result<(Aws, String), NoLogin> {
        let sts = self.set("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| match region {
            "" => "https://sts.amazonaws.com".to_owned(),
            region => format!("https://sts.{region}.{}", domain(region)),
        });
        if file.is_none()
            && let (Some(id), Some(secret)) =
                (self.set("AWS_ACCESS_KEY_ID"), self.set("AWS_SECRET_ACCESS_KEY"))
        {
            let session = self.set("AWS_SESSION_TOKEN").map(Into::into);
            let keys = aws::Keys { id, secret: secret.into(), session };
            return Ok((Aws::Static(keys), "env:AWS_ACCESS_KEY_ID".to_owned()));
        }
        let name = self.profile_name();
        if let Some(files) = self.profile_files(file) {
            let profiles = files.read_now();
            // A profile that somebody asked for must be there.
            let is_asked_for = file.is_some() || self.set("AWS_PROFILE").is_some();
            let plan = profiles.plan(&name);
            if plan.is_ok() || is_asked_for {
                plan.map_err(|what| NoLogin {
                    what,
                    place: format!("the AWS profile `{name}`"),
                    at: file.map(|file| file.at.clone()),
                })?;
                return Ok((Aws::Profile { files, name: name.clone(), sts }, format!("AWS profile {name}")));
            }
        }
        if let (Some(token_file), Some(role)) =
            (self.set("AWS_WEB_IDENTITY_TOKEN_FILE"), self.set("AWS_ROLE_ARN"))
        {
            let session = self.set("AWS_ROLE_SESSION_NAME");
            let identity = WebIdentity { role, token_file: token_file.into(), session };
            return Ok((Aws::WebIdentity { identity, sts }, "env:AWS_WEB_IDENTITY_TOKEN_FILE".to_owned()));
        }
        if let Some(container) = self.container() {
            return Ok((Aws::Container(container), "container credentials".to_owned()));
        }
        let is_off =
            self.set("AWS_EC2_METADATA_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
        match self.set("AWS_EC2_METADATA_SERVICE_ENDPOINT").filter(|_| !is_off) {
            Some(root) => {
                let root = root.trim_end_matches('/').to_owned();
                Ok((Aws::Metadata { root }, "metadata server".to_owned()))
            }
            None => Err(NoLogin {
                what: "neither AWS_ACCESS_KEY_ID nor an AWS profile nor AWS_BEARER_TOKEN_BEDROCK is there"
                    .to_owned(),
                place: "AWS_ACCESS_KEY_ID".to_owned(),
                at: None,
            }),
        }
    }

    fn container(&self) -> Option<Container> {
        let relative = self.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{ECS}{path}"));
        let url = relative.or_else(|| self.set("AWS_CONTAINER_CREDENTIALS_FULL_URI"))?;
        let file = self.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        let file = file.map(|path| ContainerToken::File(path.into()));
        let text =
            || self.set("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|text| ContainerToken::Text(text.into()));
        Some(Container { url, token: file.or_else(text) })
    }

    fn microsoft(&self) -> Result<(Entra, String), NoLogin> {
        let client = self.set("AZURE_CLIENT_ID");
        if let (Some(tenant), Some(client)) = (self.set("AZURE_TENANT_ID"), client.clone()) {
            let authority = self.set("AZURE_AUTHORITY_HOST").map(|host| {
                let host = host.trim_end_matches('/').to_owned();
                if host.contains("://") { host } else { format!("https://{host}") }
            });
            let authority = authority.unwrap_or_else(|| AUTHORITY.to_owned());
            let application = Application { authority, tenant, client };
            if let Some(secret) = self.set("AZURE_CLIENT_SECRET") {
                let source = Entra::Secret { application, secret: secret.into() };
                return Ok((source, "env:AZURE_CLIENT_SECRET".to_owned()));
            }
            if let Some(file) = self.set("AZURE_FEDERATED_TOKEN_FILE") {
                let source = Entra::Workload { application, token_file: file.into() };
                return Ok((source, "env:AZURE_FEDERATED_TOKEN_FILE".to_owned()));
            }
        }
        let managed =
            |at| (Entra::Managed(Managed { client: client.clone(), at }), "managed identity".to_owned());
        if let (Some(url), Some(header)) = (self.set("IDENTITY_ENDPOINT"), self.set("IDENTITY_HEADER")) {
            return Ok(managed(ManagedAt::Endpoint { url, header: header.into() }));
        }
        match self.set("AZURE_POD_IDENTITY_AUTHORITY_HOST") {
            Some(root) => {
                Ok(managed(ManagedAt::Metadata { root: root.trim_end_matches('/').to_owned() }))
            }
            None => Err(NoLogin {
                what: "neither AZURE_OPENAI_API_KEY nor Entra's AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are set".to_owned(),
                place: "AZURE_OPENAI_API_KEY".to_owned(),
                at: None,
            }),
        }
    }

    fn profile_name(&self) -> String {
        self.set("AWS_PROFILE")
            .or_else(|| self.set("AWS_DEFAULT_PROFILE"))
            .unwrap_or_else(|| NO_PROFILE.to_owned())
    }

    fn profile_files(&self, file: Option<&Located<CredentialsFile>>) -> Option<ProfileFiles> {
        let folder = self.home().map(|home| home.join(".aws"));
        let usual = |variable: &str, name: &str| {
            let set = self.set(variable).map(PathBuf::from);
            set.or_else(|| Some(folder.as_ref()?.join(name)))
        };
        let config = usual("AWS_CONFIG_FILE", "config");
        let credentials = match file {
            Some(file) => Some(self.source.base().join(&file.value.0)),
            None => usual("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        };
        let sso_cache = folder.as_ref().map(|folder| folder.join("sso/cache"));
        // Either of them may be the only one.
        let (credentials, config) = match (credentials, config) {
            (Some(credentials), Some(config)) => (credentials, config),
            (Some(only), None) | (None, Some(only)) => (only.clone(), only),
            (None, None) => return None,
        };
        Some(ProfileFiles { credentials, config, sso_cache })
    }

    fn home(&self) -> Option<PathBuf> {
        self.set("HOME").map(PathBuf::from)
    }
}

/// The domain of AWS's services in a region.
pub(super) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

fn google_file(path: &Path) -> Result<(Google, String), NoLogin> {
    let place = format!("file:{}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"));
    match text.and_then(|text| Google::from_json(&text)) {
        Ok(source) => Ok((source, place)),
        Err(why) => Err(NoLogin { what: format!("the file {} {why}", path.display()), place, at: None }),
    }
}
