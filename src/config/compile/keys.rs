//! Who may call: callers' keys, the admin key, and what an address that others can reach demands.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::super::diagnostic::{Diagnostic, Located, Location};
use super::super::file;
use super::super::gateway::{CallerKey, Callers, HashedSecret, Server};
use super::super::name::Glob;
use super::super::secret::{ClientSecret, SecretRef};
use super::super::value::Count;
use super::Compiler;
use crate::routing::quota::{Limits, Quota};

/// Whose secret was seen where.
type Seen = HashMap<[u8; 32], String>;

impl Compiler<'_> {
    /// The callers and the admin key.
    pub(super) fn keys(&mut self, server: &Server) -> (Callers, Option<HashedSecret>) {
        self.refuse_open_doors(server);
        let mut seen = Seen::new();
        let admin = self.file.server.admin_key.as_ref();
        let admin = admin.and_then(|written| self.digest(&written.value, &written.at, "`admin_key`"));
        seen.extend(admin.map(|digest| (digest, "`admin_key`".to_owned())));
        let file = self.file;
        let mut keys = Callers::new();
        let mut names = HashSet::new();
        for written in &file.keys {
            if !names.insert(&written.name.value) {
                let message = format!("two keys are named {:?}", written.name.value);
                self.report(
                    Diagnostic::error(&written.name.at, message).help("logs and metrics tell them by it"),
                );
            }
            self.look_at_patterns(written);
            keys.extend(self.caller(written, &mut seen));
        }
        (keys, admin.map(HashedSecret::from_digest))
    }

    fn caller(&mut self, written: &Located<file::Key>, seen: &mut Seen) -> Option<(HashedSecret, CallerKey)> {
        let whose = format!("the key {:?}", written.name.value);
        let digest = match &written.secret.value {
            ClientSecret::Sha256(digest) => *digest,
            ClientSecret::Reference(secret) => self.digest(secret, &written.secret.at, &whose)?,
        };
        if let Some(other) = seen.get(&digest) {
            let message = format!("{whose} has the same secret as {other}");
            let help = "each needs its own, or nobody can tell who called";
            self.report(Diagnostic::error(&written.secret.at, message).help(help));
        }
        seen.insert(digest, whose);
        let globs =
            |globs: &Located<Vec<Located<Glob>>>| globs.iter().map(|glob| glob.value.clone()).collect();
        let name: Arc<str> = written.name.value.as_str().into();
        let limit = |count: &Option<Located<Count>>| count.as_ref().map(|count| count.get());
        let limits = Limits {
            requests_per_minute: limit(&written.requests_per_minute),
            tokens_per_minute: limit(&written.tokens_per_minute),
            concurrency: limit(&written.concurrency),
        };
        let is_limited = limits != Limits::default();
        let quota = is_limited.then(|| Arc::new(Quota::new(limits, self.runtime.taken(&name))));
        let caller = CallerKey {
            name,
            quota,
            chains: written.chains.as_ref().map(globs),
            direct: written.direct.as_ref().map(globs).unwrap_or_default(),
            user: written.user.as_ref().map(|user| user.value.clone()),
            tier: written.tier.as_ref().map(|tier| tier.value.clone()),
            tasks: written.tasks.as_ref().map(globs),
        };
        Some((HashedSecret::from_digest(digest), caller))
    }

    /// The hash of a secret that must be there.
    fn digest(&mut self, secret: &SecretRef, at: &Location, whose: &str) -> Option<[u8; 32]> {
        if !self.surroundings.check_secrets {
            // One that nobody knows: whoever it is of is there all the same.
            let mut unknown = [0; 32];
            fastrand::fill(&mut unknown);
            return Some(unknown);
        }
        let env = |name: &str| self.surroundings.variable(name);
        let found: Result<SecretString, _> = secret.resolve(self.source.base(), &env);
        match found {
            Ok(secret) => Some(Sha256::digest(secret.expose_secret().as_bytes()).into()),
            Err(missing) => {
                self.report(Diagnostic::error(at, format!("the secret of {whose} is missing: {missing}")));
                None
            }
        }
    }

    /// An address that others can reach is guarded, or meant to be open.
    fn refuse_open_doors(&mut self, server: &Server) {
        if is_loopback(server.listen.ip()) {
            return;
        }
        let written = &self.file.server;
        let listen = written.listen.as_ref().filter(|_| self.surroundings.listen.is_none());
        let problem = |message: String| match listen {
            Some(listen) => Diagnostic::error(&listen.at, message),
            None => Diagnostic::nowhere(message),
        };
        let address = server.listen;
        let anonymous = written.allow_anonymous.as_ref().is_some_and(|allowed| allowed.value);
        if self.file.keys.is_empty() && !anonymous && self.is_unwritten("keys") {
            let message =
                format!("{address} can be reached from elsewhere, and without [[keys]] anybody may call");
            let problem = problem(message)
                .help("add [[keys]] with a `name` and a `secret`, for example secret = \"env:PITON_KEY_APP\"")
                .help("or set allow_anonymous = true in [server] if this is meant");
            self.report(problem);
        }
        if written.admin_key.is_none() && self.is_unwritten("server.admin_key") {
            let message = format!(
                "{address} can be reached from elsewhere, so `admin_key` is needed: it guards /piton/* and /metrics"
            );
            self.report(problem(message).help("admin_key = \"env:PITON_ADMIN_KEY\" in [server]"));
        }
    }

    fn look_at_patterns(&mut self, key: &file::Key) {
        for glob in key.chains.iter().flat_map(|globs| &globs.value) {
            let named = self.file.chains.0.keys().any(|name| glob.matches(&name.0));
            if !named && self.is_unwritten("chains") {
                let message = format!("no chain is named like {:?}", glob.value.as_str());
                self.report(Diagnostic::warning(&glob.at, message));
            }
        }
        let allowed = self.file.direct_globs().next().is_some();
        if let Some(direct) = key.direct.as_ref().filter(|globs| !globs.is_empty() && !allowed) {
            let message = "nobody may name models directly: [server] allow_direct is empty";
            self.report(Diagnostic::warning(&direct.at, message));
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
