//! Schedules, and the instants they mean, worked out by hand.

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .to_utc()
}

fn schedule(text: &str, zone: &str) -> Schedule {
    let zone = parse_zone(zone).expect("a zone");
    Schedule::parse(text, zone).unwrap_or_else(|refused| panic!("{text}: {refused}"))
}

/// Asserts that a schedule, asked after an instant, fires at exactly these next.
#[track_caller]
fn fires(text: &str, zone: &str, after: &str, expected: &[&str]) {
    let schedule = schedule(text, zone);
    let expected: Vec<DateTime<Utc>> = expected.iter().map(|text| at(text)).collect();
    let fired: Vec<DateTime<Utc>> = schedule.upcoming(at(after)).take(expected.len()).collect();
    let local = |instants: &[DateTime<Utc>]| -> Vec<String> {
        let zoned = instants
            .iter()
            .map(|instant| instant.with_timezone(&schedule.zone()));
        zoned.map(|instant| instant.to_rfc3339()).collect()
    };
    assert_eq!(
        local(&fired),
        local(&expected),
        "{text} in {zone} after {after}"
    );
}

#[test]
fn a_fixed_time_is_at_the_same_time_of_day_all_year() {
    fires(
        "0 9 * * *",
        "Europe/Berlin",
        "2026-03-28T00:00:00Z",
        &[
            "2026-03-28T09:00:00+01:00",
            "2026-03-29T09:00:00+02:00",
            "2026-03-30T09:00:00+02:00",
        ],
    );
}

#[test]
fn a_fixed_time_in_the_gap_fires_right_after_it() {
    fires(
        "30 2 * * *",
        "America/New_York",
        "2026-03-07T12:00:00Z",
        &["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
    );
}

#[test]
fn a_fixed_time_in_the_overlap_fires_in_its_first_pass_only() {
    fires(
        "30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        &["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
    );
    fires(
        "30 1 * * *",
        "America/New_York",
        "2026-11-01T01:10:00-05:00",
        &["2026-11-02T01:30:00-05:00"],
    );
}

#[test]
fn a_ticking_schedule_keeps_its_rhythm_through_both_changes() {
    fires(
        "*/30 * * * *",
        "America/New_York",
        "2026-03-08T01:00:00-05:00",
        &[
            "2026-03-08T01:30:00-05:00",
            "2026-03-08T03:00:00-04:00",
            "2026-03-08T03:30:00-04:00",
        ],
    );
    fires(
        "*/30 * * * *",
        "America/New_York",
        "2026-11-01T00:59:00-04:00",
        &[
            "2026-11-01T01:00:00-04:00",
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00",
        ],
    );
}
