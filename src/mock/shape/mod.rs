//! What a request body may look like: the providers' own schemas, cut down to what a check needs, and where a body
//! departs from them.
//!
//! The files in `data/` were derived from the providers' published schemas, or written from their documentation
//! where none is published; each names its source and licence. A few keys were added that the providers take
//! although their schema does not list them.

mod check;
mod departure;

use std::collections::HashMap;
use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use self::check::check;
pub use self::departure::{Departure, Problem, Step, brackets, camel, dots, kind_of, snake};

/// The shapes of one provider's requests.
#[derive(Debug, Default, Deserialize)]
pub struct Shapes {
    /// The type of each kind of request.
    roots: HashMap<String, String>,
    types: HashMap<String, Shape>,
    #[serde(skip)]
    habits: Habits,
}

/// How a provider reads JSON, whatever the schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Habits {
    #[default]
    Plain,
    /// A null stands for an absent key at the top of the body.
    NullsAtTop,
    /// Protobuf: both spellings of a name, nulls for absent, numbers as strings, one value for a list of one.
    Proto,
}

/// One type of the notation.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Shape {
    /// `#Name` is a type of the file; any other name is a type of the notation.
    Named(String),
    Object {
        keys: IndexMap<String, Shape>,
        #[serde(default)]
        required: Vec<String>,
        /// Unknown keys pass.
        #[serde(default)]
        open: bool,
        /// Exactly one of these must be there.
        #[serde(default)]
        one: Vec<String>,
        /// At most one of each group may be there.
        #[serde(default)]
        exclusive: Vec<Vec<String>>,
    },
    List {
        items: Box<Shape>,
        min: Option<usize>,
        max: Option<usize>,
    },
    Map {
        values: Box<Shape>,
    },
    Any {
        any: Vec<Shape>,
    },
    Enum {
        #[serde(rename = "enum")]
        values: Vec<Value>,
        /// Protobuf's enums are also numbers, and their names are taken in small letters.
        #[serde(default)]
        numbers: bool,
    },
    Text {
        #[serde(rename = "string")]
        _string: bool,
        min: Option<usize>,
        max: Option<usize>,
        pattern: Option<Pattern>,
    },
    Number {
        number: String,
        min: Option<f64>,
        max: Option<f64>,
    },
}

/// A pattern that the whole text must match.
#[derive(Debug)]
struct Pattern {
    text: String,
    regex: Regex,
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let regex = Regex::new(&format!("^(?s:{text})$")).map_err(serde::de::Error::custom)?;
        Ok(Self { text, regex })
    }
}

/// A provider's file; that all of them can be read is a test's business.
fn read(json: &str, habits: Habits) -> Shapes {
    let shapes: Shapes = serde_json::from_str(json).unwrap_or_default();
    Shapes { habits, ..shapes }
}

macro_rules! files {
    ($($name:ident: $file:literal, $habits:ident;)*) => {
        $(pub static $name: LazyLock<Shapes> = LazyLock::new(|| read(include_str!($file), Habits::$habits));)*

        #[cfg(test)]
        const FILES: &[(&str, &str, &LazyLock<Shapes>)] = &[$(($file, include_str!($file), &$name)),*];
    };
}

files! {
    ANTHROPIC: "data/anthropic.json", Plain;
    BEDROCK: "data/bedrock.json", Plain;
    COHERE: "data/cohere.json", Plain;
    GEMINI: "data/gemini.json", Proto;
    INVOKE: "data/invoke.json", Plain;
    MISTRAL: "data/mistral.json", Plain;
    OPENAI: "data/openai.json", NullsAtTop;
    VERTEX: "data/vertex.json", Proto;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that a shape refers to.
    fn names<'s>(shape: &'s Shape, found: &mut Vec<&'s str>) {
        match shape {
            Shape::Named(name) => found.push(name),
            Shape::Object { keys, .. } => keys.values().for_each(|shape| names(shape, found)),
            Shape::List { items: inner, .. } | Shape::Map { values: inner } => names(inner, found),
            Shape::Any { any } => any.iter().for_each(|shape| names(shape, found)),
            Shape::Enum { .. } | Shape::Text { .. } | Shape::Number { .. } => {}
        }
    }

    #[test]
    fn every_file_is_read_and_refers_to_nothing_unknown() {
        for (file, json, shapes) in FILES {
            serde_json::from_str::<Shapes>(json).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(!shapes.roots.is_empty(), "{file}");
            let origin: Value = serde_json::from_str(json).unwrap();
            assert!(origin["source"].is_string() && origin["licence"].is_string(), "{file}");
            let roots = shapes.roots.values().map(String::as_str);
            assert!(roots.clone().all(|root| shapes.types.contains_key(root)), "{file}");
            let mut found = Vec::new();
            shapes.types.values().for_each(|shape| names(shape, &mut found));
            for name in found {
                let known = match name.strip_prefix('#') {
                    Some(reference) => shapes.types.contains_key(reference),
                    None => check::KINDS.contains(&name),
                };
                assert!(known, "{file}: {name}");
            }
        }
    }
}
