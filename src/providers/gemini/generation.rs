//! What the generations of Gemini differ in, told from the model's name.

const FAMILY: &str = "gemini-";

/// A generation, as far as the differences between requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 2.0 and older: takes penalties, does not think.
    Early,
    /// 2.5: thinks by a budget.
    TwoFive,
    /// 3 and newer: thinks by a level, signs its tool calls and wants the signatures back.
    Three,
    /// Not a Gemini by its name: Gemma, a tuned model.
    Unknown,
}

impl Generation {
    /// The generation of the model of this name. A Gemini without a number (`gemini-flash-latest`) follows the newest.
    pub fn of(model: &str) -> Self {
        // Nearly all begin with it, and need no search for it.
        let rest = model.strip_prefix(FAMILY).or_else(|| Some(model.split_once(FAMILY)?.1));
        let Some(rest) = rest else { return Self::Unknown };
        match rest.split('-').find_map(version) {
            Some(version) if version < (2, 5) => Self::Early,
            Some((2, _)) => Self::TwoFive,
            Some(_) | None => Self::Three,
        }
    }

    /// Whether frequency and presence penalties are taken; a newer model answers 400 to them.
    pub fn takes_penalties(self) -> bool {
        match self {
            Self::Early => true,
            Self::TwoFive | Self::Three | Self::Unknown => false,
        }
    }

    /// Whether more than one candidate may be asked for; a newer model answers 400 to that.
    pub fn takes_candidate_count(self) -> bool {
        match self {
            Self::Early | Self::TwoFive | Self::Unknown => true,
            Self::Three => false,
        }
    }

    /// Whether a JSON answer may be asked for beside function tools.
    pub fn takes_json_with_tools(self) -> bool {
        match self {
            Self::Early | Self::TwoFive => false,
            Self::Three | Self::Unknown => true,
        }
    }

    /// Whether the search tool may stand beside functions.
    pub fn searches_beside_tools(self) -> bool {
        match self {
            Self::Three | Self::Unknown => true,
            Self::Early | Self::TwoFive => false,
        }
    }

    /// Whether calls can be held to their schemas (`VALIDATED`).
    pub fn validates_calls(self) -> bool {
        match self {
            Self::TwoFive | Self::Three => true,
            Self::Early | Self::Unknown => false,
        }
    }

    /// Whether any public https address is fetched, and not only Google's own.
    pub fn fetches_addresses(self) -> bool {
        match self {
            Self::TwoFive | Self::Three | Self::Unknown => true,
            Self::Early => false,
        }
    }

    /// Whether the resolution at which media are read can be chosen.
    pub fn takes_media_resolution(self) -> bool {
        match self {
            Self::Early | Self::TwoFive | Self::Three => true,
            Self::Unknown => false,
        }
    }

    /// Whether a tool call in the history must carry a thought signature, and a tool result may carry images.
    pub fn signs_tool_calls(self) -> bool {
        match self {
            Self::Three => true,
            Self::Early | Self::TwoFive | Self::Unknown => false,
        }
    }
}

/// The version that a word of a name is: `2.5` and `3`, but neither a date nor a word.
fn version(word: &str) -> Option<(u32, u32)> {
    let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
    Some((major.parse().ok().filter(|major| *major < 100)?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_generation() {
        let cases = [
            ("gemini-1.5-pro-002", Generation::Early),
            ("gemini-2.0-flash", Generation::Early),
            ("gemini-2.5-flash-lite", Generation::TwoFive),
            ("models/gemini-2.5-pro", Generation::TwoFive),
            ("gemini-3-pro-preview", Generation::Three),
            ("gemini-3.1-flash-lite", Generation::Three),
            ("gemini-10.2", Generation::Three),
            ("gemini-live-2.5-flash-preview-09-2025", Generation::TwoFive),
            ("gemini-exp-1206", Generation::Three),
            ("gemini-flash-latest", Generation::Three),
            ("gemma-4-31b-it", Generation::Unknown),
            ("tunedModels/mine-1", Generation::Unknown),
            ("", Generation::Unknown),
        ];
        for (model, expected) in cases {
            assert_eq!(Generation::of(model), expected, "{model}");
        }
    }
}
