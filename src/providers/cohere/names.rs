//! Tool names as the API takes them: letters, digits and underscores, no digit first.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// The longest part of a name that is kept where the name has to change.
const KEPT: usize = 55;

/// The names that had to change. The same name always changes to the same.
#[derive(Debug, Default)]
pub struct Names {
    renamed: BTreeMap<String, String>,
}

impl Names {
    /// The name under which a tool is sent.
    pub fn sent<'a>(&mut self, name: &'a str) -> Cow<'a, str> {
        if is_valid(name) {
            return name.into();
        }
        let start = if name.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
        let kept = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).take(KEPT);
        let hash = Sha256::digest(name);
        let sent = format!(
            "{start}{}_{:02x}{:02x}{:02x}{:02x}",
            kept.collect::<String>(),
            hash[0],
            hash[1],
            hash[2],
            hash[3]
        );
        self.renamed.insert(sent.clone(), name.to_owned());
        sent.into()
    }

    /// What was sent, to what the client calls it.
    pub fn renamed(self) -> BTreeMap<String, String> {
        self.renamed
    }
}

fn is_valid(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_allowed)
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_only_where_they_must_and_are_found_again() {
        let mut names = Names::default();
        let long = "x-".repeat(40);
        for good in ["get_weather", "_2fa", "A"] {
            assert_eq!(names.sent(good), good);
        }
        for strange in ["get-weather", "get.weather", "2fa", "größe", "", &long] {
            let sent = names.sent(strange).into_owned();
            assert!(is_valid(&sent) && sent.len() <= 65, "{sent}");
            assert_eq!(names.sent(strange), sent.as_str());
            assert_eq!(names.renamed[&sent], strange);
        }
        assert_eq!(names.renamed().len(), 6);
    }
}
