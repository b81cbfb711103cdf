//! The API's token counts, and the same in OpenAI's accounting.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::Error as Unreadable;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::chat::Usage;
use crate::units::Tokens;
use crate::wire::openai::{Number, Text};

/// The counts as the API gives them, so far: a later count of a stream replaces an earlier one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_1h: Option<u64>,
    thinking: Option<u64>,
    web_searches: Option<u64>,
}

/// A `usage` member: what of it can be read, whatever its form.
#[derive(Debug, Default)]
pub struct Told<'a> {
    counts: Counts,
    pub service_tier: Option<Cow<'a, str>>,
}

impl Counts {
    /// Takes in a `usage` member.
    pub fn update(&mut self, told: &Told<'_>) {
        let later = told.counts;
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.cache_write_1h = later.cache_write_1h.or(self.cache_write_1h);
        self.thinking = later.thinking.or(self.thinking);
        self.web_searches = later.web_searches.or(self.web_searches);
    }

    /// The same as OpenAI counts, if anything was counted.
    pub fn usage(&self) -> Option<Usage> {
        self.input.or(self.output)?;
        let tokens = |count: Option<u64>| Tokens::new(count.unwrap_or_default());
        let (output, read, written) =
            (tokens(self.output), tokens(self.cache_read), tokens(self.cache_write));
        let for_an_hour = tokens(self.cache_write_1h).min(written);
        Some(Usage {
            prompt: tokens(self.input) + read + written,
            completion: output,
            cached: read,
            cache_write: written.saturating_sub(for_an_hour),
            cache_write_1h: for_an_hour,
            reasoning: tokens(self.thinking).min(output),
            web_searches: self.web_searches.unwrap_or_default(),
            ..Usage::default()
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Told<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut told: Told<'de> = Told::default();
        Value { place: Place::Usage, told: &mut told }.deserialize(deserializer)?;
        Ok(told)
    }
}

/// Where in a `usage` member a value stands.
#[derive(Clone, Copy)]
enum Place {
    Usage,
    CacheCreation,
    OutputDetails,
    ServerToolUse,
    Tier,
    Count(fn(&mut Counts) -> &mut Option<u64>),
}

impl Place {
    /// That of a member of the object that stands here; `None` for one that does not matter.
    fn of(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Usage, "input_tokens") => Self::Count(|counts| &mut counts.input),
            (Self::Usage, "output_tokens") => Self::Count(|counts| &mut counts.output),
            (Self::Usage, "cache_read_input_tokens") => Self::Count(|counts| &mut counts.cache_read),
            (Self::Usage, "cache_creation_input_tokens") => Self::Count(|counts| &mut counts.cache_write),
            (Self::Usage, "cache_creation") => Self::CacheCreation,
            (Self::CacheCreation, "ephemeral_1h_input_tokens") => {
                Self::Count(|counts| &mut counts.cache_write_1h)
            }
            (Self::Usage, "output_tokens_details") => Self::OutputDetails,
            (Self::OutputDetails, "thinking_tokens") => Self::Count(|counts| &mut counts.thinking),
            (Self::Usage, "server_tool_use") => Self::ServerToolUse,
            (Self::ServerToolUse, "web_search_requests") => Self::Count(|counts| &mut counts.web_searches),
            (Self::Usage, "service_tier") => Self::Tier,
            _ => return None,
        })
    }
}

/// Reads the value of a place. One of another form than expected says nothing.
struct Value<'t, 'a> {
    place: Place,
    told: &'t mut Told<'a>,
}

impl<'de> Value<'_, 'de> {
    fn number(self, number: impl IntoDeserializer<'de, Unreadable>) {
        if let Place::Count(count) = self.place {
            *count(&mut self.told.counts) =
                Number::deserialize(number.into_deserializer()).ok().map(|number| number.count);
        }
    }

    fn text(self, text: Cow<'de, str>) {
        match self.place {
            Place::Tier => self.told.service_tier = Some(text),
            _ => self.number(text),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("token counts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.number(number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            match self.place.of(&name) {
                Some(place) => map.next_value_seed(Value { place, told: &mut *self.told })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_part_of_the_prompt_and_later_counts_win() {
        let mut counts = Counts::default();
        let mut update = |usage: &str| counts.update(&serde_json::from_str(usage).unwrap());
        update(
            r#"{"input_tokens": 10.0, "output_tokens": 1, "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 7, "service_tier": "standard", "speed": ["fast", {}],
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2}}"#,
        );
        update(
            r#"{"input_tokens": null, "output_tokens": "50", "output_tokens_details": {"thinking_tokens": 30},
                "server_tool_use": {"web_search_requests": 2}}"#,
        );
        let expected = Usage {
            prompt: Tokens::new(117),
            completion: Tokens::new(50),
            cached: Tokens::new(100),
            cache_write: Tokens::new(5),
            cache_write_1h: Tokens::new(2),
            reasoning: Tokens::new(30),
            web_searches: 2,
            ..Usage::default()
        };
        assert_eq!(counts.usage(), Some(expected));
    }

    #[test]
    fn what_has_another_form_says_nothing() {
        for usage in [
            "{}",
            "[3]",
            "7",
            "-7",
            "0.5",
            r#""much""#,
            "true",
            r#"{"input_tokens": [1], "output_tokens": {"output_tokens": 3}, "service_tier": 5}"#,
            r#"{"thinking_tokens": 3, "cache_creation": {"input_tokens": 1}, "server_tool_use": "x"}"#,
            r#"{"input_tokens": false, "output_tokens": null, "cache_creation": [7], "service_tier": {}}"#,
        ] {
            let told: Told<'_> = serde_json::from_str(usage).unwrap();
            assert_eq!(told.service_tier, None, "{usage}");
            let mut counts = Counts::default();
            counts.update(&told);
            assert_eq!(counts.usage(), None, "{usage}");
        }
    }
}
