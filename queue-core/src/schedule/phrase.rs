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
//! The time is midnight unless given. A month begins on the 1st, a year on 1 January, and a week on
//! Sunday, like `@weekly`.

use chrono::{NaiveTime, TimeDelta};

use super::Rule;
use super::crontab::Crontab;
use super::field::{WEEKDAY, number_of_name, parse_number};
use super::invalid::InvalidSchedule;
use super::period;

/// A phrase that is being parsed.
struct Words<'a> {
    /// The words that are left, the next one last.
    left: Vec<&'a str>,
    text: &'a str,
}

pub(super) fn parse(text: &str) -> Result<Rule, InvalidSchedule> {
    let lower = text.to_ascii_lowercase();
    // A comma is a word of its own.
    let spaced = lower.replace(',', " , ");
    let mut words = Words {
        left: spaced.split_whitespace().rev().collect(),
        text,
    };
    words.expect("every")?;
    if let Some(every) = parse_period(&mut words)? {
        words.end()?;
        return rule_of_period(every);
    }
    let days = parse_days(&mut words)?;
    let times = parse_times(&mut words)?;
    words.end()?;
    let lines = times
        .iter()
        .map(|time| Crontab::parse(&format!("{time} {days}")));
    Ok(Rule::Calendar(lines.collect::<Result<_, _>>()?))
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

    fn expect(&mut self, word: &str) -> Result<(), InvalidSchedule> {
        let is_next = self.take(word);
        self.require(is_next)
    }

    fn take_separator(&mut self) -> bool {
        let comma = self.take(",");
        self.take("and") || comma
    }

    /// Takes the next word if `read` accepts it.
    fn read<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.next().and_then(read)?;
        self.left.pop();
        Some(value)
    }

    fn end(&self) -> Result<(), InvalidSchedule> {
        self.require(self.left.is_empty())
    }

    /// Rejects the phrase at the next word unless a condition is met.
    fn require(&self, is_met: bool) -> Result<(), InvalidSchedule> {
        is_met.then_some(()).ok_or_else(|| self.refuse())
    }

    fn refuse(&self) -> InvalidSchedule {
        InvalidSchedule::Phrase {
            part: self.next().unwrap_or(self.text).to_owned(),
            text: self.text.to_owned(),
        }
    }
}

/// Parses `5 minutes` or `minute`. Leaves a day, week, month or year alone, also with a 1 before it:
/// these are in the calendar.
fn parse_period(words: &mut Words<'_>) -> Result<Option<TimeDelta>, InvalidSchedule> {
    let number = words.read(parse_number);
    let word = words.next();
    let is_in_calendar = matches!(word, Some("day" | "week" | "month" | "year"));
    if is_in_calendar && matches!(number, None | Some(1)) {
        return Ok(None);
    }
    let seconds = word.and_then(period::seconds_of);
    let is_clock = seconds.is_some_and(|seconds| seconds < 86_400);
    match (number.or(is_clock.then_some(1)), seconds) {
        (Some(number), Some(seconds)) => {
            let written = format!("{number} {}", word.unwrap_or_default());
            words.left.pop();
            period::check(period::times(number, seconds), &written).map(Some)
        }
        (Some(_), None) => Err(words.refuse()),
        (None, _) => Ok(None),
    }
}

/// A period that divides the hour or the day follows the wall clock: `every 2 hours` fires on even
/// hours of the zone, and `every 24 hours` at its midnight. Other periods are counted in real time.
fn rule_of_period(period: TimeDelta) -> Result<Rule, InvalidSchedule> {
    let seconds = period.num_seconds();
    let line = match (seconds, seconds / 60, seconds / 3600) {
        (86_400, ..) => "0 0 * * *".to_owned(),
        (_, _, hours) if seconds % 3600 == 0 && hours < 24 && 24 % hours == 0 => {
            format!("0 */{hours} * * *")
        }
        (_, minutes, 0) if seconds % 60 == 0 && 60 % minutes == 0 => {
            format!("*/{minutes} * * * *")
        }
        (_, 0, _) if 60 % seconds == 0 => format!("*/{seconds} * * * * *"),
        _ => return Ok(Rule::Period(period)),
    };
    Ok(Rule::Calendar(vec![Crontab::parse(&line)?]))
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
    words.require(!weekdays.is_empty())?;
    Ok(format!("* * {}", weekdays.join(",")))
}

fn take_of_the_month(words: &mut Words<'_>) -> Result<(), InvalidSchedule> {
    words.expect("of")?;
    let names_each = words.take("the") || words.take("each") || words.take("every");
    words.require(names_each)?;
    words.expect("month")
}

/// Parses items with commas or "and" between them. The list is empty if the first word is no item;
/// after a comma or an "and", an item is required.
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

/// Parses `15th` as `15`.
fn ordinal(word: &str) -> Option<String> {
    let number = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending))?;
    let day = parse_number(number)?;
    (1..=31).contains(&day).then(|| day.to_string())
}

/// Parses `monday` and `monday to friday`.
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
    words.expect("at")?;
    let times = parse_list(words, parse_time)?;
    words.require(!times.is_empty())?;
    Ok(times)
}

fn parse_time(words: &mut Words<'_>) -> Option<String> {
    let word = words.next()?;
    let follows = words.left.iter().nth_back(1).copied();
    let halves = ["am", "pm"];
    let split = halves
        .iter()
        .find_map(|half| Some((word.strip_suffix(half)?, *half)));
    let (clock, half, count) = match (word, split, follows) {
        ("noon", ..) => ("12", "", 1),
        ("midnight", ..) => ("0", "", 1),
        (_, Some((clock, half)), _) => (clock, half, 1),
        (_, None, Some(half @ ("am" | "pm"))) => (word, half, 2),
        (_, None, _) => (word, "", 1),
    };
    let time = clock_time(clock, half)?;
    words.left.truncate(words.left.len() - count);
    Some(time)
}

/// Parses `9`, `9:30` and `9:30:15`; `half` is am, pm or empty. Returns seconds, minutes and hours
/// fields.
fn clock_time(clock: &str, half: &str) -> Option<String> {
    let minutes = if clock.contains(':') { "" } else { ":00" };
    let text = format!("{clock}{minutes}{half}");
    let formats = match half {
        "" => ["%H:%M", "%H:%M:%S"],
        _ => ["%I:%M%p", "%I:%M:%S%p"],
    };
    let mut times = formats
        .iter()
        .map(|format| NaiveTime::parse_from_str(&text, format));
    let time = times.find_map(Result::ok)?;
    Some(time.format("%-S %-M %-H").to_string())
}
