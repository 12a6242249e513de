//! Decides about due times, and enqueues what is due.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::Missed;
use super::decide::{Decision, Decisions, decide};
use super::template::{Template, jitter, not_understood, send};
use crate::db::is_transient;
use crate::job::JobId;
use crate::new_job::{EnqueueError, NewJob};
use crate::schedule::{Schedule, parse_zone};
use crate::sql::Schema;
use crate::transitions::enqueue::Enqueued;

const LOCK_DUE: &str = include_str!("lock_due.sql");
const RECORD: &str = include_str!("record.sql");
const SETTLE: &str = include_str!("settle.sql");
pub(super) const MOVE: &str = include_str!("move.sql");
const NEXT_DUE: &str = include_str!("next_due.sql");

/// The most jobs that one transaction enqueues. To make up for a long standstill takes several: one
/// alone might not be done before the server's patience ends, and then would be begun for ever.
pub const JOBS_MAX: usize = 100;

/// What one look at the schedules came to.
#[derive(Debug)]
pub enum Tick {
    /// No schedule is due that nobody else decides about.
    Idle,
    /// One schedule was due, and its due times until now have been decided about, or the oldest of
    /// very many; then it is still due.
    Fired(Fired),
    /// One schedule is due that this program does not understand. It was left alone: a program of
    /// another version may understand it.
    NotUnderstood {
        /// Its name.
        name: String,
        /// What is not understood.
        reason: String,
    },
    /// One schedule is due that could not be decided about, for a reason of its own. Nothing of it
    /// was: it is still due.
    Failed {
        /// Its name.
        name: String,
        /// What the server answered, or what could not be read of its row.
        error: sqlx::Error,
    },
}

/// What became of the due times of one schedule.
#[derive(Debug)]
pub struct Fired {
    /// The schedule's name.
    pub name: String,
    /// What was decided, oldest first.
    pub firings: Vec<Firing>,
    /// How many due times somebody had decided about before. Nothing was enqueued for them.
    pub lost: usize,
}

/// What became of one due time.
#[derive(Debug)]
pub struct Firing {
    /// The due time.
    pub due_at: DateTime<Utc>,
    /// Set when it is about all due times from this one on.
    pub since: Option<DateTime<Utc>>,
    /// What became of it.
    pub outcome: FiringOutcome,
}

/// What became of a due time.
#[derive(Debug)]
pub enum FiringOutcome {
    /// A job was enqueued.
    Enqueued(JobId),
    /// It was missed, and not made up for.
    Missed,
    /// An earlier job of the schedule had not ended: this one.
    Overlapped(JobId),
    /// The job could not be enqueued.
    Failed(EnqueueError),
}

/// Decides about the due times until now of the schedule that has been due for longest, in one
/// transaction that enqueues up to [`JOBS_MAX`] jobs. Now is the database's clock unless given.
/// Schedules named in `except` are left alone: those that were not understood, or failed, a moment
/// ago.
///
/// Any number may do this at once: each takes a schedule that no other decides about.
///
/// # Errors
/// Returns what the server answered, unless that is about the one schedule; then nothing has been
/// decided.
pub async fn fire_next(
    conn: &mut PgConnection,
    schema: &Schema,
    now: Option<DateTime<Utc>>,
    except: &[String],
) -> Result<Tick, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let row = sqlx::query(schema.sql(LOCK_DUE))
        .bind(now)
        .bind(except)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(row) = row else {
        return Ok(Tick::Idle);
    };
    let name: String = row.try_get("name")?;
    let due = match DueRecurringJob::read(&row) {
        Ok(due) => due,
        Err(error) => {
            let reason = not_understood(&error).ok_or(error)?;
            return Ok(Tick::NotUnderstood { name, reason });
        }
    };
    match fire(&mut tx, schema, due).await {
        Ok(fired) => {
            tx.commit().await?;
            Ok(Tick::Fired(fired))
        }
        Err(error) if is_of_one_schedule(&error) => {
            // Where the server has gone away, this tells.
            tx.rollback().await?;
            Ok(Tick::Failed { name, error })
        }
        Err(error) => Err(error),
    }
}

/// Tells whether the server answered, and others may fare better.
fn is_of_one_schedule(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Database(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)
    )
}

/// Returns how long it is until the next schedule is due, those in `except` left out; nothing, when
/// none will be.
///
/// # Errors
/// Returns what the server answered.
pub async fn next_due(
    conn: &mut PgConnection,
    schema: &Schema,
    except: &[String],
) -> Result<Option<Duration>, sqlx::Error> {
    let wait: Option<i64> = sqlx::query_scalar(schema.sql(NEXT_DUE))
        .bind(except)
        .fetch_optional(conn)
        .await?;
    Ok(wait.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
}

/// A schedule that is due, and locked.
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
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (text, zone): (&str, &str) = (row.try_get("schedule")?, row.try_get("zone")?);
        let schedule = parse_zone(zone).and_then(|zone| Schedule::parse(text, zone));
        let missed_max: i32 = row.try_get("missed_max")?;
        let jitter_ms: i64 = row.try_get("jitter_ms")?;
        Ok(Self {
            template: Template::read(row)?,
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
    sqlx::query(schema.sql(MOVE))
        .bind(&due.template.name)
        .bind(next_at)
        .execute(conn)
        .await?;
    Ok(Fired {
        lost: decisions.len() - firings.len(),
        name: due.template.name,
        firings,
    })
}

/// Writes the decisions, and returns the due times that nobody had decided about before.
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
    sqlx::query_scalar(schema.sql(RECORD))
        .bind(name)
        .bind(due)
        .bind(since)
        .bind(outcomes)
        .fetch_all(conn)
        .await
}

/// Enqueues the job of one due time, and records what became of it. What the queue or the server
/// refuses leaves no trace in the transaction, and is an outcome; only what may succeed the next
/// time is an error.
async fn enqueue_one(
    conn: &mut PgConnection,
    schema: &Schema,
    due: &DueRecurringJob,
    due_at: DateTime<Utc>,
) -> Result<FiringOutcome, sqlx::Error> {
    let sent = match due.job_for(due_at) {
        Ok(job) => send_alone(conn, schema, &job).await,
        Err(refused) => Err(refused),
    };
    let (outcome, word, job_id, reason) = match sent {
        Ok(Enqueued::New(id) | Enqueued::Replaced { id, .. }) => {
            (FiringOutcome::Enqueued(id), "enqueued", Some(id.0), None)
        }
        Ok(Enqueued::Kept(holder) | Enqueued::Rejected(holder)) => {
            let reason = format!("job {holder} had not ended");
            (
                FiringOutcome::Overlapped(holder),
                "overlap",
                None,
                Some(reason),
            )
        }
        Err(EnqueueError::Database(error) | EnqueueError::NotMigrated(error))
            if is_transient(&error) =>
        {
            return Err(error);
        }
        Err(error) => {
            let reason = with_cause(&error);
            (FiringOutcome::Failed(error), "failed", None, Some(reason))
        }
    };
    sqlx::query(schema.sql(SETTLE))
        .bind(&due.template.name)
        .bind(due_at)
        .bind(word)
        .bind(job_id)
        .bind(reason)
        .execute(conn)
        .await?;
    Ok(outcome)
}

/// Enqueues a job in a savepoint, which is rolled back when that fails.
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
