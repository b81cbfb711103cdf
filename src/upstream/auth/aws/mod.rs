//! AWS's keys: written down, in a profile, or handed out for a while by a server.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::caller::{Caller, missing, unreadable};
use super::renewed::Fetched;
use super::{Fingerprint, fingerprint};
use crate::clock;
use crate::reason::Failure;
use crate::wire::timestamp;

pub mod profile;
mod served;
mod sts;

pub use profile::ProfileFiles;
pub use served::{Container, ContainerToken};
pub use sts::WebIdentity;

/// What requests are signed with.
#[derive(Clone)]
pub struct Keys {
    /// No secret: every request shows it.
    pub id: String,
    pub secret: SecretString,
    /// Sent along with keys that hold for a while only.
    pub session: Option<SecretString>,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub enum Aws {
    Static(Keys),
    /// A profile of AWS's own files, read anew whenever keys are needed.
    Profile {
        files: ProfileFiles,
        name: String,
        sts: String,
    },
    /// A role, by a token that another system writes into a file.
    WebIdentity {
        identity: WebIdentity,
        sts: String,
    },
    /// The server of an ECS task or an EKS pod.
    Container(Container),
    /// The metadata server of an EC2 machine: `http://169.254.169.254`.
    Metadata {
        root: String,
    },
}

impl Aws {
    /// Tells one source from another.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Static(keys) => fingerprint(&["static", &keys.id, keys.secret.expose_secret()]),
            Self::Profile { files, name, sts } => fingerprint(&[
                "profile",
                &files.credentials.to_string_lossy(),
                &files.config.to_string_lossy(),
                name,
                sts,
            ]),
            Self::WebIdentity { identity, sts } => {
                fingerprint(&["web", &identity.role, &identity.token_file.to_string_lossy(), sts])
            }
            Self::Container(container) => fingerprint(&["container", &container.url]),
            Self::Metadata { root } => fingerprint(&["metadata", root]),
        }
    }

    /// Asks for keys.
    pub async fn fetch(&self, caller: &Caller) -> Result<Fetched<Keys>, Failure> {
        match self {
            Self::Static(keys) => Ok(Fetched { value: keys.clone(), lifetime: None }),
            Self::Profile { files, name, sts } => {
                let plan = files.read().await.plan(name).map_err(|why| missing(&why))?;
                plan.fetch(caller, sts).await
            }
            Self::WebIdentity { identity, sts } => identity.fetch(caller, sts).await,
            Self::Container(container) => container.fetch(caller).await,
            Self::Metadata { root } => served::from_machine(caller, root).await,
        }
    }
}

/// Says nothing of the secrets.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long keys are good that end at this time, written as ISO 8601.
fn lifetime(expiration: &str, whose: &str) -> Result<Duration, Failure> {
    let end = timestamp::rfc3339(expiration).ok_or_else(|| unreadable(whose))?;
    Ok(end.saturating_sub(clock::since_epoch()))
}
