use std::path::PathBuf;
pub fn locate(explicit: Option<PathBuf>) -> Result<PathBuf, String> {
    explicit.or_else(|| Some(PathBuf::from("piton.toml"))).ok_or_else(String::new)
}
