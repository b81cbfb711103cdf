//! `[ledger]`: where every request and what it cost is written down, and for how long.

use std::path::PathBuf;

use crate::config::reader::{FromText, Refusal};
use crate::config::section::section;
use crate::config::value::{Retention, inline_schema};

section! {
    /// The ledger: every request and attempt with what it cost, in one SQLite file.
    #[derive(Default)]
    pub struct Ledger in "[ledger]" {
        optional {
            /// The file, relative to the state directory; "off": none is kept. It cannot change at run time. Default:
            /// "ledger.sqlite".
            path: LedgerPath,
            /// How long requests and attempts stay. Default: "90d".
            retention: Retention,
            /// How long the sums of each hour stay, from which most questions of `/piton/api/spend` are answered.
            /// Default: "730d".
            rollup_retention: Retention,
        }
    }
}

/// Where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerPath {
    Off,
    At(PathBuf),
}

impl FromText for LedgerPath {
    const EXPECTED: &'static str = "a path such as \"ledger.sqlite\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "" => Err(Refusal::new(format!("expected {}", Self::EXPECTED))),
            "off" => Ok(Self::Off),
            path => Ok(Self::At(path.into())),
        }
    }
}

inline_schema!(LedgerPath, { "type": "string", "minLength": 1 });
