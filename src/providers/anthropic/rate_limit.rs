//! When a rate limit is over, as the API's headers tell it: the time at which it is full again, in RFC 3339.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// The limits that the API counts.
const LIMITS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// How long to wait until all limits of which nothing remains are reset.
pub fn reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: String| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let is_spent = |limit: &&str| {
        text(format!("anthropic-ratelimit-{limit}-remaining")).is_some_and(|remaining| remaining == "0")
    };
    let resets = LIMITS.into_iter().filter(|limit| is_spent(limit)).filter_map(|limit| {
        let at = text(format!("anthropic-ratelimit-{limit}-reset")).and_then(rfc3339)?;
        Some(at.duration_since(now).unwrap_or_default())
    });
    resets.max()
}

/// A time such as `2025-01-31T08:00:00Z`, `2025-01-31T08:00:00.5+01:00`.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let zone = time.rfind(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let offset = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let [hours, minutes] = numbers(offset, ':')?;
            (hours * 3600 + minutes * 60) * if sign == "-" { -1 } else { 1 }
        }
    };
    let is_possible = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_possible {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    let since =
        Duration::from_secs(u64::try_from(seconds).ok()?) + Duration::try_from_secs_f64(fraction).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// As many numbers as there are, with this between them.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[i64; N]> {
    let numbers = text.split(between).map(|number| number.parse::<u16>().ok().map(i64::from));
    numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// The days from the first of January 1970 to this one. Years begin in March here, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_spelling() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0.0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600.0)),
            ("2025-01-31T08:00:00.5+01:00", Some(1_738_306_800.5)),
            ("2025-01-31 08:00:00-02:30", Some(1_738_319_400.0)),
            ("2025-01-31T08:00:00", None),
            ("2025-13-01T08:00:00Z", None),
            ("soon", None),
        ];
        for (text, expected) in cases {
            let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
            assert_eq!(rfc3339(text).map(since), expected, "{text}");
        }
    }

    #[test]
    fn only_spent_limits_count() {
        let mut headers = HeaderMap::new();
        let fields = [
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T01:00:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:09Z"),
        ];
        for (name, value) in fields {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(reset(&headers, SystemTime::UNIX_EPOCH), Some(Duration::from_secs(9)));
    }
}
