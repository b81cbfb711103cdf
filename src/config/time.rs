//! Times of the week as the file writes them: hours, days, and whose clocks tell them.

use super::reader::{FromText, Refusal};
use super::section::nearest;
use super::value::inline_schema;
use crate::clock::window::{DAYS, Days, Hours, Zone};

/// Hours of a day: "09:00-18:00".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayHours(pub Hours);

/// A day or a range of days: "sat", "mon-fri".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    /// 0 is Monday.
    pub from: usize,
    pub to: usize,
}

/// The IANA name of a time zone: "Europe/Berlin".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneName(pub Zone);

impl DayRange {
    /// All of these together.
    pub fn joined<'a>(ranges: impl Iterator<Item = &'a Self>) -> Days {
        ranges.fold(Days::NONE, |days, range| days.with(range.from, range.to))
    }
}

impl FromText for DayHours {
    const EXPECTED: &'static str = "hours of a day such as \"09:00-18:00\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::new(format!("expected {}, found {text:?}", Self::EXPECTED));
        let (from, to) = text.split_once('-').ok_or_else(refusal)?;
        let (from, to) = (minutes(from).ok_or_else(refusal)?, minutes(to).ok_or_else(refusal)?);
        Hours::new(from, to).map(Self).ok_or_else(|| {
            Refusal::new(format!("{text:?} are no hours of a day"))
                .help("the whole day is \"00:00-24:00\", a night \"22:00-06:00\"")
        })
    }
}

impl FromText for DayRange {
    const EXPECTED: &'static str = "a day or a range of days such as \"sat\" or \"mon-fri\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Ok(Self { from: day(from, text)?, to: day(to, text)? })
    }
}

impl FromText for ZoneName {
    const EXPECTED: &'static str = "a time zone such as \"Europe/Berlin\"";

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some(zone) = Zone::named(text) {
            return Ok(Self(zone));
        }
        let refusal = Refusal::new(format!("{text:?} is no time zone"));
        let names = Zone::names();
        Err(match nearest(text, names.iter().map(String::as_str)) {
            Some(near) => refusal.help(format!("did you mean \"{near}\"?")),
            None => refusal.help("zones have IANA names such as \"Europe/Berlin\" or \"UTC\""),
        })
    }
}

/// Minutes of the day at `09:30`.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour <= 24 && minute < 60).then_some(hour * 60 + minute)
}

fn day(name: &str, whole: &str) -> Result<usize, Refusal> {
    let name = name.trim().to_lowercase();
    DAYS.iter().position(|day| *day == name).ok_or_else(|| {
        Refusal::new(format!("expected {}, found {whole:?}", DayRange::EXPECTED))
            .help(format!("the days are {}", DAYS.join(", ")))
    })
}

inline_schema!(DayHours, { "type": "string", "pattern": "^ *[0-2][0-9]:[0-5][0-9] *- *[0-2][0-9]:[0-5][0-9] *$" });
inline_schema!(DayRange, {
    "type": "string",
    "pattern": "^([Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un)(-([Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un))?$"
});
inline_schema!(ZoneName, { "type": "string", "minLength": 1 });

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromText + std::fmt::Debug>(wrong: &[&str]) -> String {
        let refusals = wrong.iter().map(|text| T::from_text(text).unwrap_err().to_string());
        refusals.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn hours() {
        for text in ["09:00-18:00", "22:30-06:00", "00:00-24:00"] {
            assert_eq!(DayHours::from_text(text).unwrap().0.to_string(), text);
        }
        insta::assert_snapshot!(
            refused::<DayHours>(&["9-18", "09:00", "09:00-09:00", "24:00-06:00", "09:00-25:00", "09:60-10:00"]),
            @r#"
        expected hours of a day such as "09:00-18:00", found "9-18"
        expected hours of a day such as "09:00-18:00", found "09:00"
        "09:00-09:00" are no hours of a day: the whole day is "00:00-24:00", a night "22:00-06:00"
        "24:00-06:00" are no hours of a day: the whole day is "00:00-24:00", a night "22:00-06:00"
        expected hours of a day such as "09:00-18:00", found "09:00-25:00"
        expected hours of a day such as "09:00-18:00", found "09:60-10:00"
        "#
        );
    }

    #[test]
    fn days_and_zones() {
        let days = ["mon-fri", "Sun"].map(|text| DayRange::from_text(text).unwrap());
        assert_eq!(DayRange::joined(days.iter()).to_string(), "mon-fri,sun");
        assert_eq!(ZoneName::from_text("Europe/Berlin").unwrap().0.to_string(), "Europe/Berlin");
        insta::assert_snapshot!(refused::<DayRange>(&["monday", "mon-", "weekend"]), @r#"
        expected a day or a range of days such as "sat" or "mon-fri", found "monday": the days are mon, tue, wed, thu, fri, sat, sun
        expected a day or a range of days such as "sat" or "mon-fri", found "mon-": the days are mon, tue, wed, thu, fri, sat, sun
        expected a day or a range of days such as "sat" or "mon-fri", found "weekend": the days are mon, tue, wed, thu, fri, sat, sun
        "#);
        insta::assert_snapshot!(refused::<ZoneName>(&["Europe/Berln", "here"]), @r#"
        "Europe/Berln" is no time zone: did you mean "Europe/Berlin"?
        "here" is no time zone: zones have IANA names such as "Europe/Berlin" or "UTC"
        "#);
    }
}
