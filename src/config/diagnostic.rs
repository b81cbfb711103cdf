//! What is wrong with a configuration file, where, and how it is shown: file, line, caret and dotted path.

use std::ops::{Deref, Range};
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

use super::redact;

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Dotted, e.g. `chains.primary-chat.targets[1].max_cost`; empty for the whole file.
    pub path: String,
    /// Bytes of the source: the value, or the key of a table or list.
    pub span: Range<usize>,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Located<T> {
    pub value: T,
    pub at: Location,
}

/// Whether the file can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub message: String,
    /// Dotted path of the key; empty for the whole file.
    pub path: String,
    /// Bytes of the source; `None` where the problem has no place in it, as with a command-line argument.
    pub span: Option<Range<usize>>,
    /// Stands beside the caret.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Vec<String>,
}

/// All of `diagnostics` as text for people, in the order of the file. `name` is the file as the user knows it.
/// Secrets in `source` are masked.
pub fn render(diagnostics: &[Diagnostic], name: &Path, source: &str, colour: bool) -> String {
    let masked = redact::source(source);
    let name = name.display().to_string();
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut ordered: Vec<&Diagnostic> = diagnostics.iter().collect();
    ordered.sort_by_key(|diagnostic| diagnostic.span.as_ref().map_or(0, |span| span.start));
    let reports: Vec<String> =
        ordered.into_iter().map(|each| renderer.render(&[each.report(&name, &masked)])).collect();
    let mut text = reports.join("\n\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

impl Diagnostic {
    /// The file cannot be used like this.
    pub fn error(at: &Location, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            path: at.path.clone(),
            span: Some(at.span.clone()),
            label: None,
            help: Vec::new(),
        }
    }

    /// The file works, but hardly as meant.
    pub fn warning(at: &Location, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(at, message) }
    }

    /// The configuration cannot be used like this, but no line of the file is to blame.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(&Location { path: String::new(), span: 0..0 }, message) }
    }

    /// The same with a few words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same with one more piece of advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn report<'a>(&'a self, name: &'a str, masked: &'a str) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(shown(&self.message)));
        if let Some(span) = &self.span {
            let annotation = AnnotationKind::Primary
                .span(visible(span, masked))
                .label(self.label.as_ref().map(|label| shown(label)));
            group = group.element(Snippet::source(masked).path(name).annotation(annotation));
        }
        if !self.path.is_empty() {
            group = group.element(Level::NOTE.message(format!("at {}", shown(&self.path))));
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(shown(help)));
        }
        group
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Text that may quote the file: no control characters, no secrets.
fn shown(text: &str) -> String {
    redact::text(&normalize_untrusted_str(text))
}

/// The part of a span that can be underlined: inside the source, on its first line, on whole characters.
fn visible(span: &Range<usize>, source: &str) -> Range<usize> {
    let start = floor_char_boundary(source, span.start);
    let line_end = source[start..].find('\n').map_or(source.len(), |length| start + length);
    start..floor_char_boundary(source, span.end).clamp(start, line_end)
}

fn floor_char_boundary(source: &str, index: usize) -> usize {
    let index = index.min(source.len());
    (0..=index).rev().find(|index| source.is_char_boundary(*index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, span: Range<usize>) -> Location {
        Location { path: path.to_owned(), span }
    }

    #[test]
    fn a_list_is_shown_in_the_order_of_the_file() {
        let source = "[chains]\na = 1\nb = 2\n";
        let list = [
            Diagnostic::warning(&at("chains.b", 19..20), "second").label("here").help("do this"),
            Diagnostic::error(&at("chains.a", 13..14), "first"),
        ];
        insta::assert_snapshot!(render(&list, Path::new("piton.toml"), source, false), @r"
        error: first
         --> piton.toml:2:5
          |
        2 | a = 1
          |     ^
          |
          = note: at chains.a

        warning: second
         --> piton.toml:3:5
          |
        3 | b = 2
          |     ^ here
          |
          = note: at chains.b
          = help: do this
        ");
    }

    #[test]
    fn colour_only_on_request() {
        let list = [Diagnostic::error(&at("a", 0..1), "wrong")];
        assert!(!render(&list, Path::new("f"), "a = 1", false).contains('\x1b'));
        assert!(render(&list, Path::new("f"), "a = 1", true).contains('\x1b'));
    }

    #[test]
    fn spans_outside_the_text_or_inside_a_character_are_shown_all_the_same() {
        let source = "a = \"é\"\nb = 1\n";
        for span in [0..500, 500..501, 6..7, 4..14] {
            let list = [Diagnostic::error(&at("a", span), "wrong")];
            assert!(render(&list, Path::new("f"), source, false).contains("error: wrong"));
        }
    }

    #[test]
    fn a_problem_outside_the_file_has_no_snippet() {
        let mut problem = Diagnostic::error(&at("", 0..0), "PITON_LISTEN is not an address");
        problem.span = None;
        insta::assert_snapshot!(render(&[problem], Path::new("piton.toml"), "", false), @"error: PITON_LISTEN is not an address");
    }
}
