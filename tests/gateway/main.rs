//! The integration tests: the real binary, real sockets, real time.
//!
//! `support` holds the scripted upstream, the gateway under test and a client that sees every byte; `scene` puts
//! chains of them together.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, and what supports it, stops at the first surprise"
)]

mod access;
mod architecture;
mod bad_input;
mod bounded_outage;
mod broken_streams;
mod budget_reloads;
mod budgets;
mod cancel;
mod ceilings;
mod circuits;
mod classes;
mod commit;
mod config_errors;
mod connections;
mod conversation;
mod corpus;
mod credentials;
mod demo;
mod deployments;
mod describe;
mod drain;
mod embeddings;
mod event_streams;
mod explain;
mod foretold;
mod front_door;
mod images;
mod key_limits;
mod last_chain;
mod ledger;
mod log_and_metrics;
mod log_writer;
mod memory;
mod offline;
mod outage;
mod passthrough;
mod plan;
mod reload;
mod scene;
mod schedules;
mod statuses;
mod streaming;
mod support;
mod tags;
mod tasks;
mod telling;
mod watch;
