//! What a producer says about a job: its kind, and how jobs of that kind want to be treated.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limit::Limits;
use crate::unique::Unique;

/// The number that names one job for its whole life, in order of insertion.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    sqlx::Type,
)]
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

/// A piece of work: its arguments are the fields of the type, and travel as JSON.
///
/// Producers need no more than this; how the work is done is told to workers by `Perform`, in
/// `queue-worker`.
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
    /// Names this kind of job in the database. Renaming it orphans the jobs that are waiting.
    const KIND: &'static str;

    /// Returns how jobs of this kind are enqueued unless the call says otherwise.
    fn options() -> Options {
        Options::new()
    }

    /// Returns what makes this job a duplicate of another; nothing, unless overridden.
    fn unique(&self) -> Option<Unique> {
        None
    }

    /// Returns how many jobs like this one may run at once, and start in a period; as many as
    /// there are, unless overridden.
    fn limits(&self) -> Limits {
        Limits::none()
    }
}

/// How a job is enqueued: where it waits, how soon its turn comes, how often it is tried.
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
}

/// When a job may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    Now,
    After(Duration),
    At(DateTime<Utc>),
}

impl Options {
    /// Starts from the defaults: queue `default`, priority 0, 10 attempts, 3 crashes, at once.
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
        }
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

    /// Sets how many attempts may end in an error before the job is failed; at least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: i16) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// Sets how many times the job's process may die under it before the job is failed; at least
    /// 1, which means that it is never run again after a crash.
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

    /// Lets the job start no sooner than this much later, by the database's clock.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = Due::After(delay);
        self
    }

    /// Lets the job start no sooner than at this time; a time in the past means at once.
    #[must_use]
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.due = Due::At(time);
        self
    }

    /// Says what makes the job a duplicate of another.
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
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// How a job that is over came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did its work.
    Done,
    /// It was given up: by a rule of its kind, or by an operator.
    Discarded,
    /// It was stopped, before or while it ran.
    Cancelled,
}

impl Outcome {
    /// Returns the word that stands for it in `finished`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Discarded => "discarded",
            Self::Cancelled => "cancelled",
        }
    }
}
