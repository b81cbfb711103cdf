//! Piton: an OpenAI-compatible gateway that walks a ranked chain of models and says what it did.

mod clock;
mod reason;
mod units;
