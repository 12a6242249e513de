//! A line of crontab: five fields, or six with seconds first, or an `@` word for one.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::civil;
use super::days::{Days, MonthDays, Weekdays};
use super::field::{Field, HOUR, MINUTE, MONTH, SECOND};
use super::invalid::InvalidSchedule;
use super::line::Line;

/// A line of crontab as its fields, and as lines that the `cron` crate evaluates. It fires
/// whenever one of these does.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Crontab {
    pub(super) seconds: Field,
    pub(super) minutes: Field,
    pub(super) hours: Field,
    pub(super) month_days: MonthDays,
    pub(super) months: Field,
    pub(super) weekdays: Weekdays,
    pub(super) lines: Vec<Line>,
}

impl Crontab {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidSchedule> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, [minute, hour, month_day, month, weekday]) = match fields[..] {
            [minute, hour, month_day, month, weekday] => {
                ("0", [minute, hour, month_day, month, weekday])
            }
            [second, minute, hour, month_day, month, weekday] => {
                (second, [minute, hour, month_day, month, weekday])
            }
            _ => {
                return Err(InvalidSchedule::FieldCount {
                    text: text.to_owned(),
                    count: fields.len(),
                });
            }
        };
        let crontab = Self {
            seconds: Field::parse(second, &SECOND)?,
            minutes: Field::parse(minute, &MINUTE)?,
            hours: Field::parse(hour, &HOUR)?,
            month_days: MonthDays::parse(month_day)?,
            months: Field::parse(month, &MONTH)?,
            weekdays: Weekdays::parse(weekday)?,
            lines: Vec::new(),
        };
        crontab
            .with_lines()
            .ok_or_else(|| InvalidSchedule::NeverFires {
                text: text.to_owned(),
            })
    }

    /// Reads the `@` words that stand for a line.
    pub(super) fn parse_shorthand(word: &str) -> Result<Self, InvalidSchedule> {
        let text = match word.to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            "@reboot" => {
                return Err(refuse(
                    word,
                    "a schedule tells times, and does not know when a machine starts; enqueue \
                     the job from the program that starts",
                ));
            }
            _ => {
                return Err(refuse(
                    word,
                    "use @yearly, @monthly, @weekly, @daily, @midnight, @hourly, or @every with \
                     a period such as `@every 90s`",
                ));
            }
        };
        Self::parse(text)
    }

    /// Returns the first instant later than `after`, a whole second, at which the line fires.
    pub(super) fn next_after(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = if self.ticks() {
            civil::next_shown
        } else {
            civil::next_reached
        };
        self.lines
            .iter()
            .filter_map(|line| next(line, zone, after))
            .min()
    }

    /// Returns whether the line ticks, so that it follows real time through a change of the
    /// clock: one of its fields for the time of day is a `*`, a `*/n`, or every value. Otherwise
    /// it has fixed times.
    fn ticks(&self) -> bool {
        let times = [
            (&self.seconds, &SECOND),
            (&self.minutes, &MINUTE),
            (&self.hours, &HOUR),
        ];
        times
            .iter()
            .any(|(field, unit)| field.star || field.is_all(unit))
    }

    /// Returns none if no line ever fires.
    fn with_lines(mut self) -> Option<Self> {
        let times = [&self.seconds, &self.minutes, &self.hours].map(|field| &field.values);
        let days = Days::of(&self.month_days, &self.months, &self.weekdays);
        self.lines = days
            .iter()
            .filter_map(|days| Line::new(times, days))
            .collect();
        (!self.lines.is_empty()).then_some(self)
    }
}

fn refuse(word: &str, reason: &'static str) -> InvalidSchedule {
    InvalidSchedule::Shorthand {
        word: word.to_owned(),
        reason,
    }
}
