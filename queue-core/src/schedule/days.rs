//! The days of a line of crontab: its day-of-month, month and weekday fields.
//!
//! If both day fields are restricted, a day needs to match only one of them, as in Vixie's cron;
//! a field that begins with `*` or `?` counts as not restricted. So `0 0 13 * fri` means every 13th
//! and every Friday, and `0 0 */2 * fri` means the Fridays on odd days.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};

use super::field::{Field, MONTH, MONTH_DAY, WEEKDAY};
use super::invalid::InvalidSchedule;

/// The three day fields.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Days {
    pub(super) month_days: Field,
    /// Whether the day-of-month field contains `L`, the last day of the month.
    pub(super) last: bool,
    pub(super) months: Field,
    pub(super) weekdays: Field,
    /// Which weekday of the month, from the first to the fifth or the [`LAST`], and the weekday.
    pub(super) nth: BTreeSet<(u32, u32)>,
}

pub(super) const LAST: u32 = 6;

impl Days {
    pub(super) fn parse(
        month_day: &str,
        month: &str,
        weekday: &str,
    ) -> Result<Self, InvalidSchedule> {
        if let Some(part) = month_day.split(',').find(|part| is_nearest_weekday(part)) {
            let reason = "the nearest weekday (`W`) is not supported; list the days";
            return Err(MONTH_DAY.refuse(part, reason));
        }
        let is_last = |part: &&str| part.eq_ignore_ascii_case("l");
        let (last, month_days): (Vec<&str>, _) = month_day.split(',').partition(is_last);
        let is_nth = |part: &&str| part.contains('#') || part.ends_with(['l', 'L']);
        let (nth, weekdays): (Vec<&str>, _) = weekday.split(',').partition(is_nth);
        Ok(Self {
            month_days: Field::parse_list(&month_days, &MONTH_DAY)?,
            last: !last.is_empty(),
            months: Field::parse(month, &MONTH)?,
            nth: nth.into_iter().map(parse_nth).collect::<Result<_, _>>()?,
            weekdays: Field::parse_list(&weekdays, &WEEKDAY)?,
        })
    }

    /// Returns whether a day needs to match only one of the two day fields.
    pub(super) fn are_either(&self) -> bool {
        !self.month_days.star && !self.weekdays.star
    }

    pub(super) fn include(&self, day: NaiveDate) -> bool {
        let is_last = |count: u32| day.day() + count > u32::from(day.num_days_in_month());
        let weekday = day.weekday().num_days_from_sunday();
        let is_nth = |nth: u32| match nth {
            LAST => is_last(7),
            _ => day.day().div_ceil(7) == nth,
        };
        let by_month_day = self.month_days.values.contains(&day.day()) || (self.last && is_last(1));
        let mut nth = self.nth.iter();
        let by_weekday = self.weekdays.values.contains(&weekday)
            || nth.any(|(nth, counted)| *counted == weekday && is_nth(*nth));
        let by_either = match self.are_either() {
            true => by_month_day || by_weekday,
            false => by_month_day && by_weekday,
        };
        by_either && self.months.values.contains(&day.month())
    }
}

/// Parses `5L` and `1#2`, with numbers or names.
fn parse_nth(part: &str) -> Result<(u32, u32), InvalidSchedule> {
    let (weekday, nth) = match part.split_once('#') {
        None if part.len() == 1 => {
            let reason = "write which weekday, as in `5L`";
            return Err(WEEKDAY.refuse(part, reason));
        }
        None => (&part[..part.len() - 1], LAST),
        Some((weekday, "l" | "L")) => (weekday, LAST),
        Some((weekday, nth)) => match nth.as_bytes() {
            [digit @ b'1'..=b'5'] => (weekday, u32::from(digit - b'0')),
            _ => return Err(WEEKDAY.refuse(part, "1 to 5 must follow the `#`")),
        },
    };
    let weekday = Field::parse(weekday, &WEEKDAY)?.only();
    let refuse = || WEEKDAY.refuse(part, "only one weekday may stand before `#` or `L`");
    Ok((nth, weekday.ok_or_else(refuse)?))
}

fn is_nearest_weekday(part: &str) -> bool {
    let day = part.strip_suffix(['w', 'W']);
    day.is_some_and(|day| {
        day.eq_ignore_ascii_case("l") || day.bytes().all(|byte| byte.is_ascii_digit())
    })
}
