//! What follows from each class of failure, counted at the upstreams' sockets.

mod circuits;
mod clocks;
mod credentials;
mod overrides;
mod retries;
mod signs;
mod stops;
