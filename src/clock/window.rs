//! Hours of the week on some place's clocks: when a target serves, when another price holds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// Some hours on some days of the week, by the clocks of one time zone, summer time included.
#[derive(Clone, PartialEq, Eq)]
pub struct Window {
    /// `None`: the whole day.
    pub hours: Option<Hours>,
    pub days: Days,
    pub zone: Zone,
}

/// From a minute of the day to another. Where the end is before the beginning it is that of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    /// Exclusive; 1440 is midnight.
    to: u16,
}

/// Days of the week. Hours over midnight belong to the day on which they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

/// A place's clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// When something holds: in any of these windows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule(pub Vec<Window>);

/// The names of the days as they are written.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES: u16 = 24 * 60;
/// How far ahead an opening is looked for: with one more day than a week has, every window opens in it, but for hours
/// that summer time takes away.
const AHEAD: i8 = 8;

impl Hours {
    /// From `from` to `to`, in minutes of the day; `None` if there are no such hours.
    pub fn new(from: u16, to: u16) -> Option<Self> {
        (from < MINUTES && to <= MINUTES && from != to).then_some(Self { from, to })
    }

    fn is_over_midnight(self) -> bool {
        self.to < self.from
    }
}

impl Days {
    /// Every day of the week.
    pub const ALL: Self = Self(0x7f);
    /// None, to add to.
    pub const NONE: Self = Self(0);

    /// These days and those from one to another, 0 being Monday; over the week's end if need be.
    #[must_use]
    pub fn with(self, from: usize, to: usize) -> Self {
        let to = if to < from { to + 7 } else { to };
        Self((from..=to).fold(self.0, |days, day| days | 1 << (day % 7)))
    }

    fn has(self, day: Weekday) -> bool {
        self.0 & 1 << day.to_monday_zero_offset() != 0
    }
}

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of this IANA name, e.g. `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some()).map(Self)
    }

    /// What its clocks show at this time.
    pub fn tell(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.0.clone())
    }

    /// The first moment of a day there: where clocks jump over midnight it is later.
    pub fn first_of(&self, day: Date) -> Option<Timestamp> {
        Some(day.to_zoned(self.0.clone()).ok()?.start_of_day().ok()?.timestamp())
    }

    /// The names that [`Zone::named`] knows.
    pub fn names() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
    }
}

impl Window {
    /// Whether it holds at this time.
    pub fn holds(&self, now: SystemTime) -> bool {
        Timestamp::try_from(now).is_ok_and(|now| self.holds_at(now))
    }

    fn holds_at(&self, now: Timestamp) -> bool {
        let local = self.zone.tell(now);
        let today = local.weekday();
        let Some(hours) = self.hours else { return self.days.has(today) };
        let minute = minute_of(local.time());
        if hours.is_over_midnight() {
            self.days.has(today) && minute >= hours.from
                || self.days.has(today.previous()) && minute < hours.to
        } else {
            self.days.has(today) && (hours.from..hours.to).contains(&minute)
        }
    }

    /// The times within the days to come at which it may begin to hold.
    fn beginnings(&self, now: &Zoned) -> impl Iterator<Item = Timestamp> {
        let today = now.date();
        let days = (0..=AHEAD).filter_map(move |ahead| today.checked_add(ahead.days()).ok());
        let days = days.filter(|day| self.days.has(day.weekday()));
        let begins = days.flat_map(|day| self.begins_on(day));
        // Where summer time takes an hour away it begins right after that.
        begins.chain(self.zone.0.following(now.timestamp()).take(1).map(|change| change.timestamp()))
    }

    /// When it begins on this day: twice, where the clocks are set back over it.
    fn begins_on(&self, day: Date) -> impl Iterator<Item = Timestamp> {
        let from = self.hours.map_or(0, |hours| hours.from);
        let time = i8::try_from(from / 60).ok().zip(i8::try_from(from % 60).ok());
        let at = time.and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok());
        let at = at.map(|time| self.zone.0.to_ambiguous_timestamp(day.to_datetime(time)));
        let both = at.map(|at| [at.earlier().ok(), at.later().ok()]);
        both.into_iter().flatten().flatten()
    }
}

impl Schedule {
    /// Whether a window holds at this time.
    pub fn is_open(&self, now: SystemTime) -> bool {
        self.0.iter().any(|window| window.holds(now))
    }

    /// How long it is until a window begins to hold; `None` if one holds already, or none ever will.
    pub fn opens_in(&self, now: SystemTime) -> Option<Duration> {
        let now = Timestamp::try_from(now).ok()?;
        let is_open = |at: Timestamp| self.0.iter().any(|window| window.holds_at(at));
        if is_open(now) {
            return None;
        }
        let beginnings = self.0.iter().flat_map(|window| {
            let local = window.zone.tell(now);
            window.beginnings(&local).collect::<Vec<_>>()
        });
        let next = beginnings.filter(|at| *at > now && is_open(*at)).min()?;
        next.duration_since(now).try_into().ok()
    }

    /// The first time of the week from `now` on at which none of these holds, if there is one: to the quarter of an
    /// hour.
    pub fn first_gap(schedules: &[&Self], now: SystemTime) -> Option<SystemTime> {
        week(now).find(|at| !schedules.iter().any(|schedule| schedule.is_open(*at)))
    }
}

/// The quarters of the hours of a week, from the one on that has begun.
pub fn week(now: SystemTime) -> impl Iterator<Item = SystemTime> {
    const STEP: Duration = Duration::from_mins(15);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let quarter = UNIX_EPOCH + Duration::from_secs(since_epoch - since_epoch % STEP.as_secs());
    (0..7 * 24 * 4).map(move |step| quarter + STEP * step)
}

/// The same of four weeks, a quarter of a year from each other: clocks that change at different times meet otherwise.
pub fn weeks_of_a_year(now: SystemTime) -> impl Iterator<Item = SystemTime> {
    (0..4).flat_map(move |season| week(now + Duration::from_hours(13 * 7 * 24) * season))
}

/// A time of the week for people: `sat 18:00 UTC`.
pub fn told(time: SystemTime) -> String {
    let Ok(time) = Timestamp::try_from(time) else { return String::new() };
    let time = time.to_zoned(TimeZone::UTC);
    let day = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or_default();
    format!("{} {:02}:{:02} UTC", DAYS[day % 7], time.hour(), time.minute())
}

fn minute_of(time: Time) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// As it is written: `09:00-18:00 mon-fri Europe/Berlin`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(hours) = self.hours {
            write!(f, "{hours} ")?;
        }
        if self.days != Days::ALL {
            write!(f, "{} ", self.days)?;
        }
        write!(f, "{}", self.zone)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({self})")
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Days that follow each other as a range.
impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut day = 0;
        let mut comma = "";
        while day < 7 {
            let run = (day..7).take_while(|day| self.0 & 1 << day != 0).count();
            match run {
                0 => {}
                1 => write!(f, "{comma}{}", DAYS[day])?,
                _ => write!(f, "{comma}{}-{}", DAYS[day], DAYS[day + run - 1])?,
            }
            if run > 0 {
                comma = ",";
            }
            day += run.max(1);
        }
        Ok(())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, window) in self.0.iter().enumerate() {
            write!(f, "{}{window}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(hours: Option<(u16, u16)>, days: Days, zone: &str) -> Window {
        let hours = hours.map(|(from, to)| Hours::new(from * 60, to * 60).unwrap());
        Window { hours, days, zone: Zone::named(zone).unwrap() }
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn office_hours_follow_summer_time() {
        let office = window(Some((9, 18)), Days::NONE.with(0, 4), "Europe/Berlin");
        assert_eq!(office.to_string(), "09:00-18:00 mon-fri Europe/Berlin");
        // A Wednesday in winter, an hour ahead of UTC; one in summer, two hours ahead; a Saturday.
        for (time, holds) in [
            ("2026-01-14T07:59:59Z", false),
            ("2026-01-14T08:00:00Z", true),
            ("2026-01-14T16:59:59Z", true),
            ("2026-01-14T17:00:00Z", false),
            ("2026-07-15T06:59:59Z", false),
            ("2026-07-15T07:00:00Z", true),
            ("2026-01-17T10:00:00Z", false),
        ] {
            assert_eq!(office.holds(at(time)), holds, "{time}");
        }
        let office = Schedule(vec![office]);
        assert_eq!(office.opens_in(at("2026-01-14T06:00:00Z")), Some(Duration::from_hours(2)));
        assert_eq!(office.opens_in(at("2026-01-14T10:00:00Z")), None, "it is open");
        // From Friday evening over the weekend on which the clocks go forward.
        assert_eq!(office.opens_in(at("2026-03-27T17:00:00Z")), Some(Duration::from_hours(7 + 24 + 24 + 7)));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = window(Some((22, 6)), Days::NONE.with(4, 4), "UTC");
        for (time, holds) in [
            ("2026-01-16T21:59:00Z", false),
            ("2026-01-16T22:00:00Z", true),
            ("2026-01-17T05:59:00Z", true),
            ("2026-01-17T06:00:00Z", false),
            ("2026-01-17T22:00:00Z", false),
            ("2026-01-16T05:00:00Z", false),
        ] {
            assert_eq!(night.holds(at(time)), holds, "{time}");
        }
        let whole = Window { hours: Hours::new(0, MINUTES), ..night };
        assert!(whole.holds(at("2026-01-16T23:59:59Z")) && !whole.holds(at("2026-01-17T00:00:00Z")));
    }

    #[test]
    fn days_go_over_the_end_of_the_week() {
        let days = Days::NONE.with(5, 0).with(2, 2);
        assert_eq!(days.to_string(), "mon,wed,sat-sun");
        assert_eq!(window(None, days, "Asia/Tokyo").to_string(), "mon,wed,sat-sun Asia/Tokyo");
        assert_eq!(Days::NONE.with(0, 6), Days::ALL);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        assert!(Hours::new(60, 60).is_none() && Hours::new(MINUTES, 60).is_none());
        assert!(Hours::new(60, MINUTES + 1).is_none());
        assert!(Zone::named("Europe/Atlantis").is_none());
        assert!(Zone::names().iter().any(|name| name == "Europe/Berlin"));
    }

    #[test]
    fn gaps_are_found() {
        let day = Schedule(vec![window(Some((8, 20)), Days::ALL, "UTC")]);
        let night = Schedule(vec![window(Some((20, 8)), Days::ALL, "UTC")]);
        let now = at("2026-01-14T10:00:00Z");
        assert_eq!(Schedule::first_gap(&[&day, &night], now), None);
        let gap = Schedule::first_gap(&[&day], now + Duration::from_secs(7)).unwrap();
        assert_eq!((gap, told(gap)), (at("2026-01-14T20:00:00Z"), "wed 20:00 UTC".to_owned()));
    }

    proptest! {
        /// Minute by minute, over the days on which clocks change: what holds at the time foretold, and not before.
        #[test]
        fn openings_are_foretold_exactly(
            from in 0_u16..1440,
            length in 1_u16..1440,
            days in 1_u8..128,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            day in prop::sample::select(vec![
                "2026-03-28", "2026-03-07", "2026-10-24", "2026-10-31", "2026-04-04", "2026-10-03", "2026-06-01",
            ]),
            minute in 0_u64..2880,
        ) {
            let hours = Hours::new(from, (from + length) % MINUTES);
            let window = Window { hours, days: Days(days), zone: Zone::named(zone).unwrap() };
            let schedule = Schedule(vec![window]);
            let now = at(&format!("{day}T00:00:00Z")) + Duration::from_mins(minute);
            let minutes = (0..9 * 24 * 60).map(Duration::from_mins);
            let open = minutes.into_iter().find(|after| schedule.is_open(now + *after));
            let foretold = schedule.opens_in(now).unwrap_or_default();
            prop_assert_eq!(Some(foretold), open);
        }
    }
}
