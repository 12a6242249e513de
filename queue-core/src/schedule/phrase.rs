//! Everyday phrases: `every 5 minutes`, `every monday and thursday at 8:30`.
//!
//! ```text
//! phrase   every period | every days [at times]
//! period   [number] second | minute | hour | day | week        (or in the plural)
//! days     day | weekday | weekend | week | month | year | weekdays | ordinals
//! weekdays monday and thursday | mon, wed and fri | monday to friday
//! ordinals 15th | 1st and 15th | last day                    (of the, each or every month)
//! times    9am | 9:30 pm | 21:30 | noon | midnight, and lists of these
//! ```
//!
//! Days without a time are at midnight. A month begins on the 1st, a year on 1 January, and a
//! week on Sunday, as `@weekly` has it.

use chrono::TimeDelta;

use super::Plan;
use super::crontab::Crontab;
use super::field::{WEEKDAY, number_of_name};
use super::invalid::InvalidSchedule;
use super::period::{self, Unit};

/// The words that are left to read, and the phrase for the messages.
struct Words<'a> {
    left: Vec<&'a str>,
    text: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Plan, InvalidSchedule> {
    let lower = text.to_ascii_lowercase();
    // A comma is a word of its own.
    let spaced = lower.replace(',', " , ");
    let mut words = Words {
        left: spaced.split_whitespace().rev().collect(),
        text,
    };
    if !words.take("every") {
        return Err(words.refuse());
    }
    if let Some(every) = parse_period(&mut words)? {
        words.end()?;
        return plan_of_period(every);
    }
    let days = parse_days(&mut words)?;
    let times = parse_times(&mut words)?;
    words.end()?;
    let lines = times
        .iter()
        .map(|time| Crontab::parse(&format!("{time} {days}")));
    Ok(Plan::Calendar(lines.collect::<Result<_, _>>()?))
}

impl<'a> Words<'a> {
    fn next(&self) -> Option<&'a str> {
        self.left.last().copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.next() == Some(word);
        if is_next {
            self.left.pop();
        }
        is_next
    }

    fn take_separator(&mut self) -> bool {
        let comma = self.take(",");
        self.take("and") || comma
    }

    /// Takes the next word if `read` makes something of it.
    fn read<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.next().and_then(read)?;
        self.left.pop();
        Some(value)
    }

    fn end(&self) -> Result<(), InvalidSchedule> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(self.refuse())
        }
    }

    fn refuse(&self) -> InvalidSchedule {
        InvalidSchedule::Phrase {
            part: self.next().unwrap_or(self.text).to_owned(),
            text: self.text.to_owned(),
        }
    }
}

/// Reads `5 minutes`, `minute` and the like. What has a place in the calendar is left: a day, a
/// week, a month or a year, alone or with a 1 before it.
fn parse_period(words: &mut Words<'_>) -> Result<Option<TimeDelta>, InvalidSchedule> {
    let number = words.read(whole_number);
    let word = words.next();
    let is_in_calendar = matches!(word, Some("day" | "week" | "month" | "year"));
    if is_in_calendar && matches!(number, None | Some(1)) {
        return Ok(None);
    }
    match (number, word.and_then(Unit::of_word)) {
        (Some(number), Some(unit)) => {
            words.left.pop();
            let written = format!("{number} {}", unit.plural());
            period::check(unit.times(number), &written).map(Some)
        }
        (Some(_), None) => Err(words.refuse()),
        (None, Some(unit)) if unit.is_clock() => {
            words.left.pop();
            Ok(Some(unit.times(1)))
        }
        (None, _) => Ok(None),
    }
}

/// Reads digits: a sign is none.
fn whole_number(word: &str) -> Option<u32> {
    let is_whole = word.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| word.parse().ok()).flatten()
}

/// A period that divides the hour or the day follows the wall clock, so that `every 2 hours` is
/// on even hours of the zone, and `every 24 hours` at its midnight; any other is counted in real
/// time.
fn plan_of_period(period: TimeDelta) -> Result<Plan, InvalidSchedule> {
    let seconds = period.num_seconds();
    let line = match (seconds, seconds / 60, seconds / 3600) {
        (1, ..) => "* * * * * *".to_owned(),
        (60, ..) => "* * * * *".to_owned(),
        (3600, ..) => "0 * * * *".to_owned(),
        (86_400, ..) => "0 0 * * *".to_owned(),
        (_, _, hours) if seconds % 3600 == 0 && hours < 24 && 24 % hours == 0 => {
            format!("0 */{hours} * * *")
        }
        (_, minutes, 0) if seconds % 60 == 0 && 60 % minutes == 0 => {
            format!("*/{minutes} * * * *")
        }
        (_, 0, _) if 60 % seconds == 0 => format!("*/{seconds} * * * * *"),
        _ => return Ok(Plan::Interval(period)),
    };
    Ok(Plan::Calendar(vec![Crontab::parse(&line)?]))
}

/// Returns the three day fields of crontab.
fn parse_days(words: &mut Words<'_>) -> Result<String, InvalidSchedule> {
    let fixed = words.read(|word| match word {
        "day" => Some("* * *"),
        "weekday" => Some("* * mon-fri"),
        "weekend" => Some("* * sat,sun"),
        "week" => Some("* * sun"),
        "month" => Some("1 * *"),
        "year" => Some("1 1 *"),
        _ => None,
    });
    if let Some(fields) = fixed {
        return Ok(fields.to_owned());
    }
    if words.take("last") {
        words.take("day");
        take_of_the_month(words)?;
        return Ok("L * *".to_owned());
    }
    let ordinals = parse_list(words, |words| words.read(ordinal))?;
    if !ordinals.is_empty() {
        take_of_the_month(words)?;
        return Ok(format!("{} * *", ordinals.join(",")));
    }
    let weekdays = parse_list(words, parse_weekdays)?;
    if weekdays.is_empty() {
        return Err(words.refuse());
    }
    Ok(format!("* * {}", weekdays.join(",")))
}

fn take_of_the_month(words: &mut Words<'_>) -> Result<(), InvalidSchedule> {
    let of = words.take("of") && (words.take("the") || words.take("each") || words.take("every"));
    if of && words.take("month") {
        Ok(())
    } else {
        Err(words.refuse())
    }
}

/// Reads things with commas or "and" between them; none, when there is nothing of the sort. What
/// follows a comma or an "and" must be of the sort.
fn parse_list<T>(
    words: &mut Words<'_>,
    read: impl Fn(&mut Words<'_>) -> Option<T>,
) -> Result<Vec<T>, InvalidSchedule> {
    let mut list = Vec::from_iter(read(words));
    while !list.is_empty() && words.take_separator() {
        list.push(read(words).ok_or_else(|| words.refuse())?);
    }
    Ok(list)
}

/// Reads `15th`, and gives `15`.
fn ordinal(word: &str) -> Option<String> {
    let number = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending))?;
    let day = whole_number(number)?;
    (1..=31).contains(&day).then(|| day.to_string())
}

/// Reads `monday` or `monday to friday`.
fn parse_weekdays(words: &mut Words<'_>) -> Option<String> {
    let weekday = |word: &str| number_of_name(&WEEKDAY, word);
    let first = words.read(weekday)?;
    if !(words.take("to") || words.take("through")) {
        return Some(first.to_string());
    }
    let last = words.read(weekday)?;
    Some(format!("{first}-{last}"))
}

/// Returns the seconds, minutes and hours fields of one line per time.
fn parse_times(words: &mut Words<'_>) -> Result<Vec<String>, InvalidSchedule> {
    if words.left.is_empty() {
        return Ok(vec!["0 0 0".to_owned()]);
    }
    if !words.take("at") {
        return Err(words.refuse());
    }
    let times = parse_list(words, parse_time)?;
    if times.is_empty() {
        return Err(words.refuse());
    }
    Ok(times)
}

fn parse_time(words: &mut Words<'_>) -> Option<String> {
    let named = words.read(|word| match word {
        "noon" => Some("0 0 12"),
        "midnight" => Some("0 0 0"),
        _ => None,
    });
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let word = words.next()?;
    let follows = words.left.iter().nth_back(1).copied();
    let (clock, half, count) = match (split_half(word), follows) {
        (Some((clock, half)), _) => (clock, Some(half), 1),
        (None, Some(half @ ("am" | "pm"))) => (word, Some(half), 2),
        (None, _) => (word, None, 1),
    };
    let time = clock_time(clock, half)?;
    words.left.truncate(words.left.len() - count);
    Some(time)
}

/// Splits `9am` before the half of the day.
fn split_half(word: &str) -> Option<(&str, &str)> {
    let (clock, half) = word.split_at_checked(word.len().checked_sub(2)?)?;
    matches!(half, "am" | "pm").then_some((clock, half))
}

/// Reads `9`, `9:30` and `9:30:15`, of twelve hours if the half of the day is given.
fn clock_time(text: &str, half: Option<&str>) -> Option<String> {
    let mut parts = text.split(':').map(clock_number);
    let hour = parts.next()??;
    let minute = parts.next().unwrap_or(Some(0))?;
    let second = parts.next().unwrap_or(Some(0))?;
    let hour = match half {
        None => hour,
        Some(half) if (1..=12).contains(&hour) => hour % 12 + if half == "pm" { 12 } else { 0 },
        Some(_) => return None,
    };
    let is_time = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    is_time.then(|| format!("{second} {minute} {hour}"))
}

fn clock_number(text: &str) -> Option<u32> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}
