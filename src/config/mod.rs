//! The configuration file: read as written ([`File`]), with every problem reported at once, where it stands.
//!
//! `reader` and `section` read the TOML tree, `value`, `name`, `time` and `secret` are what single values are, `file`
//! is the sections; `diagnostic` shows what is wrong, and `watch` says when to read again. `compile` turns it
//! into the [`Gateway`] that serves, on top of the [`Runtime`] that outlives it.

pub mod advice;
pub mod compile;
pub mod diagnostic;
pub mod direct;
pub mod file;
pub mod gateway;
pub mod live;
pub mod locate;
mod machine;
pub mod name;
mod reader;
pub mod redact;
pub mod runtime;
mod schema;
pub mod secret;
mod section;
mod state;
mod time;
pub mod value;
pub mod watch;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use compile::{Surroundings, load};
pub use diagnostic::{Diagnostic, Location};
pub use file::File;
pub use gateway::Gateway;
pub use reader::{FromText, Refusal};
pub use runtime::Runtime;
pub use schema::json_schema;
pub use section::nearest;

use reader::{FromToml, Reader};

/// A configuration file's text and where it came from.
#[derive(Clone)]
pub struct Source {
    /// As the user named it.
    pub name: PathBuf,
    pub text: String,
}

/// Reads a file. What could be read is there even if there are errors, so that the next step can report its
/// own; without a tree (a fault of TOML itself) there is nothing.
pub fn parse(source: &Source) -> (Option<File>, Vec<Diagnostic>) {
    let (document, faults) = DeTable::parse_recoverable(&source.text);
    if !faults.is_empty() {
        return (None, syntax(&source.text, &faults));
    }
    let mut reader = Reader::new(file::places());
    let tree = toml::Spanned::new(document.span(), toml::de::DeValue::Table(document.into_inner()));
    let file = File::from_toml(&tree, &mut reader);
    let mut problems = reader.into_diagnostics();
    problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
    (file, problems)
}

impl Source {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        std::fs::read_to_string(path).map(|text| Self { name: path.to_owned(), text })
    }

    /// What `file:` references are relative to.
    pub fn base(&self) -> &Path {
        match self.name.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        }
    }
}

const QUOTES: &str = "text stands in quotes, and so do durations, sizes and addresses";

/// How many faults of TOML itself are shown: one forgotten bracket makes all lines after it unreadable.
const MOST_FAULTS: usize = 5;

/// Faults of TOML itself. Only the first of a line: the others follow from it.
fn syntax(text: &str, faults: &[toml::de::Error]) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut last_line = None;
    for fault in faults {
        let span = fault.span().unwrap_or_default();
        let line = text.get(..span.start).map(|before| before.matches('\n').count());
        if problems.is_empty() || line != last_line {
            let at = Location { path: String::new(), span };
            let what = fault.message().trim_end_matches(", expected nothing");
            let problem = Diagnostic::error(&at, format!("not valid TOML: {what}"));
            let unquoted = what.starts_with("invalid") || what.contains("quoted");
            problems.push(if unquoted { problem.help(QUOTES) } else { problem });
        }
        last_line = line;
    }
    let rest = problems.len().saturating_sub(MOST_FAULTS);
    problems.truncate(MOST_FAULTS);
    if rest > 0
        && let Some(last) = problems.pop()
    {
        problems.push(last.help(format!(
            "{rest} more lines cannot be read: most often because of a bracket or quote that is not closed above the first"
        )));
    }
    problems
}

#[cfg(test)]
mod tests;
