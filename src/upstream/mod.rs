//! The only outbound I/O: one upstream call from a canonical request to a canonical answer. It says what failed;
//! it never decides what follows.

pub mod auth;
mod client;
mod embeddings;
mod endpoint;
mod images;
mod reply;
mod service;

pub use auth::{Access, Logins};
pub use client::{By, Clients, NoClient};
pub use endpoint::{Endpoint, Settings};
pub use images::Fetcher;
pub use service::Upstream;
