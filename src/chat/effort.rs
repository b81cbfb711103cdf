//! How much a model is asked to think.

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// How much the model shall think before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    /// OpenAI's name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The thinking budget in tokens that stands for this effort at providers which count instead of grading.
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 4_096,
            Self::Medium => 10_240,
            Self::High => 24_576,
            Self::Xhigh | Self::Max => 32_768,
        }
    }
}

/// The effort that was asked for. Groq's `default` is no wish.
#[derive(Debug, Clone, Copy)]
pub struct AskedEffort(pub Option<Effort>);

impl<'de> Deserialize<'de> for AskedEffort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Effort(Effort),
            Other(String),
        }
        match Word::deserialize(deserializer)? {
            Word::Effort(effort) => Ok(Self(Some(effort))),
            Word::Other(word) if word == "default" => Ok(Self(None)),
            Word::Other(_) => Err(de::Error::custom("no such effort")),
        }
    }
}
