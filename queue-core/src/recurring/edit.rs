//! What an operator or an application does to one schedule.

use sqlx::{Connection as _, PgConnection, Row as _};

use super::template::{Template, not_understood, send};
use super::{InvalidRecurringJob, RecurringJob};
use crate::job::JobId;
use crate::new_job::EnqueueError;
use crate::schedule::Tz;
use crate::sql::Schema;

const ADD: &str = concat!(
    include_str!("insert.sql"),
    "on conflict (name) do nothing\nreturning true"
);
const STORE: &str = concat!(include_str!("insert.sql"), include_str!("or_change.sql"));
const LOCK_TO_STORE: &str = include_str!("lock_to_store.sql");
const OWNER: &str = include_str!("owner.sql");
const PAUSE: &str = include_str!("pause.sql");
const RESUME: &str = include_str!("resume.sql");
const REMOVE: &str = include_str!("remove.sql");
const LOCK_NAMED: &str = include_str!("lock_named.sql");
const RECORD_RUN: &str = include_str!("record_run.sql");

/// Why a schedule was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecurringError {
    /// What it says is refused.
    #[error(transparent)]
    Invalid(#[from] InvalidRecurringJob),
    /// The name is taken.
    #[error("there is a schedule `{0}` already: replace it, or choose another name")]
    Taken(String),
    /// There is no such schedule.
    #[error("there is no schedule `{0}`")]
    Unknown(String),
    /// A program or its configuration declares it.
    #[error(
        "the schedule `{name}` is declared by `{source_name}`, in its code or its queue.toml: \
         change it there; it can be paused or removed here"
    )]
    Declared {
        /// The schedule's name.
        name: String,
        /// The source that declares it.
        source_name: String,
    },
    /// This program does not understand what another one stored.
    #[error("the schedule `{name}` is not understood by this program: {reason}")]
    NotUnderstood {
        /// The schedule's name.
        name: String,
        /// What is not understood.
        reason: String,
    },
    /// Its job could not be enqueued.
    #[error(transparent)]
    NotEnqueued(#[from] EnqueueError),
    /// The database refused, or could not be reached.
    #[error("could not change the schedule")]
    Database(#[from] sqlx::Error),
}

/// Adds a schedule at run time. It is due for the first time after now. Its times are by the clock
/// of `default_zone` unless it says another.
///
/// # Errors
/// Refuses a name that is taken; returns what the server answered.
pub async fn add(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
) -> Result<(), RecurringError> {
    let schedule = recurring.schedule_in(default_zone)?;
    let now = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&mut *conn)
        .await?;
    let added = recurring
        .bind(sqlx::query(schema.sql(ADD)), schedule.zone())
        .bind(None::<&str>)
        .bind(schedule.next_after(now))
        .fetch_optional(conn)
        .await?;
    match added {
        Some(_) => Ok(()),
        None => Err(RecurringError::Taken(recurring.name().to_owned())),
    }
}

/// Adds a schedule at run time, or changes one that was added so. Another text or another zone
/// takes effect from now; all else leaves its next due time, and whether it is paused, as it was.
/// Returns whether it was not there.
///
/// # Errors
/// Refuses a schedule that a program declares; returns what the server answered.
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

/// Pauses a schedule: while it is, nothing is enqueued for it. Returns whether it was not paused
/// already.
///
/// # Errors
/// Says when there is no such schedule; returns what the server answered.
pub async fn pause(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, RecurringError> {
    change(conn, schema, PAUSE, name).await
}

/// Resumes a schedule. The due times since it was paused were missed, and are treated so. Returns
/// whether it was paused.
///
/// # Errors
/// Says when there is no such schedule; returns what the server answered.
pub async fn resume(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<bool, RecurringError> {
    change(conn, schema, RESUME, name).await
}

async fn change(
    conn: &mut PgConnection,
    schema: &Schema,
    statement: &'static str,
    name: &str,
) -> Result<bool, RecurringError> {
    let changed = sqlx::query(schema.sql(statement))
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

/// Removes a schedule, and returns the source that declared it; nothing when it was added at run
/// time. What it enqueued stays. One that is still declared comes back when a process of that
/// source starts.
///
/// # Errors
/// Says when there is no such schedule; returns what the server answered.
pub async fn remove(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<String>, RecurringError> {
    let source: Option<Option<String>> = sqlx::query_scalar(schema.sql(REMOVE))
        .bind(name)
        .fetch_optional(conn)
        .await?;
    source.ok_or_else(|| RecurringError::Unknown(name.to_owned()))
}

/// Enqueues the job of a schedule now, paused or not, and records it apart from the plan, which
/// does not move. It is enqueued although an earlier one may not have ended.
///
/// A transaction of the caller's around it holds up, until it ends, every change to the schedule,
/// the decisions about its due times, and the schedulers of processes that start and declare it,
/// which register before they enqueue anything: keep it short.
///
/// # Errors
/// Says when there is no such schedule, and why its job is refused; returns what the server
/// answered.
pub async fn run(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<JobId, RecurringError> {
    let mut tx = conn.begin().await?;
    let row = sqlx::query(schema.sql(LOCK_NAMED))
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
    let row = row.ok_or_else(|| RecurringError::Unknown(name.to_owned()))?;
    let template = Template::read(&row).map_err(|error| match not_understood(&error) {
        Some(reason) => RecurringError::NotUnderstood {
            name: name.to_owned(),
            reason,
        },
        None => error.into(),
    })?;
    let mut enqueued = send(&mut tx, schema, &template.job()?).await?;
    if !enqueued.is_new() {
        enqueued = send(&mut tx, schema, &template.job_that_overlaps()).await?;
    }
    sqlx::query(schema.sql(RECORD_RUN))
        .bind(name)
        .bind(enqueued.id().0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(enqueued.id())
}

/// Adds a schedule, or changes the one of its name and source, within a transaction. Tells whether
/// it was not there; nothing, when nothing was changed: it says the same already, or belongs to
/// somebody else.
pub(super) async fn store(
    conn: &mut PgConnection,
    schema: &Schema,
    recurring: &RecurringJob,
    default_zone: Tz,
    source: Option<&str>,
) -> Result<Option<bool>, RecurringError> {
    let schedule = recurring.schedule_in(default_zone)?;
    let now = sqlx::query_scalar(schema.sql(LOCK_TO_STORE))
        .bind(recurring.name())
        .fetch_one(&mut *conn)
        .await?;
    let stored = recurring
        .bind(sqlx::query(schema.sql(STORE)), schedule.zone())
        .bind(source)
        .bind(schedule.next_after(now))
        .fetch_optional(conn)
        .await?;
    Ok(stored.map(|row| row.try_get(0)).transpose()?)
}

/// Returns the source that declares a schedule, if it is there and one does.
pub(super) async fn owner(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
) -> Result<Option<Option<String>>, sqlx::Error> {
    sqlx::query_scalar(schema.sql(OWNER))
        .bind(name)
        .fetch_optional(conn)
        .await
}
