//! Quantities as the file writes them: durations and sizes with their unit, money in USD, ratios.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::diagnostic::Located;
use super::reader::{FromText, FromToml, Reader, Refusal, Value};
use super::section::nearest;
use crate::units::{Cost, Price};

/// A limit in time: longer than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// A time to wait at most: zero means not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// How long something is kept: longer than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention(pub Duration);

/// A number of bytes, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// An amount in USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usd(pub Cost);

/// A price in USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsdPerMillion(pub Price);

/// A factor above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor(pub f64);

/// A share: above 0, and 1 at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

/// A number of things, at least one.
pub type Count = NonZeroU32;

/// A share, in proportion to those beside it: from 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(pub u32);

/// A number of things that may be many, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub u64);

/// Declares an enum whose variants are words of the file.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, $expected:literal {
            $($(#[$variant_meta:meta])* $word:literal => $variant:ident,)+
            $(later [$($later:literal),* $(,)?])?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $crate::config::reader::FromText for $name {
            const EXPECTED: &'static str = $expected;

            fn from_text(text: &str) -> Result<Self, $crate::config::reader::Refusal> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    $($($later)|* => Err($crate::config::reader::not_supported(&format!("{text:?}"))),)?
                    _ => Err($crate::config::value::unknown_word(text, &[$($word),+], $expected)),
                }
            }
        }

        $crate::config::value::inline_schema!($name, { "type": "string", "enum": [$($word),+] });
    };
}
pub(in crate::config) use words;

/// Gives a type a JSON Schema that is written out wherever the type is used.
macro_rules! inline_schema {
    ($name:ident, $schema:tt) => {
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(in crate::config) use inline_schema;

/// The refusal of a word that is none of `words`.
pub fn unknown_word(text: &str, words: &[&str], expected: &str) -> Refusal {
    let refusal = Refusal::new(format!("expected {expected}, found {text:?}"));
    match nearest(text, words.iter().copied()) {
        Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
        None => refusal,
    }
}

impl FromText for Timeout {
    const EXPECTED: &'static str = "a duration such as \"30s\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match duration(text)? {
            Duration::ZERO => Err(Refusal::new("a time limit of zero would let nothing through")),
            limit => Ok(Self(limit)),
        }
    }
}

impl FromText for Wait {
    const EXPECTED: &'static str = "a duration such as \"3s\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        duration(text).map(Self)
    }
}

impl FromText for Retention {
    const EXPECTED: &'static str = "a duration such as \"90d\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match duration_up_to(text, Self::EXPECTED, &A_CENTURY)? {
            Duration::ZERO => Err(Refusal::new("what is kept for no time is not kept")),
            time => Ok(Self(time)),
        }
    }
}

impl FromText for Size {
    const EXPECTED: &'static str = "a size such as \"32MiB\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let (number, unit) = quantity(text, Self::EXPECTED)?;
        let bytes = match unit {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "" => {
                return Err(
                    Refusal::new(format!("{text:?} has no unit")).help("write \"64KiB\" or \"32MiB\"")
                );
            }
            _ => {
                return Err(Refusal::new(format!("{unit:?} is no unit of size"))
                    .help("the units are B, KiB, MiB and GiB, each 1024 times the one before"));
            }
        };
        let bytes = number * bytes;
        if !(1.0..=1e15).contains(&bytes) {
            return Err(Refusal::new(format!("a size of {text:?} is out of range")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked"
        )]
        Ok(Self(bytes.round() as u64))
    }
}

impl FromToml for Usd {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let usd = amount(value, reader, "an amount in USD such as 0.01")?;
        Cost::from_usd(usd).map(Self).or_else(|| out_of_range(value, reader, "an amount of USD, 0 or more"))
    }
}

impl FromToml for UsdPerMillion {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let usd = amount(value, reader, "a price in USD per million tokens such as 2.5")?;
        let price = Price::from_usd_per_million(usd).map(Self);
        price.or_else(|| out_of_range(value, reader, "a price of 0 to a million USD per million tokens"))
    }
}

impl FromToml for Amount {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const EXPECTED: &str = "a whole number, 1 or more";
        let DeValue::Integer(integer) = value.get_ref() else {
            return reader.expected(EXPECTED, value);
        };
        let amount = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let amount = amount.and_then(|amount| u64::try_from(amount).ok()).filter(|amount| *amount > 0);
        amount.map(Self).or_else(|| out_of_range(value, reader, EXPECTED))
    }
}

impl FromToml for Factor {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let factor = amount(value, reader, "a factor such as 1.5")?;
        if factor > 0.0 && factor <= 1e6 {
            Some(Self(factor))
        } else {
            out_of_range(value, reader, "a factor above 0, a million at most")
        }
    }
}

impl FromToml for Weight {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let weight = Count::from_toml(value, reader)?.get();
        if weight <= 1000 {
            Some(Self(weight))
        } else {
            out_of_range(value, reader, "a weight from 1 to 1000")
        }
    }
}

impl FromToml for Share {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let share = amount(value, reader, "a share such as 0.5")?;
        if share > 0.0 && share <= 1.0 {
            Some(Self(share))
        } else {
            out_of_range(value, reader, "a share above 0, 1 at most (0.5 is every second one)")
        }
    }
}

inline_schema!(Timeout, { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$" });
inline_schema!(Wait, { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$" });
inline_schema!(Retention, { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$" });
inline_schema!(Size, { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)$" });
inline_schema!(Usd, { "type": "number", "minimum": 0 });
inline_schema!(UsdPerMillion, { "type": "number", "minimum": 0, "maximum": 1_000_000 });
inline_schema!(Amount, { "type": "integer", "minimum": 1 });
inline_schema!(Factor, { "type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000 });
inline_schema!(Weight, { "type": "integer", "minimum": 1, "maximum": 1000 });
inline_schema!(Share, { "type": "number", "exclusiveMinimum": 0, "maximum": 1 });

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<K: JsonSchema, T: JsonSchema> JsonSchema for super::reader::Named<K, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NamedBy{}Of{}", K::schema_name(), T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<K>(),
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// The longest duration that makes sense for a clock, in seconds, and what it is called.
const A_YEAR: (f64, &str) = (365.0 * DAY, "a year");
/// The same for what is kept.
const A_CENTURY: (f64, &str) = (36_525.0 * DAY, "a century");
/// Seconds.
const DAY: f64 = 24.0 * 3600.0;

fn duration(text: &str) -> Result<Duration, Refusal> {
    duration_up_to(text, Timeout::EXPECTED, &A_YEAR)
}

fn duration_up_to(text: &str, expected: &str, most: &(f64, &str)) -> Result<Duration, Refusal> {
    let (number, unit) = quantity(text, expected)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * DAY,
        "" => {
            return Err(Refusal::new(format!("{text:?} has no unit"))
                .help(format!("write \"{text}s\" for seconds or \"{text}ms\" for milliseconds")));
        }
        _ => {
            return Err(
                Refusal::new(format!("{unit:?} is no unit of time")).help("the units are ms, s, m, h and d")
            );
        }
    };
    if seconds > most.0 {
        let refusal = Refusal::new(format!("a duration of {text:?} is out of range"));
        return Err(refusal.help(format!("{} at most", most.1)));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A duration as the file writes it: "800ms", "1.5s", "10m".
pub fn lasting(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        _ if milliseconds.is_multiple_of(86_400_000) => format!("{}d", milliseconds / 86_400_000),
        _ if milliseconds.is_multiple_of(3_600_000) => format!("{}h", milliseconds / 3_600_000),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds < 1000 => format!("{milliseconds}ms"),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}

/// A size as the file writes it: "64KiB", "32MiB".
pub fn sized(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// Digits with at most one point between them, and what follows.
fn quantity<'a>(text: &'a str, expected: &str) -> Result<(f64, &'a str), Refusal> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
    let number = number.parse::<f64>().ok().filter(|_| plain);
    number
        .map(|number| (number, unit))
        .ok_or_else(|| Refusal::new(format!("expected {expected}, found {text:?}")))
}

fn amount(value: &Value<'_>, reader: &mut Reader, expected: &str) -> Option<f64> {
    match value.get_ref() {
        DeValue::Integer(_) | DeValue::Float(_) => f64::from_toml(value, reader),
        _ => reader.expected(expected, value),
    }
}

fn out_of_range<T>(value: &Value<'_>, reader: &mut Reader, expected: &str) -> Option<T> {
    reader.refuse(value, Refusal::new(format!("expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromText + std::fmt::Debug>(text: &str) -> String {
        T::from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn durations() {
        let read = |text| Timeout::from_text(text).unwrap().0;
        assert_eq!(read("800ms"), Duration::from_millis(800));
        assert_eq!(read("1.5s"), Duration::from_millis(1500));
        assert_eq!(read("2m"), Duration::from_mins(2));
        assert_eq!(read("1h"), Duration::from_hours(1));
        assert_eq!(Wait::from_text("0s").unwrap().0, Duration::ZERO);
        let wrong = ["30", "30 s", "5min", "-3s", "s", "", "1.s", ".5s", "1.2.3s", "1e3s", "0ms", "9000h"];
        let messages: Vec<String> = wrong.iter().map(|text| refused::<Timeout>(text)).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        "30" has no unit: write "30s" for seconds or "30ms" for milliseconds
        " s" is no unit of time: the units are ms, s, m, h and d
        "min" is no unit of time: the units are ms, s, m, h and d
        expected a duration such as "30s", found "-3s"
        expected a duration such as "30s", found "s"
        expected a duration such as "30s", found ""
        expected a duration such as "30s", found "1.s"
        expected a duration such as "30s", found ".5s"
        expected a duration such as "30s", found "1.2.3s"
        "e3s" is no unit of time: the units are ms, s, m, h and d
        a time limit of zero would let nothing through
        a duration of "9000h" is out of range: a year at most
        "#);
    }

    #[test]
    fn quantities_are_shown_as_they_are_written() {
        for text in ["0s", "800ms", "1.5s", "90s", "2m", "1h", "25h", "90d"] {
            let read = Wait::from_text(text).unwrap().0;
            assert_eq!(lasting(read), text);
        }
        for text in ["100B", "64KiB", "32MiB", "1536MiB", "2GiB"] {
            assert_eq!(sized(Size::from_text(text).unwrap().0), text);
        }
    }

    #[test]
    fn sizes() {
        let read = |text| Size::from_text(text).unwrap().0;
        assert_eq!(read("100B"), 100);
        assert_eq!(read("64KiB"), 65_536);
        assert_eq!(read("32MiB"), 33_554_432);
        assert_eq!(read("1.5GiB"), 1_610_612_736);
        let wrong = ["32", "32MB", "0B", "-1B", "MiB", "9999999999999GiB"];
        let messages: Vec<String> = wrong.iter().map(|text| refused::<Size>(text)).collect();
        insta::assert_snapshot!(messages.join("\n"), @r#"
        "32" has no unit: write "64KiB" or "32MiB"
        "MB" is no unit of size: the units are B, KiB, MiB and GiB, each 1024 times the one before
        a size of "0B" is out of range
        expected a size such as "32MiB", found "-1B"
        expected a size such as "32MiB", found "MiB"
        a size of "9999999999999GiB" is out of range
        "#);
    }
}
