//! Properties of every schedule, zone and instant, and a comparison with another implementation.
//!
//! `croner` is the other implementation. It is compared only where both follow the same rules. It
//! differs from the rules here, which are Vixie's, in these points:
//!
//! - Only `*` itself leaves a day field unrestricted; here `*/2` does as well.
//! - Times of day are fixed only if each field has one value; here a list such as `0 1,2 * * *`
//!   is fixed as well.
//! - It does not find the end of a gap of more than two hours, and fires after a gap only if the
//!   date there matches. So the day that Apia skipped is not compared.

use chrono::{NaiveDateTime, Offset, TimeZone, Timelike};
use chrono_tz::TZ_VARIANTS;
use croner::parser::{CronParser, Seconds};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

/// Zones that change their clocks at various hours, by an hour or half an hour, or never.
const ZONES: [Tz; 10] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Europe__London,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::America__St_Johns,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Cairo,
    Tz::Asia__Beirut,
    Tz::Asia__Kathmandu,
];

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn croner_agrees_where_the_rules_are_the_same(
        (second, (minute, hour)) in (time_value(60), time_pair()),
        days in days(),
        zone in select(&ZONES[..]),
        after in instant(),
    ) {
        let line = format!("{second} {minute} {hour} {days}");
        let ours = Schedule::parse(&line, zone).unwrap();
        let theirs = CronParser::builder().seconds(Seconds::Required).build();
        let theirs = theirs.parse(&line).unwrap();

        let mut last = after;
        for _ in 0..3 {
            let expected = theirs.find_next_occurrence(&last.with_timezone(&zone), false);
            let next = ours.next_after(last).unwrap();
            prop_assert_eq!(next.with_timezone(&zone), expected.unwrap(), "`{}` after {}", line, last);
            last = next;
        }
    }

    #[test]
    fn every_minute_around_a_change_of_the_clock_follows_the_rules(
        zone in select(&TZ_VARIANTS[..]),
        around in (157_766_400..4_000_000_000_i64),
        (minute, hour) in time_lists(),
    ) {
        let line = format!("{minute} {hour} * * *");
        let schedule = Schedule::parse(&line, zone).unwrap();
        let begin = before_next_change(zone, around);
        let expected = by_the_rules(zone, &minute, &hour, begin);

        let end = begin + HALF_WINDOW * 2;
        let fired: Vec<_> = schedule.upcoming(begin).take_while(|next| *next <= end).collect();
        prop_assert_eq!(&fired, &expected, "`{}` in {}", line, zone);

        // The answer depends only on the instant.
        for minutes in (0..HALF_WINDOW.num_minutes() * 2 - 1_440).step_by(17) {
            let after = begin + TimeDelta::minutes(minutes) + TimeDelta::seconds(1);
            let next = expected.iter().find(|next| **next > after).copied();
            prop_assert_eq!(schedule.next_after(after).filter(|next| *next <= end), next);
        }
    }

    #[test]
    fn between_two_instants_of_a_schedule_the_next_is_the_second(
        text in any_schedule(),
        zone in select(&ZONES[..]),
        after in instant(),
        part in 0.0..1.0_f64,
    ) {
        let schedule = Schedule::parse(&text, zone).unwrap();
        let [first, second] = two(&schedule, after);
        prop_assert!(after < first && first < second);

        let between = (second - first).num_milliseconds() as f64 * part;
        let between = first + TimeDelta::milliseconds(between as i64);
        prop_assert_eq!(schedule.next_after(between), Some(second));
    }

    #[test]
    fn every_valid_schedule_has_a_description_and_fires(text in any_schedule()) {
        let schedule: Schedule = text.parse().unwrap();
        prop_assert!(!schedule.describe().is_empty());
        prop_assert!(schedule.next_after(DateTime::UNIX_EPOCH).is_some());
    }

    #[test]
    fn parsing_does_not_panic(text in prop_oneof![".{0,80}", vocabulary()]) {
        match Schedule::parse(&text, Tz::Europe__Berlin) {
            Ok(schedule) => prop_assert!(!schedule.describe().is_empty()),
            Err(invalid) => prop_assert!(!invalid.to_string().is_empty()),
        }
        let _ = parse_zone(&text);
    }

    #[test]
    fn next_after_does_not_panic(
        text in any_schedule(),
        zone in select(&TZ_VARIANTS[..]),
        seconds in any::<i64>(),
        nanoseconds in any::<u32>(),
    ) {
        let schedule = Schedule::parse(&text, zone).unwrap();
        let bounds = [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC];
        let instant = DateTime::from_timestamp(seconds % 9_000_000_000_000, nanoseconds);
        for instant in bounds.into_iter().chain(instant) {
            prop_assert!(schedule.next_after(instant).is_none_or(|next| next > instant));
        }
    }
}

const HALF_WINDOW: TimeDelta = TimeDelta::hours(50);

/// Returns an instant shortly before the next change of the clock, or before `timestamp` if the
/// clock does not change within 400 days.
fn before_next_change(zone: Tz, timestamp: i64) -> DateTime<Utc> {
    let timestamp = timestamp - timestamp % 3_600;
    let around = DateTime::from_timestamp(timestamp, 0).unwrap();
    let offset = |days| {
        let instant = around + TimeDelta::days(days);
        zone.offset_from_utc_datetime(&instant.naive_utc()).fix()
    };
    let days = (0..400)
        .find(|days| offset(*days) != offset(0))
        .unwrap_or(0);
    around + TimeDelta::days(days) - HALF_WINDOW
}

/// Applies the rules minute by minute, in their simplest form.
fn by_the_rules(zone: Tz, minute: &str, hour: &str, begin: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let ticks = minute.starts_with('*') || hour.starts_with('*');
    let matches = |civil: NaiveDateTime| is_in(minute, civil.minute()) && is_in(hour, civil.hour());
    let mut fired = Vec::new();
    let mut furthest = shown(zone, begin);
    for minutes in 1..=HALF_WINDOW.num_minutes() * 2 {
        let instant = begin + TimeDelta::minutes(minutes);
        let now = shown(zone, instant);
        let passed = iter::successors(Some(furthest), |civil| Some(*civil + TimeDelta::minutes(1)));
        let passes = passed
            .skip(1)
            .take_while(|civil| *civil <= now)
            .any(matches);
        if if ticks { matches(now) } else { passes } {
            fired.push(instant);
        }
        furthest = furthest.max(now);
    }
    fired
}

fn shown(zone: Tz, instant: DateTime<Utc>) -> NaiveDateTime {
    instant.with_timezone(&zone).naive_local()
}

/// Parses `*`, `*/n` and lists.
fn is_in(field: &str, value: u32) -> bool {
    if let Some(step) = field.strip_prefix("*/") {
        return value.is_multiple_of(step.parse().unwrap());
    }
    field == "*" || field.split(',').any(|part| part.parse() == Ok(value))
}

fn two(schedule: &Schedule, after: DateTime<Utc>) -> [DateTime<Utc>; 2] {
    let next: Vec<_> = schedule.upcoming(after).take(2).collect();
    next.try_into().unwrap()
}

/// From 1975 to 2096.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    (157_766_400..4_000_000_000_i64, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanoseconds)| DateTime::from_timestamp(seconds, nanoseconds).unwrap())
}

fn time_value(count: u32) -> impl Strategy<Value = String> {
    (0..count).prop_map(|value| value.to_string())
}

/// A minute and an hour: both are fixed, or one ticks.
fn time_pair() -> impl Strategy<Value = (String, String)> {
    let ticks = |count: u32| {
        prop_oneof![
            Just("*".to_owned()),
            (2..count).prop_map(|step| format!("*/{step}")),
        ]
    };
    let any = |count: u32| {
        prop_oneof![
            time_value(count),
            list(0..count),
            (0..count / 2 - 2, 0..count / 2 - 2, 1..4_u32)
                .prop_map(|(first, more, step)| format!("{first}-{}/{step}", first + more + step)),
        ]
    };
    prop_oneof![
        (time_value(60), time_value(24)),
        (ticks(60), any(24)),
        (any(60), ticks(24)),
        (ticks(60), ticks(24)),
    ]
}

/// A minute and an hour with few values, so that many fall on a change of the clock.
fn time_lists() -> impl Strategy<Value = (String, String)> {
    let minute = prop_oneof![
        Just("*".to_owned()),
        select(vec!["*/10", "*/30", "*/7"]).prop_map(str::to_owned),
        list(0..60),
        Just("0".to_owned()),
    ];
    let hour = prop_oneof![
        Just("*".to_owned()),
        select(vec!["*/2", "*/5"]).prop_map(str::to_owned),
        list(0..24),
        list(0..4),
    ];
    (minute, hour)
}

fn list(values: std::ops::Range<u32>) -> impl Strategy<Value = String> {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    subsequence(values, 1..=4).prop_map(|values| values.join(","))
}

/// Three day fields that match some day.
fn days() -> impl Strategy<Value = String> {
    let month_day = prop_oneof![
        Just("*".to_owned()),
        list(1..29),
        Just("L".to_owned()),
        Just("5,L".to_owned()),
    ];
    let month = prop_oneof![
        3 => Just("*".to_owned()),
        1 => list(1..13),
        1 => Just("jan-mar,OCT".to_owned()),
    ];
    let weekday = prop_oneof![
        2 => Just("*".to_owned()),
        1 => list(0..8),
        1 => select(vec!["mon-fri", "SUN", "1#2", "5L", "fri#5", "6,0#1"]).prop_map(str::to_owned),
    ];
    (month_day, month, weekday).prop_map(|(day, month, weekday)| format!("{day} {month} {weekday}"))
}

fn any_schedule() -> impl Strategy<Value = String> {
    let phrases = vec![
        "every 7 minutes",
        "every 90 seconds",
        "every hour",
        "every day at 2:30am and noon",
        "every last day of the month at 23:59",
        "@every 25h",
        "0 0 * 2 1#5",
        "0 0 22-2 * fri-mon",
    ];
    prop_oneof![
        3 => (time_pair(), days())
            .prop_map(|((minute, hour), days)| format!("{minute} {hour} {days}")),
        1 => (time_lists(), days())
            .prop_map(|((minute, hour), days)| format!("{minute} {hour} {days}")),
        1 => select(phrases).prop_map(str::to_owned),
    ]
}

/// Words that are valid in the right place.
fn vocabulary() -> impl Strategy<Value = String> {
    let words = vec![
        "every",
        "at",
        "and",
        ",",
        "day",
        "days",
        "of",
        "the",
        "month",
        "last",
        "monday",
        "to",
        "15th",
        "9am",
        "9",
        "pm",
        "13pm",
        "noon",
        "5",
        "90",
        "minutes",
        "weeks",
        "in",
        "UTC",
        "Europe/Berlin",
        "TZ=UTC",
        "*",
        "*/5",
        "1-5",
        "5-1/2",
        "L",
        "5L",
        "1#2",
        "#",
        "15W",
        "?",
        "@every",
        "90s",
        "@daily",
        "99999999999",
        "-",
        "/",
        "é",
        "mon/2",
    ];
    proptest::collection::vec(select(words), 0..9).prop_map(|words| words.join(" "))
}
