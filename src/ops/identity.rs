//! People in logs: recognisable as the same, not as themselves.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// What logs and receipts call a user or a session: the first 16 hex digits of the name's SHA-256.
pub fn pseudonym(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes())[..8])
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
