//! Decides about due times, and enqueues their jobs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

use super::decide::{Decision, Decisions, decide};
use super::template::{Template, jitter, send, unreadable};
use super::{Kinds, Missed};
use crate::db::is_transient;
use crate::job::JobId;
use crate::new_job::{EnqueueError, NewJob};
use crate::schedule::Schedule;
use crate::sql::Schema;
use crate::transitions::enqueue::Enqueued;

const LOCK_DUE: &str = include_str!("lock_due.sql");
const RECORD: &str = include_str!("record.sql");
const SETTLE: &str = include_str!("settle.sql");
pub(super) const MOVE: &str = include_str!("move.sql");
const NEXT_DUE: &str = include_str!("next_due.sql");

/// A lock, as of a unique key, must not hold up the other recurring jobs.
const WAIT_BRIEFLY: &str = "set local lock_timeout = '500ms'";

/// The most jobs that one transaction enqueues. Making up for a long downtime takes several: a single
/// one could reach the timeout of the server each time.
pub const JOBS_MAX: usize = 100;

/// The result of [`fire_next`].
#[derive(Debug)]
pub enum Tick {
    /// Nothing is due, or other schedulers hold the locks of what is due.
    Idle,
    /// One recurring job was due, and its due times until now are decided. After a long downtime only
    /// the oldest are, and the recurring job is still due.
    Fired(Fired),
    /// One recurring job is due, but its row cannot be read. Nothing was changed: another version of
    /// the program may have stored it, and can read it.
    Unreadable {
        /// Its name.
        name: String,
        /// Why the row cannot be read.
        reason: String,
    },
    /// One recurring job is due, but an error that concerns only this one prevented a decision. It is
    /// still due.
    Failed {
        /// Its name.
        name: String,
        /// The error of the server, or of reading the row.
        error: sqlx::Error,
    },
}

/// The firings of one recurring job.
#[derive(Debug)]
pub struct Fired {
    /// The name of the recurring job.
    pub name: String,
    /// The firings, oldest first.
    pub firings: Vec<Firing>,
    /// How long after the first of its due times this was decided.
    pub late: Duration,
    /// How many due times were decided before. Nothing was enqueued for them.
    pub lost: usize,
}

/// The record of one due time.
#[derive(Debug)]
pub struct Firing {
    /// The due time.
    pub due_at: DateTime<Utc>,
    /// Set if it covers all due times from this one on.
    pub since: Option<DateTime<Utc>>,
    /// The outcome.
    pub outcome: FiringOutcome,
}

/// The outcome of a due time.
#[derive(Debug)]
pub enum FiringOutcome {
    /// A job was enqueued.
    Enqueued(JobId),
    /// The due time was missed, and no job makes up for it.
    Missed,
    /// Nothing was enqueued, because this earlier job had not ended.
    Overlapped(JobId),
    /// The job could not be enqueued.
    Failed(EnqueueError),
}

/// Takes the recurring job that has been due for longest, decides about its due times until now, and
/// enqueues up to [`JOBS_MAX`] jobs, in one transaction. Now is the database's clock unless given.
/// Ignores the recurring jobs named in `except`: they were unreadable, or failed, a moment ago.
///
/// Many schedulers can call this at once: each locks another recurring job.
///
/// # Errors
/// Returns errors of the database, except those that concern one recurring job only. Nothing is
/// decided then.
pub async fn fire_next(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
    kinds: &Kinds,
    except: &[String],
) -> Result<Tick, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let row = schema
        .query(LOCK_DUE)
        .bind(now)
        .bind(except)
        .bind(&kinds.known)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else {
        return Ok(Tick::Idle);
    };
    let name: String = row.try_get("name")?;
    let mut due = match DueRecurringJob::read(&row, schema) {
        Ok(due) => due,
        Err(error) => {
            let reason = unreadable(&error).ok_or(error)?;
            return Ok(Tick::Unreadable { name, reason });
        }
    };
    due.template.apply_rules(kinds);
    tx.execute(WAIT_BRIEFLY).await?;
    match fire(&mut tx, schema, due).await {
        Ok(fired) => {
            tx.commit().await?;
            Ok(Tick::Fired(fired))
        }
        Err(error) if concerns_one_recurring_job(&error) => {
            // Fails if the server has gone away.
            tx.rollback().await?;
            Ok(Tick::Failed { name, error })
        }
        Err(error) => Err(error),
    }
}

/// Returns whether the error concerns this recurring job only: the server answered, so others may
/// succeed.
fn concerns_one_recurring_job(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_)) || unreadable(error).is_some()
}

/// Returns how long it is until the next recurring job is due, without those in `except`; `None` if
/// none is planned.
pub async fn next_due(
    conn: &mut PgConnection,
    schema: &Schema,
    kinds: &Kinds,
    except: &[String],
) -> Result<Option<Duration>, sqlx::Error> {
    let wait: Option<i64> = schema
        .query_scalar(NEXT_DUE)
        .bind(except)
        .bind(&kinds.known)
        .fetch_one(conn)
        .await?;
    Ok(wait.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
}

/// A recurring job that is due, and locked.
struct DueRecurringJob {
    template: Template,
    schedule: Schedule,
    missed: Missed,
    missed_max: usize,
    jitter: Duration,
    next_at: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl DueRecurringJob {
    /// Reads a row of `lock_due.sql`.
    fn read(row: &PgRow, schema: &Schema) -> Result<Self, sqlx::Error> {
        let schedule = Schedule::of_row(row.try_get("schedule")?, row.try_get("zone")?);
        let missed_max: i32 = row.try_get("missed_max")?;
        let jitter_ms: i64 = row.try_get("jitter_ms")?;
        Ok(Self {
            template: Template::read(row, schema)?,
            schedule: schedule.map_err(|invalid| sqlx::Error::Decode(invalid.into()))?,
            missed: row.try_get("missed")?,
            missed_max: usize::try_from(missed_max).unwrap_or(1),
            jitter: Duration::from_millis(jitter_ms.unsigned_abs()),
            next_at: row.try_get("next_at")?,
            now: row.try_get("now")?,
        })
    }

    fn job_for(&self, due_at: DateTime<Utc>) -> Result<NewJob, EnqueueError> {
        let job = self.template.job()?;
        if self.jitter.is_zero() {
            return Ok(job);
        }
        let jitter = jitter(&self.template.name, due_at, self.jitter);
        Ok(job.with(|options| options.at(due_at + jitter)))
    }
}

async fn fire(
    conn: &mut PgConnection,
    schema: &Schema,
    due: DueRecurringJob,
) -> Result<Fired, sqlx::Error> {
    let decided = decide(
        &due.schedule,
        due.next_at,
        due.now,
        due.missed,
        due.missed_max,
    );
    let Decisions { decisions, next_at } = decided.at_most(JOBS_MAX);
    let new = record(conn, schema, &due.template.name, &decisions).await?;
    let mut firings = Vec::with_capacity(new.len());
    for decision in decisions.iter().filter(|each| new.contains(&each.due_at)) {
        let outcome = match decision.enqueue {
            true => enqueue_one(conn, schema, &due, decision.due_at).await?,
            false => FiringOutcome::Missed,
        };
        firings.push(Firing {
            due_at: decision.due_at,
            since: decision.since,
            outcome,
        });
    }
    schema
        .query(MOVE)
        .bind(&due.template.name)
        .bind(next_at)
        .execute(conn)
        .await?;
    Ok(Fired {
        late: (due.now - due.next_at).to_std().unwrap_or_default(),
        lost: decisions.len() - firings.len(),
        name: due.template.name,
        firings,
    })
}

/// Records the decisions, and returns the due times that were not decided before.
async fn record(
    conn: &mut PgConnection,
    schema: &Schema,
    name: &str,
    decisions: &[Decision],
) -> Result<Vec<DateTime<Utc>>, sqlx::Error> {
    let due: Vec<_> = decisions.iter().map(|each| each.due_at).collect();
    let since: Vec<_> = decisions.iter().map(|each| each.since).collect();
    let outcome = |each: &Decision| if each.enqueue { "enqueued" } else { "missed" };
    let outcomes: Vec<_> = decisions.iter().map(outcome).collect();
    schema
        .query_scalar(RECORD)
        .bind(name)
        .bind(due)
        .bind(since)
        .bind(outcomes)
        .fetch_all(conn)
        .await
}

/// Enqueues the job of one due time, and records the outcome. A job that cannot be enqueued is an
/// outcome and leaves no trace in the transaction; only a transient error is returned.
async fn enqueue_one(
    conn: &mut PgConnection,
    schema: &Schema,
    due: &DueRecurringJob,
    due_at: DateTime<Utc>,
) -> Result<FiringOutcome, sqlx::Error> {
    let sent = match due.job_for(due_at) {
        Ok(job) => send_alone(conn, schema, &job).await,
        Err(invalid) => Err(invalid),
    };
    let outcome = match sent {
        Ok(Enqueued::New(id) | Enqueued::Replaced { id, .. }) => FiringOutcome::Enqueued(id),
        Ok(Enqueued::Kept(id) | Enqueued::Rejected(id)) => FiringOutcome::Overlapped(id),
        Err(
            EnqueueError::Database(error)
            | EnqueueError::NotMigrated(error)
            | EnqueueError::ReadOnly(error),
        ) if is_transient(&error) => return Err(error),
        Err(error) => FiringOutcome::Failed(error),
    };
    let (word, job_id, reason) = match &outcome {
        FiringOutcome::Enqueued(id) => ("enqueued", Some(*id), None),
        FiringOutcome::Missed => ("missed", None, None),
        FiringOutcome::Overlapped(id) => ("overlap", None, Some(format!("job {id} had not ended"))),
        FiringOutcome::Failed(error) => ("failed", None, Some(with_cause(error))),
    };
    schema
        .query(SETTLE)
        .bind(&due.template.name)
        .bind(due_at)
        .bind(word)
        .bind(job_id)
        .bind(reason)
        .execute(conn)
        .await?;
    Ok(outcome)
}

/// Enqueues a job in a savepoint, which is rolled back on an error.
async fn send_alone(
    conn: &mut PgConnection,
    schema: &Schema,
    job: &NewJob,
) -> Result<Enqueued, EnqueueError> {
    let mut savepoint = conn.begin().await?;
    let enqueued = send(&mut savepoint, schema, job).await?;
    savepoint.commit().await?;
    Ok(enqueued)
}

fn with_cause(error: &EnqueueError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
