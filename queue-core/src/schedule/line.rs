//! A line of crontab as the `cron` crate evaluates it, on a clock without a time zone.
//!
//! The crate does no more than find the next time in lists of numbers that we generate, because
//! it counts Sunday as 1, joins the two day fields by "and", handles changes of the clock its own
//! way, knows neither `L` nor `1#2` nor ranges that wrap round, and ends in the year 2100.
//!
//! So it never sees the real year either. It is asked about the *twin*: the year between 2000 and
//! 2027 with the same weekdays on the same dates. Every year of the calendar has one among those
//! 28, so a line that does not fire in any of them can never fire.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::days::{Days, SAMPLE};

/// The longest silence of a line that fires at all: 29 February on one weekday, over a year such
/// as 2100 that is not a leap year.
const SILENT_YEARS_MAX: i32 = 40;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    cron: cron::Schedule,
}

impl Line {
    /// Takes seconds, minutes and hours, and days. Returns none if the line can never fire.
    pub(super) fn new(times: [&BTreeSet<u32>; 3], days: &Days) -> Option<Self> {
        let [seconds, minutes, hours] = times.map(list);
        let (month_days, months) = (list(&days.month_days), list(&days.months));
        let weekdays = list(&days.weekdays.iter().map(|day| day + 1).collect());
        let years = list(&days.years);
        let text = format!("{seconds} {minutes} {hours} {month_days} {months} {weekdays} {years}");

        let cron = text.parse().ok()?;
        let line = Self { cron };
        let begin = eve_of(SAMPLE.start().cast_signed())?;
        line.cron.after(&begin.and_utc()).next()?;
        Some(line)
    }

    /// Returns the first time of the line that is later than `civil`, a time of whole seconds.
    pub(super) fn next_after(&self, civil: NaiveDateTime) -> Option<NaiveDateTime> {
        let year = civil.year();
        self.next_in_year(year, civil).or_else(|| {
            (year + 1..=year + SILENT_YEARS_MAX)
                .find_map(|year| self.next_in_year(year, eve_of(year)?))
        })
    }

    fn next_in_year(&self, year: i32, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let twin = twin(year)?;
        let to_twin = first_of(twin)? - first_of(year)?;
        let after = after.checked_add_signed(to_twin)?;
        let next = self.cron.after(&after.and_utc()).next()?.naive_utc();
        (next.year() == twin)
            .then(|| next.checked_sub_signed(to_twin))
            .flatten()
    }
}

fn list(values: &BTreeSet<u32>) -> String {
    let values: Vec<String> = values.iter().map(u32::to_string).collect();
    values.join(",")
}

fn twin(year: i32) -> Option<i32> {
    let first = first_of(year)?;
    SAMPLE.map(u32::cast_signed).find(|twin| {
        first_of(*twin).is_some_and(|twin| {
            twin.weekday() == first.weekday() && twin.leap_year() == first.leap_year()
        })
    })
}

fn first_of(year: i32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, 1, 1)
}

/// The last second before a year.
fn eve_of(year: i32) -> Option<NaiveDateTime> {
    first_of(year)?
        .and_time(NaiveTime::MIN)
        .checked_sub_signed(TimeDelta::seconds(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_year_has_a_twin() {
        for year in 1600..2600 {
            let twin = twin(year).expect("a twin");
            assert_eq!(
                NaiveDate::from_ymd_opt(year, 12, 31).map(|day| (day.ordinal(), day.weekday())),
                NaiveDate::from_ymd_opt(twin, 12, 31).map(|day| (day.ordinal(), day.weekday())),
            );
        }
    }
}
