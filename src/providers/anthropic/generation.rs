//! What a Claude model's name tells of it where the catalog is silent: models refuse what other generations
//! demand.

const FAMILY: &str = "claude-";

/// A version, as `claude-opus-4-8` and `claude-3-5-sonnet-20241022` spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    major: u32,
    minor: u32,
}

impl Generation {
    /// Reads it from a model's name, whatever host's spelling; `None` for what is no Claude.
    pub fn of(model: &str) -> Option<Self> {
        // Nearly all begin with it, and need no search for it.
        let name = model.strip_prefix(FAMILY).or_else(|| Some(model.split_once(FAMILY)?.1))?;
        // Dates, and the numbers of a host's own revisions (`v1:0`), are no versions.
        let number = |part: &str| if part.len() <= 2 { part.parse().ok() } else { None };
        let mut parts = name.split(['-', '.', '@', ':']).map(number).skip_while(Option::is_none);
        let major = parts.next()??;
        Some(Self { major, minor: parts.next().flatten().unwrap_or(0) })
    }

    /// Whether it takes system turns amid the conversation.
    pub fn takes_system_turns(self) -> bool {
        self >= Self::new(4, 8)
    }

    /// Whether it decides for itself how much to think.
    pub fn thinks_adaptively(self) -> bool {
        self >= Self::new(4, 6)
    }

    /// Whether it takes a budget for its thinking.
    pub fn takes_budgets(self) -> bool {
        self < Self::new(4, 7)
    }

    /// Whether it grades more effort than `high` with the word `xhigh`, too.
    pub fn takes_xhigh(self) -> bool {
        self >= Self::new(4, 7)
    }

    /// Whether it can think at all.
    pub fn thinks(self) -> bool {
        self >= Self::new(3, 7)
    }

    /// Whether it takes `temperature` and its like.
    pub fn takes_sampling(self) -> bool {
        self < Self::new(4, 7)
    }

    /// Whether it takes `temperature` and `top_p` in one request.
    pub fn takes_both_samplings(self) -> bool {
        self < Self::new(4, 1)
    }

    /// Whether it goes on with a text that the conversation ends with.
    pub fn takes_prefill(self) -> bool {
        self < Self::new(4, 6)
    }

    /// Whether it can be held to a schema.
    pub fn takes_schemas(self) -> bool {
        self >= Self::new(4, 1)
    }

    /// The most that it can answer, at least.
    pub fn max_output(self) -> u64 {
        if self < Self::new(3, 5) {
            4096
        } else if self < Self::new(3, 7) {
            8192
        } else {
            32_000
        }
    }

    const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_spelling() {
        let cases = [
            ("claude-opus-4-8", Some((4, 8))),
            ("claude-opus-4-8@default", Some((4, 8))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-sonnet-4-5-20250929", Some((4, 5))),
            ("claude-3-5-haiku-20241022", Some((3, 5))),
            ("claude-3-opus@20240229", Some((3, 0))),
            ("us.anthropic.claude-opus-4-6-v1:0", Some((4, 6))),
            ("anthropic/claude-opus-4.8", Some((4, 8))),
            ("claude-fable-5", Some((5, 0))),
            ("claude-instant", None),
            ("model-1", None),
        ];
        for (name, expected) in cases {
            assert_eq!(
                Generation::of(name),
                expected.map(|(major, minor)| Generation::new(major, minor)),
                "{name}"
            );
        }
    }
}
