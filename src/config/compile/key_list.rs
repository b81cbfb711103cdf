//! A list of keys for one provider: requests go from one to the next.

use secrecy::{ExposeSecret, SecretString};

use super::super::diagnostic::{Located, Location};
use super::super::secret::SecretRef;
use super::Compiler;
use super::provider::{Complaint, Key, KeySource, Unusable, identity, skipped};
use crate::routing::chain::Credential;
use crate::upstream::Access;

/// A further key of a provider.
#[derive(Debug, Clone)]
pub struct OtherKey {
    /// Its place in the list, from 1.
    pub number: u32,
    pub access: Access,
    pub credential: Credential,
}

/// A further key as it was found. Its secret is not known where nobody shall look for it.
pub(super) struct Spare {
    number: u32,
    secret: Option<SecretString>,
    at: Location,
}

impl Compiler<'_> {
    /// The keys of a list. One that is missing is left out; if all are, so is the provider.
    pub(super) fn several(&self, name: &str, list: &[Located<SecretRef>]) -> Key {
        let (mut present, mut places, mut left_out, mut shown) = (vec![], vec![], vec![], vec![]);
        for (number, written) in (1..).zip(list) {
            match self.look_up(written) {
                Ok(secret) => {
                    present.push(Spare { number, secret, at: written.at.clone() });
                    shown.push(written.to_string());
                }
                Err(Unusable { what, place }) => {
                    shown.push(format!("{} (missing)", written.value));
                    left_out.push(Complaint {
                        message: format!("{what}: this key of `{name}` is left out"),
                        at: Some(written.at.clone()),
                        help: format!("provide {place}, or take it out of the list"),
                    });
                    places.push(place);
                }
            }
        }
        let source = KeySource::Named(format!("keys {}", shown.join(", ")));
        if present.is_empty() {
            let at = list.first().map(|first| first.at.clone());
            let places = places.join(", ");
            let complaint = skipped(name, "none of the keys of the list is there", at, &places);
            return Key { missing: Some((places, complaint)), ..Key::unknown(source) };
        }
        let Spare { number, secret, .. } = present.remove(0);
        Key { secret, number: Some(number), others: present, left_out, ..Key::unknown(source) }
    }
}

/// The other keys of the list. One that is there twice counts once.
pub(super) fn others(
    keys: Vec<Spare>,
    base_url: &str,
    first: &Credential,
    complaints: &mut Vec<Complaint>,
) -> Vec<OtherKey> {
    let mut others: Vec<OtherKey> = Vec::new();
    for Spare { number, secret, at } in keys {
        let identity = secret.as_ref().map(|secret| identity(base_url, secret.expose_secret()));
        let mut known = std::iter::once(first).chain(others.iter().map(|other| &other.credential));
        if identity.is_some() && known.any(|known| known.identity == identity) {
            complaints.push(Complaint {
                message: format!("the key {number} of the list is the same as one before it"),
                at: Some(at),
                help: "it counts once: take it out, or give it a secret of its own".to_owned(),
            });
            continue;
        }
        let access = secret.map_or(Access::Anyone, Access::Key);
        let credential = Credential { identity, missing: first.missing.clone() };
        others.push(OtherKey { number, access, credential });
    }
    others
}
