//! Where the configuration is.

use std::path::{Path, PathBuf};

/// Where it is looked for if nobody says, in this order.
const USUAL: [&str; 2] = ["piton.toml", "/etc/piton/piton.toml"];

/// The file that was named (`--config`, `PITON_CONFIG`), whether or not it exists, or the first of the usual ones
/// that does. The error says where it was looked for.
pub fn locate(explicit: Option<PathBuf>) -> Result<PathBuf, String> {
    among(explicit, &USUAL.map(Path::new))
}

fn among(explicit: Option<PathBuf>, usual: &[&Path]) -> Result<PathBuf, String> {
    let found = explicit.or_else(|| usual.iter().find(|path| path.exists()).map(|path| path.to_path_buf()));
    found.ok_or_else(|| {
        let looked: Vec<String> = usual.iter().map(|path| path.display().to_string()).collect();
        format!(
            "no configuration: neither {} is there; name one with --config PATH or PITON_CONFIG",
            looked.join(" nor ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_then_the_usual_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.toml"), dir.path().join("b.toml"));
        let usual = [first.as_path(), second.as_path()];
        let error = among(None, &usual).unwrap_err();
        assert!(error.contains("a.toml nor ") && error.contains("--config"), "{error}");
        std::fs::write(&second, "").unwrap();
        assert_eq!(among(None, &usual).as_ref(), Ok(&second));
        std::fs::write(&first, "").unwrap();
        assert_eq!(among(None, &usual).as_ref(), Ok(&first));
        assert_eq!(among(Some("none.toml".into()), &usual), Ok("none.toml".into()));
    }
}
