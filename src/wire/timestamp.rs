//! Points in time as protocols spell them, and the days of the Gregorian calendar.

use std::time::Duration;

const DAY: i64 = 86_400;

/// The time since the Unix epoch of `2026-01-31T08:00:00Z` or `2026-01-31T08:00:00.5+01:00`, as RFC 3339 has it. Some
/// leave the zone out, or its colon, and mean UTC where there is none.
pub fn rfc3339(text: &str) -> Option<Duration> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let is_time = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.');
    let (time, zone) = rest.split_at(rest.find(|c| !is_time(c)).unwrap_or(rest.len()));
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    // The sixtieth is a leap second.
    if hour >= 24 || minute >= 60 || second > 60 {
        return None;
    }
    let seconds = days(date)? * DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(Duration::from_secs(u64::try_from(seconds).ok()?) + Duration::try_from_secs_f64(fraction).ok()?)
}

/// A time since the Unix epoch in ISO 8601's basic form: `20260131T235959Z`.
pub fn basic(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let (year, month, day) = civil(seconds / DAY);
    let second = seconds % DAY;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A second since the Unix epoch in ISO 8601's extended form, without the zone, which is UTC: `2026-01-31T23:59:59`.
pub fn extended(second: u64) -> [u8; 19] {
    let (day, second) = (i64::try_from(second).unwrap_or(i64::MAX) / DAY, second % DAY.unsigned_abs());
    let (year, month, day) = civil(day);
    let text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    // Only the years beyond 9999 are longer.
    text.as_bytes().try_into().unwrap_or(*b"9999-12-31T23:59:59")
}

/// The days from the Unix epoch to a date such as `2026-10-01`.
pub fn days(date: &str) -> Option<i64> {
    let [year, month, day] = numbers(date, '-')?;
    let is_possible = (1..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_possible.then(|| number(year, month, day))
}

/// The seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC") {
        return Some(0);
    }
    let (sign, offset) = zone.split_at_checked(1)?;
    let digits = offset.replace(':', "");
    let number: i64 = digits.parse::<u16>().ok().filter(|_| digits.len() == 4)?.into();
    let seconds = (number / 100 * 60 + number % 100) * 60;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// As many numbers as there are, with this between them.
fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let mut pieces = text.split(between).map(|piece| piece.parse::<u16>().ok().map(i64::from));
    let numbers = [pieces.next()??, pieces.next()??, pieces.next()??];
    pieces.next().is_none().then_some(numbers)
}

/// The number of a day. Years begin in March here, so that a leap day is the last of its year.
fn number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719,468 days lie between the first of March of the year 0 and the epoch.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a day since the Unix epoch.
fn civil(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day / 366;
    while number(year + 1, 1, 1) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && number(year, month + 1, 1) <= day {
        month += 1;
    }
    (year, month, day - number(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(basic(Duration::ZERO), "19700101T000000Z");
        assert_eq!(basic(Duration::from_secs(951_782_400 + 3_661)), "20000229T010101Z");
        assert_eq!(basic(Duration::from_secs(1_798_761_599)), "20261231T235959Z");
        assert_eq!(extended(1_798_761_599), *b"2026-12-31T23:59:59");
        for day in (0..60_000).step_by(7) {
            let (year, month, of_month) = civil(day);
            let seconds = u64::try_from(day * DAY).unwrap();
            let written = format!("{year:04}-{month:02}-{of_month:02}T00:00:00Z");
            assert_eq!(rfc3339(&written), Some(Duration::from_secs(seconds)), "{written}");
        }
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T12:00:00Z", 951_825_600.0),
            ("2026-03-12T18:06:04.250000Z", 1_773_338_764.25),
            ("2025-01-31T08:00:00.5+01:00", 1_738_306_800.5),
            ("2025-01-31 08:00:00-02:30", 1_738_319_400.0),
            ("2025-01-31t08:00:00-0230", 1_738_319_400.0),
            ("2026-12-31T23:59:59UTC", 1_798_761_599.0),
            ("2026-12-31T23:59:59", 1_798_761_599.0),
        ];
        for (text, expected) in cases {
            assert_eq!(rfc3339(text), Some(Duration::from_secs_f64(expected)), "{text}");
        }
        for wrong in [
            "",
            "soon",
            "2026-12-31",
            "2026-13-31T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "a-b-cTd:e:f.Z",
            "1-1-1-1T1:2:3Z",
            "2026-01-01Té9:00:00Z",
            "2026-01-01T09:00:00é",
            "2026-01-01T09:00:00+1",
        ] {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_counted_in_days() {
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("1969-12-31"), Some(-1));
        assert_eq!(days("2000-02-29"), Some(11_016));
        assert_eq!(days("2026-10-01"), Some(20_727));
        assert_eq!(days("soon"), None);
    }
}
