//! One field of crontab: `*`, `5`, `1-5`, `*/10`, `fri-mon`, and lists of these.

use std::collections::BTreeSet;
use std::fmt;

use chrono::Month;

use super::invalid::InvalidSchedule;

/// What a field counts.
pub(super) struct Unit {
    pub(super) name: &'static str,
    plural: &'static str,
    min: u32,
    max: u32,
    /// The largest number that is accepted: for Sunday, 0 and 7.
    written_max: u32,
    /// Returns the name of a value; empty if values have no names.
    pub(super) value_name: fn(u32) -> &'static str,
}

pub(super) const SECOND: Unit = plain("second", "seconds", 0, 59);
pub(super) const MINUTE: Unit = plain("minute", "minutes", 0, 59);
pub(super) const HOUR: Unit = plain("hour", "hours", 0, 23);
pub(super) const MONTH_DAY: Unit = plain("day-of-month", "days of the month", 1, 31);
pub(super) const MONTH: Unit = Unit {
    value_name: month_name,
    ..plain("month", "months", 1, 12)
};
pub(super) const WEEKDAY: Unit = Unit {
    written_max: 7,
    value_name: |weekday| WEEKDAYS[weekday as usize],
    ..plain("weekday", "weekdays", 0, 6)
};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn month_name(month: u32) -> &'static str {
    let month = u8::try_from(month)
        .ok()
        .and_then(|month| Month::try_from(month).ok());
    month.map_or("", |month| month.name())
}

const fn plain(name: &'static str, plural: &'static str, min: u32, max: u32) -> Unit {
    Unit {
        name,
        plural,
        min,
        max,
        written_max: max,
        value_name: |_| "",
    }
}

impl Unit {
    pub(super) fn count(&self) -> u32 {
        self.max - self.min + 1
    }

    pub(super) fn refuse(&self, part: &str, reason: impl Into<String>) -> InvalidSchedule {
        InvalidSchedule::Field {
            field: self.name,
            part: part.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The values of a field, and whether its text begins with `*` or `?`. That decides how the two day
/// fields combine, and whether the schedule ticks or has fixed times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Field {
    pub(super) values: BTreeSet<u32>,
    pub(super) star: bool,
}

impl Field {
    pub(super) fn parse(text: &str, unit: &Unit) -> Result<Self, InvalidSchedule> {
        let mut values = BTreeSet::new();
        for part in text.split(',') {
            if part.is_empty() {
                return Err(unit.refuse(text, "a list has an empty entry"));
            }
            let parsed = parse_part(part, unit).map_err(|reason| unit.refuse(part, reason))?;
            values.extend(parsed);
        }
        Ok(Self {
            values,
            star: text.starts_with(['*', '?']),
        })
    }

    /// Parses the parts of a list, which may be empty.
    pub(super) fn parse_list(parts: &[&str], unit: &Unit) -> Result<Self, InvalidSchedule> {
        match parts {
            [] => Ok(Self::default()),
            _ => Self::parse(&parts.join(","), unit),
        }
    }

    pub(super) fn is_all(&self, unit: &Unit) -> bool {
        self.values.len() == unit.count() as usize
    }

    /// Returns the value, if there is only one.
    pub(super) fn only(&self) -> Option<u32> {
        let (first, last) = self.first_and_last()?;
        (first == last).then_some(first)
    }

    pub(super) fn first_and_last(&self) -> Option<(u32, u32)> {
        Some((*self.values.first()?, *self.values.last()?))
    }

    /// Returns the distance of the values if it is the same between all of them, including the last
    /// value of one hour (or day) and the first value of the next.
    pub(super) fn step(&self, unit: &Unit) -> Option<u32> {
        let count = u32::try_from(self.values.len()).ok()?;
        let step = unit.count() / count;
        let first = self.values.first()?;
        let even = (0..count).all(|index| self.values.contains(&(first + index * step)));
        (unit.count().is_multiple_of(count) && even).then_some(step)
    }
}

/// Writes the values as a list.
impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(u32::to_string).collect();
        formatter.write_str(&values.join(","))
    }
}

/// Parses a range with a step, either of which may be left out. Returns an error without the part.
fn parse_part(part: &str, unit: &Unit) -> Result<impl Iterator<Item = u32> + use<>, String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(parse_step(step)?)),
        None => (part, None),
    };
    let (first, last) = parse_range(range, step.is_some(), unit)?;
    let step = step.unwrap_or(1);
    if step > 1 && step > last - first {
        return Err("the step is larger than the range".to_owned());
    }
    let (min, count) = (unit.min, unit.count());
    let round = move |value: u32| min + (value - min) % count;
    Ok((first..=last).step_by(step as usize).map(round))
}

fn parse_step(step: &str) -> Result<u32, &'static str> {
    match parse_number(step) {
        Some(0) => Err("a step is at least 1"),
        Some(step) => Ok(step),
        None => Err("a number must follow the `/`"),
    }
}

/// Parses `*`, `a-b` and `a`; with a step, `a` runs to the end. A range that wraps around, such as
/// 22-2, ends beyond the unit's largest value.
fn parse_range(range: &str, has_step: bool, unit: &Unit) -> Result<(u32, u32), String> {
    // Some dialects write `?` in a day field instead of `*`.
    let is_day = [MONTH_DAY.name, WEEKDAY.name].contains(&unit.name);
    if range == "*" || (range == "?" && is_day) {
        return Ok((unit.min, unit.max));
    }
    if let Some((first, last)) = range.split_once('-') {
        let (first, last) = (parse_value(first, unit)?, parse_value(last, unit)?);
        let wraps = last < first;
        return Ok((first, if wraps { last + unit.count() } else { last }));
    }
    let first = parse_value(range, unit)?;
    Ok((first, if has_step { unit.max.max(first) } else { first }))
}

fn parse_value(value: &str, unit: &Unit) -> Result<u32, String> {
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        let number = parse_number(value);
        let number = number.filter(|number| (unit.min..=unit.written_max).contains(number));
        return number.ok_or_else(|| bounds(unit));
    }
    number_of_name(unit, value).ok_or_else(|| unknown(unit, value))
}

/// Parses digits, without a sign.
pub(super) fn parse_number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Finds a value by its name or the first three letters or more of it: `mon`, `Monday`.
pub(super) fn number_of_name(unit: &Unit, name: &str) -> Option<u32> {
    let is_prefix = |value: &u32| {
        let start = (unit.value_name)(*value).get(..name.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let found = (unit.min..=unit.max).find(is_prefix);
    found.filter(|_| name.len() >= 3)
}

fn bounds(unit: &Unit) -> String {
    format!(
        "{} go from {} to {}",
        unit.plural, unit.min, unit.written_max
    )
}

fn unknown(unit: &Unit, value: &str) -> String {
    match unit.name {
        "weekday" => format!("unknown weekday `{value}`, use mon to sun or 0 to 7"),
        "month" => format!("unknown month `{value}`, use jan to dec or 1 to 12"),
        _ if value.is_empty() => format!("a number is missing; {}", bounds(unit)),
        _ => format!("`{value}` is not a number; {}", bounds(unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, unit: &Unit) -> Vec<u32> {
        let field = Field::parse(text, unit).unwrap_or_else(|invalid| panic!("{invalid}"));
        field.values.into_iter().collect()
    }

    #[test]
    fn a_field_is_a_list_of_values_ranges_and_steps() {
        assert_eq!(values("5,1,3", &MINUTE), [1, 3, 5]);
        assert_eq!(values("10-40/10", &MINUTE), [10, 20, 30, 40]);
        assert_eq!(values("5/15", &MINUTE), [5, 20, 35, 50]);
        assert_eq!(values("*/20,7", &MINUTE), [0, 7, 20, 40]);
        assert_eq!(values("*/10", &MONTH_DAY), [1, 11, 21, 31]);
        assert_eq!(values("jan,MAR-may,9", &MONTH), [1, 3, 4, 5, 9]);
        assert_eq!(values("?", &MONTH_DAY).len(), 31);
    }

    #[test]
    fn sunday_is_zero_and_seven() {
        assert_eq!(values("0", &WEEKDAY), values("7", &WEEKDAY));
        assert_eq!(values("5-7", &WEEKDAY), [0, 5, 6]);
        assert_eq!(values("0-7", &WEEKDAY).len(), 7);
        assert_eq!(values("Sunday,tues", &WEEKDAY), [0, 2]);
    }

    #[test]
    fn a_range_may_wrap_around() {
        assert_eq!(values("FRI-MON", &WEEKDAY), [0, 1, 5, 6]);
        assert_eq!(values("7-2", &WEEKDAY), [0, 1, 2]);
        assert_eq!(values("22-2", &HOUR), [0, 1, 2, 22, 23]);
        assert_eq!(values("22-4/3", &HOUR), [1, 4, 22]);
        assert_eq!(values("nov-feb", &MONTH), [1, 2, 11, 12]);
    }

    #[test]
    fn a_step_is_found_if_it_also_fits_between_the_last_value_and_the_first() {
        let step = |text, unit: &Unit| Field::parse(text, unit).unwrap().step(unit);
        assert_eq!(step("*/5", &MINUTE), Some(5));
        assert_eq!(step("2/5", &MINUTE), Some(5));
        assert_eq!(step("*", &HOUR), Some(1));
        assert_eq!(step("*/7", &MINUTE), None);
        assert_eq!(step("0,1", &MINUTE), None);
    }

    #[test]
    fn an_error_names_the_part_and_the_field() {
        for (text, unit, message) in [
            (
                "61",
                &MINUTE,
                "`61` in the minute field: minutes go from 0 to 59",
            ),
            (
                "1,99999999999",
                &SECOND,
                "`99999999999` in the second field: seconds go from 0 to 59",
            ),
            (
                "*/90",
                &MINUTE,
                "`*/90` in the minute field: the step is larger than the range",
            ),
            (
                "10-20/15",
                &HOUR,
                "`10-20/15` in the hour field: the step is larger than the range",
            ),
            (
                "*/0",
                &HOUR,
                "`*/0` in the hour field: a step is at least 1",
            ),
            (
                "*/x",
                &HOUR,
                "`*/x` in the hour field: a number must follow the `/`",
            ),
            (
                "foo",
                &WEEKDAY,
                "`foo` in the weekday field: unknown weekday `foo`, use mon to sun or 0 to 7",
            ),
            (
                "8",
                &WEEKDAY,
                "`8` in the weekday field: weekdays go from 0 to 7",
            ),
            (
                "jan-foo",
                &MONTH,
                "`jan-foo` in the month field: unknown month `foo`, use jan to dec or 1 to 12",
            ),
            (
                "1,,2",
                &MINUTE,
                "`1,,2` in the minute field: a list has an empty entry",
            ),
            (
                "-5",
                &MINUTE,
                "`-5` in the minute field: a number is missing; minutes go from 0 to 59",
            ),
            (
                "?",
                &HOUR,
                "`?` in the hour field: `?` is not a number; hours go from 0 to 23",
            ),
            (
                "0",
                &MONTH_DAY,
                "`0` in the day-of-month field: days of the month go from 1 to 31",
            ),
        ] {
            let refused = Field::parse(text, unit).expect_err(text);
            assert_eq!(refused.to_string(), message);
        }
    }
}
