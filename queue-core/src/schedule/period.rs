//! Periods: schedules that count in real time and ignore changes of the clock.
//!
//! A period is counted from 1970-01-01 00:00:00 UTC rather than from when the schedule was made, so
//! that every scheduler finds the same instants, before and after a restart.

use chrono::{DateTime, TimeDelta, Utc};

use super::invalid::InvalidSchedule;

const PERIOD_MAX: TimeDelta = TimeDelta::days(366);

/// The units of a period, from the longest to the shortest, with their seconds. A unit can be
/// written as its first letter.
const UNITS: [(&str, u32); 5] = [
    ("week", 604_800),
    ("day", 86_400),
    ("hour", 3_600),
    ("minute", 60),
    ("second", 1),
];

/// Returns the seconds of a unit, named in the singular or plural.
pub(super) fn seconds_of(word: &str) -> Option<u32> {
    let word = word.strip_suffix('s').unwrap_or(word);
    let unit = UNITS.into_iter().find(|(name, _)| *name == word);
    unit.map(|(_, seconds)| seconds)
}

/// Returns the length of some units.
pub(super) fn times(number: u32, seconds: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(number) * i64::from(seconds))
}

/// Parses `90s` and `1h30m`.
pub(super) fn parse(text: &str) -> Result<TimeDelta, InvalidSchedule> {
    let refuse = || InvalidSchedule::Period {
        period: text.to_owned(),
        reason: "write numbers with w, d, h, m or s, such as `90s` or `1h30m`",
    };
    let mut total = TimeDelta::zero();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let letter = part.chars().next_back().unwrap_or_default();
        let number = part.trim_end_matches(letter).parse();
        let letter = letter.to_ascii_lowercase();
        let unit = UNITS.iter().find(|(name, _)| name.starts_with(letter));
        let (_, seconds) = unit.ok_or_else(refuse)?;
        let more = times(number.map_err(|_| refuse())?, *seconds);
        total = total.checked_add(&more).unwrap_or(TimeDelta::MAX);
    }
    check(total, text)
}

/// Rejects a period that is too short or too long; `written` is its text in the error.
pub(super) fn check(period: TimeDelta, written: &str) -> Result<TimeDelta, InvalidSchedule> {
    let reason = if period <= TimeDelta::zero() {
        "use at least 1 second"
    } else if period > PERIOD_MAX {
        "use at most 366 days, or crontab for a date in the year"
    } else {
        return Ok(period);
    };
    Err(InvalidSchedule::Period {
        period: written.to_owned(),
        reason,
    })
}

/// Returns the first instant later than `after` that is a multiple of the period.
pub(super) fn next_after(period: TimeDelta, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let seconds = period.num_seconds();
    let next = (after.timestamp().div_euclid(seconds) + 1).checked_mul(seconds)?;
    DateTime::from_timestamp(next, 0)
}

/// Writes a period in the largest unit that divides it: `90 minutes`, or `hour` for one.
pub(super) fn describe(period: TimeDelta) -> String {
    let seconds = period.num_seconds();
    let (name, unit) = UNITS
        .into_iter()
        .find(|(_, unit)| seconds % i64::from(*unit) == 0)
        .unwrap_or(("second", 1));
    many(seconds / i64::from(unit), name)
}

/// Writes `hour` for one, and otherwise `2 hours`.
pub(super) fn many(count: i64, unit: &str) -> String {
    match count {
        1 => unit.to_owned(),
        _ => format!("{count} {unit}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_per_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5_400),
            ("1D", 86_400),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Ok(TimeDelta::seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn an_invalid_or_too_short_or_too_long_period_is_rejected() {
        for text in [
            "", "90", "s", "5x", "1.5h", "0s", "-5m", "5é", "500ms", "60w",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"4000000000w".repeat(40)).is_err());
    }

    #[test]
    fn a_period_is_described_in_its_largest_unit() {
        for (seconds, words) in [
            (90, "90 seconds"),
            (5_400, "90 minutes"),
            (3_600, "hour"),
            (172_800, "2 days"),
            (604_800, "week"),
        ] {
            assert_eq!(describe(TimeDelta::seconds(seconds)), words);
        }
    }
}
