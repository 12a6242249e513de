//! Numbers and times as people read them.

use chrono::{DateTime, Utc};
pub(crate) use queue_core::inspect::grouped;
use queue_core::inspect::{Count, spell_duration};

/// Writes a count, which may have stopped: `>1,000,000`.
pub(crate) fn count(count: Count) -> String {
    let more = if count.at_least { ">" } else { "" };
    format!("{more}{}", grouped(count.count))
}

/// Writes a count for a tab, shortened from 10,000 on: `20.3k`, `513k`, `>1M`.
pub(crate) fn short(count: Count) -> String {
    let more = if count.at_least { ">" } else { "" };
    let number = count.count;
    let text = match number {
        1_000_000.. => shortened(number, 1_000_000, "M"),
        10_000.. => shortened(number, 1_000, "k"),
        _ => grouped(number),
    };
    format!("{more}{text}")
}

fn shortened(number: u64, unit: u64, name: &str) -> String {
    let tenths = number * 10 / unit;
    match tenths % 10 {
        rest @ 1.. if tenths < 1_000 => format!("{}.{rest}{name}", tenths / 10),
        _ => format!("{}{name}", tenths / 10),
    }
}

/// Writes a part of a whole in percent, with a decimal below 10: `41%`, `6.5%`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        10.0.. => format!("{percent:.0}%"),
        _ => format!("{}%", format!("{percent:.1}").trim_end_matches(".0")),
    }
}

/// Writes a number that counts something, with thousands apart.
pub(crate) fn number(counted: i64) -> String {
    grouped(counted.unsigned_abs())
}

/// Writes a number with what it counts: `1 job`, `2,864 jobs`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// Writes a duration in its largest unit, for lists: `<1s`, `12m`.
pub(crate) fn brief(seconds: f64) -> String {
    if seconds < 1.0 {
        return "<1s".to_owned();
    }
    let spelled = spell_duration(seconds.floor());
    spelled.split(' ').next().unwrap_or_default().to_owned()
}

/// Writes a time relative to now in its largest unit: `12m ago`, `in 2s`.
pub(crate) fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - time).as_seconds_f64();
    match seconds {
        ahead if ahead < 0.0 => format!("in {}", brief(-ahead)),
        ago => format!("{} ago", brief(ago)),
    }
}

/// Returns the time between two times in seconds, at least 0.
pub(crate) fn seconds_between(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).as_seconds_f64().max(0.0)
}

/// Writes a size: `412 B`, `1.2 kB`.
pub(crate) fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: u64, at_least: bool) -> Count {
        Count { count, at_least }
    }

    #[test]
    fn numbers_have_thousands_apart_and_tabs_are_short() {
        assert_eq!(count(of(999, false)), "999");
        assert_eq!(count(of(1_000_000, true)), ">1,000,000");
        for (number, text) in [
            (9_999, "9,999"),
            (10_000, "10k"),
            (20_311, "20.3k"),
            (512_840, "512k"),
            (1_200_000, "1.2M"),
        ] {
            assert_eq!(short(of(number, false)), text);
        }
        assert_eq!(short(of(1_000_000, true)), ">1M");
        for (part, text) in [(0, "0%"), (13, "6.5%"), (82, "41%"), (200, "100%")] {
            assert_eq!(percent(part, 200), text);
        }
        assert_eq!(counted(1, "job", "jobs"), "1 job");
    }

    #[test]
    fn times_are_relative_by_their_largest_unit() {
        let now = DateTime::from_timestamp(100_000, 0).unwrap();
        let at = |seconds: i64| DateTime::from_timestamp(100_000 + seconds, 0).unwrap();
        assert_eq!(relative(at(-750), now), "12m ago");
        assert_eq!(relative(at(0), now), "<1s ago");
        assert_eq!(relative(at(2), now), "in 2s");
        assert_eq!(relative(at(-90_000), now), "1d ago");
        assert_eq!(bytes(1_234), "1.2 kB");
    }
}
