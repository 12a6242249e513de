//! The definition of a recurring job: its schedule, its job, and its policies for missed due times
//! and overlapping jobs.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;

use super::{Missed, Overlap};
use crate::context::Context;
use crate::job::{Due, Job};
use crate::names::{InvalidName, check_recurring_job};
use crate::new_job::{ARGS_BYTES_MAX, Args, EnqueueError, NewJob};
use crate::schedule::{InvalidSchedule, Schedule, Tz};
use crate::unique::Unique;

/// The range of [`RecurringJob::missed_max`].
pub const MISSED_MAX: RangeInclusive<u32> = 1..=1_000;
/// The longest jitter.
pub const JITTER_MAX: Duration = Duration::from_secs(86_400);

/// A job that is enqueued on a schedule.
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

/// Why a recurring job is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecurringJob {
    /// Its name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Its schedule is invalid.
    #[error("the schedule of the recurring job `{name}` is invalid")]
    Schedule {
        /// The name of the recurring job.
        name: String,
        /// What is wrong with the schedule.
        source: InvalidSchedule,
    },
    /// Its job could not be enqueued.
    #[error("the recurring job `{name}` could not be enqueued")]
    Job {
        /// The name of the recurring job.
        name: String,
        /// What is wrong with the job.
        source: Box<EnqueueError>,
    },
    /// Its job is delayed.
    #[error("the job of the recurring job `{0}` is delayed: its schedule says when it is enqueued")]
    Delayed(String),
    /// A number or a duration is out of range.
    #[error("the recurring job `{name}` {what}: {expected}")]
    OutOfRange {
        /// The name of the recurring job.
        name: String,
        /// The value that is out of range.
        what: String,
        /// The values that are allowed.
        expected: String,
    },
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl RecurringJob {
    /// Makes a recurring job of a typed job, with the options of its kind. Its jobs have the current
    /// [`Context`], without the request and the trace.
    ///
    /// # Errors
    /// Returns an error if the name does not pass [`check_recurring_job`], the schedule is invalid,
    /// or the job could not be enqueued, or is delayed.
    pub fn new<J: Job>(
        name: impl Into<String>,
        schedule: impl Into<String>,
        job: J,
    ) -> Result<Self, InvalidRecurringJob> {
        let name = name.into();
        let job = NewJob::of(&job).map_err(|error| InvalidRecurringJob::job(&name, error))?;
        Self::of(name, schedule, job)
    }

    /// Makes a recurring job of any kind, or with options of its own:
    /// `NewJob::of(&job)?.with(|options| options.queue("night"))`.
    ///
    /// # Errors
    /// Returns the errors of [`RecurringJob::new`].
    pub fn of(
        name: impl Into<String>,
        schedule: impl Into<String>,
        mut job: NewJob,
    ) -> Result<Self, InvalidRecurringJob> {
        let context = Context::ambient().map(|context| Arc::new(context.without_request()));
        job.inherit(context.as_ref());
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

    /// Sets the time zone of the schedule. A zone in the text of the schedule wins over it; without
    /// either, the default zone of the scheduler or caller holds.
    #[must_use]
    pub fn zone(mut self, zone: Tz) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Sets the policy for missed due times; [`Missed::Once`] unless set.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Sets how many missed due times, the newest, are handled one by one; 100 unless set. Older ones
    /// are recorded together, and nothing is enqueued for them.
    ///
    /// # Errors
    /// Returns an error for a number outside [`MISSED_MAX`].
    pub fn missed_max(mut self, count: u32) -> Result<Self, InvalidRecurringJob> {
        if !MISSED_MAX.contains(&count) {
            return Err(InvalidRecurringJob::OutOfRange {
                name: self.name,
                what: format!("has a `missed_max` of {count}"),
                expected: format!("use {} to {}", MISSED_MAX.start(), MISSED_MAX.end()),
            });
        }
        self.missed_max = count;
        Ok(self)
    }

    /// Sets the policy for due times at which an earlier job has not ended; [`Overlap::Allow`] unless
    /// set.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Delays each job by a random time up to this, so that the jobs of a full hour do not all start
    /// at once. The delay follows from the name and the due time, so every process finds the same.
    ///
    /// # Errors
    /// Returns an error for more than [`JITTER_MAX`].
    pub fn jitter(mut self, jitter: Duration) -> Result<Self, InvalidRecurringJob> {
        if jitter > JITTER_MAX {
            return Err(InvalidRecurringJob::OutOfRange {
                name: self.name,
                what: format!("has a jitter of {} s", jitter.as_secs()),
                expected: format!("use at most {} s", JITTER_MAX.as_secs()),
            });
        }
        self.jitter = jitter;
        Ok(self)
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the schedule, in `default_zone` unless the recurring job has a zone.
    ///
    /// # Errors
    /// Returns an error if the schedule is invalid, which [`RecurringJob::of`] has checked.
    pub fn schedule_in(&self, default_zone: Tz) -> Result<Schedule, InvalidRecurringJob> {
        let schedule = Schedule::parse(&self.schedule, self.zone.unwrap_or(default_zone));
        schedule.map_err(|source| InvalidRecurringJob::Schedule {
            name: self.name.clone(),
            source,
        })
    }

    fn check_job(&self) -> Result<(), InvalidRecurringJob> {
        if self.job.options.due != Due::Now {
            return Err(InvalidRecurringJob::Delayed(self.name.clone()));
        }
        let checked = self.job.check(ARGS_BYTES_MAX);
        checked.map_err(|error| InvalidRecurringJob::job(&self.name, error))
    }

    /// Takes the context of the job that is stored, and encrypts arguments of the same kind if it does. Takes its
    /// limits and its unique key, unless there are others, if they are for the same kind and arguments.
    pub(super) fn keep(&mut self, stored: &NewJob) {
        let options = &mut self.job.options;
        options.context.clone_from(&stored.options.context);
        if let (true, Args::Secret(_)) = (self.job.kind == stored.kind, &stored.args) {
            self.job.args = stored.args.with(self.job.args.json());
        }
        if (&self.job.kind, self.job.args.json()) != (&stored.kind, stored.args.json()) {
            return;
        }
        if options.limits.is_empty() {
            options.limits = stored.options.limits.clone();
        }
        options.unique = options.unique.take().or(stored.options.unique.clone());
    }

    /// Returns its job.
    pub(crate) fn job(&self) -> &NewJob {
        &self.job
    }

    /// Returns the rule of the unique key as it is stored: without arguments that are encrypted.
    fn stored_unique(&self) -> Option<Unique> {
        let unique = self.job.options.unique.clone()?;
        Some(match &self.job.args {
            Args::Plain(_) => unique,
            Args::Secret(args) => unique.without_args(&self.job.kind, args),
        })
    }

    /// Binds the values of `insert.sql`.
    pub(super) fn bind<'q>(
        &self,
        query: Query<'q>,
        schedule: &Schedule,
        args: Cow<'q, str>,
        source: Option<&'q str>,
        now: DateTime<Utc>,
    ) -> Query<'q> {
        self.bind_definition(query, schedule, args)
            .bind(source)
            .bind(schedule.next_after(now))
    }

    /// Binds the values of `differences.sql`, with which `insert.sql` begins.
    pub(super) fn bind_definition<'q>(
        &self,
        query: Query<'q>,
        schedule: &Schedule,
        args: Cow<'q, str>,
    ) -> Query<'q> {
        let options = &self.job.options;
        let context = options.context.as_deref();
        query
            .bind(self.name.clone())
            .bind(self.schedule.clone())
            .bind(schedule.zone().name())
            .bind(self.job.kind.to_string())
            .bind(args)
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
            .bind(self.stored_unique().map(Json))
            .bind(context.and_then(|context| context.tenant.clone()))
            .bind(context.and_then(Context::to_json))
    }
}

impl InvalidRecurringJob {
    /// Names the recurring job whose job could not be made.
    pub fn job(name: &str, source: EnqueueError) -> Self {
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

    fn of(
        name: &str,
        schedule: &str,
        options: Options,
    ) -> Result<RecurringJob, InvalidRecurringJob> {
        RecurringJob::of(name, schedule, NewJob::untyped("k", &json!({}), options))
    }

    #[test]
    fn an_invalid_definition_is_rejected_at_once() {
        let refused = [
            of("two words", "every minute", Options::new()),
            of("a", "every blue moon", Options::new()),
            of("a", "every minute", Options::new().queue("")),
            of("a", "every minute", Options::new().delay(JITTER_MAX)),
            of("a", "every minute", Options::new()).and_then(|good| good.missed_max(0)),
            of("a", "every minute", Options::new()).and_then(|good| good.jitter(JITTER_MAX * 2)),
        ];
        for answer in refused {
            assert!(answer.is_err(), "{answer:?}");
        }
    }

    #[test]
    fn the_zone_of_a_recurring_job_wins_over_the_default_zone() {
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
