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

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolChoiceObject {
    Function { function: Named },
    AllowedTools { allowed_tools: AllowedTools },
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
                Ok(match object {
                    ToolChoiceObject::Function { function } => ToolChoice::Function(function.name),
                    ToolChoiceObject::AllowedTools { allowed_tools } => ToolChoice::Allowed {
                        names: allowed_tools.tools.into_iter().map(|tool| tool.function.name).collect(),
                        required: allowed_tools.mode == "required",
                    },
                })
            }
        }
        deserializer.deserialize_any(ChoiceVisitor)
    }
}
