//! Providers: where they are, which dialect they speak, and as whom they are called.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use regex::Regex;
use reqwest::{Proxy, Url};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file;
use super::super::name;
use super::super::reader::FromText;
use super::super::secret::SecretRef;
use super::super::section::nearest;
use super::address::{Address, Known, Missing};
use super::key_list::{OtherKey, Spare, others};
use super::login::{Login, NoLogin};
use super::terms::words;
use super::{Compiler, inherit};
use crate::ops::identity::hex;
use crate::providers::compatible::{KINDS, Kind};
use crate::providers::surface::Surface;
use crate::providers::{self, Provider as Dialect};
use crate::reason::{Class, Word};
use crate::routing::breaker::BreakerRule;
use crate::routing::chain::Credential;
use crate::upstream::Access;

/// A provider, ready to be called.
pub struct Provider {
    pub name: Arc<str>,
    pub kind: &'static Kind,
    pub surface: Surface,
    /// With the API's prefix, without a slash at its end.
    pub base_url: String,
    pub access: Access,
    pub key_source: KeySource,
    pub credential: Credential,
    /// Which of the keys of a list this is, from 1; `None`: it is no list.
    pub key_number: Option<u32>,
    /// The other keys of the list.
    pub other_keys: Vec<OtherKey>,
    /// What is wrong with the credential, for people.
    pub complaints: Vec<Complaint>,
    pub headers: HeaderMap,
    pub proxy: Option<String>,
    /// It needs no network.
    pub is_offline: bool,
    pub price_factor: f64,
    pub patterns: Vec<(Class, Regex)>,
    pub breaker: Option<BreakerRule>,
    /// The file has a section for it.
    pub is_configured: bool,
    pub tags: Vec<Word>,
}

/// Where the key comes from, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// No key is sent.
    None,
    /// As the file or the vendor's habit says: `env:OPENAI_API_KEY`.
    Named(String),
}

/// Why a credential cannot be used.
#[derive(Debug, Clone)]
pub struct Complaint {
    pub message: String,
    /// Where the file names it; `None`: nowhere, it is the vendor's usual one.
    pub at: Option<Location>,
    pub help: String,
}

/// A provider's key as far as it was found.
pub(super) struct Key {
    pub secret: Option<SecretString>,
    pub source: KeySource,
    pub missing: Option<(String, Complaint)>,
    /// Of a list.
    pub number: Option<u32>,
    pub others: Vec<Spare>,
    /// Of keys that are left out of a list.
    pub left_out: Vec<Complaint>,
}

/// Why a secret cannot be used, and where it should be, for people.
pub(super) struct Unusable {
    pub what: String,
    pub place: String,
}

impl Provider {
    /// Whether calls can be made as far as anyone knows.
    pub fn is_usable(&self) -> bool {
        self.credential.missing.is_none()
    }

    /// How many keys it can be called with, at least one.
    pub fn keys(&self) -> usize {
        1 + self.other_keys.len()
    }

    /// Whether it is the vendor itself, and not another server of its kind.
    pub fn is_vendor(&self) -> bool {
        *self.name == *self.kind.name
            || self.kind.cloud().is_some()
            || origin(&self.base_url) == origin(self.kind.base_url)
    }

    /// The dialect for one of its models, or for the known model that this one is like.
    pub fn dialect(&self, model: &str) -> Arc<dyn Dialect> {
        providers::dialect(self.kind, &self.surface, model)
    }

    /// Whether clients may be let through to it without a chain that names it.
    pub fn is_meant(&self) -> bool {
        self.is_usable() && (self.is_configured || !matches!(self.access, Access::Anyone))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("url", &self.base_url)
            .finish_non_exhaustive()
    }
}

impl Compiler<'_> {
    /// Those of the file, and every vendor that it does not redefine.
    pub(super) fn providers(&mut self) -> HashMap<String, Arc<Provider>> {
        let mut providers = HashMap::new();
        let file = self.file;
        for (name, section) in &file.providers.0 {
            if let Some(kind) = self.kind(&name.0, section) {
                let provider = self.provider(&name.0, kind, Some(section));
                providers.insert(name.0.clone(), Arc::new(provider));
            }
        }
        for kind in KINDS {
            let in_file = file.providers.0.keys().any(|name| name.0 == kind.name);
            if !in_file {
                let provider = self.provider(kind.name, kind, None);
                providers.insert(kind.name.to_owned(), Arc::new(provider));
            }
        }
        providers
    }

    fn kind(&mut self, name: &str, section: &Located<file::Provider>) -> Option<&'static Kind> {
        if let Some(kind) = &section.kind {
            let found = Kind::find(&kind.0);
            if found.is_none() {
                self.report(unknown_kind(&kind.0, &kind.at));
            }
            return found;
        }
        let found = Kind::find(name);
        if found.is_none() && self.is_unwritten(&format!("{}.kind", section.at.path)) {
            let problem = match name::Kind::from_text(name) {
                Err(refusal) => Diagnostic::error(&section.at, refusal.message),
                Ok(_) => Diagnostic::error(&section.at, format!("the provider `{name}` needs a `kind`"))
                    .help("kind = \"openai\" for a server that speaks OpenAI's API; `piton check --kinds` lists all"),
            };
            self.report(problem);
        }
        found
    }

    fn provider(
        &mut self,
        name: &str,
        kind: &'static Kind,
        section: Option<&Located<file::Provider>>,
    ) -> Provider {
        let written = section.map(|section| &section.value);
        let (proxy, no_proxy) = self.proxy(name, written);
        let (mut key, login) = self.key_or_login(name, kind, written, proxy.as_deref());
        let known = Known {
            has_key: key.secret.is_some(),
            project: login.as_ref().and_then(|it| it.project.clone()),
        };
        let Address { base_url, surface, missing } = self.address(kind, written, &known);
        if let Some(Missing { what, place }) = missing {
            key.missing.get_or_insert_with(|| (place.to_owned(), skipped(name, what, None, place)));
        }
        key.missing = key.missing.or(no_proxy);
        let (headers, identifying) = self.headers(name, written, &mut key);
        let material = match (&login, &key.secret) {
            (Some(login), _) => Some(hex(&login.fingerprint)),
            (None, Some(secret)) => Some(secret.expose_secret().to_owned()),
            (None, None) => identifying,
        };
        let access = match (login, key.secret) {
            (Some(login), _) => login.access,
            (None, secret) => secret.map_or(Access::Anyone, Access::Key),
        };
        let (missing, complaint) = key.missing.unzip();
        let mut complaints: Vec<Complaint> = key.left_out.into_iter().chain(complaint).collect();
        let credential = Credential { identity: material.map(|it| identity(&base_url, &it)), missing };
        let other_keys = others(key.others, &base_url, &credential, &mut complaints);
        let patterns = written.and_then(|provider| provider.patterns.as_ref()).into_iter();
        let patterns = patterns.flat_map(|patterns| &patterns.value.0).flat_map(|(class, patterns)| {
            patterns.value.iter().map(|pattern| (class.0, pattern.value.0.clone()))
        });
        Provider {
            name: name.into(),
            kind,
            surface,
            access,
            key_source: key.source,
            credential,
            key_number: key.number,
            other_keys,
            complaints,
            headers,
            proxy,
            is_offline: written.and_then(|it| it.offline.as_ref()).is_some_and(|offline| offline.value),
            price_factor: written.and_then(|provider| provider.price_factor.as_ref()).map_or(1.0, |it| it.0),
            patterns: patterns.collect(),
            breaker: inherit::breaker(&self.file.defaults, written.and_then(|it| it.breaker.as_ref())),
            is_configured: section.is_some(),
            tags: written.map(|it| words(&it.tags).collect()).unwrap_or_default(),
            base_url,
        }
    }

    /// A key where one is written or set, else what a cloud's own tools would use.
    fn key_or_login(
        &self,
        name: &str,
        kind: &Kind,
        section: Option<&file::Provider>,
        proxy: Option<&str>,
    ) -> (Key, Option<Login>) {
        let is_written = section.is_some_and(|section| section.api_key.is_some());
        let has_file = section.is_some_and(|section| section.credentials.is_some());
        let is_set = kind.key_variables.iter().any(|name| self.set(name).is_some());
        if is_written || is_set && !has_file || kind.cloud().is_none() {
            return (self.key(name, kind, section), None);
        }
        let none = |source, missing| (Key { missing, ..Key::unknown(source) }, None);
        if !self.surroundings.check_secrets {
            return none(KeySource::Named("the cloud's own".to_owned()), None);
        }
        match self.login(kind, section, proxy) {
            Some(Ok(login)) => {
                let source = KeySource::Named(login.source.clone());
                (Key::unknown(source), Some(login))
            }
            Some(Err(NoLogin { what, place, at })) => {
                let complaint = skipped(name, &what, at, &place);
                none(KeySource::Named(place.clone()), Some((place, complaint)))
            }
            None => none(KeySource::None, None),
        }
    }

    fn key(&self, name: &str, kind: &Kind, section: Option<&file::Provider>) -> Key {
        if let Some(written) = section.and_then(|section| section.api_key.as_ref()) {
            return match written.value.0.as_slice() {
                [only] => {
                    let source = KeySource::Named(only.to_string());
                    self.found(name, only, Some(&only.at), source)
                }
                several => self.several(name, several),
            };
        }
        // Where everyone has an address of their own, the owner says which is the vendor's.
        let base_url = section.and_then(|section| section.base_url.as_ref());
        let at_home =
            kind.cloud().is_some() || base_url.is_none_or(|it| origin(&it.0) == origin(kind.base_url));
        // A vendor's key goes to that vendor, and to where the owner says that the vendor is; nowhere else.
        if kind.key_variables.is_empty() || !(at_home || name == kind.name) {
            return Key::unknown(KeySource::None);
        }
        let names = kind.key_variables.iter();
        let set =
            names.filter(|name| self.surroundings.variable(name).is_some_and(|key| !key.trim().is_empty()));
        let usual = kind.key_variables.first().copied().unwrap_or_default();
        match set.copied().next() {
            Some(variable) => {
                let secret = SecretRef::Env(variable.to_owned());
                let source = KeySource::Named(secret.to_string());
                self.found(name, &secret, None, source)
            }
            // At another address there may be a server that asks for none.
            None if !at_home => Key::unknown(KeySource::None),
            None => Key {
                missing: self.surroundings.check_secrets.then(|| {
                    let what = match kind.key_variables {
                        [only] => format!("environment variable {only} is not set"),
                        several => format!("none of the environment variables {} is set", several.join(", ")),
                    };
                    (usual.to_owned(), skipped(name, &what, None, usual))
                }),
                ..Key::unknown(KeySource::Named(format!("env:{usual}")))
            },
        }
    }

    fn found(&self, name: &str, secret: &SecretRef, at: Option<&Location>, source: KeySource) -> Key {
        match self.look_up(secret) {
            Ok(secret) => Key { secret, ..Key::unknown(source) },
            Err(Unusable { what, place }) => {
                let complaint = skipped(name, &what, at.cloned(), &place);
                Key { missing: Some((place, complaint)), ..Key::unknown(source) }
            }
        }
    }

    /// The secret; `None` where nobody shall look for it.
    pub(super) fn look_up(&self, secret: &SecretRef) -> Result<Option<SecretString>, Unusable> {
        if !self.surroundings.check_secrets {
            return Ok(None);
        }
        let env = |name: &str| self.surroundings.variable(name);
        let found = secret.resolve(self.source.base(), &env).map_err(|missing| missing.to_string());
        let sendable = found.and_then(|found| match HeaderValue::try_from(found.expose_secret()) {
            Ok(_) => Ok(found),
            Err(_) => Err(format!("the key in {secret} holds characters that no header can carry")),
        });
        sendable.map(Some).map_err(|what| Unusable {
            what,
            place: match secret {
                SecretRef::Env(name) => name.clone(),
                SecretRef::File(path) => path.display().to_string(),
                SecretRef::Literal(_) => secret.to_string(),
            },
        })
    }

    /// The owner's headers, and what of them tells one account from another where there is no key.
    fn headers(
        &self,
        provider: &str,
        section: Option<&file::Provider>,
        key: &mut Key,
    ) -> (HeaderMap, Option<String>) {
        let mut headers = HeaderMap::new();
        let mut identifying = None;
        let written = section.and_then(|section| section.headers.as_ref()).into_iter();
        for (name, value) in written.flat_map(|headers| &headers.value.0) {
            let found = self.found(provider, &value.value.0, Some(&value.at), KeySource::None);
            if let Some(text) = found.secret
                && let Ok(mut header) = HeaderValue::try_from(text.expose_secret())
            {
                header.set_sensitive(true);
                if !matches!(value.value.0, SecretRef::Literal(_)) {
                    identifying.get_or_insert_with(String::new).push_str(text.expose_secret());
                }
                headers.insert(name.0.clone(), header);
            }
            key.missing = key.missing.take().or(found.missing);
        }
        (headers, identifying)
    }

    /// The owner's proxy, or why it is not known.
    fn proxy(
        &mut self,
        provider: &str,
        section: Option<&file::Provider>,
    ) -> (Option<String>, Option<(String, Complaint)>) {
        let Some(written) = section.and_then(|section| section.proxy.as_ref()) else { return (None, None) };
        let found = self.found(provider, &written.value.0, Some(&written.at), KeySource::None);
        let url = found.secret.map(|url| url.expose_secret().to_owned());
        if url.as_ref().is_some_and(|url| Proxy::all(url).is_err()) {
            let problem = Diagnostic::error(&written.at, "this is not the URL of a proxy");
            self.report(problem.help("for example \"http://127.0.0.1:3128\""));
            return (None, None);
        }
        (url, found.missing)
    }
}

/// The error for a target, or a model, of a provider that nobody knows.
pub fn unknown_provider(name: &str, at: &Location, known: &HashMap<String, Arc<Provider>>) -> Diagnostic {
    if let Err(refusal) = name::Kind::from_text(name) {
        return Diagnostic::error(at, refusal.message);
    }
    let message = format!("`{name}` is neither a vendor that Piton knows nor a provider of this file");
    let problem = Diagnostic::error(at, message);
    let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
    names.sort_unstable();
    match nearest(name, names) {
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => problem.help(format!(
            "add [providers.{name}] with its `kind` and `base_url`; `piton check --kinds` lists the vendors"
        )),
    }
}

fn unknown_kind(kind: &str, at: &Location) -> Diagnostic {
    let problem = Diagnostic::error(at, format!("{kind:?} is not a kind of provider that Piton knows"));
    match nearest(kind, KINDS.iter().map(|kind| kind.name)) {
        Some(near) => problem.label(format!("did you mean \"{near}\"?")),
        None => problem.help(
            "kind = \"openai\" is for every server that speaks OpenAI's API; `piton check --kinds` lists all",
        ),
    }
}

impl Key {
    /// One of which nothing more is known.
    pub fn unknown(source: KeySource) -> Self {
        Self { secret: None, source, missing: None, number: None, others: Vec::new(), left_out: Vec::new() }
    }
}

pub(super) fn skipped(name: &str, what: &str, at: Option<Location>, place: &str) -> Complaint {
    Complaint {
        message: format!("{what}: targets of `{name}` are skipped"),
        at,
        help: format!("provide {place}, or take its targets out"),
    }
}

/// The same for the same secret at the same place, in every run.
pub(super) fn identity(base_url: &str, secret: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(origin(base_url));
    hash.update([0]);
    hash.update(secret);
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().take(8).fold(0, |identity, byte| identity << 8 | u64::from(*byte))
}

fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}
