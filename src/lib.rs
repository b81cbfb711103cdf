//! Piton: an OpenAI-compatible gateway that walks a ranked chain of models and says what it did.

mod catalog;
mod chat;
mod clock;
mod config;
mod layers;
mod memory;
mod mock;
mod ops;
mod providers;
mod reason;
mod routing;
mod units;
mod upstream;
mod wire;
