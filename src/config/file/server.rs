//! `[server]`: where Piton listens, and how much it takes.

use crate::config::diagnostic::Located;
use crate::config::name::{Glob, Host, Listen};
use crate::config::secret::SecretRef;
use crate::config::section::section;
use crate::config::value::{Count, Size, Timeout, Wait, words};

section! {
    /// Where Piton listens, and how much it takes.
    #[derive(Default)]
    pub struct Server in "[server]" {
        optional {
            /// Address and port. Default: "127.0.0.1:4000". PITON_LISTEN and --listen override it.
            listen: Listen,
            /// Guards `/piton/*` and `/metrics`; required when they are reachable beyond loopback.
            admin_key: SecretRef,
            /// Who may read `/metrics` beyond loopback: holders of the admin key (the default), or everyone.
            metrics: MetricsAccess,
            /// The largest request body. Default: "32MiB".
            max_body: Size,
            /// The largest upstream JSON body, and the most that `commit = "complete"` holds back. Default: "64MiB".
            max_answer: Size,
            /// All buffered bodies and answers together; above it requests get 503. Default: "512MiB".
            buffer_memory: Size,
            /// Requests at the same time; above it requests get 503. Default: 20000.
            max_in_flight: Count,
            /// The longest time that a client may take to send its body. Default: "30s".
            body_timeout: Timeout,
            /// How long running answers may finish after SIGTERM. Default: "30s".
            drain: Wait,
            /// Patterns of "provider/model" that clients may name themselves; `*` matches `/` too. Default: none.
            allow_direct: Vec<Located<Glob>>,
            /// Whether Piton fetches image URLs for targets that take only bytes: 20 MiB and 10 seconds an image at
            /// most, from public addresses only. Default: false.
            fetch_images: bool,
            /// Hosts that images are fetched from though their addresses are private. Default: none.
            fetch_images_from: Vec<Located<Host>>,
            /// Whether a public address without `[[keys]]` is meant. Default: false.
            allow_anonymous: bool,
        }
        later ["cors", "tls"]
    }
}

words! {
    /// Who may read `/metrics` beyond loopback.
    pub enum MetricsAccess, "\"admin_key\" or \"open\"" {
        /// Holders of the admin key.
        "admin_key" => AdminKey,
        /// Everyone.
        "open" => Open,
    }
}
