//! The blocks of an answer and their pieces, as the API sends them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::openai::Text;

/// The kind of a block or of a piece.
#[derive(Deserialize)]
pub struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
}

/// What a block begins with: nearly all are text, and read as such at once.
#[derive(Deserialize)]
pub struct Opening<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    pub citations: Option<Vec<Value>>,
}

impl<'a> Opening<'a> {
    pub fn read(raw: &'a RawValue) -> serde_json::Result<Self> {
        serde_json::from_str(raw.get()).or_else(|error| {
            let Kind { kind } = serde_json::from_str(raw.get())?;
            match kind.as_ref() {
                "text" => Err(error),
                // Another kind may give these names another meaning.
                _ => Ok(Self { kind, text: None, citations: None }),
            }
        })
    }
}

#[derive(Deserialize)]
pub struct ThinkingBlock<'a> {
    #[serde(borrow)]
    pub thinking: Option<Text<'a>>,
    pub signature: Option<String>,
}

#[derive(Deserialize)]
pub struct RedactedBlock {
    pub data: String,
}

#[derive(Deserialize)]
pub struct ToolBlock<'a> {
    pub id: String,
    pub name: String,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    pub caller: Option<Value>,
}

/// A piece of a block; its text is one of four kinds.
#[derive(Deserialize)]
pub struct Piece<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow)]
    pub thinking: Option<Text<'a>>,
    #[serde(borrow)]
    pub signature: Option<Text<'a>>,
    #[serde(borrow)]
    pub partial_json: Option<Text<'a>>,
}

impl<'a> Piece<'a> {
    pub fn read(raw: &'a RawValue) -> serde_json::Result<Self> {
        serde_json::from_str(raw.get()).or_else(|error| {
            let Kind { kind } = serde_json::from_str(raw.get())?;
            match kind.as_ref() {
                "text_delta" | "thinking_delta" | "signature_delta" | "input_json_delta" => Err(error),
                // Another kind may give these names another meaning.
                _ => Ok(Self { kind, text: None, thinking: None, signature: None, partial_json: None }),
            }
        })
    }
}

/// The text of a member. Null stands for none: servers that copy the API write out every member.
pub fn said<'a>(text: Option<&'a Text<'_>>) -> &'a str {
    text.map_or("", |text| &text.0)
}

/// The same, to keep.
pub fn owned(text: Option<Text<'_>>) -> String {
    text.map_or_else(String::new, |text| text.0.into_owned())
}

#[derive(Deserialize)]
pub struct CompactionPiece {
    pub content: Option<String>,
}

#[derive(Deserialize)]
pub struct CitationPiece {
    pub citation: Value,
}
