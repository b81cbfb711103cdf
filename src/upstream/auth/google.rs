//! Google's OAuth tokens: of a service account, of a user, of the machine.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::caller::{Ask, Caller, missing};
use super::oauth;
use super::renewed::Fetched;
use super::{Fingerprint, fingerprint};
use crate::clock;
use crate::reason::Failure;

/// Where tokens come from.
#[derive(Debug, Clone)]
pub enum Google {
    ServiceAccount(ServiceAccount),
    User(User),
    /// The metadata server of the machine that Piton runs on: its host, and its port if it has one.
    Metadata {
        host: String,
    },
}

/// An account for programs, by its key file.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    pub email: String,
    pub key_id: Option<String>,
    /// PEM.
    pub key: SecretString,
    pub token_uri: String,
    pub project: Option<String>,
}

/// A person who has signed in, by the file that `gcloud auth application-default login` writes.
#[derive(Debug, Clone)]
pub struct User {
    pub client_id: String,
    pub client_secret: SecretString,
    pub refresh_token: SecretString,
    pub token_uri: String,
    /// Who pays for the calls.
    pub project: Option<String>,
}

/// A credentials file. Others have other members, which are not asked for.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<SecretString>,
    token_uri: Option<String>,
    project_id: Option<String>,
    quota_project_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    refresh_token: Option<SecretString>,
}

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The longest that Google lets an assertion live, in seconds.
const ASSERTION: u64 = 3600;
const TOKEN_SERVER: &str = "Google's token server";
const METADATA_SERVER: &str = "the metadata server";

impl Google {
    /// What a credentials file says; the error ends the sentence "the file ...".
    pub fn from_json(text: &str) -> Result<Self, String> {
        let file: File =
            serde_json::from_str(text).map_err(|_| "is no credentials file in JSON".to_owned())?;
        let token_uri = file.token_uri.unwrap_or_else(|| TOKEN_URI.to_owned());
        let lacks = |member: &str| format!("has no `{member}`");
        match file.kind.as_deref() {
            Some("service_account") => {
                let key = file.private_key.ok_or_else(|| lacks("private_key"))?;
                key_pair(&key).ok_or("has a `private_key` that is no RSA key in PEM")?;
                Ok(Self::ServiceAccount(ServiceAccount {
                    email: file.client_email.ok_or_else(|| lacks("client_email"))?,
                    key_id: file.private_key_id,
                    key,
                    token_uri,
                    project: file.project_id,
                }))
            }
            Some("authorized_user") => Ok(Self::User(User {
                client_id: file.client_id.ok_or_else(|| lacks("client_id"))?,
                client_secret: file.client_secret.ok_or_else(|| lacks("client_secret"))?,
                refresh_token: file.refresh_token.ok_or_else(|| lacks("refresh_token"))?,
                token_uri,
                project: file.quota_project_id,
            })),
            Some(kind) => Err(format!(
                "is of type {kind:?}, which is not supported by this version: \"service_account\" and \"authorized_user\" are"
            )),
            None => Err(lacks("type")),
        }
    }

    /// The project that the file names.
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project.as_deref(),
            Self::User(user) => user.project.as_deref(),
            Self::Metadata { .. } => None,
        }
    }

    /// The project that calls are to be counted for, where they must say so.
    pub fn quota_project(&self) -> Option<&str> {
        match self {
            Self::User(user) => user.project.as_deref(),
            Self::ServiceAccount(_) | Self::Metadata { .. } => None,
        }
    }

    /// Tells one source from another.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::ServiceAccount(account) => fingerprint(&[
                "service_account",
                &account.email,
                account.key.expose_secret(),
                &account.token_uri,
            ]),
            Self::User(user) => fingerprint(&[
                "user",
                &user.client_id,
                user.client_secret.expose_secret(),
                user.refresh_token.expose_secret(),
                &user.token_uri,
            ]),
            Self::Metadata { host } => fingerprint(&["metadata", host]),
        }
    }

    /// Asks for a token.
    pub async fn fetch(&self, caller: &Caller) -> Result<Fetched<SecretString>, Failure> {
        match self {
            Self::ServiceAccount(account) => {
                let assertion = account.assertion()?;
                let fields = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("assertion", assertion.expose_secret()),
                ];
                let answer = caller.ask(Ask::form(&account.token_uri, &fields), TOKEN_SERVER).await?;
                oauth::token(&answer, TOKEN_SERVER)
            }
            Self::User(user) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", &user.client_id),
                    ("client_secret", user.client_secret.expose_secret()),
                    ("refresh_token", user.refresh_token.expose_secret()),
                ];
                let answer = caller.ask(Ask::form(&user.token_uri, &fields), TOKEN_SERVER).await?;
                oauth::token(&answer, TOKEN_SERVER)
            }
            Self::Metadata { host } => {
                let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
                let ask = Ask::get(&url).header("metadata-flavor", "Google");
                oauth::token(&caller.ask(ask, METADATA_SERVER).await?, METADATA_SERVER)
            }
        }
    }
}

impl ServiceAccount {
    /// The signed claim that this is the account.
    fn assertion(&self) -> Result<SecretString, Failure> {
        let mut head = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.key_id {
            head["kid"] = json!(id);
        }
        let now = clock::unix_seconds();
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + ASSERTION,
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&head), encode(&claims));
        let unusable = || missing("the service account's key cannot sign");
        let pair = key_pair(&self.key).ok_or_else(unusable)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| unusable())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

/// An RSA key of PEM, PKCS #8 as Google writes it or PKCS #1.
fn key_pair(pem: &SecretString) -> Option<KeyPair> {
    let pem = pem.expose_secret();
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).ok()?;
    KeyPair::from_pkcs8(&der).or_else(|_| KeyPair::from_der(&der)).ok()
}
