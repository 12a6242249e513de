//! Changes of one recurring job by an operator or an application.

use std::borrow::Cow;

use sqlx::{Connection as _, PgConnection, Row as _};

use super::template::{Template, send, unreadable};
use super::{InvalidRecurringJob, Kinds, RecurringJob};
use crate::encryption::Place;
use crate::job::JobId;
use crate::new_job::{Args, EnqueueError, NoKeys};
use crate::schedule::Tz;
use crate::sql::Schema;

const ADD: &str = concat!(
    include_str!("insert.sql"),
    "on conflict (name) do nothing\nreturning true"
);
const STORE: &str = concat!(include_str!("insert.sql"), include_str!("or_change.sql"));
const LOCK_TO_STORE: &str = include_str!("lock_to_store.sql");
const DIFFERENCES: &str = include_str!("differences.sql");
const OWNER: &str = include_str!("owner.sql");
const PAUSE: &str = include_str!("pause.sql");
const RESUME: &str = include_str!("resume.sql");
const REMOVE: &str = include_str!("remove.sql");
const NAMED_TO_RUN: &str = concat!(include_str!("named.sql"), "for share");
const NAMED_TO_CHANGE: &str = concat!(include_str!("named.sql"), "for update");
const RECORD_RUN: &str = include_str!("record_run.sql");

/// Why a recurring job was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecurringError {
    /// Its definition is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidRecurringJob),
    /// The name is taken.
    #[error("there is a recurring job `{0}` already: replace it, or choose another name")]
    Taken(String),
    /// There is no such recurring job.
    #[error("there is no recurring job `{0}`")]
    Unknown(String),
    /// A program or its configuration declares it.
    #[error(
        "the recurring job `{name}` is declared by `{source_name}`, in its code or its queue.toml: \
         change it there; it can be paused or removed here"
    )]
    Declared {
        /// The name of the recurring job.
        name: String,
        /// The source that declares it.
        source_name: String,
    },
    /// Its row cannot be read; another version of the program may have stored it.
    #[error(
        "could not read the recurring job `{name}`, which another version of this program may have stored: {reason}"
    )]
    Unreadable {
        /// The name of the recurring job.
        name: String,
        /// Why the row cannot be read.
        reason: String,
    },
    /// Another job holds the unique key of its job.
    #[error("job {holder} holds the unique key of the recurring job `{name}`")]
    Duplicate {
        /// The name of the recurring job.
        name: String,
        /// The job that holds the key.
        holder: JobId,
    },
    /// Its job could not be enqueued.
    #[error(transparent)]
    NotEnqueued(#[from] EnqueueError),
    /// The database returned an error or could not be reached.
    #[error("could not change the recurring job")]
    Database(#[from] sqlx::Error),
}

/// Adds a recurring job at run time. It is first due after now. Its zone is `default_zone` unless it
/// has one.
///
/// # Errors
/// Returns [`RecurringError::Taken`] if there is a recurring job of this name.
pub async fn add(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
) -> Result<(), RecurringError> {
    let schedule = recurring.schedule_in(default_zone)?;
    let now = schema
        .query_scalar("select clock_timestamp()")
        .fetch_one(&mut *conn)
        .await?;
    let args = args_to_store(conn, schema, recurring).await?;
    let added = recurring.bind(schema.query(ADD), &schedule, args, None, now);
    match added.fetch_optional(conn).await? {
        Some(_) => Ok(()),
        None => Err(RecurringError::Taken(recurring.name().to_owned())),
    }
}

/// Adds a recurring job at run time, or changes one that was added at run time. It stays paused if it
/// was. Its plan changes only if its schedule or zone does. Returns whether it is new.
///
/// # Errors
/// Returns [`RecurringError::Declared`] if a program declares it.
pub async fn replace(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
) -> Result<bool, RecurringError> {
    let mut tx = conn.begin().await?;
    if let Some(is_new) = store(&mut tx, schema, recurring, default_zone, None).await? {
        tx.commit().await?;
        return Ok(is_new);
    }
    match owner(&mut tx, schema, recurring.name()).await? {
        Some(Some(source_name)) => Err(RecurringError::Declared {
            name: recurring.name().to_owned(),
            source_name,
        }),
        _ => Ok(false),
    }
}

/// Changes a recurring job that was added at run time, as [`replace`] does. Its jobs keep their context. They
/// keep limits and a unique key that this program does not know, if kind and arguments stay the same.
///
/// # Errors
/// Returns [`RecurringError::Unknown`] if there is no such recurring job, and [`RecurringError::Declared`] if a
/// program declares it.
pub async fn change(
    conn: &mut PgConnection,
    schema: &Schema,
    mut recurring: RecurringJob,
    default_zone: Tz,
) -> Result<(), RecurringError> {
    let mut tx = conn.begin().await?;
    let stored = named(&mut tx, schema, NAMED_TO_CHANGE, recurring.name()).await?;
    recurring.keep(&stored.job_that_overlaps());
    replace(&mut tx, schema, &recurring, default_zone).await?;
    Ok(tx.commit().await?)
}

/// Pauses a recurring job: nothing is enqueued for it until it is resumed. Returns whether it was
/// not paused before.
///
/// # Errors
/// Returns [`RecurringError::Unknown`] if there is no such recurring job.
pub async fn pause(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, RecurringError> {
    set(conn, schema, PAUSE, name).await
}

/// Resumes a recurring job. The due times since it was paused are missed ones. Returns whether it was
/// paused.
///
/// # Errors
/// Returns [`RecurringError::Unknown`] if there is no such recurring job.
pub async fn resume(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, RecurringError> {
    set(conn, schema, RESUME, name).await
}

async fn set(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    name: &str,
) -> Result<bool, RecurringError> {
    let changed = schema
        .query(statement)
        .bind(name)
        .execute(&mut *conn)
        .await?;
    if changed.rows_affected() == 1 {
        return Ok(true);
    }
    match owner(conn, schema, name).await? {
        Some(_) => Ok(false),
        None => Err(RecurringError::Unknown(name.to_owned())),
    }
}

/// Removes a recurring job, and returns the source that declared it; `None` if it was added at run
/// time. The jobs that it enqueued stay. If a program still declares it, it comes back when a process
/// of that source starts.
///
/// # Errors
/// Returns [`RecurringError::Unknown`] if there is no such recurring job.
pub async fn remove(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<String>, RecurringError> {
    let source: Option<Option<String>> = schema
        .query_scalar(REMOVE)
        .bind(name)
        .fetch_optional(conn)
        .await?;
    source.ok_or_else(|| RecurringError::Unknown(name.to_owned()))
}

/// Enqueues the job of a recurring job now, even if it is paused or an earlier job has not ended. The
/// run is recorded without a due time, and the plan does not change.
///
/// Keep a transaction around this call short. Until it ends, it blocks changes of the recurring job,
/// decisions about its due times, and the schedulers of starting processes that declare it.
///
/// # Errors
/// Returns [`RecurringError::Unknown`] if there is no such recurring job, and the reason if its job
/// cannot be enqueued.
pub async fn run(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    kinds: &Kinds,
) -> Result<JobId, RecurringError> {
    let mut tx = conn.begin().await?;
    let mut template = named(&mut tx, schema, NAMED_TO_RUN, name).await?;
    template.apply_rules(kinds);
    let mut enqueued = send(&mut tx, schema, &template.job()?).await?;
    if !enqueued.is_new() {
        enqueued = send(&mut tx, schema, &template.job_that_overlaps()).await?;
    }
    if !enqueued.is_new() {
        return Err(RecurringError::Duplicate {
            name: name.to_owned(),
            holder: enqueued.id(),
        });
    }
    schema
        .query(RECORD_RUN)
        .bind(name)
        .bind(enqueued.id().0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(enqueued.id())
}

/// Reads the job of a recurring job, and locks its row.
async fn named(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    name: &str,
) -> Result<Template, RecurringError> {
    let row = schema
        .query(statement)
        .bind(name)
        .fetch_optional(conn)
        .await?;
    let row = row.ok_or_else(|| RecurringError::Unknown(name.to_owned()))?;
    Template::read(&row, schema).map_err(|error| match unreadable(&error) {
        Some(reason) => RecurringError::Unreadable {
            name: name.to_owned(),
            reason,
        },
        None => error.into(),
    })
}

/// Adds a recurring job, or changes the one with the same name, within a transaction. Returns whether it
/// is new. Returns `None` if nothing was changed: it is equal already, or belongs to a source that has a
/// process.
pub(super) async fn store(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
    source: Option<&str>,
) -> Result<Option<bool>, RecurringError> {
    let schedule = recurring.schedule_in(default_zone)?;
    let now = schema
        .query_scalar(LOCK_TO_STORE)
        .bind(recurring.name())
        .fetch_one(&mut *conn)
        .await?;
    let args = args_to_store(conn, schema, recurring).await?;
    let stored = recurring.bind(schema.query(STORE), &schedule, args, source, now);
    let stored = stored.fetch_optional(conn).await?;
    Ok(stored.map(|row| row.try_get(0)).transpose()?)
}

/// Returns the arguments as they are stored. Encrypted anew, they would differ each time from those that are
/// stored, so these are returned if they are equal.
async fn args_to_store<'a>(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &'a RecurringJob,
) -> Result<Cow<'a, str>, RecurringError> {
    let job = recurring.job();
    if let Args::Secret(args) = &job.args {
        let invalid = |no_keys: NoKeys| InvalidRecurringJob::job(recurring.name(), no_keys.into());
        job.check_key(schema).map_err(invalid)?;
        let stored: Option<String> = schema
            .query_scalar("select args::text from queue.recurring_jobs where name = $1")
            .bind(recurring.name())
            .fetch_optional(conn)
            .await?;
        if let Some(stored) = stored
            && let Ok(Some(opened)) = schema.open(&job.kind, Place::Args, &stored)
            && opened.get() == args
        {
            return Ok(Cow::Owned(stored));
        }
    }
    Ok(job.stored_args(schema)?)
}

/// Returns in what the stored recurring job of the same name differs, as names of columns.
pub(super) async fn differences(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
) -> Result<Vec<String>, RecurringError> {
    let schedule = recurring.schedule_in(default_zone)?;
    let args = args_to_store(conn, schema, recurring).await?;
    let rows = recurring
        .bind_definition(schema.query(DIFFERENCES), &schedule, args)
        .fetch_all(conn)
        .await?;
    let names = rows.iter().map(|row| row.try_get(0));
    Ok(names.collect::<Result<_, _>>()?)
}

/// Returns the source of a recurring job: the outer `None` if there is no such recurring job, the
/// inner one if it was added at run time.
pub(super) async fn owner(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<Option<String>>, sqlx::Error> {
    schema
        .query_scalar(OWNER)
        .bind(name)
        .fetch_optional(conn)
        .await
}
