//! A job before it is enqueued: checked, and with its arguments written as JSON.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::args;
use crate::context::{Context, InvalidContext};
use crate::encryption::Place;
use crate::job::{BatchId, Due, Job, Options, ShardBy};
use crate::limit::InvalidLimit;
use crate::names::{InvalidName, check_kind, check_queue, check_tag};
use crate::sql::Schema;
use crate::unique::Unique;

/// The most bytes of arguments a job may have by default; see [`Queue`](crate::Queue).
pub const ARGS_BYTES_MAX: usize = 1024 * 1024;

/// A job of any kind to enqueue.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) args: Args,
    pub(crate) options: Options,
    pub(crate) shard_by: ShardBy,
}

/// The arguments of a job before it is enqueued, as JSON.
#[derive(Clone)]
pub(crate) enum Args {
    /// Stored as they are.
    Plain(String),
    /// Encrypted when they are stored.
    Secret(String),
}

/// The kind is encrypted, and there are no keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "jobs of the kind `{0}` are encrypted, and this process has no key: set QUEUE_ENCRYPTION_KEYS, or call \
     `Queue::encryption_keys`"
)]
pub struct NoKeys(pub String);

/// Why a job was not enqueued. Nothing was written. If the error came from the database in the caller's
/// transaction, roll that transaction back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The name of the queue, the kind or a tag is not valid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The context cannot be stored.
    #[error(transparent)]
    Context(#[from] InvalidContext),
    /// A limit is not valid.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// The arguments cannot be written as JSON.
    #[error("could not write the arguments of `{kind}` as JSON")]
    Unserializable {
        /// The job's kind.
        kind: String,
        /// The error of serde_json.
        source: serde_json::Error,
    },
    /// The arguments are longer than allowed.
    #[error(
        "the arguments of `{kind}` have {bytes} bytes, and {max} are allowed: \
         store the data elsewhere and enqueue a reference to it"
    )]
    TooLarge {
        /// The job's kind.
        kind: String,
        /// How long they are.
        bytes: usize,
        /// How long they may be.
        max: usize,
    },
    /// Postgres cannot store the arguments as `jsonb`, or a worker could not read them.
    #[error("the arguments of `{kind}` {reason}")]
    Unstorable {
        /// The job's kind.
        kind: String,
        /// What they hold.
        reason: String,
    },
    /// The arguments do not fit the type of the kind, or were written as JSON that does not, such as a
    /// number that is not one (NaN).
    #[error("the arguments of `{kind}` do not fit its type: `{field}`")]
    Unreadable {
        /// The job's kind.
        kind: String,
        /// The path of the field; `.` for the arguments as a whole.
        field: String,
        /// The error of serde_json.
        source: serde_json::Error,
    },
    /// The kind is encrypted, and there are no keys.
    #[error(transparent)]
    NoKeys(#[from] NoKeys),
    /// The unique key is empty.
    #[error("the unique key of `{kind}` is empty")]
    EmptyUniqueKey {
        /// The job's kind.
        kind: String,
    },
    /// A number of attempts or crashes is below one.
    #[error("`{kind}` allows {count} {what}: allow at least 1")]
    TooFew {
        /// The job's kind.
        kind: String,
        /// What is too few: `attempts` or `crashes`.
        what: &'static str,
        /// How many.
        count: i16,
    },
    /// The job is unique or delayed, which COPY does not support.
    #[error("`{kind}` is unique or delayed, which COPY cannot do: use `enqueue_many`")]
    NotCopyable {
        /// The job's kind.
        kind: String,
    },
    /// The batch has ended, was cancelled, or does not exist.
    #[error("the batch {0} takes no more jobs: it has ended or was cancelled")]
    BatchEnded(BatchId),
    /// Jobs of a batch wait for each other.
    #[error("jobs of the batch wait for each other in a circle: {kinds}")]
    Circle {
        /// The kinds of the first of them.
        kinds: String,
    },
    /// A job waits for others, and is delayed.
    #[error("`{kind}` waits for other jobs, so it cannot be delayed")]
    WaitsAndDelayed {
        /// The job's kind.
        kind: String,
    },
    /// The tables of the queue are missing, or older than this program.
    #[error(
        "the tables of the queue are missing or older than this program: run `queue migrate` against this \
         database"
    )]
    NotMigrated(#[source] sqlx::Error),
    /// The database takes no writes: it is a standby, or transactions are read-only by default.
    #[error("the database takes no writes (`queue doctor` finds the reason)")]
    ReadOnly(#[source] sqlx::Error),
    /// The database returned an error, or could not be reached.
    #[error("could not enqueue")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for EnqueueError {
    fn from(error: sqlx::Error) -> Self {
        if crate::db::is_not_migrated(&error) {
            Self::NotMigrated(error)
        } else if crate::db::is_read_only(&error) {
            Self::ReadOnly(error)
        } else {
            Self::Database(error)
        }
    }
}

/// JSON that is passed on: a [`serde_json::Value`], or the text of a [`RawValue`] unchanged.
pub trait JsonText: std::fmt::Display + private::Sealed {}

impl JsonText for serde_json::Value {}
impl JsonText for RawValue {}

mod private {
    pub trait Sealed {}
    impl Sealed for serde_json::Value {}
    impl Sealed for serde_json::value::RawValue {}
}

impl NewJob {
    /// Returns a job of a type, with the options of its kind. Numbers keep all their digits, but Postgres
    /// has no negative zero: `-0.0` is read back as `0.0`.
    ///
    /// # Errors
    /// Refuses arguments that cannot be written as JSON, and those that cannot be read back, such as a
    /// number that is not one (NaN).
    pub fn of<J: Job>(job: &J) -> Result<Self, EnqueueError> {
        let mut options = J::options();
        options.unique = job.unique().or(options.unique);
        let limits = job.limits();
        if !limits.is_empty() {
            options.limits = limits;
        }
        let args = serde_json::to_string(job).map_err(|source| EnqueueError::Unserializable {
            kind: J::KIND.to_owned(),
            source,
        })?;
        // Not all that can be written can be read: NaN is written as null.
        read::<J>(&args)?;
        Ok(Self {
            kind: Cow::Borrowed(J::KIND),
            args: match J::ENCRYPTED {
                true => Args::Secret(args),
                false => Args::Plain(args),
            },
            options,
            shard_by: J::SHARD_BY,
        })
    }

    /// Returns a job of a type from its arguments as JSON, with the options, the limits and the unique key
    /// that [`NewJob::of`] gives it. The text is stored unchanged. `{}` is read as `null` by a type without
    /// fields.
    ///
    /// # Errors
    /// Refuses arguments that do not fit the type.
    pub fn of_json<J: Job>(args: &RawValue) -> Result<Self, EnqueueError> {
        let typed = Self::of(&read::<J>(args.get())?)?;
        let unique = typed
            .options
            .unique
            .map(|rule| rule.of_args(typed.args.json()));
        Ok(Self {
            args: typed.args.with(args.get()),
            options: Options {
                unique,
                ..typed.options
            },
            ..typed
        })
    }

    /// Returns a job by its kind and arguments, for kinds without a type in this program. Raw JSON is
    /// stored with the same digits.
    pub fn untyped<A>(kind: impl Into<String>, args: &A, options: Options) -> Self
    where
        A: JsonText + ?Sized,
    {
        Self {
            kind: Cow::Owned(kind.into()),
            args: Args::Plain(args.to_string()),
            options,
            shard_by: ShardBy::default(),
        }
    }

    /// Changes the options.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Options) -> Options) -> Self {
        self.change(change);
        self
    }

    /// Gives the job a context, unless it has one.
    pub(crate) fn inherit(&mut self, context: Option<&Arc<Context>>) {
        let own = &mut self.options.context;
        *own = own.take().or_else(|| context.cloned());
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(Options) -> Options) {
        self.options = change(mem::take(&mut self.options));
    }

    /// Returns whether [`Queue::copy_jobs`](crate::Queue::copy_jobs) accepts the job: it is neither
    /// unique nor delayed.
    pub fn is_copyable(&self) -> bool {
        let options = &self.options;
        options.due == Due::Now && options.unique.is_none() && !options.waits
    }

    pub(crate) fn queue_and_kind(&self) -> (&str, &str) {
        (&self.options.queue, &self.kind)
    }

    /// Returns the digest of the unique key.
    pub(crate) fn unique_key(&self) -> Option<Vec<u8>> {
        let unique = self.options.unique.as_ref()?;
        Some(unique.digest(&self.kind, self.args.json()))
    }

    pub(crate) fn check_copyable(&self) -> Result<(), EnqueueError> {
        if self.is_copyable() {
            return Ok(());
        }
        Err(EnqueueError::NotCopyable {
            kind: self.kind.to_string(),
        })
    }

    /// Refuses, before anything is sent, a job that the database would refuse or that would harm it.
    pub(crate) fn check(&self, args_bytes_max: usize) -> Result<(), EnqueueError> {
        let options = &self.options;
        check_kind(&self.kind)?;
        check_queue(&options.queue)?;
        for tag in &options.tags {
            check_tag(tag)?;
        }
        options.limits.check(&self.kind)?;
        options.context.as_ref().map_or(Ok(()), |of| of.check())?;
        let kind = || self.kind.to_string();
        if options.unique.as_ref().is_some_and(Unique::has_empty_key) {
            return Err(EnqueueError::EmptyUniqueKey { kind: kind() });
        }
        let counts = [
            ("attempts", options.attempts_max),
            ("crashes", options.crashes_max),
        ];
        if let Some((what, count)) = counts.into_iter().find(|(_, count)| *count < 1) {
            let kind = kind();
            return Err(EnqueueError::TooFew { kind, what, count });
        }
        self.check_args(args_bytes_max)
    }

    /// Refuses, before anything is sent, a job that cannot be encrypted although its kind is.
    pub(crate) fn check_key(&self, schema: &Schema) -> Result<(), NoKeys> {
        match &self.args {
            Args::Secret(_) if schema.keys().is_none() => Err(NoKeys(self.kind.to_string())),
            _ => Ok(()),
        }
    }

    /// Returns the arguments as they are stored.
    pub(crate) fn stored_args(&self, schema: &Schema) -> Result<Cow<'_, str>, sqlx::Error> {
        let no_keys = || sqlx::Error::Encode(NoKeys(self.kind.to_string()).into());
        Ok(match &self.args {
            Args::Plain(json) => Cow::Borrowed(json),
            Args::Secret(json) => {
                let keys = schema.keys().ok_or_else(no_keys)?;
                Cow::Owned(keys.seal(&self.kind, Place::Args, json))
            }
        })
    }

    fn check_args(&self, max: usize) -> Result<(), EnqueueError> {
        let kind = || self.kind.to_string();
        let bytes = self.args.json().len();
        if bytes > max {
            let kind = kind();
            return Err(EnqueueError::TooLarge { kind, bytes, max });
        }
        args::check(self.args.json()).map_err(|reason| EnqueueError::Unstorable {
            kind: kind(),
            reason,
        })
    }
}

impl Args {
    pub(crate) fn json(&self) -> &str {
        let (Self::Plain(json) | Self::Secret(json)) = self;
        json
    }

    /// Returns other arguments of the same kind.
    pub(crate) fn with(&self, json: &str) -> Self {
        match self {
            Self::Secret(_) => Self::Secret(json.to_owned()),
            _ => Self::Plain(json.to_owned()),
        }
    }
}

/// Hides arguments that are encrypted.
impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(json) => json.fmt(f),
            Self::Secret(_) => f.write_str("encrypted"),
        }
    }
}

/// Reads arguments as the worker will.
fn read<J: Job>(args: &str) -> Result<J, EnqueueError> {
    args::decode_args(args).map_err(|source| {
        let json = &mut serde_json::Deserializer::from_str(args);
        let with_path = serde_path_to_error::deserialize::<_, J>(json);
        let path = with_path.err().map(|error| error.path().to_string());
        EnqueueError::Unreadable {
            kind: J::KIND.to_owned(),
            field: path.unwrap_or_default(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(kind: &str, args: serde_json::Value, options: Options) -> Result<(), EnqueueError> {
        NewJob::untyped(kind, &args, options).check(100)
    }

    #[test]
    fn an_ordinary_job_is_accepted() {
        checked("mail", json!({"to": 7}), Options::new().tag("eu")).unwrap();
    }

    #[test]
    fn jobs_that_the_database_would_refuse_are_refused_before() {
        let refused = [
            checked("two words", json!(1), Options::new()),
            checked("k", json!(1), Options::new().queue("")),
            checked("k", json!(1), Options::new().tag("a,b")),
            checked("k", json!(1), Options::new().attempts(0)),
            checked("k", json!(1), Options::new().crashes(-1)),
            checked("k", json!("x".repeat(200)), Options::new()),
            checked("k", json!("nul \0"), Options::new()),
            checked("k", json!(1), Options::new().unique(Unique::by_key(""))),
        ];
        for answer in refused {
            assert!(answer.is_err());
        }
    }
}
