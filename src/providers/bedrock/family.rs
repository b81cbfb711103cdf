//! The makers whose models need more said than the common format can say, told by the model's id.

use crate::chat::TargetFacts;
use crate::chat::target::Thinking;

/// A maker, or what of its models behaves alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Claude,
    Nova,
    /// The Novas that reason.
    Nova2,
    GptOss,
    Qwen,
    Mistral,
    Cohere,
    /// An ARN that names no model: it may be any.
    Opaque,
    Other,
}

impl Family {
    /// The family of a target.
    pub fn of(facts: &TargetFacts) -> Self {
        let model = facts.model.as_ref();
        let names = [
            ("claude", Self::Claude),
            ("nova-2", Self::Nova2),
            ("amazon.nova", Self::Nova),
            ("openai.gpt-oss", Self::GptOss),
            ("qwen.", Self::Qwen),
            ("mistral.", Self::Mistral),
            ("cohere.", Self::Cohere),
        ];
        let named = names.into_iter().find(|(name, _)| model.contains(name));
        match (named, &facts.thinking) {
            (Some((_, family)), _) => family,
            // Nobody else counts thinking in tokens.
            (None, Thinking::Controlled(controls)) if controls.budget.is_some() => Self::Claude,
            (None, _) if model.starts_with("arn:") => Self::Opaque,
            (None, _) => Self::Other,
        }
    }

    /// Whether its models take marks of what to cache. The others refuse them.
    pub const fn caches(self) -> bool {
        match self {
            Self::Claude | Self::Nova | Self::Nova2 | Self::Opaque => true,
            Self::GptOss | Self::Qwen | Self::Mistral | Self::Cohere | Self::Other => false,
        }
    }

    /// Whether its models go on from the assistant's words.
    pub const fn continues(self) -> bool {
        matches!(self, Self::Claude | Self::Opaque)
    }

    /// Whether a conversation may begin with the assistant's words.
    pub const fn assistant_may_begin(self) -> bool {
        matches!(self, Self::Claude)
    }

    /// Whether its models can be made to call one tool by its name, and not just any.
    pub const fn calls_by_name(self) -> bool {
        !matches!(self, Self::Mistral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::conformance::facts;

    #[test]
    fn ids_profiles_and_arns_tell_the_family() {
        let cases = [
            ("anthropic.claude-3-haiku-20240307-v1:0", Family::Claude),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-3-7-sonnet-v1:0",
                Family::Claude,
            ),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", Family::Opaque),
            ("us.amazon.nova-2-lite-v1:0", Family::Nova2),
            ("eu.amazon.nova-micro-v1:0", Family::Nova),
            ("openai.gpt-oss-120b-1:0", Family::GptOss),
            ("qwen.qwen3-32b-v1:0", Family::Qwen),
            ("us.mistral.pixtral-large-2502-v1:0", Family::Mistral),
            ("amazon.titan-text-express-v1", Family::Other),
        ];
        for (model, family) in cases {
            assert_eq!(Family::of(&facts(model)), family, "{model}");
        }
    }
}
