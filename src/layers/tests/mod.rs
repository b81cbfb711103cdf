//! The policy, proven on real layers around scripted upstreams, on a paused clock.

mod budgets;
mod cancel;
mod chain;
mod circuit;
mod classes;
mod clocks;
mod commit;
mod describe;
mod groups;
mod last_chain;
mod money;
mod offline;
mod prices;
mod retries;
mod telling;
mod terms;
