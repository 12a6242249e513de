//! Schedules in plain words.
//!
//! A line with a few times a day is told by its days and then its times (`every weekday at
//! 09:00`); any other by its rhythm and then its days (`every 5 minutes on Mondays`). Both look
//! at what the fields mean, not at how they are written.

use std::collections::BTreeSet;

use chrono_tz::Tz;

use super::crontab::Crontab;
use super::days::{MonthDays, Nth, Weekdays, is_either};
use super::field::{
    Field, HOUR, MINUTE, MONTH, MONTH_DAY, MONTHS, SECOND, Unit, WEEKDAY, WEEKDAYS,
};
use super::{Plan, period};

/// More times a day than these are told by their rhythm.
const TIMES_MAX: usize = 6;

pub(super) fn describe(plan: &Plan, zone: Tz) -> String {
    let lines = match plan {
        Plan::Interval(period) => {
            let period = period::describe(*period);
            return format!("every {period}, counted from 1970-01-01 00:00 UTC");
        }
        Plan::Calendar(lines) => lines,
    };
    // Only phrases have several lines, and these differ in nothing but their time of day.
    let Some(line) = lines.first() else {
        return String::new();
    };
    let words = match times_of_all(lines) {
        Some(times) => format!("{} at {times}", days(line, Style::BeforeTimes)),
        None => [rhythm(line), days(line, Style::AfterRhythm)].join(" "),
    };
    let words = words.trim_end();
    if is_same_in_all_zones(line) {
        words.to_owned()
    } else {
        format!("{words} ({zone})")
    }
}

fn is_same_in_all_zones(line: &Crontab) -> bool {
    line.hours.is_all(&HOUR)
        && line.month_days.field.is_all(&MONTH_DAY)
        && line.weekdays.field.is_all(&WEEKDAY)
        && line.months.is_all(&MONTH)
}

/// Returns `00:40 and 15:40`, or none if there are too many.
fn times_of_all(lines: &[Crontab]) -> Option<String> {
    let mut times = BTreeSet::new();
    for line in lines {
        times.extend(times_of(line)?);
    }
    let times: Vec<String> = times.into_iter().map(clock).collect();
    Some(join(&times, "and"))
}

type Time = (u32, u32, u32);

fn times_of(line: &Crontab) -> Option<Vec<Time>> {
    let Crontab {
        seconds,
        minutes,
        hours,
        ..
    } = line;
    let count = seconds.values.len() * minutes.values.len() * hours.values.len();
    let has_rhythm = hours.star && hours.step(&HOUR).is_some() && minutes.values.len() == 1;
    if count > TIMES_MAX || has_rhythm {
        return None;
    }
    let mut times = Vec::new();
    for hour in &hours.values {
        for minute in &minutes.values {
            times.extend(
                seconds
                    .values
                    .iter()
                    .map(|second| (*hour, *minute, *second)),
            );
        }
    }
    Some(times)
}

fn clock((hour, minute, second): Time) -> String {
    match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}

fn rhythm(line: &Crontab) -> String {
    let hours = &line.hours;
    if line.seconds.only() != Some(0) {
        return format!(
            "{}{}{}",
            ticks(&line.seconds, &SECOND),
            during(&line.minutes, &MINUTE),
            during(hours, &HOUR)
        );
    }
    if let Some(minute) = line.minutes.only() {
        return hourly(minute, hours);
    }
    match (run(hours), line.minutes.first_and_last()) {
        (Some((from, to)), Some((first, last))) if line.minutes.step(&MINUTE).is_some() => format!(
            "every {} from {} to {}",
            many(line.minutes.step(&MINUTE).unwrap_or(1), "minute"),
            clock((from, first, 0)),
            clock((to, last, 0))
        ),
        _ => format!("{}{}", ticks(&line.minutes, &MINUTE), during(hours, &HOUR)),
    }
}

/// Tells what happens at one minute of several hours.
fn hourly(minute: u32, hours: &Field) -> String {
    if hours.is_all(&HOUR) {
        return match minute {
            0 => "every hour".to_owned(),
            _ => format!("every hour at minute {minute}"),
        };
    }
    if let (Some(step), Some((first, _))) = (hours.step(&HOUR), hours.first_and_last()) {
        let every = format!("every {}", many(step, "hour"));
        return match (first, minute) {
            (0, 0) => every,
            _ => format!("{every} from {}", clock((first, minute, 0))),
        };
    }
    match run(hours) {
        Some((from, to)) => format!(
            "every hour from {} to {}",
            clock((from, minute, 0)),
            clock((to, minute, 0))
        ),
        None => format!("at minute {minute}{}", during(hours, &HOUR)),
    }
}

/// Tells the values of the smallest field: `every 5 minutes`, `at minutes 1 and 7`.
fn ticks(field: &Field, unit: &Unit) -> String {
    let first = field.values.first().copied().unwrap_or_default();
    match field.step(unit) {
        Some(step) if step < unit.count() => {
            let every = format!("every {}", many(step, unit.name));
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
    let values = runs(&field.values, u32::to_string);
    format!("{}{plural} {}", unit.name, join(&values, "and"))
}

/// Returns the first and last of hours that follow each other, perhaps over midnight.
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

fn days(line: &Crontab, style: Style) -> String {
    let months = &line.months;
    let any_month_day = line.month_days.field.is_all(&MONTH_DAY);
    let any_weekday = line.weekdays.field.is_all(&WEEKDAY);
    let either = is_either(&line.month_days, &line.weekdays);

    if (any_month_day && any_weekday) || (either && (any_month_day || any_weekday)) {
        return match style {
            Style::BeforeTimes => format!("every day{}", in_months(months)),
            Style::AfterRhythm => in_months(months).trim_start().to_owned(),
        };
    }
    let month_days = || month_days(&line.month_days, months);
    let weekdays = || weekdays(&line.weekdays, months, style);
    match (any_month_day, any_weekday) {
        (false, true) => month_days(),
        (true, _) => weekdays(),
        _ if either => format!("{} and {}", month_days(), weekdays()),
        _ => {
            let end = if style == Style::BeforeTimes { "," } else { "" };
            format!("{}, if it is {}{end}", month_days(), one_of(&line.weekdays))
        }
    }
}

/// Writes `on the 1st and 15th of every month`.
fn month_days(days: &MonthDays, months: &Field) -> String {
    let mut names = runs(&days.field.values, |day| ordinal(*day));
    if days.last {
        names.push("last day".to_owned());
    }
    format!("on the {} of {}", join(&names, "and"), of_months(months))
}

/// Writes `every Monday in May`, or `on Mondays in May`, `on the last Friday of every month`.
fn weekdays(weekdays: &Weekdays, months: &Field, style: Style) -> String {
    let values: Vec<u32> = weekdays.field.values.iter().copied().collect();
    let (every, plural) = match style {
        Style::BeforeTimes => ("every", ""),
        Style::AfterRhythm => ("on", "s"),
    };
    let plain = match values[..] {
        [] => None,
        [1, 2, 3, 4, 5] => Some(format!("weekday{plural}")),
        _ => {
            let names = from_monday(&values).map(|day| format!("{}{plural}", weekday(day)));
            Some(join(&names.collect::<Vec<_>>(), "and"))
        }
    };
    let plain = plain.map(|names| format!("{every} {names}{}", in_months(months)));
    let counted = (!weekdays.nth.is_empty()).then(|| {
        format!(
            "on {} of {}",
            join(&nth(weekdays), "and"),
            of_months(months)
        )
    });
    let parts: Vec<String> = plain.into_iter().chain(counted).collect();
    join(&parts, "and")
}

/// Writes `a Friday`, `a Monday or Tuesday`, `the last Friday`.
fn one_of(weekdays: &Weekdays) -> String {
    let values: Vec<u32> = weekdays.field.values.iter().copied().collect();
    let names: Vec<String> = from_monday(&values)
        .map(|day| weekday(day).to_owned())
        .collect();
    let plain = (!names.is_empty()).then(|| format!("a {}", join(&names, "or")));
    let parts: Vec<String> = plain.into_iter().chain(nth(weekdays)).collect();
    join(&parts, "or")
}

/// Writes `the second Monday` and `the last Friday`.
fn nth(weekdays: &Weekdays) -> Vec<String> {
    let name = |nth: &Nth| match nth {
        Nth::FromStart(1) => "first",
        Nth::FromStart(2) => "second",
        Nth::FromStart(3) => "third",
        Nth::FromStart(4) => "fourth",
        Nth::FromStart(_) => "fifth",
        Nth::Last => "last",
    };
    weekdays
        .nth
        .iter()
        .map(|(nth, day)| format!("the {} {}", name(nth), weekday(*day)))
        .collect()
}

fn in_months(months: &Field) -> String {
    if months.is_all(&MONTH) {
        return String::new();
    }
    format!(" in {}", of_months(months))
}

fn of_months(months: &Field) -> String {
    if months.is_all(&MONTH) {
        return "every month".to_owned();
    }
    let name = |month: &u32| MONTHS[*month as usize - 1].to_owned();
    join(&runs(&months.values, name), "and")
}

fn weekday(day: u32) -> &'static str {
    WEEKDAYS[day as usize]
}

/// Puts Sunday last.
fn from_monday(values: &[u32]) -> impl Iterator<Item = u32> + use<> {
    let mut values = values.to_vec();
    values.sort_by_key(|day| (day + 6) % 7);
    values.into_iter()
}

fn many(count: u32, unit: &str) -> String {
    match count {
        1 => unit.to_owned(),
        _ => format!("{count} {unit}s"),
    }
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

/// Writes each value, and three or more that follow each other as `5 to 9`.
fn runs(values: &BTreeSet<u32>, name: impl Fn(&u32) -> String) -> Vec<String> {
    let values: Vec<u32> = values.iter().copied().collect();
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
fn join(parts: &[String], last: &str) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., end] => format!("{} {last} {end}", rest.join(", ")),
    }
}
