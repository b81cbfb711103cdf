//! What a client must be told for a recorded answer, by each provider's documentation: independent of the code that
//! it judges.

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod embeddings;
pub mod event_stream;
pub mod fault;
pub mod gemini;
pub mod openai;
