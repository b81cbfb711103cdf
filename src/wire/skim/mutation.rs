//! JSON with changes here and there: for tests that hold two readers of it to each other.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change of a text: some of it gives way to a piece of JSON.
#[derive(Debug, Clone)]
pub struct Change {
    at: Index,
    removed: usize,
    piece: &'static str,
}

/// What is odd, and what is odd only where it stands.
const PIECES: [&str; 21] = [
    "",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "0",
    "1e999",
    "\"x\"",
    "\"content\":\"x\",",
    "\\u0061",
    "\\ud83d",
    "é",
    "\n",
    "{}",
    "[]",
];

/// Any change that puts in one of the usual pieces or one of these.
pub fn change(own: &[&'static str]) -> impl Strategy<Value = Change> + use<> {
    let pieces = [&PIECES, own].concat();
    let parts = (any::<Index>(), 0_usize..6, prop::sample::select(pieces));
    parts.prop_map(|(at, removed, piece)| Change { at, removed, piece })
}

impl Change {
    /// The text with this change.
    pub fn apply(&self, json: &str) -> String {
        let mut json: Vec<char> = json.chars().collect();
        let at = self.at.index(json.len() + 1);
        let end = (at + self.removed).min(json.len());
        json.splice(at..end, self.piece.chars());
        json.into_iter().collect()
    }
}
