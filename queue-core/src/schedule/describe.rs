//! Descriptions of schedules in plain words.
//!
//! A line with a few times a day is described by its days and then its times (`every weekday at
//! 09:00`); any other line by its rhythm and then its days (`every 5 minutes on Mondays`). The
//! description depends on the values of the fields, not on how they are written.

use std::collections::BTreeSet;

use chrono::{NaiveTime, TimeDelta};
use chrono_tz::Tz;

use super::Rule;
use super::crontab::Crontab;
use super::days::Days;
use super::field::{Field, HOUR, MINUTE, MONTH, MONTH_DAY, SECOND, Unit, WEEKDAY};
use super::period::{self, many};

/// The most times a day that are listed.
const TIMES_MAX: usize = 6;

pub(super) fn describe(rule: &Rule, zone: Tz) -> String {
    let lines = match rule {
        Rule::Period(period) => {
            let period = period::describe(*period);
            return format!("every {period}, counted from 1970-01-01 00:00 UTC");
        }
        Rule::Calendar(lines) => lines,
    };
    // Only phrases have several lines, which differ only in their time of day.
    let Some(line) = lines.first() else {
        return String::new();
    };
    let words = match times_of_all(lines) {
        Some(times) => format!("{} at {times}", days(&line.days, Style::BeforeTimes)),
        None => [rhythm(line), days(&line.days, Style::AfterRhythm)].join(" "),
    };
    let words = words.trim_end();
    match is_same_in_all_zones(line) {
        true => words.to_owned(),
        false => format!("{words} ({zone})"),
    }
}

fn is_same_in_all_zones(line: &Crontab) -> bool {
    line.hours.is_all(&HOUR)
        && line.days.month_days.is_all(&MONTH_DAY)
        && line.days.weekdays.is_all(&WEEKDAY)
        && line.days.months.is_all(&MONTH)
}

/// Writes `00:40 and 15:40`. Returns none if the lines are described by their rhythm.
fn times_of_all(lines: &[Crontab]) -> Option<String> {
    let mut times = BTreeSet::new();
    for line in lines {
        let hours = &line.hours;
        let count = line.seconds.values.len() * line.minutes.values.len() * hours.values.len();
        let has_rhythm =
            hours.star && hours.step(&HOUR).is_some() && line.minutes.values.len() == 1;
        if count > TIMES_MAX || has_rhythm {
            return None;
        }
        times.extend(line.times_of_day(TimeDelta::seconds(-1)));
    }
    let times = times.into_iter().map(|time| {
        let time = (NaiveTime::MIN + time).to_string();
        time.strip_suffix(":00").unwrap_or(&time).to_owned()
    });
    Some(join(times, "and"))
}

fn rhythm(line: &Crontab) -> String {
    let (minutes, hours) = (&line.minutes, &line.hours);
    if line.seconds.only() != Some(0) {
        let seconds = ticks(&line.seconds, &SECOND);
        return seconds + &during(minutes, &MINUTE) + &during(hours, &HOUR);
    }
    if let Some(minute) = minutes.only() {
        return hourly(minute, hours);
    }
    match (run(hours), minutes.step(&MINUTE), minutes.first_and_last()) {
        (Some((from, to)), Some(step), Some((first, last))) => {
            let (from, to) = (clock(from, first), clock(to, last));
            format!("every {} from {from} to {to}", many(step.into(), "minute"))
        }
        _ => format!("{}{}", ticks(minutes, &MINUTE), during(hours, &HOUR)),
    }
}

/// Describes a line that fires at one minute of several hours.
fn hourly(minute: u32, hours: &Field) -> String {
    let every = |step: u32| format!("every {}", many(step.into(), "hour"));
    match (hours.step(&HOUR), hours.first_and_last(), run(hours)) {
        (Some(1), ..) if minute > 0 => format!("every hour at minute {minute}"),
        (Some(step), Some((0, _)), _) if minute == 0 => every(step),
        (Some(step), Some((first, _)), _) => {
            format!("{} from {}", every(step), clock(first, minute))
        }
        (.., Some((from, to))) => {
            let (from, to) = (clock(from, minute), clock(to, minute));
            format!("every hour from {from} to {to}")
        }
        _ => format!("at minute {minute}{}", during(hours, &HOUR)),
    }
}

fn clock(hour: u32, minute: u32) -> String {
    format!("{hour:02}:{minute:02}")
}

/// Describes the values of the smallest field: `every 5 minutes`, `at minutes 1 and 7`.
fn ticks(field: &Field, unit: &Unit) -> String {
    match (field.step(unit), field.first_and_last()) {
        (Some(step), Some((first, last))) if first < last => {
            let every = format!("every {}", many(step.into(), unit.name));
            match first {
                0 => every,
                _ => format!("{every} from {} {first}", unit.name),
            }
        }
        _ => format!("at {}", counted(field, unit)),
    }
}

fn during(field: &Field, unit: &Unit) -> String {
    if field.is_all(unit) {
        return String::new();
    }
    format!(" during {}", counted(field, unit))
}

/// Writes `minute 5`, or `minutes 1, 7 and 20 to 25`.
fn counted(field: &Field, unit: &Unit) -> String {
    let plural = if field.values.len() == 1 { "" } else { "s" };
    let values = join(runs(field, u32::to_string), "and");
    format!("{}{plural} {values}", unit.name)
}

/// Returns the first and the last hour if the hours are consecutive, also across midnight.
fn run(hours: &Field) -> Option<(u32, u32)> {
    let is_in = |hour: u32| hours.values.contains(&(hour % 24));
    let mut firsts = hours.values.iter().filter(|hour| !is_in(**hour + 23));
    let (first, another) = (firsts.next()?, firsts.next());
    let last = hours.values.iter().find(|hour| !is_in(**hour + 1))?;
    another.is_none().then_some((*first, *last))
}

/// Where the days stand in the sentence.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    BeforeTimes,
    AfterRhythm,
}

fn days(days: &Days, style: Style) -> String {
    let any_month_day = days.month_days.is_all(&MONTH_DAY);
    let any_weekday = days.weekdays.is_all(&WEEKDAY);
    let either = days.are_either();

    if (any_month_day && any_weekday) || (either && (any_month_day || any_weekday)) {
        return match style {
            Style::BeforeTimes => format!("every day{}", in_months(days)),
            Style::AfterRhythm => in_months(days).trim_start().to_owned(),
        };
    }
    match (any_month_day, any_weekday) {
        (false, true) => month_days(days),
        (true, _) => weekdays(days, style),
        _ if either => format!("{} and {}", month_days(days), weekdays(days, style)),
        _ => {
            let end = if style == Style::BeforeTimes { "," } else { "" };
            format!("{}, if it is {}{end}", month_days(days), one_of(days))
        }
    }
}

/// Writes `on the 1st and 15th of every month`.
fn month_days(days: &Days) -> String {
    let mut names = runs(&days.month_days, |day| ordinal(*day));
    if days.last {
        names.push("last day".to_owned());
    }
    format!("on the {} of {}", join(names, "and"), of_months(days))
}

/// Writes `every Monday in May`, or `on Mondays in May`, `on the last Friday of every month`.
fn weekdays(days: &Days, style: Style) -> String {
    let (every, plural) = match style {
        Style::BeforeTimes => ("every", ""),
        Style::AfterRhythm => ("on", "s"),
    };
    let names = match names_from_monday(days)[..] {
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"] => vec!["weekday"],
        ref names => names.to_vec(),
    };
    let mut parts = Vec::new();
    if !names.is_empty() {
        let names = join(names.iter().map(|name| format!("{name}{plural}")), "and");
        parts.push(format!("{every} {names}{}", in_months(days)));
    }
    if !days.nth.is_empty() {
        let nth = join(nth(days), "and");
        parts.push(format!("on {nth} of {}", of_months(days)));
    }
    join(parts, "and")
}

/// Writes `a Friday`, `a Monday or Tuesday`, `the last Friday`.
fn one_of(days: &Days) -> String {
    let names = names_from_monday(days).into_iter().map(str::to_owned);
    let plain = (!days.weekdays.values.is_empty()).then(|| format!("a {}", join(names, "or")));
    join(plain.into_iter().chain(nth(days)), "or")
}

fn names_from_monday(days: &Days) -> Vec<&'static str> {
    let mut values: Vec<u32> = days.weekdays.values.iter().copied().collect();
    values.sort_by_key(|day| (day + 6) % 7);
    values.into_iter().map(WEEKDAY.value_name).collect()
}

/// Writes `the second Monday` and `the last Friday`.
fn nth(days: &Days) -> impl Iterator<Item = String> {
    const NTH: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "last"];
    days.nth.iter().map(|(nth, day)| {
        let weekday = (WEEKDAY.value_name)(*day);
        format!("the {} {weekday}", NTH[*nth as usize - 1])
    })
}

fn in_months(days: &Days) -> String {
    if days.months.is_all(&MONTH) {
        return String::new();
    }
    format!(" in {}", of_months(days))
}

fn of_months(days: &Days) -> String {
    if days.months.is_all(&MONTH) {
        return "every month".to_owned();
    }
    let name = |month: &u32| (MONTH.value_name)(*month).to_owned();
    join(runs(&days.months, name), "and")
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Writes each value, and three or more consecutive ones as `5 to 9`.
fn runs(field: &Field, name: impl Fn(&u32) -> String) -> Vec<String> {
    let values: Vec<u32> = field.values.iter().copied().collect();
    values
        .chunk_by(|one, next| one + 1 == *next)
        .flat_map(|run| match run {
            [first, .., last] if run.len() > 2 => {
                vec![format!("{} to {}", name(first), name(last))]
            }
            _ => run.iter().map(&name).collect(),
        })
        .collect()
}

/// Writes `one, two and three`.
fn join(parts: impl IntoIterator<Item = String>, last: &str) -> String {
    let parts: Vec<String> = parts.into_iter().collect();
    match &parts[..] {
        [rest @ .., end] if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => parts.concat(),
    }
}
