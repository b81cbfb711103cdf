//! Piton: an OpenAI-compatible gateway that walks a ranked chain of models and says what it did.
//!
//! # The map: one request's journey
//!
//! 1. [`server`] takes a connection in, checks who calls, reads the body within the shared [`memory`] budget, and
//!    peeks into it ([`chat::request`], [`chat::embeddings`]): which chain, what it needs, how large it is. The bytes
//!    stay as they came.
//! 2. It takes one snapshot of the configuration ([`config::gateway`]) and keeps it to the end, however often the
//!    file is reloaded meanwhile ([`config::live`]).
//! 3. Its task or tier may lead it to another chain ([`routing::branch`]). [`routing::plan`] puts the targets of the chain
//!    in order, [`routing::step`] judges each as its turn comes: whom it serves and when ([`routing::terms`]), what the
//!    request needs that it lacks, its window, its price, its credential. [`routing::run`] asks them until one answers
//!    or the chain must stop.
//! 4. Around each target stand the [`layers`]: retry, commit, budget, record, ceiling, breaker, deadline, meter. Their
//!    order is one function. They speak of failures only in the words of [`reason`].
//! 5. [`upstream`] makes the call. A dialect of [`providers`] wrote the request and reads the answer; it does no I/O.
//!    What the call needs besides, `upstream` gets first: a credential that must be fetched, images behind addresses.
//! 6. The answer is a [`chat::ChatStream`] whose first content is already in hand, streamed or not. The server
//!    encodes it as JSON or as server-sent events, at the client's pace.
//! 7. However the request ends, [`ops`] writes it down once: log lines, metrics, a receipt.
//!
//! [`cli`] starts all this; [`mock`] plays the providers for the demo and for users' tests.
//!
//! # Who may import whom
//!
//! | module | may use |
//! | --- | --- |
//! | `units`, `clock`, `reason`, `memory` | nothing of ours |
//! | `wire` | `units` |
//! | `chat` | `units`, `reason`, `wire` |
//! | `providers` | `chat`, `wire`, `units`, `reason` |
//! | `catalog` | `units`, `clock` |
//! | `routing` | `chat`, `units`, `reason`, `clock`, `catalog` |
//! | `ops` | `routing`, `chat`, `wire`, `units`, `reason`, `clock`, `memory` |
//! | `upstream` | `providers`, `routing`, `chat`, `wire`, `clock`, `memory`, `units`, `reason` |
//! | `layers` | `routing`, `chat`, `ops`, `reason`, `clock`, `catalog`, `memory`, `units` |
//! | `config` | all above |
//! | `server` | `config`, `routing`, `chat`, `wire`, `ops`, `reason`, `clock`, `memory`, `units` |
//! | `mock` | `clock`: it must not share the faults that it is there to find |
//! | `cli`, `fuzzing`, `bench` | all |
//!
//! `tests/gateway/architecture.rs` holds this table and the code to each other.
//!
//! # Invariants
//!
//! - Chains are closed: only targets that the owner listed are ever called.
//! - Until an answer is committed nothing of it has reached the client; after that no other target is asked.
//! - A retry never costs a later target its attempt.
//! - A stream that broke never ends like a good one.
//! - No queue, buffer or map grows without a bound: what waits, waits in the sockets.
//! - No prompt, no answer, no error's words and no secret is ever logged; they go to the caller at most.
//! - Money is integers. A call is made only if every budget that applies holds the most that it may take.

#![allow(rustdoc::private_intra_doc_links, reason = "the map is for readers of the code, who see everything")]

#[cfg(feature = "bench-internals")]
pub mod bench;
mod catalog;
mod chat;
mod cli;
mod clock;
mod config;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layers;
mod memory;
mod mock;
mod ops;
mod providers;
mod reason;
mod routing;
mod server;
mod units;
mod upstream;
mod wire;

pub use cli::main;
