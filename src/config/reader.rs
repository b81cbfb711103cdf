//! Reads the tree of a TOML document into our own types and reports every problem on the way: a broken value
//! costs its own key and hides nothing beside or below it.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::ops::Range;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Located, Location};

/// A value of the document and the bytes where it stands.
pub type Value<'a> = Spanned<DeValue<'a>>;

/// What can be read from a value of the file.
pub trait FromToml: Sized {
    /// `None` if the value cannot be used; why is then in the reader's diagnostics.
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self>;
}

/// What is written as a string and has a form of its own.
pub trait FromText: Sized {
    /// What it is, with an example: it ends the sentence "expected …".
    const EXPECTED: &'static str;

    /// Reads it.
    fn from_text(text: &str) -> Result<Self, Refusal>;
}

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// A table whose keys are names that the user chooses, in the order of the file.
#[derive(Debug, Clone)]
pub struct Named<K, T>(pub IndexMap<K, Located<T>>);

/// Where the reading stands and what was found wrong.
#[derive(Debug, Default)]
pub struct Reader {
    path: String,
    diagnostics: Vec<Diagnostic>,
    /// Every section's place and keys, to say where a misplaced key belongs.
    places: Vec<(&'static str, Vec<&'static str>)>,
}

impl Reader {
    /// A reader that knows these sections (place and keys).
    pub fn new(places: Vec<(&'static str, Vec<&'static str>)>) -> Self {
        Self { places, ..Self::default() }
    }

    /// What was found wrong.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Another reader at the same place, for what is read a second time: its problems show the first time.
    pub fn aside(&self) -> Self {
        Self { path: self.path.clone(), ..Self::default() }
    }

    /// The current path with these bytes.
    pub fn at(&self, span: Range<usize>) -> Location {
        Location { path: self.path.clone(), span }
    }

    /// A key of the current table.
    pub fn at_key(&self, key: &str, span: Range<usize>) -> Location {
        Location { path: format!("{}{}", self.path, self.step(key)), span }
    }

    /// The sections where this key is at home.
    pub fn places_of(&self, key: &str) -> Vec<&'static str> {
        self.places.iter().filter(|(_, keys)| keys.contains(&key)).map(|(place, _)| *place).collect()
    }

    /// Adds a problem.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds an error at this value and gives it up.
    pub fn refuse<T>(&mut self, value: &Value<'_>, refusal: Refusal) -> Option<T> {
        let mut diagnostic = Diagnostic::error(&self.at(value.span()), refusal.message);
        diagnostic.help.extend(refusal.help);
        self.report(diagnostic);
        None
    }

    /// Adds the error that the value is of another type than `what`.
    pub fn expected<T>(&mut self, what: &str, value: &Value<'_>) -> Option<T> {
        let found = kind_of(value.get_ref());
        let message = format!("expected {what}, found {found}");
        self.report(Diagnostic::error(&self.at(value.span()), message).label(format!("this is {found}")));
        None
    }

    /// Reads the value of a key, or the item of a list, under its own path.
    pub fn located<T: FromToml>(
        &mut self,
        step: &str,
        span: Range<usize>,
        value: &Value<'_>,
    ) -> Option<Located<T>> {
        let parent = self.path.len();
        self.path.push_str(step);
        let at = self.at(span);
        let read = T::from_toml(value, self).map(|value| Located { value, at });
        self.path.truncate(parent);
        read
    }

    /// A key as the next piece of the path.
    pub fn step(&self, key: &str) -> String {
        let bare =
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let dot = if self.path.is_empty() { "" } else { "." };
        if bare { format!("{dot}{key}") } else { format!("{dot}{key:?}") }
    }
}

impl Refusal {
    /// Without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.help {
            Some(help) => write!(f, "{}: {help}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Refusal {}

impl<K, T> Default for Named<K, T> {
    fn default() -> Self {
        Self(IndexMap::new())
    }
}

/// The refusal of what the documentation describes and this version does not do.
pub fn not_supported(what: &str) -> Refusal {
    Refusal::new(format!("{what} is not supported by this version"))
}

impl<T: FromText> FromToml for T {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            return reader.expected(T::EXPECTED, value);
        };
        T::from_text(text).map_or_else(|refusal| reader.refuse(value, refusal), Some)
    }
}

impl FromToml for bool {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(yes) => Some(*yes),
            _ => reader.expected("true or false", value),
        }
    }
}

impl FromToml for String {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => reader.expected("a string", value),
        }
    }
}

impl FromToml for f64 {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            #[expect(clippy::cast_precision_loss, reason = "larger numbers are out of every range")]
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as Self)
            }
            _ => return reader.expected("a number", value),
        };
        let finite = number.filter(|number: &Self| number.is_finite());
        finite.or_else(|| reader.refuse(value, Refusal::new("this number is out of range")))
    }
}

/// Whole numbers, each with the least that it may be.
macro_rules! whole_number {
    ($($number:ty, $expected:literal;)*) => {$(
        impl FromToml for $number {
            fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
                let DeValue::Integer(integer) = value.get_ref() else {
                    return reader.expected($expected, value);
                };
                let number = i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX);
                let number = u32::try_from(number).map_err(|_| number > 0);
                match number.map(Self::try_from) {
                    Ok(Ok(number)) => Some(number),
                    Err(true) => reader.refuse(value, Refusal::new("this number is out of range")),
                    Ok(Err(_)) | Err(false) => {
                        reader.refuse(value, Refusal::new(concat!("expected ", $expected)))
                    }
                }
            }
        }
    )*};
}

whole_number! {
    u32, "a whole number, 0 or more";
    NonZeroU32, "a whole number, 1 or more";
}

impl<T: FromToml> FromToml for Vec<Located<T>> {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            return reader.expected("a list", value);
        };
        let items = items.iter().enumerate();
        Some(items.filter_map(|(i, item)| reader.located(&format!("[{i}]"), item.span(), item)).collect())
    }
}

impl<K: FromText + Eq + Hash, T: FromToml> FromToml for Named<K, T> {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return reader.expected("a table", value);
        };
        let mut named = Self::default();
        for (key, value) in table {
            let name = K::from_text(key.get_ref()).map_err(|refusal| {
                let mut problem =
                    Diagnostic::error(&reader.at_key(key.get_ref(), key.span()), refusal.message);
                problem.help.extend(refusal.help);
                reader.report(problem);
            });
            // The value is read even under a bad name: its own problems show at the same time.
            let read = reader.located(&reader.step(key.get_ref()), place(key.span(), value), value);
            if let (Ok(name), Some(read)) = (name, read) {
                named.0.insert(name, read);
            }
        }
        Some(named)
    }
}

/// Where to point: at a plain value itself, but at the key of a table or list, which may go on for pages.
pub fn place(key: Range<usize>, value: &Value<'_>) -> Range<usize> {
    match value.get_ref() {
        DeValue::Table(_) | DeValue::Array(_) => key,
        _ => value.span(),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
