//! `tool_choice`: a word or an object.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// Which tools the model may or must call.
#[derive(Debug)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    /// This one must be called.
    Function(String),
    /// Only these may be called; `required` says whether one must be.
    Allowed {
        names: Vec<String>,
        required: bool,
    },
}

/// The object's `type` says which it is, but some clients leave it out.
#[derive(Deserialize)]
struct ToolChoiceObject {
    #[serde(rename = "type")]
    kind: Option<String>,
    function: Option<Named>,
    allowed_tools: Option<AllowedTools>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct AllowedTools {
    mode: String,
    #[serde(default)]
    tools: Vec<AllowedTool>,
}

#[derive(Deserialize)]
struct AllowedTool {
    function: Named,
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoiceVisitor;
        impl<'de> Visitor<'de> for ChoiceVisitor {
            type Value = ToolChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""none", "auto", "required", or an object that names a function"#)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<ToolChoice, E> {
                match word {
                    "auto" => Ok(ToolChoice::Auto),
                    "none" => Ok(ToolChoice::None),
                    // Mistral's word for the same.
                    "required" | "any" => Ok(ToolChoice::Required),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolChoice, A::Error> {
                let object = ToolChoiceObject::deserialize(de::value::MapAccessDeserializer::new(map))?;
                match (object.kind.as_deref(), object.function, object.allowed_tools) {
                    (Some("function") | None, Some(function), _) => Ok(ToolChoice::Function(function.name)),
                    (Some("allowed_tools") | None, _, Some(allowed)) => Ok(ToolChoice::Allowed {
                        names: allowed.tools.into_iter().map(|tool| tool.function.name).collect(),
                        required: allowed.mode == "required",
                    }),
                    _ => Err(de::Error::custom("neither a function nor allowed tools")),
                }
            }
        }
        deserializer.deserialize_any(ChoiceVisitor)
    }
}
