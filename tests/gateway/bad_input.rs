//! Nonsense from either side: it is refused with words that help, and the process and the connection live on.

mod odd_upstreams;
mod refusals;
mod transport;
mod upstreams;
