//! Schedules and their instants, worked out by hand.

mod clocks;
mod meaning;
mod refusals;
mod wording;

use super::*;

/// Splits a table into its rows and cells; a line that begins with `//` is a comment.
fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// Asserts for each row that the schedule, in UTC, fires at exactly these times after noon of
/// Thursday, 1 January 2026.
#[track_caller]
fn means(rows: &str) {
    for row in table(rows) {
        let (text, expected) = (row[0], &row[1..]);
        let schedule: Schedule = text.parse().unwrap_or_else(|invalid| panic!("{invalid}"));
        let next = schedule.upcoming(at("2026-01-01T12:00:00Z"));
        let next = next.map(|next| next.format("%m-%d %H:%M:%S").to_string());
        let fired: Vec<String> = next
            .map(|next| next.strip_suffix(":00").unwrap_or(&next).to_owned())
            .take(expected.len())
            .collect();
        assert_eq!(fired, expected, "`{text}`");
    }
}

/// Asserts for each row that the schedule, in the zone, fires at exactly these times after the
/// instant. The times are local, with their offset from UTC.
#[track_caller]
fn fires(rows: &str) {
    for row in table(rows) {
        let (text, after, expected) = (row[0], row[2], &row[3..]);
        let zone = parse_zone(row[1]).expect("a zone");
        let schedule = Schedule::parse(text, zone).unwrap_or_else(|invalid| panic!("{invalid}"));
        let next = schedule.upcoming(at(after)).take(expected.len());
        let next = next.map(|next| next.with_timezone(&zone));
        let fired: Vec<String> = next
            .map(|next| next.format("%Y-%m-%d %H:%M %:z").to_string())
            .collect();
        assert_eq!(fired, expected, "`{text}` in {zone} after {after}");
    }
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_utc()
}
