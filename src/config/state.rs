//! Where Piton keeps what outlives it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{self, LedgerPath};
use super::value::Retention;
use crate::ops::ledger::{Keep, Place, Settings};

/// The ledger's file where nothing else is said.
const LEDGER: &str = "ledger.sqlite";
const RETENTION: Duration = Duration::from_hours(90 * 24);
const ROLLUP_RETENTION: Duration = Duration::from_hours(730 * 24);

/// The state directory: `PITON_STATE_DIR`, else where the platform keeps such things. `None` where nothing says.
pub fn directory(environment: &HashMap<String, String>) -> Option<PathBuf> {
    let path = |name: &str| environment.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let below =
        if cfg!(target_os = "macos") { "Library/Application Support/piton" } else { ".local/state/piton" };
    path("PITON_STATE_DIR")
        .or_else(|| path("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("piton")))
        .or_else(|| path("HOME").map(|home| home.join(below)))
}

/// The ledger as the file says.
pub fn ledger(written: &file::Ledger, environment: &HashMap<String, String>) -> Settings {
    let within = |path: &Path| {
        let path = if path.is_absolute() {
            Some(path.to_owned())
        } else {
            directory(environment).map(|state| state.join(path))
        };
        path.map_or(Place::Unknown, Place::At)
    };
    let place = match written.path.as_ref().map(|path| &path.value) {
        Some(LedgerPath::Off) => Place::Off,
        Some(LedgerPath::At(path)) => within(path),
        None => within(Path::new(LEDGER)),
    };
    let or = |written: Option<Retention>, built_in| written.map_or(built_in, |retention| retention.0);
    let keep = Keep {
        requests: or(written.retention.as_ref().map(|retention| retention.value), RETENTION),
        sums: or(written.rollup_retention.as_ref().map(|retention| retention.value), ROLLUP_RETENTION),
    };
    Settings { place, keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FromText;
    use crate::config::diagnostic::{Located, Location};

    #[test]
    fn the_state_directory_is_the_first_that_something_names() {
        let found = |set: &[(&str, &str)]| {
            let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            directory(&set).map(|path| path.display().to_string())
        };
        let all = [("PITON_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(found(&all).as_deref(), Some("/s"));
        assert_eq!(found(&all[1..]).as_deref(), Some("/x/piton"));
        assert_eq!(found(&[("PITON_STATE_DIR", ""), ("XDG_STATE_HOME", "x")]), None);
        assert!(found(&all[2..]).unwrap().starts_with("/h/"));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn the_ledger_is_in_the_state_directory_unless_it_is_elsewhere() {
        let place = |path: Option<&str>, environment: &HashMap<String, String>| {
            let at = Location { path: String::new(), span: 0..0 };
            let path = path.map(|path| Located { value: LedgerPath::from_text(path).unwrap(), at });
            ledger(&file::Ledger { path, ..file::Ledger::default() }, environment).place
        };
        let state = [("PITON_STATE_DIR".to_owned(), "/s".to_owned())].into();
        assert_eq!(place(None, &state), Place::At("/s/ledger.sqlite".into()));
        assert_eq!(place(Some("a/b"), &state), Place::At("/s/a/b".into()));
        assert_eq!(place(Some("/a/b"), &HashMap::new()), Place::At("/a/b".into()));
        assert_eq!(place(Some("off"), &state), Place::Off);
        assert_eq!(place(None, &HashMap::new()), Place::Unknown);
        assert!(LedgerPath::from_text("").is_err());
    }
}
