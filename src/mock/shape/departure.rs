//! Where a body departs from its shape, and the ways in which providers write a place in a body.

use serde_json::Value;

/// The first thing that is wrong with a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Departure {
    /// Of the value at fault; for a key that is missing or unknown, of the key.
    pub path: Vec<Step>,
    pub problem: Problem,
    /// How deep the check came before it failed; the best guess at which of several types was meant.
    pub(super) depth: usize,
}

/// One step into a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    Unknown,
    Missing,
    /// The notation's name for what it should be, and what it is.
    Type {
        expected: String,
        given: Value,
    },
    NotOneOf {
        known: Vec<Value>,
        given: Value,
    },
    Below {
        least: f64,
        given: Value,
    },
    Above {
        most: f64,
        given: Value,
    },
    /// Of a list or a text.
    TooShort {
        least: usize,
        given: Value,
    },
    TooLong {
        most: usize,
        given: Value,
    },
    Pattern {
        pattern: String,
        given: Value,
    },
    NotBase64,
    /// Of a group of keys, the first two that exclude each other.
    Both(String, String),
    /// None of a group of keys of which there must be one.
    NoneOf(Vec<String>),
}

impl Departure {
    /// The key at fault, without its place.
    pub fn key(&self) -> &str {
        match self.path.last() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }

    /// The same without its last step.
    pub fn parent(&self) -> &[Step] {
        self.path.split_last().map_or(&[], |(_, parent)| parent)
    }
}

/// `messages[0].content`.
pub fn brackets(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// `messages.0.content`.
pub fn dots(path: &[Step]) -> String {
    let steps = path.iter().map(|step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    });
    steps.collect::<Vec<_>>().join(".")
}

/// `snake_case` as `camelCase`; anything else as it is.
pub fn camel(key: &str) -> String {
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// `camelCase` as `snake_case`.
pub fn snake(key: &str) -> String {
    let mut name = String::new();
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A value's type in words, with its article.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_in_each_providers_way() {
        let path = [Step::Key("messages".to_owned()), Step::Index(0), Step::Key("toolCalls".to_owned())];
        assert_eq!(
            (brackets(&path).as_str(), dots(&path).as_str()),
            ("messages[0].toolCalls", "messages.0.toolCalls")
        );
        assert_eq!(
            (camel("max_output_tokens").as_str(), camel("topK").as_str()),
            ("maxOutputTokens", "topK")
        );
        assert_eq!(snake("maxOutputTokens"), "max_output_tokens");
    }
}
