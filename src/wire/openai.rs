//! OpenAI's chat completions on the wire: borrowed looks into answers and chunks. Tolerant of everything that
//! compatible servers send: unknown members, numbers as floats, nulls anywhere, content as a list.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A chunk of a stream, or a whole answer: the same members, `delta` in one and `message` in the other.
#[derive(Debug, Deserialize)]
pub struct Completion<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub model: Option<Text<'a>>,
    pub created: Option<Number>,
    #[serde(borrow)]
    pub choices: Option<Vec<Choice<'a>>>,
    pub usage: Option<Usage>,
    /// Groq's other place for usage.
    pub x_groq: Option<Groq>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// One choice.
#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    #[serde(default)]
    pub index: Option<Number>,
    pub delta: Option<Piece>,
    pub message: Option<Piece>,
    #[serde(borrow)]
    pub finish_reason: Option<Text<'a>>,
}

/// What a delta or a message carries.
#[derive(Debug, Default, Deserialize)]
pub struct Piece {
    role: Option<Length>,
    content: Option<Length>,
    reasoning_content: Option<Length>,
    reasoning: Option<Length>,
    refusal: Option<Length>,
    tool_calls: Option<Vec<Call>>,
    function_call: Option<Function>,
    audio: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Call {
    function: Option<Function>,
}

#[derive(Debug, Default, Deserialize)]
struct Function {
    name: Option<Length>,
    arguments: Option<Length>,
}

/// OpenAI's `usage`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub prompt_tokens: Option<Number>,
    pub completion_tokens: Option<Number>,
    pub total_tokens: Option<Number>,
    pub prompt_tokens_details: Option<PromptDetails>,
    pub completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's cached tokens.
    pub prompt_cache_hit_tokens: Option<Number>,
    /// OpenRouter's price of this answer, in USD.
    pub cost: Option<Money>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct PromptDetails {
    pub cached_tokens: Option<Number>,
    pub cache_write_tokens: Option<Number>,
    pub audio_tokens: Option<Number>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct CompletionDetails {
    pub reasoning_tokens: Option<Number>,
    pub audio_tokens: Option<Number>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Groq {
    pub usage: Option<Usage>,
}

impl Completion<'_> {
    /// The token counts, wherever they stand.
    pub fn usage(&self) -> Option<Usage> {
        self.usage.or_else(|| self.x_groq.and_then(|groq| groq.usage))
    }
}

impl Choice<'_> {
    /// The delta of a chunk, the message of an answer.
    pub fn piece(&self) -> Option<&Piece> {
        self.delta.as_ref().or(self.message.as_ref())
    }

    /// The choice's number; the first where none is given.
    pub fn index(&self) -> u32 {
        self.index.map_or(0, |index| u32::try_from(index.0).unwrap_or(0))
    }

    /// The finish reason; an empty one is none.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_ref().map(|reason| reason.0.as_ref()).filter(|reason| !reason.is_empty())
    }
}

impl Piece {
    /// Whether a role stands in it.
    pub fn has_role(&self) -> bool {
        self.role.is_some()
    }

    /// Whether it carries text, reasoning, a refusal, sound or a tool call.
    pub fn has_content(&self) -> bool {
        self.content_bytes() > 0
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
            || self.audio.is_some()
    }

    /// How many bytes of answer it carries.
    pub fn content_bytes(&self) -> usize {
        self.content().bytes
    }

    /// How many characters of answer it carries.
    pub fn content_chars(&self) -> usize {
        self.content().chars
    }

    fn content(&self) -> Length {
        let functions = self.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
        let functions = functions.chain(&self.function_call);
        let calls = functions.flat_map(|function| [function.name, function.arguments]);
        let texts = [self.content, self.reasoning_content, self.reasoning, self.refusal];
        texts.into_iter().chain(calls).flatten().fold(Length::NONE, Length::and)
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A count that may come as a float; what is no count is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Number(pub u64);

/// An amount of money; what is no number is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Money(pub Option<f64>);

/// How much text a value holds: a string's length, or that of all strings in a list of parts.
#[derive(Debug, Clone, Copy)]
struct Length {
    bytes: usize,
    chars: usize,
}

impl Length {
    const NONE: Self = Self { bytes: 0, chars: 0 };

    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, chars: self.chars + other.chars }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Option::<serde_json::Value>::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let count =
            |value: serde_json::Value| value.as_u64().or_else(|| value.as_f64().map(|float| float as u64));
        Ok(Self(number.and_then(count).unwrap_or(0)))
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<serde_json::Value>::deserialize(deserializer)?;
        Ok(Self(value.and_then(|value| value.as_f64())))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LengthVisitor;
        impl<'de> Visitor<'de> for LengthVisitor {
            type Value = Length;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_unit<E>(self) -> Result<Length, E> {
                Ok(Length::NONE)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Length, E> {
                Ok(Length::NONE)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Length, E> {
                Ok(Length::NONE)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Length, E> {
                Ok(Length::NONE)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Length, E> {
                Ok(Length::NONE)
            }
            fn visit_str<E>(self, text: &str) -> Result<Length, E> {
                Ok(Length { bytes: text.len(), chars: text.chars().count() })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Length, A::Error> {
                let mut sum = Length::NONE;
                while let Some(length) = seq.next_element()? {
                    sum = sum.and(length);
                }
                Ok(sum)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Length, A::Error> {
                let mut sum = Length::NONE;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    // A part's `type` is no text of the answer.
                    if key == "type" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        sum = sum.and(map.next_value()?);
                    }
                }
                Ok(sum)
            }
        }
        deserializer.deserialize_any(LengthVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_into_odd_chunks() {
        let chunk: Completion<'_> = serde_json::from_str(
            r#"{"id":"","model":null,"created":1.5e9,"choices":[{"index":0,"finish_reason":"","delta":
               {"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hé"}]}],"tool_calls":null}}],
               "x_groq":{"usage":{"prompt_tokens":3.0}},"new":{}}"#,
        )
        .unwrap();
        let choice = &chunk.choices.as_ref().unwrap()[0];
        assert_eq!(choice.finish_reason(), None);
        assert_eq!(choice.piece().unwrap().content_bytes(), 3);
        assert_eq!(choice.piece().unwrap().content_chars(), 2);
        assert_eq!(chunk.usage().unwrap().prompt_tokens, Some(Number(3)));
        assert_eq!(chunk.created, Some(Number(1_500_000_000)));
    }
}
