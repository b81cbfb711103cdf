//! People in logs: recognisable as the same, not as themselves.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// How user and session names appear in logs and receipts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Identities {
    /// The first 16 hex digits of their SHA-256.
    #[default]
    Hashed,
    /// As they are.
    Plain,
}

impl Identities {
    /// A name as it may be written down.
    pub fn show(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Hashed => hex(&Sha256::digest(name.as_bytes())[..8]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
