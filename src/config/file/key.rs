//! `[[keys]]`: who may call.

use crate::config::diagnostic::Located;
use crate::config::name::Glob;
use crate::config::secret::ClientSecret;
use crate::config::section::section;
use crate::config::value::Count;

section! {
    /// A caller.
    pub struct Key in "[[keys]]" {
        required {
            /// What logs and metrics call it.
            name: String,
            /// What the caller sends as its API key: "env:NAME", "file:PATH", or "sha256:HEX" of it.
            secret: ClientSecret,
        }
        optional {
            /// Patterns of chains that it may call. Default: all chains.
            chains: Vec<Located<Glob>>,
            /// Patterns of "provider/model" that it may name itself, within `[server] allow_direct`. Default:
            /// none.
            direct: Vec<Located<Glob>>,
            /// Requests that it may make in a minute. Default: no limit.
            requests_per_minute: Count,
            /// Tokens that it may use in a minute, input and output together: an estimate counts until the request is
            /// over. Default: no limit.
            tokens_per_minute: Count,
            /// Requests that it may have under way at the same time. Default: no limit.
            concurrency: Count,
            /// The user that its requests count for, whatever they claim.
            user: String,
            /// The tier of its requests, whatever they claim.
            tier: String,
            /// Patterns of the tasks that its requests may claim; others are refused. Where it is one plain name,
            /// requests that claim none have that task. Default: any.
            tasks: Vec<Located<Glob>>,
        }
        later ["budgets"]
    }
}
