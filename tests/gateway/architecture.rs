//! The import table of `src/lib.rs`, held to the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Words that only these modules (and tests) may say: a provider's name elsewhere is a decision in the wrong room.
const PROVIDER_NAMES: [&str; 7] = ["anthropic", "bedrock", "cohere", "gemini", "mistral", "openai", "vertex"];
const MAY_NAME_PROVIDERS: [&str; 6] = ["providers", "catalog", "config", "mock", "cli", "fuzzing"];
/// OpenAI's is also the name of the format that everything here speaks.
const OPENAI_AS_FORMAT: [&str; 4] = ["chat", "wire", "server", "upstream"];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The room that a file stands in: the first part of its path below `src`.
fn room(path: &Path) -> String {
    let first = path.strip_prefix(SRC).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/tests") || text.contains("conformance") || text.contains("scripted")
}

/// A file's code without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The table in the documentation of `lib.rs`: room to rooms.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let lib = fs::read_to_string(format!("{SRC}/lib.rs")).unwrap();
    let names =
        |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let mut table = BTreeMap::new();
    for row in rows {
        let (rooms, may_use) = row.split_once('|').unwrap();
        for room in names(&format!("`{rooms}")) {
            let above: BTreeSet<String> = table.keys().cloned().collect();
            let allowed = if may_use.contains("all") { above } else { names(may_use).into_iter().collect() };
            table.insert(room, allowed);
        }
    }
    table
}

#[test]
fn imports_follow_the_table() {
    let table = table();
    assert!(table.len() > 10, "the table was not found");
    let mut wrong = Vec::new();
    for path in sources(Path::new(SRC)) {
        let room = room(&path);
        if is_test(&path) || room == "lib" || room == "main" {
            continue;
        }
        let allowed = table.get(&room).unwrap_or_else(|| panic!("`{room}` is not in the table of lib.rs"));
        for used in code(&path).split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if used != room && table.contains_key(&used) && !allowed.contains(&used) {
                wrong.push(format!("{} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_right_rooms_name_a_provider() {
    let mut wrong = Vec::new();
    for path in sources(Path::new(SRC)) {
        let room = room(&path);
        if is_test(&path) || MAY_NAME_PROVIDERS.contains(&room.as_str()) {
            continue;
        }
        let code = code(&path).to_lowercase();
        for name in PROVIDER_NAMES {
            let as_format = name == "openai" && OPENAI_AS_FORMAT.contains(&room.as_str());
            // A header of the contract is no decision.
            let count = code.matches(name).count() - code.matches(&format!("{name}-beta")).count();
            if count > 0 && !as_format {
                wrong.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let code = sources(Path::new(SRC)).into_iter().filter(|path| !is_test(path));
    let long = code.filter_map(|path| {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        (lines > 500).then(|| format!("{lines} {}", path.display()))
    });
    let long: Vec<String> = long.collect();
    assert!(long.is_empty(), "{long:#?}");
}
