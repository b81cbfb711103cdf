//! `when = { ... }`: the hours of a target, in one window or in several.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::config::diagnostic::Located;
use crate::config::reader::{FromToml, Reader, Refusal, Value};
use crate::config::section::section;
use crate::config::time::{DayHours, DayRange, ZoneName};

section! {
    /// Hours of the week.
    #[derive(Default)]
    pub struct TimeWindow in "`when`" {
        optional {
            /// From when to when, e.g. "09:00-18:00", or over midnight: "22:00-06:00". Default: the whole day.
            hours: DayHours,
            /// The days on which the hours begin, such as "mon-fri" and "sun". Default: every day.
            days: Vec<Located<DayRange>>,
            /// Whose clocks they are, summer time included: "Europe/Berlin". Default: "UTC".
            tz: ZoneName,
        }
    }
}

/// Windows of which any may hold.
#[derive(Debug, Clone)]
pub struct When(pub Vec<Located<TimeWindow>>);

impl FromToml for When {
    fn from_toml(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                reader.refuse(value, Refusal::new("without any window it would never be the time"))
            }
            DeValue::Array(_) => Vec::from_toml(value, reader).map(Self),
            DeValue::Table(_) => {
                let window = TimeWindow::from_toml(value, reader)?;
                let at = reader.at(value.span());
                Some(Self(vec![Located { value: window, at }]))
            }
            _ => reader.expected("hours such as { hours = \"09:00-18:00\" }, or a list of them", value),
        }
    }
}

impl JsonSchema for When {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "When".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let window = generator.subschema_for::<TimeWindow>();
        json_schema!({ "anyOf": [window, { "type": "array", "items": window, "minItems": 1 }] })
    }
}
