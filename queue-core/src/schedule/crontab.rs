//! A line of crontab: five fields, or six with seconds first, or an `@` word.

use chrono::{DateTime, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::civil;
use super::days::Days;
use super::field::{Field, HOUR, MINUTE, SECOND, Unit};
use super::invalid::InvalidSchedule;

/// The longest time between two days of a line: 40 years, for 29 February on one weekday, across a
/// year such as 2100 that is not a leap year.
const SILENT_DAYS_MAX: usize = 40 * 366;

/// A line of crontab.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Crontab {
    pub(super) seconds: Field,
    pub(super) minutes: Field,
    pub(super) hours: Field,
    pub(super) days: Days,
    /// The times of every day. The `cron` crate steps only through these: it counts Sunday as 1,
    /// requires both day fields to match, handles changes of the clock in its own way, does not
    /// know `L`, `1#2` or ranges that wrap around, and ends in the year 2100.
    times: cron::Schedule,
}

impl Crontab {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [second, minute, hour, month_day, month, weekday] = fields[..] else {
            return Err(InvalidSchedule::FieldCount {
                text: text.to_owned(),
                count: fields.len(),
            });
        };
        let seconds = Field::parse(second, &SECOND)?;
        let minutes = Field::parse(minute, &MINUTE)?;
        let hours = Field::parse(hour, &HOUR)?;
        let days = Days::parse(month_day, month, weekday)?;
        let never_fires = || InvalidSchedule::NeverFires {
            text: text.to_owned(),
        };
        let times = format!("{seconds} {minutes} {hours} * * *");
        let crontab = Self {
            times: times.parse().map_err(|_| never_fires())?,
            seconds,
            minutes,
            hours,
            days,
        };
        let first = crontab.next_time(&DateTime::UNIX_EPOCH.naive_utc());
        first.map(|_| crontab).ok_or_else(never_fires)
    }

    /// Parses an `@` word that stands for a line.
    pub(super) fn parse_shorthand(word: &str) -> Result<Self, InvalidSchedule> {
        let line = match word.to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => Ok("0 0 1 1 *"),
            "@monthly" => Ok("0 0 1 * *"),
            "@weekly" => Ok("0 0 * * 0"),
            "@daily" | "@midnight" => Ok("0 0 * * *"),
            "@hourly" => Ok("0 * * * *"),
            "@reboot" => Err(
                "a schedule does not know when a machine starts; enqueue the job from a program \
                 that runs at the start",
            ),
            _ => Err(
                "use @yearly, @monthly, @weekly, @daily, @midnight, @hourly, or @every with a \
                 period such as `@every 90s`",
            ),
        };
        match line {
            Ok(line) => Self::parse(line),
            Err(reason) => Err(InvalidSchedule::Shorthand {
                word: word.to_owned(),
                reason,
            }),
        }
    }

    /// Returns the first instant later than `after`, a whole second, at which the line fires.
    pub(super) fn next_after(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = |civil: &NaiveDateTime| self.next_time(civil);
        if self.ticks() {
            civil::next_shown(zone, after, next)
        } else {
            civil::next_reached(zone, after, next)
        }
    }

    /// Returns whether the line ticks: one of its fields for the time of day begins with `*` or has
    /// every value. Otherwise it has fixed times.
    fn ticks(&self) -> bool {
        let ticks = |field: &Field, unit: &Unit| field.star || field.is_all(unit);
        ticks(&self.seconds, &SECOND) || ticks(&self.minutes, &MINUTE) || ticks(&self.hours, &HOUR)
    }

    /// Returns the first time of the line later than `civil`, on a clock without a time zone.
    fn next_time(&self, civil: &NaiveDateTime) -> Option<NaiveDateTime> {
        let days = civil.date().iter_days().take(SILENT_DAYS_MAX);
        days.filter(|day| self.days.include(*day)).find_map(|day| {
            let midnight = day.and_time(NaiveTime::MIN);
            let time = self.times_of_day(*civil - midnight).next()?;
            midnight.checked_add_signed(time)
        })
    }

    /// Returns the times of a day later than `after`, each as the time since midnight.
    pub(super) fn times_of_day(&self, after: TimeDelta) -> impl Iterator<Item = TimeDelta> {
        // Every day has the same times, so the crate always sees 1 January 1970.
        let after = DateTime::UNIX_EPOCH + after.max(TimeDelta::seconds(-1));
        let times = self.times.after(&after);
        let times = times.map(|time| time - DateTime::UNIX_EPOCH);
        times.take_while(|time| *time < TimeDelta::days(1))
    }
}
