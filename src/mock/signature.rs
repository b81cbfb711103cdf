//! The opaque proofs of their reasoning that simulated models give out and later ask for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Enough of a digest that nobody meets one by chance.
const PROOF: usize = 24;

/// A signature over a thought by this family of models; base64, as all providers have it.
pub fn sign(family: &str, thought: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(family);
    digest.update([0]);
    digest.update(thought);
    let mut bytes = family.as_bytes().to_vec();
    bytes.push(b':');
    bytes.extend(digest.finalize().iter().take(PROOF));
    STANDARD.encode(bytes)
}

/// Whether the family signed this thought.
pub fn verify(family: &str, thought: &str, signature: &str) -> bool {
    sign(family, thought) == signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_thought_and_family_alone() {
        let signature = sign("anthropic", "Hm.");
        assert!(verify("anthropic", "Hm.", &signature));
        assert!(!verify("anthropic", "Hm!", &signature) && !verify("gemini", "Hm.", &signature));
        assert!(!verify("anthropic", "Hm.", signature.trim_end_matches('=')) || !signature.ends_with('='));
    }
}
