//! As whom providers are called: the last step of every outgoing request.
//!
//! Some credentials are what is sent. Others only open the way to what is sent, for a while: those are fetched when
//! they are first needed, kept across reloads ([`Logins`]) and renewed before they end ([`renewed`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::providers::Authorization;
use crate::reason::{Class, Failure};
use crate::upstream::client::{Outgoing, no_url};

pub mod aws;
mod caller;
pub mod entra;
pub mod google;
mod oauth;
mod renewed;
mod sigv4;

#[cfg(test)]
mod tests;

pub use aws::Aws;
pub use caller::Caller;
pub use entra::Entra;
pub use google::Google;

use renewed::{Fetch, Renewed};
use sigv4::{Scope, Unsigned};

/// As whom a provider is called.
#[derive(Debug, Clone)]
pub enum Access {
    /// As anybody.
    Anyone,
    /// By a key, where the dialect wants it.
    Key(SecretString),
    /// By a token.
    Token {
        token: Arc<Renewed<SecretString>>,
        /// The Google Cloud project that calls count for, where the token does not say it.
        quota_project: Option<String>,
    },
    /// By a signature over the whole request.
    Signature {
        keys: Arc<Renewed<aws::Keys>>,
        region: String,
        /// AWS's name of what is called.
        service: &'static str,
    },
}

/// What was shown to an upstream, so that it can be dropped if the upstream refuses it.
#[derive(Debug)]
pub enum Shown {
    /// Nothing that could be fetched anew.
    Fixed,
    Token(Arc<SecretString>),
    Keys(Arc<aws::Keys>),
}

/// Tells one credential from another without holding it.
pub type Fingerprint = [u8; 32];

/// Everything that is fetched and renewed, the same for every configuration that names it.
#[derive(Debug, Default)]
pub struct Logins {
    tokens: Kept<SecretString>,
    keys: Kept<aws::Keys>,
}

type Kept<T> = Mutex<HashMap<Fingerprint, Arc<Renewed<T>>>>;

/// Beyond this many, those that no configuration uses any more are forgotten.
const REMEMBERED: usize = 256;
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// A fingerprint of these parts.
pub fn fingerprint(parts: &[&str]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Logins {
    /// Tokens of Google's.
    pub fn google(&self, source: Google, caller: Caller) -> Arc<Renewed<SecretString>> {
        kept(&self.tokens, source.fingerprint(), &caller.clone(), || {
            Box::new(move || {
                let (source, caller) = (source.clone(), caller.clone());
                async move { source.fetch(&caller).await }.boxed()
            })
        })
    }

    /// Tokens of Microsoft Entra's.
    pub fn entra(&self, source: Entra, caller: Caller) -> Arc<Renewed<SecretString>> {
        kept(&self.tokens, source.fingerprint(), &caller.clone(), || {
            Box::new(move || {
                let (source, caller) = (source.clone(), caller.clone());
                async move { source.fetch(&caller).await }.boxed()
            })
        })
    }

    /// Keys of AWS's.
    pub fn aws(&self, source: Aws, caller: Caller) -> Arc<Renewed<aws::Keys>> {
        kept(&self.keys, source.fingerprint(), &caller.clone(), || {
            Box::new(move || {
                let (source, caller) = (source.clone(), caller.clone());
                async move { source.fetch(&caller).await }.boxed()
            })
        })
    }
}

fn kept<T: Send + Sync + 'static>(
    kept: &Kept<T>,
    source: Fingerprint,
    caller: &Caller,
    fetch: impl FnOnce() -> Fetch<T>,
) -> Arc<Renewed<T>> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= REMEMBERED {
        kept.retain(|_, renewed| Arc::strong_count(renewed) > 1);
    }
    let mut hash = Sha256::new();
    hash.update(source);
    hash.update(caller.proxy.as_deref().unwrap_or_default());
    Arc::clone(kept.entry(hash.finalize().into()).or_insert_with(|| Renewed::new(fetch())))
}

impl Access {
    /// The header that is the same in every request; its value is `None` where no header can carry the key.
    pub fn fixed(&self, place: Authorization) -> Option<(HeaderName, Option<HeaderValue>)> {
        match self {
            Self::Key(key) => Some(match place {
                Authorization::Bearer => (AUTHORIZATION, sensitive(&bearer(key))),
                Authorization::Header(name) => {
                    (HeaderName::from_static(name), sensitive(key.expose_secret()))
                }
            }),
            Self::Anyone | Self::Token { .. } | Self::Signature { .. } => None,
        }
    }

    /// Adds what is not the same in every request to one that is otherwise whole. `owners` are headers that the
    /// owner set himself: they stand, but over a signature.
    pub async fn authorize(&self, call: &mut Outgoing<'_>, owners: &HeaderMap) -> Result<Shown, Failure> {
        match self {
            Self::Anyone | Self::Key(_) => Ok(Shown::Fixed),
            Self::Token { token, quota_project } => {
                let token = token.get().await?;
                let mut add = |name: HeaderName, value: &str| {
                    let value = sensitive(value).ok_or_else(unsendable)?;
                    if !owners.contains_key(&name) {
                        call.headers.insert(name, value);
                    }
                    Ok(())
                };
                add(AUTHORIZATION, &bearer(&token))?;
                if let Some(project) = quota_project {
                    add(QUOTA_PROJECT, project)?;
                }
                Ok(Shown::Token(token))
            }
            Self::Signature { keys, region, service } => {
                let keys = keys.get().await?;
                let unsigned = Unsigned {
                    method: "POST",
                    url: &call.url().ok_or_else(no_url)?,
                    headers: &call.headers,
                    payload: sigv4::hash_of(&call.body).await,
                };
                let signed = sigv4::sign(&unsigned, &keys, Scope { region, service }, clock::since_epoch());
                for (name, value) in signed.ok_or_else(unsendable)? {
                    call.headers.insert(name, value);
                }
                Ok(Shown::Keys(keys))
            }
        }
    }

    /// An upstream refused what it was shown: the next request shows something else, if anything else is to be had.
    pub fn refused(&self, shown: &Shown) {
        match (self, shown) {
            (Self::Token { token, .. }, Shown::Token(refused)) => token.forget(refused),
            (Self::Signature { keys, .. }, Shown::Keys(refused)) => keys.forget(refused),
            (Self::Anyone | Self::Key(_) | Self::Token { .. } | Self::Signature { .. }, _) => {}
        }
    }
}

fn bearer(token: &SecretString) -> String {
    format!("Bearer {}", token.expose_secret())
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// No header can carry the credential.
pub fn unsendable() -> Failure {
    Failure::new(Class::ConnectFailed, "The credential holds characters that no header can carry.")
}
