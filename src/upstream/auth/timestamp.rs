//! Points in time as credentials spell them.

use std::time::Duration;

const DAY: u64 = 86_400;

/// A time since the Unix epoch as ISO 8601's basic form: `20260131T235959Z`.
pub fn basic(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / DAY);
    let second = seconds % DAY;
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Seconds since the Unix epoch of `2026-01-31T23:59:59Z`, with or without fractions and an offset of zero.
pub fn parse(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once('T')?;
    let time = rest.get(..8)?;
    let zone = rest[8..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if !matches!(zone, "Z" | "+00:00" | "+0000" | "UTC" | "") {
        return None;
    }
    let date = numbers(date, '-')?;
    let time = numbers(time, ':')?;
    let within = (1970..10_000).contains(&date[0])
        && (1..=12).contains(&date[1])
        && (1..=31).contains(&date[2])
        && time[0] < 24
        && time[1] < 60
        && time[2] <= 60;
    within.then(|| days(date) * DAY + time[0] * 3600 + time[1] * 60 + time[2])
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut pieces = text.split(between).map(|piece| piece.parse().ok());
    let numbers = [pieces.next()??, pieces.next()??, pieces.next()??];
    pieces.next().is_none().then_some(numbers)
}

/// Days since the Unix epoch of a date of the Gregorian calendar. Years are counted from March, so that the leap
/// day is their last.
fn days([year, month, day]: [u64; 3]) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719,468 days lie between the first of March of the year 0 and the epoch.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a day since the Unix epoch.
fn civil(day: u64) -> (u64, u64, u64) {
    let mut year = 1970 + day / 366;
    while days([year + 1, 1, 1]) <= day {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days([year, month + 1, 1]) <= day {
        month += 1;
    }
    (year, month, day - days([year, month, 1]) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        assert_eq!(basic(Duration::ZERO), "19700101T000000Z");
        assert_eq!(basic(Duration::from_secs(951_782_400 + 3_661)), "20000229T010101Z");
        assert_eq!(basic(Duration::from_secs(1_798_761_599)), "20261231T235959Z");
        for day in (0..60_000).step_by(7) {
            let (year, month, day_of_month) = civil(day);
            assert_eq!(days([year, month, day_of_month]), day);
            assert_eq!(parse(&format!("{year:04}-{month:02}-{day_of_month:02}T00:00:00Z")), Some(day * DAY));
        }
    }

    #[test]
    fn odd_spellings() {
        assert_eq!(parse("2026-12-31T23:59:59Z"), Some(1_798_761_599));
        assert_eq!(parse("2026-12-31T23:59:59.123Z"), Some(1_798_761_599));
        assert_eq!(parse("2026-12-31T23:59:59+00:00"), Some(1_798_761_599));
        for wrong in [
            "",
            "2026-12-31",
            "2026-13-31T00:00:00Z",
            "2026-12-31T23:59:59+02:00",
            "a-b-cTd:e:f.Z",
            "2026-01-01Té9:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
