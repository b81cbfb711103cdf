//! Sections: tables with a fixed set of keys.
//!
//! A section is declared once, with [`section!`]; from that come the struct, how it is read, which keys are
//! known, which are refused as not built yet, and the JSON Schema.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Located, Location};
use super::reader::{FromToml, Reader, Value, not_supported, place};

/// A table with a fixed set of keys. Implemented by [`section!`].
pub trait Section: Sized {
    /// Where it stands, for people: it ends the sentence "unknown key in …".
    const PLACE: &'static str;
    /// Keys of the documentation that this version refuses.
    const LATER: &'static [&'static str];

    /// Every key that is understood.
    fn keys(into: &mut Vec<&'static str>);

    /// Reads them; the others are left to the caller.
    fn take(entries: &Entries<'_, '_>, reader: &mut Reader) -> Option<Self>;
}

/// A table of the document while a [`Section`] is read from it.
pub struct Entries<'t, 'i> {
    table: &'t DeTable<'i>,
    span: Range<usize>,
}

/// Declares a section of the file.
///
/// `required` and `optional` keys keep their places; `derived` ones are read by a function of the whole table, which
/// may take them from other keys; `nested` ones are tables or lists that are empty when
/// absent; `shared` ones are groups of keys that stand in several sections; `later` ones are refused as not
/// supported by this version. `shorthand` reads what stands for the table where the value is none.
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $place:literal {
            $(required { $($(#[$required_meta:meta])* $required:ident: $required_type:ty,)* })?
            $(derived { $($(#[$derived_meta:meta])* $derived:ident: $derived_type:ty = $derive:path,)* })?
            $(optional { $($(#[$optional_meta:meta])* $optional:ident: $optional_type:ty,)* })?
            $(nested { $($(#[$nested_meta:meta])* $nested:ident: $nested_type:ty,)* })?
            $(shared { $($shared:ident: $shared_type:ty,)* })?
            $(later [$($later:literal),* $(,)?])?
            $(shorthand $shorthand:path)?
        }
    ) => {
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub struct $name {
            $($($(#[$required_meta])* pub $required: $crate::config::diagnostic::Located<$required_type>,)*)?
            $($($(#[$derived_meta])* pub $derived: $crate::config::diagnostic::Located<$derived_type>,)*)?
            $($(
                $(#[$optional_meta])*
                pub $optional: Option<$crate::config::diagnostic::Located<$optional_type>>,
            )*)?
            $($($(#[$nested_meta])* #[schemars(default)] pub $nested: $nested_type,)*)?
            $($(#[schemars(flatten)] pub $shared: $shared_type,)*)?
        }

        impl $crate::config::section::Section for $name {
            const PLACE: &'static str = $place;
            const LATER: &'static [&'static str] = &[$($($later),*)?];

            fn keys(into: &mut Vec<&'static str>) {
                into.extend::<&[&'static str]>(&[
                    $($($crate::config::section::key(stringify!($required)),)*)?
                    $($($crate::config::section::key(stringify!($derived)),)*)?
                    $($($crate::config::section::key(stringify!($optional)),)*)?
                    $($($crate::config::section::key(stringify!($nested)),)*)?
                ]);
                $($(<$shared_type as $crate::config::section::Section>::keys(into);)*)?
            }

            fn take(
                entries: &$crate::config::section::Entries<'_, '_>,
                reader: &mut $crate::config::reader::Reader,
            ) -> Option<Self> {
                // Everything is read before anything is given up, so that every problem shows.
                $($(let $required = entries.required($crate::config::section::key(stringify!($required)), reader);)*)?
                $($(let $derived = $derive(entries, reader);)*)?
                $($(let $optional = entries.optional($crate::config::section::key(stringify!($optional)), reader);)*)?
                $($(let $nested = entries.optional($crate::config::section::key(stringify!($nested)), reader);)*)?
                $($(let $shared = $crate::config::section::Section::take(entries, reader);)*)?
                Some(Self {
                    $($($required: $required?,)*)?
                    $($($derived: $derived?,)*)?
                    $($($optional,)*)?
                    $($($nested: $nested.map(|read| read.value).unwrap_or_default(),)*)?
                    $($($shared: $shared?,)*)?
                })
            }
        }

        impl $crate::config::reader::FromToml for $name {
            fn from_toml(
                value: &$crate::config::reader::Value<'_>,
                reader: &mut $crate::config::reader::Reader,
            ) -> Option<Self> {
                $(if !value.get_ref().is_table() {
                    return $shorthand(value, reader);
                })?
                $crate::config::section::read(value, reader)
            }
        }
    };
}
pub(in crate::config) use section;

/// Reads a table as a section: its own keys, and then what is unknown in it.
pub fn read<T: Section>(value: &Value<'_>, reader: &mut Reader) -> Option<T> {
    let DeValue::Table(table) = value.get_ref() else {
        return reader.expected("a table", value);
    };
    let read = T::take(&Entries { table, span: value.span() }, reader);
    let mut known = Vec::new();
    T::keys(&mut known);
    for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
        unknown_key::<T>(reader, key, &known);
    }
    read
}

/// A field's name as a key of the file: some are words of Rust.
pub fn key(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// The closest of `candidates` to a mistyped `word`, if one is close.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let word = plain(word);
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

impl Entries<'_, '_> {
    /// The value of a key that must be there.
    pub fn required<T: FromToml>(&self, key: &'static str, reader: &mut Reader) -> Option<Located<T>> {
        if !self.table.contains_key(key) {
            reader.report(Diagnostic::error(&reader.at(self.span.clone()), format!("`{key}` is missing")));
        }
        self.optional(key, reader)
    }

    /// Where a key stands, if it is there.
    pub fn place(&self, key: &'static str, reader: &Reader) -> Option<Location> {
        let (key, _) = self.table.get_key_value(key)?;
        Some(reader.at_key(key.get_ref(), key.span()))
    }

    /// The value of a key that may be there.
    pub fn optional<T: FromToml>(&self, key: &'static str, reader: &mut Reader) -> Option<Located<T>> {
        let (key, value) = self.table.get_key_value(key)?;
        reader.located(&reader.step(key.get_ref()), place(key.span(), value), value)
    }
}

fn unknown_key<T: Section>(reader: &mut Reader, key: &Spanned<Cow<'_, str>>, known: &[&'static str]) {
    let name = key.get_ref().as_ref();
    let at = reader.at_key(name, key.span());
    if T::LATER.contains(&name) {
        reader.report(Diagnostic::error(&at, not_supported(&format!("`{name}`")).message));
        return;
    }
    let problem = Diagnostic::error(&at, format!("unknown key `{name}` in {}", T::PLACE));
    let elsewhere = reader.places_of(name);
    let problem = if !elsewhere.is_empty() {
        problem.label("does not belong here").help(format!("`{name}` belongs in {}", one_of(&elsewhere)))
    } else if let Some(near) = nearest(name, known.iter().copied()) {
        problem.label(format!("did you mean `{near}`?"))
    } else {
        problem.help(format!("known here: {}", known.join(", ")))
    };
    reader.report(problem);
}

/// `a, b or c`
fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
