//! Piton: an OpenAI-compatible gateway that walks a ranked chain of models and says what it did.

mod chat;
mod clock;
mod providers;
mod reason;
mod units;
mod wire;
