//! What holds for the dialect as a whole.

use std::sync::Arc;

use crate::chat::TargetFacts;
use crate::chat::target::{Able, Quirks, Thinking};

/// The facts of a model of which nothing is known but its name.
pub fn facts(model: &str) -> TargetFacts {
    TargetFacts {
        model: Arc::from(model),
        max_output: None,
        able: Able::ALL,
        thinking: Thinking::Unknown,
        sampling: true,
        quirks: Quirks::OPENAI,
    }
}
