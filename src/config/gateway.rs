//! The configuration as it serves: one immutable snapshot, taken by each request at its beginning and kept to its
//! end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::direct::{DirectAccess, WILD};
use super::name::Glob;
use crate::ops::ledger;
use crate::routing::Chain;
use crate::routing::branch::Detour;
use crate::routing::budget::Budget;
use crate::routing::quota::Quota;

/// Everything that decides about a request.
#[derive(Debug)]
pub struct Gateway {
    /// A short hash of the file and of what it names: `x-piton-config`.
    pub hash: Arc<str>,
    pub server: Server,
    /// By name, in file order.
    pub chains: IndexMap<Arc<str>, Arc<Chain>>,
    /// Empty: anybody who reaches the address may call.
    pub keys: Callers,
    pub admin_key: Option<HashedSecret>,
    /// `provider/model` names that clients may use themselves.
    pub direct: DirectAccess,
    /// Where it is, is fixed at start.
    pub ledger: ledger::Settings,
}

/// How the gateway serves.
#[derive(Debug, Clone)]
pub struct Server {
    /// Fixed at start.
    pub listen: SocketAddr,
    /// Whether anybody may call, from anywhere.
    pub allow_anonymous: bool,
    /// Whether `/metrics` needs no admin key.
    pub open_metrics: bool,
    /// Bytes.
    pub max_body: usize,
    /// Bytes.
    pub max_answer: usize,
    /// Bytes.
    pub buffer_memory: usize,
    pub max_in_flight: u32,
    pub body_timeout: Duration,
    pub drain: Duration,
}

/// Who may call, by their secrets.
pub type Callers = HashMap<HashedSecret, CallerKey>;

/// One caller.
#[derive(Debug)]
pub struct CallerKey {
    pub name: Arc<str>,
    /// Chains that it may call; `None`: all.
    pub chains: Option<Vec<Glob>>,
    /// Direct names that it may use, within what the server allows.
    pub direct: Vec<Glob>,
    /// Overrides what the client claims.
    pub user: Option<String>,
    /// Overrides what the client claims.
    pub tier: Option<String>,
    /// The tasks that its requests may have; `None`: any.
    pub tasks: Option<Vec<Glob>>,
    /// `None`: it may take as much as it likes.
    pub quota: Option<Arc<Quota>>,
}

/// The key may not claim this task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForbiddenTask;

/// A secret that is only ever compared or looked up: its SHA-256.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HashedSecret([u8; 32]);

impl HashedSecret {
    /// The hash of this secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// The secret of this hash.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Whether `secret` is the one; the time this takes tells nothing of it.
    pub fn matches(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::of(secret).0).into()
    }
}

impl std::fmt::Debug for HashedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashedSecret(..)")
    }
}

impl Gateway {
    /// The caller with this secret. The time that it takes tells of hashes only, from which no secret can be guessed.
    pub fn caller(&self, secret: &str) -> Option<&CallerKey> {
        self.keys.get(&HashedSecret::of(secret))
    }

    /// Its budgets.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.direct.parts().budgets.iter()
    }

    /// The chain of this name, be it a direct one.
    pub fn chain(&self, name: &str) -> Option<Arc<Chain>> {
        self.chains.get(name).cloned().or_else(|| self.direct.chain(name))
    }

    /// The chain that serves what was asked of `asked`, and the branches that lead to it.
    pub fn follow(
        &self,
        asked: &Arc<Chain>,
        task: Option<&str>,
        tier: Option<&str>,
    ) -> (Arc<Chain>, Option<Detour>) {
        let mut chain = Arc::clone(asked);
        let mut taken = Vec::new();
        // Ends: no branch leads back.
        while let Some(branch) = chain.branches.as_ref().and_then(|all| all.take(&chain.name, task, tier))
            && let Some(next) = self.chains.get(&branch.to)
        {
            chain = Arc::clone(next);
            taken.push(branch);
        }
        let detour = Detour { asked: Arc::clone(&asked.name), taken };
        (chain, (!detour.taken.is_empty()).then_some(detour))
    }
}

impl CallerKey {
    /// Whether it reaches the chain, or may use the direct name.
    pub fn reaches(&self, name: &str) -> bool {
        if name.contains('/') {
            return self.direct.iter().any(|glob| glob.matches(name));
        }
        self.chains.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.matches(name)))
    }

    /// The task of a request that claims this one. A request that claims none has the key's task, where that is
    /// only one.
    pub fn task<'a>(&'a self, claimed: Option<&'a str>) -> Result<Option<&'a str>, ForbiddenTask> {
        match (&self.tasks, claimed) {
            (None, _) => Ok(claimed),
            (Some(globs), Some(task)) if globs.iter().any(|glob| glob.matches(task)) => Ok(claimed),
            (Some(_), Some(_)) => Err(ForbiddenTask),
            (Some(globs), None) => Ok(match globs.as_slice() {
                [only] if !only.as_str().contains(WILD) => Some(only.as_str()),
                _ => None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_known_by_their_secrets_and_no_hash_of_one_is_shown() {
        let digest: [u8; 32] = Sha256::digest(b"hunter2").into();
        let caller = CallerKey {
            name: "a".into(),
            chains: None,
            direct: Vec::new(),
            user: None,
            tier: None,
            tasks: None,
            quota: None,
        };
        let keys = Callers::from([(HashedSecret::from_digest(digest), caller)]);
        let of = |secret: &str| keys.get(&HashedSecret::of(secret)).map(|caller| &*caller.name);
        assert_eq!((of("hunter2"), of("hunter3")), (Some("a"), None));
        let shown = format!("{keys:?}");
        assert!(shown.contains("HashedSecret(..)") && !shown.contains(&digest[0].to_string()), "{shown}");
    }
}
