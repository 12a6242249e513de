//! What a schedule says: when, what to enqueue, and what to do when times are missed or overlap.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Missed, Overlap};
use crate::job::{Due, Job};
use crate::names::{InvalidName, check_recurring_job};
use crate::new_job::{ARGS_BYTES_MAX, EnqueueError, NewJob};
use crate::schedule::{InvalidSchedule, Schedule, Tz};

/// How many missed due times may be looked at one by one.
pub const MISSED_MAX: RangeInclusive<u32> = 1..=1_000;
/// The longest jitter.
pub const JITTER_MAX: Duration = Duration::from_secs(86_400);

/// A job that is enqueued whenever a schedule says so.
///
/// ```
/// use queue_core::recurring::{Missed, Overlap, RecurringJob};
/// # use queue_core::Job;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Rescan { folder: String }
/// # impl Job for Rescan { const KIND: &'static str = "rescan"; }
///
/// # fn example() -> Result<(), queue_core::recurring::InvalidRecurringJob> {
/// let rescan = Rescan { folder: "/srv".to_owned() };
/// let recurring = RecurringJob::new("rescan", "every 5 minutes", rescan)?
///     .missed(Missed::Skip)
///     .overlap(Overlap::Skip);
/// # let _ = recurring;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RecurringJob {
    name: String,
    schedule: String,
    zone: Option<Tz>,
    job: NewJob,
    missed: Missed,
    missed_max: u32,
    overlap: Overlap,
    jitter: Duration,
}

/// Why a schedule is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecurringJob {
    /// Its name is refused.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Its text says no times.
    #[error("the times of the schedule `{name}` cannot be understood")]
    Schedule {
        /// The schedule's name.
        name: String,
        /// What is wrong with the text.
        source: InvalidSchedule,
    },
    /// Its job could not be enqueued.
    #[error("the job of the schedule `{name}` is refused")]
    Job {
        /// The schedule's name.
        name: String,
        /// What is wrong with the job.
        source: Box<EnqueueError>,
    },
    /// Its job is unique or delayed, which a schedule decides by itself.
    #[error(
        "the job of the schedule `{name}` is {what}, which would be lost: \
         say it with the schedule's own {instead}"
    )]
    UniqueOrDelayed {
        /// The schedule's name.
        name: String,
        /// `unique` or `delayed`.
        what: &'static str,
        /// What to say instead.
        instead: &'static str,
    },
    /// A number or a duration is out of range.
    #[error("the schedule `{name}` {what}: {expected}")]
    OutOfRange {
        /// The schedule's name.
        name: String,
        /// What it says.
        what: String,
        /// What it may say.
        expected: String,
    },
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl RecurringJob {
    /// Makes one of a typed job, with the options of its kind.
    ///
    /// # Errors
    /// Refuses a name like [`check_recurring_job`], times that cannot be understood, and a job that
    /// could not be enqueued, or is unique or delayed.
    pub fn new<J: Job>(
        name: impl Into<String>,
        schedule: impl Into<String>,
        job: J,
    ) -> Result<Self, InvalidRecurringJob> {
        let name = name.into();
        match NewJob::of(&job) {
            Ok(job) => Self::of(name, schedule, job),
            Err(error) => Err(InvalidRecurringJob::job(&name, error)),
        }
    }

    /// Makes one of a job of whatever kind, or of one with options of its own:
    /// `NewJob::of(&job)?.with(|options| options.queue("night"))`.
    ///
    /// # Errors
    /// Refuses what [`RecurringJob::new`] refuses.
    pub fn of(
        name: impl Into<String>,
        schedule: impl Into<String>,
        job: NewJob,
    ) -> Result<Self, InvalidRecurringJob> {
        let recurring = Self {
            name: name.into(),
            schedule: schedule.into(),
            zone: None,
            job,
            missed: Missed::default(),
            missed_max: 100,
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
        };
        check_recurring_job(&recurring.name)?;
        recurring.schedule_in(Tz::UTC)?;
        recurring.check_job()?;
        Ok(recurring)
    }

    /// Sets the zone whose clock the times are by, unless the text of the schedule names one; that
    /// of whoever registers it, unless set.
    #[must_use]
    pub fn zone(mut self, zone: Tz) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Sets what becomes of missed due times; [`Missed::Once`] unless set.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Sets how many missed due times are looked at one by one, the newest; 100 unless set. Those
    /// before them are recorded together, and nothing is enqueued for them.
    ///
    /// # Errors
    /// Refuses a number outside of [`MISSED_MAX`].
    pub fn missed_max(mut self, count: u32) -> Result<Self, InvalidRecurringJob> {
        if !MISSED_MAX.contains(&count) {
            return Err(InvalidRecurringJob::OutOfRange {
                name: self.name,
                what: format!("makes up for {count} missed times"),
                expected: format!("{} to {} can be", MISSED_MAX.start(), MISSED_MAX.end()),
            });
        }
        self.missed_max = count;
        Ok(self)
    }

    /// Sets what becomes of a due time while an earlier job has not ended; [`Overlap::Allow`]
    /// unless set.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Lets each job start up to this much after its due time, so that not all schedules of a full
    /// hour start at once. How much is drawn from the name and the due time: whoever draws it
    /// again gets the same.
    ///
    /// # Errors
    /// Refuses more than [`JITTER_MAX`].
    pub fn jitter(mut self, jitter: Duration) -> Result<Self, InvalidRecurringJob> {
        if jitter > JITTER_MAX {
            return Err(InvalidRecurringJob::OutOfRange {
                name: self.name,
                what: format!("has a jitter of {} s", jitter.as_secs()),
                expected: format!("{} s at most", JITTER_MAX.as_secs()),
            });
        }
        self.jitter = jitter;
        Ok(self)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its times, by the clock of `default_zone` unless it says another.
    ///
    /// # Errors
    /// Refuses a text that says no times; one that [`RecurringJob::of`] took says some in any zone.
    pub fn schedule_in(&self, default_zone: Tz) -> Result<Schedule, InvalidRecurringJob> {
        Schedule::parse(&self.schedule, self.zone.unwrap_or(default_zone)).map_err(|source| {
            InvalidRecurringJob::Schedule {
                name: self.name.clone(),
                source,
            }
        })
    }

    fn check_job(&self) -> Result<(), InvalidRecurringJob> {
        let unique_or_delayed = |what, instead| InvalidRecurringJob::UniqueOrDelayed {
            name: self.name.clone(),
            what,
            instead,
        };
        if self.job.options.unique.is_some() {
            return Err(unique_or_delayed("unique", "`overlap`"));
        }
        if self.job.options.due != Due::Now {
            return Err(unique_or_delayed("delayed", "times"));
        }
        self.job
            .check(ARGS_BYTES_MAX)
            .map_err(|error| InvalidRecurringJob::job(&self.name, error))
    }

    /// Binds the first fifteen values of `insert.sql`.
    pub(super) fn bind<'q>(&self, query: Query<'q>, zone: Tz) -> Query<'q> {
        let options = &self.job.options;
        query
            .bind(self.name.clone())
            .bind(self.schedule.clone())
            .bind(zone.name())
            .bind(self.job.kind.to_string())
            .bind(self.job.args.clone())
            .bind(options.queue.to_string())
            .bind(options.priority)
            .bind(options.attempts_max)
            .bind(options.crashes_max)
            .bind(options.tags.clone())
            .bind(self.missed.as_str())
            .bind(i32::try_from(self.missed_max).unwrap_or(i32::MAX))
            .bind(self.overlap.as_str())
            .bind(i64::try_from(self.jitter.as_millis()).unwrap_or(i64::MAX))
            .bind(options.limits.to_json(&self.job.kind))
    }
}

impl InvalidRecurringJob {
    fn job(name: &str, source: EnqueueError) -> Self {
        Self::Job {
            name: name.to_owned(),
            source: Box::new(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::Options;
    use crate::unique::Unique;

    fn of(
        name: &str,
        schedule: &str,
        options: Options,
    ) -> Result<RecurringJob, InvalidRecurringJob> {
        RecurringJob::of(name, schedule, NewJob::untyped("k", &json!({}), options))
    }

    #[test]
    fn what_could_never_be_enqueued_is_refused_at_once() {
        let refused = [
            of("two words", "every minute", Options::new()),
            of("a", "every blue moon", Options::new()),
            of("a", "every minute", Options::new().queue("")),
            of(
                "a",
                "every minute",
                Options::new().unique(Unique::by_args()),
            ),
            of("a", "every minute", Options::new().delay(JITTER_MAX)),
            of("a", "every minute", Options::new()).and_then(|good| good.missed_max(0)),
            of("a", "every minute", Options::new()).and_then(|good| good.jitter(JITTER_MAX * 2)),
        ];
        for answer in refused {
            assert!(answer.is_err(), "{answer:?}");
        }
    }

    #[test]
    fn its_own_zone_wins_over_that_of_whoever_registers_it() {
        let plain = of("a", "0 9 * * *", Options::new()).unwrap();
        assert_eq!(
            plain.schedule_in(Tz::Asia__Tokyo).unwrap().zone(),
            Tz::Asia__Tokyo
        );
        let zoned = plain.zone(Tz::Europe__Berlin);
        assert_eq!(
            zoned.schedule_in(Tz::Asia__Tokyo).unwrap().zone(),
            Tz::Europe__Berlin
        );
    }
}
