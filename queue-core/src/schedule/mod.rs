//! Schedules: when a recurring job is due.

mod describe;
mod phrase;
mod zone;

mod crontab;
mod period;

mod civil;

mod days;

mod field;

mod invalid;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;
use std::iter;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

pub use chrono_tz::Tz;
pub use invalid::{InvalidSchedule, SCHEDULE_BYTES_MAX};
pub use zone::parse_zone;

use crontab::Crontab;

/// When a recurring job is due: crontab or an everyday phrase, in one time zone.
///
/// ```
/// use chrono::{DateTime, Utc};
/// use queue_core::Schedule;
/// use queue_core::schedule::Tz;
///
/// let schedule = Schedule::parse("every weekday at 9am", Tz::Europe__Berlin)?;
/// assert_eq!(schedule.describe(), "every weekday at 09:00 (Europe/Berlin)");
///
/// // Friday noon; the clocks are set forward on Sunday.
/// let friday: DateTime<Utc> = "2026-03-27T11:00:00Z".parse()?;
/// let monday: DateTime<Utc> = "2026-03-30T07:00:00Z".parse()?;
/// assert_eq!(schedule.next_after(friday), Some(monday));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Crontab
/// Five fields, or six with seconds first: minute, hour, day of month, month, weekday.
///
/// | part | means |
/// | --- | --- |
/// | `*`, and `?` in a day field | every value |
/// | `5`, `mon`, `JAN` | one value; a name may be written out; Sunday is 0 and 7 |
/// | `9-17`, `22-2`, `fri-mon` | a range; it may wrap around |
/// | `*/5`, `10-40/10`, `5/15` | every n-th value of a range; `5/15` runs to the end |
/// | `1,15,20-25` | a list of these |
/// | `L` in day of month | the last day of the month |
/// | `5L`, `1#2` in weekday | the last Friday, the second Monday of the month |
/// | `@yearly` `@annually` `@monthly` `@weekly` `@daily` `@midnight` `@hourly` | midnight of the first day, and every full hour |
///
/// If day of month and weekday are both restricted, a day needs to match only one of them; a
/// field that begins with `*` counts as not restricted. This is the rule of Vixie's cron.
///
/// # Phrases
/// `every 30 seconds`, `every hour`, `every day at 9:30pm`, `every day at noon`,
/// `every monday and thursday at 8:30`, `every weekday at 9am`, `every weekend at 10:00`,
/// `every month`, `every 15th of the month at 10:00`, `every last day of the month`,
/// `every day at 00:40 and 15:40`.
///
/// A period that divides the day evenly follows the clock: `every 5 minutes` is `*/5 * * * *`.
/// Any other period, such as `every 90 minutes`, and every `@every 90s`, is counted in real time
/// from 1970-01-01 00:00:00 UTC, so that all schedulers agree.
///
/// # Time zones
/// A zone has its name in the IANA database, and stands after the schedule (`0 9 * * *
/// Europe/Berlin`, `every day at 9am in Europe/Berlin`) or before it (`TZ=Europe/Berlin 0 9 * * *`).
/// The rules of zones are known until 2099; after that each zone keeps its last offset from UTC.
///
/// # When the clock changes
/// A fixed time fires when the clock first reaches or passes it. A time that is skipped when the
/// clock is set forward fires right after the change; several skipped times fire once. A time that
/// occurs twice when the clock is set back fires the first time only.
///
/// A ticking schedule, with `*` or `*/n` as its seconds, minutes or hours, fires whenever the clock
/// shows one of its times: `every 30 minutes` fires every 30 minutes through both changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    zone: Tz,
    rule: Rule,
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    /// Fires when any of these lines does.
    Calendar(Vec<Crontab>),
    /// Fires at each multiple of this period since 1970.
    Period(TimeDelta),
}

impl Schedule {
    /// Parses crontab or a phrase. A time zone in the text wins over the default.
    ///
    /// # Errors
    /// Returns an [`InvalidSchedule`] that names the part and the reason: the part is not
    /// understood, the schedule can never fire, or the time zone is unknown.
    pub fn parse(text: &str, default_zone: Tz) -> Result<Self, InvalidSchedule> {
        if text.len() > SCHEDULE_BYTES_MAX {
            return Err(InvalidSchedule::TooLong { bytes: text.len() });
        }
        let (zone, rest) = zone::split(text.trim())?;
        Ok(Self {
            text: text.to_owned(),
            zone: zone.unwrap_or(default_zone),
            rule: Rule::parse(rest)?,
        })
    }

    /// Parses the text and the time zone of a row.
    pub(crate) fn of_row(text: &str, zone: &str) -> Result<Self, InvalidSchedule> {
        Self::parse(text, parse_zone(zone)?)
    }

    /// Returns the first instant later than `instant` at which the schedule fires: a whole
    /// second. Returns none only near the end of the calendar, some 260,000 years from now.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = DateTime::from_timestamp(instant.timestamp(), 0)?;
        match &self.rule {
            Rule::Period(period) => period::next_after(*period, after),
            Rule::Calendar(lines) => lines
                .iter()
                .filter_map(|crontab| crontab.next_after(self.zone, after))
                .min(),
        }
    }

    /// Returns the instants later than `after` at which the schedule fires, in order. The iterator
    /// does not end.
    pub fn upcoming(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        iter::successors(self.next_after(after), |last| self.next_after(*last))
    }

    /// Describes the schedule in plain words: `every day at 09:00 (Europe/Berlin)`.
    pub fn describe(&self) -> String {
        describe::describe(&self.rule, self.zone)
    }

    /// Returns the schedule's time zone.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Returns the text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Rule {
    /// Crontab never begins with a letter, and a phrase always does.
    fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        let crontab = match text.split_once(char::is_whitespace).unwrap_or((text, "")) {
            ("", _) => return Err(InvalidSchedule::Empty),
            (word, period) if word.eq_ignore_ascii_case("@every") => {
                return Ok(Self::Period(period::parse(period.trim())?));
            }
            (word, "") if word.starts_with('@') => Crontab::parse_shorthand(word)?,
            _ if text.starts_with(char::is_alphabetic) => return phrase::parse(text),
            _ => Crontab::parse(text)?,
        };
        Ok(Self::Calendar(vec![crontab]))
    }
}

/// Parses with UTC as the default zone.
impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        Self::parse(text, Tz::UTC)
    }
}

/// Writes the text as it was given.
impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
