//! The days that a line of crontab means, by its day-of-month, month and weekday fields.
//!
//! If both day fields are restricted, a day needs to match only one of them, as in Vixie's cron;
//! a field that begins with `*` (or `?`) counts as not restricted. So `0 0 13 * fri` means every
//! 13th and every Friday, and `0 0 */2 * fri` the Fridays on odd days.
//!
//! `L`, `5L` and `1#2` name days that move, but within bounds: the last day is the 31st of some
//! months, the 30th of others and so on, and the second Monday is a Monday from the 8th to the
//! 14th. So each is said by a few lines that need no such letters.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::field::{Field, MONTH, MONTH_DAY, Unit, WEEKDAY};
use super::invalid::InvalidSchedule;

/// The day-of-month field: plain days, and perhaps the last day of the month.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MonthDays {
    pub(super) field: Field,
    pub(super) last: bool,
}

/// The weekday field: plain weekdays, and perhaps some that count within the month.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weekdays {
    pub(super) field: Field,
    pub(super) nth: BTreeSet<(Nth, u32)>,
}

/// Which of a month's Mondays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nth {
    /// From 1 to 5.
    FromStart(u32),
    Last,
}

/// Days that match all of their parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Days {
    pub(super) month_days: BTreeSet<u32>,
    pub(super) months: BTreeSet<u32>,
    pub(super) weekdays: BTreeSet<u32>,
    /// Some of [`SAMPLE`], which stand for all years of their kind.
    pub(super) years: BTreeSet<u32>,
}

/// Years that have every kind: each weekday as 1 January, with and without a 29 February.
pub(super) const SAMPLE: RangeInclusive<u32> = 2000..=2027;

/// Months of one length.
struct Length {
    days: u32,
    months: &'static [u32],
    has_year: fn(u32) -> bool,
}

const LENGTHS: [Length; 4] = [
    Length {
        days: 31,
        months: &[1, 3, 5, 7, 8, 10, 12],
        has_year: |_| true,
    },
    Length {
        days: 30,
        months: &[4, 6, 9, 11],
        has_year: |_| true,
    },
    Length {
        days: 29,
        months: &[2],
        has_year: is_leap,
    },
    Length {
        days: 28,
        months: &[2],
        has_year: |year| !is_leap(year),
    },
];

/// True to the calendar in [`SAMPLE`].
fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4)
}

impl MonthDays {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        if let Some(part) = text.split(',').find(|part| is_nearest_weekday(part)) {
            return Err(MONTH_DAY.refuse(
                part,
                "the nearest weekday (`W`) is not supported; name the days",
            ));
        }
        let (last, plain) = partition(text, |part| part.eq_ignore_ascii_case("l").then_some(()));
        Ok(Self {
            field: parse_plain(&plain, &MONTH_DAY)?,
            last: !last.is_empty(),
        })
    }

    fn days(&self) -> Vec<Days> {
        let mut days = Vec::new();
        if !self.field.values.is_empty() {
            days.push(Days {
                month_days: self.field.values.clone(),
                ..Days::all()
            });
        }
        if self.last {
            days.extend(last_of_month(1));
        }
        days
    }
}

impl Weekdays {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        let (nth, plain) = partition(text, parse_nth);
        Ok(Self {
            nth: nth.into_iter().collect::<Result<_, _>>()?,
            field: parse_plain(&plain, &WEEKDAY)?,
        })
    }

    fn days(&self) -> Vec<Days> {
        let mut days = Vec::new();
        if !self.field.values.is_empty() {
            days.push(Days {
                weekdays: self.field.values.clone(),
                ..Days::all()
            });
        }
        for (nth, weekday) in &self.nth {
            let weeks = match nth {
                Nth::FromStart(nth) => vec![week_of_month(*nth)],
                Nth::Last => last_of_month(7),
            };
            days.extend(weeks.into_iter().map(|week| Days {
                weekdays: BTreeSet::from([*weekday]),
                ..week
            }));
        }
        days
    }
}

impl Days {
    /// Combines the three day fields of a line. What has no day at all is left out.
    pub(super) fn of(month_days: &MonthDays, months: &Field, weekdays: &Weekdays) -> Vec<Self> {
        let either = [month_days.days(), weekdays.days()];
        let days = if is_either(month_days, weekdays) {
            either.concat()
        } else {
            let [month_days, weekdays] = either;
            let both = |days: &Self| weekdays.iter().map(|other| days.and(other)).collect();
            month_days.iter().flat_map::<Vec<Self>, _>(both).collect()
        };
        let months = Self {
            months: months.values.clone(),
            ..Self::all()
        };
        days.iter()
            .map(|days| days.and(&months))
            .filter(|days| !days.is_empty())
            .collect()
    }

    fn is_empty(&self) -> bool {
        let parts = [&self.month_days, &self.months, &self.weekdays, &self.years];
        parts.iter().any(|part| part.is_empty())
    }

    fn all() -> Self {
        Self {
            month_days: MONTH_DAY.all().collect(),
            months: MONTH.all().collect(),
            weekdays: WEEKDAY.all().collect(),
            years: SAMPLE.collect(),
        }
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            month_days: &self.month_days & &other.month_days,
            months: &self.months & &other.months,
            weekdays: &self.weekdays & &other.weekdays,
            years: &self.years & &other.years,
        }
    }
}

/// Returns whether a day needs to match only one of the two day fields.
pub(super) fn is_either(month_days: &MonthDays, weekdays: &Weekdays) -> bool {
    !month_days.field.star && !weekdays.field.star
}

fn week_of_month(nth: u32) -> Days {
    Days {
        month_days: (nth * 7 - 6..=31.min(nth * 7)).collect(),
        ..Days::all()
    }
}

fn last_of_month(count: u32) -> Vec<Days> {
    LENGTHS
        .iter()
        .map(|length| Days {
            month_days: (length.days - count + 1..=length.days).collect(),
            months: length.months.iter().copied().collect(),
            years: SAMPLE.filter(|year| (length.has_year)(*year)).collect(),
            ..Days::all()
        })
        .collect()
}

/// Parts a list into what `special` reads, and the rest.
fn partition<T>(text: &str, special: impl Fn(&str) -> Option<T>) -> (Vec<T>, Vec<&str>) {
    let mut found = Vec::new();
    let mut plain = Vec::new();
    for part in text.split(',') {
        match special(part) {
            Some(special) => found.push(special),
            None => plain.push(part),
        }
    }
    (found, plain)
}

fn parse_plain(parts: &[&str], unit: &Unit) -> Result<Field, InvalidSchedule> {
    if parts.is_empty() {
        return Ok(Field {
            values: BTreeSet::new(),
            star: false,
        });
    }
    Field::parse(&parts.join(","), unit)
}

/// Reads `5L` and `1#2`, with numbers or names, and nothing else.
fn parse_nth(part: &str) -> Option<Result<(Nth, u32), InvalidSchedule>> {
    if let Some((weekday, nth)) = part.split_once('#') {
        return Some(match nth {
            "1" | "2" | "3" | "4" | "5" => {
                let nth = nth.parse().unwrap_or_default();
                weekday_of(weekday).map(|weekday| (Nth::FromStart(nth), weekday))
            }
            _ if nth.eq_ignore_ascii_case("l") => {
                weekday_of(weekday).map(|weekday| (Nth::Last, weekday))
            }
            _ => Err(WEEKDAY.refuse(part, "behind the `#` there must be 1 to 5")),
        });
    }
    let weekday = part.strip_suffix(['l', 'L'])?;
    let is_weekday = weekday.is_empty() || weekday_of(weekday).is_ok();
    is_weekday.then(|| match weekday {
        "" => Err(WEEKDAY.refuse(
            part,
            "say which weekday is the last of its month, as in `5L`",
        )),
        _ => weekday_of(weekday).map(|weekday| (Nth::Last, weekday)),
    })
}

fn weekday_of(text: &str) -> Result<u32, InvalidSchedule> {
    let field = Field::parse(text, &WEEKDAY)?;
    match field.values.first() {
        Some(weekday) if field.values.len() == 1 => Ok(*weekday),
        _ => Err(WEEKDAY.refuse(text, "only one weekday can count within the month")),
    }
}

fn is_nearest_weekday(part: &str) -> bool {
    let day = part.strip_suffix(['w', 'W']);
    day.is_some_and(|day| {
        day.eq_ignore_ascii_case("l") || day.bytes().all(|byte| byte.is_ascii_digit())
    })
}
