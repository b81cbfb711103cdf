//! OpenAI's chat completions on the wire: borrowed looks into answers and chunks. Tolerant of everything that
//! compatible servers send: unknown members, numbers as floats, nulls anywhere, content as a list.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::few::Few;

mod skimmed;

/// A chunk of a stream, or a whole answer: the same members, `delta` in one and `message` in the other.
#[derive(Debug, Deserialize)]
pub struct Completion<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub object: Option<Text<'a>>,
    #[serde(borrow)]
    pub model: Option<Text<'a>>,
    pub created: Option<Number>,
    #[serde(borrow)]
    pub choices: Option<Few<Choice<'a>>>,
    #[serde(default)]
    usage: Stated,
    /// Groq's other place for usage.
    x_groq: Option<Groq>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// One choice.
#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    pub index: Option<Number>,
    #[serde(borrow)]
    pub delta: Option<Piece<'a>>,
    #[serde(borrow)]
    pub message: Option<Box<Piece<'a>>>,
    #[serde(borrow)]
    pub finish_reason: Option<Text<'a>>,
    /// OpenRouter's place for the error of one choice.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// What a delta or a message carries.
#[derive(Debug, Default, Deserialize)]
pub struct Piece<'a> {
    /// The text of `content` where it stands in the JSON, if it was seen there and has no escapes.
    #[serde(skip)]
    pub spelling: Option<&'a str>,
    pub role: Option<Measure>,
    /// `None` only where the member is missing.
    #[serde(default, deserialize_with = "even_null")]
    pub content: Option<Measure>,
    pub reasoning_content: Option<Measure>,
    pub reasoning: Option<Measure>,
    pub reasoning_details: Option<Measure>,
    pub refusal: Option<Measure>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow)]
    pub function_call: Option<Box<Function<'a>>>,
    pub audio: Option<Box<Audio>>,
}

/// A tool call, or a piece of one.
#[derive(Debug, Deserialize)]
pub struct Call<'a> {
    pub index: Option<Number>,
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(rename = "type")]
    pub kind: Option<Measure>,
    #[serde(borrow)]
    pub function: Option<Function<'a>>,
    #[serde(borrow)]
    pub custom: Option<Custom<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    pub arguments: Option<Measure>,
}

/// The call of a tool that takes plain text.
#[derive(Debug, Default, Deserialize)]
pub struct Custom<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    pub input: Option<Measure>,
}

/// Sound.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Audio {
    id: Option<Measure>,
    data: Option<Measure>,
    transcript: Option<Measure>,
}

/// OpenAI's `usage`, and what others put there.
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
    /// Moonshot's and Together's.
    pub cached_tokens: Option<Number>,
    /// Mistral's.
    pub num_cached_tokens: Option<Number>,
    /// What a gateway says of Anthropic's cache writes.
    pub cache_creation_input_tokens: Option<Number>,
    /// Reasoning tokens outside the details.
    pub reasoning_tokens: Option<Number>,
    /// The price of this answer in USD, or an object with its `total_cost`.
    pub cost: Option<Money>,
    /// xAI's price of this answer: ten billion ticks are one USD.
    pub cost_in_usd_ticks: Option<Number>,
    /// The customer pays the model's provider directly, beside `cost`.
    pub is_byok: Option<bool>,
    pub cost_details: Option<CostDetails>,
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
pub struct CostDetails {
    pub upstream_inference_cost: Option<Money>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Groq {
    usage: Stated,
}

/// What stands in a place for usage.
#[derive(Debug, Default)]
enum Stated {
    /// Nothing, or no object.
    #[default]
    Nothing,
    /// An object that cannot be read as counts.
    Unreadable,
    Counts(Box<Usage>),
}

impl<'a> Completion<'a> {
    /// Reads a chunk, or a whole answer.
    pub fn read(json: &'a str) -> serde_json::Result<Self> {
        skimmed::completion(json).map_or_else(|| serde_json::from_str(json), Ok)
    }

    /// The token counts, wherever they stand. What cannot be read as such is none.
    pub fn usage(&self) -> Option<&Usage> {
        match (&self.usage, self.x_groq.as_ref().map(|groq| &groq.usage)) {
            (Stated::Counts(usage), _) => Some(usage),
            (Stated::Nothing, Some(Stated::Counts(usage))) => Some(usage),
            (Stated::Unreadable | Stated::Nothing, _) => None,
        }
    }

    /// Whether they stand where OpenAI has them.
    pub fn has_usage_in_place(&self) -> bool {
        matches!(self.usage, Stated::Counts(_))
    }
}

impl<'a> Choice<'a> {
    /// The delta of a chunk, the message of an answer.
    pub fn piece(&self) -> Option<&Piece<'a>> {
        self.delta.as_ref().or(self.message.as_deref())
    }

    /// The choice's number; the first where none is given.
    pub fn index(&self) -> u32 {
        self.index.map_or(0, |index| u32::try_from(index.count).unwrap_or(0))
    }

    /// The finish reason; an empty one is none.
    pub fn finish_reason(&self) -> Option<&str> {
        self.finish_reason.as_ref().map(|reason| reason.0.as_ref()).filter(|reason| !reason.is_empty())
    }
}

impl Piece<'_> {
    /// Whether a role stands in it.
    pub fn has_role(&self) -> bool {
        self.role.is_some()
    }

    /// Whether it carries text, reasoning, a refusal, sound or a tool call.
    pub fn has_content(&self) -> bool {
        self.content().bytes > 0
            || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
            || self.audio.as_ref().is_some_and(|audio| !audio.is_zero())
    }

    /// How much answer it carries.
    pub fn content(&self) -> Measure {
        let functions = self.tool_calls.iter().flatten().filter_map(|call| call.function.as_ref());
        let functions = functions.chain(self.function_call.as_deref());
        let calls =
            functions.flat_map(|function| [function.name.as_ref().map(Text::measure), function.arguments]);
        // Some servers say the same under both names.
        let said = |measure: &Option<Measure>| measure.filter(|measure| measure.bytes > 0);
        let reasoning = said(&self.reasoning_content).or(said(&self.reasoning));
        let texts = [self.content, reasoning, self.refusal];
        texts.into_iter().chain(calls).flatten().fold(Measure::NOTHING, Measure::and)
    }
}

impl Function<'_> {
    /// Whether it is there but says nothing, as servers send it that write out every member.
    pub fn is_zero(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.0.is_empty())
            && self.arguments.is_none_or(|arguments| arguments.bytes == 0)
    }
}

impl Custom<'_> {
    /// Whether it is there but says nothing.
    pub fn is_zero(&self) -> bool {
        self.name.as_ref().is_none_or(|name| name.0.is_empty())
            && self.input.is_none_or(|input| input.bytes == 0)
    }
}

impl Audio {
    /// Whether it is there but says nothing.
    pub fn is_zero(&self) -> bool {
        [self.id, self.data, self.transcript].into_iter().flatten().all(|text| text.bytes == 0)
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Text<'_> {
    fn measure(&self) -> Measure {
        Measure { kind: Shape::Text, bytes: self.0.len(), chars: self.0.chars().count() }
    }
}

/// A count that may come as a float or as text; what is no count is zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Number {
    pub count: u64,
    /// It was spelt as a whole number.
    pub is_whole: bool,
}

/// An amount of money; what is no number is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Money(pub Option<f64>);

/// How much text a value holds: a string's length, or that of all strings in a list of parts.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    pub kind: Shape,
    pub bytes: usize,
    pub chars: usize,
}

/// What kind of value was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Null, a number, a truth value.
    Other,
    Text,
    List,
    Object,
}

impl Measure {
    pub const NOTHING: Self = Self { kind: Shape::Other, bytes: 0, chars: 0 };

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { kind: self.kind, bytes: self.bytes + other.bytes, chars: self.chars + other.chars }
    }
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Measure>, D::Error> {
    Measure::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Number, E> {
                Ok(Number { count, is_whole: true })
            }
            fn visit_i64<E>(self, _: i64) -> Result<Number, E> {
                Ok(Number::default())
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            fn visit_f64<E>(self, float: f64) -> Result<Number, E> {
                Ok(Number { count: float as u64, is_whole: false })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.trim().parse().map_or_else(|_| Ok(Number::default()), |float| self.visit_f64(float))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number::default())
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Number, A::Error> {
                Value::deserialize(SeqAccessDeserializer::new(seq)).map(|_| Number::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Number, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map)).map(|_| Number::default())
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

impl<'de> Deserialize<'de> for Stated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        if !raw.starts_with('{') {
            return Ok(Self::Nothing);
        }
        Ok(serde_json::from_str(raw).map_or(Self::Unreadable, |usage| Self::Counts(Box::new(usage))))
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self(value.as_f64().or_else(|| value["total_cost"].as_f64())))
    }
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MeasureVisitor;
        impl<'de> Visitor<'de> for MeasureVisitor {
            type Value = Measure;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_unit<E>(self) -> Result<Measure, E> {
                Ok(Measure::NOTHING)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Measure, E> {
                Ok(Measure::NOTHING)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Measure, E> {
                Ok(Measure::NOTHING)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Measure, E> {
                Ok(Measure::NOTHING)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Measure, E> {
                Ok(Measure::NOTHING)
            }
            fn visit_str<E>(self, text: &str) -> Result<Measure, E> {
                Ok(Measure { kind: Shape::Text, bytes: text.len(), chars: text.chars().count() })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Measure, A::Error> {
                let mut sum = Measure { kind: Shape::List, ..Measure::NOTHING };
                while let Some(measure) = seq.next_element()? {
                    sum = sum.and(measure);
                }
                Ok(sum)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Measure, A::Error> {
                let mut sum = Measure { kind: Shape::Object, ..Measure::NOTHING };
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
        deserializer.deserialize_any(MeasureVisitor)
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
        let content = choice.piece().unwrap().content();
        assert_eq!((content.bytes, content.chars), (3, 2));
        assert_eq!(chunk.usage().unwrap().prompt_tokens, Some(Number { count: 3, is_whole: false }));
        assert_eq!(chunk.created, Some(Number { count: 1_500_000_000, is_whole: false }));
    }

    #[test]
    fn a_number_may_be_spelt_in_any_way() {
        let cases = [
            ("7", 7, true),
            ("18446744073709551615", u64::MAX, true),
            ("7.9", 7, false),
            ("1e3", 1000, false),
            ("-3", 0, false),
            ("-3.5", 0, false),
            ("1e300", u64::MAX, false),
            (r#"" 7.5 ""#, 7, false),
            (r#""seven""#, 0, false),
            ("null", 0, false),
            ("true", 0, false),
            ("[1,{}]", 0, false),
            (r#"{"a":[1]}"#, 0, false),
        ];
        for (json, count, is_whole) in cases {
            let expected = Number { count, is_whole };
            assert_eq!(serde_json::from_str::<Number>(json).unwrap(), expected, "{json}");
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(Number::deserialize(&value).unwrap(), expected, "{json} as a value");
        }
        for broken in ["1e999", "[1e999]", r#"{"a":1e999}"#, "nul", "[1", ""] {
            assert!(serde_json::from_str::<Number>(broken).is_err(), "{broken}");
        }
    }
}
