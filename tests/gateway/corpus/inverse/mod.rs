//! The request in OpenAI's format that means what a native request means: translation backwards, written from the
//! formats' documentation. Opaque reasoning goes where Piton's own answers put it.

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod gemini;
