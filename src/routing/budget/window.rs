//! The time that a budget is for: a period of the calendar, or the last so many hours at any time.

use std::fmt;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use crate::clock::window::Zone;

/// A budget's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// A whole hour, day, week (from Monday) or month by the clocks of a time zone.
    Calendar { unit: Unit, zone: Zone },
    /// The time of this length that ends now.
    Rolling(Duration),
}

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    Week,
    Month,
}

/// A window as it lies now. All times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Frame {
    /// What is spent now is counted under this time.
    pub slot: u64,
    /// What was counted under an earlier time than this is over.
    pub since: u64,
    /// From then on this frame is another.
    pub until: u64,
    /// How long after its slot's time something counts; `None`: until the period ends.
    pub lasts: Option<u64>,
}

/// In how many pieces a rolling window moves on.
const SLOTS: u64 = 60;
const HOUR: u64 = 3_600_000;

impl Unit {
    /// Its name in the configuration.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl Window {
    /// The window as it lies at `now`, in milliseconds since the Unix epoch.
    pub fn frame(&self, now: u64) -> Frame {
        match self {
            Self::Calendar { unit, zone } => {
                // Only a year beyond 9999 has no period.
                let (start, end) = period(*unit, zone, now).unwrap_or((now - now % HOUR, now + HOUR));
                Frame { slot: start, since: start, until: end.max(now + 1), lasts: None }
            }
            Self::Rolling(length) => {
                let length = milliseconds(*length).max(1);
                let piece = length.div_ceil(SLOTS);
                let slot = now - now % piece;
                // A piece counts until all of it is out of the window.
                let lasts = length + piece;
                let since = (slot + 1).saturating_sub(lasts);
                Frame { slot, since, until: slot + piece, lasts: Some(lasts) }
            }
        }
    }
}

/// As the configuration writes it, with the time zone.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calendar { unit, zone } => {
                write!(f, "{} ({zone})", unit.code())
            }
            Self::Rolling(length) => match milliseconds(*length) {
                whole if whole.is_multiple_of(HOUR) => write!(f, "any {}h", whole / HOUR),
                whole if whole.is_multiple_of(60_000) => write!(f, "any {}m", whole / 60_000),
                _ => write!(f, "any {}s", length.as_secs_f64()),
            },
        }
    }
}

/// The milliseconds in a time.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The beginning and the end of the period in which `now` lies.
fn period(unit: Unit, zone: &Zone, now: u64) -> Option<(u64, u64)> {
    let now = Timestamp::from_millisecond(i64::try_from(now).ok()?).ok()?;
    let now = zone.tell(now);
    let today = now.date();
    let (start, end) = match unit {
        Unit::Hour => {
            let into = i64::from(now.minute()) * 60 + i64::from(now.second());
            let start = positive((now.timestamp().as_second() - into) * 1000)?;
            return Some((start, start + HOUR));
        }
        Unit::Day => (today, today.tomorrow().ok()?),
        Unit::Week => {
            let start = today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok()?;
            (start, start.checked_add(7.days()).ok()?)
        }
        Unit::Month => {
            let start = today.first_of_month();
            (start, start.checked_add(1.month()).ok()?)
        }
    };
    Some((midnight(start, zone)?, midnight(end, zone)?))
}

/// The first moment of a day: where clocks jump over midnight it begins later.
fn midnight(date: Date, zone: &Zone) -> Option<u64> {
    positive(zone.first_of(date)?.as_millisecond())
}

fn positive(milliseconds: i64) -> Option<u64> {
    u64::try_from(milliseconds).ok()
}
