//! A job as an application defines it: its kind, its arguments and its options.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::limit::Limits;
use crate::unique::Unique;

/// The id of a job, in the order of insertion.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct JobId(pub i64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// The id of a batch. Batches and jobs share one sequence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct BatchId(pub i64);

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A kind of job. The fields of the type are its arguments, stored as JSON.
///
/// Enqueueing needs only this. Workers also need `Perform`, in `queue-worker`, which does the work.
///
/// ```
/// use queue_core::{Job, Options};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendWelcome {
///     user_id: i64,
/// }
///
/// impl Job for SendWelcome {
///     const KIND: &'static str = "send_welcome";
///
///     fn options() -> Options {
///         Options::new().queue("mail").attempts(8)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a job",
    note = "add `impl Job for {Self} {{ const KIND: &'static str = \"...\"; }}`; \
            a job also derives `Serialize` and `Deserialize`"
)]
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name of the kind in the database. After a change, waiting jobs with the old name are not run.
    const KIND: &'static str;

    /// Whether the arguments, the results of steps, the output and the cursors of the jobs are encrypted in the
    /// database. The processes that enqueue and run them need [`Keys`](crate::Keys).
    const ENCRYPTED: bool = false;

    /// Which part of a job decides on which of several [`Shards`](crate::Shards) it is; the tenant by default.
    const SHARD_BY: ShardBy = ShardBy::Tenant;

    /// Returns the default options of jobs of this kind.
    fn options() -> Options {
        Options::new()
    }

    /// Returns when this job is a duplicate of another; never by default.
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// Returns how many jobs like this one may run at once and start in a period; unlimited by default.
    fn limits(&self) -> Limits {
        Limits::none()
    }
}

/// The part of a job that decides on which of several [`Shards`](crate::Shards) it is: jobs in which this part
/// is the same are on one shard. The shards take turns for jobs without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardBy {
    /// The tenant of its [`Context`].
    #[default]
    Tenant,
    /// Its unique key.
    UniqueKey,
    /// The key of its first limit, with its group.
    LimitKey,
    /// No part: the shards take turns.
    Spread,
}

/// The options of a job: its queue, its priority, its attempts, its delay and more.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) queue: Cow<'static, str>,
    pub(crate) priority: i16,
    pub(crate) attempts_max: i16,
    pub(crate) crashes_max: i16,
    pub(crate) tags: Vec<String>,
    pub(crate) due: Due,
    pub(crate) unique: Option<Unique>,
    pub(crate) limits: Limits,
    /// The context it is given; none if it takes the current one.
    pub(crate) context: Option<Arc<Context>>,
    pub(crate) batch: Option<BatchId>,
    /// Whether it waits for other jobs of its batch, or for the end of a batch.
    pub(crate) waits: bool,
}

/// When a job may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    Now,
    After(Duration),
    At(DateTime<Utc>),
}

impl Options {
    /// Returns the defaults: queue `default`, priority 0, 10 attempts, 3 crashes, no delay.
    pub fn new() -> Self {
        Self {
            queue: Cow::Borrowed("default"),
            priority: 0,
            attempts_max: 10,
            crashes_max: 3,
            tags: Vec::new(),
            due: Due::Now,
            unique: None,
            limits: Limits::none(),
            context: None,
            batch: None,
            waits: false,
        }
    }

    /// Returns whether the queue, the priority, the attempts, the crashes and the tags are the defaults.
    pub(crate) fn are_plain(&self) -> bool {
        let plain = Self::new();
        let counts = |of: &Self| (of.priority, of.attempts_max, of.crashes_max);
        self.queue == plain.queue && counts(self) == counts(&plain) && self.tags.is_empty()
    }

    /// Sets the queue the job waits in.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Cow<'static, str>>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Sets the priority: smaller is sooner, 0 is ordinary.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how many attempts may end in an error before the job is failed; at least 1, which means that it
    /// is never retried. With the default of 10 and the default backoff, a job that keeps failing is retried
    /// for about four hours, for any error.
    #[must_use]
    pub fn attempts(mut self, attempts: i16) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// Sets how many times the job's process may die under it before the job is failed; at least
    /// 1, which means that it is never run again after a crash. With the default of 3, a job whose
    /// process was killed runs again up to two times, although the crash may have been its own.
    #[must_use]
    pub fn crashes(mut self, crashes: i16) -> Self {
        self.crashes_max = crashes;
        self
    }

    /// Adds a label to find the job by.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Delays the job by this much, by the database's clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = Due::After(delay);
        self
    }

    /// Delays the job until this time; a time in the past means no delay.
    #[must_use]
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.due = Due::At(time);
        self
    }

    /// Sets when the job is a duplicate of another.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Sets the limits, instead of those of the job.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds the job to a batch that has not ended.
    #[must_use]
    pub fn batch(mut self, batch: BatchId) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Sets where the job comes from, instead of the current [`Context`]. An empty context is none.
    #[must_use]
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(Arc::new(context));
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// How a finished job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It succeeded.
    Done,
    /// It was discarded, by a rule of its kind or by an operator.
    Discarded,
    /// It was cancelled, before or while it ran.
    Cancelled,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Done, Self::Discarded, Self::Cancelled];

    /// Returns its word in the table `finished`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_ten_attempts_and_survives_two_crashes_by_default() {
        let options = Options::new();
        assert_eq!((options.attempts_max, options.crashes_max), (10, 3));
        assert_eq!((&*options.queue, options.priority), ("default", 0));
        assert!(options.are_plain() && !options.attempts(11).are_plain());
    }
}
