//! The names of documents: the API wants one for each, in few characters, and no two alike.

use std::collections::HashSet;

/// The longest name.
const LONGEST: usize = 200;
/// What a document is called whose name has no character that the API takes.
const NAMELESS: &str = "document";

/// The names of one request's documents. The same request always gives the same names.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// A name like this one that the API takes and that no other document has.
    pub fn name(&mut self, given: Option<&str>) -> String {
        let base = sanitized(given.unwrap_or_default());
        let mut name = base.clone();
        for nth in 2.. {
            if self.0.insert(name.clone()) {
                break;
            }
            let number = format!(" ({nth})");
            let room = base.len().min(LONGEST - number.len());
            name = format!("{}{number}", base[..room].trim_end());
        }
        name
    }
}

/// Letters, digits, hyphens, underscores, brackets, and single spaces for everything else.
fn sanitized(given: &str) -> String {
    let mut name = String::new();
    for c in given.chars() {
        if c.is_ascii_alphanumeric() || "-_()[]".contains(c) {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with(' ') {
            name.push(' ');
        }
        if name.len() == LONGEST {
            break;
        }
    }
    let name = name.trim_end();
    if name.is_empty() { NAMELESS.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_clean_and_differ() {
        let mut names = Names::default();
        assert_eq!(names.name(Some("report.pdf")), "report pdf");
        assert_eq!(names.name(Some("report pdf")), "report pdf (2)");
        assert_eq!(names.name(Some("  Übersicht…v1.2  (final).docx")), "bersicht v1 2 (final) docx");
        assert_eq!(names.name(None), "document");
        assert_eq!(names.name(Some("...")), "document (2)");
        let long = "x".repeat(300);
        assert_eq!(names.name(Some(&long)).len(), LONGEST);
        let second = names.name(Some(&long));
        assert_eq!((second.len(), second.ends_with("x (2)")), (LONGEST, true));
    }
}
