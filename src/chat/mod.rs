//! The canonical chat: one request and one answer, as everything above the providers speaks of them.

mod choice;
pub mod conversation;
pub mod edit;
mod effort;
pub mod embeddings;
pub mod event;
mod foreign;
pub mod image;
mod inline;
mod members;
pub mod openai;
pub mod operation;
mod peek;
pub mod request;
pub mod response;
pub mod stream;
pub mod target;
pub mod usage;

pub use conversation::Conversation;
pub use embeddings::EmbeddingsRequest;
pub use event::{Answer, AnswerFacts, Chunk, Delta, Event, FinishReason, Start};
pub use operation::{Operation, Request};
pub use request::ChatRequest;
pub use response::{ChatResponse, Fold};
pub use stream::{ChatStream, Served};
pub use target::TargetFacts;
pub use usage::Usage;
